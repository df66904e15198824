"""Bits per byte over a token stream, each target scored exactly once.

Position p is the prediction of token p+1 from tokens <= p. An evaluation is a list of windows; a window scores a run of
positions and lends the earlier ones as context. Plain evaluation is the window list whose stride is the window length.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from numpy.typing import NDArray

from reference_train.errors import TrainerError
from reference_train.model import GPT


class EvalWindow(NamedTuple):
    start: int
    first: int
    """First scored position, counted from the start of the window."""
    length: int


def make_windows(targets: int, seq_len: int, stride: int, *, tail_rescoring: bool = False) -> list[EvalWindow]:
    """The first window scores all its positions, later ones the last `stride`; the tail may be shorter.

    Quirk 1 keeps adding windows until the stream ends: they score the last targets again, with ever shorter context.
    """
    if not 0 < stride <= seq_len:
        raise TrainerError(f"EVAL_STRIDE {stride} must be between 1 and EVAL_SEQ_LEN {seq_len}")
    context = seq_len - stride
    windows = []
    for start in range(0, targets, stride):
        if not tail_rescoring and start and start + context >= targets:
            break
        length = min(seq_len, targets - start)
        first = max(length - stride, 0) if tail_rescoring else context
        windows.append(EvalWindow(start, first if start else 0, length))
    return windows


@dataclass
class EvalResult:
    """Sums over scored positions."""

    nll_sum: float
    tokens: int
    bytes: float
    times_scored: NDArray[np.int64]
    """Per position, how often it was scored."""
    nll: NDArray[np.float64]
    """Per position, the last score given to it."""

    def add(self, positions: NDArray[np.int64], nll: torch.Tensor, price: NDArray[np.float64]) -> None:
        scores = nll.double().cpu().numpy()
        self.nll[positions] = scores
        np.add.at(self.times_scored, positions, 1)
        self.nll_sum += float(scores.sum())
        self.tokens += len(positions)
        self.bytes += float(price[positions].sum())

    @property
    def val_loss(self) -> float:
        return self.nll_sum / self.tokens

    @property
    def val_bpb(self) -> float:
        return self.nll_sum / (math.log(2) * self.bytes)


class ScoredBatch(NamedTuple):
    """The scored positions of a batch of windows, from left to right."""

    positions: NDArray[np.int64]
    logits: torch.Tensor
    """[positions, vocabulary] in fp32"""
    targets: torch.Tensor


@dataclass(frozen=True)
class Scorer:
    """How a model is asked for scores; the same for every evaluator."""

    recurrence: bool
    dtype: torch.dtype = torch.float32
    batch_windows: int = 32
    compiled: bool = False

    def batches(self, model: GPT, tokens: torch.Tensor, windows: Sequence[EvalWindow]) -> Iterator[ScoredBatch]:
        """What the windows score. Short ones are padded at the end, where causality keeps it without effect."""
        model.eval()
        device = model.tok_emb.weight.device
        compute = torch.compile(model.logits, dynamic=False) if self.compiled else model.logits
        for begin in range(0, len(windows), self.batch_windows):
            batch = windows[begin : begin + self.batch_windows]
            longest = max(w.length for w in batch)
            x = torch.zeros(len(batch), longest, dtype=torch.long)
            scored = torch.zeros(len(batch), longest, dtype=torch.bool)
            for row, w in enumerate(batch):
                x[row, : w.length] = tokens[w.start : w.start + w.length]
                scored[row, w.first : w.length] = True
            positions = np.concatenate([np.arange(w.start + w.first, w.start + w.length) for w in batch])
            with torch.no_grad():
                logits = compute(x.to(device), recurrence=self.recurrence, dtype=self.dtype)
            yield ScoredBatch(positions, logits[scored.to(device)].float(), tokens[positions + 1].to(device))

    def score(
        self,
        model: GPT,
        tokens: torch.Tensor,
        windows: Sequence[EvalWindow],
        into: EvalResult,
        price: NDArray[np.float64],
    ) -> None:
        """Add the windows' scores."""
        for batch in self.batches(model, tokens, windows):
            into.add(batch.positions, F.cross_entropy(batch.logits, batch.targets, reduction="none"), price)


def empty_result(targets: int) -> EvalResult:
    return EvalResult(0.0, 0, 0.0, np.zeros(targets, np.int64), np.zeros(targets))


def rank_share(count: int) -> slice:
    """This process's contiguous part of `count` windows."""
    rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    return slice(count * rank // world, count * (rank + 1) // world)


def merge_ranks(result: EvalResult) -> EvalResult:
    """Sum the processes' results; with one process, the result itself."""
    if not dist.is_initialized():
        return result
    sums = torch.tensor([result.nll_sum, float(result.tokens), result.bytes], dtype=torch.float64)
    times = torch.from_numpy(result.times_scored.copy())
    nll = torch.from_numpy(np.where(result.times_scored > 0, result.nll, 0.0))
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    merged = []
    for part in (sums, times, nll):
        moved = part.to(device)
        dist.all_reduce(moved)
        merged.append(moved.cpu())
    nll_sum, count, total_bytes = merged[0].tolist()
    return EvalResult(nll_sum, int(count), total_bytes, merged[1].numpy(), merged[2].numpy())


def evaluate(
    model: GPT,
    tokens: torch.Tensor,
    price: NDArray[np.float64],
    scorer: Scorer,
    *,
    seq_len: int,
    stride: int,
    tail_rescoring: bool = False,
) -> EvalResult:
    """Score the whole stream; `price` holds the bytes of each target (`TokenBytes.per_target`)."""
    targets = len(tokens) - 1
    windows = make_windows(targets, seq_len, stride, tail_rescoring=tail_rescoring)
    result = empty_result(targets)
    scorer.score(model, tokens, windows[rank_share(len(windows))], result, price)
    merged = merge_ranks(result)
    if not tail_rescoring:
        check_once(merged)
    return merged


def check_once(result: EvalResult) -> None:
    """Each target exactly once, or the number is not a score of this stream."""
    if not (result.times_scored == 1).all():
        wrong = int((result.times_scored != 1).sum())
        raise TrainerError(f"{wrong} targets were not scored exactly once; use windows from make_windows")
