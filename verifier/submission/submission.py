"""A record folder as it was read: everything later stages know about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from functools import wraps
from typing import cast

from verifier.evidence import Problem
from verifier.submission.binaries import BinaryFile
from verifier.submission.leaks import Leak
from verifier.submission.logs.model import LogFile, Run
from verifier.submission.metadata import Metadata
from verifier.submission.readme import Readme
from verifier.submission.script import Program


class Track(StrEnum):
    TEN_MINUTES = "10min_16mb"
    NON_RECORD = "non_record_16mb"


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file of the folder. `kind` is `file`, `symlink`, `gitlink` or `other`; `size` is -1 where the repository lacks the blob.

    `sha256` is `None` when it was not read: too large, no file, junk. `junk`: listed, not audited (wandb, backups).
    """

    path: str
    kind: str
    size: int
    sha256: str | None
    junk: bool


@dataclass(frozen=True, slots=True)
class Submission:
    """`path` is what reports print; `track` follows from it (None: unknown, treated as non-record with a note)."""

    path: str
    track: Track | None
    files: tuple[FileEntry, ...]
    metadata: tuple[Metadata, ...]
    """The folder's own submission JSON first, then others beside it; those of sub-folders only when there is none above."""
    readmes: tuple[Readme, ...]
    logs: tuple[LogFile, ...]
    program: Program
    binaries: tuple[BinaryFile, ...]
    first_commit: date | None
    """Day of the first commit that has the folder, where git knows it."""
    problems: tuple[Problem, ...]
    """Everything that was not read, from the folder and all readers, sorted."""
    leaks: tuple[Leak, ...] = ()
    """Personal paths and credentials (masked) in the text of any file, junk included."""
    memo: dict[str, object] = field(default_factory=dict, init=False, compare=False, repr=False)
    """What `worked_out_once` keeps: facts that follow from the fields above."""

    @property
    def name(self) -> str:
        return self.path.rstrip("/").rsplit("/", 1)[-1]

    @property
    def runs(self) -> tuple[Run, ...]:
        """All runs of all logs, duplicates of a log counted once, in path order."""
        return tuple(run for log in self.logs if log.duplicate_of is None for run in log.runs)

    def file(self, path: str) -> FileEntry | None:
        return next((entry for entry in self.files if entry.path == path), None)


def worked_out_once[T](fact: Callable[[Submission], T]) -> Callable[[Submission], T]:
    """A fact about a submission that many rules ask for (claimed runs, settings): the first one to ask has it worked out."""
    key = f"{fact.__module__}.{fact.__qualname__}"

    @wraps(fact)
    def held(submission: Submission) -> T:
        if key not in submission.memo:
            submission.memo[key] = fact(submission)
        return cast("T", submission.memo[key])

    return held
