"""Round-to-nearest quantizers with one fp16 scale per output row.

Three ways to choose the clip of a row: a fixed quantile of |w| (baseline), the best of five quantiles (PR 1242), or k
standard deviations (SDClip, PR 1394). Below a clip of 1 the originals use a constant step of 1/R (quirks 2 and 4),
which wastes most of the range on rows of small weights; it is off here unless asked for.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

INT8_QUANTILE = 0.9999984
PERCENTILES = (0.9990, 0.9995, 0.9999, 0.99999, 1.0)
SMALLEST_SCALE = 1e-7
"""The step of a row of zeros: representable in fp16 (as a subnormal), so nothing is divided by zero."""


class Quantized(NamedTuple):
    values: Tensor
    """int8, whatever the number of bits: the range is what compresses."""
    scale: Tensor
    """fp16 [rows], or fp32 scalar for a tensor that is not a matrix."""


def dequantize_rows(q: Quantized) -> Tensor:
    scale = q.scale.float()
    return q.values.float() * (scale[:, None] if q.values.ndim == 2 else scale)


def row_clip_quantile(weight: Tensor, quantile: float) -> Tensor:
    """Quantile of |w| of each row (linear interpolation)."""
    if quantile >= 1:
        return weight.abs().amax(1)
    return torch.quantile(weight.abs(), quantile, dim=1)


def scale_from_clip(clip: Tensor, limit: int, floor: bool) -> Tensor:
    """Step of each row, rounded to the fp16 that will be stored."""
    step = clip / limit
    return step.clamp_min(1 / limit if floor else SMALLEST_SCALE).half()


def round_to_grid(weight: Tensor, scale: Tensor, limit: int) -> Tensor:
    return (weight / scale.float()[:, None]).round().clamp(-limit, limit).to(torch.int8)


def quantize_int8(weight: Tensor, *, unrounded_scale: bool = False, floor: bool = False) -> Quantized:
    """int8 with a clip at the 0.9999984 quantile. Quirk 3: rounds with the fp32 scale, which is not stored."""
    weight = weight.float()
    limit = 127
    if weight.ndim != 2:
        clip = torch.quantile(weight.abs().flatten(), INT8_QUANTILE) if weight.numel() else torch.tensor(0.0)
        scale = clip / limit if clip > 0 else torch.tensor(1.0)
        return Quantized((weight.clamp(-clip, clip) / scale).round().clamp(-limit, limit).to(torch.int8), scale)
    clip = row_clip_quantile(weight, INT8_QUANTILE)
    stored = scale_from_clip(clip, limit, floor)
    exact = (clip / limit).clamp_min(1 / limit if floor else SMALLEST_SCALE)
    used = exact if unrounded_scale else stored.float()
    clipped = torch.maximum(torch.minimum(weight, clip[:, None]), -clip[:, None])
    return Quantized((clipped / used[:, None]).round().clamp(-limit, limit).to(torch.int8), stored)


def quantize_percentile(weight: Tensor, limit: int, *, floor: bool = False) -> Quantized:
    """The one percentile, for the whole matrix, with the smallest mean squared error; the first wins a tie."""
    weight = weight.float()
    best: tuple[float, Quantized] | None = None
    for percentile in PERCENTILES:
        scale = scale_from_clip(row_clip_quantile(weight, percentile), limit, floor)
        candidate = Quantized(round_to_grid(weight, scale, limit), scale)
        error = (weight - dequantize_rows(candidate)).square().mean().item()
        if best is None or error < best[0]:
            best = (error, candidate)
    assert best is not None
    return best[1]


def sdclip_scale(weight: Tensor, sigmas: float, limit: int, *, floor: bool = False) -> Tensor:
    """Clip at `sigmas` standard deviations of the row: fewer levels in use, fewer bits after compression."""
    return scale_from_clip(sigmas * weight.float().std(1), limit, floor)


def quantize_sdclip(
    weight: Tensor, sigmas: float, limit: int, *, floor: bool = False, unrounded_scale: bool = False
) -> Quantized:
    weight = weight.float()
    stored = sdclip_scale(weight, sigmas, limit, floor=floor)
    if not unrounded_scale:
        return Quantized(round_to_grid(weight, stored, limit), stored)
    exact = (sigmas * weight.std(1) / limit).clamp_min(1 / limit if floor else SMALLEST_SCALE)
    return Quantized((weight / exact[:, None]).round().clamp(-limit, limit).to(torch.int8), stored)
