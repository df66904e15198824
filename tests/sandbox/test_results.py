"""Result files as a hostile command would leave them."""

from __future__ import annotations

import json
import os
import socket
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from verifier.sandbox.results import MAGIC, ResultLimits, pack_arrays, read_result

SMALL = ResultLimits(size=4096, records=3, line=200, depth=3, items=10, arrays=2)


def kind(path: Path, limits: ResultLimits | None = None) -> str:
    """The kind of the one problem; nothing else may come with it."""
    content = read_result(path, limits)
    assert content.records == ()
    assert content.arrays == ()
    assert len(content.problems) == 1
    return content.problems[0].kind


def test_records_come_back_as_written(tmp_path: Path) -> None:
    records = [{"loss": 1.5, "seed": 42, "who": "ä"}, {"list": [1, [True, None]]}]
    (tmp_path / "r").write_text("".join(json.dumps(record) + "\n" for record in records))
    content = read_result(tmp_path / "r")
    assert list(content.records) == records
    assert content.problems == ()


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
    assert read_result(tmp_path / "r").problems[0].location.line == 2


def test_brackets_in_texts_are_not_depth(tmp_path: Path) -> None:
    (tmp_path / "r").write_text(json.dumps({"a": '[[[[[[["\\'}) + "\n")
    assert read_result(tmp_path / "r", SMALL).problems == ()


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


def one_array(name: bytes = b"nll", code: bytes = b"d", shape: tuple[int, ...] = (2,), values: bytes = bytes(16)) -> bytes:
    return struct.pack("<H", len(name)) + name + code + bytes([len(shape)]) + struct.pack(f"<{len(shape)}Q", *shape) + values


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (one_array(values=bytes(15)), "truncated"),
        (one_array(values=bytes(17)), "truncated"),
        (one_array()[:5], "truncated"),
        (one_array(shape=(1 << 63,)), "too-large"),
        (one_array(shape=(0, 1 << 40), values=b""), "too-large"),
        (one_array(shape=(4000, 4000)), "truncated"),
        (one_array(code=b"O"), "invalid-array"),
        (one_array(name=b"../x"), "invalid-array"),
        (one_array(name=b"\xff"), "invalid-array"),
        (one_array(name=b""), "invalid-array"),
        (one_array(shape=(1,) * 5, values=bytes(8)), "invalid-array"),
        (one_array() + one_array(), "duplicate-key"),
        (one_array(b"a") + one_array(b"b") + one_array(b"c"), "too-large"),
        (one_array(values=struct.pack("<2d", 1.0, float("nan"))), "not-finite"),
        (one_array(values=struct.pack("<2d", 1.0, float("inf"))), "not-finite"),
    ],
)
def test_forged_arrays_are_refused_whole(tmp_path: Path, data: bytes, expected: str) -> None:
    (tmp_path / "r").write_bytes(MAGIC + data)
    assert kind(tmp_path / "r", SMALL) == expected


def test_arrays_come_back_read_only(tmp_path: Path) -> None:
    given_arrays: dict[str, NDArray[Any]] = {
        "nll": np.array([[1.5, 2.5]]),
        "hits": np.array([1, 2], dtype=np.int64),
        "p": np.array([0.5], dtype=np.float32),
        "s": np.array(3.0),
    }
    (tmp_path / "r").write_bytes(pack_arrays(given_arrays))
    content = read_result(tmp_path / "r")
    assert content.problems == ()
    assert [name for name, _ in content.arrays] == list(given_arrays)
    for name, values in content.arrays:
        assert values.shape == given_arrays[name].shape
        assert (values == given_arrays[name]).all()
        assert not values.flags.writeable


@pytest.mark.parametrize("bad", [np.array(["x"]), np.array([1 + 2j]), np.zeros((1,) * 5)])
def test_what_the_format_can_not_hold_is_not_packed(bad: NDArray[Any]) -> None:
    with pytest.raises(ValueError, match="packed"):
        pack_arrays({"x": bad})


@given(
    arrays.arrays(
        np.float64, arrays.array_shapes(max_dims=3, max_side=5), elements=st.floats(allow_nan=False, allow_infinity=False)
    )
)
def test_any_finite_array_survives(tmp_path_factory: pytest.TempPathFactory, values: NDArray[np.float64]) -> None:
    path = tmp_path_factory.getbasetemp() / "any-array"
    path.write_bytes(pack_arrays({"x": values}))
    assert np.array_equal(read_result(path).arrays[0][1], values)


@given(st.binary(max_size=300), st.booleans())
def test_no_bytes_crash_the_reader(tmp_path_factory: pytest.TempPathFactory, data: bytes, binary: bool) -> None:
    path = tmp_path_factory.getbasetemp() / "any-bytes"
    path.write_bytes(MAGIC + data if binary else data)
    content = read_result(path, SMALL)
    assert content.problems == () or (content.records == () and content.arrays == ())
