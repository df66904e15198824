"""Audit submissions to model-training contests."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from verifier.report.model import SubmissionReport

__all__ = ["audit"]


def audit(path: str | Path, *, as_of: date | None = None, sota: float | None = None) -> SubmissionReport:
    """Read and judge the one record folder (or archive of one) at `path` with all installed rules.

    `as_of` and `sota` replace the day and the score that the record claim is compared with. Raises `ValueError` when there is
    no record folder at `path` or more than one, `verifier.submission.source.Unreadable` when the path can't be read at all.
    """
    # Imported here so that `import verifier.evidence` in a plug-in does not load every reader.
    from verifier.challenge.load import load_challenge
    from verifier.engine.audit import Plan, audit_source
    from verifier.engine.context import Options
    from verifier.engine.registry import load_rules
    from verifier.submission.discover import discover

    sources = discover(Path(path))
    if len(sources) != 1:
        raise ValueError(f"{path} holds {len(sources)} record folders, not one")
    return audit_source(sources[0], Plan(load_rules(), load_challenge(), Options(as_of=as_of, sota=sota)))
