"""Judging a fixture record without writing it to disk."""

from __future__ import annotations

from dataclasses import dataclass

from fixtures.record import Record, files_of
from verifier.challenge.load import load_challenge
from verifier.engine.audit import Plan, audit_source
from verifier.engine.context import Context
from verifier.engine.registry import load_rules
from verifier.evidence import Problem
from verifier.limits import DEFAULT_LIMITS
from verifier.program.analysis import Analysis, analysis_of
from verifier.report.model import RuleResult, SubmissionReport
from verifier.submission.load import load_submission
from verifier.submission.source import Entry, EntryKind, Unreadable, too_large

RULES = load_rules()
CHALLENGE = load_challenge()


@dataclass(frozen=True)
class MemorySource:
    """A record folder that is only data."""

    label: str
    files: dict[str, bytes]

    def entries(self) -> tuple[Entry, ...]:
        return tuple(Entry(path, EntryKind.FILE, len(data)) for path, data in sorted(self.files.items()))

    def problems(self) -> tuple[Problem, ...]:
        return ()

    def read(self, path: str, limit: int) -> bytes:
        data = self.files.get(path)
        if data is None:
            raise Unreadable("unreadable", "no such file")
        if len(data) > limit:
            raise too_large(len(data), limit)
        return data


def judge(record: Record, *codes: str) -> SubmissionReport:
    """The report of the record's folder: of the rules with these codes, or of all."""
    plan = Plan(RULES, CHALLENGE, selected=frozenset(codes) if codes else None)
    return audit_source(MemorySource(f"records/{record.path}", files_of(record)), plan)


def analyse_script(script: str, **files: str) -> Analysis:
    """The analysis of a folder with this `train_gpt.py`; further files by name, `_` for the last dot (`helper_py`)."""
    named = {name[: name.rindex("_")] + "." + name[name.rindex("_") + 1 :]: text.encode() for name, text in files.items()}
    content = {"README.md": b"# A model\n", "submission.json": b"{}", "train_gpt.py": script.encode(), **named}
    submission = load_submission(MemorySource("records/track_10min_16mb/2026-04-30_Script", content), DEFAULT_LIMITS, None)
    return analysis_of(Context(submission, CHALLENGE))


def result_of(report: SubmissionReport, code: str) -> RuleResult:
    return next(result for result in report.rules if result.code == code)
