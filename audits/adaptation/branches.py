"""Branches that exclude each other: the abstract run walks both sides of a condition that it does not know."""

from __future__ import annotations

import ast

from verifier.program.analysis import Analysis
from verifier.program.events import Event, Guard, Trace
from verifier.program.values import Site


def exclude_each_other(analysis: Analysis, trace: Trace, before: Event, after: Event) -> bool:
    """Whether no run has both events in one iteration of the loops around them: they stand on two sides of one condition, or the
    first one's side leaves before the second is reached."""
    now = dict(after.loops)
    sides = {guard.site: guard.taken for guard in after.guards}
    for guard in before.guards:
        statement = _statement(analysis, guard.site, ast.If)
        if not isinstance(statement, ast.If) or not _in_one_iteration(analysis, trace, before, guard, now):
            continue
        if sides.get(guard.site, guard.taken) != guard.taken:
            return True
        body = statement.body if guard.taken else statement.orelse
        if guard.site not in sides and body and isinstance(body[-1], ast.Continue | ast.Break | ast.Return | ast.Raise):
            return True
    return False


def _in_one_iteration(analysis: Analysis, trace: Trace, before: Event, guard: Guard, now: dict[int, int]) -> bool:
    """Whether the innermost loop around the condition is in the same iteration at both events."""
    for key, ordinal in reversed(before.loops):
        loop = trace.loops[key].site
        if (loop.path, loop.layer) == (guard.site.path, guard.site.layer):
            statement = _statement(analysis, loop, ast.For, ast.While, ast.AsyncFor)
            if statement is not None and statement.lineno <= guard.site.line <= (statement.end_lineno or 0):
                return now.get(key) == ordinal
    return False


def _statement(analysis: Analysis, site: Site, *kinds: type[ast.stmt]) -> ast.stmt | None:
    for text in analysis.trees:
        if (text.path, text.layer) == (site.path, site.layer):
            for node in text.parsed.of(*kinds):
                if isinstance(node, ast.stmt) and node.lineno == site.line:
                    return node
    return None
