"""EVA001, the loops: an evaluation that stops after so many windows or seconds, takes every tenth window or windows by chance."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from audits.coverage.conditions import NEVER, UNKNOWN, USED_UP, Conditions, Found, Verdict, all_of, is_none
from audits.coverage.cut_stream import whole_stream
from audits.coverage.dependence import Scope, Source
from audits.coverage.expressions import name_of
from audits.coverage.loop_exits import Test, conditions_on, handed_on, ways_out
from audits.coverage.scored_loops import ScoredLoop, headline_losses, scored_loops, why_not_attributed
from audits.coverage.settings import Settings, call_of, settings_of
from verifier.engine.context import Context
from verifier.evidence import Location
from verifier.program.analysis import Analysis, analysis_of
from verifier.program.events import Event
from verifier.program.values import Site

_DEEPEST = 6
_THROUGH = frozenset({"enumerate", "list", "tuple", "tqdm", "trange", "iter", "sorted", "reversed", "zip", "chain", "map"})
_CHOSEN = frozenset({"takewhile", "filter", "filterfalse", "dropwhile", "compress"})
_DRAWN = frozenset({"sample", "choice", "choices"})


@dataclass(frozen=True, slots=True)
class EarlyEnd:
    """The loop does not go through the whole text, by what the script says. `certain`: whatever the length of the text is; else up
    to a limit that the text might not reach, which is `timed` where it is one of seconds."""

    what: str
    places: tuple[Location, ...]
    certain: bool
    timed: bool


def early_end_of(context: Context) -> EarlyEnd | str | None:
    """The way in which the headline's loops leave a part of the text out, why that is not known, or None where they go to its end.
    Computed once for all rules."""
    if "early end" not in context.memo:
        try:
            context.memo["early end"] = _early_end(context)
        except RecursionError:
            context.memo["early end"] = "the conditions around the loss are nested too deeply to be read"
    held = context.memo["early end"]
    assert held is None or isinstance(held, EarlyEnd | str)
    return held


def _early_end(context: Context) -> EarlyEnd | str | None:
    analysis = analysis_of(context)
    if not analysis.available:
        return analysis.why_not
    elsewhere = why_not_attributed(analysis)
    if elsewhere:
        return elsewhere
    losses = headline_losses(analysis) or headline_losses(analysis, trained_on=True)
    loops = scored_loops(analysis, losses)
    if not loops:
        return "no loop over the validation text leads to the headline"
    settings, whole = settings_of(context), whole_stream(context)
    doubt = ""
    possible: EarlyEnd | None = None
    for loop in loops:
        scope = _scope_of(analysis, loop, losses, settings)
        for place, found in _Reader(loop, scope, analysis, (whole, context.challenge.val_docs)).ends():
            lines = dict.fromkeys((loop.node.lineno, place))
            where = tuple(analysis.location(Site(loop.text.path, loop.text.layer, line)) for line in lines)
            if found.verdict is Verdict.EARLY:
                end = EarlyEnd(found.what, where, found.certain, found.timed)
                if found.certain:
                    return end
                possible = end if possible is None or possible.timed else possible
            elif found.verdict is Verdict.UNKNOWN:
                doubt = doubt or f"whether the loop at {where[0]} goes to the end of the text can't be told from {where[-1]}"
    return possible or doubt or None


def _scope_of(analysis: Analysis, loop: ScoredLoop, losses: list[Event], settings: Settings, depth: int = 0) -> Scope:
    """The names around a loop; what the caller gives, where the call leads to the loss."""
    function = loop.function
    caller = None
    if not isinstance(function, ast.Module) and depth < _DEEPEST:
        for loss in losses:
            call = call_of(analysis, loss, function.name) or _only_call(loop, function.name)
            if call is not None:
                text = next((text for text in analysis.trees if id(call) in text.parsed.parents), loop.text)
                holder: ast.AST | None = text.parsed.parents.get(id(call))
                while holder is not None and not isinstance(holder, ast.FunctionDef | ast.AsyncFunctionDef):
                    holder = text.parsed.parents.get(id(holder))
                if holder is not function:
                    outer = ScoredLoop(text, holder or text.parsed.module, loop.node, frozenset())
                    caller = call, _scope_of(analysis, outer, losses, settings, depth + 1)
                break
    return Scope(loop.text, function, settings, caller)


def _only_call(loop: ScoredLoop, name: str) -> ast.Call | None:
    """The call of a generator or of a function that makes windows, which is not on the way to the loss, when there is one alone."""
    calls = loop.text.parsed.calls_of(name)
    return calls[0] if len(calls) == 1 else None


class _Reader(Conditions):
    """What leaves a loop, and what it goes through."""

    def __init__(self, loop: ScoredLoop, scope: Scope, analysis: Analysis, whole: tuple[int, int]) -> None:
        super().__init__(loop, scope, whole)
        self.branches = analysis.run.branches
        handed = (handed_on(node) for node in loop.text.parsed.inside(loop.node))
        self.reached = loop.reached or frozenset(line for line in handed if line)

    def ends(self) -> Iterator[tuple[int, Found]]:
        """Everything that can leave out windows: the line and what it depends on."""
        node = self.loop.node
        if not self.loop.about:
            # Not what the targets are of, unless each round takes the next ones from elsewhere.
            if isinstance(node, ast.For | ast.AsyncFor) and isinstance(node.iter, ast.Call) and self._draws(0):
                yield from self._called(node.iter, 0)
            return
        if isinstance(node, ast.While):
            yield node.lineno, self.judge(node.test, False, True)
        else:
            yield from self._source(node.iter)
        for leave, tests in ways_out(node):
            after = self.reached and all(line < leave.lineno for line in self.reached)
            if not (isinstance(leave, ast.Continue) and after):
                yield leave.lineno, self._together(tests, not isinstance(leave, ast.Continue))
        for line in sorted(self.reached):
            for test, value in conditions_on(self.loop, line):
                found = self.judge(test, not value, False)
                if found.verdict is Verdict.EARLY:
                    yield test.lineno, found

    def _together(self, tests: list[Test] | None, for_good: bool) -> Found:
        """Nested conditions hold together."""
        if tests is None:
            return USED_UP
        if not tests:
            return UNKNOWN
        return all_of([self._branch(test, value, for_good) for test, value in tests])

    def _branch(self, test: ast.expr, value: bool, for_good: bool) -> Found:
        found = self.judge(test, value, for_good)
        if found.verdict is Verdict.UNKNOWN and Source.COUNT not in self.scope.sources(test):
            site = Site(self.loop.text.path, self.loop.text.layer, test.lineno)
            branch = self.branches.get(site)
            # Settings that are no integers: the execution knows them.
            if branch is not None and branch.outcomes and set(branch.outcomes) == {not value}:
                return NEVER
        return found

    def _source(self, node: ast.expr, depth: int = 0) -> Iterator[tuple[int, Found]]:
        """What the loop goes through, where that is less than all there is."""
        if depth > _DEEPEST:
            return
        if not self.scope.may_look():
            yield node.lineno, UNKNOWN
            return
        if isinstance(node, ast.Name):
            if node.id in self.scope.shortened:
                yield node.lineno, UNKNOWN
            if not self.scope.counts(node.id):
                for value in self.scope.assigned.get(node.id, ()):
                    yield from self._source(value, depth + 1)
        elif isinstance(node, ast.Subscript):
            consumed = isinstance(node.value, ast.Name) and self.scope.counts(node.value.id)
            if isinstance(node.slice, ast.Slice) and not consumed:
                yield node.lineno, self._cut(node.slice.upper, node.slice.step)
            elif isinstance(node.slice, ast.Name):
                for one in self.scope.assigned.get(node.slice.id, ()):
                    if isinstance(one, ast.Call) and name_of(one.func) == "slice":
                        yield node.lineno, self._cut((one.args[1:2] or one.args)[0], one.args[2] if len(one.args) > 2 else None)
            yield from self._source(node.value, depth + 1)
        elif isinstance(node, ast.ListComp | ast.GeneratorExp):
            yield from self._made(node, depth)
        elif isinstance(node, ast.Call):
            yield from self._called(node, depth)

    def _made(self, node: ast.ListComp | ast.GeneratorExp, depth: int) -> Iterator[tuple[int, Found]]:
        self.names |= {name.id for one in node.generators for name in ast.walk(one.target) if isinstance(name, ast.Name)}
        for generator in node.generators:
            yield from self._source(generator.iter, depth + 1)
            for test in generator.ifs:
                found = self.judge(test, False, False)
                if found.verdict is Verdict.EARLY:
                    yield test.lineno, found

    def _called(self, node: ast.Call, depth: int) -> Iterator[tuple[int, Found]]:
        name = name_of(node.func)
        if name == "islice" and len(node.args) > 1:
            stop = node.args[1] if len(node.args) == 2 else node.args[2]
            yield node.lineno, self._cut(stop, node.args[3] if len(node.args) > 3 else None)
            yield from self._source(node.args[0], depth + 1)
        elif name in _DRAWN:
            # As many as there are: a shuffle.
            if not any(
                Source.LENGTH in self.scope.sources(one) for one in (*node.args[1:], *(word.value for word in node.keywords))
            ):
                yield node.lineno, Found(Verdict.EARLY, "windows that are drawn at random", True)
        elif name in _THROUGH:
            for one in node.args:
                if name == "zip" and isinstance(one, ast.Call) and name_of(one.func) == "range" and len(one.args) == 1:
                    # The shortest one ends a `zip`.
                    yield one.lineno, self._cut(one.args[0], None)
                yield from self._source(one, depth + 1)
        elif name in _CHOSEN and len(node.args) == 2:
            yield node.lineno, self._chosen(node.args[0], name == "takewhile")
            yield from self._source(node.args[1], depth + 1)
        elif name == "range" and len(node.args) == 1 and self._draws(depth):
            yield node.lineno, UNKNOWN if (self.scope.number(node.args[0]) or 0) > 1 else USED_UP
        elif name == "range" and len(node.args) > 1:
            sources = self.scope.sources(node.args[1])
            if Source.SHARE in sources and Source.RANK not in sources:
                yield node.lineno, Found(Verdict.EARLY, "a fixed share of the text")

    def _chosen(self, test: ast.expr, for_good: bool) -> Found:
        """`takewhile(lambda at: at < limit, starts)`."""
        if isinstance(test, ast.Constant):
            return USED_UP
        if not isinstance(test, ast.Lambda):
            return UNKNOWN
        names = {one.arg for one in test.args.args}
        self.names |= names
        self.scope.listed |= names
        return self.judge(test.body, False, for_good)

    def _draws(self, depth: int) -> bool:
        """Whether each round takes the next piece from elsewhere, or the one with the round's number from a list."""
        if depth or not isinstance(self.loop.node, ast.For | ast.AsyncFor) or not isinstance(self.loop.node.target, ast.Name):
            return False
        number = self.loop.node.target.id
        return any(
            (isinstance(node, ast.Call) and name_of(node.func) == "next")
            or (isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Name) and node.slice.id == number)
            for one in self.loop.node.body
            for node in ast.walk(one)
            if not isinstance(getattr(node, "ctx", None), ast.Store)
        )

    def _cut(self, stop: ast.expr | None, step: ast.expr | None) -> Found:
        """A list or generator of windows from which a part is taken."""
        if step is not None:
            found = self.every_one_in(step)
            if found.verdict is not Verdict.NEVER:
                return found
        if stop is None or is_none(stop):
            return USED_UP
        sources = self.scope.sources(stop)
        if Source.SHARE in sources and not sources & {Source.RANK, Source.COUNT, Source.UNKNOWN}:
            return Found(Verdict.EARLY, "a fixed share of the text", True)
        number = self.scope.number(stop) if not sources else self.cap(stop)
        if number is not None:
            return self.limited(number, True) if number >= 0 else USED_UP
        return UNKNOWN if not sources or Source.UNKNOWN in sources else USED_UP
