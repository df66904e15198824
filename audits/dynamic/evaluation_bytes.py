"""The validation set of a fresh evaluation: its tokens, the true bytes of each of them, its documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audits.bytes.accounting import ByteTable
from audits.bytes.model import ByteAuditError, TokenModel
from audits.bytes.sentencepiece_model import SentencePieceModel
from audits.bytes.shards import open_shards, read_blocks
from audits.bytes.strict import CHUNK, TokenSet, read_chunks

MOST_TOKENS = 100_000_000
"""Tokens of a set that is evaluated; the contest's largest has 65 million."""


@dataclass(frozen=True, slots=True, eq=False)
class ValidationSet:
    """`stream` are all tokens in order, `token_bytes` the true bytes of each, `starts` the indices where documents begin, `source` says
    where the bytes come from."""

    stream: NDArray[np.uint16]
    token_bytes: NDArray[np.int64]
    starts: NDArray[np.int64]
    source: str


def read_validation(model: TokenModel, paths: Sequence[Path], bos: int | None) -> ValidationSet:
    """Read all shards and attribute bytes. `bos` opens each document (default: the model's own). Raises `ByteAuditError` or `OSError`."""
    tokens = TokenSet(model, open_shards(paths), model.bos_id if bos is None else bos)
    if not 2 <= tokens.tokens <= MOST_TOKENS:
        raise ByteAuditError(f"{tokens.tokens} tokens: between 2 and {MOST_TOKENS:,} can be evaluated")
    stream = np.concatenate(list(read_blocks(tokens.shards, CHUNK)))
    if isinstance(model, SentencePieceModel):
        token_bytes, source = (
            _formula_bytes(ByteTable.from_sentencepiece(model), stream),
            "the contest's formula over the model's pieces",
        )
    else:
        # Where a transform stands between text and tokens, only decoding gives the bytes of the text.
        parts = [model.decode(chunk.ids, chunk.starts).lengths for chunk in read_chunks(tokens)]
        token_bytes, source = np.concatenate(parts).astype(np.int64), f"the decoded text ({model.kind})"
    starts = np.flatnonzero(stream == tokens.bos) if tokens.bos is not None else np.zeros(0, dtype=np.intp)
    if not len(starts) or starts[0] != 0:
        starts = np.insert(starts, 0, 0)
    return ValidationSet(stream, token_bytes, starts.astype(np.int64), source)


def _formula_bytes(table: ByteTable, stream: NDArray[np.uint16]) -> NDArray[np.int64]:
    """Raises `ByteAuditError` for an id that the model does not have."""
    if int(stream.max()) >= table.size:
        raise ByteAuditError(f"id {int(stream.max())} is not in the vocabulary of {table.size} ids")
    counted = table.base[stream]
    counted[1:] += table.leading[stream[1:]] & ~table.boundary[stream[:-1]]
    return counted
