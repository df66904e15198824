"""What a tokenizer model offers to the byte audit, whatever its kind.

Two promises make a model usable as a judge: `decode` writes exactly the bytes that the tokenizer's own library writes, and
the bytes it attributes to the tokens of a document add up to the bytes of that document, always.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

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

    `data`: uint8, all documents joined. `lengths`: int32, one per token, the bytes by which the token makes the decoded
    document grow; sums to `len(data)`. A negative entry exists only where a pending delete mark swallows a character that
    earlier tokens had begun. `undecodable` lists (token index of a document start, reason) for documents that the model's
    own transform refuses; their bytes are given untransformed.
    """

    data: NDArray[np.uint8]
    lengths: NDArray[np.int32]
    undecodable: tuple[tuple[int, str], ...] = ()


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
    def skips_unknown_ids(self) -> bool:
        """Whether the tokenizer's own decoder skips ids outside the table; otherwise such an id cannot be decoded."""

    @property
    def classes(self) -> NDArray[np.uint8]:
        """`TokenClass` of each id, shape (size,)."""

    def label(self, token: int) -> str:
        """The token as a person would recognise it."""

    def describe(self) -> dict[str, object]:
        """Facts for the report's `tokenizer` object: JSON values only."""

    def decode(self, ids: Ids, starts: NDArray[np.intp]) -> Decoded:
        """Decode consecutive documents.

        `starts`: indices where a document begins, ascending; decoder state is reset there. Tokens before the first start
        belong to a document of their own.
        """


def one_document() -> NDArray[np.intp]:
    """`starts` for a list of ids that is one document."""
    return np.zeros(1, dtype=np.intp)
