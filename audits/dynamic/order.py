"""Score before update: no counted target may already have been behind a gradient step.

Two probes: the order over the whole run, and updates on validation tokens before the artifact was written.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from audits.dynamic.probe import CAPTURE_INCOMPLETE, Probe, not_completed
from verifier.execution.experiment import Experiment
from verifier.execution.observations import Event
from verifier.execution.passes import Run
from verifier.rule import Measured, Outcome

ORDER, ARTIFACT = "score-before-update", "updates-before-artifact"
NOT_SEEN = (
    "updates without an optimizer or a backward pass (counts, running statistics, closed-form solutions), and gradients of losses that are no cross "
    "entropy; the prefix perturbation sees their effect"
)


def probe_order(experiment: Experiment) -> Probe:
    attempt = experiment.base
    if attempt is None or attempt.run is None or not attempt.completed:
        return not_completed(ORDER, attempt, experiment, NOT_SEEN)
    run = attempt.run
    scored = run.final
    updates = validation_updates(run)
    facts: dict[str, float | int | str | bool | None] = {"updates_on_validation_tokens": len(updates)}
    if scored is None:
        return Probe(ORDER, Outcome.NOT_AVAILABLE, CAPTURE_INCOMPLETE, NOT_SEEN, stage="end", facts=facts)
    trained = first_trained(run, updates)
    known = scored.positions >= 0
    # A mixture is computed after the model's own losses: what the model had learned by then is what counts.
    formed = np.minimum(scored.numbers, run.formed[scored.indices])
    early = trained[scored.positions[known]] < formed[known]
    count, total = int(early.sum()), int(known.sum())
    facts["counted_targets"] = total
    written = artifact_written(run)
    if written is not None:
        later = first_trained(run, tuple(event for event in updates if event.number > written.number))
        facts["trained_after_artifact"] = int((later[scored.positions[known]] < formed[known]).sum())
    if count:
        sites = tuple(dict.fromkeys(event.text("site") for event in updates if event.number < int(formed[known][early].max())))
        summary = f"{count} of {total} counted targets had been behind a gradient step before they were scored"
        return Probe(
            ORDER,
            Outcome.FAIL,
            summary,
            NOT_SEEN,
            Measured(count, "targets"),
            Measured(0, "targets"),
            sites=sites[:3],
            facts=facts,
        )
    summary = f"none of {total} counted targets had been behind a gradient step; {len(updates)} steps on validation tokens in all"
    return Probe(ORDER, Outcome.PASS, summary, NOT_SEEN, Measured(0, "targets"), Measured(0, "targets"), facts=facts)


def probe_artifact_updates(experiment: Experiment) -> Probe:
    attempt = experiment.base
    if attempt is None or attempt.run is None or not attempt.completed:
        return not_completed(ARTIFACT, attempt, experiment, NOT_SEEN)
    run = attempt.run
    written = artifact_written(run)
    if written is None:
        summary = "no file that the run wrote was read back: there is no artifact to speak of"
        return Probe(ARTIFACT, Outcome.NOT_AVAILABLE, summary, NOT_SEEN, stage="end")
    early = [event for event in validation_updates(run) if event.number < written.number]
    sites = tuple(dict.fromkeys(event.text("site") for event in early))[:3]
    steps, none = Measured(len(early), "steps"), Measured(0, "steps")
    if early:
        summary = f"{len(early)} gradient steps on validation tokens before the artifact {written.text('path')} was written"
        return Probe(ARTIFACT, Outcome.FAIL, summary, NOT_SEEN, steps, none, sites=sites)
    summary = f"no gradient step on validation tokens before the artifact {written.text('path')} was written"
    return Probe(ARTIFACT, Outcome.PASS, summary, NOT_SEEN, steps, none)


def validation_updates(run: Run) -> tuple[Event, ...]:
    """Optimizer steps with a validation target behind them."""
    return tuple(event for event in run.observations.of("update") if (update_positions(run, event) >= 0).any())


def update_positions(run: Run, event: Event) -> NDArray[np.int64]:
    """Positions of the losses behind a step."""
    parts = []
    ranges = event.entries.get("ranges")
    for pair in ranges if isinstance(ranges, list) else []:
        if isinstance(pair, list) and len(pair) == 2 and all(isinstance(value, int) and value >= 0 for value in pair):
            parts.append(run.positions[pair[0] : pair[0] + pair[1]])
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)


def first_trained(run: Run, updates: tuple[Event, ...]) -> NDArray[np.int64]:
    """For each position the event of the first step that it was behind (a number above all others if none)."""
    first = np.full(len(run.data.val), np.iinfo(np.int64).max, dtype=np.int64)
    for event in updates:
        positions = update_positions(run, event)
        positions = positions[positions >= 0]
        first[positions] = np.minimum(first[positions], event.number)
    return first


def artifact_reload(run: Run) -> Event | None:
    """The last time that a file which the run had written was opened for reading."""
    written: set[str] = set()
    found = None
    for event in run.observations.of("file"):
        name = _name(event)
        if event.text("mode") == "w":
            written.add(name)
        elif name in written and not name.endswith((".txt", ".log", ".py", ".json")):
            found = event
    return found


def artifact_written(run: Run) -> Event | None:
    """The last time before that reading that the same file was opened for writing. (A script may read its artifact several times,
    and adapt in between.)"""
    reload = artifact_reload(run)
    if reload is None:
        return None
    writes = [event for event in run.observations.of("file") if event.text("mode") == "w" and event.number < reload.number]
    return next((event for event in reversed(writes) if _name(event) == _name(reload)), None)


def _name(event: Event) -> str:
    return event.text("path").rsplit("/", 1)[-1]
