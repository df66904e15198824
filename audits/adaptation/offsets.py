"""Offsets: free tensors that are optimized at evaluation time and belong to no module (a delta, a logit bias, a prefix)."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from verifier.program.analysis import Analysis
from verifier.program.events import Event
from verifier.program.values import Data

_NEAR = 80
"""Lines around an update in which its masks and the slices that are scored are looked for."""


def is_offset(update: Event) -> bool:
    """Whether an update changes only tensors that no module owns, or is a descent that makes a new tensor."""
    if update.kind == "backward":
        return True
    targets = update.values[1:] if update.text == "step" else update.values[:1]
    return bool(targets) and all(isinstance(target, Data) and target.owner is None for target in targets)


def may_fit_context_only(analysis: Analysis, update: Event, loss: Event | None) -> bool:
    """Whether the fit seems to leave out the positions that are scored: a mask or slice of its targets ends elsewhere than the
    stretch that is scored (`mask[i, :s] = True` beside `nll[i, s:end]`)."""
    text = next((one for one in analysis.trees if (one.path, one.layer) == (update.site.path, update.site.layer)), None)
    if text is None:
        return False
    near = [node for node in text.parsed.nodes if abs(getattr(node, "lineno", -_NEAR * 9) - update.site.line) <= _NEAR]
    stretches = [
        part for node in near if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load) for part in _slices(node)
    ]
    scored = {ast.dump(part.upper) for part in stretches if part.lower is not None and part.upper is not None}
    fitted = [part for node in near if isinstance(node, ast.Assign) for part in _mask_slices(node)]
    if loss is not None and (loss.site.path, loss.site.layer) == (update.site.path, update.site.layer):
        fitted += [
            part
            for node in near
            if isinstance(node, ast.Call) and node.lineno == loss.site.line
            for part in _argument_slices(node)
        ]
    return any(part.upper is not None and ast.dump(part.upper) not in scored for part in fitted)


def _slices(node: ast.Subscript) -> Iterator[ast.Slice]:
    """The slice of a row, `x[i, a:b]`."""
    if isinstance(node.slice, ast.Tuple) and node.slice.elts and isinstance(node.slice.elts[-1], ast.Slice):
        yield node.slice.elts[-1]


def _mask_slices(node: ast.Assign) -> Iterator[ast.Slice]:
    """Where a mask is switched on: `mask[i, a:b] = True`."""
    if isinstance(node.value, ast.Constant) and node.value.value in (1, 1.0, True):
        for target in node.targets:
            if isinstance(target, ast.Subscript):
                yield from _slices(target)


def _argument_slices(node: ast.Call) -> Iterator[ast.Slice]:
    for argument in node.args:
        while isinstance(argument, ast.Call) and isinstance(
            argument.func, ast.Attribute
        ):  # `logits[:, :start].reshape(-1, size)`
            argument = argument.func.value
        if isinstance(argument, ast.Subscript):
            yield from _slices(argument)
