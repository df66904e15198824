"""A folder on disk: what is listed, what is refused, and that nothing outside is ever read."""

from __future__ import annotations

import os
import pickle
import socket
from pathlib import Path

import pytest

from verifier.limits import Limits
from verifier.submission.disk_source import DiskSource
from verifier.submission.source import Entry, EntryKind, Unreadable, incomplete_listing


def _refusal(source: DiskSource, path: str, limit: int = 1000) -> str:
    with pytest.raises(Unreadable) as refused:
        source.read(path, limit)
    return refused.value.kind


def _kinds(source: DiskSource) -> dict[str, EntryKind]:
    return {entry.path: entry.kind for entry in source.entries()}


def test_files_are_listed_with_sizes_in_path_order(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "train.log").write_bytes(b"seed:42\n")
    (tmp_path / "README.md").write_bytes(b"# X")
    source = DiskSource(tmp_path, "x")
    assert source.entries() == (Entry("README.md", EntryKind.FILE, 3), Entry("logs/train.log", EntryKind.FILE, 8))
    assert source.problems() == ()
    assert source.read("logs/train.log", 8) == b"seed:42\n"


def test_a_file_above_the_limit_is_refused_with_both_numbers(tmp_path: Path) -> None:
    (tmp_path / "big.log").write_bytes(b"x" * 1001)
    with pytest.raises(Unreadable, match=r"1,001 bytes, above the limit of 1,000") as refused:
        DiskSource(tmp_path, "x").read("big.log", 1000)
    assert refused.value.kind == "too-large"


def test_a_sparse_file_costs_nothing(tmp_path: Path) -> None:
    with (tmp_path / "model.bin").open("wb") as file:
        file.truncate(1 << 40)
    source = DiskSource(tmp_path, "x")
    assert source.entries()[0].size == 1 << 40
    assert _refusal(source, "model.bin") == "too-large"


def test_symlinks_are_listed_and_never_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("outside")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "train.log").symlink_to(secret)
    (folder / "data").symlink_to(tmp_path)
    (folder / "gone").symlink_to("nowhere")
    source = DiskSource(folder, "x")
    assert set(_kinds(source).values()) == {EntryKind.SYMLINK}
    assert _refusal(source, "train.log") == "symlink"
    assert _refusal(source, "data/secret.txt") == "symlink"
    assert _refusal(source, "gone") == "symlink"


def test_cyclic_symlinks_end(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert set(_kinds(DiskSource(tmp_path, "x"))) == {"loop", "a", "b"}


def test_a_symlink_that_the_user_named_is_followed(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (real / "README.md").write_text("hello")
    (tmp_path / "named").symlink_to(real)
    assert DiskSource(tmp_path / "named", "x").read("README.md", 10) == b"hello"


@pytest.mark.parametrize("path", ["../secret.txt", "logs/../../secret.txt", "/etc/passwd", "", ".", "logs//x", "logs/./x"])
def test_climbing_paths_are_refused(tmp_path: Path, path: str) -> None:
    (tmp_path / "logs").mkdir()
    assert _refusal(DiskSource(tmp_path, "x"), path) == "refused-name"


def test_a_fifo_is_listed_and_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "train.log")
    source = DiskSource(tmp_path, "x")
    assert _kinds(source) == {"train.log": EntryKind.OTHER}
    assert _refusal(source, "train.log") == "special-file"


def test_a_socket_is_listed_and_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # socket paths are short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("submission.json")
        source = DiskSource(tmp_path, "x")
        assert _kinds(source) == {"submission.json": EntryKind.OTHER}
        assert _refusal(source, "submission.json") in ("unreadable", "special-file")


def test_names_that_are_not_utf8_survive_the_round_trip(tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/caf\xe9.log", "wb") as file:
        file.write(b"x")
    source = DiskSource(tmp_path, "x")
    assert [entry.path for entry in source.entries()] == ["caf\udce9.log"]
    assert source.read("caf\udce9.log", 10) == b"x"


@pytest.mark.parametrize(
    "name", ["a b (1).log", "new\nline.log", "::error::x", "-rf", "back\\slash", "\u202egol", "emoji 🏌.log", "'\"$(x)"]
)
def test_odd_names_are_read_as_they_are(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    source = DiskSource(tmp_path, "x")
    assert [entry.path for entry in source.entries()] == [name]
    assert source.read(name, 10) == b"x"


def test_deep_trees_are_cut_and_reported(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["d"] * 40)
    deep.mkdir(parents=True)
    (deep / "train.log").write_text("x")
    (tmp_path / "README.md").write_text("x")
    source = DiskSource(tmp_path, "x", Limits(folder_depth=5))
    assert [entry.path for entry in source.entries()] == ["README.md"]
    assert [problem.kind for problem in source.problems()] == ["tree-too-deep"]
    assert incomplete_listing(source.problems())


def test_too_many_files_keep_the_folders_own_and_report_the_rest(tmp_path: Path) -> None:
    below = tmp_path / "aaa"
    below.mkdir()
    for number in range(50):
        (below / f"{number}.txt").write_text("x")
    (tmp_path / "train_gpt.py").write_text("x")
    source = DiskSource(tmp_path, "x", Limits(folder_files=10))
    assert len(source.entries()) == 10
    assert "train_gpt.py" in _kinds(source)
    assert [problem.kind for problem in source.problems()] == ["too-many-files"]


def test_too_many_empty_directories_end(tmp_path: Path) -> None:
    for number in range(50):
        (tmp_path / str(number)).mkdir()
    assert [problem.kind for problem in DiskSource(tmp_path, "x", Limits(folder_files=10)).problems()] == ["too-many-files"]


def test_a_crowd_of_junk_does_not_use_up_the_budget(tmp_path: Path) -> None:
    junk = tmp_path / "wandb" / "run-1"
    junk.mkdir(parents=True)
    for number in range(50):
        (junk / f"{number}.txt").write_text("x")
    (tmp_path / "zz").mkdir()
    (tmp_path / "zz" / "train.log").write_text("x")
    source = DiskSource(tmp_path, "x", Limits(folder_files=10))
    assert "zz/train.log" in _kinds(source)
    assert not incomplete_listing(source.problems())
    assert [problem.kind for problem in source.problems()] == ["junk-not-listed"]


def test_a_nested_repository_is_a_gitlink(tmp_path: Path) -> None:
    (tmp_path / "flash-attention" / ".git").mkdir(parents=True)
    (tmp_path / "flash-attention" / "setup.py").write_text("x")
    assert _kinds(DiskSource(tmp_path, "x")) == {"flash-attention": EntryKind.GITLINK}


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_directory_is_reported(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    source = DiskSource(tmp_path, "x")
    assert [problem.kind for problem in source.problems()] == ["unreadable-directory"]


def test_a_folder_that_is_gone_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(Unreadable):
        DiskSource(tmp_path / "gone", "x").entries()


def test_a_source_travels_to_a_worker_process(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("x")
    source = DiskSource(tmp_path, "label")
    assert pickle.loads(pickle.dumps(source)).entries() == source.entries()  # noqa: S301 - our own bytes


def test_a_refusal_travels_back_from_a_worker_process() -> None:
    back = pickle.loads(pickle.dumps(Unreadable("too-large", "why")))  # noqa: S301 - our own bytes
    assert (back.kind, str(back)) == ("too-large", "why")
