"""Evaluating expressions of a script on known values, without running it."""

from __future__ import annotations

import ast
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from verifier.submission.static_library import CONSTANTS, Library
from verifier.submission.static_sites import Sites
from verifier.submission.static_values import (
    UNKNOWN,
    FileHandle,
    LocalFunction,
    ModuleSpec,
    Reference,
    Scope,
    Static,
    Unknown,
    Value,
    attribute,
    binary_operation,
    elements,
    merge_origins,
    subscript,
)

_NESTING = 60
"""Nested expressions and followed calls."""
_MEMBERS = ("loader", "exec_module", "load_module")


@dataclass(frozen=True, slots=True)
class Execution:
    """Text that the script executes. `own_namespace` is true when it runs in a namespace of its own (an embedded module)."""

    runner: str
    source: Static | Unknown
    own_namespace: bool
    node: ast.AST
    scope: Scope | None = None


@dataclass(slots=True)
class Expressions(ABC):
    """Evaluates expressions. `on_execution` is told of each execution; `visited` are the sites that were reached."""

    library: Library
    sites: Sites
    on_execution: Callable[[Execution], None]
    locate: Callable[[ast.AST], None]
    visited: set[int] = field(default_factory=set)
    dead: set[int] = field(default_factory=set)
    """Sites in branches that are never taken (`if False:`)."""
    depth: int = 0
    calls: list[ast.AST] = field(default_factory=list)
    """Local functions that are being followed."""
    uncertain: int = 0
    """Above 0 inside a branch or loop whose condition is not known."""

    @abstractmethod
    def call(self, node: ast.Call, scope: Scope) -> Value:
        """The value of a call, following it where it matters."""

    def evaluate(self, node: ast.expr, scope: Scope) -> Value:
        """The value of an expression, following calls on the way."""
        self.library.budget.step()
        self.depth += 1
        try:
            if self.depth > _NESTING:
                return Unknown("nested too deeply", "layer-limit")
            return self._evaluate(node, scope)
        finally:
            self.depth -= 1

    def _evaluate(self, node: ast.expr, scope: Scope) -> Value:
        match node:
            case ast.Constant():
                return Static(node.value)
            case ast.Name():
                if node.id == "__file__" and "__file__" not in scope.module.names:
                    return Static(self.library.absolute(self.library.path))
                if node.id == "__name__":
                    return scope.module.names.get("__name__", Static("__main__"))
                return scope.lookup(node.id)
            case ast.Attribute():
                return self._attribute(node, scope)
            case ast.Call():
                return self.call(node, scope)
            case ast.BinOp():
                return self._binary(node, scope)
            case ast.Tuple() | ast.List():
                return self._display(node, scope)
            case ast.Dict():
                return self._dict(node, scope)
            case ast.Subscript():
                return self._subscript(node, scope)
            case ast.JoinedStr():
                return self._formatted(node, scope)
            case ast.IfExp():
                truth = self.truth(node.test, scope)
                if truth is None:
                    one, two = self.evaluate(node.body, scope), self.evaluate(node.orelse, scope)
                    return one if one == two else UNKNOWN
                return self.evaluate(node.body if truth else node.orelse, scope)
            case ast.Compare():
                return self._compare(node, scope)
            case ast.UnaryOp():
                operand = self.evaluate(node.operand, scope)
                if isinstance(operand, Static) and isinstance(node.op, ast.Not):
                    return Static(not operand.value)
                if isinstance(operand, Static) and isinstance(operand.value, int) and isinstance(node.op, ast.USub):
                    return Static(-operand.value)
                return UNKNOWN
            case ast.BoolOp():
                return self._boolean(node, scope)
            case ast.NamedExpr():
                value = self.evaluate(node.value, scope)
                self.bind(node.target, value, scope)
                return value
            case ast.Lambda():
                return LocalFunction(node, scope)
            case ast.ListComp() | ast.GeneratorExp() | ast.SetComp():
                return self._comprehension(node.elt, node.generators, scope)
            case ast.DictComp():
                self._comprehension(node.value, node.generators, scope)
                return UNKNOWN
            case ast.Starred() | ast.Await():
                return self.evaluate(node.value, scope)
            case _:
                for child in ast.iter_child_nodes(node):
                    if isinstance(child, ast.expr):
                        self.evaluate(child, scope)
                return UNKNOWN

    def _binary(self, node: ast.BinOp, scope: Scope) -> Value:
        # The left spine of a + b + c + ... is as deep as the chain is long: walk it in a loop.
        spine: list[ast.BinOp] = []
        current: ast.expr = node
        while isinstance(current, ast.BinOp):
            spine.append(current)
            current = current.left
        value = self.evaluate(current, scope)
        for link in reversed(spine):
            self.library.budget.step()
            right = self.evaluate(link.right, scope)
            if isinstance(value, Static) and isinstance(right, Static):
                value = binary_operation(link.op, value, right, self.library.budget)
            else:
                value = next((side for side in (value, right) if isinstance(side, Unknown) and side.reason), UNKNOWN)
        return value

    def _attribute(self, node: ast.Attribute, scope: Scope) -> Value:
        value = self.evaluate(node.value, scope)
        if isinstance(value, Reference):
            name = f"{value.name}.{node.attr}"
            return Static(CONSTANTS[name]) if name in CONSTANTS else Reference(name)
        if isinstance(value, Static):
            return attribute(value, node.attr)
        if isinstance(value, ModuleSpec):
            return replace(value, role=node.attr) if node.attr in _MEMBERS else UNKNOWN
        if isinstance(value, FileHandle) and node.attr == "name":
            return value.path
        return value if isinstance(value, Unknown) else UNKNOWN

    def _display(self, node: ast.Tuple | ast.List, scope: Scope) -> Value:
        known: list[Static] = []
        complete = True
        reason: Value = UNKNOWN
        for element in node.elts:
            value = self.evaluate(element, scope)
            if isinstance(value, Static) and isinstance(element, ast.Starred):
                items = elements(value)
                complete = complete and items is not None
                known.extend(items or [])
            elif isinstance(value, Static):
                known.append(value)
            else:
                complete = False
                if isinstance(value, Unknown) and value.reason:
                    reason = value
        if not complete or not self.library.budget.allocate(8 * len(known)):
            return reason
        raw = [value.value for value in known]
        return Static(tuple(raw) if isinstance(node, ast.Tuple) else raw, merge_origins(known))

    def _dict(self, node: ast.Dict, scope: Scope) -> Value:
        made: dict[object, object] = {}
        parts: list[Static] = []
        complete = True
        for key_node, value_node in zip(node.keys, node.values, strict=True):
            value = self.evaluate(value_node, scope)
            key = self.evaluate(key_node, scope) if key_node is not None else None
            if isinstance(key, Static) and isinstance(value, Static) and isinstance(key.value, str | bytes | int):
                made[key.value] = value.value
                parts.append(value)
            elif key is None and isinstance(value, Static) and isinstance(value.value, dict):
                made.update(value.value)
            elif isinstance(key, Static) and isinstance(key.value, str):
                made[key.value] = None  # a namespace such as {"__name__": "__main__", "torch": torch}
                complete = complete and isinstance(value, Reference)
            else:
                complete = False
        return Static(made, merge_origins(parts)) if complete and self.library.budget.allocate(64 * len(made)) else UNKNOWN

    def _subscript(self, node: ast.Subscript, scope: Scope) -> Value:
        container = self.evaluate(node.value, scope)
        index: Value
        if isinstance(node.slice, ast.Slice):
            bounds: list[int | None] = []
            for part in (node.slice.lower, node.slice.upper, node.slice.step):
                value = self.evaluate(part, scope) if part is not None else Static(None)
                if not isinstance(value, Static) or not isinstance(value.value, int | None):
                    return UNKNOWN
                bounds.append(value.value)
            index = Static(slice(*bounds))
        else:
            index = self.evaluate(node.slice, scope)
        if isinstance(container, Static):
            if isinstance(container.value, str | bytes) and not self.library.budget.allocate(len(container.value)):
                return UNKNOWN
            return subscript(container, index)
        return container if isinstance(container, Unknown) else UNKNOWN

    def _formatted(self, node: ast.JoinedStr, scope: Scope) -> Value:
        parts: list[str] = []
        complete = True
        for piece in node.values:
            value = self.evaluate(piece.value, scope) if isinstance(piece, ast.FormattedValue) else self.evaluate(piece, scope)
            plain = isinstance(piece, ast.Constant) or (
                isinstance(piece, ast.FormattedValue) and piece.format_spec is None and piece.conversion == -1
            )
            if plain and isinstance(value, Static) and isinstance(value.value, str | int | PurePosixPath):
                parts.append(str(value.value))
            else:
                complete = False
        size = sum(map(len, parts))
        return Static("".join(parts)) if complete and self.library.budget.allocate(size) else UNKNOWN

    def _compare(self, node: ast.Compare, scope: Scope) -> Value:
        left = self.evaluate(node.left, scope)
        rights = [self.evaluate(comparator, scope) for comparator in node.comparators]
        if len(rights) != 1 or not isinstance(left, Static) or not isinstance(rights[0], Static):
            return UNKNOWN
        one, two = left.value, rights[0].value
        if not isinstance(one, str | int | bytes | None) or not isinstance(two, str | int | bytes | tuple | list | None):
            return UNKNOWN
        match node.ops[0]:
            case ast.Eq() | ast.Is():
                return Static(one == two)
            case ast.NotEq() | ast.IsNot():
                return Static(one != two)
            case ast.In() if isinstance(two, tuple | list):
                return Static(one in two)
            case ast.NotIn() if isinstance(two, tuple | list):
                return Static(one not in two)
        return UNKNOWN

    def _boolean(self, node: ast.BoolOp, scope: Scope) -> Value:
        wanted = isinstance(node.op, ast.Or)
        last: Value = UNKNOWN
        for position, operand in enumerate(node.values):
            last = self.evaluate(operand, scope)
            if not isinstance(last, Static):
                for rest in node.values[position + 1 :]:
                    self.evaluate(rest, scope)
                return UNKNOWN
            if bool(last.value) is wanted:
                return last
        return last

    def _comprehension(self, element: ast.expr, generators: list[ast.comprehension], scope: Scope) -> Value:
        first = generators[0]
        inner = Scope({}, scope)
        iterable = self.evaluate(first.iter, scope)
        items = elements(iterable) if isinstance(iterable, Static) else None
        if items is None or len(generators) > 1:
            for generator in generators:
                self.bind(generator.target, UNKNOWN, inner)
                for condition in generator.ifs:
                    self.evaluate(condition, inner)
            self.evaluate(element, inner)
            return iterable if isinstance(iterable, Unknown) else UNKNOWN
        made: list[Static] = []
        for item in items:
            self.bind(first.target, item, inner)
            truths = [self.truth(condition, inner) for condition in first.ifs]
            if None in truths:
                return UNKNOWN
            if False in truths:
                continue
            value = self.evaluate(element, inner)
            if not isinstance(value, Static):
                return UNKNOWN
            made.append(value)
        if not self.library.budget.allocate(8 * len(made)):
            return UNKNOWN
        return Static([value.value for value in made], merge_origins(made))

    def assign_name(self, name: str, value: Value, scope: Scope) -> None:
        target = scope.module if f"<global {name}>" in scope.names else scope
        target.names[name] = value

    def bind(self, target: ast.expr, value: Value, scope: Scope) -> None:
        match target:
            case ast.Name():
                self.assign_name(target.id, value, scope)
            case ast.Tuple() | ast.List():
                items = elements(value) if isinstance(value, Static) else None
                fits = items is not None and len(items) == len(target.elts)
                for number, element in enumerate(target.elts):
                    inner = element.value if isinstance(element, ast.Starred) else element
                    starred = isinstance(element, ast.Starred)
                    self.bind(inner, items[number] if items is not None and fits and not starred else UNKNOWN, scope)
            case ast.Subscript():
                self.evaluate(target.slice, scope)
                if isinstance(target.value, ast.Name):
                    container = scope.lookup(target.value.id)
                    if isinstance(container, Static):
                        self.assign_name(target.value.id, self._with_item(container, target.slice, value, scope), scope)
                else:
                    self.evaluate(target.value, scope)
            case ast.Attribute():
                self.evaluate(target.value, scope)

    def _with_item(self, container: Static, index: ast.expr, value: Value, scope: Scope) -> Value:
        key = self.evaluate(index, scope)
        if not isinstance(key, Static) or not isinstance(value, Static) or not self.library.budget.allocate(64):
            return UNKNOWN
        try:
            if isinstance(container.value, dict):
                return Static({**container.value, key.value: value.value}, merge_origins((container, value)))
            if isinstance(container.value, list) and isinstance(key.value, int):
                items = list(container.value)
                items[key.value] = value.value
                return Static(items, merge_origins((container, value)))
        except (TypeError, IndexError):
            return UNKNOWN
        return UNKNOWN

    def truth(self, node: ast.expr, scope: Scope) -> bool | None:
        """Whether a condition holds, `None` if that is not known."""
        value = self.evaluate(node, scope)
        if isinstance(value, Static) and not isinstance(value.value, PurePosixPath):
            return bool(value.value)
        return None
