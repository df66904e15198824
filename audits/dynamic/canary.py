"""Noise canary: nobody can predict independent, uniformly drawn tokens.

For a scorer that assigns probabilities to each next token from the tokens before it, exp(sum of (ln K - loss)) over a stream of
uniform draws from K tokens has an expectation of at most 1 (each factor has, given the past). By Markov's inequality a gain
of G nats over the whole stream happens with probability at most exp(-G), whatever the model, its training and a score-first
adaptation do. A larger gain means that the probabilities implied by the scores, multiplied over the stream, sum to more than
1 over all streams: mass from nowhere, a look at the future, or learning before scoring.
"""

from __future__ import annotations

import math

import numpy as np

from audits.dynamic.probe import CAPTURE_INCOMPLETE, Probe, not_completed
from verifier.execution.experiment import Experiment
from verifier.execution.passes import Pass, Run
from verifier.rule import Measured, Outcome

NAME = "noise-canary"
NOT_SEEN = (
    "faults whose cost on noise exceeds their gain (a table that rarely fires at this size, a mixture that is too small), faults that need real text or "
    "a full table, and whatever only several ranks do"
)
GAIN = math.log(1e9)
"""Nats over the whole stream that a legal scorer gains with probability below 1e-9."""
PLAIN_GAP = 0.05
"""Nats per token below ln K from which the printed number alone, whose losses were not seen, is proof enough."""


def probe_canary(experiment: Experiment) -> Probe:
    attempt = experiment.base
    if attempt is None or attempt.run is None or not attempt.completed:
        return not_completed(NAME, attempt, experiment, NOT_SEEN)
    run = attempt.run
    entropy = run.data.entropy
    if run.final is not None:
        gain, targets = _gain(run, run.final)
        return _judge(gain, targets, entropy, _printing_site(run))
    printed = run.printed
    if printed is None:
        return Probe(
            NAME, Outcome.NOT_AVAILABLE, "the run printed no final loss or BPB that can be read", NOT_SEEN, stage=attempt.stage
        )
    loss = printed.metric.loss
    if loss is None:
        return Probe(NAME, Outcome.NOT_AVAILABLE, f"{CAPTURE_INCOMPLETE}; only a BPB is printed", NOT_SEEN, stage=attempt.stage)
    measured, limit = Measured(loss.value, "nats/token"), Measured(entropy, "nats/token")
    gap, targets = entropy - loss.value, len(run.data.val) - 1
    if gap * targets <= GAIN or not _in_nats(run):
        summary = f"{CAPTURE_INCOMPLETE}; printed {loss.text}, ln K is {entropy:.4f}"
        return Probe(NAME, Outcome.NOT_AVAILABLE, summary, NOT_SEEN, measured, limit, stage=attempt.stage)
    summary = (
        f"the printed loss {loss.text} is {gap:.4f} nats per token below ln K = {entropy:.4f} of uniform random tokens: {gap * targets:.0f} "
        f"nats if it is the mean over all {targets} targets (its parts were not seen: the printed number alone)"
    )
    outcome = Outcome.FAIL if gap >= PLAIN_GAP else Outcome.REVIEW
    return Probe(NAME, outcome, summary, NOT_SEEN, measured, limit, sites=_printing_site(run))


def _judge(gain: float, targets: int, entropy: float, sites: tuple[str, ...]) -> Probe:
    mean = entropy - gain / targets
    how = f"sum over {targets} distinct targets, each with its largest counted loss"
    measured, limit = Measured(mean, "nats/token"), Measured(entropy, "nats/token")
    facts: dict[str, float | int | str | bool | None] = {"gain": gain, "gain_limit": GAIN, "targets": targets}
    if gain > GAIN:
        summary = (
            f"loss {mean:.4f} on uniform random tokens, below ln K = {entropy:.4f}: {gain:.1f} nats gained in all ({how}); "
            f"a legal scorer gains that with probability below 1e-{min(300, int(gain / math.log(10)))}"
        )
        return Probe(NAME, Outcome.FAIL, summary, NOT_SEEN, measured, limit, sites=sites, facts=facts)
    summary = f"loss {mean:.4f} on uniform random tokens, ln K = {entropy:.4f}: no gain ({gain:.1f} nats in all; {how})"
    return Probe(NAME, Outcome.PASS, summary, NOT_SEEN, measured, limit, facts=facts)


def _gain(run: Run, scored: Pass) -> tuple[float, int]:
    """Nats gained over uniform, and targets. A target counted twice enters with its larger loss, which can only help the
    submission; one that is not in the stream is left out."""
    known = scored.positions >= 0
    largest = np.full(len(run.data.val), -np.inf)
    np.maximum.at(largest, scored.positions[known], scored.losses[known])
    held = largest[np.isfinite(largest)]
    return float((run.data.entropy - held).sum()), max(1, len(held))


def _in_nats(run: Run) -> bool:
    """Whether the printed loss and BPB fit one another as nats per token and bits per byte of this stream, within 20 percent."""
    assert run.printed is not None
    loss, bpb = run.printed.metric.loss, run.printed.metric.bpb
    if loss is None or bpb is None or bpb.value <= 0:
        return False
    per_byte = (len(run.data.val) - 1) / int(run.bytes.sum())
    return abs(loss.value / math.log(2) * per_byte / bpb.value - 1) < 0.2


def _printing_site(run: Run) -> tuple[str, ...]:
    """Where the script prints its final number."""
    printed = run.printed
    found = [
        event.text("site") for event in run.observations.of("line") if printed is not None and event.number == printed.number
    ]
    return tuple(site for site in found if site)
