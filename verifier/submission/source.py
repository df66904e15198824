"""Where the files of a record folder come from: a directory, an archive, a git tree.

Readers see one interface, so a pull request is audited from git objects without a checkout, and an archive without unpacking
it to disk. Nothing is followed: symlinks and gitlinks are listed as such and never read.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


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


class FileSource(Protocol):
    """The files of one record folder."""

    @property
    def label(self) -> str:
        """What the user named: shown in reports as the submission's path (POSIX, from `records/` on where that is known)."""
        ...

    def entries(self) -> tuple[Entry, ...]:
        """All names, sorted by path. Raises `Unreadable` when even the listing fails."""
        ...

    def read(self, path: str, limit: int) -> bytes:
        """The whole file, at most `limit` bytes. Raises `Unreadable` (`too-large`, `symlink`, `unreadable`, ...)."""
        ...
