"""Finding record folders: in a folder, a checkout, an archive, or the list of names of a git tree.

The contest's layout is `records/<track>/<folder>/`, but folders also lie directly under `records/`, below tracks that nobody
announced, or twice below `records/`. A folder is what holds a README, a submission JSON, a training script or a log and is no
track. Loose files under `records/` or a track make no folder.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

from verifier.limits import DEFAULT_LIMITS, Limits
from verifier.submission.archive import Archive
from verifier.submission.archive_source import ArchiveSource
from verifier.submission.disk_source import DiskSource
from verifier.submission.junk import is_junk, is_junk_directory
from verifier.submission.names import is_evidence, is_submission_json, is_training_script
from verifier.submission.source import EntryKind, FileSource, Unreadable

ROOT = "records"
_TRACK = re.compile(r"track_\w*mb|non[-_]?records?(?:_\w*mb)?", re.IGNORECASE)
_DATED = re.compile(r"20\d\d[-_]\d{1,2}[-_]\d{1,2}")
_DIRECTORIES = 100_000
"""Directories looked into before the search gives up and asks for a more precise path."""

Children = Callable[[str], tuple[list[str], list[str]]]
"""Names of the sub-directories and the files of a directory (``""``: the top), junk left out, both sorted."""


def discover(path: Path, limits: Limits = DEFAULT_LIMITS) -> tuple[FileSource, ...]:
    """All record folders that `path` holds, sorted by label; empty when there is nothing to audit.

    `path` is a record folder, a directory with many of them (a checkout, `records/`, a track) or a `.zip`, `.tar`, `.tar.gz` of
    either. Raises `Unreadable` when `path` can't be read at all.
    """
    try:
        status = path.stat()
    except (OSError, ValueError) as failure:
        raise Unreadable("unreadable", getattr(failure, "strerror", None) or str(failure)) from failure
    sources: list[FileSource] = []
    if stat.S_ISDIR(status.st_mode):
        for folder in _search(_disk_children(path), _place(path)):
            sources.append(DiskSource(path / folder if folder else path, _label(path, folder), limits))
    else:
        archive = Archive(path, limits)
        files = [entry.path for entry in archive.entries if entry.kind is EntryKind.FILE]
        for folder in _search(_listed_children(files), _place(path)[:-1]):
            sources.append(ArchiveSource(archive, folder, _label(path, folder)))
    return tuple(sorted(sources, key=lambda source: source.label))


def record_folders(paths: Iterable[str]) -> frozenset[str]:
    """The record folders among a repository's file names (POSIX, from its root)."""
    below = [path for path in paths if path.startswith(f"{ROOT}/")]
    return frozenset(_search(_listed_children(below), ()))


def record_folder_of(path: str, folders: Collection[str]) -> str | None:
    """The record folder that holds `path`, if any."""
    at = path.rfind("/")
    while at > 0:
        if path[:at] in folders:
            return path[:at]
        at = path.rfind("/", 0, at)
    return None


def _search(children: Children, place: tuple[str, ...]) -> Iterator[str]:
    """Record folders below the top, as paths relative to it. `place` are the names of the top and its parents."""
    budget = iter(range(_DIRECTORIES))

    def look(directory: str) -> tuple[list[str], list[str]]:
        if next(budget, None) is None:
            raise Unreadable("too-many-files", f"more than {_DIRECTORIES:,} directories; name the record folders themselves")
        return children(directory)

    def holds_evidence(directory: str) -> bool:
        directories, files = look(directory)
        return any(map(is_evidence, files)) or any(holds_evidence(_join(directory, name)) for name in directories)

    def walk(directory: str, parents: tuple[str, ...]) -> Iterator[str]:
        directories, files = look(directory)
        direct = any(map(is_evidence, files))
        if any(_is_tree(name) for name in parents):
            container = _is_container(
                parents, directories, direct, lambda name: any(map(is_evidence, look(_join(directory, name))[1]))
            )
            if not container:
                if direct or any(holds_evidence(_join(directory, name)) for name in directories):
                    yield directory
                return
        else:
            if ROOT in directories:
                inside = list(walk(_join(directory, ROOT), (*parents, ROOT)))
                if inside:
                    yield from inside
                    return
            if any(is_submission_json(name) or is_training_script(name) for name in files):
                yield directory
                return
            # A README or a log alone may also stand beside folders of records: theirs count, if they look like it.
            below = [found for name in directories for found in walk(_join(directory, name), (*parents, name))]
            if direct and not any(_is_convincing(folder, look(folder)[1]) for folder in below):
                yield directory
            else:
                yield from below
            return
        for name in directories:
            yield from walk(_join(directory, name), (*parents, name))

    return walk("", place)


def _is_container(names: tuple[str, ...], directories: list[str], direct: bool, child_holds: Callable[[str], bool]) -> bool:
    """Whether a directory at or below `records/` or a track holds record folders instead of being one.

    `names` ends with the directory's own name; `direct`: it holds a README, JSON, script or log itself.
    """
    name = names[-1]
    if _is_tree(name):
        return True
    if _DATED.match(name) or direct:
        return False
    if any(_DATED.match(child) or _is_tree(child) for child in directories):
        return True
    return len(names) > 1 and names[-2] == ROOT and any(child_holds(child) for child in directories)


def _is_convincing(folder: str, files: list[str]) -> bool:
    """Whether a folder found below a README or log is a record of its own: it has a submission JSON or lies in a records tree."""
    return any(map(is_submission_json, files)) or any(map(_is_tree, folder.split("/")))


def _is_tree(name: str) -> bool:
    return name == ROOT or _TRACK.fullmatch(name) is not None


def _disk_children(top: Path) -> Children:
    def children(directory: str) -> tuple[list[str], list[str]]:
        directories: list[str] = []
        files: list[str] = []
        try:
            with os.scandir(top / directory if directory else top) as names:
                for entry in names:
                    if entry.is_dir(follow_symlinks=False):
                        if not is_junk_directory(entry.name):
                            directories.append(entry.name)
                    elif not is_junk(entry.name):
                        files.append(entry.name)
        except OSError as failure:
            if not directory:
                raise Unreadable("unreadable", failure.strerror or str(failure)) from failure
        return sorted(directories), sorted(files)

    return children


def _listed_children(paths: Iterable[str]) -> Children:
    tree: dict[str, tuple[set[str], set[str]]] = {"": (set(), set())}
    for path in paths:
        if is_junk(path):
            continue
        *parents, name = path.split("/")
        directory = ""
        for parent in parents:
            tree[directory][0].add(parent)
            directory = _join(directory, parent)
            tree.setdefault(directory, (set(), set()))
        tree[directory][1].add(name)

    def children(directory: str) -> tuple[list[str], list[str]]:
        directories, files = tree[directory]
        return sorted(directories), sorted(files)

    return children


def _place(path: Path) -> tuple[str, ...]:
    """The names on the way to `path`, links not resolved."""
    return Path(os.path.abspath(path)).parts


def _label(path: Path, folder: str) -> str:
    """From the last `records/` on where the path has one, else as the user named it."""
    inner = folder.split("/") if folder else []
    parts = [*_place(path), *inner]
    for at in range(len(parts) - 2, -1, -1):
        if parts[at] == ROOT:
            return "/".join(parts[at:])
    given = path.as_posix()
    if given in (".", "..") or given.endswith("/.."):
        given = _place(path)[-1]
    return "/".join([given, *inner])


def _join(directory: str, name: str) -> str:
    return f"{directory}/{name}" if directory else name
