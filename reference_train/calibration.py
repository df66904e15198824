"""Hessians of the layers' inputs, H = Σ XᵀX, for GPTQ.

The data are training windows, or text that the model writes itself (PR 1019), which needs no data at all. Reading
training data after the training clock has stopped would be training outside the budget: the caller tags the time.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from reference_train.model import GPT


@torch.no_grad()
def collect_hessians(
    model: GPT, batches: Iterable[Tensor], *, recurrence: bool, dtype: torch.dtype, min_numel: int
) -> dict[str, Tensor]:
    """Mean over batches of XᵀX for every weight above `min_numel`; layers that run twice contribute twice."""
    wanted = {name for name, p in model.named_parameters() if p.ndim >= 2 and p.numel() > min_numel}
    hessians: dict[str, Tensor] = {}
    last: tuple[Tensor, Tensor] | None = None

    def observe(name: str, inputs: Tensor) -> None:
        nonlocal last
        if not model.cfg.parameter_banks and name not in wanted:
            return
        # Query, key and value read the same tensor: its product is computed once.
        if last is None or last[0] is not inputs:
            rows = inputs.flatten(0, 1).float()
            last = (inputs, rows.T @ rows)
        hessians[name] = hessians[name] + last[1] if name in hessians else last[1].clone()

    model.eval()
    count = 0
    for ids in batches:
        model.logits(ids, recurrence=recurrence, dtype=dtype, tap=observe)
        last = None
        count += 1
    return {name: h / count for name, h in hessians.items()}


@torch.no_grad()
def self_generated_batches(
    model: GPT,
    *,
    sequences: int,
    length: int,
    recurrence: bool,
    dtype: torch.dtype,
    temperature: float = 0.8,
    batch: int = 8,
    seed: int = 42,
) -> list[Tensor]:
    """Sequences sampled from the model, from a uniformly drawn first token; each is one calibration batch."""
    device = model.tok_emb.weight.device
    generator = torch.Generator(device=device).manual_seed(seed)
    model.eval()
    out: list[Tensor] = []
    while len(out) < sequences:
        rows = min(batch, sequences - len(out))
        ids = torch.randint(model.cfg.vocab_size, (rows, 1), generator=generator, device=device)
        for _ in range(length - 1):
            logits = model.logits(ids, recurrence=recurrence, dtype=dtype)[:, -1].float() / temperature
            ids = torch.cat((ids, torch.multinomial(logits.softmax(-1), 1, generator=generator)), dim=1)
        out.extend(row[None, :-1] for row in ids)
    return out
