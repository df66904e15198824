"""Gates that never open under the settings of the run, and what is only chosen where they do."""

from __future__ import annotations

from collections.abc import Iterator

from audits.mixtures.flow import COPIES, Flow, data_in
from verifier.program.queries import operation
from verifier.program.values import Data, Lib, Seq, Value

_NEVER = 1.0
"""A share is at most one: a gate that asks for more never opens."""
_DEEP = 6
_BOTH = frozenset({"&", "and", "logical_and", "*"})
_STACKS = frozenset({"stack", "column_stack", "vstack", "hstack", "cat", "concatenate", "array"})
_NOTHING = frozenset({"zeros", "zeros_like"})
_SAME = COPIES - {"index", "where", "join", "cat", "concatenate", "stack", "ifexp", "element", "clamp", "clip", "clamp_", "array"}
"""Copies of the whole of one array."""
_INFINITE = frozenset({"inf", "infty", "NINF"})


class Gates:
    """Which gates of a graph are shut. `closed`: nodes of which something else says so."""

    def __init__(self, flow: Flow, closed: frozenset[int] = frozenset()) -> None:
        self.flow = flow
        self.closed = closed

    def is_shut(self, node: Data, depth: int = 0) -> bool:
        """Whether a gate is shut for good: it asks for a share above one, it is an array of zeros that nothing was put into, or it is
        joined with such a gate."""
        if id(node) in self.closed:
            return True
        how = operation(node)
        if depth > _DEEP:
            return False
        if depth and node.known:
            return node.const in (0, 0.0, False)
        if how in (">=", ">") and len(node.args) == 2:
            bound = _number(node.args[1])
            return bound is not None and bound > _NEVER and not _is_whole(node.args[0])
        if how in _BOTH:
            return any(self.is_shut(one, depth + 1) for value in node.args for one in data_in(value))
        if how in _NOTHING:
            return not self.flow.is_changed(node)
        if how in _SAME and node.args:
            return not self.flow.is_changed(node) and isinstance(node.args[0], Data) and self.is_shut(node.args[0], depth + 1)
        return False

    def readers_of(self, node: Data) -> Iterator[Data]:
        """What is computed from a node, without what can only be chosen where a shut gate is open: the first side of `where(shut, a, b)`,
        and of stacked candidates the one that an `argmax` over values with `where(shut, value, -inf)` in its place never names."""
        for parent in self.flow.parents.get(id(node), ()):
            if self._is_unchosen(node, parent):
                continue
            places = _places(node, parent)
            if not places:
                yield parent
                continue
            for reader in self.flow.parents.get(id(parent), ()):
                if not all(self._is_never_named(reader, parent, place) for place in places):
                    yield reader

    def _is_unchosen(self, node: Data, parent: Data) -> bool:
        if operation(parent) != "where" or len(parent.args) != 3:
            return False
        gate, chosen, other = (data_in(value) for value in parent.args)
        if len(gate) != 1 or not self.is_shut(gate[0]):
            return False
        return any(one is node for one in [*gate, *chosen]) and not any(one is node for one in other)

    def _is_never_named(self, reader: Data, stack: Data, place: int) -> bool:
        """Whether a candidate is picked from a stack by a number that an `argmax` never gives for its place."""
        if operation(reader) not in ("index", "take_along_axis", "take_along_dim", "gather") or len(reader.args) < 2:
            return False
        if not any(one is stack for one in data_in(reader.args[0])):
            return False
        picks = [pick for value in reader.args[1:] for pick in data_in(value)]
        return any(self._never_gives(pick, place) for pick in picks)

    def _never_gives(self, pick: Data, place: int) -> bool:
        """Whether an `argmax` over values, of which the one in this place is always minus infinity, never names the place. A row of
        nothing but minus infinity names the first place, so that has to be cut by a mask."""
        masked = False
        for _ in range(_DEEP):
            if operation(pick) == "argmax" or operation(pick) not in COPIES or self.flow.is_changed(pick):
                break
            masked = masked or operation(pick) == "index"
            if not pick.args or not isinstance(pick.args[0], Data):
                return False
            pick = pick.args[0]
        ranked = pick.args[0] if operation(pick) == "argmax" and pick.args else None
        if not isinstance(ranked, Data) or operation(ranked) not in _STACKS or self.flow.is_changed(ranked) or not ranked.args:
            return False
        values = ranked.args[0]
        if not isinstance(values, Seq) or not values.exact or place >= len(values.items) or (place == 0 and not masked):
            return False
        value = values.items[place]
        if not isinstance(value, Data) or operation(value) != "where" or len(value.args) != 3:
            return False
        gates = data_in(value.args[0])
        return len(gates) == 1 and self.is_shut(gates[0]) and _is_lowest(value.args[2])


def _places(node: Data, stack: Data) -> list[int]:
    """Where a node stands among the candidates that are stacked."""
    if operation(stack) not in _STACKS or not stack.args or not isinstance(stack.args[0], Seq) or not stack.args[0].exact:
        return []
    return [place for place, item in enumerate(stack.args[0].items) if item is node]


def _is_lowest(value: Value) -> bool:
    """Whether a value is minus infinity."""
    if not isinstance(value, Data):
        return isinstance(value, Lib) and value.name.endswith(".NINF")
    if isinstance(value.const, float):
        return value.const == float("-inf")
    if operation(value) != "neg" or len(value.args) != 1:
        return False
    inner = value.args[0]
    if isinstance(inner, Lib):
        return inner.name.rsplit(".", 1)[-1] in _INFINITE
    return isinstance(inner, Data) and inner.const == float("inf")


def _is_whole(value: Value) -> bool:
    """Whether an array is one of whole numbers, as counts are: those may be above one."""
    for _ in range(_DEEP):
        if not isinstance(value, Data):
            return False
        if any(isinstance(one, Lib) and "int" in one.name.rsplit(".", 1)[-1] for one in value.args):
            return True
        if operation(value) not in COPIES or not value.args:
            return False
        value = value.args[0]
    return False


def _number(value: Value) -> float | None:
    for _ in range(4):
        if not isinstance(value, Data):
            return None
        if isinstance(value.const, int | float):
            return float(value.const)
        value = value.args[0] if value.args else value
    return None
