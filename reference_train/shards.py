"""Token shards: 256 little-endian int32 of header, then uint16 tokens.

The format is the one of llm.c and modded-nanogpt (magic 20240520, version 1), which the challenge uses unchanged. Byte
sidecars use the same container: one uint16 per token, the number of source bytes that the token stands for.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reference_train.errors import TrainerError

SHARD_MAGIC = 20240520
SHARD_VERSION = 1
HEADER_INTS = 256
HEADER_BYTES = 4 * HEADER_INTS

Tokens = NDArray[np.uint16]


def write_shard(path: Path, tokens: Sequence[int] | NDArray[np.integer]) -> None:
    """Write one shard; the file appears complete or not at all."""
    values = np.asarray(tokens)
    if len(values) >= 2**31:
        raise TrainerError(f"{path}: a shard holds fewer than 2^31 tokens, got {len(values)}; write several shards")
    if len(values) and (values.min() < 0 or values.max() > 0xFFFF):
        raise TrainerError(f"{path}: token ids must fit in uint16; use a vocabulary of at most 65,536 entries")
    header = np.zeros(HEADER_INTS, dtype="<i4")
    header[:3] = SHARD_MAGIC, SHARD_VERSION, len(values)
    write_atomic(path, header.tobytes() + values.astype("<u2").tobytes())


def read_shard(path: Path) -> Tokens:
    """Map one shard into memory, after checking header and size."""
    size = path.stat().st_size
    if size < HEADER_BYTES:
        raise TrainerError(f"{path}: {size} bytes, shorter than the {HEADER_BYTES}-byte header; export the shard again")
    header = np.fromfile(path, dtype="<i4", count=HEADER_INTS)
    if header[0] != SHARD_MAGIC:
        raise TrainerError(f"{path}: magic {header[0]}, expected {SHARD_MAGIC}; this is not a token shard")
    if header[1] != SHARD_VERSION:
        raise TrainerError(f"{path}: shard version {header[1]}, this reader knows version {SHARD_VERSION}")
    count = int(header[2])
    expected = HEADER_BYTES + 2 * count
    if count < 0 or size != expected:
        raise TrainerError(f"{path}: {size} bytes, but {count} tokens need {expected}; download or export it again")
    if count == 0:
        return np.zeros(0, dtype=np.uint16)
    return np.memmap(path, dtype="<u2", mode="r", offset=HEADER_BYTES, shape=(count,))


def find_shards(folder: Path, split: str) -> list[Path]:
    """Sorted `fineweb_<split>_NNNNNN.bin` files. Sidecars (`fineweb_val_bytes_*`) are left out."""
    paths = sorted(p for p in folder.glob(f"fineweb_{split}_*.bin") if p.stem.removeprefix(f"fineweb_{split}_").isdigit())
    if not paths:
        raise TrainerError(f"no fineweb_{split}_*.bin in {folder}: set DATA_PATH to a folder of shards, or use a tiny preset")
    return paths


def read_all(paths: Iterable[Path]) -> Tokens:
    """All shards of a split as one array."""
    return np.concatenate([read_shard(path) for path in paths])


def truncate_validation(tokens: Tokens, seq_len: int) -> Tokens:
    """Keep a whole number of windows plus the one token that is only a target (up to seq_len - 1 tail tokens go)."""
    usable = (len(tokens) - 1) // seq_len * seq_len
    if usable <= 0:
        raise TrainerError(f"{len(tokens)} validation tokens do not fill one window of {seq_len}; lower EVAL_SEQ_LEN")
    return tokens[: usable + 1]


def check_vocabulary(tokens: NDArray[np.integer], vocab_size: int, where: str) -> None:
    """Shards of another tokenizer show as ids beyond the vocabulary; the embedding look-up would crash."""
    largest = int(tokens.max()) if tokens.size else 0
    if largest >= vocab_size:
        raise TrainerError(
            f"{where}: token id {largest}, but VOCAB_SIZE is {vocab_size}; the shards belong to another tokenizer: "
            "set VOCAB_SIZE and the tokenizer to those of the shards, or point DATA_PATH elsewhere"
        )


def write_atomic(path: Path, data: bytes) -> None:
    """Write beside the target, then rename: on a full disk the old file survives and no half file is left."""
    partial = path.with_name(f".{path.name}.partial{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(partial, path)
    except OSError as problem:
        with contextlib.suppress(OSError):
            partial.unlink()
        kept = "the previous file is untouched" if path.exists() else "nothing was written"
        raise TrainerError(f"could not write {path} ({problem.strerror}); {kept}: free space and run again") from problem
