"""Which directories are record folders, and how they are called."""

from __future__ import annotations

import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from verifier.submission.discover import discover, record_folder_of, record_folders
from verifier.submission.source import Unreadable

TRACK = "records/track_10min_16mb"


def _write(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")


def _labels(path: Path) -> list[str]:
    return [source.label for source in discover(path)]


def test_a_record_folder_itself(tmp_path: Path) -> None:
    _write(tmp_path, f"{TRACK}/2026-04-19_X/README.md", f"{TRACK}/2026-04-19_X/logs/train.log")
    assert _labels(tmp_path / TRACK / "2026-04-19_X") == [f"{TRACK}/2026-04-19_X"]


def test_a_checkout_is_searched_below_records_only(tmp_path: Path) -> None:
    _write(
        tmp_path,
        "README.md",
        "train_gpt.py",
        "data/README.md",
        f"{TRACK}/2026-04-19_X/README.md",
        "records/track_non_record_16mb/2026-04-20_Y/submission.json",
        "records/2026-04-21_Z/train_gpt.py",
    )
    expected = ["records/2026-04-21_Z", f"{TRACK}/2026-04-19_X", "records/track_non_record_16mb/2026-04-20_Y"]
    assert _labels(tmp_path) == expected
    assert _labels(tmp_path / "records") == expected
    assert _labels(tmp_path / TRACK) == expected[1:2]


def test_many_checkouts_side_by_side(tmp_path: Path) -> None:
    _write(tmp_path, "notes.log", f"one/{TRACK}/2026-04-19_X/README.md", f"two/{TRACK}/2026-04-19_X/README.md")
    assert _labels(tmp_path) == [f"{TRACK}/2026-04-19_X"] * 2


def test_a_folder_outside_any_records_tree_keeps_the_name_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path, "mine/submission.json")
    monkeypatch.chdir(tmp_path)
    assert _labels(Path("mine")) == ["mine"]
    monkeypatch.chdir(tmp_path / "mine")
    assert _labels(Path(".")) == ["mine"]


def test_loose_files_make_no_folder_of_a_track(tmp_path: Path) -> None:
    _write(tmp_path, f"{TRACK}/README.md", f"{TRACK}/train_gpt.py", "records/submission.json", f"{TRACK}/2026-04-19_X/README.md")
    assert _labels(tmp_path) == [f"{TRACK}/2026-04-19_X"]


def test_junk_makes_no_folder(tmp_path: Path) -> None:
    _write(
        tmp_path,
        f"{TRACK}/2026-04-19_X/README.md",
        f"{TRACK}/2026-04-19_X/.ipynb_checkpoints/submission-checkpoint.json",
        f"{TRACK}/wandb/run-1/output.log",
        f"{TRACK}/.ipynb_checkpoints/README.md",
        f"{TRACK}/2026-04-20_Weights/final_model.bin",
    )
    assert _labels(tmp_path) == [f"{TRACK}/2026-04-19_X"]


def test_sub_folders_belong_to_their_record() -> None:
    folders = record_folders(
        [
            f"{TRACK}/MyRun/logs/train.log",
            f"{TRACK}/MyRun/src/train_gpt.py",
            f"{TRACK}/2026-04-19_X/ablation/submission.json",
            "records/phase3/run_a/README.md",
            "records/phase3/run_b/README.md",
            f"{TRACK}/alice/2026-04-20_Y/README.md",
            f"records/{TRACK}/2026-04-21_Twice/README.md",
            f"{TRACK}/track_a/train_gpt.py",
            f"{TRACK}/Non-Record_Try/train_gpt.py",
            "train_gpt.py",
        ]
    )
    assert sorted(folders) == [
        "records/phase3/run_a",
        "records/phase3/run_b",
        f"records/{TRACK}/2026-04-21_Twice",
        f"{TRACK}/2026-04-19_X",
        f"{TRACK}/MyRun",
        f"{TRACK}/Non-Record_Try",
        f"{TRACK}/alice/2026-04-20_Y",
        f"{TRACK}/track_a",
    ]
    assert record_folder_of(f"{TRACK}/MyRun/logs/train.log", folders) == f"{TRACK}/MyRun"
    assert record_folder_of(f"{TRACK}/README.md", folders) is None
    assert record_folder_of("train_gpt.py", folders) is None


def test_names_with_spaces_and_parentheses() -> None:
    assert record_folders([f"{TRACK}/2026-03-19_int6_STE QAT_ (v2)/README.md"]) == {f"{TRACK}/2026-03-19_int6_STE QAT_ (v2)"}


def test_an_archive_of_a_folder_with_one_top_directory(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("2026-04-19_X/README.md", "hello")
        archive.writestr("2026-04-19_X/logs/train.log", "x")
        archive.writestr("__MACOSX/2026-04-19_X/._README.md", "x")
    (source,) = discover(tmp_path / "a.zip")
    assert source.label == f"{tmp_path.as_posix()}/a.zip/2026-04-19_X"
    assert [entry.path for entry in source.entries()] == ["README.md", "logs/train.log"]
    assert source.read("README.md", 10) == b"hello"


def test_an_archive_of_loose_files_and_one_of_a_checkout(tmp_path: Path) -> None:
    _write(tmp_path, "in/README.md", f"in/{TRACK}/2026-04-19_X/README.md", f"in/{TRACK}/2026-04-20_Y/README.md")
    with tarfile.open(tmp_path / "checkout.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "in", "parameter-golf-main")
    assert _labels(tmp_path / "checkout.tar.gz") == [f"{TRACK}/2026-04-19_X", f"{TRACK}/2026-04-20_Y"]
    with tarfile.open(tmp_path / "loose.tar", "w") as archive:
        archive.add(tmp_path / "in" / "README.md", "./README.md")
    assert _labels(tmp_path / "loose.tar") == [(tmp_path / "loose.tar").as_posix()]


def test_nothing_to_audit_is_an_empty_answer(tmp_path: Path) -> None:
    _write(tmp_path, "src/main.c", "photo.png")
    assert _labels(tmp_path) == []


def test_what_cannot_be_read_says_so(tmp_path: Path) -> None:
    _write(tmp_path, "train_gpt.py")
    for path in (tmp_path / "gone", tmp_path / "train_gpt.py"):
        with pytest.raises(Unreadable) as refused:
            discover(path)
        assert refused.value.kind == "unreadable"


def test_a_fifo_given_as_input_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.zip")
    with pytest.raises(Unreadable) as refused:
        discover(tmp_path / "a.zip")
    assert refused.value.kind == "special-file"


def test_symlinked_folders_are_not_searched(tmp_path: Path) -> None:
    _write(tmp_path, f"{TRACK}/2026-04-19_X/README.md")
    (tmp_path / TRACK / "2026-04-20_Again").symlink_to(tmp_path / TRACK / "2026-04-19_X")
    (tmp_path / TRACK / "loop").symlink_to(tmp_path)
    assert _labels(tmp_path) == [f"{TRACK}/2026-04-19_X"]
