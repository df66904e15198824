"""Token and byte shards: 256 little-endian int32 (magic 20240520, version 1, count), then `count` little-endian uint16.

Shards are read in blocks, so that memory does not grow with the set; nothing of a shard that fails a check is used.
"""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audits.bytes.model import ByteAuditError

HEADER_INTS = 256
HEADER_BYTES = 4 * HEADER_INTS
MAGIC = 20240520
VERSION = 1
SIDECAR_MARK = "_bytes_"


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard whose header and size have been checked. `count`: uint16 values after the header."""

    path: Path
    count: int


def find_shards(pattern: str, *, sidecars: bool) -> list[Path]:
    """Files that match a glob, in name order. Sidecars lie beside the tokens under similar names: each kind skips the
    other.

    Raises `ByteAuditError` when nothing matches.
    """
    found = [Path(name) for name in sorted(glob.glob(pattern, recursive=True))]
    kept = [path for path in found if path.is_file() and (SIDECAR_MARK in path.name) == sidecars]
    if sidecars and not kept:
        kept = [path for path in found if path.is_file()]
    if not kept:
        what = "byte sidecar" if sidecars else "token shard"
        other = f" ({len(found)} files match, none of them is one)" if found else ""
        raise ByteAuditError(f"no {what} matches {pattern}{other}")
    return kept


def open_shard(path: Path) -> Shard:
    """Check header and size. Raises `ByteAuditError` (which names the file) or `OSError`."""
    size = path.stat().st_size
    with path.open("rb") as handle:
        raw = handle.read(HEADER_BYTES)
    if len(raw) < HEADER_BYTES:
        raise ByteAuditError(f"{path.name}: {len(raw)} bytes, shorter than the header of {HEADER_BYTES}")
    header = np.frombuffer(raw, dtype="<i4")
    magic, version, count = (int(value) for value in header[:3])
    if magic != MAGIC:
        raise ByteAuditError(f"{path.name}: magic number {magic} instead of {MAGIC}")
    if version != VERSION:
        raise ByteAuditError(f"{path.name}: version {version} instead of {VERSION}")
    if count < 0:
        raise ByteAuditError(f"{path.name}: the header claims {count} tokens")
    expected = HEADER_BYTES + 2 * count
    if size != expected:
        how = "truncated" if size < expected else "longer than its header says"
        raise ByteAuditError(f"{path.name}: {how}: {size} bytes, {count} tokens need {expected}")
    return Shard(path, count)


def open_shards(paths: Sequence[Path]) -> tuple[Shard, ...]:
    """All shards of a set, checked before any is read."""
    return tuple(open_shard(path) for path in paths)


def read_blocks(shards: Sequence[Shard], size: int) -> Iterator[NDArray[np.uint16]]:
    """The values of all shards in blocks of `size` (the last of each set may be shorter; blocks span shards).

    Raises `ByteAuditError` when a file has become shorter since it was checked.
    """
    block = np.empty(size, dtype="<u2")
    filled = 0
    for shard in shards:
        with shard.path.open("rb") as handle:
            handle.seek(HEADER_BYTES)
            left = shard.count
            while left:
                part = block[filled : filled + left]
                got = handle.readinto(memoryview(part).cast("B"))
                if got != part.nbytes:
                    raise ByteAuditError(f"{shard.path.name}: changed while it was read")
                filled += len(part)
                left -= len(part)
                if filled == size:
                    yield block
                    block = np.empty(size, dtype="<u2")
                    filled = 0
    if filled:
        yield block[:filled]
