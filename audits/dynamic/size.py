"""The artifact's bytes as they lie on disk, and the total that the run logs for itself."""

from __future__ import annotations

import lzma
from collections.abc import Mapping

from audits.dynamic.order import artifact_reload
from audits.dynamic.probe import Probe, not_completed
from verifier.engine.context import Context
from verifier.execution.experiment import Experiment
from verifier.execution.passes import Run
from verifier.ledger.sizes import size_accounts
from verifier.rule import Measured, Outcome
from verifier.submission.logs.model import SizeKind
from verifier.submission.logs.reader import read_log

SIZE = "artifact-bytes"
TEXTS = (".py", ".md", ".txt", ".log", ".json", ".jsonl", ".csv", ".tsv", ".toml", ".yaml", ".yml", ".sh")
NOT_SEEN = "the size at full scale: a toy model says nothing about the cap"


def probe_size(experiment: Experiment) -> Probe:
    attempt = experiment.base
    if attempt is None or attempt.run is None or not attempt.completed:
        return not_completed(SIZE, attempt, experiment, NOT_SEEN)
    run = attempt.run
    reload = artifact_reload(run)
    name = reload.text("path").rsplit("/", 1)[-1] if reload is not None else ""
    sizes = _binaries(attempt.left)
    model, code = sizes.get(name), attempt.left.get(experiment.script, 0)
    if model is None:
        summary = "no file that the run wrote was read back and is still there"
        return Probe(SIZE, Outcome.NOT_AVAILABLE, summary, NOT_SEEN, stage="end")
    totals = _logged_totals(run)
    facts: dict[str, float | int | str | bool | None] = {
        "artifact": name, "artifact_bytes": model, "code_bytes": code, "logged_total": totals[-1] if totals else None,
    }  # fmt: skip
    measured = Measured(model + code, "bytes")
    if not totals:
        summary = f"{model} bytes of model and {code} of script; the run logs no total"
        return Probe(SIZE, Outcome.INFO, summary, NOT_SEEN, measured, facts=facts)
    logged = Measured(totals[-1], "bytes")
    if totals[-1] == model + code:
        summary = f"logged total {totals[-1]} = {model} + {code} bytes on disk"
        return Probe(SIZE, Outcome.PASS, summary, NOT_SEEN, measured, facts=facts)
    # Another file may be what the total speaks of: it must be below all of them.
    if max(totals) < min(sizes.values()):
        summary = (
            f"logged total {totals[-1]}, but {name}, which the run reads back, has {model} bytes on disk, without any script"
        )
        return Probe(SIZE, Outcome.REVIEW, summary, NOT_SEEN, measured, logged, facts={**facts, "left_out": "model"})
    if set(totals) <= set(sizes.values()):
        summary = f"logged total {totals[-1]} is the size of the model alone: no byte of the script of {code} bytes is counted"
        return Probe(SIZE, Outcome.REVIEW, summary, NOT_SEEN, measured, logged, facts={**facts, "left_out": "code"})
    summary = f"logged total {totals[-1]}, on disk {model} bytes of model and {code} of script (a compressed script, or other files, may be counted)"
    return Probe(SIZE, Outcome.INFO, summary, NOT_SEEN, measured, logged, facts=facts)


def _binaries(left: Mapping[str, int]) -> dict[str, int]:
    """Bytes of what a run left that may be a part of its artifact, by name."""
    names = {path: path.rsplit("/", 1)[-1] for path in left}
    return {name: left[path] for path, name in names.items() if not name.lower().endswith(TEXTS)}


def _logged_totals(run: Run) -> list[int]:
    lines = "\n".join(event.text("text") for event in run.observations.of("line"))
    runs = read_log("probe.log", lines.encode("utf-8", "replace")).runs
    return [line.bytes for one in runs for line in one.sizes if line.kind is SizeKind.TOTAL and line.exact]


def weighs(context: Context, probe: Probe) -> bool:
    """Whether what the run's total left out could decide about the cap: always for a model. A script has the size that it has at any
    scale, and counts at least as compressed."""
    if probe.facts.get("left_out") != "code":
        return True
    program, cap = context.submission.program, context.challenge.artifact_cap
    if program.main is None:
        return False
    code = len(lzma.compress(program.main.text.encode("utf-8", "replace")))
    totals = [one.total.bytes for one in size_accounts(context.submission) if one.claimed and one.total is not None]
    return max(totals, default=0) + min(code, program.main.size) > cap
