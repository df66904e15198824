"""What the rules about mixtures share: the flow of a submission, from evidence to an outcome."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from audits.mixtures.flow import Flow, data_in
from audits.mixtures.native import unread_code
from verifier.engine.context import Context
from verifier.evidence import Location
from verifier.ledger.claims import is_unlogged
from verifier.program.analysis import Analysis, analysis_of
from verifier.program.dormant import dormant_trace
from verifier.program.events import Event, Trace
from verifier.program.queries import has_source
from verifier.program.values import Site
from verifier.rule import Confidence, Decision, Finding, Outcome

type Suspects = Callable[[Context, Analysis, Flow], list[Finding]]


def flow_of(context: Context) -> Flow:
    """The graph behind the headline under the run's configuration, made once for all rules that ask."""
    held = context.memo.get("mixture-flow")
    if not isinstance(held, Flow):
        held = context.memo["mixture-flow"] = Flow(analysis_of(context).run, context.submission)
    return held


def _dormant_flow(context: Context, trace: Trace) -> Flow:
    held = context.memo.get("dormant-flow")
    if not isinstance(held, Flow):
        held = context.memo["dormant-flow"] = Flow(trace, context.submission, assumed=True)
    return held


def judge(context: Context, suspects: Suspects, absent: str, unproved: Callable[[Flow], str] | None = None) -> Decision:
    """Ask for findings; without any, pass only what was seen as a whole. `absent` says what was looked for; `unproved` why that it
    is absent is not enough, or nothing."""
    analysis = analysis_of(context)
    if not analysis.available:
        return Decision.not_available(analysis.why_not)
    flow = flow_of(context)
    findings = suspects(context, analysis, flow)
    dormant = dormant_trace(context) if not findings and not flow.matched else None
    if dormant is not None:
        findings = suspects(context, analysis, _dormant_flow(context, dormant))
    if findings:
        return Decision.of(findings)
    if gap := analysis.gap(native=False):
        return Decision.not_available(gap)
    if not flow.matched or not flow.reports:
        return Decision.not_available("the line of the script that prints the headline metric was not found")
    if is_unlogged(context.submission):
        return Decision.not_available("no log of a claimed run shows the claimed score, so its path is not known")
    if not any(has_source(node.labels, "val") for node in flow.spoken):
        return Decision.not_available("no loss was found behind the headline")
    if not flow.complete:
        return Decision.not_available("the headline depends on more steps than are looked at")
    unread = unread_code(context, analysis, flow)
    if unread:
        return Decision.not_available(unread)
    if unproved is not None and (missing := unproved(flow)):
        return Decision.not_available(missing)
    return Decision.passed(absent)


def accuse(
    analysis: Analysis, flow: Flow, message: str, sites: Iterable[Site | None], events: Iterable[Event], fix: str, doubt: str = ""
) -> Finding:
    """A finding that cites the chain of lines. It fails unless a setting that is not known decides whether the path runs, the
    headline's own line was not found, or there is a `doubt`."""
    reasons = [doubt] if doubt else []
    events = tuple(events)
    unknown = next((guard for event in events for guard in event.guards if guard.on_configuration), None)
    places = [*sites]
    if unknown is not None:
        reasons.append(f"`{unknown.text[:60]}` depends on a setting whose value in the run is not known")
        places.append(unknown.site)
    if flow.assumed:
        reasons.append("whether the run did this: there is no log, and the default settings switch this evaluation off")
    elif not flow.matched:
        reasons.append("which of the printed metrics is the headline is not certain")
    places += [_printed(report) for report in flow.reports[:1]]
    text = message + ("; to be settled: " + ", ".join(reasons) if reasons else "")
    outcome = Outcome.REVIEW if reasons else Outcome.FAIL
    confidence = Confidence.MEDIUM if reasons else Confidence.HIGH
    cited = tuple(dict.fromkeys([*_locations(analysis, places), *analysis.proofs(*events, *flow.reports[:1])]))
    return Finding(outcome, text, cited, confidence, remediation=fix)


def _printed(report: Event) -> Site:
    """Where the message is put together, which is more telling than the line of a logging function."""
    return next(
        (node.site for value in report.values for node in data_in(value) if node.op == "fstring" and node.site), report.site
    )


def _locations(analysis: Analysis, sites: Iterable[Site | None]) -> tuple[Location, ...]:
    return tuple(analysis.location(site) for site in dict.fromkeys(sites) if site is not None)
