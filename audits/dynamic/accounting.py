"""BPB recomputed from the counted losses and the true bytes."""

from __future__ import annotations

import math

from audits.dynamic.probe import CAPTURE_INCOMPLETE, Probe, not_completed
from verifier.execution.experiment import Experiment
from verifier.rule import Measured, Outcome

NAME = "bpb-recomputed"
NOT_SEEN = "tables that go wrong only on pieces that the toy tokenizer lacks; sidecar files of the real data"
RELATIVE = 2e-5


def probe_bpb(experiment: Experiment) -> Probe:
    attempt = experiment.base
    if attempt is None or attempt.run is None or not attempt.completed:
        return not_completed(NAME, attempt, experiment, NOT_SEEN)
    run = attempt.run
    if run.final is None or run.printed is None or run.printed.metric.bpb is None:
        return Probe(NAME, Outcome.NOT_AVAILABLE, CAPTURE_INCOMPLETE, NOT_SEEN, stage="end")
    if (run.final.positions < 0).any():
        summary = "some counted losses are not of the validation stream as it is on disk: their bytes are not known"
        return Probe(NAME, Outcome.NOT_AVAILABLE, summary, NOT_SEEN, stage="end")
    total = int(run.bytes[run.final.positions].sum())
    bpb = float(run.final.losses.sum()) / math.log(2) / total
    printed = run.printed.metric.bpb
    measured, limit = Measured(printed.value, "bpb"), Measured(bpb, "bpb")
    ratio = bpb / printed.value if printed.value else math.inf
    facts: dict[str, float | int | str | bool | None] = {"true_bytes": total, "implied_bytes": total * ratio, "ratio": ratio}
    if abs(printed.value - bpb) <= printed.half_unit + RELATIVE * bpb:
        return Probe(NAME, Outcome.PASS, f"printed {printed.text}, recomputed {bpb:.8f}", NOT_SEEN, measured, limit, facts=facts)
    summary = f"printed {printed.text}, recomputed {bpb:.6f}: the script counts {ratio:.4f} times the true {total} bytes"
    if experiment.own_tables:
        summary += ", which are the toy tokenizer's: the script counts by tables that the submission brings for its own"
        return Probe(NAME, Outcome.NOT_AVAILABLE, summary, NOT_SEEN, measured, limit, stage="end", facts=facts)
    # A table of the submission's own tokenizer is wrong for the toy tokenizer, however right it is: only the program can tell.
    return Probe(NAME, Outcome.REVIEW, summary, NOT_SEEN, measured, limit, facts=facts)
