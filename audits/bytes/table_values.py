"""The values that the reading of a byte table computes with, and what it may do to them."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass, field

from audits.bytes.sample_pieces import PIECES

TEXT = 4_096
"""Longest text or list that is kept."""


class _Unknown:
    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN = _Unknown()


@dataclass(slots=True)
class Table:
    """An array indexed by token. `values` are what was written; the rest is `default`."""

    default: object
    values: dict[int, object] = field(default_factory=dict)
    written: ast.AST | None = None
    """The last statement that wrote a number which is not constant."""
    made: ast.AST | None = None
    """The call that allocates it."""

    def row(self) -> tuple[object, ...]:
        return tuple(self.values.get(index, self.default) for index in range(len(PIECES)))


def as_table(value: object) -> Table | None:
    """A list or dictionary with one entry per token counts as a table."""
    if isinstance(value, Table):
        return value if value.values else None
    if isinstance(value, list) and len(value) == len(PIECES):
        return Table(0, dict(enumerate(value)))
    if isinstance(value, dict) and value and all(isinstance(key, int) for key in value):
        return Table(0, {int(key): one for key, one in value.items()})
    return None


def as_load(target: ast.expr) -> ast.expr:
    """The target of `x[i] += 1` as an expression that reads it."""
    match target:
        case ast.Subscript(value=value, slice=index):
            return ast.copy_location(ast.Subscript(value, index, ast.Load()), target)
        case ast.Attribute(value=value, attr=name):
            return ast.copy_location(ast.Attribute(value, name, ast.Load()), target)
        case ast.Name(id=name):
            return ast.copy_location(ast.Name(name, ast.Load()), target)
    return target


def compare(op: ast.cmpop, left: object, right: object) -> object:
    if left is UNKNOWN or right is UNKNOWN or isinstance(left, Table) or isinstance(right, Table):
        return UNKNOWN
    try:
        match op:
            case ast.Eq() | ast.Is():
                return left == right
            case ast.NotEq() | ast.IsNot():
                return left != right
            case ast.Lt():
                return left < right  # type: ignore[operator]
            case ast.LtE():
                return left <= right  # type: ignore[operator]
            case ast.Gt():
                return left > right  # type: ignore[operator]
            case ast.GtE():
                return left >= right  # type: ignore[operator]
            case ast.In():
                return left in right  # type: ignore[operator]
            case ast.NotIn():
                return left not in right  # type: ignore[operator]
    except TypeError:
        return UNKNOWN
    return UNKNOWN


def combine(op: ast.operator, left: object, right: object) -> object:
    """Sums and products of small numbers, joined text, `[0] * n`."""
    if isinstance(op, ast.Mult) and isinstance(left, list) and len(left) == 1:
        return Table(left[0])
    if isinstance(left, int | float) and isinstance(right, int | float) and max(abs(left), abs(right)) < 1e12:
        match op:
            case ast.Add():
                return left + right
            case ast.Sub():
                return left - right
            case ast.Mult():
                return left * right
    if isinstance(op, ast.Add) and isinstance(left, str) and isinstance(right, str) and len(left) + len(right) <= TEXT:
        return left + right
    if isinstance(op, ast.Add) and isinstance(left, bytes) and isinstance(right, bytes) and len(left) + len(right) <= TEXT:
        return left + right
    return UNKNOWN


def guarded(function: Callable[..., object] | None, arguments: list[object]) -> object:
    """A builtin or text method on values made here. What it refuses is not known; what it would blow up is refused."""
    if function is None or len(arguments) > 3 or any(isinstance(one, int) and abs(one) > TEXT for one in arguments):
        return UNKNOWN
    try:
        made = function(*arguments)
    except (TypeError, ValueError, OverflowError, LookupError, UnicodeError):
        return UNKNOWN
    return made if not isinstance(made, str | bytes | list) or len(made) <= TEXT else UNKNOWN
