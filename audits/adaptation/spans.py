"""Which stretch of a sequence a value was cut from, and whether two stretches share anything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from verifier.program.events import Event
from verifier.program.queries import slice_of
from verifier.program.values import Data, Seq, Value

_FAR = 1e9
"""Stands for a length that is not known; such lengths are only compared with themselves."""
_NODES = 600
_REPORT_NODES = 3000


class _Unknown(Exception):
    """A bound that cannot be computed."""


def lie_apart(learned: Value, scored: Value) -> str:
    """`before` or `after` when the first was cut from the same sequence as the second and lies wholly before or after it; empty
    when they overlap or when it is not known."""
    mine, other = dict(_cuts(learned)), dict(_cuts(scored))
    for key, cut in mine.items():
        if key in other:
            continue
        for another, against in other.items():
            if another in mine or cut.args[0] is not against.args[0]:
                continue
            apart = _compare(cut, against)
            if apart:
                return apart
    return ""


def lies_before_what_counts(learned: Value, loss: Event, reports: Sequence[Event]) -> bool:
    """Whether the learned stretch ends where the part of the losses begins that the reports count (`y[:, :start]` is learned,
    `losses[start:]` counts)."""
    ends = {
        _place(bounds.args[1])
        for node in slice_of(learned, _NODES)
        if node.op == "index"
        for bounds in _slices(node)
        if _place(bounds.args[0]) in (None, 0) and _place(bounds.args[1]) is not None
    }
    if not ends:
        return False
    starts = [
        bounds.args[0]
        for report in reports
        for value in report.values
        for node in slice_of(value, _REPORT_NODES)
        if node.op == "index" and _views(node.args[0], loss.values[0])
        for bounds in _slices(node)
    ]
    return bool(starts) and all(_place(start) in ends for start in starts)


def _place(bound: Value) -> object:
    """Two bounds of one place are equal."""
    return bound.const if isinstance(bound, Data) and bound.known else id(bound)


def _slices(node: Data) -> Iterator[Data]:
    key = node.args[1] if len(node.args) > 1 else None
    for part in key.items if isinstance(key, Seq) else (key,):
        if isinstance(part, Data) and part.op == "slice" and len(part.args) > 1:
            yield part


def _views(value: Value, loss: Value) -> bool:
    for _ in range(6):
        if value is loss:
            return True
        if not isinstance(value, Data) or not value.args or not value.op.startswith("."):
            return False
        value = value.args[0]
    return False


def _cuts(value: Value) -> Iterator[tuple[int, Data]]:
    for node in slice_of(value, _NODES):
        if node.op == "index" and len(node.args) == 2 and isinstance(node.args[1], Data) and node.args[1].op == "slice":
            yield id(node), node


def _compare(cut: Data, against: Data) -> str:
    leaves: dict[int, float] = {}
    try:
        low, high = _bounds(cut, leaves)
        known = set(leaves)
        other_low, other_high = _bounds(against, leaves)
    except _Unknown:
        return ""
    own: dict[int, float] = {}
    _bounds(against, own)
    if set(own) != known:
        return ""
    # Inputs and targets are shifted by one token.
    if high - 1 <= other_low:
        return "before"
    return "after" if other_high - 1 <= low else ""


def _bounds(cut: Data, leaves: dict[int, float]) -> tuple[float, float]:
    bounds = cut.args[1]
    assert isinstance(bounds, Data)
    low, high = (bounds.args[place] if place < len(bounds.args) else None for place in (0, 1))
    return _number(low, leaves, 0.0), _number(high, leaves, 4 * _FAR)


def _number(value: Value | None, leaves: dict[int, float], absent: float, depth: int = 0) -> float:
    if depth > 40:
        raise _Unknown
    if value is None or (isinstance(value, Data) and value.known and value.const is None):
        return absent
    if not isinstance(value, Data):
        raise _Unknown
    if value.known:
        if isinstance(value.const, int | float) and abs(value.const) < _FAR:
            if value.const < 0:
                raise _Unknown  # counted from an end that is not known
            return float(value.const)
        raise _Unknown
    if value.op == "loopvar":
        return _iteration(value, leaves, depth)
    numbers = _operands(value)
    if value.op in ("+", "-", "*", "//") and len(numbers) == 2:
        first, second = (_number(one, leaves, absent, depth + 1) for one in numbers)
        if value.op == "+":
            return first + second
        if value.op == "-":
            return first - second
        if value.op == "*":
            return first * second
        return first // second if second else 0.0
    if value.op in ("call:builtins.min", "call:builtins.max") and len(numbers) >= 2:
        found = [_number(one, leaves, absent, depth + 1) for one in numbers]
        return min(found) if value.op.endswith("min") else max(found)
    if value.op in ("call:builtins.int", ".item") and numbers:
        return _number(numbers[0], leaves, absent, depth + 1)
    return leaves.setdefault(id(value), _FAR * (1 + len(leaves) / 16))


def _operands(value: Data) -> list[Value]:
    if len(value.args) == 1 and isinstance(value.args[0], Seq):
        return list(value.args[0].items)
    return list(value.args)


def _iteration(value: Data, leaves: dict[int, float], depth: int) -> float:
    """A loop variable of a range: its value in the iteration that its labels name (the innermost loop has the highest key)."""
    keys = sorted((int(label[1]), int(label[2])) for label in value.labels if label[0] == "loop")
    if not keys:
        raise _Unknown
    given = [argument for argument in value.args if isinstance(argument, Data)]
    start = _number(given[0], leaves, 0.0, depth + 1) if len(given) > 1 else 0.0
    step = _number(given[2], leaves, 1.0, depth + 1) if len(given) > 2 else 1.0
    return start + (keys[-1][1] - 1) * step
