"""GPTQ (Frantar et al., arXiv 2210.17323): round one input column at a time and let the later ones absorb the error.

With H = XᵀX of the layer's inputs, the error that matters is tr(E H Eᵀ). Columns go in the order of falling H_jj
("activation order"), rows are independent of each other.

The original takes each column's rounding error out of the columns to its right by means of a Cholesky factor of H⁻¹.
This form does the same without an inverse. Let H = RRᵀ with R upper triangular, so the error of a row e costs |eR|². Its
component j is Σ_{i<j} e_i R_ij + e_j R_jj, and vanishes when w_j is first moved by Σ_{i<j} e_i R_ij / R_jj: that is the
value to round (Babai's nearest plane, arXiv 2507.18553).
"""

from __future__ import annotations

import torch
from torch import Tensor

from reference_train.errors import TrainerError
from reference_train.quant import (
    PERCENTILES,
    Quantized,
    dequantize_rows,
    quantize_percentile,
    row_clip_quantile,
    scale_from_clip,
    sdclip_scale,
)

DAMPING = 0.01
BLOCK, STRIP = 128, 16
"""Columns per block and per strip of a block. They change the speed, not the result."""


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
        backwards = self.order.flip(0)
        try:
            # The Cholesky factor of the matrix read backwards, turned around again, is upper triangular.
            factor = torch.linalg.cholesky(h[backwards][:, backwards]).flip(0, 1)
        except RuntimeError as problem:
            raise TrainerError(
                f"GPTQ: the damped Hessian [{len(h)}x{len(h)}] has no Cholesky factor; "
                "raise GPTQ_CALIBRATION_BATCHES, or set GPTQ_ENABLED=0"
            ) from problem
        self._pull = factor / factor.diagonal()
        """R_ij / R_jj: how far a unit error of column i moves column j."""

    def quantize(self, weight: Tensor, scale: Tensor, limit: int) -> Quantized:
        """One pass over the columns; `scale` holds the step of each row.

        The work lies column by column in memory. A column's error reaches the rest of its strip at once, the rest of
        its block after the strip, and the rest of the matrix after the block: most of the work is matrix products.
        """
        pull, columns = self._pull, weight.shape[1]
        exact = weight.float().T[self.order].contiguous()
        exact[self._dead] = 0
        work, step = exact.clone(), scale.float()
        levels, errors = torch.empty_like(work), torch.empty_like(work)
        for start in range(0, columns, BLOCK):
            end = min(start + BLOCK, columns)
            for first in range(start, end, STRIP):
                last = min(first + STRIP, end)
                for j in range(first, last):
                    level, error = levels[j], errors[j]
                    torch.div(work[j], step, out=level).round_().clamp_(-limit, limit)
                    torch.addcmul(exact[j], level, step, value=-1, out=error)
                    if j + 1 < last:
                        work[j + 1 : last].addr_(pull[j, j + 1 : last], error)
                work[last:end].addmm_(pull[first:last, last:end].T, errors[first:last])
            work[end:].addmm_(pull[start:end, end:].T, errors[start:end])
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
    weight = weight.float()
    scales = [scale_from_clip(row_clip_quantile(weight, percentile), limit, floor) for percentile in PERCENTILES]
    # Rows are independent of each other, so the candidates are solved as one tall matrix.
    stacked = solver.quantize(weight.repeat(len(scales), 1), torch.cat(scales), limit)
    best: tuple[float, Quantized] | None = None
    for values, scale in zip(stacked.values.chunk(len(scales)), scales, strict=True):
        candidate = Quantized(values.contiguous(), scale)
        error = weight - dequantize_rows(candidate)
        loss = error.square().mean().item() if plain_mse else weighted_error(error, hessian)
        if best is None or loss < best[0]:
            best = (loss, candidate)
    assert best is not None
    return best[1]


def gptq_one_percentile(weight: Tensor, hessian: Tensor, limit: int, *, floor: bool = False) -> Quantized:
    """The percentile that is best for plain rounding, then a single GPTQ pass (an option of PR 1242)."""
    scale = quantize_percentile(weight, limit, floor=floor).scale
    return GptqSolver(hessian).quantize(weight, scale, limit)


def weighted_error(error: Tensor, hessian: Tensor) -> float:
    """tr(E H Eᵀ): the squared change of the layer's outputs on the calibration data."""
    wide = error.double()
    return float(((wide @ hessian.double()) * wide).sum().item())
