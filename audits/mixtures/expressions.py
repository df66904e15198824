"""Expressions of the graph as algebra: terms, factors, and what is left when copies are taken off."""

from __future__ import annotations

from collections.abc import Iterable

from audits.mixtures.flow import COPIES, data_in
from verifier.program.queries import operation
from verifier.program.values import Data, Value

PICKS = frozenset({"gather", "take_along_dim", "take_along_axis", "index"})
PLUS = frozenset({"+", "add", "add_", "+="})
MINUS = frozenset({"-", "sub", "subtract", "sub_"})
TIMES = frozenset({"*", "mul", "multiply"})
OVER = frozenset({"/", "div", "divide", "true_divide"})
BOUNDS = frozenset({"clamp", "clip", "clamp_", "clamp_min", "maximum", "fmax", "max"})
TINY = 1e-6
"""Added to a probability, it keeps a logarithm finite and no more."""


def same_value(one: Data, other: Data, depth: int) -> bool:
    """Whether two expressions compute the same from the same."""
    if one is other:
        return True
    if depth > 8 or one.op != other.op or len(one.args) != len(other.args) or not one.args:
        return one.known and other.known and one.const == other.const
    pairs = [(data_in(a), data_in(b)) for a, b in zip(one.args, other.args, strict=True)]
    return all(len(a) == len(b) and all(same_value(x, y, depth + 1) for x, y in zip(a, b, strict=True)) for a, b in pairs)


def axis_of(node: Data, place: int) -> int | None:
    """The axis that a call names, by keyword or in its place."""
    value: Value | None = node.argument("dim") or node.argument("axis")
    if value is None and len(node.args) - len(node.names) > place:
        value = node.args[place]
    return value.const if isinstance(value, Data) and type(value.const) is int else None


def layers_of(value: Value) -> list[Data]:
    """A value and what it is inside the call that returned it."""
    found = data_in(value)[:1]
    while found and found[-1].inner is not None and len(found) < 24 and (inner := data_in(found[-1].inner)):
        found.append(inner[0])
    return found


def first_of(value: Value) -> Data:
    found = data_in(value)
    return found[0] if found else Data("nothing")


def through_copies(node: Data) -> Data:
    """What was copied, cut or bounded."""
    for _ in range(20):
        if operation(node) not in COPIES | {"clamp", "clip", "maximum", "float", "double", "index"} or not node.args:
            break
        node = first_of(node.args[0])
    return node


def bare(node: Data) -> Data:
    """What was copied, but not chosen from."""
    for _ in range(20):
        if (
            operation(node)
            not in COPIES - {"index", "where", "stack", "cat", "element", "narrow", "index_select", "join"} | {"float", "double"}
            or not node.args
        ):
            break
        node = first_of(node.args[0])
    return node


def plain(node: Data) -> Data:
    """What was copied, or freed of an axis of length one (`picked[:, 0]`)."""
    for _ in range(20):
        node = bare(node)
        places = [one for value in node.args[1:] for one in data_in(value)] if operation(node) == "index" else []
        if not places or not all(is_whole_slice(one) or one.const in (0, None) for one in places):
            break
        node = first_of(node.args[0])
    return node


def is_whole_slice(place: Data) -> bool:
    return place.op == "slice" and all(one.const is None for value in place.args for one in data_in(value))


def is_local(node: Data) -> bool:
    return operation(node) in COPIES | PICKS | BOUNDS | {
        "float",
        "double",
        "neg",
        "logsumexp",
        "topk",
        "sort",
        "attr:values",
        "attr:indices",
    }


def is_nothing(node: Data) -> bool:
    """Whether a running total starts at zero."""
    return (
        node.const in (0, 0.0)
        if node.known
        else operation(node) in ("zeros", "zeros_like", "new_zeros", "join") or bare(node).const in (0, 0.0)
    )


def terms_of(node: Data, splits: frozenset[str]) -> list[Data]:
    found: list[Data] = []
    pending = [node]
    while pending and len(found) < 24:
        current = pending.pop()
        if operation(current) in splits:
            pending += [one for value in current.args[:2] for one in data_in(value)]
        else:
            found.append(current)
    return found


def parts_of_product(node: Data) -> Iterable[Data]:
    return (
        [one for value in node.args for one in data_in(value)]
        if operation(node) in TIMES | COPIES | {"float", "double", "neg"}
        else ()
    )


def factors_of(term: Data) -> list[tuple[Data, bool]]:
    """The factors of a term; True for what it is divided by."""
    found: list[tuple[Data, bool]] = []
    pending = [(term, False)]
    while pending and len(found) < 24:
        current, below = pending.pop()
        if operation(current) in TIMES | OVER and len(current.args) > 1:
            first, second = first_of(current.args[0]), first_of(current.args[1])
            pending += [(second, below != (operation(current) in OVER)), (first, below)]
        else:
            found.append((current, below))
    return found


def smoothed(node: Data) -> tuple[float, Data]:
    """A count and the constant that is added to it."""
    if operation(node) in PLUS and len(node.args) > 1:
        first, second = first_of(node.args[0]), first_of(node.args[1])
        for fixed, other in ((first, second), (second, first)):
            if isinstance(fixed.const, int | float):
                return float(fixed.const), bare(other)
    return 0.0, bare(node)


def at_most_one(weights: list[tuple[float, Data | None]]) -> bool:
    """Whether weights sum to at most one: constants, or `w` and `1 - w`."""
    if all(one is None for _, one in weights):
        return sum(fixed for fixed, _ in weights) <= 1.0 + TINY
    if len(weights) != 2 or any(fixed != 1.0 for fixed, _ in weights):
        return False
    first, second = weights[0][1], weights[1][1]
    return first is not None and second is not None and (is_rest(first, second) or is_rest(second, first))


def is_rest(rest: Data, of: Data) -> bool:
    rest = bare(rest)
    return (
        operation(rest) in MINUS
        and len(rest.args) > 1
        and first_of(rest.args[0]).const in (1, 1.0)
        and bare(first_of(rest.args[1])) is bare(of)
    )
