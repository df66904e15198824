"""Where the numbers that a C function is given end up: marks that follow data and conditions, through calls and structures.

Each loop is followed once from the state before it, so what a place holds at an output is what it held before the later
statements of the same round. Arrays are one place; fields are places of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from verifier.program.c_reader import CExpr, CFunction, CStatement

type Marks = frozenset[str]

NO_MARKS: Marks = frozenset()
MOST_STEPS = 40_000
"""Statements and expressions of one run that are followed."""
_CALLS = 12
"""Calls within calls."""
SPREAD = "spread"
"""A score divided by something that a token decides."""
MIXED = "mixed"
"""A logarithm of something that holds a spread score."""
_LOGARITHMS = frozenset({"log", "log2", "log10", "log1p", "logf", "log2f", "log1pf"})


@dataclass(frozen=True, slots=True)
class Output:
    """A write to an array parameter: the marks of the value and of the conditions around it."""

    parameter: str
    line: int
    value: Marks
    conditions: tuple[tuple[int, Marks], ...]
    by_position: bool
    """Written at a place that a loop variable names."""


@dataclass
class _Frame:
    number: int
    function: CFunction
    aliases: dict[str, str] = field(default_factory=dict)
    loops: set[str] = field(default_factory=set)
    conditions: list[tuple[int, Marks]] = field(default_factory=list)
    returned: Marks = NO_MARKS


@dataclass
class FunctionFlow:
    """Runs a function with marks on its parameters' elements. `score` and `token` name the marks that make a spread."""

    functions: Mapping[str, CFunction]
    token: str = "token"
    score: str = "score"
    outputs: list[Output] = field(default_factory=list)
    exhausted: bool = False
    _places: dict[str, Marks] = field(default_factory=dict)
    _frames: int = 0
    _steps: int = 0
    _depth: int = 0
    _entry: frozenset[str] = frozenset()
    _elements: Mapping[str, Marks] = field(default_factory=dict)

    def run(self, name: str, elements: Mapping[str, Marks]) -> None:
        """Follow the function of that name; `elements` are the marks of what array parameters hold, by parameter."""
        self.run_function(self.functions[name], elements)

    def run_function(self, function: CFunction, elements: Mapping[str, Marks]) -> None:
        frame = self._frame(function)
        self._entry = frozenset(parameter.name for parameter in function.parameters if parameter.pointer)
        for parameter in self._entry:
            frame.aliases[parameter] = "parameter:" + parameter
        self._elements = {"parameter:" + parameter: marks for parameter, marks in elements.items()}
        self._block(function.body, frame)

    def _frame(self, function: CFunction) -> _Frame:
        self._frames += 1
        return _Frame(self._frames, function)

    def _spend(self) -> bool:
        self._steps += 1
        self.exhausted = self.exhausted or self._steps > MOST_STEPS
        return self.exhausted

    # Statements.

    def _block(self, statements: tuple[CStatement, ...], frame: _Frame) -> None:
        start = len(frame.conditions)
        for statement in statements:
            if self._spend():
                break
            self._statement(statement, frame)
        del frame.conditions[start:]

    def _statement(self, statement: CStatement, frame: _Frame) -> None:
        if statement.kind == "declare":
            place = self._local(frame, statement.name)
            frame.aliases.pop(statement.name, None)
            if statement.value is not None:
                target = self._pointed(statement.value, frame)
                if target is not None:
                    frame.aliases[statement.name] = target
                self._places[place] = self._value(statement.value, frame) | self._guarded(frame)
        elif statement.kind == "expr" and statement.value is not None:
            self._value(statement.value, frame)
        elif statement.kind == "block":
            self._block(statement.body, frame)
        elif statement.kind == "if" and statement.value is not None:
            marks = self._value(statement.value, frame)
            frame.conditions.append((statement.line, marks))
            self._block(statement.body, frame)
            self._block(statement.other, frame)
            if not (_leaves(statement.body) or _leaves(statement.other)):
                frame.conditions.pop()  # otherwise the rest only runs when the condition allows it
        elif statement.kind == "loop":
            self._loop(statement, frame)
        elif statement.kind == "leave" and statement.value is not None:
            frame.returned |= self._value(statement.value, frame) | self._guarded(frame)

    def _loop(self, statement: CStatement, frame: _Frame) -> None:
        counters = {one.name for one in statement.first if one.kind == "declare"}
        counters |= {_assigned(one.value) for one in statement.first if one.kind == "expr" and one.value is not None}
        for one in statement.first:
            self._statement(one, frame)
        added = counters - frame.loops
        frame.loops |= added
        frame.conditions.append(
            (statement.line, self._value(statement.value, frame) if statement.value is not None else NO_MARKS)
        )
        start = len(frame.conditions)
        for one in statement.body:
            if self._spend():
                break
            for each in one.body if one.kind == "block" else (one,):
                self._statement(each, frame)
        del frame.conditions[start - 1 :]
        frame.loops -= added

    def _guarded(self, frame: _Frame) -> Marks:
        return frozenset(mark for _, marks in frame.conditions for mark in marks)

    # Expressions.

    def _value(self, value: CExpr, frame: _Frame) -> Marks:
        if self._spend():
            return NO_MARKS
        if value.kind == "assign":
            return self._assign(value, frame)
        if value.kind == "call":
            return self._call(value, frame)
        if value.kind in ("name", "index", "member") or (value.kind == "op" and value.text == "unary*"):
            return self._read(value, frame)
        marks = [self._value(one, frame) for one in value.args]
        joined = frozenset(mark for one in marks for mark in one)
        if value.kind == "op" and value.text == "/" and self.score in marks[0] and self.token in marks[1]:
            return joined | {SPREAD}
        return joined

    def _read(self, value: CExpr, frame: _Frame) -> Marks:
        place = self._place(value, frame)
        marks = self._inside(value, frame)
        if place is None:
            return marks
        if value.kind == "index":
            held = self._elements.get(place)
            if held is not None:
                here = self._names_position(value.args[1], frame)
                marks |= held if here else NO_MARKS
        parts = place.split(".")
        for number in range(1, len(parts) + 1):
            marks |= self._places.get(".".join(parts[:number]), NO_MARKS)
        return marks

    def _inside(self, value: CExpr, frame: _Frame) -> Marks:
        """What decides which element is read."""
        if value.kind == "index":
            return self._inside(value.args[0], frame) | self._value(value.args[1], frame)
        if value.kind in ("member", "op"):
            return self._inside(value.args[0], frame)
        return self._value(value, frame) if value.kind in ("call", "choose", "assign") else NO_MARKS

    def _names_position(self, place: CExpr, frame: _Frame) -> bool:
        """Whether an index is the position itself: earlier positions are the past."""
        return place.kind == "name" and (place.text in frame.loops or frame.number > 1)

    def _assign(self, value: CExpr, frame: _Frame) -> Marks:
        target, right = value.args
        marks = self._value(right, frame)
        if value.text != "=":
            marks |= self._read(target, frame)
        guarded = marks | self._guarded(frame) | (self._inside(target, frame) if target.kind != "name" else NO_MARKS)
        place = self._place(target, frame)
        if place is None:
            return marks
        if target.kind == "name":
            pointed = self._pointed(right, frame) if value.text == "=" else None
            if pointed is not None:
                frame.aliases[target.text] = pointed
            self._places[place] = guarded
        else:
            self._places[place] = self._places.get(place, NO_MARKS) | guarded
        root = place.removeprefix("parameter:")
        if place.startswith("parameter:") and root in self._entry:
            here = target.kind == "index" and self._names_position(target.args[1], frame)
            self.outputs.append(Output(root, value.line, marks, tuple(frame.conditions), here))
        return marks

    def _call(self, value: CExpr, frame: _Frame) -> Marks:
        marks = [self._value(one, frame) for one in value.args]
        joined = frozenset(mark for one in marks for mark in one)
        if value.text in _LOGARITHMS and SPREAD in joined:
            return joined | {MIXED}
        function = self.functions.get(value.text)
        if function is None or self._depth >= _CALLS:
            for one in value.args:  # something unknown may write to what it is given an address of
                place = self._pointed(one, frame)
                if place is not None and joined:
                    self._places[place] = self._places.get(place, NO_MARKS) | joined
            return joined
        inner = self._frame(function)
        inner.conditions = list(frame.conditions)
        for parameter, argument, mark in zip(function.parameters, value.args, marks, strict=False):
            place = self._pointed(argument, frame) if parameter.pointer else None
            if place is not None:
                inner.aliases[parameter.name] = place
            else:
                self._places[self._local(inner, parameter.name)] = mark
        self._depth += 1
        self._block(function.body, inner)
        self._depth -= 1
        return inner.returned

    # Places.

    def _local(self, frame: _Frame, name: str) -> str:
        return f"{frame.number}:{name}"

    def _place(self, value: CExpr, frame: _Frame) -> str | None:
        if value.kind == "name":
            return frame.aliases.get(value.text) or self._local(frame, value.text)
        if value.kind == "member":
            base = self._place(value.args[0], frame)
            return f"{base}.{value.text}" if base is not None and base.count(".") < 6 else base
        if value.kind == "index" or (value.kind == "op" and value.text in ("unary*", "unary&")):
            return self._place(value.args[0], frame)
        if value.kind == "op" and value.text in ("+", "-"):
            return self._place(value.args[0], frame)
        return None

    def _pointed(self, value: CExpr, frame: _Frame) -> str | None:
        """The place whose address a value is, if it is one."""
        if value.kind == "op" and value.text == "unary&":
            return self._place(value.args[0], frame)
        if value.kind == "name":
            return frame.aliases.get(value.text) or (
                self._local(frame, value.text) if value.text in self._arrays(frame) else None
            )
        if value.kind == "member":
            return self._place(value, frame)
        if value.kind == "op" and value.text in ("+", "-") and value.args[0].kind in ("name", "member"):
            return self._pointed(value.args[0], frame)
        return None

    def _arrays(self, frame: _Frame) -> frozenset[str]:
        """Names that stand for places rather than numbers when they are passed on."""
        return frozenset(name for name in _declared(frame.function.body))


def _declared(statements: tuple[CStatement, ...]) -> list[str]:
    found: list[str] = []
    for one in statements:
        if one.kind == "declare":
            found.append(one.name)
        found += _declared(one.body) + _declared(one.other) + _declared(one.first)
    return found


def _leaves(statements: tuple[CStatement, ...]) -> bool:
    return any(one.kind == "leave" or (one.kind == "block" and _leaves(one.body)) for one in statements)


def _assigned(value: CExpr) -> str:
    return value.args[0].text if value.kind == "assign" and value.args[0].kind == "name" else ""
