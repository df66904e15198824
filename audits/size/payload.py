"""SIZ004: files beside the counted script that evaluation needs: helper modules, C sources, tables."""

from __future__ import annotations

import ast
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass

from verifier.engine.context import Context
from verifier.evidence import Location
from verifier.ledger.sizes import CodeCounting, size_accounts
from verifier.program.analysis import Analysis, analysis_of
from verifier.rule import Decision, Finding, Level, Measured, Outcome, Rule
from verifier.submission.submission import Submission

_README = "https://github.com/openai/parameter-golf#readme"
_NATIVE = (".c", ".cc", ".cpp", ".cu", ".cuh", ".h", ".hpp", ".rs", ".so", ".o", ".ptx", ".cubin")
_NOT_PAYLOAD = (".md", ".log", ".txt", ".model", ".vocab", ".sh", ".png", ".svg", ".ptz", ".pt")
"""Texts for readers, the tokenizer itself, and the counted model."""
LISTED = 12


@dataclass(frozen=True, slots=True)
class Payload:
    path: str
    size: int
    role: str
    source: Location


def check(context: Context) -> Decision:
    submission = context.submission
    analysis = analysis_of(context)
    if not analysis.available:
        return Decision.not_available(analysis.why_not)
    if not analysis.run.of("loss"):
        return Decision.not_available("the analysis reached no line that forms a loss, so what evaluation needs is unknown")
    found = {payload.path: payload for payload in (*_modules(analysis), *_native(analysis), *_opened(analysis))}
    payloads = sorted(found.values(), key=lambda payload: (-payload.size, payload.path))
    if not payloads:
        if gap := analysis.gap():
            return Decision.not_available(gap)
        return Decision.passed("the script needs no file of the folder beside itself, the model and the tokenizer")
    extra = sum(payload.size for payload in payloads)
    total = _largest_total(submission)
    counted = _counts_others(submission)
    cap = context.challenge.artifact_cap
    over = total is not None and not counted and total + extra > cap
    listed = ", ".join(f"{payload.path} ({payload.role}, {payload.size:,} bytes)" for payload in payloads[:LISTED])
    message = f"{extra:,} bytes that the script needs lie outside train_gpt.py: {listed}"
    if counted:
        message += "; the log's code bytes are those of several files"
    elif total is not None:
        message += f"; with the logged total of {total:,} this makes {total + extra:,}"
    finding = Finding(
        Outcome.REVIEW if over else Outcome.INFO,
        message,
        tuple(dict.fromkeys(payload.source for payload in payloads[:LISTED])),
        measured=Measured(extra, "bytes"),
        limit=Measured(cap - total, "bytes") if total is not None and cap > total else None,
        remediation="count every file that a decoder needs" if over else "",
    )
    return Decision.of([finding])


def _modules(analysis: Analysis) -> Iterator[Payload]:
    """Python files of the program that the run executes besides the counted script."""
    program = analysis.submission.program
    main = program.main
    executed = {site.path for site in analysis.run.reached} if not analysis.run.incomplete else None
    for member in program.members:
        if member is main or main is None or member.path == main.path:
            continue
        if executed is None or member.path in executed:
            yield Payload(member.path, member.size, "module", Location(member.path, 1))


def _native(analysis: Analysis) -> Iterator[Payload]:
    """C, CUDA and built files that the program's text names."""
    files = {posixpath.basename(entry.path): entry for entry in analysis.submission.files if entry.path.endswith(_NATIVE)}
    if not files:
        return
    for text in analysis.trees:
        for node in text.parsed.of(ast.Constant):
            if isinstance(node.value, str) and len(node.value) < 300:
                entry = files.get(posixpath.basename(node.value.strip()))
                if entry is not None:
                    yield Payload(
                        entry.path,
                        entry.size,
                        "native code",
                        Location(text.path, node.lineno, layer=text.layer, excerpt=entry.path),
                    )


def _opened(analysis: Analysis) -> Iterator[Payload]:
    """Files of the folder that the run opens for reading."""
    files = {
        posixpath.basename(entry.path): entry
        for entry in analysis.submission.files
        if not entry.junk and not entry.path.endswith((*_NOT_PAYLOAD, ".py", ".json", *_NATIVE))
    }
    for event in analysis.run.of("read") if files else ():
        for name, entry in files.items():
            if name in event.text:
                yield Payload(entry.path, entry.size, "data", analysis.location(event.site))


def _largest_total(submission: Submission) -> int | None:
    totals = [account.total.bytes for account in size_accounts(submission) if account.claimed and account.total is not None]
    return max(totals, default=None)


def _counts_others(submission: Submission) -> bool:
    """Whether the logs count the bytes of several files of the folder together."""
    return any(account.counting is CodeCounting.OTHER_FILE for account in size_accounts(submission) if account.claimed)


UNCOUNTED_PAYLOAD = Rule(
    code="SIZ004",
    name="uncounted-payload",
    level=Level.WARNING,
    at_most=Outcome.REVIEW,
    summary="code or data that the script needs at eval time lies outside the counted bytes",
    why="Helper modules, C sources and tables are part of what a decoder needs. Most are small, and merged records have them; the sum "
    "belongs into the report, and a sum that would cross the cap needs a decision.",
    example="violation: a 300 kB table beside train_gpt.py that evaluation loads, with a logged total of 15,990,000\n"
    "legal: everything that evaluation opens is inside the counted script or the model",
    settles="the list of files that the evaluation opens, with sizes, against what the log counts",
    sources=(_README,),
    check=check,
)
