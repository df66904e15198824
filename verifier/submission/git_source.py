"""A record folder in a git tree, read from the object store without a checkout."""

from __future__ import annotations

import os
import subprocess
import weakref
from pathlib import Path

from verifier.evidence import Location, Problem
from verifier.git.repository import GitError, Repository, scrubbed_environment
from verifier.limits import DEFAULT_LIMITS, Limits
from verifier.submission.source import Entry, EntryKind, Unreadable, too_large

_KINDS = {"120000": EntryKind.SYMLINK, "160000": EntryKind.GITLINK, "040000": EntryKind.OTHER}


class GitTreeSource:
    """The folder `path` of `commit`. Blobs that a partial clone lacks are listed and refused, never fetched."""

    def __init__(self, repository: Path, commit: str, path: str, label: str = "", limits: Limits = DEFAULT_LIMITS) -> None:
        self.repository = repository
        self.commit = commit
        self.path = path
        self.label = label or path
        self.limits = limits
        self._listing: dict[str, tuple[Entry, str]] | None = None
        self._problems: list[Problem] = []
        self._blobs: subprocess.Popen[bytes] | None = None

    def __reduce__(self) -> tuple[type[GitTreeSource], tuple[Path, str, str, str, Limits]]:
        return type(self), (self.repository, self.commit, self.path, self.label, self.limits)

    def entries(self) -> tuple[Entry, ...]:
        return tuple(sorted(entry for entry, _ in self._list().values()))

    def problems(self) -> tuple[Problem, ...]:
        self._list()
        return tuple(sorted(self._problems))

    def read(self, path: str, limit: int) -> bytes:
        found = self._list().get(path)
        if found is None:
            raise Unreadable("unreadable", "no such file in this tree")
        entry, blob = found
        if entry.kind is not EntryKind.FILE:
            raise Unreadable(entry.kind.value, f"a {entry.kind.value} is not followed")
        if entry.size < 0:
            raise Unreadable("absent-object", "the repository does not hold this blob (partial clone)")
        if entry.size > limit:
            raise too_large(entry.size, limit)
        return self._blob(blob)

    def _list(self) -> dict[str, tuple[Entry, str]]:
        """Path -> entry and blob. A size of -1 marks an object that the repository lacks."""
        if self._listing is not None:
            return self._listing
        git = Repository(self.repository)
        try:
            tree = f"{git.resolve(self.commit)}:{self.path}"
            lines = _list_tree(git, tree)
        except GitError as failure:
            raise Unreadable("unreadable", str(failure)) from failure
        found: dict[str, tuple[Entry, str]] = {}
        for line in lines:
            meta, _, raw = line.partition(b"\t")
            mode, _, blob, size = meta.decode("ascii").split()
            name = raw.decode("utf-8", "surrogateescape")
            if len(found) >= self.limits.folder_files:
                message = f"more than {self.limits.folder_files:,} files: the rest is not listed"
                self._problems.append(Problem(Location("."), "too-many-files", message))
                break
            if name.count("/") >= self.limits.folder_depth:
                self._problems.append(
                    Problem(Location(name), "tree-too-deep", f"more than {self.limits.folder_depth} levels down: not read")
                )
                continue
            kind = _KINDS.get(mode, EntryKind.FILE)
            known = int(size) if size.isdigit() else (-1 if kind is EntryKind.FILE else 0)
            found[name] = (Entry(name, kind, known), blob)
        self._listing = found
        return found

    def _blob(self, blob: str) -> bytes:
        """One object from a `git cat-file --batch` that lives as long as this source."""
        if self._blobs is None:
            self._blobs = subprocess.Popen(
                Repository(self.repository).command("cat-file", "--batch"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=scrubbed_environment(),
            )
            weakref.finalize(self, _stop, self._blobs)
        requests, answers = self._blobs.stdin, self._blobs.stdout
        if requests is None or answers is None:
            raise Unreadable("unreadable", "git cat-file has no pipes")
        try:
            requests.write(blob.encode("ascii") + b"\n")
            requests.flush()
            header = answers.readline().split()
            if len(header) != 3 or not header[2].isdigit():
                raise Unreadable("absent-object", "the repository does not hold this blob")
            size = int(header[2])
            data = answers.read(size)
            answers.read(1)
        except OSError as failure:
            raise Unreadable("unreadable", f"git cat-file ended: {os.strerror(failure.errno or 0)}") from failure
        if len(data) != size:
            raise Unreadable("unreadable", "git cat-file ended early")
        return data


def _list_tree(git: Repository, tree: str) -> list[bytes]:
    """Lines of `ls-tree -l`. In a partial clone git would rather die than leave a size out, so the missing objects are asked for
    first and the sizes of the others after that."""
    try:
        return git.run("ls-tree", "-r", "-l", "-z", "--full-tree", tree).split(b"\0")[:-1]
    except GitError:
        if not git.is_partial():
            raise
    lines = [line for line in git.run("ls-tree", "-r", "-z", "--full-tree", tree).split(b"\0") if line]
    seen = git.run("rev-list", "--objects", "--missing=print", "--no-object-names", tree).split()
    held = [name for name in seen if not name.startswith(b"?")]
    sizes = git.run("cat-file", "--batch-check=%(objectname) %(objectsize)", input_bytes=b"\n".join(held) + b"\n")
    known = dict(line.split() for line in sizes.splitlines())
    out = []
    for line in lines:
        meta, tab, name = line.partition(b"\t")
        out.append(meta + b" " + known.get(meta.split()[2], b"-") + tab + name)
    return out


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the batch process without leaving a zombie or an open pipe."""
    process.kill()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except OSError:
                continue  # a broken pipe at the end of the process's life
    process.wait()
