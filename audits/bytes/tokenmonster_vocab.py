"""TokenMonster vocabularies: the binary `.vocab` reader and the decoder built on the table of ids.

Layout as written by TokenMonster ea8fd60. The `tokenmonster` package is not used: it downloads and runs a server
binary.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audits.bytes.model import ByteAuditError, Decoded, Ids, TokenClass
from audits.bytes.sentencepiece_model import read_limited
from audits.bytes.tokenmonster_yaml import parse_yaml_vocabulary
from audits.bytes.transducer import Transducer
from verifier.limits import DEFAULT_LIMITS, Limits

NONE = 0xFFFFFF
MAX_ENTRY = 40
MAX_IDS = 1 << 20
CHARSETS = ("none", "utf-8", "utf-16")
NORMALIZATIONS = ("nfd", "lowercase", "accents", "quotemarks", "collapse", "trim", "leadingspace", "unixlines")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What decoding needs, and what the report shows. `stored[id]` is what the id writes before capcode; dead ids are
    empty.
    """

    stored: tuple[bytes, ...]
    capcode: int
    charset: int
    normalization: int
    unk: int | None
    source: str
    entries: int


class _Reader:
    """Bounds-checked little-endian reads."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, size: int, what: str) -> bytes:
        if size > len(self.data) - self.at:
            raise ByteAuditError(f"the vocabulary ends inside {what} (byte {len(self.data)})")
        self.at += size
        return self.data[self.at - size : self.at]

    def u8(self, what: str) -> int:
        return self.take(1, what)[0]

    def u24(self, what: str) -> int:
        return int.from_bytes(self.take(3, what), "little")


def parse_vocabulary(data: bytes) -> Vocabulary:
    """Read a binary vocabulary. Raises `ByteAuditError` for every deviation from the layout, trailing bytes
    included.
    """
    reader = _Reader(data)
    capcode, charset, normalization, mode = struct.unpack("4B", reader.take(4, "the header"))
    reader.take(1, "the header")
    if capcode > 2 or charset > 2 or mode > 5:
        raise ByteAuditError(f"capcode {capcode}, charset {charset}, mode {mode}: not a TokenMonster vocabulary")
    reader.take(3, "the header")
    unk, distinct, table, entries, delete = (reader.u24("the header") for _ in range(5))
    longest = reader.u8("the header")
    if table > MAX_IDS or entries > 2 * MAX_IDS:
        raise ByteAuditError(f"the vocabulary claims {table} ids and {entries} entries: more than {MAX_IDS} ids")
    if longest > MAX_ENTRY:
        raise ByteAuditError(f"the longest entry has {longest} bytes, more than {MAX_ENTRY}")
    stored = [b""] * table
    for number in range(entries):
        what = f"entry {number} of {entries}"
        size = reader.u8(what)
        if size > longest:
            raise ByteAuditError(f"{what} has {size} bytes, the header allows {longest}")
        text = reader.take(size, what)
        reader.take(2, what)
        shorter = (reader.u24(what), reader.u24(what))
        if any(index != NONE and index >= number for index in shorter):
            raise ByteAuditError(f"{what} refers to an entry after itself")
        token = reader.u24(what)
        reader.take(4, what)
        if token >= table:
            raise ByteAuditError(f"{what} has id {token}, the table has {table} ids")
        # Several entries may share an id: the last one, a longer twin with its delete mark, is what decoding writes.
        stored[token] = text
    reader.take(256, "the table of following bytes")
    for number in range(reader.u24("the deleted tokens")):
        size = reader.u8(f"deleted token {number}")
        if size > MAX_ENTRY:
            raise ByteAuditError(f"deleted token {number} has {size} bytes, more than {MAX_ENTRY}")
        reader.take(size + 7, f"deleted token {number}")
    if reader.at != len(data):
        raise ByteAuditError(f"{len(data) - reader.at} bytes follow the end of the vocabulary")
    for name, token in (("unk", unk), ("delete", delete)):
        if token != NONE and token >= table:
            raise ByteAuditError(f"the {name} token has id {token}, the table has {table} ids")
    if unk != NONE:
        stored[unk] = b""
    return Vocabulary(tuple(stored), capcode, charset, normalization, None if unk == NONE else unk, "binary", distinct)


class TokenMonsterModel:
    """Decodes as TokenMonster does: stored bytes joined, one capcode pass per document, no check of UTF-8.

    Attribution is the growth of the decoded text with each token. A UTF-16 vocabulary raises `ByteAuditError`.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        if vocabulary.charset == CHARSETS.index("utf-16"):
            raise ByteAuditError(
                "the vocabulary writes UTF-16, whose bytes are not those of the UTF-8 documents that are scored: not supported"
            )
        self.vocabulary = vocabulary
        self._transducer = Transducer(vocabulary.stored, vocabulary.capcode)
        self._classes = np.array([self._class(text) for text in vocabulary.stored], dtype=np.uint8)

    def _class(self, text: bytes) -> TokenClass:
        if not text:
            return TokenClass.CONTROL
        if self.vocabulary.capcode == 2 and any(mark in text.removeprefix(b"D ") for mark in b"CWD"):
            return TokenClass.CAPCODE
        if self.vocabulary.capcode == 1 and b"\x7f" in text.removeprefix(b"\x7f "):
            return TokenClass.CAPCODE
        if len(text) == 1 and text[0] >= 0x80:
            return TokenClass.BYTE_FALLBACK
        return TokenClass.PLAIN

    @classmethod
    def load(cls, path: Path, limits: Limits = DEFAULT_LIMITS) -> TokenMonsterModel:
        """Read a `.vocab` or `.yaml`/`.yml` file. Raises `ByteAuditError` or `OSError`."""
        data = read_limited(path, limits)
        if path.suffix.lower() in (".yaml", ".yml"):
            parsed = parse_yaml_vocabulary(data)
            stored = parsed.table()
            charset = CHARSETS.index(parsed.charset)
            return cls(
                Vocabulary(stored, parsed.capcode, charset, parsed.normalization, parsed.unk, "yaml", len(set(stored) - {b""}))
            )
        return cls(parse_vocabulary(data))

    @property
    def kind(self) -> str:
        return "tokenmonster"

    @property
    def size(self) -> int:
        return len(self.vocabulary.stored)

    @property
    def bos_id(self) -> int | None:
        return None

    @property
    def classes(self) -> NDArray[np.uint8]:
        return self._classes

    def label(self, token: int) -> str:
        if not 0 <= token < self.size:
            return f"<id {token}>"
        text = self.vocabulary.stored[token]
        try:
            return text.decode("utf-8")
        except UnicodeDecodeError:
            return "".join(f"<0x{value:02X}>" for value in text)

    def describe(self) -> dict[str, object]:
        bits = self.vocabulary.normalization
        return {
            "kind": self.kind,
            "vocab_size": self.size,
            "source": self.vocabulary.source,
            "distinct_tokens": self.vocabulary.entries,
            "dead_ids": sum(1 for text in self.vocabulary.stored if not text),
            "capcode": self.vocabulary.capcode,
            "charset": CHARSETS[self.vocabulary.charset],
            "normalization": [name for bit, name in enumerate(NORMALIZATIONS) if bits >> bit & 1],
            "unk_id": self.vocabulary.unk,
            "missing_bytes": self._missing_bytes(),
            "bos_id": None,
        }

    def _missing_bytes(self) -> int:
        """Byte values without a token of their own: text that needs them is dropped without a word (if there is no
        unk).
        """
        singles = {text[0] for text in self.vocabulary.stored if len(text) == 1}
        twins = {text[2] for text in self.vocabulary.stored if len(text) == 3 and text.startswith(b"D ")}
        covered = singles | twins if self.vocabulary.capcode == 2 else singles
        # Capital letters are spelled with marks at level 2.
        needed = set(range(256)) - set(range(0x41, 0x5B)) if self.vocabulary.capcode == 2 else set(range(256))
        return len(needed - covered)

    def decode(self, ids: Ids, starts: NDArray[np.intp]) -> Decoded:
        """See `TokenModel.decode`. Ids outside the table write nothing, as in the original."""
        return self._transducer.decode(ids, starts)

    def cut(self, ids: Ids, starts: NDArray[np.intp]) -> int:
        """See `TokenModel.cut`."""
        return self._transducer.cut(ids, starts)
