"""A small SentencePiece model made for the purpose: the pieces of the contest's models (controls, bytes, word starts, inner
pieces), a size that the script's settings name, and known bytes for each id.
"""

from __future__ import annotations

import itertools
import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SPACE = "\u2581"
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6
BPE = 2
BOS = 1
CASE_CONTROLS = ("\ue001", "\ue002", "\ue003", "\ue004")
SMALLEST = 300
FEWEST = 32
"""Pieces of a model without byte pieces, at least."""


@dataclass(frozen=True, slots=True, eq=False)
class ToyTokenizer:
    """`pieces` in id order with their types. `base`, `leading` and `boundary` give the bytes of a target in context, as
    the contest counts them; `alphabet` are the ids that toy texts use."""

    pieces: tuple[tuple[str, int], ...]
    base: NDArray[np.int64]
    leading: NDArray[np.bool_]
    boundary: NDArray[np.bool_]
    alphabet: NDArray[np.uint16]

    @property
    def size(self) -> int:
        return len(self.pieces)

    def count_bytes(self, stream: NDArray[np.uint16]) -> NDArray[np.int64]:
        """Bytes of each token of a stream after the token before it; 0 for the first."""
        before, target = stream[:-1].astype(np.int64), stream[1:].astype(np.int64)
        counted = self.base[target] + (self.leading[target] & ~self.boundary[before])
        return np.concatenate([np.zeros(1, dtype=np.int64), counted])

    def serialize(self) -> bytes:
        """The `.model` file (protocol buffer `ModelProto`: pieces 1, trainer 2, normalizer 3)."""
        body = b"".join(_field(1, _piece(piece, -float(index), kind)) for index, (piece, kind) in enumerate(self.pieces))
        # model_type 3, vocab_size 4, byte_fallback 35, unk/bos/eos/pad ids 40 to 43.
        spelled = int(any(kind == BYTE for _, kind in self.pieces))
        ids = ((3, BPE), (4, self.size), (35, spelled), (40, 3), (41, BOS), (42, 2), (43, 0))
        body += _field(2, b"".join(_varint(number << 3) + _varint(value) for number, value in ids))
        return body + _field(3, _field(1, b"identity") + b"".join(_varint(number << 3) + _varint(1) for number in (3, 4, 5)))


def make_tokenizer(size: int, *, case_controls: bool = False, byte_pieces: bool = True) -> ToyTokenizer:
    """A model of `size` pieces. Raises `ValueError` below `SMALLEST`, which the 256 byte pieces need (below `FEWEST` without)."""
    if size < (SMALLEST if byte_pieces else FEWEST):
        raise ValueError(f"a vocabulary of {size} pieces has no room for byte pieces and words")
    pieces: list[tuple[str, int]] = [("<pad>", CONTROL), ("<s>", CONTROL), ("</s>", CONTROL), ("<unk>", UNKNOWN)]
    if case_controls:
        pieces += [(control, USER_DEFINED) for control in CASE_CONTROLS]
    if byte_pieces:
        pieces += [(f"<0x{byte:02X}>", BYTE) for byte in range(256)]
    for piece in itertools.islice(_words(), size - len(pieces)):
        pieces.append((piece, NORMAL))
    base = np.zeros(size, dtype=np.int64)
    leading = np.zeros(size, dtype=np.bool_)
    boundary = np.ones(size, dtype=np.bool_)
    for index, (piece, kind) in enumerate(pieces):
        if kind in (CONTROL, UNKNOWN):
            continue
        boundary[index] = False
        leading[index] = piece.startswith(SPACE)
        base[index] = 1 if kind == BYTE else len(piece.removeprefix(SPACE).encode())
    kept = [index for index, (_, kind) in enumerate(pieces) if kind not in (CONTROL, UNKNOWN) or index == BOS]
    return ToyTokenizer(tuple(pieces), base, leading, boundary, np.array(kept, dtype=np.uint16))


def _words() -> list[str]:
    """Word starts, inner pieces, letters of two and three bytes, question marks (which some scripts take for spaces)."""
    letters = "etaoinshrdlucmfwypvbgkjqxz"
    singles = [SPACE, *letters, "?", "\u00e9", "\u20ac", SPACE + "\u00e9t\u00e9", "?!", "\u00fc"]
    pairs = [SPACE + a if len(a) == 1 else a for a in letters]
    longer = [
        prefix + first + second + third
        for third in ("", *letters)
        for first, second in itertools.product(letters, repeat=2)
        for prefix in (SPACE, "")
    ]
    return list(dict.fromkeys([*singles, *pairs, *longer]))


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _field(number: int, payload: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _piece(text: str, score: float, kind: int) -> bytes:
    return _field(1, text.encode()) + _varint(2 << 3 | 5) + struct.pack("<f", score) + _varint(3 << 3) + _varint(kind)
