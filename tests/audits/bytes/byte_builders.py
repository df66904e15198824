"""Small inputs of our own: shards, models and vocabularies written from their format descriptions."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from pathlib import Path

import numpy as np

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
NONE = b"\xff\xff\xff"


def shard(path: Path, values, *, magic=20240520, version=1, count=None) -> Path:
    header = np.zeros(256, dtype="<i4")
    header[:3] = magic, version, len(values) if count is None else count
    path.write_bytes(header.tobytes() + np.asarray(values, dtype="<u2").tobytes())
    return path


def documents(path: Path, texts) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return path


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number: int, body: bytes | int) -> bytes:
    if isinstance(body, int):
        return varint(number << 3) + varint(body)
    return varint(number << 3 | 2) + varint(len(body)) + body


def model_bytes(pieces, *, dummy=0, extra=1, denormalizer=b"") -> bytes:
    """`pieces`: (text, type) pairs."""
    out = b"".join(field(1, field(1, text.encode() if isinstance(text, str) else text) + field(3, kind)) for text, kind in pieces)
    out += field(2, field(35, 1)) + field(3, field(1, b"identity") + field(3, dummy) + field(4, extra))
    return out + (field(5, field(2, denormalizer)) if denormalizer else b"")


def plain_pieces():
    """Specials, all bytes, a few texts."""
    specials = [("<pad>", CONTROL), ("<s>", CONTROL), ("</s>", CONTROL), ("<unk>", UNKNOWN)]
    bytes_ = [(f"<0x{value:02X}>", BYTE) for value in range(256)]
    texts = [
        "\u2581",
        "\u2581the",
        "a",
        "b",
        "ab",
        "\u2581\u2581",
        "\u2581a\u2581b",
        "é",
        "漢字",
        "a word of some length " * 2,
    ]
    return specials + bytes_ + [(text, NORMAL) for text in texts] + [("unused", UNUSED)]


def caseops_pieces():
    controls = [(chr(0xE000 + number), USER_DEFINED) for number in range(1, 5)]
    return plain_pieces() + controls + [(text, NORMAL) for text in ("the", "c", "A", "Bc", "x1", "'")]


def vocab_bytes(entries, *, capcode=2, charset=1, normalization=1, table=None, unk=None, deleted=()) -> bytes:
    """A binary vocabulary. `entries`: (stored text, id) in file order."""
    table = max((token for _, token in entries), default=-1) + 1 if table is None else table
    longest = max((len(text) for text, _ in entries), default=0)
    out = bytes([capcode, charset, normalization, 1, 0, 0, 0, 0])
    out += NONE if unk is None else unk.to_bytes(3, "little")
    for value in (len({token for _, token in entries}), table, len(entries)):
        out += value.to_bytes(3, "little")
    out += NONE + bytes([longest])
    for text, token in entries:
        out += bytes([len(text)]) + text + b"\0\0" + NONE + NONE + token.to_bytes(3, "little") + struct.pack("<f", 0.5)
    out += bytes(256) + len(deleted).to_bytes(3, "little")
    for text in deleted:
        out += bytes([len(text)]) + text + NONE + struct.pack("<f", 0.0)
    return out


CAPCODE_TEXTS = [
    b"D", b"C", b"W", b"DC", b"DW a", b" the", b" foo", b"D s", b"D ing", b" ", b".", b"\nDC", b"D \xcc\x81", b"1",
    b"D 2", b"'", "’".encode(), b"\xc3", b"\xa9", b"\xcc", b"\x81", b"\xe2", b"\x80", b"\x99", b"\xf0\x9f", b"\x98\x80",
    b"xC", b"W b",
    "é".encode(), "ǆ".encode(), "ᾀ".encode(), "ß".encode(), "漢".encode(), b"D\xc3", b" W\xce", b"\xb1", b"C \xe1\xbe",
    b"a long token of forty bytes and no more.",
]  # fmt: skip


def metadata(path: Path, base, **members) -> Path:
    np.savez(path, base_bytes=np.asarray(base, dtype=np.int16), vocab_size=np.int64(len(base)), **members)
    return path


def raw_npz(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return path


def npy(values) -> bytes:
    out = io.BytesIO()
    np.save(out, values, allow_pickle=True)
    return out.getvalue()
