"""A record folder read from git objects."""

from __future__ import annotations

import os
import pickle
import subprocess
from pathlib import Path

import pytest

from verifier.limits import Limits
from verifier.submission.git_source import GitTreeSource
from verifier.submission.source import EntryKind, Unreadable


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    path = tmp_path / "repo"
    folder = path / "records" / "X y"
    folder.mkdir(parents=True)
    _git(path, "init", "-q", "-b", "main")
    (folder / "README.md").write_bytes(b"# X\n")
    (folder / "logs").mkdir()
    (folder / "logs" / "new\nline.log").write_bytes(b"seed:42\n" * 1000)
    (folder / "empty.txt").write_bytes(b"")
    (folder / "link.log").symlink_to("/etc/passwd")
    with open(os.fsencode(folder) + b"/caf\xe9.log", "wb") as file:
        file.write(b"x")
    _git(path, "add", "-A")
    _git(path, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},records/X y/flash-attention")
    _git(path, "commit", "-q", "-m", "x")
    return path


def _git(path: Path, *arguments: str, text: bytes = b"") -> bytes:
    who = {f"GIT_{role}_{key}": "a@example.org" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment = clean | who | {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
    return subprocess.run(["git", *arguments], cwd=path, env=environment, check=True, capture_output=True, input=text).stdout


def _source(repository: Path, limits: Limits = Limits()) -> GitTreeSource:  # noqa: B008 - frozen
    return GitTreeSource(repository, "main", "records/X y", limits=limits)


def _refusal(source: GitTreeSource, path: str, limit: int = 10_000) -> str:
    with pytest.raises(Unreadable) as refused:
        source.read(path, limit)
    return refused.value.kind


def test_names_kinds_and_contents(repository: Path) -> None:
    source = _source(repository)
    assert source.label == "records/X y"
    assert {entry.path: (entry.kind, entry.size) for entry in source.entries()} == {
        "README.md": (EntryKind.FILE, 4),
        "caf\udce9.log": (EntryKind.FILE, 1),
        "empty.txt": (EntryKind.FILE, 0),
        "flash-attention": (EntryKind.GITLINK, 0),
        "link.log": (EntryKind.SYMLINK, 11),
        "logs/new\nline.log": (EntryKind.FILE, 8000),
    }
    assert source.read("logs/new\nline.log", 8000) == b"seed:42\n" * 1000
    assert source.read("empty.txt", 10) == b""
    assert source.read("README.md", 10) == b"# X\n"


def test_what_is_refused(repository: Path) -> None:
    source = _source(repository)
    assert _refusal(source, "link.log") == "symlink"
    assert _refusal(source, "flash-attention") == "gitlink"
    assert _refusal(source, "logs/new\nline.log", 7999) == "too-large"
    assert _refusal(source, "../../x") == "unreadable"
    assert source.read("README.md", 10) == b"# X\n"


def test_a_blob_that_the_repository_lacks_is_listed_and_refused(repository: Path) -> None:
    blob = _git(repository, "rev-parse", "main:records/X y/README.md").decode().strip()
    (repository / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    source = _source(repository)
    assert next(entry.size for entry in source.entries() if entry.path == "README.md") == -1
    assert _refusal(source, "README.md") == "absent-object"
    assert source.read("caf\udce9.log", 10) == b"x"


def test_a_partial_clone_is_not_completed_over_the_network(repository: Path, tmp_path: Path) -> None:
    _git(repository, "config", "uploadpack.allowFilter", "true")
    _git(tmp_path, "clone", "-q", "--bare", "--filter=blob:none", f"file://{repository}", "partial")
    source = GitTreeSource(tmp_path / "partial", "main", "records/X y")
    assert _refusal(source, "README.md") == "absent-object"
    assert b"README" not in _git(
        tmp_path / "partial", "cat-file", "--batch-all-objects", "--batch-check=%(objecttype) %(objectname)"
    )


def test_a_tree_with_too_many_or_too_deep_names(repository: Path) -> None:
    blob = _git(repository, "hash-object", "-w", "--stdin", text=b"x").decode().strip()
    deep = "/".join(["d"] * 30)
    _git(repository, "update-index", "--add", "--cacheinfo", f"100644,{blob},records/X y/{deep}/train.log")
    _git(repository, "commit", "-q", "-m", "deep")
    assert [problem.kind for problem in _source(repository).problems()] == ["tree-too-deep"]
    crowded = _source(repository, Limits(folder_files=3))
    assert len(crowded.entries()) == 3
    assert "too-many-files" in [problem.kind for problem in crowded.problems()]


def test_no_such_folder_commit_or_repository(repository: Path, tmp_path: Path) -> None:
    for place, commit, folder in ((repository, "main", "records/none"), (repository, "nope", "records"), (tmp_path, "main", "x")):
        with pytest.raises(Unreadable):
            GitTreeSource(place, commit, folder).entries()


def test_a_source_travels_to_a_worker_process(repository: Path) -> None:
    source = _source(repository)
    source.read("README.md", 10)
    there = pickle.loads(pickle.dumps(source))  # noqa: S301 - our own bytes
    assert there.entries() == source.entries()
    assert there.read("README.md", 10) == b"# X\n"
