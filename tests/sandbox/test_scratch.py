"""Folders that a hostile command leaves behind."""

from __future__ import annotations

import os
from pathlib import Path

from verifier.sandbox.policy import LeftFile, SandboxLimits
from verifier.sandbox.scratch import MOST_DEPTH, list_files, remove_tree, used_bytes


def listed(folder: Path, limits: SandboxLimits | None = None) -> tuple[tuple[LeftFile, ...], set[str]]:
    handle = os.open(folder, os.O_RDONLY)
    try:
        files, problems = list_files(handle, limits or SandboxLimits())
    finally:
        os.close(handle)
    return files, {problem.kind for problem in problems}


def test_files_are_listed_sorted_and_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("12")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "c").write_text("1")
    (tmp_path / "loop").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert listed(tmp_path) == ((LeftFile("a/c", 1), LeftFile("b", 2)), {"symlink", "special-file"})


def test_names_that_no_report_could_print_are_problems(tmp_path: Path) -> None:
    os.close(os.open(os.fsencode(tmp_path) + b"/\xff", os.O_CREAT))
    (tmp_path / "a\nb").touch()
    assert listed(tmp_path) == ((), {"not-utf8-name"})


def test_counts_and_depths_are_bounded(tmp_path: Path) -> None:
    for at in range(30):
        (tmp_path / f"{at:02}").touch()
    files, kinds = listed(tmp_path, SandboxLimits(scratch_files=10))
    assert (len(files), kinds) == (10, {"truncated"})
    deep = tmp_path / "deep"
    deep.joinpath(*["d"] * (MOST_DEPTH + 2)).mkdir(parents=True)
    assert "too-deep" in listed(deep)[1]


def test_a_tree_deeper_than_any_path_is_removed(tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    here = os.open(top, os.O_RDONLY)
    for _ in range(300):
        os.mkdir("d" * 60, dir_fd=here)
        below = os.open("d" * 60, os.O_RDONLY, dir_fd=here)
        os.close(os.open("file", os.O_CREAT, dir_fd=here))
        os.close(here)
        here = below
    os.close(here)
    (top / "out").symlink_to(tmp_path)
    (top / "closed").mkdir(0)
    (tmp_path / "kept").touch()
    remove_tree(top)
    assert os.listdir(tmp_path) == ["kept"]


def test_counting_stops_beyond_the_limit(tmp_path: Path) -> None:
    for at in range(30):
        (tmp_path / str(at)).write_bytes(b"x" * 5000)
    assert used_bytes(tmp_path, 1000)[0] >= 150_000
    assert used_bytes(tmp_path, 5)[1] <= 6
