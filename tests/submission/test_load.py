"""From a folder to a `Submission`: which file is what, what is left out, and that budgets and broken readers are reported."""

from __future__ import annotations

import base64
import io
import json
import lzma
import os
import subprocess
import tarfile
import zipfile
import zlib
from datetime import date
from pathlib import Path

import numpy as np
import pytest

import verifier.submission.load as load
from fixtures.record import Record, files_of
from verifier.limits import Limits
from verifier.submission.discover import discover
from verifier.submission.disk_source import DiskSource
from verifier.submission.git_source import GitTreeSource
from verifier.submission.load import load_submission, track_of
from verifier.submission.metadata import Metadata
from verifier.submission.source import Unreadable
from verifier.submission.submission import Submission, Track

LABEL = "records/track_10min_16mb/2026-04-30_X"


def _write(folder: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def _load(folder: Path, files: dict[str, bytes], limits: Limits = Limits()) -> Submission:  # noqa: B008 - frozen
    _write(folder, files)
    return load_submission(DiskSource(folder, LABEL, limits), limits)


def _kinds(submission: Submission) -> dict[str, str]:
    return {problem.location.path: problem.kind for problem in submission.problems}


def test_a_clean_folder(tmp_path: Path) -> None:
    _write(tmp_path, files_of(Record()))
    submission = load_submission(DiskSource(tmp_path, LABEL), first_commit=date(2026, 4, 29))
    assert submission.path == LABEL
    assert submission.track is Track.TEN_MINUTES
    assert submission.first_commit == date(2026, 4, 29)
    assert [part.path for part in submission.metadata] == ["submission.json"]
    assert [page.path for page in submission.readmes] == ["README.md"]
    assert sorted(run.seed or 0 for run in submission.runs) == [42, 314, 1337]
    assert submission.program.main is not None
    assert submission.program.main.path == "train_gpt.py"
    assert submission.problems == ()
    assert submission.leaks == ()
    assert all(entry.sha256 is not None and not entry.junk for entry in submission.files)


def test_the_folders_own_files_come_first_and_those_of_sub_folders_do_not_count(tmp_path: Path) -> None:
    some = json.dumps({"val_bpb": 1.1}).encode()
    submission = _load(
        tmp_path,
        {
            "submission_b.json": some,
            "submission.json": some,
            "Submission_a.json": some,
            "ablation/submission.json": some,
            "readme.txt": b"x",
            "README.md": b"# X",
            "vendor/README.md": b"No TTT.",
            "logs/train_seed42.log": b"seed:42\n",
        },
    )
    assert [part.path for part in submission.metadata] == ["submission.json", "Submission_a.json", "submission_b.json"]
    assert [page.path for page in submission.readmes] == ["README.md", "readme.txt"]
    assert [log.path for log in submission.logs] == ["logs/train_seed42.log"]


def test_files_of_a_sub_folder_count_when_there_are_none_above(tmp_path: Path) -> None:
    submission = _load(tmp_path, {"run/submission_ternary.json": b"{}", "run/ReadMe.MD": b"x"})
    assert [part.path for part in submission.metadata] == ["run/submission_ternary.json"]
    assert [page.path for page in submission.readmes] == ["run/ReadMe.MD"]


def test_junk_is_listed_and_not_audited(tmp_path: Path) -> None:
    submission = _load(
        tmp_path,
        {
            "README.md": b"x",
            ".ipynb_checkpoints/submission-checkpoint.json": b"{}",
            "submission-checkpoint.json": b"{}",
            "wandb/run-1/output.log": b"seed:42\nat /home/jdoe42/golf\n",
            "train_gpt.py~": b"print()",
            "submission.json~": b"{}",
            "train.pid": b"1",
            "__pycache__/train_gpt.cpython-312.pyc": b"\0",
        },
    )
    assert {entry.path for entry in submission.files if not entry.junk} == {"README.md"}
    assert submission.metadata == ()
    assert submission.logs == ()
    assert submission.program.main is None
    assert [leak.what for leak in submission.leaks] == ["/home/jdoe42"]


def test_links_and_special_files_become_problems_but_not_those_in_junk(tmp_path: Path) -> None:
    _write(tmp_path, {"README.md": b"x", "wandb/x": b"x"})
    (tmp_path / "train.log").symlink_to("/etc/passwd")
    (tmp_path / "wandb" / "latest").symlink_to("nowhere")
    os.mkfifo(tmp_path / "submission.json")
    (tmp_path / "nested" / ".git").mkdir(parents=True)
    submission = _load(tmp_path, {})
    assert _kinds(submission) == {"train.log": "symlink", "submission.json": "special-file", "nested": "gitlink"}
    assert submission.logs == ()
    assert submission.metadata == ()


def test_names_that_are_not_utf8_are_read_and_reported(tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/seed42\xff.log", "wb") as file:
        file.write(b"seed:42\nstep:1/10 train_loss:6.9 train_time:1ms step_avg:1.00ms\n")
    submission = _load(tmp_path, {})
    assert [log.path for log in submission.logs] == ["seed42\udcff.log"]
    assert _kinds(submission) == {"seed42\udcff.log": "not-utf8-name"}


def test_binaries_are_recognised_and_payloads_handed_to_the_script_reader(tmp_path: Path) -> None:
    arrays = io.BytesIO()
    np.savez(arrays, base_bytes=np.zeros(8, np.int16))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("model/data.pkl", b"\x80\x02.")
    submission = _load(
        tmp_path,
        {
            "train_gpt.py": b"import lzma\nexec(lzma.decompress(open('code.lzma', 'rb').read()))\n",
            "code.lzma": lzma.compress(b"import os\nSEED = int(os.environ.get('SEED', '42'))\n"),
            "tok.meta.npz": arrays.getvalue(),
            "model.pt": packed.getvalue(),
            "plot.png": b"\x89PNG\r\n\x1a\n" + bytes(50),
        },
    )
    assert {binary.path: binary.kind for binary in submission.binaries} == {
        "code.lzma": "compressed",
        "model.pt": "torch-zip",
        "plot.png": "image",
        "tok.meta.npz": "npz",
    }
    assert all(binary.sha256 for binary in submission.binaries)


def test_files_above_their_limits_are_named(tmp_path: Path) -> None:
    limits = Limits(text_file=100, json_file=10, hash_bytes=200, script_file=50)
    submission = _load(
        tmp_path,
        {"train.log": b"x" * 101, "submission.json": b"{" + b" " * 20 + b"}", "model.bin": bytes(201), "train_gpt.py": b"#" * 60},
        limits,
    )
    assert _kinds(submission) == dict.fromkeys(["train.log", "submission.json", "model.bin", "train_gpt.py"], "too-large")
    assert [(binary.path, binary.size, binary.sha256) for binary in submission.binaries] == [("model.bin", 201, None)]
    assert submission.file("train_gpt.py") is not None


def test_a_time_budget_that_runs_out_is_reported_for_every_file_left(tmp_path: Path) -> None:
    submission = _load(tmp_path, {"README.md": b"x", "train.log": b"x", "train_gpt.py": b"x"}, Limits(seconds_per_folder=-1.0))
    assert _kinds(submission) == dict.fromkeys(["README.md", "train.log", "train_gpt.py"], "time-limit")


def test_a_memory_budget_for_texts_that_are_held_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "FOLDER_BYTES", 1000)
    submission = _load(tmp_path, {"a.log": b"x" * 600, "b.log": b"y" * 600})
    assert [log.path for log in submission.logs] == ["a.log"]
    assert _kinds(submission) == {"b.log": "too-large"}


def test_a_reader_that_breaks_costs_its_file_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(path: str, data: bytes, limits: Limits) -> Metadata:
        raise RecursionError(path)

    monkeypatch.setattr(load, "read_metadata", broken)
    submission = _load(tmp_path, {"submission.json": b"{}", "README.md": b"# X"})
    assert _kinds(submission) == {"submission.json": "reader-error"}
    assert [page.path for page in submission.readmes] == ["README.md"]


def test_a_folder_that_cannot_be_listed(tmp_path: Path) -> None:
    with pytest.raises(Unreadable):
        load_submission(DiskSource(tmp_path / "gone", LABEL))


def test_the_same_folder_gives_the_same_submission(tmp_path: Path) -> None:
    _write(tmp_path, files_of(Record()))
    source = DiskSource(tmp_path, LABEL)
    assert load_submission(source) == load_submission(source)


@pytest.mark.parametrize(
    ("label", "track"),
    [
        ("records/track_10min_16mb/X", Track.TEN_MINUTES),
        ("records/track_non_record_16mb/X", Track.NON_RECORD),
        ("records/X", None),
        ("/tmp/track_10min_16mb_copy/X", None),
    ],
)
def test_the_path_decides_the_track(label: str, track: Track | None) -> None:
    assert track_of(label) is track


def test_a_packed_scripts_leaks_are_found_in_its_layer(tmp_path: Path) -> None:
    inner = b"DATA = '/home/jdoe42/golf/data'\nprint(DATA)\n"
    packed = b"import zlib,base64\nexec(zlib.decompress(base64.b85decode('%s')))\n" % base64.b85encode(zlib.compress(inner))
    submission = _load(tmp_path, {"train_gpt.py": packed})
    assert [(leak.what, leak.source.layer, leak.source.line) for leak in submission.leaks] == [("/home/jdoe42", 1, 1)]


def test_disk_archive_and_git_give_the_same_submission(tmp_path: Path) -> None:
    files = files_of(Record()) | {"wandb/debug.log": b"x", "tok.bin": bytes(range(256))}
    folder = tmp_path / "repo" / LABEL
    _write(folder, files)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(f"{LABEL}/{name}", data)
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "repo" / "records", "parameter-golf/records")
    for arguments in (
        ["init", "-q"],
        ["add", "-A", "-f"],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "x"],
    ):
        subprocess.run(["git", *arguments], cwd=tmp_path / "repo", check=True)
    expected = load_submission(DiskSource(folder, LABEL))
    for path in (tmp_path / "repo", tmp_path / "a.zip", tmp_path / "a.tar.gz"):
        (source,) = discover(path)
        assert load_submission(source) == expected
    assert load_submission(GitTreeSource(tmp_path / "repo", "HEAD", LABEL)) == expected
