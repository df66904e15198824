"""A record is untrusted: it is read whole, or refused."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.execution.records import Script
from verifier.execution.observations import BadRecord, read_observations


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    script = Script.on()
    script.score(range(1, 200))
    script.end()
    script.write(tmp_path)
    return tmp_path


def test_a_record_is_read_back(folder: Path) -> None:
    seen = read_observations(folder)
    assert seen.completed
    assert [(span.start, span.count, span.width) for span in seen.spans] == [(0, 199, 512)]
    assert len(seen.losses) == len(seen.counted) == 199


def test_a_run_that_was_stopped_is_not_complete(folder: Path) -> None:
    lines = (folder / "events.jsonl").read_text().splitlines()
    (folder / "events.jsonl").write_text("\n".join(lines[:-1]) + "\n")
    assert not read_observations(folder).completed


@pytest.mark.parametrize(
    "line", ["", "[]", "nonsense", '{"n": "1", "kind": "line"}', '{"n": 1}', "[" * 3000, "x" * 5000, '{"n": 1, "kind": 3}']
)
def test_a_line_that_is_no_event_is_refused(folder: Path, line: str) -> None:
    with (folder / "events.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(BadRecord):
        read_observations(folder)


def test_indices_outside_the_record_are_refused(folder: Path) -> None:
    (folder / "counted.i64").write_bytes((5000).to_bytes(8, "little"))
    with pytest.raises(BadRecord, match="does not hold"):
        read_observations(folder)


def test_events_that_do_not_fit_the_arrays_are_refused(folder: Path) -> None:
    event = {"n": 9, "kind": "scores", "start": 150, "count": 10}
    with (folder / "events.jsonl").open("a") as file:
        file.write(json.dumps(event) + "\n")
    with pytest.raises(BadRecord, match="fit together"):
        _ = read_observations(folder).spans


def test_links_and_missing_files_are_refused(folder: Path) -> None:
    (folder / "losses.f32").unlink()
    with pytest.raises(BadRecord):
        read_observations(folder)
    (folder / "losses.f32").symlink_to("/dev/zero")
    with pytest.raises(BadRecord):
        read_observations(folder)


@pytest.mark.parametrize("name", ["events.jsonl", "losses.f32"])
def test_a_pipe_in_the_place_of_a_file_is_refused_without_waiting(folder: Path, name: str) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(BadRecord, match="no regular file"):
        read_observations(folder)


@settings(max_examples=50)
@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.mktemp("record")
    Script.on().write(folder)
    (folder / "events.jsonl").write_bytes(data)
    with contextlib.suppress(BadRecord):
        _ = read_observations(folder).spans
