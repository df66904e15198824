"""The approximate orthogonalization inside Muon: a quintic Newton-Schulz iteration in bf16 (Keller Jordan)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Each step maps a singular value s to a s + b s³ + c s⁵: five steps bring (0.01, 1] near 1."""


def newton_schulz(update: Tensor, steps: int) -> Tensor:
    """Push the singular values of each matrix [..., rows, cols] towards 1. Always bf16: noise there is harmless."""
    a, b, c = NEWTON_SCHULZ
    x = update.bfloat16()
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    transposed = x.shape[-2] > x.shape[-1]
    if transposed:
        x = x.mT
    for _ in range(steps):
        gram = x @ x.mT
        # The order of the scalar product is that of the submitted code: it shows in the last bf16 bits.
        square = (c * gram) @ gram if x.ndim == 2 else c * (gram @ gram)
        x = a * x + (b * gram + square) @ x
    result: Tensor = x.mT if transposed else x
    return result


def make_orthogonalizer(compiled: bool) -> Callable[[Tensor, int], Tensor]:
    """`newton_schulz`, compiled for a GPU: its small products are bound by launches otherwise."""
    return torch.compile(newton_schulz) if compiled else newton_schulz


def normalize_rows(update: Tensor) -> Tensor:
    """MuonEq-R: every output row of the update gets length 1 before it is orthogonalized."""
    rows = update.float().norm(dim=-1, keepdim=True).clamp_min(1e-7).to(update.dtype)
    normalized: Tensor = update / rows
    return normalized
