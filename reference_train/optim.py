"""Muon and its variants for matrices, AdamW for the rest.

Muon (Keller Jordan, modded-nanogpt): momentum, then an approximate orthogonalization of the update. MuonEq-R
normalizes the rows first. Weights in 3-D banks are trained by Parallel Muon (`parallel_muon`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from reference_train.newton_schulz import make_orthogonalizer, normalize_rows
from reference_train.parallel_muon import ParallelMuon

CONTROL_PATTERNS = (
    "attn_scale",
    "mlp_scale",
    "resid_mix",
    "q_gain",
    "skip_weight",
    "skip_gates",
    "lane_merge",
    "smear",
    "ve_layer_scales",
    "ve_shared.scale",
    "bigram.scale",
    "vrl_gate",
)
"""Substrings of the names of scales, gains and gates: kept out of Muon, kept precise in the artifact."""


def is_control(name: str) -> bool:
    return any(pattern in name for pattern in CONTROL_PATTERNS)


class Muon(torch.optim.Optimizer):
    """Momentum, optional row normalization, Newton-Schulz, aspect-ratio factor, decoupled weight decay.

    With several processes, parameter i is orthogonalized by rank i mod W and the results are summed in one flat bf16
    buffer; with one process the bf16 rounding stays, so the arithmetic does not depend on W.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        *,
        lr: float,
        momentum: float,
        steps: int = 5,
        weight_decay: float = 0.0,
        row_normalize: bool = False,
        compiled: bool = False,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})
        self._steps, self._weight_decay, self._row_normalize = steps, weight_decay, row_normalize
        self._orthogonalize = make_orthogonalizer(compiled)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        for group in self.param_groups:
            params: list[nn.Parameter] = group["params"]
            updates = [
                self._update(p, group["momentum"]) if i % world == rank else torch.zeros_like(p, dtype=torch.bfloat16)
                for i, p in enumerate(params)
            ]
            if world > 1:
                flat = torch.cat([update.flatten() for update in updates])
                dist.all_reduce(flat)
                updates = [u.view_as(p) for u, p in zip(torch.split(flat, [p.numel() for p in params]), params, strict=True)]
            for p, update in zip(params, updates, strict=True):
                p.mul_(1 - group["lr"] * self._weight_decay)
                p.add_(update.to(p.dtype), alpha=-group["lr"])

    def _update(self, p: nn.Parameter, momentum: float) -> Tensor:
        if p.grad is None:
            return torch.zeros_like(p, dtype=torch.bfloat16)
        state = self.state[p]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(p.grad)
        buffer: Tensor = state["momentum"]
        buffer.mul_(momentum).add_(p.grad)
        nesterov = p.grad.add(buffer, alpha=momentum)
        aspect = max(1.0, p.shape[-2] / p.shape[-1]) ** 0.5
        update = self._orthogonalize(normalize_rows(nesterov) if self._row_normalize else nesterov, self._steps)
        scaled: Tensor = update * aspect
        return scaled


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    matrix_lr: float = 0.04
    scalar_lr: float = 0.04
    tied_embed_lr: float = 0.05
    embed_lr: float = 0.6
    head_lr: float = 0.008
    muon_wd: float = 0.0
    embed_wd: float = 0.0
    adam_wd: float = 0.0
    muon_momentum: float = 0.95
    muon_momentum_warmup_start: float = 0.85
    muon_momentum_warmup_steps: int = 500
    muon_backend_steps: int = 5
    row_normalize: bool = False
    beta1: float = 0.9
    beta2: float = 0.95
    adam_eps: float = 1e-8


@dataclass(frozen=True)
class ParameterGroups:
    """Which parameter goes where, by name."""

    embeddings: dict[str, nn.Parameter]
    matrices: dict[str, nn.Parameter]
    scalars: dict[str, nn.Parameter]
    head: dict[str, nn.Parameter]


def group_parameters(model: nn.Module) -> ParameterGroups:
    """Embedding tables; matrices (for Muon); scales, gains and gates; the untied head. Every parameter once."""
    groups = ParameterGroups({}, {}, {}, {})
    banks = any(name.endswith("_bank") for name, _ in model.named_parameters())
    for name, p in model.named_parameters():
        if name == "lm_head.weight":
            groups.head[name] = p
        elif name.endswith(("tok_emb.weight", ".embed.weight")):
            groups.embeddings[name] = p
        elif p.ndim < 2 or is_control(name) or (banks and p.ndim == 2):
            # With banks, the two small projections are trained by AdamW: Parallel Muon takes 3-D stacks only.
            groups.scalars[name] = p
        else:
            groups.matrices[name] = p
    return groups


class Optimizers:
    """The optimizers of one run, stepped in the order embeddings, head, matrices, scalars."""

    def __init__(self, model: nn.Module, cfg: OptimConfig, *, tied: bool, compiled: bool = False) -> None:
        groups = group_parameters(model)
        betas = (cfg.beta1, cfg.beta2)

        def adamw(params: dict[str, nn.Parameter], lr: float, weight_decay: float) -> torch.optim.Optimizer:
            on_gpu = all(p.is_cuda for p in params.values())
            return torch.optim.AdamW(
                params.values(), lr=lr, betas=betas, eps=cfg.adam_eps, weight_decay=weight_decay, fused=on_gpu
            )

        self._cfg = cfg
        banks = any(p.ndim == 3 for p in groups.matrices.values())
        self._muon = (ParallelMuon if banks else Muon)(
            groups.matrices.values(),
            lr=cfg.matrix_lr,
            momentum=cfg.muon_momentum,
            steps=cfg.muon_backend_steps,
            weight_decay=cfg.muon_wd,
            row_normalize=cfg.row_normalize,
            compiled=compiled,
        )
        self.all: list[torch.optim.Optimizer] = [
            adamw(groups.embeddings, cfg.tied_embed_lr if tied else cfg.embed_lr, cfg.embed_wd)
        ]
        if groups.head:
            self.all.append(adamw(groups.head, cfg.head_lr, 0.0))
        self.all += [self._muon, adamw(groups.scalars, cfg.scalar_lr, cfg.adam_wd)]
        self._base_lrs = [[group["lr"] for group in optimizer.param_groups] for optimizer in self.all]
        sharded = set(groups.matrices.values()) if banks else set()
        self._replicated = [p for p in model.parameters() if p not in sharded]

    @torch.no_grad()
    def average_gradients(self) -> None:
        """Mean over processes, for a model that DistributedDataParallel does not wrap. Banks are scattered meanwhile."""
        if isinstance(self._muon, ParallelMuon):
            self._muon.start_reduction()
        for dtype in (torch.float32, torch.bfloat16):
            gradients = [p.grad for p in self._replicated if p.grad is not None and p.dtype == dtype]
            if not gradients:
                continue
            flat = torch.cat([gradient.flatten() for gradient in gradients])
            dist.all_reduce(flat)
            flat /= dist.get_world_size()
            for gradient, mean in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
                gradient.copy_(mean.view_as(gradient))

    @torch.no_grad()
    def clip_averaged_gradients(self, max_norm: float) -> None:
        """Clip to a global norm after `average_gradients`, counting what the other processes hold of the banks."""
        gradients = [p.grad for p in self._replicated if p.grad is not None]
        square = torch.stack([gradient.float().square().sum() for gradient in gradients]).sum()
        if isinstance(self._muon, ParallelMuon):
            square = square + self._muon.square_sum()
        factor = (max_norm / (square.sqrt() + 1e-6)).clamp(max=1.0)
        for gradient in gradients:
            gradient.mul_(factor)
        if isinstance(self._muon, ParallelMuon):
            self._muon.scale_gradients(factor)

    def step(self, step: int, lr_multiplier: float) -> None:
        """One step of all optimizers; `step` drives the momentum warmup."""
        for group in self._muon.param_groups:
            group["momentum"] = self.momentum_at(step)
        for optimizer, base_lrs in zip(self.all, self._base_lrs, strict=True):
            for group, base in zip(optimizer.param_groups, base_lrs, strict=True):
                group["lr"] = base * lr_multiplier
            optimizer.step()
        self.zero_grad()

    def momentum_at(self, step: int) -> float:
        cfg = self._cfg
        progress = min(step / cfg.muon_momentum_warmup_steps, 1.0) if cfg.muon_momentum_warmup_steps else 1.0
        return (1 - progress) * cfg.muon_momentum_warmup_start + progress * cfg.muon_momentum

    def zero_grad(self) -> None:
        for optimizer in self.all:
            optimizer.zero_grad(set_to_none=True)

    def state_dict(self) -> list[dict[str, Any]]:
        """Every process has to call it: what is spread over them is gathered."""
        return [optimizer.state_dict() for optimizer in self.all]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        for optimizer, state in zip(self.all, states, strict=True):
            optimizer.load_state_dict(state)
