"""Windows that are shared out to processes, and losses that reach the headline without being put together again."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from audits.mixtures.flow import field_of
from verifier.program.analysis import Analysis, ProgramText
from verifier.program.events import Event
from verifier.program.queries import operation, slice_of
from verifier.program.values import Data, Site, Value

type _Function = ast.FunctionDef | ast.AsyncFunctionDef
_RANK = frozenset({"rank", "local_rank", "ddp_rank", "get_rank"})
_WORLD = frozenset({"world_size", "world", "num_ranks", "ddp_world_size", "get_world_size"})
_EXCHANGES = ("all_reduce", "reduce", "all_gather", "gather", "all_to_all")
_NODES = 60_000
_VIEWS = frozenset(
    {"element", "join", "ifexp", "index", "view", "reshape", "detach", "unsqueeze", "squeeze", "attr:data", "contiguous"}
)


@dataclass(frozen=True, slots=True)
class OneShare:
    """Where the share of a process is cut, the loss on it, and the report that it reaches."""

    cut: Site
    loss: Site
    printed: Site


def share_of_one_process(analysis: Analysis, reports: Sequence[Event], losses: Sequence[Event]) -> OneShare | None:
    """A loss on a share of the windows that reaches a report past everything that processes exchange, when each of the reports that a
    loss flows into is reached by one. What an exchange was given, or fills, holds what all have."""
    together = {id(node) for event in analysis.run.of("exchange") for value in event.values for node in _held(value)}
    # What is printed in the loop over the windows is a running value.
    around = {loop for loss in losses for loop in loss.loops}
    final = [
        report
        for report in reports
        if not around & set(report.loops) and any(("score", one.index) in report.labels for one in losses)
    ]
    found = [_share_behind(analysis, report, losses, together) for report in final]
    return found[-1] if found and all(found) else None


def _share_behind(analysis: Analysis, report: Event, losses: Sequence[Event], together: set[int]) -> OneShare | None:
    reached = [node for value in report.values for node in slice_of(value, _NODES, lambda node: _apart(node, together))]
    for loss in losses:
        if any(_is_formed(node, loss) for node in reached if id(node) not in together):
            made = {node.site for value in loss.values for node in slice_of(value, _NODES, lambda node: _apart(node, set()))}
            cut = _cut_around(analysis, (loss.site, *loss.stack))
            if cut is not None and (cut.always or cut.site in made):
                return OneShare(cut.site, loss.site, _printed(report))
    return None


def _is_formed(node: Data, loss: Event) -> bool:
    """Whether a value is this loss, or what the method returned that formed it."""
    made = loss.values[0]
    if node is made:
        return True
    same = isinstance(made, Data) and made.inner is not None and node.inner is made.inner
    return same and ("score", loss.index) in node.labels


def _printed(report: Event) -> Site:
    """Where the message is put together, which is more telling than the line of a logging function."""
    parts = [node for value in report.values for node in slice_of(value, operands=lambda _: ())]
    return next((node.site for node in parts if node.op == "fstring" and node.site is not None), report.site)


def _held(value: Value) -> Iterator[Data]:
    """What is handed to an exchange, and what that is a view of."""
    return slice_of(value, 200, lambda node: node.args if operation(node) in _VIEWS else ())


def _apart(node: Data, together: set[int]) -> list[Value]:
    """What a value is computed from, on one process."""
    if id(node) in together or operation(node).startswith(_EXCHANGES):
        return []
    if operation(node) == "index" and (field := field_of(node)) is not None:
        return list(field)
    inner = [node.inner] if node.inner is not None else []
    return [*node.args, *inner, *(value for _, value, _ in node.filled)]


@dataclass(frozen=True, slots=True)
class _Cut:
    """`always`: no condition around it has been decided in two ways. Else another call may have scored all windows."""

    site: Site
    always: bool


def _cut_around(analysis: Analysis, where: Sequence[Site]) -> _Cut | None:
    """The place in the functions around a loss where the windows of one process are cut out of all."""
    for site in where:
        for text, function in analysis.functions_at(site):
            if (cut := _cut_in(analysis, text, function)) is not None:
                return cut
    return None


def _cut_in(analysis: Analysis, text: ProgramText, function: _Function) -> _Cut | None:
    """A line that the run reaches: `total * rank // world_size`, `windows[rank::world_size]`, `range(rank, total, world_size)`."""
    for node in text.parsed.inside(function):
        first: ast.expr | None = None
        step: ast.expr | None = None
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.FloorDiv):
            first, step = node.left, node.right
        elif isinstance(node, ast.Slice):
            first, step = node.lower, node.step
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range" and len(node.args) == 3:
            first, step = node.args[0], node.args[2]
        if first is None or step is None or not _names(first) & _RANK or not _names(step) & _WORLD:
            continue
        holders: list[ast.AST] = [node]
        while holders[-1] is not function and (holder := text.parsed.parents.get(id(holders[-1]))) is not None:
            holders.append(holder)
        lines = [Site(text.path, text.layer, holder.lineno) for holder in holders if isinstance(holder, ast.stmt)]
        if lines and lines[0] in analysis.run.reached:
            decided = [analysis.run.branches[line].outcomes for line in lines if line in analysis.run.branches]
            return _Cut(Site(text.path, text.layer, first.lineno), all(len(outcomes) < 2 for outcomes in decided))
    return None


def _names(node: ast.expr) -> set[str]:
    return {
        part.id if isinstance(part, ast.Name) else part.attr
        for part in ast.walk(node)
        if isinstance(part, ast.Name | ast.Attribute)
    }
