"""Weight averages. They are kept in fp32 whatever the live dtype: a bf16 average of many steps loses its last bits."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ExponentialAverage:
    """EMA over the full state dict, started at the initial weights, without bias correction."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._decay = decay
        self.shadow = {name: tensor.detach().float().clone() for name, tensor in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        for name, tensor in model.state_dict().items():
            self.shadow[name].mul_(self._decay).add_(tensor.float(), alpha=1 - self._decay)


class StochasticAverage:
    """SWA: the plain mean of snapshots."""

    def __init__(self) -> None:
        self.total: dict[str, Tensor] = {}
        self.count = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        for name, tensor in model.state_dict().items():
            wide = tensor.detach().float()
            self.total[name] = self.total[name] + wide if self.count else wide.clone()
        self.count += 1

    @property
    def mean(self) -> dict[str, Tensor]:
        return {name: tensor / self.count for name, tensor in self.total.items()}


def load_average(model: nn.Module, average: dict[str, Tensor]) -> None:
    """Put averaged weights into the model, each in its live dtype."""
    live = model.state_dict()
    model.load_state_dict({name: tensor.to(live[name].dtype) for name, tensor in average.items()})
