"""Which rule-relevant features the program executes, found in its execution rather than in the names of its settings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from audits.adaptation.offsets import is_offset
from audits.adaptation.order import loss_behind
from verifier.evidence import Location
from verifier.program.analysis import Analysis
from verifier.program.events import Event, Trace
from verifier.program.queries import has_source, is_silent, scores_of, updates_in
from verifier.program.values import Seq, Value, labels_of

_PAYLOAD_TOPICS = ("ttt", "eval-adaptation")
LIVE_TOPICS = ("prequant-ttt", *_PAYLOAD_TOPICS)
"""All features that are found in an execution."""


@dataclass(frozen=True, slots=True)
class LiveFeature:
    """A feature that a printed score was formed with: the line that adapts, the line that scores, the line that prints."""

    topic: str
    adapts: Event
    scores: Event
    prints: Event

    def places(self, analysis: Analysis) -> tuple[Location, ...]:
        """The chain of lines; a report made through a logging function is cited where that is called."""
        printed = self.prints.stack[-1] if self.prints.stack else self.prints.site
        sites = (*self.adapts.stack[-1:], self.adapts.site, self.scores.site, printed)
        return tuple(dict.fromkeys(analysis.location(site) for site in sites))


def live_features(trace: Trace, reports: Iterable[Event], logged: bool) -> tuple[LiveFeature, ...]:
    """The features behind these reports, one of each topic, the first in program order. Only what no unknown setting decides.
    `logged`: leave out paths that print lines which no log shows, because then the run took another way."""
    found: dict[str, LiveFeature] = {}
    for report in reports:
        for score in scores_of(report, trace):
            if not has_source(score.tokens, "val") or not score.certain:
                continue
            for event in updates_in(score.labels, trace):
                for topic in _topics(event, trace) if not (logged and is_silent(event, trace)) else ():
                    found.setdefault(topic, LiveFeature(topic, event, score, report))
    return tuple(found.values())


def _topics(event: Event, trace: Trace) -> Iterator[str]:
    """What changing state by validation tokens amounts to."""
    if not event.certain or not has_source(event.tokens, "val"):
        return
    if event.kind == "update" and any(label[0] == "score" for label in event.labels):
        if is_offset(event, loss_behind(event, trace)):
            # The sample's own delta or bias: what denies updates of the weights is silent about it.
            yield "eval-adaptation"
            return
        if _leads_to_artifact(event, trace):
            yield "prequant-ttt"
        yield from _PAYLOAD_TOPICS
    elif event.kind == "write" and _keeps_outputs(event) and not _leads_to_artifact(event, trace):
        yield "eval-adaptation"


def _leads_to_artifact(update: Event, trace: Trace) -> bool:
    """Whether a checkpoint that is written later holds what the update changed."""
    return any(
        event.index > update.index and ("upd", update.index) in (event.labels | labels_of(Seq("tuple", event.values)))
        for event in trace.of("save")
    )


def _keeps_outputs(event: Event) -> bool:
    return any(label[0] == "model" for label in labels_of(_written(event)))


def _written(event: Event) -> Value:
    return event.values[-1]


def unadapted(trace: Trace, reports: Iterable[Event]) -> bool:
    """Whether the whole execution is known and no state that validation tokens changed is behind these reports, not even under
    a setting whose value is unknown."""
    if trace.incomplete:
        return False
    return not any(
        has_source(event.tokens, "val") and (event.kind == "update" or _keeps_outputs(event))
        for report in reports
        for score in scores_of(report, trace)
        for event in updates_in(score.labels, trace)
        if event.kind in ("update", "write")
    )
