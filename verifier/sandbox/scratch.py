"""The scratch folders of commands that have ended: what is in them, copies of it, and removing them.

Whatever made them is dead, so nothing changes under these functions; but names, links, depths and kinds are its choice.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from verifier.evidence import Location, Problem
from verifier.sandbox.policy import LeftFile, SandboxLimits

MOST_DEPTH = 32
MOST_PROBLEMS = 50


def list_files(work: int, limits: SandboxLimits) -> tuple[tuple[LeftFile, ...], tuple[Problem, ...]]:
    """The regular files below the folder with this descriptor, sorted; everything else is a problem. Follows no links."""
    files: list[LeftFile] = []
    problems: list[Problem] = []
    for seen, (path, found) in enumerate(_walk(work)):
        if seen >= limits.scratch_files or len(problems) >= MOST_PROBLEMS:
            problems.append(Problem(Location("."), "truncated", "more files, or more odd ones, than are listed"))
            break
        if isinstance(found, str):
            problems.append(
                Problem(Location(path.encode(errors="replace").decode()), found, "left in the work folder, not looked at")
            )
        else:
            files.append(LeftFile(path, found))
    return tuple(sorted(files)), tuple(sorted(problems))


def _walk(work: int) -> Iterator[tuple[str, int | str]]:
    """(path, size) of regular files, (path, kind of problem) of what is none."""
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        try:
            handle = os.open(folder or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=work)
        except OSError:
            yield folder, "unreadable"
            continue
        try:
            with os.scandir(handle) as entries:
                for entry in entries:
                    path = f"{folder}/{entry.name}" if folder else entry.name
                    kind = entry.stat(follow_symlinks=False)
                    if not _is_text(entry.name):
                        yield path, "not-utf8-name"
                    elif stat.S_ISREG(kind.st_mode):
                        yield path, kind.st_size
                    elif stat.S_ISLNK(kind.st_mode):
                        yield path, "symlink"
                    elif not stat.S_ISDIR(kind.st_mode):
                        yield path, "special-file"
                    elif path.count("/") >= MOST_DEPTH:
                        yield path, "too-deep"
                    else:
                        waiting.append(path)
        finally:
            os.close(handle)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return name.isprintable()


def copy_files(work: int, files: tuple[LeftFile, ...], target: Path, limits: SandboxLimits) -> tuple[Problem, ...]:
    """Copy listed files into an existing folder, with plain modes. What would pass `limits.scratch` in sum is left out."""
    problems: list[Problem] = []
    left = limits.scratch
    for file in files:
        left -= file.size
        if left < 0:
            # Holes count in full: a sparse file would fill the disk when copied.
            problems.append(Problem(Location(file.path), "too-large", f"{file.size:,} bytes do not fit what may be copied"))
            left += file.size
            continue
        try:
            _copy_file(work, file, target)
        except OSError as failure:
            problems.append(Problem(Location(file.path), "unreadable", str(failure.strerror)))
    return tuple(problems)


def _copy_file(work: int, file: LeftFile, target: Path) -> None:
    copy = target / file.path
    copy.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(file.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=work)
    with os.fdopen(handle, "rb") as source, copy.open("xb") as out:
        remaining = file.size
        while remaining and (block := source.read(min(remaining, 1 << 20))):
            out.write(block)
            remaining -= len(block)


def used_bytes(folder: Path, most_files: int) -> tuple[int, int]:
    """(bytes on disk, entries) below a folder that a command is still writing to. Stops counting beyond `most_files`."""
    size, count = 0, 0
    waiting = [folder]
    while waiting and count <= most_files:
        with suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                count += 1
                with suppress(OSError):
                    size += entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(Path(entry.path))
                if count > most_files:
                    break
    return size, count


def remove_tree(folder: Path) -> None:
    """Remove a folder however deep it is: each folder's subfolders are moved up before it goes, so no path gets long.

    Raises `OSError` when something can't be removed (a read-only disk).
    """
    root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    moved = 0
    try:
        while names := os.listdir(root):
            for name in names:
                if not _is_folder(root, name):
                    os.unlink(name, dir_fd=root)
                    continue
                os.chmod(name, 0o700, dir_fd=root)
                inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=root)
                try:
                    for child in os.listdir(inner):
                        if _is_folder(inner, child):
                            # A folder must be writable to be moved: its entry `..` changes.
                            os.chmod(child, 0o700, dir_fd=inner)
                            moved += 1
                            os.rename(child, f"moved-up-{moved}", src_dir_fd=inner, dst_dir_fd=root)
                        else:
                            os.unlink(child, dir_fd=inner)
                finally:
                    os.close(inner)
                os.rmdir(name, dir_fd=root)
    finally:
        os.close(root)
    folder.rmdir()


def _is_folder(parent: int, name: str) -> bool:
    return stat.S_ISDIR(os.lstat(name, dir_fd=parent).st_mode)
