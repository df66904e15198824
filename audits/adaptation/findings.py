"""How a forbidden use of learned state is told: the chain of lines from the update to the printed number."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from audits.adaptation.headline import is_sure, validation_scores
from audits.adaptation.order import LATER, SAME, Adaptation, Use, adaptations_of
from verifier.engine.context import Context
from verifier.evidence import Location
from verifier.program.analysis import Analysis, analysis_of
from verifier.program.events import Event, Trace
from verifier.program.queries import is_silent
from verifier.program.values import Data, Site
from verifier.rule import Confidence, Finding, Outcome

_MOST = 4
"""Findings of one rule: further places of the same kind add nothing."""


def findings_of(
    uses: Iterable[Use], adaptation: Adaptation, context: Context, statement: str, remediation: str
) -> tuple[Finding, ...]:
    """One finding for each line that updates; the surest and shortest chain stands for the others."""
    analysis = analysis_of(context)
    places: dict[Site, list[Use]] = {}
    for use in uses:
        places.setdefault(use.update.site, []).append(use)
    found = []
    for held in list(places.values())[:_MOST]:
        use = min(held, key=lambda one: (not is_proven(adaptation, one), one.score.index, one.update.index))
        proven = is_proven(adaptation, use)
        found.append(
            Finding(
                Outcome.FAIL if proven else Outcome.REVIEW,
                statement + _which(use) + ("" if proven else f"; {_open_question(adaptation, use)}"),
                chain(analysis, adaptation.trace, use.update, use.score, use.report),
                Confidence.HIGH if proven else Confidence.MEDIUM,
                remediation=remediation,
            )
        )
    return tuple(found)


def is_proven(adaptation: Adaptation, use: Use) -> bool:
    return not adaptation.assumed and use.sure and use.shown and is_sure(adaptation.trace, use.update, use.score, use.report)


def _which(use: Use) -> str:
    if use.relation == SAME:
        return ": the chunk that is scored has been learned from before"
    if use.relation == LATER:
        return ": text that comes after the scored chunk has been learned from"
    return ": the pass that learns covers the tokens that are scored afterwards"


def _open_question(adaptation: Adaptation, use: Use) -> str:
    if adaptation.assumed:
        return "there is no log, and the default settings switch this evaluation off: the log of the run would tell"
    events = (use.update, use.score, use.report)
    guard = next((guard for event in events for guard in event.guards if guard.on_configuration), None)
    if guard is not None:
        return f"whether it runs depends on `{guard.text[:80]}`, whose value in the run is not known"
    if any(is_silent(event, adaptation.trace) for event in events):
        return "no log shows what this path prints, so the run may not have taken it"
    if not use.shown:
        return "that what is learned from is what is scored could not be read from the code"
    if use.update.kind == "write" and use.sure is False and adaptation.headline.matched:
        return "whether it was filled beyond the text before the scored stretch could not be read"
    return "several numbers are printed, and which of them is the headline is not known"


def review_scores(context: Context, look: Callable[[Event, Event], Data | None], message: str, remediation: str) -> list[Finding]:
    """A finding for each place that forms a loss behind the headline in which `look` (at the loss and its report) sees something."""
    analysis = analysis_of(context)
    found: dict[Site, Finding] = {}
    for adaptation in adaptations_of(context):
        for report in adaptation.headline.reports:
            for score in validation_scores(report, adaptation.trace):
                node = look(score, report) if score.site not in found else None
                if node is not None and node.site is not None:
                    places = (analysis.location(node.site), *chain(analysis, adaptation.trace, score, report))
                    found[score.site] = Finding(Outcome.REVIEW, message, places, Confidence.MEDIUM, remediation=remediation)
    return list(found.values())


def chain(analysis: Analysis, trace: Trace, *events: Event) -> tuple[Location, ...]:
    """The places of events in order, then the log lines that show the way to them. For a print through a helper that others use too, the line that calls the helper."""
    sites = [_caller(trace, event) if event.kind == "report" else event.site for event in events]
    return tuple(dict.fromkeys([*(analysis.location(site) for site in sites), *analysis.proofs(*events)]))


def _caller(trace: Trace, report: Event) -> Site:
    callers = {other.stack[-1] for other in trace.of("report") if other.site == report.site and other.stack}
    return report.stack[-1] if len(callers) > 1 else report.site
