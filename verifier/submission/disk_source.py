"""A record folder on disk, read without following anything.

Every component is opened relative to its parent's descriptor with `O_NOFOLLOW`, so neither a symlink in the folder nor one that
is swapped in while we read leads outside. FIFOs, sockets and devices are listed and never opened for reading.
"""

from __future__ import annotations

import os
import stat
from collections import deque
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from verifier.evidence import Location, Problem
from verifier.limits import DEFAULT_LIMITS, Limits
from verifier.submission.junk import is_junk_directory
from verifier.submission.source import Entry, EntryKind, Unreadable, too_large

_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_OPEN_DIRECTORY = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_DIRECTORY
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class DiskSource:
    """The files below `root`. A symlink as `root` itself is followed: the user named it."""

    root: Path
    label: str
    limits: Limits = DEFAULT_LIMITS

    def entries(self) -> tuple[Entry, ...]:
        return self._list()[0]

    def problems(self) -> tuple[Problem, ...]:
        return self._list()[1]

    def read(self, path: str, limit: int) -> bytes:
        descriptor = self._open(path)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise Unreadable("special-file", "not a regular file")
            if status.st_size > limit:
                raise too_large(status.st_size, limit)
            # The file may grow while it is read: the budget holds for what comes, not for what was announced.
            chunks: list[bytes] = []
            total = 0
            while chunk := os.read(descriptor, min(_CHUNK, limit + 1 - total)):
                chunks.append(chunk)
                total += len(chunk)
                if total > limit:
                    raise too_large(total, limit)
            return b"".join(chunks)
        except OSError as failure:
            raise Unreadable("unreadable", failure.strerror or str(failure)) from failure
        finally:
            os.close(descriptor)

    def _open(self, path: str) -> int:
        """A descriptor of a file below the root, opened component by component."""
        *parents, name = path.split("/")
        if any(part in ("", ".", "..") for part in (*parents, name)):
            raise Unreadable("refused-name", "not a path below the folder")
        try:
            descriptor = os.open(self.root, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
            for parent in parents:
                descriptor = _reopen(descriptor, parent, _OPEN_DIRECTORY)
            return _reopen(descriptor, name, _OPEN)
        except OSError as failure:
            kind = "symlink" if _is_symlink(self.root / path) else "unreadable"
            raise Unreadable(kind, failure.strerror or str(failure)) from failure

    def _list(self) -> tuple[tuple[Entry, ...], tuple[Problem, ...]]:
        """Breadth first, junk directories last, so that a budget runs out on the least important names."""
        found: list[Entry] = []
        problems: list[Problem] = []
        pending: deque[tuple[str, int, bool]] = deque([("", 0, False)])
        junk: deque[tuple[str, int, bool]] = deque()
        directories = 0
        while pending or junk:
            directory, depth, in_junk = pending.popleft() if pending else junk.popleft()
            directories += 1
            if directories > self.limits.folder_files:
                return tuple(sorted(found)), (*sorted(problems), _cut_off(directory, in_junk, self.limits))
            try:
                children = self._children(directory)
            except OSError as failure:
                if not directory:
                    raise Unreadable("unreadable", failure.strerror or str(failure)) from failure
                problems.append(Problem(Location(directory), "unreadable-directory", failure.strerror or str(failure)))
                continue
            if directory and any(name == ".git" for name, _ in children):
                found.append(Entry(directory, EntryKind.GITLINK, 0))  # git would record a nested checkout as a gitlink
                continue
            for name, status in children:
                path = f"{directory}/{name}" if directory else name
                if stat.S_ISDIR(status.st_mode):
                    below_junk = in_junk or is_junk_directory(name)
                    if depth + 1 > self.limits.folder_depth:
                        kind = "junk-not-listed" if below_junk else "tree-too-deep"
                        message = f"directories more than {self.limits.folder_depth} levels down are not listed"
                        problems.append(Problem(Location(path), kind, message))
                    else:
                        (junk if below_junk else pending).append((path, depth + 1, below_junk))
                elif len(found) >= self.limits.folder_files:
                    return tuple(sorted(found)), (*sorted(problems), _cut_off(directory, in_junk, self.limits))
                else:
                    found.append(Entry(path, _kind(status), status.st_size))
        return tuple(sorted(found)), tuple(sorted(problems))

    def _children(self, directory: str) -> list[tuple[str, os.stat_result]]:
        """Names of one directory, sorted, with their own status (links not followed).

        A directory of millions of names is cut far above any budget that could list it.
        """
        descriptor = os.open(self.root, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
        for part in directory.split("/") if directory else ():
            descriptor = _reopen(descriptor, part, _OPEN_DIRECTORY)
        try:
            with os.scandir(descriptor) as names:
                listed = sorted(entry.name for entry in islice(names, 20 * self.limits.folder_files))
            children = []
            for name in listed[: 2 * self.limits.folder_files]:
                try:
                    children.append((name, os.stat(name, dir_fd=descriptor, follow_symlinks=False)))
                except FileNotFoundError:
                    continue  # gone since it was listed
            return children
        finally:
            os.close(descriptor)


def _reopen(descriptor: int, name: str, flags: int) -> int:
    """Open `name` below a directory descriptor and close that one."""
    try:
        return os.open(name, flags, dir_fd=descriptor)
    finally:
        os.close(descriptor)


def _cut_off(directory: str, in_junk: bool, limits: Limits) -> Problem:
    """The listing ended at its budget; among junk that costs nothing."""
    kind = "junk-not-listed" if in_junk else "too-many-files"
    return Problem(
        Location(directory or "."), kind, f"more than {limits.folder_files:,} files or directories: the rest is not listed"
    )


def _is_symlink(path: Path) -> bool:
    """Whether the path or a parent below the folder is a link (only to word the refusal)."""
    try:
        return any(candidate.is_symlink() for candidate in (path, *path.parents))
    except OSError:
        return False


def _kind(status: os.stat_result) -> EntryKind:
    if stat.S_ISREG(status.st_mode):
        return EntryKind.FILE
    return EntryKind.SYMLINK if stat.S_ISLNK(status.st_mode) else EntryKind.OTHER
