"""Operators of the interpreted program: arithmetic, comparison, truth; constants are folded while they stay small."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any

from verifier.program.machine import Machine
from verifier.program.scope import Scope
from verifier.program.values import (
    NONE,
    UNSET,
    Choice,
    ClassV,
    Data,
    Func,
    Instance,
    Lib,
    Map,
    Native,
    Seq,
    Site,
    Value,
    alternatives_of,
    constant,
    join,
    join_labels,
    labels_of,
    united,
)

_BINARY: dict[type[ast.operator], tuple[str, Callable[[Any, Any], object]]] = {
    ast.Add: ("+", operator.add),
    ast.Sub: ("-", operator.sub),
    ast.Mult: ("*", operator.mul),
    ast.Div: ("/", operator.truediv),
    ast.FloorDiv: ("//", operator.floordiv),
    ast.Mod: ("%", operator.mod),
    ast.Pow: ("**", operator.pow),
    ast.LShift: ("<<", operator.lshift),
    ast.RShift: (">>", operator.rshift),
    ast.BitOr: ("|", operator.or_),
    ast.BitXor: ("^", operator.xor),
    ast.BitAnd: ("&", operator.and_),
    ast.MatMult: ("@", operator.matmul),
}
_COMPARE: dict[type[ast.cmpop], tuple[str, Callable[[Any, Any], object]]] = {
    ast.Eq: ("==", operator.eq),
    ast.NotEq: ("!=", operator.ne),
    ast.Lt: ("<", operator.lt),
    ast.LtE: ("<=", operator.le),
    ast.Gt: (">", operator.gt),
    ast.GtE: (">=", operator.ge),
    ast.Is: ("is", operator.is_),
    ast.IsNot: ("is not", operator.is_not),
    ast.In: ("in", lambda one, two: one in two),
    ast.NotIn: ("not in", lambda one, two: one not in two),
}
_UNARY: dict[type[ast.unaryop], tuple[str, Callable[[Any], object]]] = {
    ast.USub: ("neg", operator.neg),
    ast.UAdd: ("pos", operator.pos),
    ast.Invert: ("~", operator.invert),
}
_LARGEST = 1 << 256
_LARGEST_RANGE = 1 << 40
LONGEST_TEXT = 20_000
LARGEST_LIST = 512
"""Items of one list that are kept apart."""
_DUNDER = {"/": "truediv", "+": "add", "-": "sub", "*": "mul", "//": "floordiv", "%": "mod", "**": "pow", "@": "matmul", "<<": "lshift",
           ">>": "rshift", "|": "or", "^": "xor", "&": "and"}  # fmt: skip


_COMPUTED = frozenset(
    {"fstring", "loopvar", ".item", ".sum", ".mean", ".clone", ".detach", ".float", ".double", ".cpu", ".to", ".view"}
)


class Operators(Machine):
    """Applies operators to values."""

    def truth(self, value: Value) -> bool | None:
        """Whether a condition holds, `None` when it is not known."""
        if isinstance(value, Data):
            if value.known:
                return bool(value.const)
            within = self._numbers_of(value)
            return None if not within else False if within == range(1) else None if 0 in within else True
        if isinstance(value, Seq):
            if value.items:
                return True
            return False if value.exact and not value.extra else None
        if isinstance(value, Map):
            if value.entries:
                return True
            return False if value.exact and not value.rest else None
        if isinstance(value, Choice):
            truths = {self.truth(one) for one in value.alternatives}
            return truths.pop() if len(truths) == 1 else None
        if isinstance(value, Instance) and isinstance(value.cls, ClassV):
            method = value.cls.find("__bool__") or value.cls.find("__len__")
            if isinstance(method, Func):
                return self.truth(self.call(method.with_receiver(value), [], {}, ast.Pass(), method.scope))
        return None if _is_unseen(value) else True

    def binary(self, op: ast.operator, left: Value, right: Value, site: Site) -> Value:
        symbol, function = _BINARY[type(op)]
        if type(left) is Data and type(right) is Data:
            labels = left.labels if right.labels is left.labels else united(left.labels, right.labels)
            if left.const is not UNSET and right.const is not UNSET:
                result = fold(function, left.const, right.const, symbol)
                if result is not UNSET:
                    return Data("const", (), labels, site, result)
            node = Data(symbol, (left, right), labels, site)
            node.serial = self.new_serial()
            return node
        if isinstance(left, Seq) and isinstance(right, Seq) and symbol == "+":
            fits = len(left.items) + len(right.items) <= LARGEST_LIST
            items = (*left.items, *right.items)[:LARGEST_LIST]
            joined = Seq(left.kind, items, left.exact and right.exact and fits, self.new_serial())
            joined.extra = left.extra | right.extra
            return joined
        if isinstance(left, Seq) and symbol == "*":
            copy = Seq(left.kind, left.items, False, self.new_serial())
            copy.extra = left.extra | labels_of(right)
            return copy
        if isinstance(left, Map) and isinstance(right, Map) and symbol == "|":
            merged = Map(self.new_serial())
            merged.entries = {**left.entries, **right.entries}
            merged.rest = [*left.rest, *right.rest]
            merged.exact = left.exact and right.exact
            return merged
        for one, other, prefix in ((left, right, ""), (right, left, "r")):
            if isinstance(one, Instance) and isinstance(one.cls, ClassV):
                method = one.cls.find(f"__{prefix}{_DUNDER[symbol]}__")
                if isinstance(method, Func):
                    return self.call(method.with_receiver(one), [other], {}, ast.Pass(), method.scope)
        return self.data(symbol, (left, right), site)

    def _boolean(self, node: ast.BoolOp, scope: Scope) -> Value:
        is_and = isinstance(node.op, ast.And)
        unknown: list[Value] = []
        last: Value = NONE
        for operand in node.values:
            last = self.evaluate(operand, scope)
            truth = self.truth(last)
            if truth is None:
                unknown.append(last)
            elif truth is not is_and:  # decides the whole expression
                if not unknown or type(last) is Data:
                    return last if not unknown else self._undecided(node, scope, [*unknown, last], decided=truth)
                return last
        if not unknown:
            return last
        if not is_and and len(node.values) == 2 and type(last) is not Data:
            return join(unknown[0], last)
        return self._undecided(node, scope, unknown)

    def _undecided(self, node: ast.BoolOp, scope: Scope, values: list[Value], decided: bool | None = None) -> Value:
        # `unknown and False` is false and `unknown or True` is true, whatever the unknown is.
        if decided is not None:
            return constant(decided, self.site(node, scope))
        return self.data("and" if isinstance(node.op, ast.And) else "or", tuple(values), self.site(node, scope))

    def _unary(self, node: ast.UnaryOp, scope: Scope) -> Value:
        value = self.evaluate(node.operand, scope)
        site = self.site(node, scope)
        if isinstance(node.op, ast.Not):
            truth = self.truth(value)
            if truth is not None:
                return constant(not truth, site, labels_of(value))
            return self.data("not", (value,), site)
        symbol, function = _UNARY[type(node.op)]
        if type(value) is Data and value.known and isinstance(value.const, int | float):
            return constant(function(value.const), site, value.labels)
        return self.data(symbol, (value,), site)

    def _compare(self, node: ast.Compare, scope: Scope) -> Value:
        values = [self.evaluate(node.left, scope), *(self.evaluate(item, scope) for item in node.comparators)]
        site = self.site(node, scope)
        outcomes = [self._compare_two(op, one, two) for op, one, two in zip(node.ops, values, values[1:], strict=False)]
        labels = join_labels(values)
        if any(outcome is False for outcome in outcomes):
            return constant(False, site, labels)
        if all(outcome is True for outcome in outcomes):
            return constant(True, site, labels)
        return self.data(_COMPARE[type(node.ops[0])][0], tuple(values), site, labels)

    def _compare_two(self, op: ast.cmpop, one: Value, two: Value) -> bool | None:
        symbol, function = _COMPARE[type(op)]
        if isinstance(one, Data) and isinstance(two, Data):
            if one.known and two.known:
                if symbol in ("is", "is not"):
                    same = one.const is two.const or (type(one.const) is type(two.const) and one.const == two.const)
                    return same if symbol == "is" else not same
                result = fold(function, one.const, two.const, symbol)
                return result if isinstance(result, bool) else None
            if symbol in ("is", "is not"):
                return self._is_none(one, two, symbol)
            return _compare_within(self._numbers_of(one), two.const, symbol) if two.known else None
        if symbol in ("is", "is not") and isinstance(two, Data) and two.known and two.const is None:
            nones = {isinstance(item, Data) and item.known and item.const is None for item in alternatives_of(one)}
            if any(_is_unseen(item) for item in alternatives_of(one)):
                return None
            if len(nones) == 1:
                none = nones.pop()
                return none if symbol == "is" else not none
            return None
        if symbol in ("in", "not in") and isinstance(one, Data) and one.known:
            held = self._holds(two, one.const)
            return None if held is None else held if symbol == "in" else not held
        if symbol in ("==", "!=") and isinstance(one, ClassV | Func | Lib) and isinstance(two, ClassV | Func | Lib):
            same = one is two or (isinstance(one, Lib) and isinstance(two, Lib) and one.name == two.name)
            return same if symbol == "==" else not same
        return None

    def _numbers_of(self, value: Data) -> range:
        """What a loop variable is in its iteration: the first number of a range in the first, one of the others in all that follow.
        Empty when that is not known."""
        if value.op != "loopvar":
            return range(0)
        # The innermost loop around it has the highest key: its own.
        own = max(((label[1], label[2]) for label in value.labels if label[0] == "loop"), default=None)
        bounds = [one.const if isinstance(one, Data) and isinstance(one.const, int) else None for one in value.args]
        if own is None or own[0] in self.state.cut or None in bounds or len(bounds) > 3:
            return range(0)
        try:
            # `enumerate` counts without an end.
            numbers = range(*(one for one in bounds if one is not None)) if bounds else range(_LARGEST_RANGE)
        except (ValueError, OverflowError):
            return range(0)
        return numbers[:1] if own[1] == 1 else numbers[1:]

    @staticmethod
    def _is_none(one: Data, two: Data, symbol: str) -> bool | None:
        # A tensor, number or text that was computed is not None; what libraries return may be.
        if two.known and two.const is None and not one.known:
            pending, computed = [one], True
            while pending and computed:
                current = pending.pop()
                if current.op == "join" and len(pending) < 8:
                    pending += [part for part in current.args if isinstance(part, Data)]
                else:
                    computed = not current.known and (
                        current.op[:1] in "+-*/%@&|^<>~" or current.op in _COMPUTED or current.op.startswith("call:torch.")
                    )
            if computed:
                return symbol != "is"
        return None

    def _holds(self, container: Value, item: object) -> bool | None:
        if isinstance(container, Lib) and container.name == "os.environ":
            return item in self.state.config
        if isinstance(container, Map) and container.exact:
            try:
                return item in container.entries
            except TypeError:
                return None
        if isinstance(container, Seq) and container.exact and not container.extra:
            constants = [one.const for one in container.items if isinstance(one, Data) and one.known]
            if len(constants) == len(container.items):
                return item in constants
        return None


def _is_unseen(value: Value) -> bool:
    """An attribute of an object of the program that nothing was seen to set."""
    return isinstance(value, Native) and isinstance(value.receiver, Instance) and isinstance(value.receiver.cls, ClassV)


def _compare_within(numbers: range, other: object, symbol: str) -> bool | None:
    """How every number compares with a constant; `None` when they don't agree."""
    if not numbers or not isinstance(other, int | float):
        return None
    low, high = min(numbers[0], numbers[-1]), max(numbers[0], numbers[-1])
    if symbol in ("==", "!="):
        if len(numbers) > 1 and other in numbers:
            return None
        return (other in numbers) is (symbol == "==")
    answers = {"<": (low < other, high < other), "<=": (low <= other, high <= other),
               ">": (low > other, high > other), ">=": (low >= other, high >= other)}  # fmt: skip
    return answers[symbol][0] if symbol in answers and answers[symbol][0] is answers[symbol][1] else None


def fold(function: Callable[[object, object], object], first: object, second: object, symbol: str) -> object:
    """The constant, when both sides are known and the result stays small; `UNSET` otherwise."""
    if symbol in ("**", "<<") and not (isinstance(second, int | float) and abs(second) <= 256):
        return UNSET
    if symbol == "*" and (isinstance(first, str | bytes | tuple) or isinstance(second, str | bytes | tuple)):
        text, times = (first, second) if isinstance(first, str | bytes | tuple) else (second, first)
        if not isinstance(times, int) or len(text) * max(times, 0) > LONGEST_TEXT:  # type: ignore[arg-type]
            return UNSET
    if symbol == "%" and isinstance(first, str | bytes):
        return UNSET
    try:
        result = function(first, second)
    except (ArithmeticError, TypeError, ValueError, RecursionError):
        return UNSET
    return result if is_small(result) else UNSET


def is_small(value: object) -> bool:
    if isinstance(value, bool | float) or value is None:
        return True
    if isinstance(value, int):
        return -_LARGEST < value < _LARGEST
    if isinstance(value, str | bytes):
        return len(value) <= LONGEST_TEXT
    return False
