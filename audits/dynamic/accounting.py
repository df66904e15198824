"""BPB recomputed from the counted losses and the true bytes, and the artifact's bytes as they lie on disk."""

from __future__ import annotations

import math

from audits.dynamic.order import artifact_reload
from audits.dynamic.probe import CAPTURE_INCOMPLETE, Probe, not_completed
from verifier.execution.experiment import Experiment
from verifier.rule import Measured, Outcome
from verifier.submission.logs.model import SizeKind
from verifier.submission.logs.reader import read_log

BPB, SIZE = "bpb-recomputed", "artifact-bytes"
NOT_SEEN_BPB = "tables that go wrong only on pieces that the toy tokenizer lacks; sidecar files of the real data"
NOT_SEEN_SIZE = "the size at full scale: a toy model says nothing about the cap"
RELATIVE = 2e-5


def probe_bpb(experiment: Experiment) -> Probe:
    attempt = experiment.base
    if attempt is None or attempt.run is None or not attempt.completed:
        return not_completed(BPB, attempt, experiment, NOT_SEEN_BPB)
    run = attempt.run
    if run.final is None or run.printed is None or run.printed.metric.bpb is None:
        return Probe(BPB, Outcome.NOT_AVAILABLE, CAPTURE_INCOMPLETE, NOT_SEEN_BPB, stage="end")
    if (run.final.positions < 0).any():
        summary = "some counted losses are not of the validation stream as it is on disk: their bytes are not known"
        return Probe(BPB, Outcome.NOT_AVAILABLE, summary, NOT_SEEN_BPB, stage="end")
    total = int(run.bytes[run.final.positions].sum())
    bpb = float(run.final.losses.sum()) / math.log(2) / total
    printed = run.printed.metric.bpb
    measured, limit = Measured(printed.value, "bpb"), Measured(bpb, "bpb")
    ratio = bpb / printed.value if printed.value else math.inf
    facts: dict[str, float | int | str | bool | None] = {"true_bytes": total, "implied_bytes": total * ratio, "ratio": ratio}
    if abs(printed.value - bpb) <= printed.half_unit + RELATIVE * bpb:
        return Probe(
            BPB, Outcome.PASS, f"printed {printed.text}, recomputed {bpb:.8f}", NOT_SEEN_BPB, measured, limit, facts=facts
        )
    summary = f"printed {printed.text}, recomputed {bpb:.6f}: the script counts {ratio:.4f} times the true {total} bytes"
    # A table of the submission's own tokenizer is wrong for the toy tokenizer, however right it is: only the program can tell.
    return Probe(BPB, Outcome.REVIEW, summary, NOT_SEEN_BPB, measured, limit, facts=facts)


def probe_size(experiment: Experiment) -> Probe:
    attempt = experiment.base
    if attempt is None or attempt.run is None or not attempt.completed:
        return not_completed(SIZE, attempt, experiment, NOT_SEEN_SIZE)
    reload = artifact_reload(attempt.run)
    code = attempt.left.get(experiment.script, 0)
    name = reload.text("path").removeprefix("./") if reload is not None else ""
    model = next(
        (size for path, size in attempt.left.items() if path == name or path.endswith("/" + name.rsplit("/", 1)[-1])), None
    )
    if model is None and name:
        model = attempt.left.get(name.rsplit("/", 1)[-1])
    if model is None:
        return Probe(
            SIZE, Outcome.NOT_AVAILABLE, "no file that the run wrote was read back and is still there", NOT_SEEN_SIZE, stage="end"
        )
    lines = "\n".join(event.text("text") for event in attempt.run.observations.of("line"))
    runs = read_log("probe.log", lines.encode("utf-8", "replace")).runs
    totals = [line.bytes for run in runs for line in run.sizes if line.kind is SizeKind.TOTAL and line.exact]
    facts: dict[str, float | int | str | bool | None] = {
        "artifact": name.rsplit("/", 1)[-1], "artifact_bytes": model, "code_bytes": code, "logged_total": totals[-1] if totals else None,
    }  # fmt: skip
    measured = Measured(model + code, "bytes")
    if not totals:
        return Probe(
            SIZE,
            Outcome.INFO,
            f"{model} bytes of model and {code} of script; the run logs no total",
            NOT_SEEN_SIZE,
            measured,
            facts=facts,
        )
    if totals[-1] == model + code:
        return Probe(
            SIZE,
            Outcome.PASS,
            f"logged total {totals[-1]} = {model} + {code} bytes on disk",
            NOT_SEEN_SIZE,
            measured,
            facts=facts,
        )
    summary = f"logged total {totals[-1]}, on disk {model} bytes of model and {code} of script (a compressed script, or other files, may be counted)"
    return Probe(SIZE, Outcome.INFO, summary, NOT_SEEN_SIZE, measured, Measured(totals[-1], "bytes"), facts=facts)
