"""Contexts of small scripts, without a disk."""

from __future__ import annotations

from tests.program.judge import CHALLENGE, MemorySource
from verifier.engine.context import Context
from verifier.limits import DEFAULT_LIMITS
from verifier.rule import Decision, Rule
from verifier.submission.load import load_submission


def script_context(script: str, **files: bytes) -> Context:
    """A folder with this `train_gpt.py`; further files by name, `_` for the last dot (`helper_py`)."""
    named = {name[: name.rindex("_")] + "." + name[name.rindex("_") + 1 :]: data for name, data in files.items()}
    content = {"README.md": b"# A model\n", "submission.json": b"{}", "train_gpt.py": script.encode(), **named}
    return Context(
        load_submission(MemorySource("records/track_10min_16mb/2026-04-30_Script", content), DEFAULT_LIMITS), CHALLENGE
    )


def decide(rule: Rule, script: str, **files: bytes) -> Decision:
    return rule.decide(script_context(script, **files))


def lines(decision: Decision) -> list[int | None]:
    """The lines that the first finding cites."""
    return [location.line for location in decision.findings[0].locations]
