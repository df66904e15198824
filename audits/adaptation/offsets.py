"""Offsets: free tensors that are optimized at evaluation time, belong to no module and are added to what the model computes (a delta,
a logit bias, a prefix). Free tensors that the model's values are multiplied by (low-rank matrices) are weights."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from verifier.program.analysis import Analysis
from verifier.program.events import Event
from verifier.program.queries import operation, slice_of
from verifier.program.summaries import given_to
from verifier.program.values import Data, Label, Value, has_tokens, labels_of

_NEAR = 80
"""Lines around an update in which its masks and the slices that are scored are looked for."""
_NODES = 20_000
_MULTIPLIES = frozenset(
    {"@", "matmul", "mm", "bmm", "mv", "einsum", "linear", "bilinear", "addmm", "baddbmm", "addbmm", "addmv", "tensordot", "inner", "outer",
     "dot", "embedding", "conv1d", "*", "mul", "mul_", "multiply", "addcmul"}
)  # fmt: skip
_TESTS = frozenset(
    {"<", "<=", ">", ">=", "==", "!=", "~", "&", "|", "eq", "ne", "lt", "le", "gt", "ge", "isin", "logical_and", "logical_not"}
)
_ABOUT = frozenset(
    {"attr:dtype", "attr:device", "attr:shape", "attr:ndim", "attr:is_cuda", "size", "numel", "dim", "element_size", "stride"}
)
"""What is asked of a tensor besides its content."""
_SCALED = frozenset({"*", "mul", "mul_", "multiply"})


def is_offset(update: Event, loss: Event | None, gradient: Data | None = None) -> bool:
    """Whether an update changes only tensors that no module owns and that enter `loss`, whose gradient it follows, as terms. A descent
    without an optimizer makes new tensors along a `gradient`."""
    if gradient is not None:
        tensors = _opened(gradient.args[1] if operation(gradient) == "grad" and len(gradient.args) > 1 else gradient.args[0])
        formed = gradient.args[:1] if operation(gradient) == "grad" and len(gradient.args) > 1 else update.values[:1]
        return not _multiplies(tensors, formed)
    targets = update.values[1:] if update.text == "step" else update.values[:1]
    free = [target for target in targets if isinstance(target, Data) and target.owner is None]
    return bool(targets) and len(free) == len(targets) and not _multiplies(free, loss.values[:1] if loss is not None else ())


def _multiplies(tensors: list[Data], formed: Iterable[Value]) -> bool:
    """Whether some of these tensors, or what is made of them alone, are multiplied with values of the text on the way to a loss."""
    graph = _Graph(formed)
    own = {id(tensor) for tensor in tensors}
    text = graph.reached([node for node in graph.nodes.values() if graph.is_source(node) and id(node) not in own], own)
    made = graph.reached([tensor for tensor in tensors if id(tensor) in graph.nodes], frozenset())
    for node in made.values():
        if id(node) not in text or operation(node) not in _MULTIPLIES:
            continue
        sides = graph.made_of[id(node)]
        alone = [one for one in sides if id(one) in made and id(one) not in text]
        others = [one for one in sides if id(one) in text]
        if alone and any(operation(node) not in _SCALED or not _is_mask(one) for one in others):
            return True
    return False


class _Graph:
    """What a loss is computed from, methods looked into."""

    def __init__(self, formed: Iterable[Value]) -> None:
        self.nodes: dict[int, Data] = {}
        self.made_of: dict[int, list[Data]] = {}
        self.readers: dict[int, list[Data]] = {}
        given: dict[Label, list[Data]] = {}
        pending = [node for value in formed for node in _opened(value)]
        while pending and len(self.nodes) < _NODES:
            node = pending.pop()
            if id(node) in self.nodes:
                continue
            self.nodes[id(node)] = node
            self.made_of[id(node)] = _operands(node)
            pending += self.made_of[id(node)]
            leaves = given_to(node) if node.inner is not None else []
            pending += leaves
            for label in labels_of(node.inner) if node.inner is not None else ():
                if label[0] == "param" and int(label[2]) < len(leaves):
                    given.setdefault(label, []).append(leaves[int(label[2])])
        for node in self.nodes.values():
            if node.op == "param":
                self.made_of[id(node)] = [one for label in node.labels for one in given.get(label, ())]
            for one in self.made_of[id(node)]:
                self.readers.setdefault(id(one), []).append(node)

    def is_source(self, node: Data) -> bool:
        """Whether text is read here. Weights that learned from text carry its marks, too."""
        read = has_tokens(node.labels) and node.owner is None and not any(label[0] == "upd" for label in node.labels)
        return read and not any(has_tokens(one.labels) for one in self.made_of[id(node)])

    def reached(self, start: Iterable[Data], stops: Iterable[int]) -> dict[int, Data]:
        """What is computed from some nodes, without going through others."""
        found: dict[int, Data] = {}
        closed, pending = set(stops), list(start)
        while pending:
            node = pending.pop()
            if id(node) not in found:
                found[id(node)] = node
                pending += [one for one in self.readers.get(id(node), ()) if id(one) not in closed]
        return found


def _operands(node: Data) -> list[Data]:
    """What a node is computed from; the places that are read from an array only choose, and its size and type are no content."""
    if node.inner is not None:
        return _opened(node.inner)
    if operation(node) in _ABOUT:
        return []
    values = node.args[:1] if operation(node) == "index" else node.args
    return [one for value in (*values, *(value for _, value, _ in node.filled)) for one in _opened(value)]


def _opened(value: Value) -> list[Data]:
    """The nodes that a value consists of."""
    return list(slice_of(value, operands=lambda _: ()))


def _is_mask(node: Data) -> bool:
    """Whether a factor only says which elements stay: a comparison, at most converted."""
    for _ in range(8):
        if operation(node) in _TESTS:
            return True
        if not node.args or not isinstance(node.args[0], Data):
            return False
        node = node.args[0]
    return False


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
