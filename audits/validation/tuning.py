"""VAL005: constants of the evaluation that were chosen by their validation score, in the script or by the author's own account."""

from __future__ import annotations

import ast
import re

from verifier.engine.context import Context
from verifier.evidence import Location
from verifier.program.analysis import Analysis, analysis_of
from verifier.program.events import Event, Trace
from verifier.program.queries import has_source, headline_reports, overlap, scores_of
from verifier.program.values import Data, Labels, Site
from verifier.rule import Confidence, Decision, Finding, Level, Outcome, Rule
from verifier.submission.submission import Submission

_PULL = "https://github.com/openai/parameter-golf/pull/"
_SWEPT = re.compile(r"\b(?:sweeps?|swept|grid[- ]?search(?:ed|es)?)\b", re.IGNORECASE)
_TUNED = re.compile(r"\b(?:tuned|fitted|calibrated)\b", re.IGNORECASE)
_EVAL_TIME = re.compile(
    r"\b(?:ppm(?:-d)?|mixers?|mixtures?|gates?|gating|n-?grams?|alphas?|temperature|interpolation|blend\w{0,6}|backoff|logit bias)\b",
    re.IGNORECASE,
)
_OUTCOME = re.compile(r"\b(?:dump(?:ed)?|val(?:idation)?|val_bpb|m?bpb|full-val|eval (?:tokens|stream|set))\b", re.IGNORECASE)
_ELSEWHERE = re.compile(
    r"\b(?:held[- ]?out|train(?:ing)? (?:shards?|data|split|docs?|tokens)|no|not|without|untuned|never|future|todo|could|would|previous|prior"
    r"|already[- ]scored|scored tokens)\b",
    re.IGNORECASE,
)


def check(context: Context) -> Decision:
    findings = _by_words(context.submission)
    analysis = analysis_of(context)
    if analysis.available:
        findings += _by_data_flow(analysis, context.submission)
    if findings:
        return Decision.of(findings)
    if not analysis.available:
        return Decision.not_available(analysis.why_not)
    if gap := analysis.gap():
        return Decision.not_available(gap)
    return Decision.passed(
        "the script scores the validation set once for each setting, and the submission does not speak of a sweep of its mixture on it"
    )


def _by_words(submission: Submission) -> list[Finding]:
    swept: list[Location] = []
    tuned: list[Location] = []
    for sentence, place in _sentences(submission):
        if not _EVAL_TIME.search(sentence) or not _OUTCOME.search(sentence) or _ELSEWHERE.search(sentence):
            continue
        if _SWEPT.search(sentence):
            swept.append(place)
        elif _TUNED.search(sentence):
            tuned.append(place)
    if not swept and not tuned:
        return []
    return [
        Finding(
            Outcome.FAIL if swept else Outcome.REVIEW,
            "the submission says that constants of its mixture at evaluation time were swept by their score on evaluation data"
            if swept
            else "the submission calls constants of its evaluation tuned, and names no held-out data",
            tuple(dict.fromkeys(swept or tuned))[:4],
            Confidence.MEDIUM,
            remediation="Choose constants of the evaluation on held-out training documents, and show how.",
        )
    ]


def _sentences(submission: Submission) -> list[tuple[str, Location]]:
    found = [
        (sentence[:500], text.source)
        for metadata in submission.metadata
        for text in metadata.texts
        for sentence in re.split(r"(?<=[.!?;])\s", str(text.value)[:4000])
    ]
    found += [
        (statement.sentence[:500], statement.source)
        for readme in submission.readmes
        for statement in readme.statements
        if statement.form in ("prose", "bullet")
    ]
    return found


def _by_data_flow(analysis: Analysis, submission: Submission) -> list[Finding]:
    """A loop over settings that scores the same validation tokens each time, and a headline that depends on what it picks."""
    trace = analysis.run
    headline = [score for report in headline_reports(trace, submission)[-2:] for score in scores_of(report, trace)]
    by_minimum = _minimum(analysis, headline)
    if by_minimum is not None:
        return [by_minimum]
    for loop in sorted(trace.loops):
        tried = [event for event in trace.of("loss") if not event.grad and _scores_by_setting(event, loop)]
        if not tried:
            continue
        chosen = _choice(analysis, trace, loop, tried)
        if chosen is None:
            continue
        # What is chosen on one chunk may serve the chunks that follow.
        after = [
            score
            for score in headline
            if _has_loop(score.labels, loop)
            and not _has_loop(score.tokens, loop)
            and any(one.index <= score.index and overlap(one.tokens, score.tokens) != "disjoint" for one in tried)
        ]
        if not after:
            continue
        sites = [trace.loops[loop].site, tried[-1].site, chosen, after[-1].site]
        # Keeping the best checkpoint of a training is a choice by validation score, but none of a mixer or gate.
        training = any(
            not has_source(one.tokens, "val") and any(key == loop for key, _ in one.loops) for one in trace.of("update")
        )
        if training:
            return [_found(analysis, sites, "; the states are checkpoints of one training, which the rules do not name")]
        return [_found(analysis, sites, _unless_certain(tried[-1], after[-1]))]
    return []


def _minimum(analysis: Analysis, headline: list[Event]) -> Finding | None:
    """A minimum over scores of the same tokens that differ in a constant, and that the headline prints."""
    printed = {score.index for score in headline}
    for event in analysis.run.of("select"):
        groups: dict[tuple[Site, Labels], dict[tuple[object, ...], Event]] = {}
        for score in scores_of(event, analysis.run):
            if score.index in printed and not score.grad and has_source(score.tokens, "val"):
                groups.setdefault((score.site, score.tokens), {})[_constants(score)] = score
        for tried in groups.values():
            if len(tried) > 1:
                last = list(tried.values())[-1]
                return _found(analysis, [last.site, event.site], _unless_certain(event, last))
    return None


def _constants(score: Event) -> tuple[object, ...]:
    """The numbers that the model was called with."""
    node = score.values[0]
    given = node.args if isinstance(node, Data) else ()
    return tuple(one.const for one in given if isinstance(one, Data) and isinstance(one.const, int | float | str))


def _unless_certain(*events: Event) -> str:
    certain = all(event.certain for event in events)
    return "" if certain else "; a setting whose value is not known decides whether this runs"


def _found(analysis: Analysis, sites: list[Site], doubt: str) -> Finding:
    return Finding(
        Outcome.REVIEW if doubt else Outcome.FAIL,
        "several settings are scored on the same validation tokens, and the one with the better score makes the headline" + doubt,
        tuple(dict.fromkeys(analysis.location(site) for site in sites)),
        remediation="Choose constants of the evaluation on held-out training documents.",
    )


def _has_loop(labels: Labels, loop: int) -> bool:
    return any(label[0] == "loop" and label[1] == loop for label in labels)


def _scores_by_setting(event: Event, loop: int) -> bool:
    """Whether the loss is formed in each iteration, on the same tokens, with something that the iteration sets."""
    return (
        has_source(event.tokens, "val")
        and any(key == loop for key, _ in event.loops)
        and _has_loop(event.labels, loop)
        and not _has_loop(event.tokens, loop)
    )


def _choice(analysis: Analysis, trace: Trace, loop: int, tried: list[Event]) -> Site | None:
    """Where the better of the scores is picked: a comparison with the best so far inside the loop, or a minimum over the results."""
    indices = {event.index for event in tried}
    for event in trace.of("select"):
        if any(label[0] == "score" and label[1] in indices for label in event.labels):
            return event.site
    place = trace.loops[loop].site
    for text in analysis.trees:
        if (text.path, text.layer) != (place.path, place.layer):
            continue
        for node in text.parsed.nodes:
            if isinstance(node, ast.For) and node.lineno == place.line:
                for inner in ast.walk(node):
                    if (
                        isinstance(inner, ast.If)
                        and _keeps_best(inner)
                        and Site(text.path, text.layer, inner.lineno) in trace.reached
                    ):
                        return Site(text.path, text.layer, inner.lineno)
    return None


def _keeps_best(node: ast.If) -> bool:
    """`if score < best: best = score`."""
    compared: set[str] = set()
    for test in ast.walk(node.test):
        if isinstance(test, ast.Compare) and any(isinstance(op, ast.Lt | ast.LtE | ast.Gt | ast.GtE) for op in test.ops):
            compared |= {part.id for part in (test.left, *test.comparators) if isinstance(part, ast.Name)}
    kept = {
        target.id
        for statement in node.body
        if isinstance(statement, ast.Assign)
        for goal in statement.targets
        for target in (goal.elts if isinstance(goal, ast.Tuple) else [goal])
        if isinstance(target, ast.Name)
    }
    return bool(compared & kept)


TUNED_ON_VALIDATION = Rule(
    code="VAL005",
    name="tuned-on-validation",
    level=Level.ERROR,
    summary="an eval-time mixer, gate, order or temperature was fitted or swept on validation outcomes and shipped",
    why="Choosing eval-time constants by their validation score is training on the exam with few parameters. Ordinary training "
    "hyperparameters are exempt.",
    example="violation: for t in (0.9, 0.95, 1.0): best = min(best, eval(val, t)) and the best t is reported\n"
    "legal: the temperature was chosen on held-out training documents",
    settles="which data the sweep saw",
    sources=(_PULL + "1991", _PULL + "2098"),
    check=check,
)
