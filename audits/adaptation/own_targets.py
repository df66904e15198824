"""Predictions that are computed from the very targets that they are scored on: closed-form fits, boosts at the target."""

from __future__ import annotations

from audits.adaptation.spans import own_parts
from verifier.program.events import Event
from verifier.program.queries import operation, slice_of
from verifier.program.summaries import given_to
from verifier.program.values import Data, Seq, Value, has_tokens, labels_of

_NODES = 6000
_PICKS = frozenset({"index", "gather", "take_along_dim", "take_along_axis"})
"""What picks at the target from what was computed of the text is the target's own score. (A row of the weights at the target is none.)"""
_SHIFTS = (".roll", "call:torch.roll", "call:numpy.roll")


def reads_own_targets(loss: Event, flow: ValueFlow) -> Data | None:
    """The place in the prediction of a loss where its targets enter it, if they do. Targets that are shifted (`y[:-1]`, a roll) are
    those of the positions before, which a prediction may know."""
    if len(loss.values) < 3:
        return None
    own = {id(node) for node in own_parts(loss.values[2]) if not node.known}
    for node in slice_of(loss.values[1], _NODES, flow.operands) if own else ():
        if any(id(argument) in own for argument in flow.operands(node)):
            return node
    return None


class ValueFlow:
    """What the values of an execution are computed from; each method is looked into once for all its losses."""

    def __init__(self) -> None:
        self._used: dict[int, frozenset[int]] = {}

    def operands(self, node: Data) -> list[Value]:
        """What a node is computed from. Of the arguments of a method those that its result depends on."""
        if node.op in _SHIFTS or _is_shift(node):
            return []
        if operation(node) in _PICKS and has_tokens(labels_of(node.args[0])):
            return list(node.args[:1])
        if node.inner is None:
            return list(node.args)
        return [leaf for number, leaf in enumerate(given_to(node)) if number in self._parameters(node.inner)]

    def _parameters(self, result: Value) -> frozenset[int]:
        """Numbers of the parameters that the result of a method is computed from."""
        if id(result) not in self._used:
            self._used[id(result)] = frozenset()  # while it is looked into
            found = [
                label
                for node in slice_of(result, _NODES, self.operands)
                if node.op == "param"
                for label in node.labels
                if label[0] == "param"
            ]
            # A cache may hold what an earlier call left: this call's parameters are the youngest.
            own = max((int(label[1]) for label in found), default=0)
            self._used[id(result)] = frozenset(int(label[2]) for label in found if label[1] == own)
        return self._used[id(result)]


def _is_shift(node: Data) -> bool:
    """`y[:-1]`, `y[:, :-1]`"""
    key = node.args[1] if node.op == "index" and len(node.args) == 2 else None
    parts = key.items if isinstance(key, Seq) else [key]
    for part in parts:
        bound = part.args[1] if isinstance(part, Data) and part.op == "slice" and len(part.args) > 1 else None
        if isinstance(bound, Data) and isinstance(bound.const, int) and bound.const < 0:
            return True
    return False
