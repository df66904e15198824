"""Which stretch of a sequence a value was cut from, and whether two stretches share anything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from verifier.program.events import Event
from verifier.program.queries import slice_of
from verifier.program.summaries import given_to
from verifier.program.values import Data, Seq, Value, joined

_FAR = 1e9
"""Stands for a length that is not known; such lengths are only compared with themselves."""
_NODES = 600
_REPORT_NODES = 3000


_UNCHANGED = frozenset({".view", ".reshape", ".flatten", ".to", ".cuda", ".cpu", ".long", ".int", ".clone", ".detach", ".contiguous", ".numpy",
                        ".unsqueeze", ".squeeze", ".pin_memory", ".astype", "call:torch.tensor", "call:torch.as_tensor", "call:torch.from_numpy",
                        "call:numpy.asarray", "call:numpy.array", "attr:data"})  # fmt: skip


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


def is_shown_shared(learned: Value, scored: Value) -> bool:
    """Whether two stretches are shown to share something: they are one value, cut in one way from one thing, or their bounds overlap.
    Where several paths met, on all of them."""
    return all(_share(one, other) for one in _stretches(learned) for other in _stretches(scored))


def _stretches(value: Value) -> list[Value]:
    """What a value is a view or a fixed part of, on each path."""
    value = _stripped(value)
    if not isinstance(value, Data) or value.op not in ("join", "ifexp"):
        return [value]
    return [_stripped(one) for one in joined(value) if one.op not in ("join", "ifexp")] or [value]


def _stripped(value: Value, depth: int = 0) -> Value:
    while isinstance(value, Data) and value.args and (value.op in _UNCHANGED or _is_fixed_part(value)):
        value = value.args[0]
    if isinstance(value, Data) and depth < 8 and (argument := _reshaped_argument(value, depth)) is not None:
        return _stripped(argument, depth + 1)
    return value


def _reshaped_argument(call: Data, depth: int) -> Data | None:
    """The argument that a method's result is, when the method only reshapes it."""
    core = _stripped(call.inner, depth + 1) if call.inner is not None else None
    if not isinstance(core, Data) or core.op != "param":
        return None
    given, numbers = given_to(call), [int(label[2]) for label in core.labels if label[0] == "param"]
    return given[numbers[0]] if len(numbers) == 1 and numbers[0] < len(given) else None


def own_parts(value: Value) -> list[Data]:
    """A value and what it was reshaped or picked from, down to the place where its stretch of the text was cut; through methods too."""
    chain: list[Data] = []
    certain = 0
    while isinstance(value, Data) and len(chain) < 40:
        chain.append(value)
        if value.inner is not None:
            argument = _reshaped_argument(value, 0)
            if argument is None:
                break
            value = argument
        elif value.op == "index" and _has_slice(value):
            return chain
        elif value.args and (value.op in _UNCHANGED or (value.op == "index" and _is_constant(value.args[1]))):
            # The second of a pair and the first of a batch look alike: only a cut below tells.
            certain = certain or (len(chain) if value.op == "index" and not _adds_axes(value) else 0)
            value = value.args[0]
        else:
            break
    return chain[:certain] if certain else chain


def _has_slice(node: Data) -> bool:
    key = node.args[1]
    return any(isinstance(part, Data) and part.op == "slice" for part in (key.items if isinstance(key, Seq) else [key]))


def _adds_axes(node: Data) -> bool:
    key = node.args[1] if node.op == "index" and len(node.args) == 2 else None
    return isinstance(key, Data) and key.known and key.const is None


def _is_fixed_part(node: Data) -> bool:
    """All but a token at an end: `chunk[1:]`, `tokens[None]`, `rows[:, :-1]`."""
    key = node.args[1] if node.op == "index" and len(node.args) == 2 else None
    parts = key.items if isinstance(key, Seq) else (key,)
    return bool(parts) and all(
        isinstance(part, Data)
        and (
            part.const is None
            or (part.op == "slice" and all(isinstance(bound, Data) and bound.const in (None, 0, 1, -1) for bound in part.args))
        )
        for part in parts
    )


def _share(one: Value, other: Value) -> bool:
    if any(part is other for part in _wholes(one)) or any(part is one for part in _wholes(other)):
        return True
    if not isinstance(one, Data) or not isinstance(other, Data):
        return False
    if one.op == other.op == "index" and one.args[0] is other.args[0] and all(_is_cut(node) for node in (one, other)):
        return _overlaps(one, other)
    return _signature(one) == _signature(other)


def _wholes(value: Value) -> list[Value]:
    """A value and what it is a part of: `rows`, for `rows[:, :2047]`."""
    found = [value]
    while (
        isinstance(value, Data)
        and value.args
        and (value.op in _UNCHANGED or (value.op == "index" and _is_constant(value.args[1])))
    ):
        value = value.args[0]
        found.append(value)
    return found


def _is_constant(key: Value) -> bool:
    if isinstance(key, Seq):
        return all(map(_is_constant, key.items))
    return isinstance(key, Data) and (key.known or (key.op == "slice" and all(map(_is_constant, key.args))))


def _is_cut(node: Data) -> bool:
    return len(node.args) == 2 and isinstance(node.args[1], Data) and node.args[1].op == "slice"


def are_one_stretch(learned: Value, scored: Value) -> bool:
    """Whether two cuts of one thing have the same bounds, whatever iterations they were made in: the next chunk, learned ahead."""
    one, other = _stripped(learned), _stripped(scored)
    if not isinstance(one, Data) or not isinstance(other, Data) or one is other:
        return False
    if not (one.op == other.op == "index" and _is_cut(one) and _is_cut(other) and one.args[0] is other.args[0]):
        return False
    leaves: dict[int, float] = {}
    try:
        return _bounds(one, leaves) == _bounds(other, leaves)
    except _Unknown:
        return False


def _overlaps(cut: Data, against: Data) -> bool:
    leaves: dict[int, float] = {}
    try:
        low, high = _bounds(cut, leaves)
        other_low, other_high = _bounds(against, leaves)
    except _Unknown:
        return cut is against
    return low < other_high - 1 and other_low < high - 1


def _signature(value: Value, depth: int = 0) -> object:
    """How a value is made, without what leaves its content as it is."""
    while isinstance(value, Data) and value.args and value.op in _UNCHANGED:
        value = value.args[0]
    if not isinstance(value, Data):
        return tuple(_signature(item, depth + 1) for item in value.items) if isinstance(value, Seq) and depth < 12 else id(value)
    if value.known:
        return repr(value.const)
    if value.op == "loopvar":
        return ("loopvar", frozenset(label for label in value.labels if label[0] == "loop"))
    if depth > 12 or not value.args or value.op == "unknown":
        return id(value)
    loops = frozenset(label for label in value.labels if label[0] == "loop") if value.op == "element" else None
    return (value.op, loops, *(_signature(one, depth + 1) for one in value.args))


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
