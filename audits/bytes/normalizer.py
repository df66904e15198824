"""What a SentencePiece model does to text before it cuts it into pieces: the compiled normalizer, run and listed without the library.

The table (`precompiled_charsmap`) is a little-endian length, a double-array trie of that many bytes (the layout of darts-clone)
from sequences of UTF-8 bytes to offsets, and the replacements, each ended by a NUL. At each place the longest sequence in the trie
is replaced; a character that none begins with stays.
"""

from __future__ import annotations

import struct
from functools import lru_cache

from audits.bytes.model import ByteAuditError
from audits.bytes.sentencepiece_model import USER_DEFINED, ModelFile

_LEAF = 1 << 31
_LABEL = _LEAF | 0xFF
MAX_TABLE = 8 << 20
"""Bytes of a table; those of the library's own rules have 240,000."""
MAX_REPLACEMENT = 1024
MAX_TEXT = 4096
"""Characters of one text; the normalizer is run on examples, not on documents."""


class CharsMap:
    """The replacements of one model. An empty table replaces nothing. Raises `ByteAuditError` for a malformed one."""

    def __init__(self, data: bytes) -> None:
        self._units: tuple[int, ...] = ()
        self._texts = b""
        if not data:
            return
        size = int.from_bytes(data[:4], "little")
        if len(data) < 4 or size % 4 or not 4 <= size <= len(data) - 4 or len(data) > MAX_TABLE:
            raise ByteAuditError(f"the normalizer's table of {len(data)} bytes is malformed or too large")
        self._units = struct.unpack(f"<{size // 4}I", data[4 : 4 + size])
        self._texts = data[4 + size :]

    def longest(self, text: bytes, at: int) -> tuple[int, bytes] | None:
        """(bytes of the longest sequence at `at`, its replacement), or `None`."""
        if not self._units:
            return None
        node = _offset(self._units[0])
        found: tuple[int, int] | None = None
        for end in range(at, len(text)):
            node ^= text[end]
            unit = self._unit(node)
            if unit & _LABEL != text[end]:
                break
            node ^= _offset(unit)
            if unit >> 8 & 1:
                found = end + 1 - at, self._unit(node) & (_LEAF - 1)
        if found is None:
            return None
        length, begin = found
        stop = self._texts.find(b"\0", begin)
        if begin > len(self._texts) or not 0 <= stop - begin <= MAX_REPLACEMENT:
            raise ByteAuditError("the normalizer's table points behind its end, or to a replacement without end")
        return length, self._texts[begin:stop]

    def _unit(self, node: int) -> int:
        if node >= len(self._units):
            raise ByteAuditError("the normalizer's table points behind its end")
        return self._units[node]


def _offset(unit: int) -> int:
    return (unit >> 10) << ((unit & 1 << 9) >> 6)


@lru_cache(maxsize=4)
def _charsmap(data: bytes) -> CharsMap:
    return CharsMap(data)


def normalize(model: ModelFile, text: str) -> str:
    """The text that the pieces of `model` spell, with plain spaces for U+2581. Raises `ByteAuditError` for a malformed table.

    A space that the model puts in front (`add_dummy_prefix`) is taken off by its decoder, so it is not shown.
    """
    if len(text) > MAX_TEXT:
        raise ByteAuditError(f"a text of {len(text)} characters is longer than {MAX_TEXT}")
    table = _charsmap(model.charsmap)
    kept = {piece for piece, kind in zip(model.pieces, model.types, strict=True) if kind == USER_DEFINED}
    longest = max(map(len, kept), default=0)
    squeezes = model.flag("remove_extra_whitespaces")
    raw = text.encode()
    out: list[bytes] = []
    at = 0
    after_space = squeezes
    while at < len(raw):
        length, written = _prefix(table, kept, longest, raw, at)
        at += length
        if after_space:
            written = written.lstrip(b" ")
        if written:
            out.append(written)
            after_space = squeezes and written.endswith(b" ")
    joined = b"".join(out).decode("utf-8", "replace").replace("\u2581", " ")
    return joined.rstrip(" ") if squeezes else joined


def _prefix(table: CharsMap, kept: set[bytes], longest: int, raw: bytes, at: int) -> tuple[int, bytes]:
    """(bytes read, bytes written) at one place; user-defined pieces (of at most `longest` bytes) pass as they are."""
    for size in range(min(longest, len(raw) - at), 0, -1):
        if raw[at : at + size] in kept:
            return size, raw[at : at + size]
    found = table.longest(raw, at)
    if found is not None and found[0]:
        return found
    size = 1
    while at + size < len(raw) and raw[at + size] & 0xC0 == 0x80:
        size += 1
    return size, raw[at : at + size]
