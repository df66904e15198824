"""The losses behind the headline and the loops that go through the text for them."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from audits.coverage.expressions import name_of
from audits.coverage.settings import Function
from verifier.program.analysis import Analysis, ProgramText
from verifier.program.events import Event
from verifier.program.queries import events_behind, has_source, headline_reports, is_matched, iterations_of, scores_of
from verifier.program.values import Site

type Loop = ast.For | ast.AsyncFor | ast.While
_REPORTS = 2
_LOSSES = 16
"""Losses of one report that are looked at: the same loss of the first iterations, mostly."""


@dataclass(frozen=True, slots=True)
class ScoredLoop:
    """A loop whose iterations the scored targets depend on, or (not `about`) one that is only around the loss. `reached` are the
    lines in it that lead to the loss; a loop that only makes the list of windows has none."""

    text: ProgramText
    function: Function | ast.Module
    node: Loop
    reached: frozenset[int]
    about: bool = True


def why_not_attributed(analysis: Analysis) -> str:
    """Why the evaluation behind the headline may be another than the one that is followed, or nothing."""
    others = analysis.submission.program.others
    if not others or is_matched(analysis.run, analysis.submission):
        return ""
    return f"the headline's line is printed by none of the reports that are followed, and {others[0].path} may print it"


def headline_losses(analysis: Analysis, trained_on: bool = False) -> list[Event]:
    """The losses over validation tokens that flow into the last headlines: those that are only scored, or those of which a backward
    pass is made as well. The latter may be in the headline by way of the parameters alone."""
    trace = analysis.run
    trained = {loss.index for event in trace.of("backward") for loss in events_behind(event.labels, trace, "score")}
    found: list[Event] = []
    for report in headline_reports(trace, analysis.submission)[-_REPORTS:]:
        losses = [loss for loss in scores_of(report, trace) if has_source(loss.tokens, "val") and len(loss.values) > 2]
        found += [loss for loss in losses if (loss.grad and loss.index in trained) is trained_on][:_LOSSES]
    return found


def scored_loops(analysis: Analysis, losses: list[Event]) -> list[ScoredLoop]:
    """The loops in the program's text that the targets of these losses depend on, each once, those of functions that make windows
    included; then the others around the losses."""
    found: dict[int, ScoredLoop] = {}
    keys = [(loss, key, True) for loss in losses for key in sorted(iterations_of(loss.tokens))]
    keys += [(loss, key, False) for loss in losses for key, _ in loss.loops]
    if keys and not any(about for _, _, about in keys):
        return []
    for loss, key, about in keys:
        sites = (loss.site, *loss.stack)
        info = analysis.run.loops.get(key)
        loop = _loop_at(analysis, info.site) if info is not None else None
        if loop is None or id(loop[1]) in found:
            continue
        text, node = loop
        reached = frozenset(
            site.line
            for site in sites
            if (site.path, site.layer) == (text.path, text.layer) and node.lineno <= site.line <= (node.end_lineno or 0)
        )
        function = _function_of(text, node)
        makers = {one.function.name for one in found.values() if one.about and not isinstance(one.function, ast.Module)}
        found[id(node)] = ScoredLoop(text, function, node, reached, about or bool(_sources(text, function, node) & makers))
    return list(found.values())


def _sources(text: ProgramText, function: Function | ast.Module, node: Loop) -> set[str]:
    """The functions that a loop takes its items from, by name: called where it starts, or where what it goes through is made. The
    special methods of iteration for objects that are no ranges."""
    given = [node.iter] if isinstance(node, ast.For | ast.AsyncFor) else _drawn(node)
    called: set[str] = set()
    names: set[str] = set()
    for one in given:
        called |= {name_of(call.func) for call in ast.walk(one) if isinstance(call, ast.Call)}
        names |= {name.id for name in ast.walk(one) if isinstance(name, ast.Name)}
    for made in text.parsed.own(function):
        if isinstance(made, ast.Assign) and any(isinstance(target, ast.Name) and target.id in names for target in made.targets):
            called |= {name_of(call.func) for call in ast.walk(made.value) if isinstance(call, ast.Call)}
    return called | ({"__iter__", "__next__", "__getitem__"} if given and "range" not in called else set())


def _drawn(node: ast.While) -> list[ast.expr]:
    """What a `while` loop calls `next` on."""
    calls = [call for one in node.body for call in ast.walk(one) if isinstance(call, ast.Call) and name_of(call.func) == "next"]
    return [call.args[0] for call in calls if call.args]


def _loop_at(analysis: Analysis, site: Site) -> tuple[ProgramText, Loop] | None:
    for text in analysis.trees:
        if (text.path, text.layer) == (site.path, site.layer):
            loops: list[Loop] = [node for node in text.parsed.of(ast.For, ast.AsyncFor, ast.While) if node.lineno == site.line]
            return (text, loops[0]) if loops else None
    return None


def _function_of(text: ProgramText, node: ast.AST) -> Function | ast.Module:
    holder = text.parsed.parents.get(id(node))
    while holder is not None and not isinstance(holder, ast.FunctionDef | ast.AsyncFunctionDef):
        holder = text.parsed.parents.get(id(holder))
    return holder if holder is not None else text.parsed.module
