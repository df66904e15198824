"""The ways out of a loop's iteration, and the conditions on the way to a line in it."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from audits.coverage.expressions import name_of
from audits.coverage.scored_loops import Loop, ScoredLoop

_AT_THE_END = frozenset({"StopIteration", "IndexError", "Empty", "EOFError"})
type Leave = ast.Break | ast.Continue | ast.Return | ast.Raise
type Test = tuple[ast.expr, bool]
"""A condition and the value under which windows are left out."""


def handed_on(node: ast.AST) -> int:
    """The line where a loop that makes windows gives one out, or 0."""
    if isinstance(node, ast.Yield | ast.YieldFrom) or (isinstance(node, ast.Call) and name_of(node.func) == "append"):
        return node.lineno
    return 0


def ways_out(loop: Loop) -> Iterator[tuple[Leave, list[Test] | None]]:
    """Every way out of an iteration with the conditions around it: none where they are not known, None where the text is used up."""
    pending: list[tuple[ast.AST, list[Test] | None, bool]] = [(node, [], True) for node in reversed(loop.body)]
    while pending:
        node, tests, own = pending.pop()
        stops = isinstance(node, ast.Raise) and node.exc is not None and name_of(_called_or(node.exc)) == "StopIteration"
        if isinstance(node, ast.Return) or stops or (own and isinstance(node, ast.Break | ast.Continue)):
            assert isinstance(node, ast.Return | ast.Raise | ast.Break | ast.Continue)
            yield node, tests
        elif isinstance(node, ast.If):
            for body, value in ((node.orelse, False), (node.body, True)):
                added = None if tests is None else [*tests, (node.test, value)]
                pending += [(one, added, own) for one in reversed(body)]
        elif isinstance(node, ast.For | ast.AsyncFor | ast.While):
            # What leaves an inner loop stays in this one, except `return`, whose conditions may be about the inner one.
            pending += [(one, [], False) for one in reversed(node.body)]
            pending += [(one, tests, own) for one in reversed(node.orelse)]
        elif isinstance(node, ast.Try | ast.TryStar):
            pending += [(one, tests, own) for one in (*node.finalbody, *node.orelse, *reversed(node.body))]
            for handler in node.handlers:
                ended = handler.type is not None and any(
                    name_of(one) in _AT_THE_END for one in ast.walk(handler.type) if isinstance(one, ast.expr)
                )
                pending += [(one, None if ended else [], own) for one in handler.body]
        elif isinstance(node, ast.With | ast.AsyncWith):
            pending += [(one, tests, own) for one in reversed(node.body)]
        elif isinstance(node, ast.Match):
            pending += [(one, [], own) for case in node.cases for one in case.body]


def conditions_on(loop: ScoredLoop, line: int) -> list[Test]:
    """The conditions in the loop, not in one inside it, under which this line is reached."""
    found: list[Test] = []
    parents = loop.text.parsed.parents
    for node in loop.text.parsed.inside(loop.node):
        if isinstance(node, ast.If) and node.lineno <= line <= (node.end_lineno or 0):
            holder = parents.get(id(node))
            while isinstance(holder, ast.If | ast.With | ast.AsyncWith | ast.Try):
                holder = parents.get(id(holder))
            if holder is not loop.node:
                continue
            for body, value in ((node.body, True), (node.orelse, False)):
                if body and body[0].lineno <= line <= (body[-1].end_lineno or 0):
                    found.append((node.test, value))
    return found


def _called_or(node: ast.expr) -> ast.expr:
    return node.func if isinstance(node, ast.Call) else node
