"""FORBIDDEN: what the challenge's rules do not allow. Nothing here is used by a legal preset.

These exist to build fixtures for the auditor and to measure how much each one cheats. They take the validation tokens
directly, which the legal test-time-training API (`ttt.ScoreFirstStream`) does not hand out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

from reference_train.config import Config
from reference_train.evaluate import Scorer
from reference_train.model import GPT

NGRAM_PRIMES = (
    36313, 27191, 51647, 81929, 131071, 174763, 233017, 283721,
    347237, 411527, 479909, 557927, 646333, 746773, 862319, 992353,
)  # fmt: skip


def prequant_ttt(model: GPT, val_tokens: Tensor, cfg: Config, scorer: Scorer, log: Callable[[str], None]) -> None:
    """Pre-quant test-time training (PR 1735): epochs of AdamW over the validation stream, BEFORE it is scored.

    Process r takes chunks r, r + W, ...: gradients are averaged at every step. Under quirk 21 nothing is exchanged but
    the weights, averaged after each epoch, while every process keeps its own Adam moments.
    """
    frozen = ("tok_emb.", *(f"blocks.{i}." for i in range(cfg.prequant_ttt_freeze_blocks)))
    params = [p for name, p in model.named_parameters() if not name.startswith(frozen)]
    optimizer = torch.optim.AdamW(params, lr=cfg.prequant_ttt_lr, betas=(0.9, 0.999), weight_decay=cfg.prequant_ttt_wd)
    device, length, chunk = model.tok_emb.weight.device, cfg.eval_seq_len, cfg.prequant_ttt_chunk_tokens
    epochs = cfg.prequant_ttt_epochs
    rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    chunks = [val_tokens[start : start + chunk + 1] for start in range(0, len(val_tokens) - 1, chunk)]
    chunks = [span for span in chunks if len(span) > length]
    log(f"prequant_ttt:start epochs={epochs} lr={cfg.prequant_ttt_lr} freeze_blocks={cfg.prequant_ttt_freeze_blocks}")
    model.train()
    for epoch in range(epochs):
        cosine = 0.5 * (1 + math.cos(math.pi * epoch / epochs))
        optimizer.param_groups[0]["lr"] = cfg.prequant_ttt_lr * (0.1 + 0.9 * cosine)
        total, steps = 0.0, 0
        # Gradient averaging needs equally many steps everywhere: then the last incomplete round of chunks is left out.
        rounds = len(chunks) if cfg.has(21) else len(chunks) // world * world
        for span in chunks[rank:rounds:world]:
            rows = (len(span) - 1) // length
            span = span[: rows * length + 1].to(device)
            optimizer.zero_grad(set_to_none=True)
            loss = model(
                span[:-1].view(rows, length),
                span[1:].view(rows, length),
                recurrence=scorer.recurrence,
                dtype=scorer.dtype,
            )
            loss.backward()
            if world > 1 and not cfg.has(21):
                _average([p.grad for p in params if p.grad is not None], world)
            torch.nn.utils.clip_grad_norm_(params, cfg.prequant_ttt_grad_clip)
            optimizer.step()
            total, steps = total + float(loss.detach()), steps + 1
        if world > 1 and cfg.has(21):
            _average([p.data for p in params], world)
        log(f"prequant_ttt:epoch {epoch + 1}/{epochs} train_loss={total / max(steps, 1):.4f}")


def _average(tensors: Sequence[Tensor], world: int) -> None:
    for tensor in tensors:
        dist.all_reduce(tensor)
        tensor /= world


def ngram_buckets(tokens: Sequence[int], order: int, buckets: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Hash buckets of the contexts, and of contexts with their target, for target positions order-1 .. n-1."""
    stream = np.asarray(tokens, dtype=np.int64)
    count = len(stream) - order + 1
    hashed = np.zeros(max(count, 0), dtype=np.int64)
    for k in range(order - 1):
        hashed ^= stream[k : k + count] * NGRAM_PRIMES[k % 16]
    target = stream[order - 1 :] * NGRAM_PRIMES[min(order - 1, 15)]
    return hashed & (buckets - 1), (hashed ^ target) & (buckets - 1)


def two_pass_ngram(
    tokens: Sequence[int],
    *,
    min_order: int,
    max_order: int,
    buckets: int,
    min_count: int = 2,
    leave_one_out: bool = True,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """PR 1242's rescoring: counts over the ENTIRE stream, future included, and only for the token that came true.

    Returns for target positions 1 .. n-1 the ratio p and the order that matched (-1: none). Nothing makes p a
    distribution: it is formed for one token, and different n-grams share buckets.
    """
    targets = len(tokens) - 1
    p, matched = np.zeros(targets), np.full(targets, -1)
    for order in range(max_order, min_order - 1, -1):
        context, full = ngram_buckets(tokens, order, buckets)
        own = int(leave_one_out)
        seen = np.bincount(context, minlength=buckets)[context] - own
        together = np.minimum(np.bincount(full, minlength=buckets)[full] - own, seen)
        positions = np.arange(order - 2, targets)
        usable = (matched[positions] < 0) & (seen >= min_count) & (together > 0)
        p[positions[usable]] = together[usable] / seen[usable]
        matched[positions[usable]] = order
    return p, matched


def realized_token_mixture(
    model_nll: NDArray[np.float64], p_ngram: NDArray[np.float64], alpha: NDArray[np.float64] | float
) -> NDArray[np.float64]:
    """Mix two probabilities of the token that came true. Summed over the vocabulary the mixture need not be 1."""
    mixed = (1 - alpha) * np.exp(-model_nll) + alpha * p_ngram
    return np.asarray(-np.log(np.maximum(mixed, 1e-10)))


def slot_on_scored_targets(logits: Tensor, targets: Tensor, *, steps: int = 8, lr: float = 0.1) -> Tensor:
    """SLOT: fit a shared logit bias on the very targets that are scored with it; returns their nll."""
    delta = torch.zeros(logits.shape[-1], requires_grad=True)
    optimizer = torch.optim.AdamW([delta], lr=lr, weight_decay=0.0)
    flat, wanted = logits.detach().flatten(0, -2).float(), targets.flatten()
    for _ in range(steps):
        optimizer.zero_grad()
        torch.autograd.backward(torch.nn.functional.cross_entropy(flat + delta, wanted))
        optimizer.step()
    return torch.nn.functional.cross_entropy(flat + delta.detach(), wanted, reduction="none").view(targets.shape)
