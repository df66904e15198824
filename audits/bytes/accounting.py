"""The byte counts that submissions use as denominators, evaluated over a whole validation set.

Table formula: a token `y` after a token `x` costs `base[y] + (leading[y] and not boundary[x])` bytes; the first token
of a set has no token before it and its leading space is not charged. Totals are exact integers. Nothing is gathered per
token: base and leading bytes follow from how often each id occurs, and only the tokens after a boundary are looked at.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audits.bytes.caseops import CaseOpsModel
from audits.bytes.model import ByteAuditError, Ids, TokenModel
from audits.bytes.sentencepiece_model import BYTE, CONTROL, SPACE, UNKNOWN, UNUSED, SentencePieceModel

BLOCK = 1 << 16
FEW = 8
"""Boundary ids that are looked for one by one."""


@dataclass(frozen=True, slots=True)
class ByteTable:
    """Counted bytes of each id; all arrays have shape (size,). `source` says where the table comes from."""

    base: NDArray[np.int64]
    leading: NDArray[np.bool_]
    boundary: NDArray[np.bool_]
    source: str

    @property
    def size(self) -> int:
        return len(self.base)

    @classmethod
    def constant(cls, size: int, bytes_per_token: int) -> ByteTable:
        """The same count for every id."""
        no = np.zeros(size, dtype=np.bool_)
        return cls(np.full(size, bytes_per_token, dtype=np.int64), no, no, f"constant {bytes_per_token}")

    @classmethod
    def from_sentencepiece(cls, model: SentencePieceModel) -> ByteTable:
        """The contest's look-up table: byte pieces 1, one leading U+2581 taken off and charged as a space in
        context.
        """
        size = model.size
        base = np.zeros(size, dtype=np.int64)
        leading = np.zeros(size, dtype=np.bool_)
        boundary = np.ones(size, dtype=np.bool_)
        for token, (piece, kind) in enumerate(zip(model.model.pieces, model.model.types, strict=True)):
            if kind in (CONTROL, UNKNOWN, UNUSED):
                continue
            boundary[token] = False
            leading[token] = kind != BYTE and piece.startswith(SPACE)
            base[token] = 1 if kind == BYTE else len(piece.removeprefix(SPACE))
        return cls(base, leading, boundary, "formula over the model's pieces")

    @classmethod
    def from_model(cls, model: TokenModel) -> ByteTable | None:
        """The formula that the contest's scripts derive from a tokenizer file; `None` where they derive none."""
        if isinstance(model, CaseOpsModel):
            # Without a sidecar the scripts count the transformed text, controls included.
            return cls.from_sentencepiece(model.inner)
        return cls.from_sentencepiece(model) if isinstance(model, SentencePieceModel) else None


class Account:
    """A running count by one table. Feed the blocks of the set in order."""

    def __init__(self, table: ByteTable) -> None:
        self.table = table
        self._uses = np.zeros(table.size, dtype=np.int64)
        self._uncharged = np.zeros(table.size, dtype=np.int64)
        self._after_boundary = True

    def feed(self, ids: Ids, uses: NDArray[np.int64] | None = None) -> None:
        """Count a block. `uses`: occurrences of each id in it, where they are known. Raises `ByteAuditError` for an id
        that the table does not have.
        """
        if not len(ids):
            return
        uses = _count(ids) if uses is None else uses
        used = np.flatnonzero(uses)
        if int(used[-1]) >= self.table.size:
            raise ByteAuditError(f"id {int(used[-1])} is not in the byte table of {self.table.size} ids")
        self._uses[used] += uses[used]
        if self._after_boundary:
            self._uncharged[ids[0]] += 1
        self._after_boundary = bool(self.table.boundary[ids[-1]])
        boundaries = used[self.table.boundary[used]].tolist()
        if not boundaries:
            return
        for begin in range(0, len(ids) - 1, BLOCK):
            before, after = ids[begin : begin + BLOCK], ids[begin + 1 : begin + BLOCK + 1]
            if len(boundaries) <= FEW:
                parts = [after[np.flatnonzero(before[: len(after)] == boundary)] for boundary in boundaries]
            else:
                parts = [after[np.flatnonzero(self.table.boundary[before[: len(after)]])]]
            for part in parts:
                np.add.at(self._uncharged, part, 1)

    def per_id(self) -> NDArray[np.int64]:
        """Counted bytes of all occurrences of each id, shape (size,)."""
        charged = (self._uses - self._uncharged) * self.table.leading
        counted: NDArray[np.int64] = self._uses * self.table.base + charged
        return counted

    @property
    def total(self) -> int:
        """Counted bytes of everything fed so far."""
        return int(self.per_id().sum())


def _count(ids: Ids) -> NDArray[np.int64]:
    uses = np.zeros(0, dtype=np.int64)
    for begin in range(0, len(ids), BLOCK):
        part = np.bincount(ids[begin : begin + BLOCK].astype(np.intp), minlength=len(uses))
        part[: len(uses)] += uses
        uses = part
    return uses
