"""Replaying the window arithmetic of an evaluation loop with small numbers: which targets does each window score?

Only integers and lists of integers are computed; everything else (tensors, models) is opaque. Loops run for real, on a text that
is short enough, so filters, clipped ends and offsets do what they do in the script. Anything that decides which targets are
scored and can't be computed ends the replay with `Unknown`.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

MOST_STEPS = 400_000
_MOST_ITEMS = 20_000
_LARGEST = 10**15
_DEEPEST = 6
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


class Unknown(Exception):
    """The replay can't say what happens."""


@dataclass(frozen=True, slots=True)
class Opaque:
    """A value that is not computed; `loss` when per-target losses flow into it."""

    loss: bool = False


@dataclass(frozen=True, slots=True)
class Tokens:
    """The validation stream, `count` tokens, or a part of it."""

    count: int
    part: bool = False


type Known = int | bool | list["Known"] | Opaque | Tokens | None


@dataclass(slots=True)
class Scored:
    """What the windows covered: `slices` of the losses as (first, end) target numbers, `chunks` of the stream as such."""

    slices: dict[tuple[int, int, int], ast.AST] = field(default_factory=dict)
    chunks: dict[tuple[int, int], ast.AST] = field(default_factory=dict)


class _Leave(Exception):
    """`continue`, `break` or `return`."""

    def __init__(self, kind: type[ast.stmt], value: Known = None) -> None:
        self.kind = kind
        self.value = value


class Replay:
    """One replay of one function. `resolve` gives the integer that a setting (`args.stride`) has in the run; calls on `loss_lines`
    lead to the headline's losses."""

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
        """The innermost loop counts rows, and none has been looked up yet."""

    def run(self, function: ast.FunctionDef | ast.AsyncFunctionDef, names: dict[str, Known]) -> Scored:
        with suppress(_Leave):
            self._block(function.body, names)
        return self.scored

    def compute(self, node: ast.expr) -> int | None:
        """The integer of an expression of settings alone."""
        try:
            value = self._value(node, {})
        except Unknown:
            return None
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def _block(self, body: list[ast.stmt], names: dict[str, Known]) -> None:
        for statement in body:
            self._statement(statement, names)

    def _tick(self) -> None:
        self.steps += 1
        if self.steps > MOST_STEPS:
            raise Unknown("too many steps")

    def _statement(self, node: ast.stmt, names: dict[str, Known]) -> None:
        self._tick()
        if isinstance(node, ast.Assign):
            value = self._value(node.value, names)
            if self.counted and self.window and isinstance(node.value, ast.Subscript):
                # A loop over row numbers: the first thing looked up by row is the window's start.
                start = _window_start(value)
                if start is not None:
                    self.window[-1], self.counted = start, False
            for target in node.targets:
                self._bind(target, value, names)
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            self._bind(node.target, self._value(node.value, names), names)
        elif isinstance(node, ast.AugAssign):
            self._augment(node, names)
        elif isinstance(node, ast.Expr):
            self._value(node.value, names)
        elif isinstance(node, ast.If):
            self._if(node, names)
        elif isinstance(node, ast.For):
            self._for(node, names)
        elif isinstance(node, ast.With | ast.Try):
            self._block(node.body, names)
        elif isinstance(node, ast.Return):
            raise _Leave(ast.Return, self._value(node.value, names) if node.value is not None else None)
        elif isinstance(node, ast.Continue | ast.Break):
            raise _Leave(type(node))
        elif isinstance(node, ast.While) and self._value(node.test, names) not in (False, 0, None):
            raise Unknown("a while loop")

    def _augment(self, node: ast.AugAssign, names: dict[str, Known]) -> None:
        added = self._value(node.value, names)
        if isinstance(node.target, ast.Name):
            names[node.target.id] = self._binary(names.get(node.target.id, Opaque()), type(node.op), added)

    def _if(self, node: ast.If, names: dict[str, Known]) -> None:
        test = self._value(node.test, names)
        if isinstance(test, int | list) or test is None:
            self._block(node.body if test else node.orelse, names)
        else:
            # Both ways: what they do to integers must agree, else the result is not known. A way out that depends on something
            # unknown (an empty batch, a debug switch) is taken to stay unused.
            other = dict(names)
            outcome = None
            try:
                self._block(node.body, names)
            except _Leave as leave:
                outcome = leave
            if outcome is not None:
                names.clear()
                names.update(other)
                self._block(node.orelse, names)
                return
            self._block(node.orelse, other)
            for name, value in other.items():
                if names.get(name) != value:
                    names[name] = Opaque(_is_loss(value) or _is_loss(names.get(name)))

    def _for(self, node: ast.For, names: dict[str, Known]) -> None:
        source = self._value(node.iter, names)
        if not isinstance(source, list):
            items: list[Known] = [Opaque(_is_loss(source))]
        else:
            items = source
        for item in items:
            self._bind(node.target, item, names)
            start = _window_start(item)
            counted, self.counted = self.counted, _is_plain_range(node.iter)
            if start is not None:
                self.window.append(start)
            try:
                self._block(node.body, names)
            except _Leave as leave:
                if leave.kind is ast.Break:
                    break
                if leave.kind is ast.Return:
                    raise
            finally:
                self.counted = counted
                if start is not None:
                    self.window.pop()

    def _bind(self, target: ast.expr, value: Known, names: dict[str, Known]) -> None:
        if isinstance(target, ast.Name):
            names[target.id] = value
        elif isinstance(target, ast.Tuple | ast.List):
            parts = (
                value
                if isinstance(value, list) and len(value) == len(target.elts)
                else [Opaque(_is_loss(value))] * len(target.elts)
            )
            for one, part in zip(target.elts, parts, strict=True):
                self._bind(one, part, names)

    def _value(self, node: ast.expr, names: dict[str, Known]) -> Known:
        self._tick()
        match node:
            case ast.Constant(value=value):
                return value if isinstance(value, int) or value is None else Opaque()
            case ast.Name(id=name):
                if name in names:
                    return names[name]
                resolved = self.resolve(node)
                return resolved if resolved is not None else Opaque()
            case ast.Attribute():
                held = names.get(f".{node.attr}")
                if isinstance(held, Tokens):
                    return held
                base = self._value(node.value, names)
                setting = self.resolve(node) if not isinstance(base, Tokens | list) else None
                return setting if setting is not None else Opaque(_is_loss(base))
            case ast.BinOp(left=left, op=op, right=right):
                return self._binary(self._value(left, names), type(op), self._value(right, names))
            case ast.UnaryOp(op=op, operand=operand):
                signed = self._value(operand, names)
                if isinstance(signed, int):
                    return -signed if isinstance(op, ast.USub) else (not signed) if isinstance(op, ast.Not) else Opaque()
                return Opaque(_is_loss(signed))
            case ast.BoolOp(op=op, values=values):
                return self._boolean(isinstance(op, ast.And), [self._value(one, names) for one in values])
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                first, second, compare = self._value(left, names), self._value(right, names), _COMPARISONS.get(type(op))
                if isinstance(op, ast.Is | ast.IsNot) and (first is None or second is None):
                    other = second if first is None else first
                    if not isinstance(other, Opaque):
                        return (other is None) == isinstance(op, ast.Is)
                return compare(first, second) if compare and isinstance(first, int) and isinstance(second, int) else Opaque()
            case ast.IfExp(test=test, body=body, orelse=orelse):
                decided = self._value(test, names)
                if isinstance(decided, Opaque | Tokens):
                    one, two = self._value(body, names), self._value(orelse, names)
                    return one if one == two else Opaque(_is_loss(one) or _is_loss(two))
                return self._value(body if decided else orelse, names)
            case ast.List(elts=items) | ast.Tuple(elts=items):
                return [self._value(one, names) for one in items]
            case ast.ListComp() | ast.GeneratorExp():
                return self._comprehension(node, names)
            case ast.Subscript():
                return self._subscript(node, names)
            case ast.Call():
                return self._call(node, names)
        return Opaque(
            any(_is_loss(self._value(child, names)) for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr))
        )

    def _binary(self, left: Known, op: type[ast.operator], right: Known) -> Known:
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
        return Opaque(_is_loss(left) or _is_loss(right))

    def _boolean(self, every: bool, values: list[Known]) -> Known:
        result: Known = Opaque()
        for value in values:
            if isinstance(value, Opaque | Tokens):
                return Opaque()
            result = value
            if bool(value) is not every:
                return value
        return result

    def _comprehension(self, node: ast.ListComp | ast.GeneratorExp, names: dict[str, Known]) -> Known:
        if len(node.generators) != 1:
            return Opaque()
        generator = node.generators[0]
        source = self._value(generator.iter, names)
        if not isinstance(source, list):
            return Opaque(_is_loss(source))
        made: list[Known] = []
        inner = dict(names)
        for item in source:
            self._bind(generator.target, item, inner)
            tests = [self._value(test, inner) for test in generator.ifs]
            if any(isinstance(test, Opaque | Tokens) for test in tests):
                raise Unknown("a filter of the windows can't be computed")
            if all(tests):
                made.append(self._value(node.elt, inner))
        return made

    def _subscript(self, node: ast.Subscript, names: dict[str, Known]) -> Known:
        base = self._value(node.value, names)
        if isinstance(base, list):
            if isinstance(node.slice, ast.Slice):
                low, high = self._bounds(node.slice, names)
                if isinstance(low, int | None) and isinstance(high, int | None) and node.slice.step is None:
                    return base[low:high]
                return Opaque()
            index = self._value(node.slice, names)
            return base[index] if isinstance(index, int) and -len(base) <= index < len(base) else Opaque()
        if isinstance(base, Tokens) and isinstance(node.slice, ast.Slice):
            return self._chunk(base, node, names)
        if _is_loss(base):
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
            return Opaque(True)
        self._value(node.slice, names) if isinstance(node.slice, ast.Name | ast.BinOp) else None
        return Opaque(_is_loss(base))

    def _chunk(self, base: Tokens, node: ast.Subscript, names: dict[str, Known]) -> Known:
        assert isinstance(node.slice, ast.Slice)
        low, high = self._bounds(node.slice, names)
        low, high = (0 if low is None else low), (base.count if high is None else high)
        if not isinstance(low, int) or not isinstance(high, int):
            return Opaque()
        low = max(0, low + base.count) if low < 0 else min(low, base.count)
        high = max(0, high + base.count) if high < 0 else min(high, base.count)
        count = max(0, high - low)
        if not base.part and self.window:
            self.scored.chunks.setdefault((low, max(low, high - 1)), node)
        return Tokens(count, True)

    def _bounds(self, cut: ast.Slice, names: dict[str, Known]) -> tuple[Known, Known]:
        low = self._value(cut.lower, names) if cut.lower is not None else None
        high = self._value(cut.upper, names) if cut.upper is not None else None
        return low, high

    def _call(self, node: ast.Call, names: dict[str, Known]) -> Known:
        name = _name_of(node.func)
        if isinstance(node.func, ast.Attribute):
            receiver = self._value(node.func.value, names)
            if isinstance(receiver, Tokens):
                return receiver.count if name in _LENGTHS else receiver
            if isinstance(receiver, list) and name == "append" and len(node.args) == 1:
                if len(receiver) >= _MOST_ITEMS:
                    raise Unknown("a long list")
                receiver.append(self._value(node.args[0], names))
                return None
            if isinstance(receiver, int) and name == "item":
                return receiver
        else:
            receiver = None
        args = [self._value(one, names) for one in node.args]
        given = [self._value(one.value, names) for one in node.keywords]
        helper = self.functions.get(name) if isinstance(node.func, ast.Name) and name not in names else None
        if (
            helper is not None
            and self.depth < _DEEPEST
            and not node.keywords
            and not any(isinstance(one, ast.Starred) for one in node.args)
        ):
            made = self._run_helper(helper, args)
            return Opaque(True) if isinstance(made, Opaque) and node.lineno in self.loss_lines else made
        if isinstance(node.func, ast.Name):
            result = self._builtin(name, args)
            if not isinstance(result, Opaque):
                return result
        return Opaque(
            name in _LOSSES
            or node.lineno in self.loss_lines
            or _is_loss(receiver)
            or any(_is_loss(one) for one in (*args, *given))
        )

    def _run_helper(self, function: ast.FunctionDef, args: list[Known]) -> Known:
        parameters = [*function.args.posonlyargs, *function.args.args]
        names: dict[str, Known] = {parameter.arg: Opaque() for parameter in (*parameters, *function.args.kwonlyargs)}
        names |= {parameter.arg: value for parameter, value in zip(parameters, args, strict=False)}
        self.depth += 1
        try:
            self._block(function.body, names)
        except _Leave as leave:
            return leave.value
        finally:
            self.depth -= 1
        return None

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
        return Opaque()


def _is_loss(value: Known) -> bool:
    return (isinstance(value, Opaque) and value.loss) or (isinstance(value, list) and any(_is_loss(one) for one in value[:8]))


def _name_of(function: ast.expr) -> str:
    return function.id if isinstance(function, ast.Name) else function.attr if isinstance(function, ast.Attribute) else ""


def _is_plain_range(source: ast.expr) -> bool:
    return isinstance(source, ast.Call) and _name_of(source.func) == "range" and len(source.args) == 1


def _window_start(item: Known) -> int | None:
    """The start of a window that a loop is at: its number, or the first field of a record that begins with one."""
    if isinstance(item, int):
        return item
    if isinstance(item, list) and len(item) == 2 and isinstance(item[0], int):
        # enumerate(windows): number and start; a window may itself be a record that begins with its start.
        return _window_start(item[1]) if not isinstance(item[1], Opaque | Tokens | None) else None
    return item[0] if isinstance(item, list) and item and isinstance(item[0], int) else None
