"""Token shards made for the purpose: independent, uniformly drawn tokens.

Nobody can predict such a stream: whatever a legal scorer does, its expected loss is at least ln K for K equally likely tokens.
Four tokens in a row are practically unique, so that a loss is located in the stream by its targets alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from verifier.execution.toy_tokenizer import BOS, ToyTokenizer

MAGIC, VERSION, HEADER_INTS = 20240520, 1, 256
VAL_TOKENS = 4_097
VAL_SHARD = "fineweb_val_000000.bin"
TRAIN_TOKENS = 65_536

type Stream = NDArray[np.uint16]


@dataclass(frozen=True, slots=True, eq=False)
class ToyData:
    """`val` is the whole validation stream; `changed_from` is the index of the first token that differs from the twin of the
    same seed without a change, `None` for that twin itself."""

    tokenizer: ToyTokenizer
    train: Stream
    val: Stream
    changed_from: int | None = None

    @property
    def entropy(self) -> float:
        """ln K: nats per token of the source."""
        return float(np.log(len(self.tokenizer.alphabet)))


def make_data(
    tokenizer: ToyTokenizer,
    seed: int,
    *,
    val_tokens: int = VAL_TOKENS,
    changed_from: int | None = None,
    changed: int | None = None,
) -> ToyData:
    """Train and validation streams. With `changed_from`, every validation token from there on is another one (only `changed` of
    them, 97 apart, when that is given), except that documents begin where they did: batches by document then have the same
    shapes, and the same sums in the same order."""
    draw = np.random.default_rng(seed)
    train = _tokens(tokenizer, draw, TRAIN_TOKENS)
    val = _tokens(tokenizer, draw, val_tokens)
    if changed_from is not None:
        words = tokenizer.alphabet[tokenizer.alphabet != BOS]
        inner = np.flatnonzero(val != BOS)
        inner = inner[inner >= changed_from]
        if changed is not None:
            inner = inner[::97][:changed]
            changed_from = int(inner[0])
        # A shift by 1 to K-1 within the alphabet: still uniform, never the same token.
        shifts = draw.integers(1, len(words), size=len(inner))
        val = val.copy()
        val[inner] = words[(np.searchsorted(words, val[inner]) + shifts) % len(words)]
    return ToyData(tokenizer, train, val, changed_from)


def swap_token(data: ToyData, position: int, value: int) -> ToyData:
    """The same data with another token at one place of the validation stream."""
    val = data.val.copy()
    val[position] = value
    return replace(data, val=val, changed_from=position)


def write_data(data: ToyData, root: Path, names: tuple[str, ...], *, sidecar: bool) -> None:
    """Lay the files out as the contest does, below `root`: datasets/NAME/ for each name and tokenizers/. `sidecar`: also
    the bytes of each validation token in a file of the same form."""
    shards = [("fineweb_train_000000.bin", data.train), (VAL_SHARD, data.val)]
    shards += [("fineweb_train_000001.bin", data.train[::-1].copy())]
    if sidecar:
        counted = data.tokenizer.count_bytes(data.val)
        shards.append(("fineweb_val_bytes_000000.bin", counted.astype(np.uint16)))
    for name in names:
        folder = root / "datasets" / name
        folder.mkdir(parents=True, exist_ok=True)
        for file, values in shards:
            write_shard(folder / file, values)
    tokenizers = root / "tokenizers"
    tokenizers.mkdir(parents=True, exist_ok=True)
    model = data.tokenizer.serialize()
    for name in tokenizer_names(data.tokenizer.size):
        (tokenizers / name).write_bytes(model)


def tokenizer_names(size: int) -> tuple[str, ...]:
    return tuple(dict.fromkeys((f"fineweb_{size}_bpe.model", "fineweb_1024_bpe.model", "fineweb_8192_bpe.model")))


def _tokens(tokenizer: ToyTokenizer, draw: np.random.Generator, count: int) -> Stream:
    tokens = tokenizer.alphabet[draw.integers(0, len(tokenizer.alphabet), size=count)]
    tokens[0] = BOS
    return tokens


def write_shard(path: Path, values: NDArray[np.integer]) -> None:
    """A file in the contest's form."""
    header = np.zeros(HEADER_INTS, dtype="<i4")
    header[:3] = (MAGIC, VERSION, len(values))
    path.write_bytes(header.tobytes() + values.astype("<u2").tobytes())
