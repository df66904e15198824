"""Which printed number is the headline, and which losses it was formed from."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from verifier.engine.context import Context
from verifier.ledger.claims import headline_runs, is_unlogged
from verifier.program.analysis import Analysis, analysis_of
from verifier.program.events import Event, Trace
from verifier.program.queries import has_source, headline_reports, is_matched, is_silent, scores_of
from verifier.rule import Decision

_A_NUMBER = re.compile(r"bpb\s?[:=≈]?(?:\s|$)", re.IGNORECASE)
"""`BPB:` with a number that is put in behind it."""


@dataclass(frozen=True, slots=True)
class Headline:
    """Print statements that may have printed the headline, in program order. `matched` when the headline's own log line was found
    among them; else they are the last reports of the program."""

    reports: tuple[Event, ...]
    matched: bool
    ambiguous: bool = False
    """Whether several places print its line, and the log does not tell which of them printed the headline."""
    unread: bool = False
    """Whether the headline's line was not found and other places print a BPB of which no loss is known."""

    def concerned(self, wanted: Callable[[Event], bool]) -> tuple[Event, bool] | None:
        """The last report of which something holds, and whether that is sure to be the headline."""
        hits = [report for report in self.reports if wanted(report)]
        if not hits:
            return None
        last = self.matched and not self.ambiguous and hits[-1] is self.reports[-1]
        sure = last or (len(hits) == len(self.reports) and not self.unread)
        return hits[-1], sure

    def behind(self, score: Event, alike: Sequence[Event]) -> tuple[Event, bool]:
        """The last report that a loss flows into, and whether the headline is sure to be formed from losses that are alike."""
        own = [report for report in self.reports if ("score", score.index) in report.labels]
        marks = {("score", one.index) for one in alike}
        concerned = self.concerned(lambda report: not marks.isdisjoint(report.labels))
        return own[-1], concerned is not None and concerned[1]


def headline_of(analysis: Analysis, trace: Trace) -> Headline:
    """The reports of the run's headline. A text that several lines print (console and file) is one report."""
    scored = headline_reports(trace, analysis.submission)
    matched = is_matched(trace, analysis.submission)
    if matched:
        # `quantized` stands in a line of `quantized_ttt` too: the longest text is the line's own.
        sizes = [len("".join(report.text.split())) for report in scored]
        scored = tuple(report for report, size in zip(scored, sizes, strict=True) if size == max(sizes))
    else:
        scored = _last_reports(trace, scored)
    places = {(report.stack, report.text): report for report in scored}
    reports = tuple(sorted(places.values(), key=lambda report: report.index))
    if not matched or len({report.site for report in reports}) < 2:
        return Headline(reports, matched, unread=not matched and _prints_others(trace, reports))
    ranks = _ranks(analysis)
    if len(ranks) == 1:
        rank, count = ranks.pop()
        if count == len(reports):
            return Headline((reports[rank],), matched)
        # Fewer lines than places: some were not reached. The last line is the last place's, if that one was.
    return Headline(reports, matched, ambiguous=any(rank + 1 < count for rank, count in ranks) or len(ranks) > 1)


def _prints_others(trace: Trace, reports: Sequence[Event]) -> bool:
    known = {report.site for report in reports}
    return any(
        _A_NUMBER.search(other.text) is not None and not scores_of(other, trace) and other.site not in known
        for other in trace.of("report")
    )


def _ranks(analysis: Analysis) -> set[tuple[int, int]]:
    """Which of how many lines with its label the headline is, in the logs of the claimed runs."""
    found = set()
    for chosen in headline_runs(analysis.submission):
        if chosen.metric is not None:
            lines = [metric.source for metric in chosen.run.metrics if metric.label == chosen.metric.label]
            found.add((lines.index(chosen.metric.source), len(lines)))
    return found


def _last_reports(trace: Trace, scored: tuple[Event, ...]) -> tuple[Event, ...]:
    """What is printed after the model has been written and outside of loops: progress lines are no results."""
    saved = max((event.index for event in trace.of("save")), default=-1)
    final = tuple(report for report in scored if report.index > saved and not report.loops)
    return final or tuple(report for report in scored if not report.loops) or scored


def validation_scores(report: Event, trace: Trace) -> tuple[Event, ...]:
    """The losses on validation tokens that flow into a report."""
    return tuple(score for score in scores_of(report, trace) if has_source(score.tokens, "val"))


def is_sure(trace: Trace, *events: Event) -> bool:
    """Whether nothing that is unknown decides whether the events happen, and no log speaks against them."""
    return all(event.certain and not is_silent(event, trace) for event in events)


def unanswered(context: Context) -> Decision | None:
    """Why there is no answer about the headline, if there is none."""
    analysis = analysis_of(context)
    if not analysis.available:
        return Decision.not_available(analysis.why_not)
    if not analysis.run.of("report") or not headline_of(analysis, analysis.run).reports:
        return Decision.not_available("no printed number that a validation loss flows into was found in the script")
    return None


def cleared(context: Context, reason: str) -> Decision:
    """`pass` if the whole program was followed and the headline of the logs is printed by it, else `not-available`."""
    analysis = analysis_of(context)
    if gap := analysis.gap():
        return Decision.not_available(gap)
    if is_unlogged(context.submission):
        return Decision.not_available("no log of a claimed run shows the claimed score, so its path is not known")
    headline = headline_of(analysis, analysis.run)
    if not headline.matched and any(one.metric for one in headline_runs(context.submission)):
        return Decision.not_available("the line of the script that prints the headline metric was not found")
    if not any(validation_scores(report, analysis.run) for report in headline.reports):
        return Decision.not_available("no loss on validation tokens was seen to flow into the headline")
    return Decision.passed(reason)
