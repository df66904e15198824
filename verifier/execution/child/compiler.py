# mypy: disable-error-code="import-not-found, misc"
"""`torch.compile` as the identity."""

from __future__ import annotations

from typing import Any

import torch

from verifier.execution.child.recorder import Recorder


def install(recorder: Recorder) -> None:
    def compile_(model: Any = None, **options: Any) -> Any:
        recorder.mapped("torch.compile", "runs uncompiled")
        if model is None:
            return lambda function: function
        return model

    torch_module: Any = torch
    torch_module.compile = compile_
    torch_module.compiler.compile = compile_
    # Asking these loads the compiler.
    for name in ("cudagraph_mark_step_begin", "reset"):
        setattr(torch_module.compiler, name, lambda: None)
    for name in ("disable", "allow_in_graph"):
        setattr(
            torch_module.compiler, name, lambda function=None, **options: function if callable(function) else lambda inner: inner
        )

    def compile_in_place(self: Any, *args: Any, **options: Any) -> None:
        recorder.mapped("torch.compile", "runs uncompiled")

    module: Any = torch.nn.Module
    module.compile = compile_in_place
