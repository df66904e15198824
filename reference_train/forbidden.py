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
from reference_train.evaluate import EvalResult, Scorer, empty_result, make_windows, merge_ranks, rank_share
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


def ngram_buckets(
    tokens: Sequence[int] | NDArray[np.int64], order: int, buckets: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Hash buckets of the contexts, and of contexts with their target, for target positions order-1 .. n-1."""
    stream = np.asarray(tokens, dtype=np.int64)
    count = len(stream) - order + 1
    hashed = np.zeros(max(count, 0), dtype=np.int64)
    for k in range(order - 1):
        hashed ^= stream[k : k + count] * NGRAM_PRIMES[k % 16]
    target = stream[order - 1 :] * NGRAM_PRIMES[min(order - 1, 15)]
    return hashed & (buckets - 1), (hashed ^ target) & (buckets - 1)


def two_pass_ngram(
    tokens: Sequence[int] | NDArray[np.int64],
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


def evaluate_with_ngrams(
    model: GPT, tokens: Tensor, price: NDArray[np.float64], scorer: Scorer, cfg: Config
) -> tuple[EvalResult, str]:
    """PR 1242's last evaluation: sliding scores, then rescored from counts over the stream; and a line about it.

    The surer the model is of a distribution (the lower its entropy, in nats), the less the counts weigh; higher orders
    weigh more. Where no order matches, the model's probability stays.
    """
    targets = len(tokens) - 1
    p, matched = two_pass_ngram(
        tokens.numpy(),
        min_order=cfg.ngram_min_order,
        max_order=cfg.ngram_max_order,
        buckets=cfg.ngram_num_buckets,
        min_count=cfg.ngram_min_count,
        leave_one_out=cfg.ngram_leave_one_out,
    )
    windows = make_windows(targets, cfg.eval_seq_len, cfg.eval_stride, tail_rescoring=cfg.has(1))
    result, weights = empty_result(targets), [np.zeros(0)]
    for batch in scorer.batches(model, tokens, windows[rank_share(len(windows))]):
        log_p = batch.logits.log_softmax(-1)
        nll = -log_p.gather(1, batch.targets[:, None]).squeeze(1).double().cpu().numpy()
        entropy = -(log_p.exp() * log_p).sum(-1).double().cpu().numpy()
        order = matched[batch.positions]
        alpha = np.where(order > 0, ngram_weight(entropy, order, cfg), 0.0)
        mixed = np.where(order > 0, realized_token_mixture(nll, p[batch.positions], alpha), nll)
        result.add(batch.positions, torch.from_numpy(mixed), price)
        weights.append(alpha[order > 0])
    used = np.concatenate(weights)
    summary = f"matched={len(used)}/{result.tokens} mean_alpha={used.mean() if len(used) else 0:.3f}"
    return merge_ranks(result), summary


NGRAM_ORDER_FACTORS = np.array([0.3, 0.3, 0.97, *[2.0] * 8])


def ngram_weight(entropy: NDArray[np.float64], matched: NDArray[np.int64], cfg: Config) -> NDArray[np.float64]:
    """How much the ratio of counts weighs, 0 to 0.95, by the model's entropy and the order that matched."""
    level = matched - 2
    sigmoid = 1 / (1 + np.exp(-cfg.ngram_entropy_scale * (entropy - (cfg.ngram_entropy_center - 0.25 * level))))
    alpha = cfg.ngram_alpha_min + (cfg.ngram_alpha_max - cfg.ngram_alpha_min) * sigmoid
    return np.asarray(np.clip(alpha * NGRAM_ORDER_FACTORS[np.clip(level, 0, 10)], 0.0, 0.95))


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
