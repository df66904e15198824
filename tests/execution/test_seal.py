"""A record that anything else wrote to has no fitting seal."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from verifier.execution.child.recorder import Recorder
from verifier.execution.seal import SEAL, is_sealed, new_key

KEY = "00112233445566778899aabbccddeeff"


def write(folder: Path) -> None:
    recorder = Recorder(folder, bytes.fromhex(KEY))
    recorder.event("start")
    recorder.event("end", ok=True)
    recorder.close()


def test_an_untouched_record_is_sealed(tmp_path: Path) -> None:
    write(tmp_path)
    assert is_sealed(tmp_path, KEY)
    assert not is_sealed(tmp_path, new_key())


def append(folder: Path) -> None:
    with (folder / "events.jsonl").open("a") as file:
        file.write("{}\n")


def replace_array(folder: Path) -> None:
    (folder / "losses.f32").write_bytes(b"\0\0\0\0")


def sign_nothing(folder: Path) -> None:
    (folder / SEAL).write_text("{}")


def sign_elsewhere(folder: Path) -> None:
    signed = json.loads((folder / SEAL).read_text())
    (folder / SEAL).write_text(json.dumps({**signed, "../events.jsonl": signed["events.jsonl"]}))


def link(folder: Path) -> None:
    (folder / "events.jsonl").rename(folder / "other")
    (folder / "events.jsonl").symlink_to("other")


@pytest.mark.parametrize("change", [append, replace_array, sign_nothing, sign_elsewhere, link])
def test_a_changed_record_is_not(tmp_path: Path, change: Callable[[Path], None]) -> None:
    write(tmp_path)
    change(tmp_path)
    assert not is_sealed(tmp_path, KEY)


def test_a_run_that_was_cut_off_is_not(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, bytes.fromhex(KEY))
    recorder.event("start")
    assert not is_sealed(tmp_path, KEY)
    recorder.close()


def test_a_silenced_copy_writes_nothing(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, bytes.fromhex(KEY))
    recorder.event("start")
    before = (tmp_path / "events.jsonl").read_bytes()
    recorder.silence()
    recorder.event("end", ok=True)
    recorder.close()
    assert (tmp_path / "events.jsonl").read_bytes() == before
    assert not (tmp_path / SEAL).exists()
