"""CLM008: of several scores in a log, the claim quotes one that the rules do not allow."""

from __future__ import annotations

import re
from textwrap import shorten

from audits import adaptation, mixtures
from verifier.engine.context import Context
from verifier.ledger.claims import HeadlineRun, headline_runs
from verifier.program.analysis import analysis_of
from verifier.program.queries import has_source, reports_printing, scores_of, slice_of, updates_in
from verifier.program.values import NO_LABELS, Seq, Site
from verifier.rule import Decision, Finding, Level, Outcome, Rule
from verifier.submission.logs.model import Metric

_PULL = "https://github.com/openai/parameter-golf/pull/"
_SCORING = frozenset({"TTT001", "TTT003", "TTT004", "SLT001", "NGR001", "MIX001", "MIX002", "PPM001"})
"""Rules about the path that forms the quoted score. A model that is illegal before it is scored is another matter: then no
metric of the log is eligible."""
_NODES = 20_000
"""Steps behind a printed score that are looked at; of a score with more nothing is said."""
_TELLING = re.compile(r"two[-_ ]?pass|re-?scor|oracle|best[-_ ]of|full[-_ ]?rescore|hindsight", re.IGNORECASE)
"""Labels of scores that the rules don't allow. They only point at lines to print, never to a verdict."""


def check(context: Context) -> Decision:
    headlines = [headline for headline in headline_runs(context.submission) if headline.metric is not None]
    if not headlines:
        return Decision.not_available("no log of a claimed run shows the claimed score, so its path is unknown")
    # A run that prints the claimed value shows what the claim quotes; the others' last scores may be of another path.
    headline = next((one for one in headlines if one.explained), headlines[0])
    rules = [rule for rule in (*adaptation.RULES, *mixtures.RULES) if rule.code in _SCORING]
    answers = [(rule, rule.decide(context)) for rule in rules]
    for outcome in (Outcome.FAIL, Outcome.REVIEW):
        blamed = [(rule, cause) for rule, answer in answers for cause in answer.findings[:1] if answer.outcome is outcome]
        if not blamed:
            continue
        for other in _others(headline):
            if _is_apart(context, other, [cause for _, cause in blamed]):
                return Decision.of([_finding(headline, other, *blamed[0], outcome)])
        codes = ", ".join(rule.code for rule, _ in blamed)
        return Decision.not_applicable(
            f"no other final score of the log is known to be formed in another way; {codes} speaks of the quoted one"
        )
    return _no_objection(headline, answers)


def _no_objection(headline: HeadlineRun, answers: list[tuple[Rule, Decision]]) -> Decision:
    quoted = _quoted(headline)
    telling = [metric for metric in headline.run.metrics if metric is not quoted and _TELLING.search(metric.label)]
    facts = [
        Finding(
            Outcome.INFO,
            f"the log also prints {metric.label}, a score that the rules would not allow; the claim does not quote it",
            (metric.source, quoted.source),
        )
        for metric in telling[-1:]
    ]
    unsettled = [rule.code for rule, answer in answers if answer.outcome in (Outcome.NOT_AVAILABLE, Outcome.ERROR)]
    if unsettled:
        return Decision.not_available(f"whether the quoted score is formed legally is open ({', '.join(unsettled)})", *facts)
    return Decision.passed(
        f"the path of the quoted {quoted.label or 'score'} breaks none of {', '.join(sorted(_SCORING))}", *facts
    )


def _quoted(headline: HeadlineRun) -> Metric:
    assert headline.metric is not None
    return headline.metric


def _others(headline: HeadlineRun) -> list[Metric]:
    """Final scores of the same run with another value than the quoted one; the most precise print of each comes last."""
    quoted = _quoted(headline)
    final = [
        metric
        for metric in headline.run.final_metrics
        if metric.bpb is not None and "[" not in metric.label and metric is not quoted
    ]
    return [metric for metric in reversed(final) if quoted.bpb is None or metric.bpb is None or not metric.bpb.agrees(quoted.bpb)]


def _is_apart(context: Context, other: Metric, causes: list[Finding]) -> bool:
    """Whether the other score is known to be formed without what is blamed for the quoted one: everything that its print was computed
    from was followed, and no blamed line is among it. Where learning is blamed, the lines that learn count: both scores may be
    formed by one evaluation function."""
    analysis = analysis_of(context)
    if not analysis.available or analysis.unentered:
        return False
    trace = analysis.run
    reports = reports_printing(trace, other.source.excerpt)
    scores = [score for report in reports for score in scores_of(report, trace)]
    nodes = list(slice_of(Seq("tuple", tuple(value for report in reports for value in report.values)), _NODES))
    if not scores or len(nodes) >= _NODES:
        return False
    labels = NO_LABELS.union(*(event.labels for event in (*reports, *scores)))
    learned = {_place(event.site) for event in updates_in(labels, trace) if has_source(event.tokens, "val")}
    # A helper that prints all scores is a part of none.
    printing = {_place(site) for report in reports for site in (report.site, *report.stack)}
    printing |= {_place(node.site) for node in nodes if node.op == "fstring" and node.site is not None}
    formed = {_place(score.site) for score in scores} | {_place(node.site) for node in nodes if node.site is not None}
    learning = {_place(event.site) for event in trace.of("update", "write") if has_source(event.tokens, "val")}
    for cause in causes:
        blamed = {(place.path, place.layer, place.line or 0) for place in cause.locations}
        if (blamed & learning and blamed & learned) or (not blamed & learning and blamed & (learned | formed - printing)):
            return False
    return True


def _place(site: Site) -> tuple[str, int, int]:
    return site.path, site.layer, site.line


def _finding(headline: HeadlineRun, other: Metric, rule: Rule, cause: Finding, outcome: Outcome) -> Finding:
    quoted = _quoted(headline)
    name = quoted.label or "a score"
    told = f"the claim quotes {name}" if headline.explained else f"the score that is taken for the claim is {name}"
    return Finding(
        outcome,
        f"{told}, and {rule.code} says of its path: {shorten(cause.message, 200, placeholder=' ...')}; the log also has "
        f"{other.label or 'another final score'}, which is formed without it",
        tuple(dict.fromkeys((quoted.source, *cause.locations[:4], other.source))),
        cause.confidence,
        remediation="claim a score that is formed in one causal pass, and print the other one as a diagnostic",
    )


INELIGIBLE_METRIC = Rule(
    code="CLM008",
    name="ineligible-metric",
    level=Level.ERROR,
    summary="the headline metric is one that the rules do not allow as the score",
    why="A log can hold several scores. A two-pass or oracle score may be printed as a diagnostic, but it must not be the claim. Where "
    "the log has another final score, the choice of the metric is the mistake, and it can be corrected without a new run.",
    example="violation: the claim quotes `ngram_two_pass_exact`, the log also has `legal_ttt_exact`\n"
    "legal: the claim quotes `legal_ttt_exact`, the two-pass score stands beside it as a diagnostic",
    settles="which code path produced the quoted number",
    sources=(_PULL + "1242",),
    check=check,
)

RULES = (INELIGIBLE_METRIC,)
