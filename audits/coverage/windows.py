"""EVA002 and EVA004: targets that the windows of the evaluation leave out or score twice, by replaying their arithmetic."""

from __future__ import annotations

import ast
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from audits.coverage.early_end import EarlyEnd, early_end_of
from audits.coverage.replay import Replay
from audits.coverage.scored_loops import why_not_attributed
from audits.coverage.settings import Function, Settings, arguments, call_of, functions_around, settings_of
from audits.coverage.values import Known, Opaque, Scored, Tokens, Unknown
from verifier.engine.context import Context
from verifier.ledger.claims import claimed_runs
from verifier.ledger.denominator import read_tokens
from verifier.program.analysis import Analysis, ProgramText, analysis_of
from verifier.program.queries import headline_reports, scores_of
from verifier.program.values import Site
from verifier.rule import Confidence, Decision, Finding, Level, Measured, Outcome, Rule

_PULL = "https://github.com/openai/parameter-golf/pull/"
_USUAL_TARGETS = 62_021_632
"""Targets of the published stream at 1,024 context, for a run that does not print its own count."""
_PLAUSIBLE = 0.9
"""Share of the stream that a replay must cover to be believed."""
NOT_COVERED = "the replay does not cover the stream"
_CANDIDATES = 10


@dataclass(frozen=True, slots=True)
class Coverage:
    """What an evaluation scores of `targets` targets: how many it leaves out, how many times too often it counts one. `throughout`:
    not at an end but along the whole stream, and the number is carried over from a part of it. `passed_over`: a way out of the loop
    under a condition that is not known was taken to stay unused."""

    targets: int
    missed: int
    repeated: int
    throughout: bool
    passed_over: bool
    text: ProgramText
    windows: ast.AST
    scored: ast.AST


def coverage_of(context: Context) -> Coverage | str:
    """The coverage of the evaluation behind the headline, or why it is not known. Computed once for both rules."""
    held = context.memo.get("coverage")
    if not isinstance(held, Coverage | str):
        held = context.memo["coverage"] = _coverage(context)
    return held


def _coverage(context: Context) -> Coverage | str:
    analysis = analysis_of(context)
    if not analysis.available:
        return analysis.why_not
    elsewhere = why_not_attributed(analysis)
    if elsewhere:
        return elsewhere
    reason = "no evaluation loop with windows that can be computed was found"
    settings = settings_of(context)
    targets = next(
        (tokens.count for run in claimed_runs(context.submission) if (tokens := read_tokens(run)) is not None), _USUAL_TARGETS
    )
    for text, function, call, lines in _evaluations(analysis, context):
        try:
            found = _replay(function, call, text, settings, targets, lines)
        except (Unknown, RecursionError) as unknown:
            reason = f"the windows of `{function.name}` can't be computed: {unknown}"
            continue
        if found is not None:
            return found
    return reason


def _evaluations(analysis: Analysis, context: Context) -> Iterator[tuple[ProgramText, Function, ast.Call | None, frozenset[int]]]:
    """The functions around the losses that the headline prints, innermost first, each with its call and the lines on the way to
    the loss. The last headline counts."""
    trace = analysis.run
    reports = headline_reports(trace, context.submission)
    losses = [score for report in reports[-1:] for score in scores_of(report, trace)]
    seen: set[int] = set()
    for loss in losses[:1]:
        for text, function in functions_around(analysis, loss):
            if id(function) not in seen:
                seen.add(id(function))
                sites = (loss.site, *loss.stack)
                lines = frozenset(site.line for site in sites if (site.path, site.layer) == (text.path, text.layer))
                yield text, function, call_of(analysis, loss, function.name), lines


def _replay(
    function: Function,
    call: ast.Call | None,
    text: ProgramText,
    settings: Settings,
    targets: int,
    loss_lines: frozenset[int],
) -> Coverage | None:
    """Replay on a stream that ends like the real one and is some windows long. What is taken for the stream must explain the
    whole of what is scored."""
    names = arguments(function, call, settings)
    doubt: Unknown | None = None
    for stream in _streams_of(function, text, names):
        try:
            found = _replay_on(stream, dict(names), function, text, settings, targets, loss_lines)
        except Unknown as unknown:
            doubt = doubt or unknown
            continue
        if found is not None:
            return found
    if doubt is not None:
        raise doubt
    return None


def _replay_on(
    stream: str,
    names: dict[str, Known],
    function: Function,
    text: ProgramText,
    settings: Settings,
    targets: int,
    loss_lines: frozenset[int],
) -> Coverage | None:
    numbers = {value for value in names.values() if isinstance(value, int) and value > 1}
    numbers |= {value for node in text.parsed.inside(function) if (value := _positive(settings, node)) is not None}
    period = math.lcm(*(value for value in numbers if value <= 8192)) if numbers else 1024
    length = min(max(numbers | {1024}), 8192)
    if period > 40 * length:
        period = length
    short = (
        targets if targets <= 6 * length else 4 * period + targets % period if period >= length else 8 * length + targets % period
    )
    if short > 400_000:
        short = 6 * length + targets % length
    names[stream] = Tokens(short + 1)
    helpers = {node.name: node for node in text.parsed.of(ast.FunctionDef)}
    scored = Replay(settings.resolve, loss_lines, helpers).run(function, names)
    spans = [(first, end, node) for (_, first, end), node in scored.slices.items()] or _chunks(scored)
    if not spans:
        return None
    if min(first for first, _, _ in spans) == 1 and max(end for _, end, _ in spans) == short + 1:
        # What is predicted has the number of its own token, not of the one before: the first token of all has no context.
        spans = [(first - 1, end - 1, node) for first, end, node in spans]
    times = Counter[int]()
    for first, end, _ in spans:
        times.update(range(max(0, first), min(end, short)))
    missed = short - len(times)
    repeated = sum(times.values()) - len(times)
    if len(times) < _PLAUSIBLE * short or repeated > 4 * short:
        raise Unknown(NOT_COVERED)
    if not scored.slices and missed < max(end - first for first, end, _ in spans):
        # Whole sequences only: the stream is cut to them when it is loaded, as in the challenge's own script.
        missed = 0
    if not scored.slices and scored.trimmed and (missed or repeated):
        raise Unknown("which part of a chunk counts is not known")
    # Between the ends the windows repeat, so what they miss or repeat there grows with the stream.
    middle = range(length, short - length)
    gaps = sum(1 for at in middle if not times[at]) if missed else 0
    again = sum(max(times[at] - 1, 0) for at in middle) if repeated else 0
    beyond = max(targets - short, 0) / max(len(middle), 1)
    missed, repeated = missed + _two_digits(gaps * beyond), repeated + _two_digits(again * beyond)
    windows = next((node for node in ast.walk(function) if isinstance(node, ast.Call) and _is_range_over(node)), function)
    return Coverage(targets, missed, repeated, bool(gaps or again), scored.passed_over, text, windows, spans[-1][2])


def _two_digits(number: float) -> int:
    """As precise as a number that is carried over from a part of the stream can be."""
    return int(float(f"{number:.1e}"))


def _chunks(scored: Scored) -> list[tuple[int, int, ast.AST]]:
    """Targets of the chunks; inputs and targets that are cut one by one, a token apart, are one chunk."""
    cuts = scored.chunks
    made = {(first, end + 1 if (first + 1, end + 1) in cuts else end): node for (first, end), node in cuts.items()}
    return [(first, end, node) for (first, end), node in made.items() if end > first and (first - 1, end - 1) not in cuts]


def _positive(settings: Settings, node: ast.AST) -> int | None:
    value = settings.resolve(node) if isinstance(node, ast.Attribute) else None
    return value if value is not None and value > 1 else None


def _is_range_over(node: ast.Call) -> bool:
    return isinstance(node.func, ast.Name) and node.func.id == "range" and len(node.args) == 3


def _streams_of(function: Function, text: ProgramText, names: dict[str, Known]) -> list[str]:
    """What may be the token stream: first what is measured and cut, a parameter or (with a leading dot) an attribute of one; then
    any other parameter, for functions that leave that to helpers."""
    measured: set[str] = set()
    cut: set[str] = set()
    for node in text.parsed.inside(function):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("numel", "size"):
            measured |= _place(node.func.value)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "len" and node.args:
            measured |= _place(node.args[0])
        elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice):
            cut |= _place(node.value)
    parameters = [name for name, value in names.items() if isinstance(value, Opaque)]
    attributes = sorted(place for place in measured & cut if place.startswith("."))
    first = [name for name in parameters if name in measured & cut]
    return [*first, *attributes, *(name for name in parameters if name not in first)][:_CANDIDATES]


def _place(node: ast.expr) -> set[str]:
    if isinstance(node, ast.Name):
        return {node.id}
    return {f".{node.attr}"} if isinstance(node, ast.Attribute) else set()


def check_tail(context: Context) -> Decision:
    found = coverage_of(context)
    if isinstance(found, str):
        return Decision.not_available(found)
    if not found.missed:
        return _passed(context, found, "the evaluation's windows reach the last target")
    left_out = (
        f"the windows of the evaluation have gaps between them: about {found.missed:,} of {found.targets:,} targets are left out"
        if found.throughout
        else f"the windows of the evaluation leave out {found.missed:,} targets at the end of a stream that is cut to whole windows"
        " before; the scorer of the challenge scores them"
    )
    return Decision.of(
        [
            _finding(
                context,
                found,
                left_out,
                Measured(found.missed, "targets"),
                "Score the last window too, shorter or padded.",
            )
        ]
    )


def check_twice(context: Context) -> Decision:
    found = coverage_of(context)
    if isinstance(found, str):
        return Decision.not_available(found)
    if not found.repeated:
        return _passed(context, found, "the evaluation's windows score no target twice")
    share = found.repeated / found.targets
    again = (
        f"windows overlap in what they score: {found.targets:,} targets are scored {1 + share:.1f} times on average, so the mean"
        " weighs those that are scored more often more"
        if found.throughout
        else f"{found.repeated:,} of {found.targets:,} targets ({share:.1e}) are scored again by windows that are clipped to the end of"
        " the stream; a mean over all of them moves by less than that share of the loss"
    )
    return Decision.of(
        [
            _finding(
                context,
                found,
                again,
                Measured(found.repeated, "targets"),
                "Start no window whose targets an earlier window has scored.",
            )
        ]
    )


def _passed(context: Context, found: Coverage, what: str) -> Decision:
    """A limit on windows or seconds does not show on a short stream, a condition that is not known is passed over."""
    end = early_end_of(context)
    if isinstance(end, str) and found.passed_over:
        return Decision.not_available(end)
    if isinstance(end, EarlyEnd):
        return Decision.not_available(
            f"the evaluation's loop takes {end.what} ({end.places[-1]}), which a short stream does not show"
        )
    return Decision.passed(f"replayed on a short stream, {what}")


def _finding(context: Context, found: Coverage, message: str, measured: Measured, remediation: str) -> Finding:
    analysis = analysis_of(context)
    lines = dict.fromkeys(getattr(node, "lineno", 1) for node in (found.windows, found.scored))
    return Finding(
        Outcome.FAIL,
        message,
        tuple(analysis.location(Site(found.text.path, found.text.layer, line)) for line in lines),
        Confidence.HIGH,
        measured,
        remediation=remediation,
    )


TAIL_DROPPED = Rule(
    code="EVA002",
    name="tail-dropped",
    level=Level.WARNING,
    summary="the last partial window of the validation set is not scored",
    why="A few hundred targets do not move the score, but two submissions then average over different texts. Cutting the stream to "
    "whole windows when it is loaded is what the challenge's own script does, and is not meant.",
    example="violation: for start in range(0, total - seq_len, stride): ...     # the last windows never start\n"
    "legal: the last window is padded or shorter and scored",
    settles="the number of scored targets against the number of tokens",
    sources=(_PULL + "50", _PULL + "124"),
    check=check_tail,
)
SCORED_TWICE = Rule(
    code="EVA004",
    name="targets-scored-twice",
    level=Level.NOTE,
    summary="some targets are scored more than once, so sum and count are not those of one pass",
    why="Overlapping tail windows count their targets again. The effect is small, and it should be known.",
    example="violation: windows start at range(0, n, stride) and the last ones are all clipped to the same end\n"
    "legal: each window scores only targets that no earlier window scored",
    settles="the number of scored targets against the number of distinct ones",
    sources=(_PULL + "1242", _PULL + "1405"),
    check=check_twice,
)
