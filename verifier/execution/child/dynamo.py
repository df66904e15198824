# mypy: disable-error-code="import-not-found, misc"
"""A stand-in for `torch._dynamo`, whose import takes longer than all of torch and which nothing here needs.

torch's optimizers ask it to leave them alone, scripts set its configuration and reset it. Everything else is looked up among its
real submodules, so a script that needs more of it than that is told so by an error that names it.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import torch


class Absent(ModuleType):
    """Looks up what is asked for among the submodules (`config`)."""

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("__"):
            try:
                return importlib.import_module(f"{self.__name__}.{name}")
            except ModuleNotFoundError:
                pass
        raise AttributeError(f"{self.__name__}.{name} has no stand-in here")


def identity(function: Any = None, *args: Any, **kwargs: Any) -> Any:
    return function if callable(function) else lambda decorated: decorated


def nothing(*args: Any, **kwargs: Any) -> None:
    return None


def install() -> None:
    """Must run before anything imports the real one."""
    if "torch._dynamo" in sys.modules:
        return
    stand_in: Any = Absent("torch._dynamo")
    stand_in.__path__ = [str(Path(torch.__file__).parent / "_dynamo")]
    for name in (
        "disable",
        "allow_in_graph",
        "optimize",
        "run",
        "assume_constant_result",
        "disallow_in_graph",
        "nonstrict_trace",
    ):
        setattr(stand_in, name, identity)
    for name in (
        "graph_break",
        "reset",
        "mark_dynamic",
        "maybe_mark_dynamic",
        "mark_static",
        "mark_static_address",
        "reset_code_caches",
    ):
        setattr(stand_in, name, nothing)
    stand_in.is_compiling = lambda: False
    sys.modules["torch._dynamo"] = stand_in
    module: Any = torch
    module._dynamo = stand_in
