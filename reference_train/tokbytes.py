"""How many source bytes each scored token stands for: the denominator of bits per byte.

One function, `per_target`, serves every evaluator. Counting bytes wrongly makes any model look better: a static table
cannot describe a stateful tokenizer (capcode), and a lone byte decodes to U+FFFD, three bytes for one (both happened in
the challenge: PRs 1143, 1314, 1289). So a table is checked against the length of the text wherever the text is known.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from reference_train.errors import TrainerError
from reference_train.shards import Tokens, find_shards, read_all

BYTE_VOCAB = 260
BYTE_OFFSET = 4
SPACE_MARK = "\u2581"
WITHDRAWN_TABLES = {"d852ac7fa9c72662": "the Scylla table of PR 1143, withdrawn: it counts 4 to 6.5 % too many bytes"}


class TokenBytes(Protocol):
    """Anything that can price the targets of a token stream."""

    def per_target(self, tokens: Tokens) -> NDArray[np.float64]:
        """Bytes of target p, that is of token p+1 given token p, for all p in [0, len(tokens) - 1)."""
        ...


@dataclass(frozen=True)
class ByteTable:
    """A table per token id. The leading space of a piece is free when it follows BOS or another boundary token."""

    base_bytes: NDArray[np.int16]
    has_leading_space: NDArray[np.bool_]
    is_boundary: NDArray[np.bool_]
    pieces: int
    """Ids from here on are padding: no text has them."""

    def per_target(self, tokens: Tokens) -> NDArray[np.float64]:
        if len(tokens) and int(tokens.max()) >= self.pieces:
            raise TrainerError(
                f"the shards hold token id {int(tokens.max())}, the tokenizer has {self.pieces} pieces: they do not belong "
                "together; set TOKENIZER_PATH or TOKENIZER_META_PATH to the tokenizer of the shards"
            )
        previous, target = tokens[:-1], tokens[1:]
        space = self.has_leading_space[target] & ~self.is_boundary[previous]
        return self.base_bytes[target].astype(np.float64) + space


@dataclass(frozen=True)
class ByteSidecar:
    """Exact bytes per token of one particular stream, written when the text was tokenized."""

    charges: NDArray[np.uint16]

    def per_target(self, tokens: Tokens) -> NDArray[np.float64]:
        if len(self.charges) < len(tokens):
            raise TrainerError(f"the sidecar has {len(self.charges)} entries for {len(tokens)} tokens; export both again")
        return self.charges[1 : len(tokens)].astype(np.float64)


def byte_table_for_bytes() -> ByteTable:
    """The 260-entry byte tokenizer: ids 0-3 special (0 bytes), byte b is id b + 4."""
    special = np.arange(BYTE_VOCAB) < BYTE_OFFSET
    return ByteTable((~special).astype(np.int16), np.zeros(BYTE_VOCAB, bool), special, BYTE_VOCAB)


def byte_table_from_sentencepiece(model_path: Path, vocab_size: int) -> ByteTable:
    """Price every piece of a SentencePiece model."""
    try:
        import sentencepiece
    except ImportError as problem:
        raise TrainerError("reading a .model file needs sentencepiece: pip install sentencepiece") from problem
    if not model_path.is_file():
        raise TrainerError(f"no tokenizer{_at(model_path)}: set TOKENIZER_PATH to the .model file of the shards")
    model = sentencepiece.SentencePieceProcessor(model_file=str(model_path))
    if model.piece_to_id(SPACE_MARK) == model.unk_id():
        raise TrainerError(
            f"{model_path}: U+2581 is not a piece, so each lone space would be charged as three byte tokens; "
            "train the tokenizer with the space mark in its alphabet"
        )
    check_size(int(model.vocab_size()), vocab_size, model_path)
    size = vocab_size
    base, space, boundary = np.zeros(size, np.int16), np.zeros(size, bool), np.ones(size, bool)
    for token in range(int(model.vocab_size())):
        if model.is_control(token) or model.is_unknown(token) or model.is_unused(token):
            continue
        boundary[token] = False
        if model.is_byte(token):
            base[token] = 1
            continue
        piece = str(model.id_to_piece(token))
        space[token] = piece.startswith(SPACE_MARK)
        base[token] = len(piece.removeprefix(SPACE_MARK).encode())
    return ByteTable(base, space, boundary, int(model.vocab_size()))


def byte_table_from_metadata(path: Path, vocab_size: int, *, accept_withdrawn: bool = False) -> ByteTable:
    """Read `*.meta.npz`; padded to the vocabulary with (0, False, True). A table known to be wrong is refused."""
    if not path.is_file():
        raise TrainerError(f"no tokenizer metadata{_at(path)}: set TOKENIZER_META_PATH to the .meta.npz of the shards")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    if digest in WITHDRAWN_TABLES and not accept_withdrawn:
        raise TrainerError(f"{path}: {WITHDRAWN_TABLES[digest]}; use a byte-exact table, or --quirk 19 to see its effect")
    with np.load(path, allow_pickle=False) as meta:
        if int(meta["format_version"]) != 1:
            raise TrainerError(f"{path}: format_version {int(meta['format_version'])}, this reader knows version 1")
        columns = [np.asarray(meta[key]) for key in ("base_bytes", "has_leading_space", "is_boundary_token")]
    check_size(len(columns[0]), vocab_size, path)
    padding = vocab_size - len(columns[0])
    base, space, boundary = (np.pad(c, (0, padding), constant_values=v) for c, v in zip(columns, (0, 0, 1), strict=True))
    return ByteTable(base.astype(np.int16), space.astype(bool), boundary.astype(bool), len(columns[0]))


def check_size(pieces: int, vocab_size: int, path: Path) -> None:
    """A model may have rows to spare, but a tokenizer with more pieces than the model has rows is another model's."""
    if pieces > vocab_size:
        raise TrainerError(
            f"{path} has {pieces} pieces, but VOCAB_SIZE is {vocab_size}; set it to the tokenizer's, or change the file"
        )


def _at(path: Path) -> str:
    return "" if path == Path() else f" at {path}"


def load_sidecar(folder: Path) -> ByteSidecar:
    """`fineweb_val_bytes_*.bin` beside the validation shards."""
    return ByteSidecar(read_all(find_shards(folder, "val_bytes")))


def check_total(counted: float, source_bytes: int, where: str) -> None:
    """Bytes over a whole split must be the UTF-8 length of its text, to the byte."""
    if round(counted) != source_bytes:
        raise TrainerError(
            f"{where}: the byte table counts {counted:.0f} bytes for a text of {source_bytes}; "
            f"bits per byte would be off by {counted / source_bytes - 1:+.3%}: use a byte-exact table or a sidecar"
        )
