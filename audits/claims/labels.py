"""CLM006: one metric label with two values, or with the values of another measurement."""

from __future__ import annotations

import re
from collections.abc import Iterator

from verifier.engine.context import Context
from verifier.ledger.claims import claimed_runs
from verifier.rule import Confidence, Decision, Finding, Level, Outcome, Rule
from verifier.submission.logs.model import Metric, Run

_PULL = "https://github.com/openai/parameter-golf/pull/"

LABEL = re.compile(r"[\w:+-]{2,80}(?: stride:\d{1,4})?")
"""One word: labels with running parts (`candidate name:blocks.6 ...`) are steps of a search."""


def check(context: Context) -> Decision:
    runs = [run for run in claimed_runs(context.submission) or context.submission.runs if run.final_metrics]
    if not runs:
        return Decision.not_available("no log prints a final metric")
    findings = [finding for run in runs for finding in _relabelled(run)]
    if findings:
        return Decision.of(findings)
    return Decision.passed(f"each label stands for one value in {len(runs)} logs")


def _relabelled(run: Run) -> Iterator[Finding]:
    """Labels of a run that come again with another value. When the later value is that of another label, the label names the
    wrong measurement; without such a twin the same evaluation may have run twice, which a human has to tell."""
    first: dict[str, Metric] = {}
    told: set[str] = set()
    for metric in run.final_metrics:
        known = first.setdefault(metric.label, metric)
        if known is metric or metric.label in told or not LABEL.fullmatch(metric.label) or not _differs(known, metric):
            continue
        told.add(metric.label)
        twin = next((other for other in run.final_metrics if other.label != metric.label and _same(other, metric)), None)
        assert known.bpb is not None
        assert metric.bpb is not None
        message = f"{run.path}: {metric.label} is printed with {known.bpb.text} and again with {metric.bpb.text}"
        if twin is not None:
            message += f", which is the value of {twin.label}"
        yield Finding(
            Outcome.FAIL if twin is not None else Outcome.REVIEW,
            message,
            (known.source, metric.source, *((twin.source,) if twin is not None else ())),
            Confidence.HIGH if twin is not None else Confidence.LOW,
            remediation="print each evaluation under its own label",
        )


def _differs(one: Metric, other: Metric) -> bool:
    """Whether two lines print different values in the same words; the reader's label may leave out a qualifier in brackets."""
    return one.bpb is not None and other.bpb is not None and not one.bpb.agrees(other.bpb) and _words(one) == _words(other)


def _words(metric: Metric) -> str:
    """The line up to its BPB, without figures."""
    text = metric.source.excerpt
    end = text.find(metric.bpb.text) if metric.bpb is not None else -1
    return re.sub(r"[\d.,]+", "0", text[:end] if end >= 0 else text)


def _same(one: Metric, other: Metric) -> bool:
    return one.bpb is not None and other.bpb is not None and one.bpb.text == other.bpb.text


MISLEADING_LABEL = Rule(
    code="CLM006",
    name="misleading-metric-label",
    level=Level.WARNING,
    summary="one metric label is logged with values of another measurement, or twice with different values",
    why=(
        "Scripts that read logs take a label at its word. A sliding-window score printed as `roundtrip_exact` replaces the score "
        "of the plain round trip and can't be told apart from it."
    ),
    example=(
        "violation: `final_int6_roundtrip_exact val_bpb:1.10103685`, later `final_int6_roundtrip_exact val_bpb:1.07818677`\n"
        "legal: the second line reads `final_int6_sliding_window_exact val_bpb:1.07818677`"
    ),
    settles="the code that prints the two lines",
    sources=(_PULL + "1405",),
    check=check,
)

RULES = (MISLEADING_LABEL,)
