"""Loops over positions that look at the token of the very position they write for, in Python and in native code."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from audits.mixtures.flow import Flow, data_in, is_scored
from audits.mixtures.loops import read_loop_function
from audits.mixtures.native import TOKEN, NativeCall, native_calls
from audits.mixtures.shut import Gates
from audits.mixtures.told import cleared_in, closed_by_logs
from verifier.engine.context import Context
from verifier.evidence import Location
from verifier.program.analysis import Analysis
from verifier.program.c_reader_flow import FunctionFlow, Output
from verifier.program.queries import operation
from verifier.program.values import Data, Site

_SUMS = frozenset({"sum", "mean", "nansum", "dot", "nanmean"})
_SIMPLE = (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Expr)


@dataclass(frozen=True, slots=True)
class PeekingLoop:
    """A loop over positions that writes `output` for a position under a condition on the token at that position."""

    function: str
    output: str
    places: tuple[Location, ...]
    """The condition and the write."""
    doubt: str = ""


def peeking_loops(context: Context, analysis: Analysis, flow: Flow) -> list[PeekingLoop]:
    """Those of which nothing says that they are switched off come first."""
    gates = _Gated(analysis, flow, closed_by_logs(context, analysis, flow))
    found = [*_in_native_code(context, analysis, gates), *_in_the_script(analysis, gates)]
    return sorted(found, key=lambda loop: bool(loop.doubt))


class _Gated:
    """Which of the arrays that a loop writes reach a score, and what keeps that from being certain."""

    def __init__(self, analysis: Analysis, flow: Flow, closed: frozenset[int]) -> None:
        self.analysis = analysis
        self.flow = flow
        self.open = Gates(flow)
        self.told = Gates(flow, closed) if closed else self.open

    def doubt_of(self, arrays: list[Data], call: NativeCall | None = None) -> str | None:
        """None when the arrays do not reach a score; empty when nothing speaks against it."""
        if not _reaches_score(self.flow, self.open, arrays, call):
            return None
        if self.told is not self.open and not _reaches_score(self.flow, self.told, arrays, call):
            return "whether the gate opens, of which every claimed log prints that it was never open"
        read = [one.site for array in arrays for one in self.flow.parents.get(id(array), ()) if one.site is not None]
        cleared = cleared_in(self.analysis, read)
        return "" if cleared is None else f"whether the array is cleared before it is read ({self.analysis.location(cleared)})"


def _in_native_code(context: Context, analysis: Analysis, gates: _Gated) -> list[PeekingLoop]:
    found: dict[tuple[str, bool], PeekingLoop] = {}
    flow = gates.flow
    for call in native_calls(context, analysis, flow):
        for output in call.followed(flow).outputs:
            array = call.arrays.get(output.parameter)
            line = _condition(output)
            doubt = gates.doubt_of([array], call) if line is not None and array is not None else None
            if line is not None and doubt is not None:
                places = (call.source.location(line), call.source.location(output.line))
                called = () if call.site is None else (analysis.location(call.site),)
                loop = PeekingLoop(call.function.name, output.parameter, (*places, *called), doubt)
                found.setdefault((call.function.name, bool(doubt)), loop)
    certain = {name for name, doubtful in found if not doubtful}
    return [loop for (name, doubtful), loop in found.items() if not doubtful or name not in certain]


def _in_the_script(analysis: Analysis, gates: _Gated) -> list[PeekingLoop]:
    flow = gates.flow
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
                doubt = gates.doubt_of(arrays) if condition is not None and alone else None
                if condition is not None and doubt is not None:
                    places = tuple(analysis.location(Site(tree.path, tree.layer, line)) for line in (condition, output.line))
                    found.append(PeekingLoop(function.name, output.parameter, places, doubt))
                    break
    return found


def _condition(output: Output) -> int | None:
    """The line of the condition on the position's own token under which the position is written."""
    if not output.by_position:
        return None
    return next((line for line, marks in reversed(output.conditions) if marks & TOKEN), None)


def _reaches_score(flow: Flow, gates: Gates, start: list[Data], call: NativeCall | None = None) -> bool:
    """Whether values reach the score of single tokens: they meet it before it is summed. Gates that never open lead nowhere, nor do
    the pointers that were handed to the call which wrote the values."""
    sums = [node for node in flow.nodes.values() if operation(node) in _SUMS and is_scored(node)]
    pending = [node for node in start if id(node) in flow.nodes]
    seen = {id(node) for node in pending}
    while pending:
        for reader in gates.readers_of(pending.pop()):
            if id(reader) in seen or operation(reader) in _SUMS or gates.is_shut(reader):
                continue
            if call is not None and reader.site == call.site and operation(reader) == call.function.name:
                continue
            seen.add(id(reader))
            if is_scored(reader) and any(id(reader) in flow.behind(one) for one in sums):
                return True
            pending.append(reader)
    return False
