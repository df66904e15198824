"""Gates of which the claimed runs print that they never opened, and arrays that are cleared after they were written."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from audits.mixtures.flow import Flow
from verifier.engine.context import Context
from verifier.ledger.claims import claimed_runs
from verifier.program.analysis import Analysis, ProgramText
from verifier.program.values import Site

_FIELD = re.compile(r"(\w{1,60})\s{0,2}[=:]\s{0,2}$")
_COUNTS = frozenset({"sum", "count_nonzero", "any"})


def closed_by_logs(context: Context, analysis: Analysis, flow: Flow) -> frozenset[int]:
    """Nodes that are assigned to a name whose sum every claimed run's log prints as zero: `gate={int(gate.sum())}` with `gate=0`."""
    logs = {log.path: log for log in context.submission.logs}
    claimed = [logs[run.path] for run in claimed_runs(context.submission) if run.path in logs]
    if not claimed:
        return frozenset()
    sites: set[Site] = set()
    for text in analysis.trees:
        for field, name, holder in _summed_fields(text):
            zero = re.compile(rf"(?<!\w){re.escape(field)}\s{{0,2}}[=:]\s{{0,2}}(?:0|False)(?![\w.])")
            if all(any(zero.search(line) for _, line in log.kinds) for log in claimed):
                for node in text.parsed.own(holder):
                    if isinstance(node, ast.Assign) and any(isinstance(one, ast.Name) and one.id == name for one in node.targets):
                        sites.add(Site(text.path, text.layer, node.lineno))
    return frozenset(id(node) for node in flow.nodes.values() if node.site in sites)


def _summed_fields(text: ProgramText) -> Iterator[tuple[str, str, ast.AST]]:
    """What a message calls the sum of an array, the array's name, and the function that prints it."""
    for message in text.parsed.of(ast.JoinedStr):
        for before, part in zip(message.values, message.values[1:], strict=False):
            said = before.value if isinstance(before, ast.Constant) and isinstance(before.value, str) else ""
            field = _FIELD.search(said[-80:])
            name = _summed(part.value) if isinstance(part, ast.FormattedValue) else ""
            if field is None or not name:
                continue
            holder = text.parsed.parents.get(id(message))
            while holder is not None and not isinstance(holder, ast.FunctionDef | ast.AsyncFunctionDef):
                holder = text.parsed.parents.get(id(holder))
            yield field[1], name, holder or text.parsed.module


def _summed(node: ast.expr) -> str:
    """The name in `int(name.sum())` and `np.count_nonzero(name)`."""
    for call in ast.walk(node):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in _COUNTS:
            of = call.func.value if not call.args else call.args[0]
            return of.id if isinstance(of, ast.Name) else ""
    return ""


def cleared_in(analysis: Analysis, sites: list[Site]) -> Site | None:
    """A reached line `array.fill(0)` in a function that holds one of these lines, before it: the graph does not tell whether an array
    that was written is cleared again."""
    for text in analysis.trees:
        lines = [site.line for site in sites if (site.path, site.layer) == (text.path, text.layer)]
        for function in text.parsed.of(ast.FunctionDef, ast.AsyncFunctionDef) if lines else ():
            within = [line for line in lines if function.lineno <= line <= (function.end_lineno or 0)]
            for node in text.parsed.inside(function) if within else ():
                clears = (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Attribute)
                    and node.func.attr in ("fill", "fill_", "zero_")
                )
                if (
                    clears
                    and isinstance(node, ast.Call)
                    and all(isinstance(one, ast.Constant) and not one.value for one in node.args)
                ):
                    site = Site(text.path, text.layer, node.lineno)
                    if site.line < max(within) and site in analysis.run.reached:
                        return site
    return None
