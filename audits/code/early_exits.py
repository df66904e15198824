"""Ways around a line: returns, skips and ends of a loop that may be taken before it is reached."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from verifier.program.analysis import Analysis, ProgramText
from verifier.program.events import Event, Trace
from verifier.program.values import Site


def way_around(analysis: Analysis, event: Event) -> tuple[Site, str] | None:
    """The first place, with its text, where a run may leave before it comes to what an event says: in the function of the event or in
    one that called it. A way out whose condition is known not to hold is none; an exception that ends the run is none either."""
    for site in (event.site, *reversed(event.stack)):
        text = analysis.text_at(site)
        if text is None:
            continue
        scope = next((function for _, function in analysis.functions_at(site)), text.parsed.module)
        for leave, holders in _leaves(text, scope, site.line):
            tests = [one for one in holders if isinstance(one, ast.If) and not _within([one], site.line)]
            if all(_may_lead(analysis.run, text, test, leave.lineno) for test in tests):
                shown, line = (ast.unparse(tests[-1].test), tests[-1].lineno) if tests else (ast.unparse(leave), leave.lineno)
                return Site(text.path, text.layer, line), shown.split("\n")[0]
    return None


def _leaves(text: ProgramText, scope: ast.AST, line: int) -> Iterator[tuple[ast.stmt, list[ast.AST]]]:
    """Statements that end the function, or the round or the loop that the line stands in, before the line; and a `break` that keeps a
    loop's `else`, where the line stands, from being run. Each with what it stands in."""
    for node in text.parsed.own(scope):
        if isinstance(node, ast.Return) and node.lineno < line:
            yield node, list(_holders(text, node))
        for name in ("body", "orelse", "finalbody"):
            inside = getattr(node, name, None)
            for leave in inside if isinstance(inside, list) else ():
                if not isinstance(leave, ast.Continue | ast.Break) or leave.lineno >= line:
                    continue
                holders = [node, *_holders(text, node)]
                loop = next((one for one in holders if isinstance(one, ast.For | ast.AsyncFor | ast.While)), None)
                if loop is not None and (
                    _within(loop.body, line) or (isinstance(leave, ast.Break) and _within(loop.orelse, line))
                ):
                    yield leave, holders


def _may_lead(trace: Trace, text: ProgramText, test: ast.If, line: int) -> bool:
    """Whether a condition lets a run come to a line inside it, by what is known of the run; one that was never come to does not."""
    branch = trace.branches.get(Site(text.path, text.layer, test.lineno))
    return branch is not None and any(outcome in (None, not _within(test.orelse, line)) for outcome in branch.outcomes)


def _holders(text: ProgramText, node: ast.AST) -> Iterator[ast.AST]:
    holder = text.parsed.parents.get(id(node))
    while holder is not None:
        yield holder
        holder = text.parsed.parents.get(id(holder))


def _within(body: list[ast.stmt], line: int) -> bool:
    return bool(body) and body[0].lineno <= line <= (body[-1].end_lineno or 0)
