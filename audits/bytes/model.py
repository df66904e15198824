"""What a tokenizer model offers to the byte audit, whatever its kind.

Two promises make a model usable as a judge: `decode` writes exactly the bytes that the tokenizer's own library writes,
and the bytes it attributes to the tokens of a document add up to the bytes of that document, always.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from audits.bytes.pieces import Row, Written

Ids = NDArray[np.integer]
"""Token ids, one dimension. Never negative."""


class ByteAuditError(ValueError):
    """An input that cannot be audited. The message names the input, the reason and, where there is one, the place."""


class TokenClass(IntEnum):
    """Where the bytes of a token come from; the classes of the report."""

    PLAIN = 0
    """Text that stands for itself in every context."""
    CAPCODE = 1
    """Text with a case or delete mark (or a mark alone): its bytes depend on the neighbours."""
    BYTE_FALLBACK = 2
    """One raw byte that stands in for text without a token of its own."""
    CONTROL = 3
    """Boundary, padding, unknown and unused tokens, case controls, dead ids: no bytes of the source by themselves."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """The bytes of some documents in one row.

    `row`: what the tokens write, joined when it is asked for. `counts` and `truth`: int64, shape (size + 1,),
    occurrences and decoded bytes of each id; the last entry gathers ids outside the table. `undecodable` lists
    (token index of a document start, reason) for documents that the model's own transform refuses; their bytes are
    given untransformed. `swallowed`: same shape as `truth`, for each id the bytes that it takes from later tokens minus
    those that earlier tokens take from it; adds up to zero. `None` where tokens do not act on each other.
    """

    row: Row | Written
    counts: NDArray[np.int64]
    truth: NDArray[np.int64]
    undecodable: tuple[tuple[int, str], ...] = ()
    swallowed: NDArray[np.int64] | None = None

    @property
    def data(self) -> NDArray[np.uint8]:
        """All documents joined."""
        return self.row.joined[0]

    @property
    def borders(self) -> NDArray[np.int64]:
        """The offset in `data` of each document start that was given, and the end."""
        return self.row.joined[1]

    @property
    def lengths(self) -> NDArray[np.int32]:
        """One per token, the bytes by which the token makes the decoded document grow; sums to `len(data)`. A negative
        entry exists only where a pending delete mark swallows a character that earlier tokens had begun.
        """
        return self.row.lengths


class TokenModel(Protocol):
    """One tokenizer. Ids at or above `size` are not in its table."""

    @property
    def kind(self) -> str:
        """`sentencepiece`, `tokenmonster`, `caseops` or `bytes`."""

    @property
    def size(self) -> int:
        """Entries of the table of ids."""

    @property
    def bos_id(self) -> int | None:
        """The id that opens every document, when the model itself names one."""

    @property
    def classes(self) -> NDArray[np.uint8]:
        """`TokenClass` of each id, shape (size,)."""

    def label(self, token: int) -> str:
        """The token as a person would recognise it."""

    def describe(self) -> dict[str, object]:
        """Facts for the report's `tokenizer` object: JSON values only."""

    def decode(self, ids: Ids, starts: NDArray[np.intp]) -> Decoded:
        """Decode consecutive documents.

        `starts`: indices where a document begins, ascending; decoder state is reset there. Tokens before the first
        start go on with a document whose earlier part was cut off where `cut` allows it. Raises `ByteAuditError` for
        ids that the tokenizer's own decoder refuses.
        """

    def cut(self, ids: Ids, starts: NDArray[np.intp]) -> int:
        """The largest index at which the ids may be decoded in two halves with the same result; 0 if there is none."""


def one_document() -> NDArray[np.intp]:
    """`starts` for a list of ids that is one document."""
    return np.zeros(1, dtype=np.intp)


def check_ids(ids: Ids, size: int | None) -> None:
    """Raise `ByteAuditError` for a negative id, or one at or above `size` (when given)."""
    if not len(ids):
        return
    if ids.dtype.kind == "i" and int(ids.min()) < 0:
        raise ByteAuditError(f"id {int(ids.min())} is negative")
    if size is not None and int(ids.max()) >= size:
        at = int(np.flatnonzero(ids >= size)[0])
        raise ByteAuditError(f"id {int(ids[at])} at position {at} is not in the vocabulary of {size} ids")
