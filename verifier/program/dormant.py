"""What a script would do with the evaluations that its settings switch off, asked where no log shows what the run did."""

from __future__ import annotations

import ast

from verifier.engine.context import Context
from verifier.ledger.claims import claimed_runs
from verifier.program.analysis import Analysis, analysis_of
from verifier.program.events import Trace
from verifier.program.values import Site

_ROUNDS = 3
"""An evaluation that is switched on may hold further ones that are off."""


def dormant_trace(context: Context) -> Trace | None:
    """The run with its dormant evaluations, made once for all rules that ask; `None` where a log tells what ran or nothing is
    dormant. What only this trace shows is a question to the author, no proof."""
    if "dormant" not in context.memo:
        context.memo["dormant"] = None if claimed_runs(context.submission) else _wake(analysis_of(context))
    held = context.memo["dormant"]
    return held if isinstance(held, Trace) else None


def _wake(analysis: Analysis) -> Trace | None:
    woken: tuple[Site, ...] = ()
    trace = analysis.run
    for _ in range(_ROUNDS):
        found = tuple(site for site in _dormant_evaluations(analysis, trace) if site not in woken)
        if not found:
            break
        woken = (*woken, *found)
        trace = analysis.assuming(woken)
    return trace if woken else None


def _dormant_evaluations(analysis: Analysis, trace: Trace) -> tuple[Site, ...]:
    """Conditions that the settings make false and whose branch prints a validation result."""
    found = []
    off = {site for site, branch in trace.branches.items() if branch.outcomes == (False,)}
    for text in analysis.trees:
        for node in text.parsed.of(ast.If):
            site = Site(text.path, text.layer, node.lineno)
            if site in off and any(_prints_result(inner) for part in node.body for inner in text.parsed.inside(part)):
                found.append(site)
    return tuple(sorted(found))


def _prints_result(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and ("bpb" in node.value.lower() or "val_loss" in node.value.lower())
    )
