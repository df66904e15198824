"""EVA001, the counters: an evaluation that logs how far it is (`seq:500/39591`) and has no lines for the rest of its way."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

from audits.coverage.expressions import name_of
from audits.coverage.scored_loops import headline_losses, scored_loops
from audits.coverage.settings import Settings, settings_of
from verifier.engine.context import Context
from verifier.evidence import Location, Number, excerpt
from verifier.ledger.claims import HeadlineRun, headline_runs
from verifier.program.analysis import Analysis, ProgramText, analysis_of
from verifier.program.values import Site
from verifier.submission.logs.model import LogFile, Metric

_COUNTER = re.compile(r"(\d{1,12}) ?/ ?(\d{1,12})(?![\d/.])")
_FEWEST = 20
"""Rounds that an evaluation has at least for its counter to be asked."""
_MOST_OF_IT = 0.9
"""Share of its way up to which the last counter may come: what is left may be a round that prints nothing."""
_TEXT = 3
"""Characters before a counter by which the print in the script is recognised, at least."""


@dataclass(frozen=True, slots=True)
class StoppedCounter:
    """The counter of an evaluation can have come to `reached` of `total` at most, by the lines between its first one and the score:
    it is printed every `every` rounds."""

    reached: int
    total: int
    every: int
    places: tuple[Location, ...]


def stopped_counter(context: Context) -> StoppedCounter | None:
    """The first counter of a claimed run's own evaluation that stops far before its total. Nothing where the script's print is not
    found, or where each of several processes may count its own share."""
    analysis = analysis_of(context)
    if not analysis.available:
        return None
    script = _Script(analysis, settings_of(context))
    logs = {log.path: log for log in context.submission.logs}
    for headline in headline_runs(context.submission):
        log = logs.get(headline.run.path)
        found = _stopped(script, headline, log) if log is not None else None
        if found is not None:
            return found
    return None


class _Script:
    """The prints of a script in the loops that form the headline's losses."""

    def __init__(self, analysis: Analysis, settings: Settings) -> None:
        self.analysis = analysis
        self.settings = settings
        self.loops = {id(loop.node) for loop in scored_loops(analysis, headline_losses(analysis))}

    def print_of(self, before: str) -> tuple[Site, int] | None:
        """The only print whose text goes on like a log line up to its counter, and every how many rounds it is reached."""
        found: list[tuple[Site, int]] = []
        for text in self.analysis.trees if self.loops else ():
            for node in text.parsed.of(ast.JoinedStr):
                counters = (_counter_at(node, place, before) for place in range(len(node.values)))
                shown = next((one for one in counters if one is not None), None)
                if shown is None:
                    continue
                every = self._rounds_between(text, node, shown)
                if every is None:
                    return None
                found.append((Site(text.path, text.layer, node.lineno), every))
        return found[0] if len({every for _, every in found}) == 1 else None

    def _rounds_between(self, text: ProgramText, node: ast.AST, shown: ast.expr) -> int | None:
        """How many rounds there are from one print to the next at most, where a remainder of the very number that is printed decides
        (`if number % 500 == 0`) and that number counts single rounds."""
        name, every = _named(shown), None
        holder: ast.AST | None = text.parsed.parents.get(id(node))
        while name and holder is not None and not isinstance(holder, ast.FunctionDef | ast.AsyncFunctionDef):
            if isinstance(holder, ast.If) and every is None:
                tests = [one for one in ast.walk(holder.test) if isinstance(one, ast.BinOp) and isinstance(one.op, ast.Mod)]
                if tests:
                    every = self.settings.resolve(tests[0].right) if len(tests) == 1 and _named(tests[0].left) == name else 0
            elif isinstance(holder, ast.For | ast.AsyncFor | ast.While):
                return every if every and every > 0 and id(holder) in self.loops and _counts_rounds(holder, name) else None
            holder = text.parsed.parents.get(id(holder))
        return None


def _stopped(script: _Script, headline: HeadlineRun, log: LogFile) -> StoppedCounter | None:
    metric, run = headline.metric, headline.run
    if metric is None or metric.source.line is None:
        return None
    end = metric.source.line
    # A counter's own line may print a score so far; a line of training is none of this evaluation.
    other = [one for one in run.metrics if one.step is not None or _COUNTER.search(one.source.excerpt) is None]
    earlier = [one.source for one in other if not _same(one, metric)]
    start = max([run.first_line, *(one.line for one in earlier if one.line is not None and one.line < end)])
    processes = Number.parse(run.world_size.text) if run.world_size is not None else None
    if processes is None:
        return None
    for line, text in log.kinds:
        if not start < line < end:
            continue
        for match in _COUNTER.finditer(text):
            first, total = int(match[1]), int(match[2])
            if total < _FEWEST or not 0 <= first < total:
                continue
            printed = script.print_of(text[: match.start()])
            if printed is None:
                continue
            site, every = printed
            reached = first + (end - line - 1) * every
            if reached * max(int(processes.value), 1) < _MOST_OF_IT * total:
                counter = Location(log.path, line, excerpt=excerpt(text))
                return StoppedCounter(reached, total, every, (counter, metric.source, script.analysis.location(site)))
    return None


def _same(one: Metric, headline: Metric) -> bool:
    """Whether two lines print the same score, one perhaps with more digits."""
    if one.bpb is None or headline.bpb is None:
        return one.source == headline.source
    return abs(one.bpb.value - headline.bpb.value) <= 0.5 * 10.0 ** -min(one.bpb.decimals, headline.bpb.decimals) + 1e-9


def _counter_at(node: ast.JoinedStr, place: int, before: str) -> ast.expr | None:
    """The number in `{number}/{total}`, where that stands at this place after the text that the line has there."""
    parts = node.values[place : place + 3]
    if len(parts) < 3 or not isinstance(parts[0], ast.FormattedValue) or not isinstance(parts[2], ast.FormattedValue):
        return None
    between = parts[1].value if isinstance(parts[1], ast.Constant) else ""
    fixed = node.values[place - 1] if place else None
    said = fixed.value if isinstance(fixed, ast.Constant) and isinstance(fixed.value, str) else ""
    fits = isinstance(between, str) and between.strip() == "/" and len(said.strip()) >= _TEXT and before.endswith(said.lstrip())
    return parts[0].value if fits else None


def _named(node: ast.expr) -> str:
    """The name in `number` or `number + 1`."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub) and isinstance(node.right, ast.Constant):
        node = node.left
    return node.id if isinstance(node, ast.Name) else ""


def _counts_rounds(loop: ast.For | ast.AsyncFor | ast.While, name: str) -> bool:
    """Whether a name grows by one with each round."""
    if isinstance(loop, ast.While):
        return False
    source = loop.iter
    if isinstance(source, ast.Call) and name_of(source.func) == "tqdm" and source.args:
        source = source.args[0]
    called = name_of(source.func) if isinstance(source, ast.Call) else ""
    if called == "enumerate" and isinstance(loop.target, ast.Tuple):
        return bool(loop.target.elts) and _named(loop.target.elts[0]) == name
    single = isinstance(source, ast.Call) and called in ("range", "trange") and 0 < len(source.args) < 3
    return single and isinstance(loop.target, ast.Name) and loop.target.id == name
