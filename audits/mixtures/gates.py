"""Gates that look at the token being predicted: tables of token properties, loops over positions, native code."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from audits.mixtures.counts import target_nodes
from audits.mixtures.experts import meeting
from audits.mixtures.flow import Flow, Lookup, data_in, from_validation, is_scored, operation
from audits.mixtures.loops import read_loop_function
from audits.mixtures.native import TOKEN, native_calls
from verifier.engine.context import Context
from verifier.evidence import Location
from verifier.program.analysis import Analysis
from verifier.program.c_reader_flow import FunctionFlow, Output
from verifier.program.values import Data, Site

_SUMS = frozenset({"sum", "mean", "nansum", "dot", "nanmean"})
_NEVER = 1.0
"""A share is at most one: a gate that asks for more never opens."""


@dataclass(frozen=True, slots=True)
class GatedLookup:
    """A table of token properties read at the target, and where what it gives meets the target's score."""

    lookup: Lookup
    meets: Data


def gated_lookups(flow: Flow) -> list[GatedLookup]:
    targets = target_nodes(flow)
    found: dict[object, GatedLookup] = {}
    for lookup in flow.lookups:
        tables = data_in(lookup.table)
        if is_scored(lookup.result) or not tables or any(from_validation(node) for node in tables):
            continue
        if not any(id(one) in targets for key in data_in(lookup.key) for one in flow.origin(key)):
            continue
        meets = meeting(flow, lookup.result)
        if meets is not None and _adds(flow, meets, lookup.result):
            found.setdefault(lookup.site, GatedLookup(lookup, meets))
    return list(found.values())


def _adds(flow: Flow, meets: Data, gate: Data) -> bool:
    """Whether the gate changes what is added to a score or mixed with a probability. A mask that only leaves targets out, and a
    division by bytes, are other matters."""
    how = operation(meets)
    if how in ("+", "-", "add", "sub"):
        return True
    if how == "where":
        chosen = [node for value in meets.args[1:] for node in data_in(value)]
        return sum(is_scored(node) for node in chosen) > 1
    if how in ("*", "mul", "multiply"):
        return any(id(meets) in flow.behind(one) for one in flow.logarithms)
    return False


_SIMPLE = (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Expr)


@dataclass(frozen=True, slots=True)
class PeekingLoop:
    """A loop over positions that writes `output` for a position under a condition on the token at that position."""

    function: str
    output: str
    places: tuple[Location, ...]
    """The condition and the write."""


def peeking_loops(context: Context, analysis: Analysis, flow: Flow) -> list[PeekingLoop]:
    return [*_in_native_code(context, analysis, flow), *_in_the_script(analysis, flow)]


def _in_native_code(context: Context, analysis: Analysis, flow: Flow) -> list[PeekingLoop]:
    found: dict[str, PeekingLoop] = {}
    for call in native_calls(context, analysis, flow):
        for output in call.followed(flow).outputs:
            array = call.arrays.get(output.parameter)
            line = _condition(output)
            if line is not None and array is not None and _reaches_score(flow, [array]):
                places = (call.source.location(line), call.source.location(output.line))
                called = () if call.site is None else (analysis.location(call.site),)
                found.setdefault(call.function.name, PeekingLoop(call.function.name, output.parameter, (*places, *called)))
    return list(found.values())


def _in_the_script(analysis: Analysis, flow: Flow) -> list[PeekingLoop]:
    filled: dict[Site, list[Data]] = {}
    for node in flow.nodes.values():
        for _, _, site in node.filled:
            filled.setdefault(site, []).append(node)
    keyed = {
        event.site
        for event in flow.trace.of("lookup", "write")
        if len(event.values) > 2 and any(flow.is_token(key) for key in data_in(event.values[1]))
    }
    found: list[PeekingLoop] = []
    for tree in analysis.trees:
        here = [site.line for site in keyed if (site.path, site.layer) == (tree.path, tree.layer)]
        for function in tree.parsed.of(ast.FunctionDef) if here else ():
            if not any(function.lineno <= line <= (function.end_lineno or function.lineno) for line in here):
                continue
            if not any(isinstance(one, ast.For) for one in tree.parsed.inside(function)):
                continue
            read, streams = read_loop_function(function)
            runs = FunctionFlow({})
            runs.run_function(read, dict.fromkeys(streams, TOKEN))
            for output in runs.outputs:
                condition = _condition(output)
                arrays = filled.get(Site(tree.path, tree.layer, output.line), [])
                # Several statements in one line: which of them fills the array that reaches the score can't be told.
                alone = sum(isinstance(one, _SIMPLE) and one.lineno == output.line for one in tree.parsed.inside(function)) == 1
                if condition is not None and alone and _reaches_score(flow, arrays):
                    places = tuple(analysis.location(Site(tree.path, tree.layer, line)) for line in (condition, output.line))
                    found.append(PeekingLoop(function.name, output.parameter, places))
                    break
    return found


def _condition(output: Output) -> int | None:
    """The line of the condition on the position's own token under which the position is written."""
    if not output.by_position:
        return None
    return next((line for line, marks in reversed(output.conditions) if marks & TOKEN), None)


def _reaches_score(flow: Flow, start: list[Data]) -> bool:
    """Whether values reach the score of single tokens: they meet it before it is summed. Gates that never open lead nowhere."""
    sums = [node for node in flow.nodes.values() if operation(node) in _SUMS and is_scored(node)]
    pending = [node for node in start if id(node) in flow.nodes]
    seen = {id(node) for node in pending}
    while pending:
        current = pending.pop()
        for parent in flow.parents.get(id(current), ()):
            if id(parent) in seen or operation(parent) in _SUMS or _never(flow, parent, 0):
                continue
            seen.add(id(parent))
            if is_scored(parent) and any(id(parent) in flow.behind(one) for one in sums):
                return True
            pending.append(parent)
    return False


def _never(flow: Flow, node: Data, depth: int) -> bool:
    """Whether a gate is shut for good: it asks for a share above one, or is joined with such a gate."""
    how = operation(node)
    if how in (">=", ">") and len(node.args) == 2:
        bound = _constant(node.args[1])
        return bound is not None and bound > _NEVER
    if how in ("&", "and", "logical_and", "*") and depth < 4:
        return any(_never(flow, one, depth + 1) for value in node.args for one in data_in(value))
    return False


def _constant(value: object) -> float | None:
    for _ in range(4):
        if not isinstance(value, Data):
            return None
        if isinstance(value.const, int | float):
            return float(value.const)
        value = value.args[0] if value.args else None
    return None
