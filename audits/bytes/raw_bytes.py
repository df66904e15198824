"""The contest's byte tokenizer: ids 0 to 3 are special (1 opens a document), byte b is id b + 4, 260 ids."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from audits.bytes.model import Decoded, Ids, TokenClass, check_ids
from audits.bytes.pieces import PieceTable

SPECIALS = 4
BOS = 1


class RawByteModel:
    """One byte per token, without context."""

    def __init__(self) -> None:
        self._table = PieceTable([b""] * SPECIALS + [bytes([value]) for value in range(256)])
        self._classes = np.full(self.size, TokenClass.PLAIN, dtype=np.uint8)
        self._classes[:SPECIALS] = TokenClass.CONTROL

    @property
    def kind(self) -> str:
        return "bytes"

    @property
    def size(self) -> int:
        return SPECIALS + 256

    @property
    def bos_id(self) -> int | None:
        return BOS

    @property
    def classes(self) -> NDArray[np.uint8]:
        return self._classes

    def label(self, token: int) -> str:
        return f"<0x{token - SPECIALS:02X}>" if SPECIALS <= token < self.size else f"<id {token}>"

    def describe(self) -> dict[str, object]:
        return {"kind": self.kind, "vocab_size": self.size, "bos_id": BOS}

    def decode(self, ids: Ids, starts: NDArray[np.intp]) -> Decoded:
        """See `TokenModel.decode`. Raises `ByteAuditError` for an id outside the table."""
        check_ids(ids, self.size)
        row = self._table.row(ids, starts)
        return Decoded(row, np.append(row.uses, 0), np.append(row.uses * self._table.lengths, 0))

    def cut(self, ids: Ids, starts: NDArray[np.intp]) -> int:
        """Anywhere."""
        return len(ids)
