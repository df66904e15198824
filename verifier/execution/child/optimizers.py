# mypy: disable-error-code="import-not-found, misc"
"""Optimizers without fused or captured kernels, and the steps they take."""

from __future__ import annotations

from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from verifier.execution.child.recorder import Recorder
from verifier.execution.child.updates import Updates


def install(recorder: Recorder, updates: Updates) -> None:
    for kind in (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD, torch.optim.Adagrad):
        _without_kernels(kind, recorder)

    def after_step(optimizer: Any, args: Any, kwargs: Any) -> None:
        updates.step(type(optimizer).__name__)

    register_optimizer_step_post_hook(after_step)


def _without_kernels(kind: Any, recorder: Recorder) -> None:
    real = kind.__init__

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        for word in ("fused", "capturable"):
            if kwargs.pop(word, None):
                recorder.mapped(f"{kind.__name__}({word}=True)", "the plain optimizer")
        real(self, *args, **kwargs)

    kind.__init__ = init
