"""An output bias and a unigram cache that learn while they score (PR 1405: on by default, though no log shows a run).

A batch of windows is scored with the state from before it; then the state learns its targets. Nothing sees a target
before it is scored, and what is mixed are distributions over the whole vocabulary, so the result is one too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reference_train.evaluate import EvalResult, Scorer, check_once, empty_result, make_windows, merge_ranks, rank_share
from reference_train.model import GPT

SMALLEST_PROBABILITY = 1e-10
ONLINE_WINDOWS = 32
"""Windows of a batch. It is part of the method: within a batch nothing is learned."""


@dataclass(frozen=True, kw_only=True)
class OnlineConfig:
    lr: float = 0.1
    cache_weight: float = 0.02
    cache_decay: float = 0.995
    tail_rescoring: bool = False
    """Quirk 1."""


class OnlineState:
    """What was learned from the targets so far; it starts at nothing, in each process."""

    def __init__(self, vocab_size: int, device: torch.device, cfg: OnlineConfig) -> None:
        self._cfg = cfg
        self.bias = torch.zeros(vocab_size, device=device)
        self.counts = torch.zeros(vocab_size, device=device)

    def probabilities(self, logits: Tensor) -> Tensor:
        """(1 - weight) softmax(logits + bias) + weight counts / sum(counts); without counts the softmax alone."""
        p = (logits + self.bias).softmax(-1)
        total = self.counts.sum()
        if total == 0:
            return p
        weight = self._cfg.cache_weight
        return (1 - weight) * p + weight * self.counts / total

    def learn(self, logits: Tensor, targets: Tensor) -> None:
        """Learn scored targets [n] from their logits [n, V], oldest first.

        The bias descends the gradient softmax - onehot of each target, all taken at the bias of before; the counts fade
        with each target and gain one for it. Both have a closed form over the batch, so no loop over tokens is needed.
        """
        cfg, n = self._cfg, len(targets)
        gradient = (logits + self.bias).softmax(-1).sum(0) - torch.bincount(targets, minlength=len(self.bias))
        self.bias -= cfg.lr * gradient
        age = torch.arange(n - 1, -1, -1, device=targets.device, dtype=torch.float64)
        self.counts *= cfg.cache_decay**n
        self.counts.index_add_(0, targets, (cfg.cache_decay**age).float())


@torch.no_grad()
def evaluate_online(
    model: GPT, tokens: Tensor, price: NDArray[np.float64], scorer: Scorer, cfg: OnlineConfig, *, seq_len: int, stride: int
) -> EvalResult:
    """Sliding-window score by `OnlineState.probabilities`. Each process learns from its own part of the stream."""
    targets = len(tokens) - 1
    windows = make_windows(targets, seq_len, stride, tail_rescoring=cfg.tail_rescoring)
    result = empty_result(targets)
    state = OnlineState(model.cfg.vocab_size, model.tok_emb.weight.device, cfg)
    for batch in scorer.batches(model, tokens, windows[rank_share(len(windows))]):
        chosen = state.probabilities(batch.logits).gather(1, batch.targets[:, None]).squeeze(1)
        result.add(batch.positions, -chosen.clamp_min(SMALLEST_PROBABILITY).log(), price)
        state.learn(batch.logits, batch.targets)
    merged = merge_ranks(result)
    if not cfg.tail_rescoring:
        check_once(merged)
    return merged
