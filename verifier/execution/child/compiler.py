# mypy: disable-error-code="import-not-found, misc"
"""`torch.compile` as the identity; Triton kernels of the submission's own are not run."""

from __future__ import annotations

import importlib.util
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
    if importlib.util.find_spec("triton") is not None:
        _refuse_kernels(recorder)


def _refuse_kernels(recorder: Recorder) -> None:
    import triton.runtime.jit as jit

    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        raise recorder.not_supported(f"triton kernel {getattr(self, '__name__', '?')}")

    jit.JITFunction.run = run
