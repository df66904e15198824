"""GPTQ (Frantar et al., arXiv 2210.17323): round one input column at a time and let the later ones absorb the error.

With H = XᵀX of the layer's inputs, the error that matters is tr(E H Eᵀ). Columns go in the order of falling H_jj
("activation order"); each column's rounding error, divided by U_jj, is taken out of the columns to its right, where
UᵀU = H⁻¹. Rows are independent of each other.
"""

from __future__ import annotations

import torch
from torch import Tensor

from reference_train.errors import TrainerError
from reference_train.quant import (
    PERCENTILES,
    Quantized,
    dequantize_rows,
    row_clip_quantile,
    scale_from_clip,
    sdclip_scale,
)

DAMPING = 0.01
BLOCK = 128


class GptqSolver:
    """The factorization of one Hessian, usable for several scale candidates."""

    def __init__(self, hessian: Tensor, *, already_damped: bool = False) -> None:
        h = hessian.float().clone()
        diagonal = h.diagonal()
        if already_damped:
            diagonal += DAMPING * diagonal.mean().clamp_min(1e-6)
        dead = diagonal == 0
        diagonal[dead] = 1
        diagonal += DAMPING * diagonal.mean()
        self.order = torch.argsort(diagonal, descending=True)
        self._dead = dead[self.order]
        permuted = h[self.order][:, self.order]
        try:
            inverse = torch.cholesky_inverse(torch.linalg.cholesky(permuted))
            self._upper = torch.linalg.cholesky(inverse, upper=True)
        except RuntimeError as problem:
            raise TrainerError(
                f"GPTQ: the damped Hessian [{len(h)}x{len(h)}] has no Cholesky factor; "
                "raise GPTQ_CALIBRATION_BATCHES, or set QUANTIZER=sdclip"
            ) from problem

    def quantize(self, weight: Tensor, scale: Tensor, limit: int) -> Quantized:
        upper, columns = self._upper, weight.shape[1]
        work = weight.float()[:, self.order].clone()
        work[:, self._dead] = 0
        # Column-major work and a contiguous step of each column make the inner loop memory-friendly.
        work = work.T.contiguous()
        step = scale.float()
        levels = torch.empty_like(work)
        for start in range(0, columns, BLOCK):
            end = min(start + BLOCK, columns)
            block, errors = work[start:end], torch.empty_like(work[start:end])
            for k in range(end - start):
                j = start + k
                level = (block[k] / step).round_().clamp_(-limit, limit)
                errors[k] = (block[k] - level * step) / upper[j, j]
                levels[j] = level
                if k + 1 < end - start:
                    block[k + 1 :].addr_(upper[j, j + 1 : end], errors[k], alpha=-1)
            work[end:].addmm_(upper[start:end, end:].T, errors, alpha=-1)
        values = torch.empty_like(levels)
        values[self.order] = levels
        return Quantized(values.T.contiguous().to(torch.int8), scale)


def gptq_sdclip(weight: Tensor, hessian: Tensor, sigmas: float, limit: int, *, floor: bool = False) -> Quantized:
    """Scales from the standard deviation of the unpermuted rows, then one GPTQ pass (PRs 1394, 1471, 1738)."""
    return GptqSolver(hessian).quantize(weight, sdclip_scale(weight, sigmas, limit, floor=floor), limit)


def gptq_percentile(
    weight: Tensor,
    hessian: Tensor,
    limit: int,
    *,
    floor: bool = False,
    double_damping: bool = False,
    plain_mse: bool = False,
) -> Quantized:
    """A GPTQ pass for each of five clip percentiles; keep the best (PR 1405).

    The default compares what GPTQ minimizes, tr(E H Eᵀ). Quirk 18 compares the squared error, quirk 5 damps twice.
    """
    solver = GptqSolver(hessian, already_damped=double_damping)
    best: tuple[float, Quantized] | None = None
    for percentile in PERCENTILES:
        scale = scale_from_clip(row_clip_quantile(weight.float(), percentile), limit, floor)
        candidate = solver.quantize(weight, scale, limit)
        error = weight.float() - dequantize_rows(candidate)
        loss = error.square().mean().item() if plain_mse else weighted_error(error, hessian)
        if best is None or loss < best[0]:
            best = (loss, candidate)
    assert best is not None
    return best[1]


def weighted_error(error: Tensor, hessian: Tensor) -> float:
    """tr(E H Eᵀ): the squared change of the layer's outputs on the calibration data."""
    wide = error.double()
    return float(((wide @ hessian.double()) * wide).sum().item())
