"""Replaying the window arithmetic of an evaluation loop with small numbers: which targets does each window score?

Only integers and lists of integers are computed; everything else (tensors, models) is opaque. Loops run for real, on a text that
is short enough, so filters, clipped ends and offsets do what they do in the script. Anything that decides which targets are
scored and can't be computed ends the replay with `Unknown`.
"""

from __future__ import annotations

import ast
from contextlib import suppress

from audits.coverage.expressions import Expressions, name_of
from audits.coverage.values import OPAQUE, Known, Scored, Unknown, is_loss, opaque, window_start


class _Leave(Exception):
    """`continue`, `break` or `return`."""

    def __init__(self, kind: type[ast.stmt], value: Known = None) -> None:
        self.kind = kind
        self.value = value


class Replay(Expressions):
    """One replay of one function."""

    def run(self, function: ast.FunctionDef | ast.AsyncFunctionDef, names: dict[str, Known]) -> Scored:
        with suppress(_Leave):
            self._block(function.body, names)
        return self.scored

    def compute(self, node: ast.expr) -> int | None:
        """The integer of an expression of settings alone."""
        try:
            value = self.value(node, {})
        except Unknown:
            return None
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def _block(self, body: list[ast.stmt], names: dict[str, Known]) -> None:
        for statement in body:
            self._statement(statement, names)

    def _statement(self, node: ast.stmt, names: dict[str, Known]) -> None:
        self.tick()
        if isinstance(node, ast.Assign):
            value = self.value(node.value, names)
            if self.counted and self.window and isinstance(node.value, ast.Subscript):
                # A loop over row numbers: the first thing looked up by row is the window's start.
                start = window_start(value)
                if start is not None:
                    self.window[-1], self.counted = start, False
            for target in node.targets:
                self.bind(target, value, names)
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            self.bind(node.target, self.value(node.value, names), names)
        elif isinstance(node, ast.AugAssign):
            self._augment(node, names)
        elif isinstance(node, ast.Expr):
            self.value(node.value, names)
        elif isinstance(node, ast.If):
            self._if(node, names)
        elif isinstance(node, ast.For):
            self._for(node, names)
        elif isinstance(node, ast.With | ast.Try):
            self._block(node.body, names)
        elif isinstance(node, ast.Return):
            raise _Leave(ast.Return, self.value(node.value, names) if node.value is not None else None)
        elif isinstance(node, ast.Continue | ast.Break):
            raise _Leave(type(node))
        elif isinstance(node, ast.While) and self.value(node.test, names) not in (False, 0, None):
            raise Unknown("a while loop")

    def _augment(self, node: ast.AugAssign, names: dict[str, Known]) -> None:
        added = self.value(node.value, names)
        if isinstance(node.target, ast.Name):
            names[node.target.id] = self.calculate(names.get(node.target.id, OPAQUE), type(node.op), added)

    def _if(self, node: ast.If, names: dict[str, Known]) -> None:
        test = self.value(node.test, names)
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
                self.scored.passed_over |= outcome.kind is not ast.Return
                names.clear()
                names.update(other)
                self._block(node.orelse, names)
                return
            self._block(node.orelse, other)
            for name, value in other.items():
                if names.get(name) != value:
                    names[name] = opaque(is_loss(value) or is_loss(names.get(name)))

    def _for(self, node: ast.For, names: dict[str, Known]) -> None:
        source = self.value(node.iter, names)
        if not isinstance(source, list):
            items: list[Known] = [opaque(is_loss(source))]
        else:
            items = source
        for item in items:
            self.bind(node.target, item, names)
            start = window_start(item)
            outer = self.counted, self.numbered
            self.counted, self.numbered = _is_plain_range(node.iter), False
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
                self.counted, self.numbered = outer
                if start is not None:
                    self.window.pop()

    def run_helper(self, function: ast.FunctionDef, args: list[Known]) -> Known:
        parameters = [*function.args.posonlyargs, *function.args.args]
        names: dict[str, Known] = {parameter.arg: OPAQUE for parameter in (*parameters, *function.args.kwonlyargs)}
        names |= {parameter.arg: value for parameter, value in zip(parameters, args, strict=False)}
        self.depth += 1
        try:
            self._block(function.body, names)
        except _Leave as leave:
            return leave.value
        finally:
            self.depth -= 1
        return None


def _is_plain_range(source: ast.expr) -> bool:
    return isinstance(source, ast.Call) and name_of(source.func) == "range" and len(source.args) == 1
