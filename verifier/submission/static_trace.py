"""Following a script's statements without running it, to see which text ends up executed.

The trace evaluates assignments, branches and small loops on known values only. Soundness rests on a cross-check: every place
in the syntax tree that can execute text (`find_sites`) must have been reached by the trace with known text; whatever is left
is reported as opaque.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass

from verifier.submission.python_tree import ParsedTree
from verifier.submission.static_calls import Calls, LoopSignal, ReturnSignal
from verifier.submission.static_values import (
    UNKNOWN,
    LocalFunction,
    Reference,
    Scope,
    Static,
    Value,
    binary_operation,
    elements,
    merge_origins,
)


@dataclass(slots=True)
class Trace(Calls):
    """One walk over a module."""

    def run(self, tree: ParsedTree, scope: Scope) -> None:
        """Trace the module, then every function with a site that was not reached, with unknown arguments."""
        self.block(tree.module.body, scope)
        for identity in (*self.sites.nodes, *self.sites.callers):
            if identity in self.visited or identity in self.dead:
                continue
            functions = [node for node in self.sites.functions[identity] if not isinstance(node, ast.Lambda)]
            if functions:
                outer = functions[0]
                assert isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef)
                self.call_function(LocalFunction(outer, scope), [], {}, known=False)

        for identity, node in self.sites.callers.items():
            target = scope.lookup(node.id)
            if identity not in self.visited and identity not in self.dead and isinstance(target, LocalFunction):
                self.call_function(target, [], {}, known=False)

    @property
    def may_execute(self) -> bool:
        """Whether the text has a place that executes text at all (not only decoders)."""
        return len(self.sites.nodes) > len(self.sites.harmless)

    def unreached(self) -> list[ast.expr]:
        """Sites that the trace never evaluated in call position."""
        seen = self.visited | self.dead | self.sites.harmless
        return [node for identity, node in self.sites.nodes.items() if identity not in seen]

    # -- statements ------------------------------------------------------------------------------------------------------

    def block(self, statements: Sequence[ast.stmt], scope: Scope) -> None:
        for statement in statements:
            self.library.budget.step()
            if self.depth == 0 or not self.calls:
                self.locate(statement)
            self.statement(statement, scope)

    def statement(self, node: ast.stmt, scope: Scope) -> None:
        match node:
            case ast.Assign():
                value = self.evaluate(node.value, scope)
                if isinstance(value, Reference) and isinstance(node.value, ast.Name):
                    self.visited.add(id(node.value))  # a renaming; its calls are sites themselves
                for target in node.targets:
                    self.bind(target, value, scope)
            case ast.AnnAssign():
                if node.value is not None:
                    self.bind(node.target, self.evaluate(node.value, scope), scope)
            case ast.AugAssign():
                self._augmented(node, scope)
            case ast.Expr():
                self._expression_statement(node.value, scope)
            case ast.Import():
                for alias in node.names:
                    name = alias.name if alias.asname else alias.name.split(".")[0]
                    scope.names[alias.asname or name] = Reference(name)
            case ast.ImportFrom():
                for alias in node.names:
                    scope.names[alias.asname or alias.name] = Reference(f"{node.module or ''}.{alias.name}")
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                for expression in (*node.decorator_list, *node.args.defaults, *[d for d in node.args.kw_defaults if d]):
                    self.evaluate(expression, scope)
                scope.names[node.name] = LocalFunction(node, scope)
            case ast.ClassDef():
                for expression in (*node.decorator_list, *node.bases):
                    self.evaluate(expression, scope)
                self.block(node.body, Scope({}, scope))
                scope.names[node.name] = UNKNOWN
            case ast.If():
                self._branch(node, scope)
            case ast.For() | ast.AsyncFor():
                self._for(node, scope)
            case ast.While():
                self._while(node, scope)
            case ast.With() | ast.AsyncWith():
                for item in node.items:
                    value = self.evaluate(item.context_expr, scope)
                    if item.optional_vars is not None:
                        self.bind(item.optional_vars, value, scope)
                self.block(node.body, scope)
            case ast.Try() | ast.TryStar():
                self._try(node, scope)
            case ast.Return():
                value = self.evaluate(node.value, scope) if node.value is not None else Static(None)
                if self.calls and not self.uncertain:
                    raise ReturnSignal(value)
                if self.calls:
                    scope.names["<return>"] = UNKNOWN
            case ast.Break() | ast.Continue():
                if not self.uncertain:
                    raise LoopSignal(isinstance(node, ast.Continue))
            case ast.Delete():
                for target in node.targets:
                    if isinstance(target, ast.Name):
                        scope.names.pop(target.id, None)
            case ast.Global():
                for name in node.names:
                    scope.names.setdefault(f"<global {name}>", Static(True))
            case ast.Match():
                self.evaluate(node.subject, scope)
                self._alternatives([case.body for case in node.cases], scope)
            case ast.Assert():
                self.evaluate(node.test, scope)
            case ast.Raise():
                if node.exc is not None:
                    self.evaluate(node.exc, scope)

    def _expression_statement(self, node: ast.expr, scope: Scope) -> None:
        self.evaluate(node, scope)
        # x.append(y) and the like rebind x to the new list.
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
            and node.func.attr in ("append", "extend", "insert", "update", "pop", "clear", "sort", "reverse", "remove")
        ):
            name = node.func.value.id
            before = scope.lookup(name)
            if not isinstance(before, Static):
                return
            after: Value = UNKNOWN
            if node.func.attr in ("append", "extend") and len(node.args) == 1 and isinstance(before.value, list):
                added = self.evaluate(node.args[0], scope)
                if isinstance(added, Static):
                    items = [added] if node.func.attr == "append" else elements(added)
                    if items is not None and self.library.budget.allocate(8 * len(before.value)):
                        origin = merge_origins((before, added))
                        after = Static([*before.value, *(item.value for item in items)], origin)
            self.assign_name(name, after, scope)

    def _augmented(self, node: ast.AugAssign, scope: Scope) -> None:
        value = self.evaluate(node.value, scope)
        result: Value = UNKNOWN
        if isinstance(node.target, ast.Name):
            before = scope.lookup(node.target.id)
            if isinstance(before, Static) and isinstance(value, Static):
                result = binary_operation(node.op, before, value, self.library.budget)
        self.bind(node.target, result, scope)

    def _branch(self, node: ast.If, scope: Scope) -> None:
        truth = self.truth(node.test, scope)
        if truth is None:
            self._alternatives([node.body, node.orelse], scope)
            return
        skipped, taken = (node.orelse, node.body) if truth else (node.body, node.orelse)
        if not self.uncertain and len(self.calls) == 0:
            for statement in skipped:
                self.dead.update(id(inner) for inner in ast.walk(statement) if id(inner) in self.sites.functions)
        self.block(taken, scope)

    def _alternatives(self, bodies: Sequence[Sequence[ast.stmt]], scope: Scope) -> None:
        """Blocks of which any one may run: what they disagree on is unknown afterwards."""
        before = dict(scope.names)
        outcomes: list[dict[str, Value]] = []
        self.uncertain += 1
        try:
            for body in bodies:
                scope.names = dict(before)
                self.block(body, scope)
                outcomes.append(scope.names)
        finally:
            self.uncertain -= 1
        scope.names = _agreed(outcomes)

    def _for(self, node: ast.For | ast.AsyncFor, scope: Scope) -> None:
        iterable = self.evaluate(node.iter, scope)
        items = elements(iterable) if isinstance(iterable, Static) else None
        if items is not None and len(items) <= 4_096 and not self.uncertain:
            for item in items:
                self.bind(node.target, item, scope)
                try:
                    self.block(node.body, scope)
                except LoopSignal as leaving:
                    if not leaving.again:
                        return
            self.block(node.orelse, scope)
            return
        self._unknown_loop([node.body, node.orelse], scope, node.target)

    def _while(self, node: ast.While, scope: Scope) -> None:
        if self.truth(node.test, scope) is False:
            self.block(node.orelse, scope)
            return
        self._unknown_loop([node.body, node.orelse], scope, None)

    def _unknown_loop(self, bodies: Sequence[Sequence[ast.stmt]], scope: Scope, target: ast.expr | None) -> None:
        """A loop that runs an unknown number of times: names it assigns are unknown before and after."""
        assigned = _assigned_names(bodies)
        for name in assigned:
            if name in scope.names and not isinstance(scope.names[name], Reference | LocalFunction):
                scope.names[name] = UNKNOWN
        if target is not None:
            self.bind(target, UNKNOWN, scope)
        self._alternatives([*bodies, []], scope)
        for name in assigned:
            if not isinstance(scope.names.get(name), Reference | LocalFunction | None):
                scope.names[name] = UNKNOWN

    def _try(self, node: ast.Try | ast.TryStar, scope: Scope) -> None:
        """The body as written; handlers as alternatives, except that an import that may fail keeps its meaning."""
        before = dict(scope.names)
        self.block(node.body, scope)
        after = scope.names
        self.uncertain += 1
        try:
            for handler in node.handlers:
                scope.names = dict(before)
                if handler.name:
                    scope.names[handler.name] = UNKNOWN
                self.block(handler.body, scope)
                for name, value in scope.names.items():
                    kept = after.get(name)
                    if kept is None or (value is not before.get(name) and value != kept and not isinstance(kept, Reference)):
                        after[name] = UNKNOWN if kept is not None else value
        finally:
            self.uncertain -= 1
            scope.names = after
        self.block(node.orelse, scope)
        self.block(node.finalbody, scope)


def _assigned_names(bodies: Sequence[Sequence[ast.stmt]]) -> set[str]:
    names: set[str] = set()
    for body in bodies:
        for statement in body:
            for node in ast.walk(statement):
                if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
                    names.add(node.id)
                elif (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Attribute)
                    and isinstance(node.func.value, ast.Name)
                    and node.func.attr in ("append", "extend", "insert", "update", "pop")
                ):
                    names.add(node.func.value.id)
    return names


def _agreed(outcomes: Sequence[dict[str, Value]]) -> dict[str, Value]:
    """Names whose value is the same whichever block ran; others become unknown."""
    merged: dict[str, Value] = {}
    for name in {name: None for outcome in outcomes for name in outcome}:
        values = [outcome[name] for outcome in outcomes if name in outcome]
        first = values[0]
        same = all(value is first or value == first for value in values[1:])
        if same and len(values) == len(outcomes):
            merged[name] = first
        elif same and isinstance(first, Reference | LocalFunction):
            merged[name] = first  # defined in one branch only: an import or a function
        else:
            merged[name] = UNKNOWN
    return merged
