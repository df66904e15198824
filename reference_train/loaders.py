"""The three training loaders of the submitted systems. All give (x, y) with y the next token of x.

In the originals the data order never depends on SEED (quirk 13). Here the seed drives it, unless `seed` is None.
Each loader separates choosing windows from reading them, so that a resumed run can replay the choices cheaply.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from reference_train.errors import TrainerError
from reference_train.shards import Tokens, read_shard

Batch = tuple[NDArray[np.int64], NDArray[np.int64]]
Window = tuple[int, int]
"""Shard index and first token."""


class Loader(Protocol):
    def next_batch(self, global_tokens: int, seq_len: int, accum: int) -> Batch:
        """This rank's share of one micro-step: `global_tokens // (world * accum)` tokens as [sequences, seq_len]."""
        ...

    def skip(self, calls: int, global_tokens: int, seq_len: int, accum: int) -> None:
        """Advance as if `next_batch` had been called `calls` times."""
        ...


def _local_sequences(global_tokens: int, seq_len: int, accum: int, world: int) -> int:
    sequences = global_tokens // (world * accum) // seq_len
    if sequences < 1:
        raise TrainerError(
            f"TRAIN_BATCH_TOKENS {global_tokens} gives no whole sequence of {seq_len} to each of {world} processes x "
            f"{accum} micro-steps; raise it to at least {world * accum * seq_len}"
        )
    return sequences


def _read_windows(shards: Sequence[Tokens], windows: Sequence[Window], seq_len: int) -> Batch:
    rows = np.stack([shards[shard][start : start + seq_len + 1] for shard, start in windows]).astype(np.int64)
    return rows[:, :-1], rows[:, 1:]


class SequentialLoader:
    """One token stream over all shards, wrapping at the end; ranks take neighbouring spans (baseline, PR 1405)."""

    def __init__(self, paths: Sequence[Path], rank: int, world: int, seed: int | None) -> None:
        self._shards = [read_shard(path) for path in paths]
        self._starts = np.cumsum([0, *(len(shard) for shard in self._shards)])
        self._rank, self._world = rank, world
        total = int(self._starts[-1])
        if total == 0:
            raise TrainerError(f"the training shards beside {paths[0]} hold no token; export them again")
        self._position = 0 if seed is None else int(np.random.default_rng(seed).integers(total))

    def next_batch(self, global_tokens: int, seq_len: int, accum: int) -> Batch:
        span = _local_sequences(global_tokens, seq_len, accum, self._world) * seq_len + 1
        row = self._take(self._position + self._rank * span, span)
        self._position += self._world * span
        return row[:-1].reshape(-1, seq_len), row[1:].reshape(-1, seq_len)

    def skip(self, calls: int, global_tokens: int, seq_len: int, accum: int) -> None:
        span = _local_sequences(global_tokens, seq_len, accum, self._world) * seq_len + 1
        self._position += calls * self._world * span

    def _take(self, position: int, count: int) -> NDArray[np.int64]:
        parts = []
        while count:
            position %= int(self._starts[-1])
            shard = int(np.searchsorted(self._starts, position, side="right")) - 1
            offset = position - int(self._starts[shard])
            part = self._shards[shard][offset : offset + count]
            parts.append(part)
            count -= len(part)
            position += len(part)
        return np.concatenate(parts).astype(np.int64)


class ShuffledLoader:
    """Each rank owns every W-th shard and draws its sequences without replacement (PRs 1394, 1735, 1738)."""

    def __init__(self, paths: Sequence[Path], rank: int, world: int, seed: int | None, seq_len: int) -> None:
        if len(paths) < world:
            raise TrainerError(f"{len(paths)} training shards for {world} processes; this loader needs one shard for each")
        self._shards = [read_shard(path) for path in paths[rank::world]]
        self._world, self._seq_len = world, seq_len
        entropy = rank if seed is None else [seed, rank]
        self._rng = np.random.Generator(np.random.PCG64(entropy))
        self._pending: list[list[int]] = [[] for _ in self._shards]
        self._reset()

    def _reset(self) -> None:
        for index, shard in enumerate(self._shards):
            limit = min(self._seq_len - 1, max(0, len(shard) - self._seq_len - 1))
            phase = int(self._rng.integers(limit + 1)) if limit > 0 else 0
            order = self._rng.permutation((len(shard) - 1 - phase) // self._seq_len)
            self._pending[index] = (phase + order * self._seq_len).tolist()
        if not any(self._pending):
            raise TrainerError(f"no training shard holds a sequence of {self._seq_len} tokens; lower TRAIN_SEQ_LEN")

    def _choose(self, count: int) -> list[Window]:
        windows: list[Window] = []
        for _ in range(count):
            remaining = np.array([len(starts) for starts in self._pending], dtype=np.float64)
            if remaining.sum() == 0:
                self._reset()
                remaining = np.array([len(starts) for starts in self._pending], dtype=np.float64)
            shard = int(self._rng.choice(len(self._shards), p=remaining / remaining.sum()))
            windows.append((shard, self._pending[shard].pop()))
        return windows

    def next_batch(self, global_tokens: int, seq_len: int, accum: int) -> Batch:
        count = _local_sequences(global_tokens, seq_len, accum, self._world)
        return _read_windows(self._shards, self._choose(count), seq_len)

    def skip(self, calls: int, global_tokens: int, seq_len: int, accum: int) -> None:
        for _ in range(calls):
            self._choose(_local_sequences(global_tokens, seq_len, accum, self._world))


class _StrideCursor:
    """Visits the blocks of one shard once each, in steps of a stride coprime with their number."""

    def __init__(self, tokens: int, seq_len: int) -> None:
        self._tokens, self._seq_len = tokens, seq_len
        self._phase = self._start = self._next = self.blocks = 0
        self._stride = 1
        self.ready = False

    def _reset(self, rng: np.random.Generator) -> None:
        limit = min(self._seq_len - 1, max(0, self._tokens - self._seq_len - 1))
        self._phase = int(rng.integers(limit + 1)) if limit > 0 else 0
        self.blocks = (self._tokens - 1 - self._phase) // self._seq_len
        self._start = int(rng.integers(self.blocks)) if self.blocks > 1 else 0
        self._stride = 1
        if self.blocks > 1:
            self._stride = int(rng.integers(1, self.blocks))
            while gcd(self._stride, self.blocks) != 1:
                self._stride = int(rng.integers(1, self.blocks))
        self._next, self.ready = 0, True

    @property
    def remaining(self) -> int:
        return max(1, self.blocks - self._next) if self.ready else (self._tokens - 1) // self._seq_len

    def draw(self, rng: np.random.Generator) -> int:
        if not self.ready or self._next >= self.blocks:
            self._reset(rng)
        block = (self._start + self._next * self._stride) % self.blocks
        self._next += 1
        return self._phase + block * self._seq_len


class CoprimeLoader:
    """Every batch mixes a few shards, chosen by what is left in them; ranks share one RNG (PR 1471)."""

    RAMP_BATCHES = 1800

    def __init__(self, paths: Sequence[Path], rank: int, world: int, seed: int | None, seq_len: int) -> None:
        self._shards = [read_shard(path) for path in paths]
        self._rank, self._world = rank, world
        self._cursors = [_StrideCursor(len(shard), seq_len) for shard in self._shards]
        self._eligible = [i for i, cursor in enumerate(self._cursors) if cursor.remaining > 0]
        if not self._eligible:
            raise TrainerError(f"no training shard holds a sequence of {seq_len} tokens; lower TRAIN_SEQ_LEN")
        # The original folds the spelling of the paths into the seed, so the order changes with the folder's name.
        entropy = path_fold_seed([str(path) for path in paths]) if seed is None else seed
        self._rng = np.random.Generator(np.random.PCG64(entropy))
        self._batches = 0

    def _choose(self, sequences: int) -> list[Window]:
        rng, progress = self._rng, min(self._batches / self.RAMP_BATCHES, 1.0)
        self._batches += 1
        left = np.array([self._cursors[i].remaining for i in self._eligible], dtype=np.float64)
        weights = left ** (0.90 - 0.40 * progress)
        weights /= weights.sum()
        ceiling = min(len(self._eligible), sequences)
        low, high = min(max(8, self._world), ceiling), min(max(32, 8 * self._world), ceiling)
        mix = min(max(round(low + progress * (high - low)), 1), ceiling)
        chosen = rng.choice(len(self._eligible), size=mix, replace=False, p=weights)
        counts = np.ones(mix, dtype=np.int64)
        if sequences > mix:
            share = weights[chosen] / weights[chosen].sum()
            counts += rng.multinomial(sequences - mix, share)
        order = rng.permutation(mix)
        buckets: list[list[Window]] = []
        for slot in order:
            shard = self._eligible[int(chosen[slot])]
            starts = [self._cursors[shard].draw(rng) for _ in range(int(counts[slot]))]
            if len(starts) > 1:
                starts = [starts[k] for k in rng.permutation(len(starts))]
            buckets.append([(shard, start) for start in starts])
        windows: list[Window] = []
        while any(buckets):
            filled = [bucket for bucket in buckets if bucket]
            windows.extend(filled[k].pop() for k in rng.permutation(len(filled)))
        return windows

    def next_batch(self, global_tokens: int, seq_len: int, accum: int) -> Batch:
        count = self._world * _local_sequences(global_tokens, seq_len, accum, self._world)
        return _read_windows(self._shards, self._choose(count)[self._rank :: self._world], seq_len)

    def skip(self, calls: int, global_tokens: int, seq_len: int, accum: int) -> None:
        for _ in range(calls):
            self._choose(self._world * _local_sequences(global_tokens, seq_len, accum, self._world))


def path_fold_seed(paths: Sequence[str]) -> int:
    """FNV-1a-like fold of the path strings, started at 0."""
    value = 0
    for path in paths:
        for byte in path.encode():
            value = ((value ^ byte) * 1099511628211) % 2**64
    return value


def make_loader(kind: str, paths: Sequence[Path], rank: int, world: int, seed: int | None, seq_len: int) -> Loader:
    if kind == "sequential":
        return SequentialLoader(paths, rank, world, seed)
    if kind == "coprime":
        return CoprimeLoader(paths, rank, world, seed, seq_len)
    if kind == "shuffled":
        return ShuffledLoader(paths, rank, world, seed, seq_len)
    raise TrainerError(f"unknown LOADER {kind!r}: use sequential, coprime or shuffled")
