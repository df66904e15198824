"""Where the files of a record folder come from: a directory, an archive, a git tree.

Readers see one interface, so a pull request is audited from git objects without a checkout, and an archive without unpacking
it to disk. Nothing is followed: symlinks and gitlinks are listed as such and never read.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from verifier.evidence import Problem


class EntryKind(StrEnum):
    FILE = "file"
    SYMLINK = "symlink"
    GITLINK = "gitlink"
    OTHER = "other"


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """One name below the record folder. `path` is POSIX and relative; undecodable bytes are surrogate-escaped."""

    path: str
    kind: EntryKind
    size: int


class Unreadable(Exception):
    """A file that could not be read. `kind` is a `Problem` slug, the text says why."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind

    def __reduce__(self) -> tuple[type[Unreadable], tuple[str, str]]:
        return type(self), (self.kind, str(self))


class FileSource(Protocol):
    """The files of one record folder. Implementations are picklable, so that worker processes can read them."""

    @property
    def label(self) -> str:
        """What the user named: shown in reports as the submission's path (POSIX, from `records/` on where that is known)."""
        ...

    def entries(self) -> tuple[Entry, ...]:
        """All names, sorted by path. Raises `Unreadable` when even the listing fails."""
        ...

    def problems(self) -> tuple[Problem, ...]:
        """What the listing had to leave out (too many files, too deep, refused names), sorted."""
        ...

    def read(self, path: str, limit: int) -> bytes:
        """The whole file, at most `limit` bytes. Raises `Unreadable` (`too-large`, `symlink`, `unreadable`, ...)."""
        ...


def too_large(size: int, limit: int) -> Unreadable:
    """The refusal of a file above a budget; both in bytes."""
    return Unreadable("too-large", f"{size:,} bytes, above the limit of {limit:,}")


def incomplete_listing(problems: tuple[Problem, ...]) -> bool:
    """Whether files may exist that were not listed, so that nothing may be concluded from a name's absence."""
    return any(problem.kind in INCOMPLETE for problem in problems)


INCOMPLETE = frozenset(
    {
        "archive-limit",
        "duplicate-name",
        "refused-name",
        "too-many-files",
        "tree-too-deep",
        "truncated-archive",
        "unreadable-directory",
    }
)
"""Kinds of `Problem` after which a listing may lack files."""
