"""Parallel Muon (PR 549): the matrices of all layers lie in 3-D banks, and each process orthogonalizes its slices.

A reduce-scatter gives every process the mean gradient of its slices, rounded to bf16; it keeps the momentum (bf16) of
those slices only, runs Newton-Schulz on them as one batch, and an all-gather returns the finished updates to all. The
transfers of one bank overlap with the arithmetic of the next. One process owns all slices and sends nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from reference_train.newton_schulz import make_orthogonalizer, normalize_rows


class ParallelMuon(torch.optim.Optimizer):
    """Per step: backward, `start_reduction`, optionally `square_sum` and `scale_gradients` for clipping, `step`."""

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
        self._rank, self._world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        # The largest bank first: its transfer takes longest.
        self._banks: list[nn.Parameter] = sorted(self.param_groups[0]["params"], key=lambda p: -p.numel())
        self._gradients: dict[nn.Parameter, tuple[Tensor, Any]] = {}
        """This process's slices of each mean gradient, and the transfer that brings them (None: they are here)."""

    @torch.no_grad()
    def start_reduction(self) -> None:
        """Send the banks' gradients on their way."""
        for p in self._banks:
            gradient = (torch.zeros_like(p) if p.grad is None else p.grad).bfloat16()
            if self._world == 1:
                self._gradients[p] = gradient, None
            else:
                slices = torch.empty_like(self._own_slices(gradient))
                # The sum is divided afterwards, in `_finished`: not every back end can average.
                work = dist.reduce_scatter_tensor(slices, self._padded(gradient), async_op=True)
                self._gradients[p] = slices, work

    def square_sum(self) -> Tensor:
        """Squared norm of the mean gradients of all banks, over all processes."""
        total = torch.stack([self._finished(p).float().square().sum() for p in self._banks]).sum()
        if self._world > 1:
            dist.all_reduce(total)
        return total

    def scale_gradients(self, factor: Tensor) -> None:
        for p in self._banks:
            self._finished(p).mul_(factor)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        if not self._gradients:
            self.start_reduction()
        group = self.param_groups[0]
        arriving: list[tuple[nn.Parameter, Tensor, Any]] = []
        for p in self._banks:
            update = self._update(p, self._finished(p), group["momentum"])
            if self._world == 1:
                arriving.append((p, update, None))
            else:
                whole = update.new_empty((self._world * len(update), *update.shape[1:]))
                arriving.append((p, whole, dist.all_gather_into_tensor(whole, update, async_op=True)))
        for p, whole, work in arriving:
            if work is not None:
                work.wait()
            aspect = max(1.0, p.shape[-2] / p.shape[-1]) ** 0.5
            p.mul_(1 - group["lr"] * self._weight_decay)
            p.add_(whole[: len(p)].to(p.dtype), alpha=-group["lr"] * aspect)
        self._gradients.clear()

    def _update(self, p: nn.Parameter, gradient: Tensor, momentum: float) -> Tensor:
        state = self.state[p]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(gradient)
        # Loading a state casts it to the parameter's dtype; a bf16 buffer survives that trip unchanged.
        state["momentum"] = state["momentum"].bfloat16()
        buffer: Tensor = state["momentum"]
        buffer.mul_(momentum).add_(gradient)
        nesterov = gradient.add(buffer, alpha=momentum)
        return self._orthogonalize(normalize_rows(nesterov) if self._row_normalize else nesterov, self._steps)

    def _finished(self, p: nn.Parameter) -> Tensor:
        slices, work = self._gradients[p]
        if work is not None:
            work.wait()
            slices /= self._world
            self._gradients[p] = slices, None
        return slices

    def _padded(self, bank: Tensor) -> Tensor:
        """The bank with empty slices at the end, so that every process gets the same number."""
        return F.pad(bank, (0, 0, 0, 0, 0, -len(bank) % self._world))

    def _own_slices(self, bank: Tensor) -> Tensor:
        return self._padded(bank).chunk(self._world)[self._rank]

    def state_dict(self) -> dict[str, Any]:
        """The state of all slices, gathered; every process has to call it."""
        packed = super().state_dict()
        gathered = {}
        for index, p in enumerate(self.param_groups[0]["params"]):
            if index in packed["state"]:
                own = packed["state"][index]["momentum"].contiguous()
                whole = own.new_empty((self._world * len(own), *own.shape[1:]))
                if self._world > 1:
                    dist.all_gather_into_tensor(whole, own)
                else:
                    whole.copy_(own)
                gathered[index] = {"momentum": whole[: len(p)]}
        return packed | {"state": gathered}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        own = {i: {"momentum": self._own_slices(s["momentum"]).clone()} for i, s in state_dict["state"].items()}
        super().load_state_dict(state_dict | {"state": own})
