"""Legal test-time training: score a chunk first, then learn from it.

`ScoreFirstStream` keeps the tokens to itself. The only way to get training pairs is to score the next chunk, which
returns them once they can no longer influence their own score; so adapting before scoring, or to a chunk that is not
scored yet, cannot be written with this API.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

from reference_train.errors import TrainerError
from reference_train.evaluate import (
    EvalResult,
    EvalWindow,
    Scorer,
    check_once,
    empty_result,
    make_windows,
    merge_ranks,
    rank_share,
)
from reference_train.export import BANK_PARTS
from reference_train.model import GPT


@dataclass(frozen=True, kw_only=True)
class TttConfig:
    lr: float = 0.005
    epochs: int = 3
    chunk_tokens: int = 32_768
    momentum: float = 0.9
    batch_seqs: int = 32
    grad_clip: float = 1.0
    freeze_blocks: int = 0
    freeze_misses_banks: bool = False
    """Quirk 16: only tensors with a layer in their name are frozen; the slices of banks go on learning."""
    tail_rescoring: bool = False
    """Quirk 1: the windows of the tail score the last targets again and again."""


class ScoredChunk:
    """Tokens whose scores are final. Made by `ScoreFirstStream` only; may be learned from."""

    __slots__ = ("_tokens", "index")

    def __init__(self, tokens: Tensor, index: int, key: object) -> None:
        if key is not _STREAM_KEY:
            raise TrainerError("only scoring makes a ScoredChunk: call ScoreFirstStream.score_next")
        self._tokens, self.index = tokens, index

    def batches(self, seq_len: int, batch_seqs: int) -> Iterator[tuple[Tensor, Tensor]]:
        """This rank's (x, y) mini-batches of whole sequences inside the chunk."""
        share = rank_share((len(self._tokens) - 1) // seq_len)
        for first in range(share.start, share.stop, batch_seqs):
            last = min(first + batch_seqs, share.stop)
            span = self._tokens[first * seq_len : last * seq_len + 1]
            yield span[:-1].view(-1, seq_len), span[1:].view(-1, seq_len)


_STREAM_KEY = object()


class ScoreFirstStream:
    """A token stream that is scored chunk by chunk, strictly left to right."""

    def __init__(
        self,
        tokens: Tensor,
        price: NDArray[np.float64],
        scorer: Scorer,
        *,
        seq_len: int,
        stride: int,
        chunk_tokens: int,
        tail_rescoring: bool = False,
    ) -> None:
        targets = len(tokens) - 1
        self._once = not tail_rescoring
        self.__tokens, self._price, self._scorer, self._chunk = tokens, price, scorer, chunk_tokens
        self.chunks = math.ceil(targets / chunk_tokens)
        self._windows: list[list[EvalWindow]] = [[] for _ in range(self.chunks)]
        for window in make_windows(targets, seq_len, stride, tail_rescoring=tail_rescoring):
            for part in _split_at_chunks(window, chunk_tokens):
                self._windows[(part.start + part.first) // chunk_tokens].append(part)
        self._next = 0
        self._result = empty_result(targets)

    def score_next(self, model: GPT) -> ScoredChunk | None:
        """Score the next chunk with the current weights; None at the end of the stream."""
        if self._next == self.chunks:
            return None
        index, self._next = self._next, self._next + 1
        windows = self._windows[index]
        self._scorer.score(model, self.__tokens, windows[rank_share(len(windows))], self._result, self._price)
        start = index * self._chunk
        return ScoredChunk(self.__tokens[start : start + self._chunk + 1], index, _STREAM_KEY)

    def result(self) -> EvalResult:
        """Scores of the whole stream."""
        if self._next < self.chunks:
            raise TrainerError(f"only {self._next} of {self.chunks} chunks are scored: call score_next until it gives None")
        merged = merge_ranks(self._result)
        if self._once:
            check_once(merged)
        return merged


def _split_at_chunks(window: EvalWindow, chunk: int) -> Iterator[EvalWindow]:
    """Parts of a window that score inside one chunk each: the first window may be longer than a chunk."""
    position = window.start + window.first
    end = window.start + window.length
    while position < end:
        stop = min(end, (position // chunk + 1) * chunk)
        yield EvalWindow(window.start, position - window.start, stop - window.start)
        position = stop


def frozen_slices(model: GPT, blocks: int) -> list[tuple[Tensor, list[int]]]:
    """Per bank, the rows that hold matrices of the first `blocks` layers."""
    banks = [(p, len(BANK_PARTS[name])) for name, p in model.named_parameters() if name in BANK_PARTS]
    return [(p, [k * len(p) // parts + i for k in range(parts) for i in range(blocks)]) for p, parts in banks]


def adapt(
    model: GPT, chunk: ScoredChunk, optimizer: torch.optim.Optimizer, cfg: TttConfig, *, seq_len: int, scorer: Scorer
) -> None:
    """Train on a scored chunk. Processes average their gradients, a process without a sequence contributes zeros."""
    model.train()
    params = [p for group in optimizer.param_groups for p in group["params"]]
    world = dist.get_world_size() if dist.is_initialized() else 1
    frozen = [] if cfg.freeze_misses_banks else frozen_slices(model, cfg.freeze_blocks)
    for _ in range(cfg.epochs):
        for x, y in chunk.batches(seq_len, cfg.batch_seqs):
            optimizer.zero_grad(set_to_none=True)
            device = model.tok_emb.weight.device
            model(x.to(device), y.to(device), recurrence=scorer.recurrence, dtype=scorer.dtype).backward()
            for p in params if world > 1 else ():
                if p.grad is not None:
                    dist.all_reduce(p.grad)
                    p.grad /= world
            for bank, rows in frozen:
                if bank.grad is not None:
                    bank.grad[rows] = 0  # momentum without weight decay: what has no gradient does not move
            torch.nn.utils.clip_grad_norm_(params, cfg.grad_clip)
            optimizer.step()


def evaluate_score_first(
    model: GPT, tokens: Tensor, price: NDArray[np.float64], scorer: Scorer, cfg: TttConfig, *, seq_len: int, stride: int
) -> EvalResult:
    """Sliding-window score with adaptation after each chunk but the last; the model is changed."""
    if dist.is_initialized() and cfg.chunk_tokens // seq_len % dist.get_world_size():
        raise TrainerError("TTT_CHUNK_TOKENS / EVAL_SEQ_LEN must be divisible by the number of processes")
    stream = ScoreFirstStream(
        tokens,
        price,
        scorer,
        seq_len=seq_len,
        stride=stride,
        chunk_tokens=cfg.chunk_tokens,
        tail_rescoring=cfg.tail_rescoring,
    )
    frozen = tuple(f"blocks.{i}." for i in range(cfg.freeze_blocks))
    params = [p for name, p in model.named_parameters() if not name.startswith(frozen)] if frozen else list(model.parameters())
    optimizer = torch.optim.SGD(params, lr=cfg.lr, momentum=cfg.momentum)
    while (chunk := stream.score_next(model)) is not None:
        if chunk.index + 1 < stream.chunks and cfg.epochs:
            progress = chunk.index / max(stream.chunks - 1, 1)
            optimizer.param_groups[0]["lr"] = cfg.lr * 0.5 * (1 + math.cos(math.pi * progress))
            adapt(model, chunk, optimizer, cfg, seq_len=seq_len, scorer=scorer)
    return stream.result()
