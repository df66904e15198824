"""The printed loss against the plain mean of the losses that the script added up: a headline is the mean code length of every target.

It speaks only where the capture is complete: since the metric before it, the script added up each target of the stream once, and nothing
left torch or was formed in a way that can't be read. A mixture of its own is recorded with its own losses.
"""

from __future__ import annotations

import numpy as np

from audits.dynamic.coverage import TAIL
from audits.dynamic.probe import CAPTURE_INCOMPLETE, Probe, not_completed, sites_of
from verifier.execution.experiment import Experiment
from verifier.execution.passes import NOTHING, Pass, Run
from verifier.rule import Measured, Outcome

NAME = "plain-mean"
NOT_SEEN = "weights whose mean is one, and what is dropped only at full size; the program shows how the number is made"
SINGLE, HALF = 1e-4, 5e-3
"""Relative difference that the order and precision of sums may make: in single precision, and where losses are formed in half."""
UNREAD = ("to-numpy", "unreadable-loss")
LOGARITHMS = 16
"""Logarithms of probabilities taken outside of torch from which on a mixture may be made there; one is that of 2, for bits."""


def probe_mean(experiment: Experiment) -> Probe:
    attempt = experiment.base
    if attempt is None or attempt.run is None or not attempt.completed:
        return not_completed(NAME, attempt, experiment, NOT_SEEN)
    run = attempt.run
    if run.final is not None:
        return _explained(run, run.final)
    added = _added_up(run)
    loss = run.printed.metric.loss if run.printed is not None else None
    if added is None or loss is None:
        return Probe(NAME, Outcome.NOT_AVAILABLE, CAPTURE_INCOMPLETE, NOT_SEEN, stage="end")
    mean = float(added.losses.mean())
    exact = all(not event.entries.get("half") for event in run.observations.of("scores"))
    tolerance = loss.half_unit + (SINGLE if exact else HALF) * mean
    measured, limit = Measured(loss.value, "nats"), Measured(mean, "nats")
    facts: dict[str, float | int | str | bool | None] = {"targets": len(added.losses), "tolerance": tolerance}
    if abs(loss.value - mean) <= tolerance:
        summary = f"printed {loss.text}, the mean of what was added up is {mean:.8f}: no further apart than such sums may be"
        return Probe(NAME, Outcome.INFO, summary, NOT_SEEN, measured, limit, facts=facts)
    summary = f"printed {loss.text}, but the plain mean of the {len(added.losses)} losses that were added up for it, each target once, is {mean:.8f}"
    return Probe(
        NAME,
        Outcome.REVIEW,
        summary,
        NOT_SEEN,
        measured,
        limit,
        sites=sites_of(run, added, range(len(run.data.val))),
        facts=facts,
    )


def _explained(run: Run, final: Pass) -> Probe:
    """The number follows from these losses: are they code lengths, of all targets?"""
    counted = set(run.formed[final.indices].tolist())
    spans = [span for span in run.observations.spans if span.number in counted]
    plain = final.how != "logarithms" and all(span.plain and span.width >= run.data.tokenizer.size for span in spans)
    if not plain or not _is_whole(run, final):
        summary = "the printed loss is the mean of losses that are no plain cross entropies, or not of every target once"
        return Probe(NAME, Outcome.NOT_AVAILABLE, summary, NOT_SEEN, stage="end")
    summary = f"the printed loss is the plain mean of the cross entropies of {len(final.losses)} targets"
    return Probe(NAME, Outcome.PASS, summary, NOT_SEEN, facts={"targets": len(final.losses)})


def _added_up(run: Run) -> Pass | None:
    """All losses that were added up since the metric before the printed one, when that is each target once."""
    if run.printed is None:
        return None
    end = run.printed.number
    seen = [event.number for event in run.observations.of("counted", "logs", *UNREAD) if event.number < end]
    # A metric is often printed twice, with few digits and with all: nothing is added up in between.
    start = next((number for number in run.printed.earlier if seen and number < seen[-1]), -1)
    if any(start < event.number < end for event in run.observations.of(*UNREAD)):
        return None
    logs = [
        run.observations.logs[event.whole("start") : event.whole("start") + event.whole("count")]
        for event in run.observations.of("logs")
        if start < event.number < end
    ]
    if sum(int((values < 0).sum()) for values in logs) >= LOGARITHMS:
        return None
    held = run.observations.counted
    parts = [
        held[event.whole("start") : event.whole("start") + event.whole("count")]
        for event in run.observations.of("counted")
        if start < event.number < end
    ]
    indices = np.concatenate(parts) if parts else NOTHING
    losses = run.observations.losses[indices].astype(np.float64)
    added = Pass(indices, run.positions[indices], losses, run.formed[indices], "counted")
    return added if len(indices) and np.isfinite(losses).all() and _is_whole(run, added) else None


def _is_whole(run: Run, scored: Pass) -> bool:
    """Whether each target of the stream is there once, but for a few at its end."""
    if (scored.positions < 0).any():
        return False
    times = np.bincount(scored.positions, minlength=len(run.data.val))[1:]
    reached = int(np.flatnonzero(times)[-1]) + 1 if times.any() else 0
    return bool((times[:reached] == 1).all()) and reached >= (1 - TAIL) * len(times)
