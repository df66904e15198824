"""CLM001: the claimed score against everything the logs print."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from verifier.challenge.challenge import Challenge
from verifier.engine.context import Context
from verifier.evidence import Fact, Location, Number
from verifier.ledger.claims import (
    ROUNDING,
    HeadlineRun,
    claimed_headline,
    claimed_runs,
    claimed_seeds,
    fact_tolerance,
    headline_runs,
    own_metadata,
)
from verifier.ledger.denominator import Denominator, Stream, measure_run
from verifier.ledger.statistics import LN2
from verifier.rule import Decision, Finding, Level, Measured, Outcome, Rule
from verifier.submission.logs.model import Metric, Run
from verifier.submission.submission import Submission

MOST_RUNS = 8
"""Subsets are tried among at most this many runs (2^8 means)."""
RIGHT_BYTES = 2e-5
"""Relative distance at which a claim is a logged loss over the right bytes: counts of them differ by a clipped end."""

_RESULTS = re.compile(r"(?!(?:.*/)?submission[^/]*\.json$).*\.(?:tsv|csv|jsonl?)$")
"""Files of results that are no logs."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """A logged value or mean that is the claim: `what` says which, `plain` when it is the one a reader expects."""

    what: str
    value: float
    plain: bool
    sources: tuple[Location, ...]


def check(context: Context) -> Decision:
    submission = context.submission
    claimed = claimed_headline(submission).bpb
    if claimed is None:
        return Decision.not_available("neither submission.json nor README states a usable val_bpb")
    scored = [run for run in submission.runs if any(metric.bpb is not None for metric in run.metrics)]
    if not scored:
        return Decision.not_available("no log prints a val_bpb that the claim could be compared with")
    found = next(_explanations(submission, scored, claimed), None)
    if found is not None:
        return _explained(claimed, found)
    corrected = _corrected(submission, scored, claimed, context.challenge)
    if corrected is not None:
        return Decision.of([corrected])
    return _unexplained(submission, scored, claimed)


def _explained(claimed: Fact, found: Explanation) -> Decision:
    reason = f"the claimed {claimed.printed} is {found.what} ({found.value:.8g})"
    if found.plain:
        return Decision.passed(reason)
    finding = Finding(
        Outcome.REVIEW,
        reason,
        (claimed.source, *found.sources[:4]),
        measured=Measured(found.value, "bpb"),
        remediation="claim the mean of the final metric over all seeds, or say which value is quoted and why",
    )
    return Decision.of([finding])


def _explanations(submission: Submission, scored: Sequence[Run], claimed: Fact) -> Iterator[Explanation]:
    """Explanations from the expected one to the strange ones."""
    # A line in the middle of a log that prints the claim is explained further below.
    quoted = [
        headline
        for headline in headline_runs(submission)
        if headline.metric is not None and headline.metric.bpb and headline.metric in headline.run.final_metrics
    ]
    whole = _mean_of([headline.metric for headline in quoted if headline.metric is not None])
    if whole is not None and _agrees(whole[0], whole[1], claimed):
        yield _of_quoted(quoted, whole[0])
    finals = [run.headline for run in scored if run.headline is not None]
    everything = _mean_of(finals)
    if everything is not None and _agrees(everything[0], everything[1], claimed):
        yield Explanation(f"the mean over all {len(finals)} logs", everything[0], True, _places(finals))
    for metric in finals:
        if metric.bpb is not None and _agrees(metric.bpb.value, metric.bpb.half_unit, claimed):
            best = metric.bpb.value == min(other.bpb.value for other in finals if other.bpb is not None)
            alone = len(finals) == 1
            what = (
                "the only log's final value"
                if alone
                else f"the final value of one log of {len(finals)}{', the best' if best else ''}"
            )
            yield Explanation(what, metric.bpb.value, alone, (metric.source,))
    for size in range(len(finals[:MOST_RUNS]) - 1, 1, -1):
        for chosen in combinations(finals[:MOST_RUNS], size):
            mean = _mean_of(chosen)
            if mean is not None and _agrees(mean[0], mean[1], claimed):
                yield Explanation(f"the mean over {size} of {len(finals)} logs", mean[0], False, _places(chosen))
    yield from _other_metrics(scored, claimed)
    if whole is not None and abs(whole[0] - float(claimed.value)) <= ROUNDING + 1e-9:
        what = f"within {ROUNDING:g} of the mean over the claimed logs"
        yield Explanation(what, whole[0], True, _places([headline.metric for headline in quoted if headline.metric]))
    near = min(
        (metric for run in scored for metric in run.metrics if metric.bpb is not None),
        key=lambda metric: abs(metric.bpb.value - float(claimed.value)) if metric.bpb else math.inf,
    )
    if near.bpb is not None and abs(near.bpb.value - float(claimed.value)) <= ROUNDING + 1e-9:
        yield Explanation(
            f"within {ROUNDING:g} of {_name(near)}, but no logged value or mean", near.bpb.value, False, (near.source,)
        )


def _of_quoted(quoted: Sequence[HeadlineRun], mean: float) -> Explanation:
    """The claim is the mean of one metric over the claimed runs. A metric that is not the last is expected only when the later
    ones are better: then nothing was gained by the choice."""
    metrics = [headline.metric for headline in quoted if headline.metric is not None]
    over = f"over {len(quoted)} runs" if len(quoted) > 1 else f"of {quoted[0].run.path}"
    plain = all(_nothing_gained(headline) for headline in quoted)
    later = "" if plain else ", although the log ends with a worse one"
    kind = "the mean of" if len(quoted) > 1 else "the value of"
    return Explanation(f"{kind} {metrics[0].label or 'the final metric'} {over}{later}", mean, plain, _places(metrics))


def _nothing_gained(headline: HeadlineRun) -> bool:
    last, metric = headline.run.headline, headline.metric
    if last is None or metric is None or last is metric or last.bpb is None or metric.bpb is None:
        return True
    return last.bpb.value <= metric.bpb.value + max(last.bpb.half_unit, metric.bpb.half_unit)


def _other_metrics(scored: Sequence[Run], claimed: Fact) -> Iterator[Explanation]:
    """A mean or a single value of a metric that is not the final one: a diagnostic, an in-training validation, a running value."""
    labels = dict.fromkeys(metric.label for metric in scored[0].final_metrics)
    for label in labels:
        same = [next((one for one in reversed(run.final_metrics) if one.label == label and one.bpb), None) for run in scored]
        mean = _mean_of([one for one in same if one is not None])
        if mean is not None and all(same) and _agrees(mean[0], mean[1], claimed):
            yield Explanation(f"the mean of {label} over {len(same)} logs", mean[0], False, _places([one for one in same if one]))
    for run in scored:
        for metric in run.metrics:
            if metric.bpb is not None and _agrees(metric.bpb.value, metric.bpb.half_unit, claimed):
                yield Explanation(f"{_name(metric)} of {run.path}", metric.bpb.value, False, (metric.source,))


def _corrected(submission: Submission, scored: Sequence[Run], claimed: Fact, challenge: Challenge) -> Finding | None:
    """The claim is a logged loss over the right bytes of the validation text, where the log's own BPB divides by others. A claim
    that is worse than what the log prints is a correction; a better one is for a human."""
    runs = [run for run in claimed_runs(submission) if run in scored] or list(scored)
    for label in dict.fromkeys(metric.label for metric in reversed(runs[0].final_metrics)):
        metrics = [next((one for one in reversed(run.final_metrics) if one.label == label), None) for run in runs]
        lines = [measure_run(submission, run, one, challenge) if one else None for run, one in zip(runs, metrics, strict=True)]
        wrong = [line for line in lines if line is not None and line.stream in (Stream.MISCOUNT, Stream.MIXTURE, Stream.OFF)]
        logged = _mean_of([line.metric for line in wrong])
        if len(wrong) < len(runs) or logged is None:
            continue
        loss = math.fsum(line.metric.loss.value for line in wrong if line.metric.loss is not None) / len(wrong)
        for ratio in _right_ratios(wrong[0], challenge):
            value = loss / (LN2 * ratio)
            if abs(value - float(claimed.value)) > fact_tolerance(claimed) + RIGHT_BYTES * value:
                continue
            worse = value > logged[0]
            over = f"over {len(wrong)} runs" if len(wrong) > 1 else f"of {runs[0].path}"
            return Finding(
                Outcome.INFO if worse else Outcome.REVIEW,
                f"the claimed {claimed.printed} is the logged loss of {label or 'the final metric'} {over} divided by the right "
                f"{ratio:.5f} bytes per token ({value:.6f}); the BPB that the log prints, {logged[0]:.5f}, divides by "
                f"{wrong[0].ratio:.5f}" + ("" if worse else ". The claim is the better of the two: the byte count decides"),
                (claimed.source, *_places([line.metric for line in wrong])[:4]),
                measured=Measured(value, "bpb"),
            )
    return None


def _right_ratios(line: Denominator, challenge: Challenge) -> list[float]:
    """Bytes per token of the whole validation text with the line's tokenizer: of the stream with the same tokens, or of these tokens
    if they are the whole text. Without a token count only a known mistake in the byte table tells which stream it is."""
    if line.tokens is None:
        return [line.true_ratio] if line.stream is Stream.MISCOUNT and line.true_ratio is not None else []
    count = line.tokens.count
    known = [row.bytes_per_token for row in challenge.streams if row.val_tokens == count and row.status == "canonical"]
    return [*known, *([line.true_ratio] if line.true_ratio is not None else [])]


def _name(metric: Metric) -> str:
    if metric.step is not None:
        return f"an in-training validation (step {metric.step})"
    return f"{'the diagnostic ' if metric.diagnostic else ''}{metric.label or 'a bare metric line'}"


def _unexplained(submission: Submission, scored: Sequence[Run], claimed: Fact) -> Decision:
    near = min(
        (metric for run in scored for metric in (run.final_metrics or run.metrics) if metric.bpb is not None),
        key=lambda metric: abs(metric.bpb.value - float(claimed.value)) if metric.bpb else math.inf,
    )
    assert near.bpb is not None
    distance = abs(near.bpb.value - float(claimed.value))
    message = (
        f"the claimed {claimed.printed} is no logged value, mean or subset mean; the nearest is {near.bpb.text} ({_name(near)}), "
        f"{distance:.4f} away"
    )
    doubt = _doubt(submission, scored, claimed)
    finding = Finding(
        Outcome.REVIEW if doubt else Outcome.FAIL,
        message + (f"; {doubt}" if doubt else ""),
        (claimed.source, near.source),
        measured=Measured(distance, "bpb"),
        limit=Measured(ROUNDING, "bpb"),
        remediation="correct the claim, or add the logs that print it",
    )
    return Decision.of([finding])


def _doubt(submission: Submission, scored: Sequence[Run], claimed: Fact) -> str:
    """Why the logs at hand may not be all there is, or the number not the claim."""
    if all(claimed.source.path != one.path for one in submission.metadata):
        return "only the README states it, so a human should confirm that it is the claim"
    metadata = own_metadata(submission)
    listed = {claim.seed for claim in claimed_seeds(submission) if claim.seed is not None}
    listed |= set(metadata.seeds) if metadata is not None else set()
    have = {run.seed for run in scored if run.final_metrics}
    missing = sorted(listed - have)
    if missing:
        return f"seed {', '.join(map(str, missing))} has no log with a final score, which would settle it"
    if any(
        problem.location.path.endswith((".log", ".txt")) for problem in submission.problems if problem.kind != "embedded-source"
    ):
        return "a log could not be read completely"
    if not any(run.full and run.final_metrics for run in claimed_runs(submission) or scored):
        return "no log shows a whole run with a final score"
    results = [entry.path for entry in submission.files if not entry.junk and _RESULTS.fullmatch(entry.path)]
    if results:
        return f"{results[0]} may hold it"
    return ""


def _mean_of(metrics: Sequence[Metric]) -> tuple[float, float] | None:
    """Mean and the coarsest printed half unit."""
    numbers: list[Number] = [metric.bpb for metric in metrics if metric.bpb is not None]
    if not numbers:
        return None
    return math.fsum(number.value for number in numbers) / len(numbers), max(number.half_unit for number in numbers)


def _agrees(value: float, half_unit: float, claimed: Fact) -> bool:
    return abs(value - float(claimed.value)) <= max(half_unit, fact_tolerance(claimed)) * (1 + 1e-6) + 1e-12


def _places(metrics: Sequence[Metric]) -> tuple[Location, ...]:
    return tuple(metric.source for metric in metrics)


METRIC_MISMATCH = Rule(
    code="CLM001",
    name="metric-mismatch",
    level=Level.ERROR,
    summary="no logged value, mean or subset mean explains the claimed score",
    why=(
        "The leaderboard shows the claimed number; the logs are its only evidence. A claim that no log prints can't be checked "
        "by anyone. A claim that is only the best seed, a subset, a diagnostic or an in-training value is explained, but it is "
        "not the score of the method."
    ),
    example=(
        "violation: submission.json says 1.0790, the three logs end with 1.0873, 1.0866 and 1.0859\n"
        "legal: submission.json says 1.0866, the mean of the three, rounded to the digits it prints\n"
        "legal: the logs divide by too many bytes, submission.json says the logged loss over the right ones, a worse number"
    ),
    settles="the log of the run that printed the claimed value, or the sentence that says which value is quoted",
    sources=("https://github.com/openai/parameter-golf#submission-process",),
    check=check,
)

RULES = (METRIC_MISMATCH,)
