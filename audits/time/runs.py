"""What the time rules have in common: the claimed runs with their timelines, and what hardware a run shows."""

from __future__ import annotations

import re
from dataclasses import dataclass

from verifier.engine.context import Context
from verifier.evidence import Location
from verifier.ledger.claims import claimed_headline, headline_runs
from verifier.ledger.timeline import Timeline, build_timeline
from verifier.rule import Decision, Finding
from verifier.submission.logs.model import Metric, Run

RECORD_PROCESSES = 8
_RECORD_GPU = re.compile(r"\bH100\b", re.IGNORECASE)
_NOT_SXM = re.compile(r"\bPCIe\b|\bNVL\b|\bMIG\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class TimedRun:
    run: Run
    headline: Metric | None
    timeline: Timeline
    explained: bool = True
    """Whether the claim is that metric; else it is what the log ends with."""

    @property
    def name(self) -> str:
        return run_name(self.run)


def run_name(run: Run) -> str:
    return f"seed {run.seed}" if run.seed is not None else run.path


def timed_runs(context: Context) -> list[TimedRun]:
    """The runs that the claim rests on; without a claim that names any, all runs."""
    stated = claimed_headline(context.submission).bpb is not None
    chosen = [
        TimedRun(found.run, found.metric, build_timeline(found.run, found.metric), found.explained or not stated)
        for found in headline_runs(context.submission)
    ]
    return chosen or [TimedRun(run, run.headline, build_timeline(run)) for run in context.submission.runs]


def trained_runs(context: Context) -> list[TimedRun]:
    """The runs that trained what the claim rests on. Where the claimed score stands in a log of its own (an evaluation of the
    saved model), the training log of the same seed takes its place."""
    return [_training_of(each, context) for each in timed_runs(context)]


def _training_of(each: TimedRun, context: Context) -> TimedRun:
    if each.timeline.train_seconds is not None or each.run.seed is None:
        return each
    trained = [run for run in context.submission.runs if run.seed == each.run.seed and run.train_ms is not None]
    if not trained:
        return each
    run = max(trained, key=lambda candidate: (candidate.full, candidate.headline is not None, candidate.steps_reached or 0))
    return TimedRun(run, run.headline, build_timeline(run))


def other_hardware(run: Run) -> tuple[str, Location] | None:
    """What shows that a run was not made on 8 H100 SXM: its words and their place. None where nothing shows it."""
    if run.world_size is not None and run.world_size.text.isdigit() and int(run.world_size.text) != RECORD_PROCESSES:
        return f"world size {run.world_size.text}", run.world_size.source
    for gpu in run.gpus:
        if _RECORD_GPU.search(gpu.text) is None or _NOT_SXM.search(gpu.text):
            return gpu.text, gpu.source
    return None


def decide(findings: list[Finding], unread: list[str], what: str, passed: str) -> Decision:
    """The worst finding decides; a run that the rule could not look at keeps it from passing."""
    worst = Decision.of(findings) if findings else None
    if worst is not None and worst.outcome in ("fail", "review"):
        return worst
    if unread:
        return Decision.not_available(f"{what}: {', '.join(unread[:6])}", *findings)
    return worst if worst is not None else Decision.passed(passed)
