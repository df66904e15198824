"""Evaluation coverage: every target of the validation stream once.

At most for a human to look at: a limit that bites at toy size (a batch larger than the set) need not bite on the real one.
"""

from __future__ import annotations

import numpy as np

from audits.dynamic.probe import CAPTURE_INCOMPLETE, Probe, not_completed
from verifier.execution.experiment import Experiment
from verifier.rule import Measured, Outcome

NAME = "evaluation-coverage"
NOT_SEEN = "what a full-size set or several ranks would lose; a limit in tokens or seconds that the toy set does not reach"
TAIL = 0.05
"""Share of targets that may be missing at the end of the stream for want of a full window."""


def probe_coverage(experiment: Experiment) -> Probe:
    attempt = experiment.base
    if attempt is None or attempt.run is None or not attempt.completed:
        return not_completed(NAME, attempt, experiment, NOT_SEEN)
    run = attempt.run
    if run.final is None:
        return Probe(NAME, Outcome.NOT_AVAILABLE, CAPTURE_INCOMPLETE, NOT_SEEN, stage="end")
    positions = run.final.positions
    known = positions[positions >= 0]
    times = np.bincount(known, minlength=len(run.data.val))[1:]
    targets = len(times)
    missing, twice = int((times == 0).sum()), int((times > 1).sum())
    reached = int(np.flatnonzero(times)[-1]) + 1 if len(known) else 0
    inner = int((times[:reached] == 0).sum())
    spans = run.observations.spans
    passes = int(sum(span.count for span in spans if not span.grad and not span.mixed) / max(1, targets))
    facts: dict[str, float | int | str | bool | None] = {
        "targets": targets, "missing": missing, "missing_inside": inner, "counted_twice": twice, "not_located": int((positions < 0).sum()),
        "no_grad_losses_per_target": passes, "rebuilt_from": run.final.how,
    }  # fmt: skip
    share = Measured(1 - missing / targets, "of all targets")
    if facts["not_located"]:
        summary = f"{facts['not_located']} of {len(positions)} counted losses are not of the validation stream as it is on disk"
        return Probe(NAME, Outcome.REVIEW, summary, NOT_SEEN, share, Measured(1.0, "of all targets"), facts=facts)
    if inner or missing > TAIL * targets:
        summary = f"{missing} of {targets} targets are not counted ({inner} of them before the last counted one)"
        return Probe(NAME, Outcome.REVIEW, summary, NOT_SEEN, share, Measured(1.0, "of all targets"), facts=facts)
    summary = f"{targets - missing} of {targets} targets are counted, {twice} of them more than once"
    outcome = Outcome.INFO if missing or twice else Outcome.PASS
    return Probe(NAME, outcome, summary, NOT_SEEN, share, Measured(1.0, "of all targets"), facts=facts)
