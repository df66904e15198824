"""TTT003, TTT004: more than one pass over the same tokens (condition C4)."""

from __future__ import annotations

from collections.abc import Iterator

from audits.adaptation.findings import chain, findings_of, review_scores
from audits.adaptation.headline import cleared, is_sure, unanswered
from audits.adaptation.order import SAME, Adaptation, adaptations_of
from audits.adaptation.rescoring import is_second_pass
from audits.adaptation.tables import table_uses
from audits.adaptation.whole_text import reads_whole_text
from verifier.engine.context import Context
from verifier.program.analysis import Analysis, analysis_of
from verifier.program.events import Event, Trace
from verifier.program.queries import events_behind, has_source, overlap
from verifier.program.values import labels_of
from verifier.rule import Confidence, Decision, Finding, Level, Outcome, Rule

_PULL = "https://github.com/openai/parameter-golf/pull/"
_WEIGHTS_AGAIN = "tokens are scored a second time with weights that a first pass trained on them"
_TABLE_AGAIN = "tokens are scored with a table that a pass over them filled before"
_FIRST_SCORE = "Report the first score of each token, formed with what came before it."
_NOT_CERTAIN = "; whether the headline is chosen that way is not certain"
_ELEMENTWISE = ("torch.minimum", "torch.maximum", "numpy.minimum", "numpy.maximum", "torch.fmin", "numpy.fmin")


def check_minimum(context: Context) -> Decision:
    missing = unanswered(context)
    if missing is not None:
        return missing
    for adaptation in adaptations_of(context):
        unique = {finding.locations: finding for finding in _choices(adaptation, analysis_of(context))}
        if unique:
            return Decision.of(list(unique.values())[:4])
    return cleared(context, "no choice among several losses of the same tokens flows into the headline")


def _choices(adaptation: Adaptation, analysis: Analysis) -> Iterator[Finding]:
    trace = adaptation.trace
    for choice in trace.of("select"):
        passes = _passes_compared(choice, trace)
        if passes is None:
            continue
        marks = {("score", score.index) for score in passes}
        concerned = adaptation.headline.concerned(lambda report, marks=marks: marks <= report.labels)  # type: ignore[misc]
        if concerned is None:
            continue
        report, sure = concerned
        repeated = bool(choice.loops) or choice.text in _ELEMENTWISE
        checkpoints = _trained_between(*passes, trace)
        proven = not adaptation.assumed and sure and repeated and not checkpoints and is_sure(trace, *passes, choice, report)
        yield Finding(
            Outcome.FAIL if proven else Outcome.REVIEW,
            "the reported loss is the better of several losses of the same tokens"
            + ("" if proven else "; the passes are of checkpoints of one training" if checkpoints else _NOT_CERTAIN),
            chain(analysis, trace, *passes, choice, report),
            Confidence.HIGH if proven else Confidence.MEDIUM,
            remediation="Report one score a token, from one pass.",
        )


def _trained_between(first: Event, second: Event, trace: Trace) -> bool:
    """Whether training on training tokens goes on between the passes: these then score different models, not one several times."""
    between = trace.events[first.index + 1 : second.index]
    return any(event.kind in ("loss", "update") and has_source(event.tokens, "train") for event in between)


def _passes_compared(choice: Event, trace: Trace) -> tuple[Event, Event] | None:
    """Two losses of the same tokens from different passes, one in each of two operands of a choice. What picks by position, without
    regard to the losses, puts passes together and chooses nothing."""
    if choice.text.endswith(("where", "select")) and not any(label[0] == "score" for label in labels_of(choice.values[0])):
        return None
    operands = [
        [score for score in events_behind(labels_of(value), trace, "score") if has_source(score.tokens, "val")]
        for value in choice.values
    ]
    for place, mine in enumerate(operands):
        for other in operands[place + 1 :]:
            own = {score.index for score in mine} & {score.index for score in other}
            for first in mine:
                for second in other:
                    if first.index in own or second.index in own or overlap(first.tokens, second.tokens) == "disjoint":
                        continue
                    return (first, second) if first.index < second.index else (second, first)
    return None


def check_rescoring(context: Context) -> Decision:
    missing = unanswered(context)
    if missing is not None:
        return missing
    for adaptation in adaptations_of(context):
        again = [use for use in adaptation.forbidden if not use.offset and is_second_pass(adaptation, use)]
        tables = [use for use in table_uses(adaptation, context) if use.relation != SAME]
        findings = (
            *findings_of(again, adaptation, context, _WEIGHTS_AGAIN, _FIRST_SCORE),
            *findings_of(tables, adaptation, context, _TABLE_AGAIN, _FIRST_SCORE),
        )
        if findings:
            return Decision.of(findings)
    figures = review_scores(
        context, reads_whole_text, "a figure over the whole validation text enters the scores of its parts", _FIRST_SCORE
    )
    if figures:
        return Decision.of(figures)
    return cleared(context, "no score behind the headline comes from a second pass over its tokens")


MIN_OVER_PASSES = Rule(
    code="TTT003",
    name="min-over-passes",
    level=Level.ERROR,
    summary="the reported loss is the minimum or best over several passes, epochs or scorers of the same token",
    why="Choosing the best of several scores after seeing the outcome needs the outcome. No decoder can make that choice.",
    example="violation: best = min(best, epoch_loss) over epochs that all see the same tokens\n"
    "violation: nll = torch.minimum(nll_pass1, nll_pass2), token by token\n"
    "legal: one pass, one score a token, whatever it is",
    settles="how the reported number is reduced from the per-pass losses",
    sources=(_PULL + "573", _PULL + "611", _PULL + "659", _PULL + "685"),
    check=check_minimum,
)
TWO_PASS_RESCORE = Rule(
    code="TTT004",
    name="two-pass-rescore",
    level=Level.ERROR,
    summary="tokens are scored a second time by state built from a first pass over them, and the second score is reported",
    why="After a first pass the cache or model has seen every token that the second pass scores, later ones included.",
    example="violation: build n-gram counts over all chunks, then rescore chunk 1 with the full table\n"
    "violation: score-first adaptation over the whole set, then an evaluation of the adapted weights is reported\n"
    "legal: chunk k is scored once, with counts of chunks before k",
    settles="whether any state that enters the reported score was built from the tokens being scored or from later ones",
    sources=(_PULL + "846", _PULL + "881", _PULL + "907", _PULL + "959"),
    check=check_rescoring,
)

RULES = (MIN_OVER_PASSES, TWO_PASS_RESCORE)
