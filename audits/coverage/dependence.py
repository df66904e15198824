"""What decides a condition in an evaluation loop: how many windows have been scored, the length of the text, the clock."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from enum import Enum, auto

from audits.coverage.expressions import name_of
from audits.coverage.replay import Replay
from audits.coverage.scored_loops import Loop
from audits.coverage.settings import ALONE, Function, Settings
from verifier.program.analysis import ProgramText

_LENGTHS = frozenset({"len", "numel", "size", "nelement", "shape", "nbytes"})
_CLOCKS = frozenset({"time", "perf_counter", "monotonic", "process_time", "time_ns", "perf_counter_ns", "elapsed_time", "now"})
_CHANCE = frozenset(
    {"random", "randint", "randrange", "rand", "choice", "uniform", "sample", "randperm", "permutation", "choices"}
)
_PLAIN = frozenset({"min", "max", "int", "float", "abs", "sum", "round", "bool", "any", "all", "ceil", "floor", "item"})
_RANKS = frozenset({"get_rank", "get_world_size", *ALONE})
_GROWING = frozenset({"append", "extend", "add"})
_SHORTENING = frozenset({"pop", "popleft", "remove", "clear"})
_TELLING = frozenset(
    {ast.Assign, ast.AnnAssign, ast.NamedExpr, ast.AugAssign, ast.For, ast.AsyncFor, ast.comprehension, ast.Delete, ast.Call}
)
"""What changes a name, a list or a loop's place."""
_DEEPEST = 7
MOST_STEPS = 20_000
"""Expressions of one function that are looked at; what comes after is not known."""
_SHARES = range(2, 101)
"""Divisors of a length that make a share of it; greater ones are sizes of windows."""
WHOLE = 0.97
"""Share of documents, tokens or bytes from which an evaluation counts as whole: short exports lose 0.3 %, dropped tails less."""


class Source(Enum):
    """What a number or a condition depends on."""

    COUNT = auto()
    """How far the loop is."""
    LENGTH = auto()
    """The size of the text or of a piece of it."""
    SHARE = auto()
    """A fixed part of that size."""
    RANK = auto()
    CLOCK = auto()
    CHANCE = auto()
    UNKNOWN = auto()


class Scope:
    """A function's names: what is assigned to them, and the arguments of the call that leads to the loss."""

    def __init__(
        self, text: ProgramText, function: Function | ast.Module, settings: Settings, caller: tuple[ast.Call, Scope] | None = None
    ) -> None:
        self.settings = settings
        self.assigned: dict[str, list[ast.expr]] = {}
        self.targets: dict[str, list[Loop]] = {}
        self.steps: set[str] = set()
        self.grown: set[str] = set()
        self.shortened: set[str] = set()
        self.falling: set[str] = set()
        self.by_one: set[str] = set()
        self.listed: set[str] = set()
        self.caller = caller
        self.steps_left = MOST_STEPS
        self._counters: dict[str, bool] = {}
        self.parameters = _parameters(function)
        for node in text.parsed.own(function):
            if type(node) in _TELLING:
                self._read(node)

    def _read(self, node: ast.AST) -> None:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                for name, value in _pairs(target, node.value):
                    self.assigned.setdefault(name, []).append(value)
        elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and isinstance(node.target, ast.Name) and node.value is not None:
            self.assigned.setdefault(node.target.id, []).append(node.value)
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            self.steps.add(node.target.id)
            if isinstance(node.op, ast.Sub):
                self.falling.add(node.target.id)
            elif isinstance(node.value, ast.Constant) and node.value.value == 1:
                self.by_one.add(node.target.id)
        elif isinstance(node, ast.For | ast.AsyncFor):
            for name in _names(node.target):
                self.targets.setdefault(name, []).append(node)
            if isinstance(node.iter, ast.Call) and name_of(node.iter.func) == "enumerate":
                self.by_one |= set(_names(node.target)[:1])
        elif isinstance(node, ast.comprehension):
            self.listed |= set(_names(node.target))
        elif isinstance(node, ast.Delete):
            self.shortened |= {name for one in node.targets if isinstance(one, ast.Subscript) for name in _names(one.value)}
        elif isinstance(node, ast.Call) and (name := grown_by(node)):
            self.grown.add(name)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _SHORTENING:
            self.shortened |= set(_names(node.func.value))

    def counts(self, name: str) -> bool:
        """Whether a name says how far a loop is: its number, its window's start, or what the loop adds up or moves on."""
        if name not in self._counters:
            self._counters[name] = self._is_stepped(name)
        return self._counters[name]

    def _is_stepped(self, name: str) -> bool:
        if name in self.steps or name in self.listed:
            return True
        return any(_is_counter(loop, name) for loop in self.targets.get(name, ())) or self._moves(name)

    def may_look(self) -> bool:
        """Takes one of the steps that are left."""
        self.steps_left -= 1
        return self.steps_left >= 0

    def tells(self, name: str) -> bool:
        """Whether a name or its length says how far a loop is."""
        return name in self.grown or self.counts(name)

    def _moves(self, name: str) -> bool:
        """`end = start + size; start = end`."""
        pending, seen = [name], set[str]()
        while pending:
            for value in self.assigned.get(pending.pop(), ()):
                used = {node.id for node in ast.walk(value) if isinstance(node, ast.Name)}
                if name in used:
                    return True
                pending += sorted(used - seen)
                seen |= used
        return False

    def number(self, node: ast.expr) -> int | None:
        """The integer of an expression of settings, constants and arguments alone."""
        known = {name: value for name in _names(node) if (value := self._number_of(name)) is not None}
        return Replay(lambda one: known.get(one.id) if isinstance(one, ast.Name) else self.settings.resolve(one)).compute(node)

    def _number_of(self, name: str) -> int | None:
        if self.counts(name):
            return None
        given = self.argument(name)
        if given is not None:
            value, scope = given
            return scope.number(value)
        values = self.assigned.get(name, [])
        numbers = {self.settings.resolve(value) for value in values}
        return (numbers.pop() if len(numbers) == 1 else None) or self.settings.resolve(ast.Name(name))

    def start_of(self, name: str) -> int | None:
        """What a number that is counted down starts from."""
        values = self.assigned.get(name, [])
        return self.number(values[0]) if len(values) == 1 else None

    def is_none(self, node: ast.expr) -> bool | None:
        """Whether a parameter is `None`, where the call or the default says so."""
        given = self.argument(node.id) if isinstance(node, ast.Name) else None
        return given[0].value is None if given is not None and isinstance(given[0], ast.Constant) else None

    def argument(self, name: str) -> tuple[ast.expr, Scope] | None:
        """What the caller gives for a parameter, or its default."""
        if name not in self.parameters or name in self.assigned:
            return None
        order, default = self.parameters[name]
        if self.caller is not None:
            call, scope = self.caller
            word = next((word.value for word in call.keywords if word.arg == name), None)
            given = word or (call.args[order] if 0 <= order < len(call.args) else None)
            if given is not None and not isinstance(given, ast.Starred):
                return given, scope
        # A default is made where the function is: names of parameters in it are others.
        own = default is None or any(one in self.parameters for one in _names(default))
        return None if default is None or own else (default, self)

    def sources(self, node: ast.expr, depth: int = 0) -> frozenset[Source]:
        """What an expression depends on; nothing for one of constants and settings."""
        if depth > _DEEPEST or not self.may_look():
            return frozenset({Source.UNKNOWN})
        if isinstance(node, ast.Constant):
            return frozenset()
        if isinstance(node, ast.Name):
            return self._of_name(node.id, depth)
        if isinstance(node, ast.Attribute):
            return self._of_attribute(node)
        if isinstance(node, ast.Call):
            return self._of_call(node, depth)
        if isinstance(node, ast.Subscript):
            return self.sources(node.value, depth + 1)
        parts = [self.sources(child, depth + 1) for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]
        found = frozenset[Source]().union(*parts)
        return found | {Source.SHARE} if isinstance(node, ast.BinOp) and _is_share(node) and Source.LENGTH in found else found

    def _of_name(self, name: str, depth: int) -> frozenset[Source]:
        if name in ALONE:
            return frozenset({Source.RANK})
        if self.counts(name):
            starts = self.assigned.get(name, []) if name in self.falling else []
            return frozenset({Source.COUNT}).union(*(self.sources(start, depth + 1) for start in starts))
        given = self.argument(name)
        if given is not None:
            value, scope = given
            return scope.sources(value, depth + 1)
        values = self.assigned.get(name, [])
        if values and self._number_of(name) is None:
            return frozenset[Source]().union(*(self.sources(value, depth + 1) for value in values))
        known = name not in self.parameters and name not in self.targets and self.settings.resolve(ast.Name(name)) is not None
        return frozenset() if known else frozenset({Source.UNKNOWN})

    def _of_attribute(self, node: ast.Attribute) -> frozenset[Source]:
        if node.attr in _LENGTHS:
            return frozenset({Source.LENGTH})
        if node.attr in _RANKS:
            return frozenset({Source.RANK})
        if self.settings.resolve(node) is not None:
            return frozenset()
        held = self.settings.assigned.get(node.attr, ())
        if any(name_of(call.func) in _LENGTHS for value in held for call in ast.walk(value) if isinstance(call, ast.Call)):
            return frozenset({Source.LENGTH})
        return frozenset({Source.UNKNOWN})

    def _of_call(self, node: ast.Call, depth: int) -> frozenset[Source]:
        name = name_of(node.func)
        if name in _LENGTHS:
            measured = node.args[0] if name == "len" and node.args else node.func
            grows = isinstance(measured, ast.Name) and measured.id in self.grown
            return frozenset({Source.COUNT if grows else Source.LENGTH})
        if name in _RANKS:
            return frozenset({Source.RANK})
        if name in _CLOCKS:
            return frozenset({Source.CLOCK})
        if name in _CHANCE:
            return frozenset({Source.CHANCE})
        receiver = [node.func.value] if name == "item" and isinstance(node.func, ast.Attribute) else []
        parts = [self.sources(one, depth + 1) for one in (*node.args, *receiver)]
        found = frozenset[Source]().union(*parts)
        return found if name in _PLAIN else found | {Source.UNKNOWN}


def grown_by(call: ast.Call) -> str:
    """The name of the list that a call adds to, or nothing."""
    function = call.func
    added = isinstance(function, ast.Attribute) and function.attr in _GROWING and isinstance(function.value, ast.Name)
    return function.value.id if added else ""  # type: ignore[attr-defined]


def _parameters(function: Function | ast.Module) -> dict[str, tuple[int, ast.expr | None]]:
    """The place and the default of each parameter; keyword-only ones have no place (-1)."""
    if isinstance(function, ast.Module):
        return {}
    names = [*function.args.posonlyargs, *function.args.args]
    defaults = [None] * (len(names) - len(function.args.defaults)) + list(function.args.defaults)
    found: dict[str, tuple[int, ast.expr | None]] = {
        name.arg: (place, default) for place, (name, default) in enumerate(zip(names, defaults, strict=True))
    }
    for name, default in zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True):
        found[name.arg] = -1, default
    return found


def _pairs(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(target, ast.Name):
        yield target.id, value
    elif isinstance(target, ast.Tuple | ast.List):
        parts = value.elts if isinstance(value, ast.Tuple | ast.List) and len(value.elts) == len(target.elts) else None
        for place, one in enumerate(target.elts):
            yield from _pairs(one, parts[place] if parts is not None else value)


def _names(node: ast.expr) -> list[str]:
    return [one.id for one in ast.walk(node) if isinstance(one, ast.Name)]


def _is_counter(loop: Loop, name: str) -> bool:
    """The number of an `enumerate` and what it numbers, the one target of a loop (a window's start). Fields of a record are of the
    window itself."""
    if not isinstance(loop, ast.For | ast.AsyncFor):
        return False
    numbered = isinstance(loop.iter, ast.Call) and name_of(loop.iter.func) == "enumerate"
    targets = loop.target.elts if numbered and isinstance(loop.target, ast.Tuple | ast.List) else [loop.target]
    return any(isinstance(target, ast.Name) and target.id == name for target in targets)


def _is_share(node: ast.BinOp) -> bool:
    """`length // 10`, `length * 0.1`."""
    sides = [one.value for one in (node.left, node.right) if isinstance(one, ast.Constant)]
    if isinstance(node.op, ast.Mult):
        return any(isinstance(side, float) and 0 < side < WHOLE for side in sides)
    right = node.right.value if isinstance(node.right, ast.Constant) else None
    return isinstance(node.op, ast.Div | ast.FloorDiv) and right in _SHARES
