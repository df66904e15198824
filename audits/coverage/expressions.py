"""Evaluating the expressions of an evaluation loop: integers and lists of integers are computed, everything else is opaque."""

from __future__ import annotations

import ast
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from audits.coverage.values import LOSS, OPAQUE, Known, Opaque, Scored, Tokens, Unknown, is_loss, opaque

MOST_STEPS = 400_000
_MOST_ITEMS = 20_000
_LARGEST = 10**15
_DEEPEST = 6
"""Nesting of helpers that are followed."""
_LOSSES = frozenset({"cross_entropy", "nll_loss", "log_softmax", "logsumexp"})
_LENGTHS = frozenset({"numel", "size", "__len__"})
_OPERATORS: Mapping[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_COMPARISONS: Mapping[type[ast.cmpop], Callable[[int, int], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


class Expressions(ABC):
    """The state of one replay and the values of expressions in it. `resolve` gives the integer that a setting (`args.stride`) has
    in the run; calls on `loss_lines` lead to the headline's losses."""

    def __init__(
        self,
        resolve: Callable[[ast.expr], int | None],
        loss_lines: frozenset[int] = frozenset(),
        functions: Mapping[str, ast.FunctionDef] | None = None,
    ) -> None:
        self.resolve = resolve
        self.loss_lines = loss_lines
        self.functions = functions or {}
        self.depth = 0
        self.scored = Scored()
        self.steps = 0
        self.window: list[int] = []
        """Starts of the windows that the enclosing loops are at."""
        self.counted = False
        """The innermost loop counts rows or windows, and none has been looked up yet."""
        self.numbered = False
        """The innermost loop counts windows, and one has been cut from the stream."""

    @abstractmethod
    def run_helper(self, function: ast.FunctionDef, args: list[Known]) -> Known:
        """What a function of the script returns for these arguments."""

    def value(self, node: ast.expr, names: dict[str, Known]) -> Known:
        """The value of an expression under these names."""
        self.tick()
        reader = _READERS.get(type(node))
        if reader is not None:
            return reader(self, node, names)
        return self._any_loss((child for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)), names)

    def _any_loss(self, parts: Iterable[ast.expr], names: dict[str, Known]) -> Opaque:
        return opaque(any(is_loss(self.value(part, names)) for part in parts))

    def tick(self) -> None:
        self.steps += 1
        if self.steps > MOST_STEPS:
            raise Unknown("too many steps")

    def bind(self, target: ast.expr, value: Known, names: dict[str, Known]) -> None:
        if isinstance(target, ast.Name):
            names[target.id] = value
        elif isinstance(target, ast.Tuple | ast.List):
            parts = (
                value
                if isinstance(value, list) and len(value) == len(target.elts)
                else [opaque(is_loss(value))] * len(target.elts)
            )
            for one, part in zip(target.elts, parts, strict=True):
                self.bind(one, part, names)
        elif isinstance(target, ast.Subscript) and isinstance(self.value(target.value, names), Tokens):
            # Targets that are overwritten, to be ignored.
            self.scored.trimmed = True

    def _constant(self, node: ast.Constant, names: dict[str, Known]) -> Known:
        return node.value if isinstance(node.value, int) or node.value is None else OPAQUE

    def _name(self, node: ast.Name, names: dict[str, Known]) -> Known:
        if node.id in names:
            return names[node.id]
        resolved = self.resolve(node)
        return resolved if resolved is not None else OPAQUE

    def _attribute(self, node: ast.Attribute, names: dict[str, Known]) -> Known:
        held = names.get(f".{node.attr}")
        if isinstance(held, Tokens):
            return held
        base = self.value(node.value, names)
        setting = self.resolve(node) if not isinstance(base, Tokens | list) else None
        return setting if setting is not None else opaque(is_loss(base))

    def _operation(self, node: ast.BinOp, names: dict[str, Known]) -> Known:
        return self.calculate(self.value(node.left, names), type(node.op), self.value(node.right, names))

    def _unary(self, node: ast.UnaryOp, names: dict[str, Known]) -> Known:
        signed = self.value(node.operand, names)
        if isinstance(signed, int):
            return -signed if isinstance(node.op, ast.USub) else (not signed) if isinstance(node.op, ast.Not) else OPAQUE
        return opaque(is_loss(signed))

    def _boolean(self, node: ast.BoolOp, names: dict[str, Known]) -> Known:
        values = [self.value(one, names) for one in node.values]
        result: Known = OPAQUE
        for value in values:
            if isinstance(value, Opaque | Tokens):
                return OPAQUE
            result = value
            if bool(value) is not isinstance(node.op, ast.And):
                return value
        return result

    def _compare(self, node: ast.Compare, names: dict[str, Known]) -> Known:
        if len(node.ops) != 1:
            return self._any_loss((node.left, *node.comparators), names)
        op = node.ops[0]
        first, second, compare = self.value(node.left, names), self.value(node.comparators[0], names), _COMPARISONS.get(type(op))
        if isinstance(op, ast.Is | ast.IsNot) and (first is None or second is None):
            other = second if first is None else first
            if not isinstance(other, Opaque):
                return (other is None) == isinstance(op, ast.Is)
        return compare(first, second) if compare and isinstance(first, int) and isinstance(second, int) else OPAQUE

    def _choice(self, node: ast.IfExp, names: dict[str, Known]) -> Known:
        decided = self.value(node.test, names)
        if isinstance(decided, Opaque | Tokens):
            one, two = self.value(node.body, names), self.value(node.orelse, names)
            return one if one == two else opaque(is_loss(one) or is_loss(two))
        return self.value(node.body if decided else node.orelse, names)

    def _items(self, node: ast.List | ast.Tuple, names: dict[str, Known]) -> Known:
        return [self.value(one, names) for one in node.elts]

    def calculate(self, left: Known, op: type[ast.operator], right: Known) -> Known:
        calculate = _OPERATORS.get(op)
        if isinstance(left, int) and isinstance(right, int) and calculate is not None:
            if op in (ast.FloorDiv, ast.Mod) and right == 0:
                raise Unknown("a division by zero")
            result = calculate(left, right)
            if abs(result) > _LARGEST:
                raise Unknown("a very large number")
            return result
        if isinstance(left, list) and isinstance(right, list) and op is ast.Add:
            if len(left) + len(right) > _MOST_ITEMS:
                raise Unknown("a long list")
            return [*left, *right]
        return opaque(is_loss(left) or is_loss(right))

    def _comprehension(self, node: ast.ListComp | ast.GeneratorExp, names: dict[str, Known]) -> Known:
        if len(node.generators) != 1:
            return OPAQUE
        generator = node.generators[0]
        source = self.value(generator.iter, names)
        if not isinstance(source, list):
            return opaque(is_loss(source))
        made: list[Known] = []
        inner = dict(names)
        for item in source:
            self.bind(generator.target, item, inner)
            tests = [self.value(test, inner) for test in generator.ifs]
            if any(isinstance(test, Opaque | Tokens) for test in tests):
                raise Unknown("a filter of the windows can't be computed")
            if all(tests):
                made.append(self.value(node.elt, inner))
        return made

    def _subscript(self, node: ast.Subscript, names: dict[str, Known]) -> Known:
        base = self.value(node.value, names)
        if isinstance(base, list):
            if isinstance(node.slice, ast.Slice):
                low, high = self._bounds(node.slice, names)
                if isinstance(low, int | None) and isinstance(high, int | None) and node.slice.step is None:
                    return base[low:high]
                return OPAQUE
            index = self.value(node.slice, names)
            return base[index] if isinstance(index, int) and -len(base) <= index < len(base) else OPAQUE
        if isinstance(base, Tokens) and isinstance(node.slice, ast.Slice):
            return self._chunk(base, node, names)
        if isinstance(base, Tokens) and isinstance(node.slice, ast.Constant) and node.slice.value is None:
            return base
        if isinstance(base, Tokens) and isinstance(node.slice, ast.Tuple):
            for cut in node.slice.elts:
                self._note_trimming(self._bounds(cut, names) if isinstance(cut, ast.Slice) else (None, None))
        if is_loss(base):
            cuts = [
                one
                for one in (node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice])
                if isinstance(one, ast.Slice)
            ]
            bounded = [one for one in cuts if one.lower is not None or one.upper is not None]
            if bounded and self.window:
                low, high = self._bounds(bounded[-1], names)
                if not isinstance(low, int | None) or not isinstance(high, int) or (low or 0) < 0:
                    raise Unknown("the scored part of a window can't be computed")
                start = self.window[-1]
                self.scored.slices.setdefault((start, start + (low or 0), start + high), node)
            return LOSS
        self.value(node.slice, names) if isinstance(node.slice, ast.Name | ast.BinOp) else None
        return opaque(is_loss(base))

    def _chunk(self, base: Tokens, node: ast.Subscript, names: dict[str, Known]) -> Known:
        assert isinstance(node.slice, ast.Slice)
        low, high = self._bounds(node.slice, names)
        if base.part:
            self._note_trimming((low, high))
        low, high = (0 if low is None else low), (base.count if high is None else high)
        if not isinstance(low, int) or not isinstance(high, int):
            return OPAQUE
        low = max(0, low + base.count) if low < 0 else min(low, base.count)
        high = max(0, high + base.count) if high < 0 else min(high, base.count)
        count = max(0, high - low)
        if not base.part and self.window:
            self.scored.chunks.setdefault((low, max(low, high - 1)), node)
            if self.counted or (self.numbered and low == self.window[-1] - 1):
                # A loop over window numbers: the cut says where the window starts; of inputs and targets, the inputs do.
                self.window[-1], self.counted, self.numbered = low, False, True
        return Tokens(count, True)

    def _note_trimming(self, bounds: tuple[Known, Known]) -> None:
        low, high = bounds
        if low not in (None, 0, 1) or high not in (None, -1):
            self.scored.trimmed = True

    def _bounds(self, cut: ast.Slice, names: dict[str, Known]) -> tuple[Known, Known]:
        low = self.value(cut.lower, names) if cut.lower is not None else None
        high = self.value(cut.upper, names) if cut.upper is not None else None
        return low, high

    def _call(self, node: ast.Call, names: dict[str, Known]) -> Known:
        name = name_of(node.func)
        if isinstance(node.func, ast.Attribute):
            receiver = self.value(node.func.value, names)
            if isinstance(receiver, Tokens):
                return receiver.count if name in _LENGTHS else receiver
            if isinstance(receiver, list) and name == "append" and len(node.args) == 1:
                if len(receiver) >= _MOST_ITEMS:
                    raise Unknown("a long list")
                receiver.append(self.value(node.args[0], names))
                return None
            if isinstance(receiver, int) and name == "item":
                return receiver
        else:
            receiver = None
        args = [self.value(one, names) for one in node.args]
        given = [self.value(one.value, names) for one in node.keywords]
        helper = self.functions.get(name) if isinstance(node.func, ast.Name) and name not in names else None
        if (
            helper is not None
            and self.depth < _DEEPEST
            and not node.keywords
            and not any(isinstance(one, ast.Starred) for one in node.args)
        ):
            made = self.run_helper(helper, args)
            return LOSS if isinstance(made, Opaque) and node.lineno in self.loss_lines else made
        if isinstance(node.func, ast.Name):
            result = self._builtin(name, args)
            if not isinstance(result, Opaque):
                return result
        return opaque(
            name in _LOSSES or node.lineno in self.loss_lines or is_loss(receiver) or any(is_loss(one) for one in (*args, *given))
        )

    def _builtin(self, name: str, args: list[Known]) -> Known:
        numbers = [one for one in args if isinstance(one, int)]
        if name in ("min", "max") and args and len(numbers) == len(args):
            return min(numbers) if name == "min" else max(numbers)
        if name == "range" and args and len(numbers) == len(args) and (len(args) < 3 or numbers[2] != 0):
            made = range(*numbers)
            if len(made) > _MOST_ITEMS:
                raise Unknown("a long loop")
            return list(made)
        if name == "len" and args and isinstance(args[0], list):
            return len(args[0])
        if name == "len" and args and isinstance(args[0], Tokens):
            return args[0].count
        if name in ("int", "bool", "abs") and len(numbers) == len(args) == 1:
            return numbers[0]
        if name in ("list", "sorted", "tuple", "tqdm") and args and isinstance(args[0], list):
            return list(args[0])
        if name == "enumerate" and args and isinstance(args[0], list):
            return [[number, item] for number, item in enumerate(args[0])]
        columns = [one for one in args if isinstance(one, list)]
        if name == "zip" and args and len(columns) == len(args):
            return [list(items) for items in zip(*columns, strict=False)]
        return OPAQUE


_READERS: Mapping[type[ast.expr], Callable[[Expressions, Any, dict[str, Known]], Known]] = {
    ast.Constant: Expressions._constant,
    ast.Name: Expressions._name,
    ast.Attribute: Expressions._attribute,
    ast.BinOp: Expressions._operation,
    ast.UnaryOp: Expressions._unary,
    ast.BoolOp: Expressions._boolean,
    ast.Compare: Expressions._compare,
    ast.IfExp: Expressions._choice,
    ast.List: Expressions._items,
    ast.Tuple: Expressions._items,
    ast.ListComp: Expressions._comprehension,
    ast.GeneratorExp: Expressions._comprehension,
    ast.Subscript: Expressions._subscript,
    ast.Call: Expressions._call,
}
"""By class of the expression: a replay evaluates some ten thousand of them."""


def name_of(function: ast.expr) -> str:
    return function.id if isinstance(function, ast.Name) else function.attr if isinstance(function, ast.Attribute) else ""
