"""What the folder says about itself, from README and submission JSON together, and what its logs show of a feature."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from verifier.evidence import Location
from verifier.ledger.claims import own_metadata
from verifier.submission.logs.model import Metric, Run
from verifier.submission.readme import Polarity, Statement, statements_of_metadata
from verifier.submission.submission import Submission, worked_out_once

FEATURES = ("ttt", "slot", "ngram", "prequant-ttt", "etlb")
"""Features that the rules care about and that have switches and log lines of their own."""
WORDS = {
    "ttt": "test-time training",
    "slot": "SLOT",
    "ngram": "an n-gram cache",
    "prequant-ttt": "pre-quantization TTT",
    "etlb": "an eval-time logit bias",
    "eval-adaptation": "eval-time adaptation",
}

EPOCH = re.compile(r"prequant_?ttt.{0,20}epoch\s{0,2}(\d{1,4})\s?/\s?(\d{1,4})", re.IGNORECASE)
"""The label of an epoch of adaptation before quantization: which of how many."""
_PREQUANT = re.compile(r"pre-?_?quant(?:_|-| )?ttt|prequant_ttt", re.IGNORECASE)
_MARKS = {
    "ttt": re.compile(r"(?<![a-z])ttt(?![a-z])", re.IGNORECASE),
    "slot": re.compile(r"(?<![a-z])slot(?![a-z])", re.IGNORECASE),
    "ngram": re.compile(r"(?<![a-z])n[-_]?gram(?![a-z])", re.IGNORECASE),
    "etlb": re.compile(r"(?<![a-z])etlb(?![a-z])", re.IGNORECASE),
    "prequant-ttt": _PREQUANT,
}
_ABSENT = re.compile(
    r"(?:no|without|pre|before|skip\w*|disabled|w/o)[-_ ]?(?:ttt|slot|n[-_]?gram|etlb)|post[-_ ]?prequant|base(?:line)?_",
    re.IGNORECASE,
)


_OF_ANOTHER = re.compile(
    r"#\d{2,5}\b|→|\bbaseline\b|\bablation\b|\bvs\b|\bcontrol\b|\bvariant\b|\bprevious\b|\bnot legal\b", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Trace:
    """A log line that only a run with the feature prints. `scored` when it is the metric the claim quotes."""

    run: Run
    label: str
    scored: bool
    source: Location


@worked_out_once
def statements(submission: Submission) -> tuple[Statement, ...]:
    """All statements of the folder's README and submission JSON."""
    metadata = own_metadata(submission)
    readme = tuple(statement for page in submission.readmes[:1] for statement in page.statements)
    return readme + (statements_of_metadata(metadata) if metadata is not None else ())


def denials(submission: Submission, topic: str) -> tuple[Statement, ...]:
    """Denials of a feature that speak for the submission: bullets, headings, JSON; prose after those. Table cells label the
    rows of ablations and don't count, nor do sentences that name other pull requests or the result of an arm without it."""
    order = {"bullet": 0, "json": 1, "heading": 2, "prose": 3}
    found = [
        statement
        for statement in statements(submission)
        if statement.topic == topic
        and statement.polarity is Polarity.DENIED
        and statement.form in order
        and not of_another(statement)
    ]
    return tuple(sorted(found, key=lambda statement: (order[statement.form], statement.source)))


def of_another(statement: Statement) -> bool:
    """Whether a sentence names another pull request, or the result of an arm of an ablation."""
    return _OF_ANOTHER.search(statement.sentence) is not None


def openly_claimed(submission: Submission, topic: str) -> bool:
    """Whether a heading or the JSON claims the feature: a denial elsewhere then speaks of one kind or one part of it."""
    topics = ("ttt", "prequant-ttt") if topic in ("ttt", "eval-adaptation") else (topic,)
    return any(claim.form in ("heading", "json") for one in topics for claim in asserted(submission, one))


def asserted(submission: Submission, topic: str) -> tuple[Statement, ...]:
    return tuple(found for found in statements(submission) if found.topic == topic and found.polarity is Polarity.ASSERTED)


def traces(run: Run, quoted: Metric | None, topic: str) -> Iterable[Trace]:
    """Metrics and timings of a run that name the feature as done: the quoted metric first."""
    metrics = [metric for metric in run.metrics if metric.bpb is not None or metric.loss is not None]
    for metric in sorted(metrics, key=lambda metric: metric is not quoted):
        if _shows(metric.label, topic):
            yield Trace(run, metric.label, metric is quoted, metric.source)
    for timing in run.timings:
        if _shows(timing.label, topic):
            yield Trace(run, timing.label, False, timing.source)


def _shows(label: str, topic: str) -> bool:
    if _MARKS[topic].search(label) is None:
        return False
    if topic == "prequant-ttt":
        return "post" not in label.lower()
    return _PREQUANT.search(label) is None and _ABSENT.search(label) is None
