"""Tokenizer and artifact files, recognised by content and never loaded."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import pickle
import struct
import zipfile
import zlib
from typing import Any

import brotli
import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from verifier.submission.binaries import is_tokenmonster_yaml, looks_like_text, recognise_binary


def _kind(data: bytes, path: str = "file.bin") -> str:
    return recognise_binary(path, data, None).kind


def _varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def _field(number: int, payload: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(payload)) + payload


def _sentencepiece(pieces: int) -> bytes:
    body = b"".join(_field(1, _field(1, f"▁{i}".encode()) + b"\x15" + struct.pack("<f", -i) + b"\x18\x01") for i in range(pieces))
    return body + _field(2, b"\x20\x01") + _field(3, b"")


def _tokenmonster(tokens: list[bytes], deleted: list[bytes] = []) -> bytes:  # noqa: B006 - never changed
    header = bytes([2, 1, 1, 1, 48, 0, 0, 0]) + b"\xff" * 3
    header += len(tokens).to_bytes(3, "little") * 3 + b"\xff" * 3 + bytes([max(map(len, tokens))])
    entries = b"".join(
        bytes([len(t)]) + t + b"\0\0" + b"\xff" * 6 + i.to_bytes(3, "little") + bytes(4) for i, t in enumerate(tokens)
    )
    gone = b"".join(bytes([len(t)]) + t + b"\xff" * 3 + bytes(4) for t in deleted)
    return header + entries + bytes(256) + len(deleted).to_bytes(3, "little") + gone


def _npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=True, **arrays)
    return buffer.getvalue()


def test_a_sentencepiece_model_by_its_structure() -> None:
    found = recognise_binary("x.model", _sentencepiece(1024), "hash")
    assert (found.kind, found.vocab_size, found.sha256) == ("sentencepiece", 1024, "hash")


def test_a_cut_off_or_padded_sentencepiece_model_is_not_one() -> None:
    model = _sentencepiece(10)
    assert _kind(model[:-3]) != "sentencepiece"
    assert _kind(model + b"\x7f" * 5) != "sentencepiece"


def test_a_tokenmonster_vocabulary() -> None:
    found = recognise_binary("candidate.vocab", _tokenmonster([b"a", b"b", b"ab"], [b"zz"]), None)
    assert (found.kind, found.vocab_size) == ("tokenmonster", 3)
    assert _kind(_tokenmonster([b"a", b"b", b"ab"])[:-1]) != "tokenmonster"


def test_a_tokenmonster_vocabulary_in_yaml() -> None:
    text = b'charset: utf-8\ncapcode: 2\ntokens:\n    - token:   "\\t"\n      id:      0\n'
    assert is_tokenmonster_yaml(text)
    assert _kind(text, "scylla.yaml") == "tokenmonster-yaml"
    assert not is_tokenmonster_yaml(b"model:\n  tokens: 5\n")


def test_npz_metadata_lists_its_arrays_without_reading_them() -> None:
    data = _npz(base_bytes=np.zeros(998, np.int16), flags=np.zeros(998, bool), version=np.int64(1), kind=np.str_("tokenmonster"))
    found = recognise_binary("candidate.meta.npz", data, None)
    assert found.kind == "npz"
    assert found.arrays[:3] == (("base_bytes", "int16", (998,)), ("flags", "bool", (998,)), ("version", "int64", ()))
    assert found.arrays[3][0] == "kind"


class _Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (pytest.fail, ("a pickle was loaded",))


def test_pickled_objects_in_an_npz_are_flagged_and_not_loaded() -> None:
    found = recognise_binary("x.npz", _npz(bad=np.array([_Bomb()], dtype=object)), None)
    assert found.arrays == (("bad", "object", (1,)),)


def test_an_npy_header_that_lies_about_its_length_or_shape() -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((2, 3), np.float32))
    found = recognise_binary("x.npy", buffer.getvalue(), None)
    assert (found.kind, found.arrays) == ("npy", (("", "float32", (2, 3)),))
    assert _kind(b"\x93NUMPY\x02\x00\xff\xff\xff\x7f" + b"x" * 100) == "unknown"
    for header in (b"{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}", b"(" * 9000, b"__import__('os')", b"{" * 300):
        assert _kind(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header) == "unknown"


def test_an_npz_member_that_inflates_endlessly_is_read_for_its_header_only() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", bytes(30_000_000))
    assert recognise_binary("x.npz", buffer.getvalue(), None).arrays == (("a", "unreadable", ()),)


def test_a_pickle_by_its_first_opcodes() -> None:
    for protocol in (2, 3, 4, 5):
        assert _kind(pickle.dumps(_Bomb(), protocol)) == "pickle"


def test_a_torch_zip_and_other_zips() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("model/data.pkl", pickle.dumps(_Bomb()))
        archive.writestr("model/data/0", bytes(100))
    assert _kind(buffer.getvalue()) == "torch-zip"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.txt", "x")
    assert _kind(buffer.getvalue()) == "archive"


def test_safetensors() -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    assert _kind(struct.pack("<Q", len(header)) + header + bytes(4)) == "safetensors"


def test_compressed_payloads() -> None:
    text = b"import torch\n" * 400 + bytes(range(256))
    packed = [lzma.compress(text), gzip.compress(text), bz2.compress(text), zlib.compress(text), zstandard.compress(text)]
    packed += [lzma.compress(text, lzma.FORMAT_ALONE), brotli.compress(text)]
    assert {_kind(data) for data in packed} == {"compressed"}
    assert _kind(gzip.compress(text), "logs.tar.gz") == "archive"


def test_text_is_told_from_bytes() -> None:
    assert looks_like_text("# naïve ▁ text".encode())
    assert looks_like_text("# naïve".encode("latin-1"))
    assert looks_like_text(b"")
    assert looks_like_text(("é" * 5000).encode())
    assert not looks_like_text(b"\0\1\2")
    assert not looks_like_text(lzma.compress(bytes(range(256)) * 40))


@given(
    st.binary(max_size=400),
    st.sampled_from([b"", b"PK\x03\x04", b"\x93NUMPY\x01\x00", b"\x0a", b"\x80\x04", b"\x02\x01\x01\x01\x30\0\0\0"]),
)
def test_any_bytes_are_recognised_without_a_crash(noise: bytes, start: bytes) -> None:
    data = start + noise
    assert recognise_binary("x", data, None).size == len(data)
