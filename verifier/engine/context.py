"""What a rule sees."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from verifier.challenge.challenge import Challenge
from verifier.submission.submission import Submission, Track


@dataclass(frozen=True, slots=True)
class PullRequest:
    """What a pull request changes: `changed` are (status, path) with status A, M, D, R; paths from the repository's root.

    `records` are the record folders that it adds or changes.
    """

    base: str
    head: str
    changed: tuple[tuple[str, str], ...]
    records: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Options:
    """What the user asked for. `as_of` replaces the submission's day for the SOTA; `sota` replaces the leaderboard's value."""

    as_of: date | None = None
    sota: float | None = None
    tokenizer_dir: Path | None = None
    data_dir: Path | None = None


@dataclass(frozen=True, slots=True)
class Context:
    submission: Submission
    challenge: Challenge
    options: Options = field(default_factory=Options)
    pull_request: PullRequest | None = None
    memo: dict[str, object] = field(default_factory=dict, compare=False, repr=False)
    """What several rules share and only one has to compute (the analysis of the program)."""

    @property
    def in_record_track(self) -> bool:
        return self.submission.track is Track.TEN_MINUTES
