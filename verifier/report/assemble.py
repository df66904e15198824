"""From facts and answers to the report object: what is printed of a submission, whatever the format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from verifier.evidence import Fact, Location
from verifier.ledger.claims import claimed_headline, claimed_seeds, headline_runs
from verifier.ledger.configuration import resolve_configuration
from verifier.ledger.denominator import measure_run, summarise_bytes
from verifier.ledger.record import RecordAttempt
from verifier.ledger.sizes import size_bars
from verifier.ledger.statistics import Statistics
from verifier.ledger.timeline import Timeline, build_timeline
from verifier.report.model import (
    Curve,
    LayerRow,
    RecordClaim,
    SeedRow,
    SubmissionReport,
    Verdict,
)
from verifier.submission.logs.model import Metric, Run, SizeKind
from verifier.submission.submission import Submission

if TYPE_CHECKING:
    from verifier.engine.context import Context
    from verifier.engine.run import RuleRun


def assemble(
    context: Context, answers: RuleRun, verdict: Verdict, claim: RecordClaim, attempt: RecordAttempt
) -> SubmissionReport:
    """Everything that renderers may print about one submission."""
    submission = context.submission
    runs = [(headline.run, headline.metric) for headline in headline_runs(submission)]
    measured = [measure_run(submission, run, metric, context.challenge) for run, metric in runs if metric is not None]
    tokenizer = next((run.tokenizer_path.text for run, _ in runs if run.tokenizer_path is not None), None)
    return SubmissionReport(
        path=submission.path,
        track=submission.track.value if submission.track is not None else None,
        verdict=verdict,
        record_claim=claim,
        as_of=attempt.as_of.isoformat() if attempt.as_of is not None else None,
        not_examined=answers.not_examined,
        rules=answers.results,
        findings=answers.findings,
        facts=_facts(submission, runs),
        timelines=tuple(build_timeline(run, metric) for run, metric in runs),
        seeds=_seed_rows(submission, runs),
        sizes=size_bars(submission),
        curves=tuple(curve for run, _ in runs for curve in _curves(run)),
        config=resolve_configuration(submission),
        statistics=_statistics(context, attempt),
        bytes=summarise_bytes(next((one for one in measured if one is not None), None), tokenizer),
        layers=tuple(
            LayerRow(script.path, layer.index, layer.codec, layer.bytes)
            for script in (*submission.program.members, *submission.program.others)
            for layer in script.layers
        ),
        problems=submission.problems,
    )


def _statistics(context: Context, attempt: RecordAttempt) -> Statistics | None:
    """Outside the record track there is no margin to speak of: only mean and spread are stated."""
    if attempt.statistics is None or context.in_record_track or context.options.sota is not None:
        return attempt.statistics
    return replace(attempt.statistics, sota=None, sota_pr=None, sota_date=None, sota_seeds=(), tests=())


def _seed_rows(submission: Submission, runs: Sequence[tuple[Run, Metric | None]]) -> tuple[SeedRow, ...]:
    claimed = {claim.seed: claim.val_bpb for claim in claimed_seeds(submission) if claim.val_bpb is not None}
    return tuple(_seed_row(run, metric, claimed.get(run.seed), build_timeline(run, metric)) for run, metric in runs)


def _seed_row(run: Run, headline: Metric | None, claimed: Fact | None, timeline: Timeline) -> SeedRow:
    return SeedRow(
        seed=run.seed,
        log=run.path,
        steps=run.steps_reached,
        step_ms=run.step_ms,
        train_seconds=timeline.train_seconds,
        eval_seconds=timeline.eval_seconds,
        headline_label=headline.label if headline else None,
        val_loss=headline.loss.text if headline and headline.loss else None,
        val_bpb=headline.bpb.text if headline and headline.bpb else None,
        claimed_bpb=(claimed.printed or str(claimed.value)) if claimed is not None else None,
        artifact_bytes=_last_size(run, SizeKind.TOTAL),
        code_bytes=_last_size(run, SizeKind.CODE),
        model_bytes=_last_size(run, SizeKind.MODEL),
        metrics=tuple(
            (metric.label, metric.loss.text if metric.loss else None, metric.bpb.text if metric.bpb else None)
            for metric in run.final_metrics
        ),
    )


def _last_size(run: Run, kind: SizeKind) -> int | None:
    """The last printed size of a kind: earlier ones are of the raw model or of trials."""
    return next((size.bytes for size in reversed(run.sizes) if size.kind is kind), None)


def _curves(run: Run) -> list[Curve]:
    curves: tuple[tuple[str, list[tuple[int | None, float | None]]], ...] = (
        ("train_loss", [(point.step, point.train_loss) for point in run.steps]),
        ("val_bpb", [(metric.step, metric.bpb.value) for metric in run.metrics if metric.bpb is not None]),
        ("step_ms", [(point.step, point.step_avg_ms) for point in run.steps]),
    )
    out = []
    for kind, points in curves:
        known = [(step, value) for step, value in points if step is not None and value is not None]
        if len(known) > 1:
            out.append(Curve(kind, run.seed, run.path, tuple(known)))
    return out


def _facts(submission: Submission, runs: Sequence[tuple[Run, Metric | None]]) -> dict[str, tuple[Fact, ...]]:
    """The ledger: every value of a kind, from whatever file, with its place."""
    facts: dict[str, list[Fact]] = {"val_bpb": [], "val_loss": [], "artifact_bytes": [], "code_bytes": [], "steps": []}
    headline = claimed_headline(submission)
    if headline.bpb is not None:
        facts["val_bpb"].append(headline.bpb)
    if headline.loss is not None:
        facts["val_loss"].append(headline.loss)
    for metadata in submission.metadata:
        for one in metadata.seed_claims:
            for name, fact in (
                ("val_bpb", one.val_bpb),
                ("val_loss", one.val_loss),
                ("artifact_bytes", one.artifact_bytes),
                ("steps", one.steps),
            ):
                if fact is not None:
                    facts[name].append(fact)
    for run, metric in runs:
        if metric is not None:
            facts["val_bpb"] += _metric_fact(run, metric, "bpb")
            facts["val_loss"] += _metric_fact(run, metric, "loss")
        for size in run.sizes:
            if size.kind in (SizeKind.TOTAL, SizeKind.CODE):
                name = "artifact_bytes" if size.kind is SizeKind.TOTAL else "code_bytes"
                facts[name].append(Fact(name, size.bytes, "bytes", size.source, run.seed))
        if run.steps_reached is not None:
            facts["steps"].append(
                Fact("steps", run.steps_reached, "steps", run.stop.source if run.stop else Location(run.path), run.seed)
            )
    return {name: tuple(dict.fromkeys(found)) for name, found in facts.items()}


def _metric_fact(run: Run, metric: Metric, which: str) -> list[Fact]:
    number = metric.bpb if which == "bpb" else metric.loss
    if number is None:
        return []
    name, unit = ("val_bpb", "bpb") if which == "bpb" else ("val_loss", "nats/token")
    return [Fact(name, number.value, unit, metric.source, run.seed, number.text)]
