# mypy: disable-error-code="import-not-found, misc, no-untyped-call"
"""Operators of compiled extensions that several scripts call by one name and one signature, written out in torch.

`cutlass_evt::gemm_mul(go, w, a)`: a matrix product whose result is multiplied element by element, (go w) * a; computed in single
precision, returned in the type of `go`.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import torch.library

from verifier.execution.child.modules import make_module
from verifier.execution.child.recorder import Recorder

EXTENSION, NAMESPACE = "cutlass_evt_fusion", "cutlass_evt"

_HELD: list[Any] = []
"""What defines an operator: it is gone with that."""


def multiply(go: Any, down_w: Any, act_grad: Any) -> Any:
    return ((go.float() @ down_w.float()) * act_grad.float()).to(go.dtype)


def install(recorder: Recorder) -> None:

    def gemm_mul(go: Any, down_w: Any, act_grad: Any) -> Any:
        recorder.mapped(f"{NAMESPACE}::gemm_mul", "a matrix product and a product of elements")
        return multiply(go, down_w, act_grad)

    library = torch.library.Library(NAMESPACE, "DEF")
    library.define("gemm_mul(Tensor go, Tensor down_w, Tensor act_grad) -> Tensor")
    library.impl("gemm_mul", gemm_mul, "CPU")
    _HELD.append(library)
    # The sources of the extension may lie there as a folder that Python takes for a package.
    if importlib.util.find_spec(EXTENSION) is None:
        make_module(EXTENSION)
