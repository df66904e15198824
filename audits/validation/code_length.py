"""EVA005 and EVA003: the headline must be the mean code length of every target, once, by the artifact that is shipped."""

from __future__ import annotations

from collections.abc import Sequence

from audits.coverage.one_share import share_of_one_process
from audits.unexamined import needs_execution
from verifier.engine.context import Context
from verifier.ledger.claims import claimed_runs
from verifier.program.analysis import Analysis, analysis_of
from verifier.program.events import Event
from verifier.program.queries import events_behind, has_source, headline_reports, scores_of, slice_of
from verifier.program.values import Data, Seq, Site, Value, is_scored, labels_of
from verifier.rule import Confidence, Decision, Finding, Level, Outcome, Rule, Tier

_README = "https://github.com/openai/parameter-golf#readme"
_POSITIONS = frozenset(
    {"call:torch.arange", "call:torch.linspace", "call:torch.logspace", "call:numpy.arange", "call:numpy.linspace"}
)
_COMPARISONS = frozenset({"<", "<=", ">", ">=", "==", "!=", ".lt", ".le", ".gt", ".ge", ".eq", ".ne"})
_COUNTS = frozenset({"index", "slice", "len", "element", "loopvar", ".sum", ".item", ".numel", ".size", "attr:shape"})
_REMEDY = "Report the sum of -log p over every target, once, divided by their number (and by ln 2 times their bytes)."


def check(context: Context) -> Decision:
    analysis = analysis_of(context)
    if not analysis.available:
        return Decision.not_available(analysis.why_not)
    trace = analysis.run
    reports = headline_reports(trace, context.submission)[-2:]
    losses = [loss for report in reports for loss in scores_of(report, trace) if has_source(loss.tokens, "val")]
    if not losses:
        return Decision.not_available("no loss on validation tokens that flows into the headline was found in the script")
    finding = (
        _smoothed(analysis, losses)
        or _weighted(analysis, reports)
        or _skipped(analysis, losses)
        or _one_process(analysis, context, reports, losses)
    )
    if finding is not None:
        return Decision.of([finding])
    if gap := analysis.gap():
        return Decision.not_available(gap)
    return Decision.passed(
        "the headline's losses are neither smoothed, weighted by position nor dropped by outcome, and ranks are summed"
    )


def _finding(analysis: Analysis, certain: bool, message: str, sites: list[Site]) -> Finding:
    return Finding(
        Outcome.FAIL if certain else Outcome.REVIEW,
        message,
        tuple(dict.fromkeys(analysis.location(site) for site in sites)),
        Confidence.HIGH if certain else Confidence.MEDIUM,
        remediation=_REMEDY,
    )


def _smoothed(analysis: Analysis, losses: list[Event]) -> Finding | None:
    for loss in losses:
        for node in slice_of(loss.values[0], 300):
            smoothing = node.argument("label_smoothing") if node.site == loss.site else None
            if isinstance(smoothing, Data) and isinstance(smoothing.const, float | int) and smoothing.const > 0:
                message = f"the headline's loss is formed with label smoothing {smoothing.const:g}: it is not the code length of the targets"
                return _finding(analysis, loss.certain, message, [loss.site])
    return None


def _weighted(analysis: Analysis, reports: tuple[Event, ...]) -> Finding | None:
    """A product of losses with numbers made from positions. Comparisons of positions are masks, and masks are fine."""
    for report in reports:
        for value in report.values:
            for node in slice_of(value, 4000):
                if (
                    node.op not in ("*", ".mul", "call:torch.mul", "call:torch.dot", "@")
                    or len(node.args) != 2
                    or node.site is None
                ):
                    continue
                for loss, weight in (node.args, node.args[::-1]):
                    if is_scored(loss) and not is_scored(weight) and _from_positions(weight):
                        message = "the losses that make the headline are weighted by their position before they are averaged"
                        return _finding(analysis, report.certain, message, [node.site, report.site])
    return None


def _from_positions(value: Value) -> bool:
    """Whether numbers that grow with the position (and nothing about tokens or the model) make this factor."""
    if any(label[0] in ("src", "model", "score", "state") for label in labels_of(value)):
        return False
    pending, seen = [value], {id(value)}
    while pending and len(seen) < 80:
        current = pending.pop()
        if isinstance(current, Seq):
            pending += current.items
        elif isinstance(current, Data):
            if current.op in _POSITIONS:
                return True
            # An index or a comparison only picks, a sum or a length only counts; arithmetic keeps the number.
            if current.op not in _COMPARISONS and current.op not in _COUNTS and not current.op.startswith("summary:"):
                for one in current.args:
                    if id(one) not in seen:
                        seen.add(id(one))
                        pending.append(one)
    return False


def _skipped(analysis: Analysis, losses: list[Event]) -> Finding | None:
    """Losses of some targets are set to a constant, and which ones depends on what the model made of them."""
    trace = analysis.run
    indices = {loss.index for loss in losses}
    loops = {label[1] for loss in losses for label in loss.tokens if label[0] == "loop"}
    for event in trace.of("write"):
        in_scoring = any(key in loops for key, _ in event.loops)
        if (
            len(event.values) < 3
            or not in_scoring
            or not {loss.index for loss in events_behind(labels_of(event.values[0]), trace, "score")} & indices
        ):
            continue
        key, written = event.values[1], event.values[2]
        constant = isinstance(written, Data) and written.known
        if constant and any(node.op in _COMPARISONS and _by_outcome(node) for node in slice_of(key, 60)):
            message = "losses of some targets are replaced by a constant depending on how well they were predicted"
            return _finding(analysis, event.certain, message, [event.site])
    return None


def _by_outcome(node: Data) -> bool:
    return any(label[0] == "score" for one in node.args for label in labels_of(one))


def _one_process(analysis: Analysis, context: Context, reports: Sequence[Event], losses: list[Event]) -> Finding | None:
    """Windows are shared out to ranks and nothing puts the sums together again."""
    sizes = {run.world_size.text for run in claimed_runs(context.submission) if run.world_size is not None}
    if not sizes or "1" in sizes:
        return None
    share = share_of_one_process(analysis, reports, losses)
    if share is None:
        return None
    message = "each process scores its share of the validation set, and the sums are never put together: the headline is one rank's value"
    return _finding(analysis, False, message, [share.cut, share.loss])


FRESH_EVALUATION = Rule(
    code="EVA003",
    name="fresh-eval-mismatch",
    level=Level.ERROR,
    tier=Tier.DATA,
    summary="an independent evaluation of the artifact differs from the logged BPB by more than the tolerance",
    why="The strongest check of a score is to measure it again.",
    example="violation: logged 1.0810, measured 1.1205\nlegal: logged 1.0810, measured 1.0810",
    settles="an evaluation of the committed artifact over the full validation set",
    sources=(_README,),
    check=needs_execution,
)
NOT_A_CODE_LENGTH = Rule(
    code="EVA005",
    name="not-a-code-length",
    level=Level.ERROR,
    summary="the headline loss is not the plain mean negative log-likelihood of every target",
    why="Weighted, smoothed or partial losses are numbers, but not bits per byte.",
    example="violation: loss = (nll * weight).sum() / weight.sum(); bytes still count every target\n"
    "legal: loss = nll.sum() / nll.numel(); bpb = nll.sum() / (ln 2 * bytes.sum())",
    settles="how the reported number is accumulated",
    sources=(_README, "https://github.com/openai/parameter-golf/issues/1017"),
    check=check,
)

RULES = (FRESH_EVALUATION, NOT_A_CODE_LENGTH)
