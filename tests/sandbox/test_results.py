"""Result files as a hostile command would leave them."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifier.sandbox.results import Refused, ResultLimits, read_records, read_regular

SMALL = ResultLimits(records=3, line=200, depth=3, items=10)


def read(path: Path, limits: ResultLimits | None = None) -> list[object]:
    return list(read_records(read_regular(path, 4096 if limits is SMALL else 4 << 20), limits))


def kind(path: Path, limits: ResultLimits | None = None) -> str:
    with pytest.raises(Refused) as refused:
        read(path, limits)
    return refused.value.kind


def test_records_come_back_as_written(tmp_path: Path) -> None:
    records = [{"loss": 1.5, "seed": 42, "who": "ä"}, {"list": [1, [True, None]]}]
    (tmp_path / "r").write_text("".join(json.dumps(record) + "\n" for record in records))
    assert read(tmp_path / "r") == records


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "truncated"),
        (b'{"a": 1}', "truncated"),
        (b'{"a": 1}\n{"b"', "truncated"),
        (b'{"a": 1\n', "invalid-json"),
        (b"\n", "invalid-json"),
        (b"[1]\n", "invalid-json"),
        (b'"text"\n', "invalid-json"),
        (b'{"a": 1} {"b": 2}\n', "invalid-json"),
        (b'{"a": 1, "a": 2}\n', "duplicate-key"),
        (b'{"x": {"a": 1, "\\u0061": 2}}\n', "duplicate-key"),
        (b'{"a": NaN}\n', "not-finite"),
        (b'{"a": -Infinity}\n', "not-finite"),
        (b'{"a": 1e999}\n', "not-finite"),
        (b'{"a": ' + b"9" * 21 + b"}\n", "invalid-json"),
        (b'{"a": "\\ud800"}\n', "undecodable"),
        (b'{"\\udfff": 1}\n', "undecodable"),
        (b'{"a": "\xff"}\n', "undecodable"),
        (b'\xef\xbb\xbf{"a": 1}\n', "invalid-json"),
        (b'{"a": [[[1]]]}\n', "too-deep"),
        (b'{"a": ' + b"[" * 190 + b"\n", "too-deep"),
        (b'{"a": [1,2,3,4,5,6,7,8,9,10,11]}\n', "too-large"),
        (b'{"a": "' + b"x" * 300 + b'"}\n', "too-large"),
        (b"{}\n" * 4, "too-large"),
        (b"{}\n" + b"x" * 5000, "too-large"),
        (b"cos\nsystem\n", "invalid-json"),
        (b"\x80\x04\x95\x00\n", "undecodable"),
    ],
)
def test_forged_records_are_refused_whole(tmp_path: Path, data: bytes, expected: str) -> None:
    (tmp_path / "r").write_bytes(data)
    assert kind(tmp_path / "r", SMALL) == expected


def test_a_problem_names_the_line(tmp_path: Path) -> None:
    (tmp_path / "r").write_bytes(b'{"a": 1}\n{"a": NaN}\n')
    with pytest.raises(Refused) as refused:
        read(tmp_path / "r")
    assert refused.value.line == 2


def test_brackets_in_texts_are_not_depth(tmp_path: Path) -> None:
    (tmp_path / "r").write_text(json.dumps({"a": '[[[[[[["\\'}) + "\n")
    assert len(read(tmp_path / "r", SMALL)) == 1


def test_nesting_that_would_exhaust_the_parser_is_refused(tmp_path: Path) -> None:
    (tmp_path / "r").write_bytes(b'{"a":' + b"[" * 500_000 + b"]" * 500_000 + b"}\n")
    assert kind(tmp_path / "r", ResultLimits(line=2_000_000)) == "too-deep"


def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("{}\n")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    os.link(tmp_path / "real", tmp_path / "second")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        found = {name: kind(tmp_path / name) for name in ("link", "dangling", "pipe", "folder", "second", "socket", "missing")}
    assert found == {
        "link": "symlink",
        "dangling": "symlink",
        "pipe": "not-a-file",
        "folder": "not-a-file",
        "second": "hard-link",
        "socket": "unreadable",
        "missing": "unreadable",
    }
    assert kind(Path("/dev/zero")) == "not-a-file"


def test_a_sparse_file_is_refused_by_its_size(tmp_path: Path) -> None:
    with (tmp_path / "r").open("wb") as file:
        file.truncate(1 << 40)
    assert kind(tmp_path / "r") == "too-large"


@given(st.binary(max_size=300))
def test_no_bytes_crash_the_reader(data: bytes) -> None:
    with contextlib.suppress(Refused):
        assert all(isinstance(record, dict) for record in read_records(data, SMALL))
