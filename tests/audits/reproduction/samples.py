"""Small logs in the contest's dialect, and re-runs made of them."""

from __future__ import annotations

from audits.reproduction.compare import Conditions, Pair
from audits.reproduction.phases import measure_phases
from verifier.execution.rerun import Rerun
from verifier.submission.logs.model import Run
from verifier.submission.logs.reader import read_log

SCRIPT_BYTES = 5_000
MODEL_BYTES = 15_000_000
FULL = Conditions(False, True, "8 x H100", "8 x H100", True)
TOY = Conditions(True, True, "8 x H100", "CPU", False)
ELSEWHERE = Conditions(False, True, "8 x H100", "4 x A100", False)


def log_text(
    seed: int = 42, bpb: float = 1.08, shift: float = 0.0, step_ms: float = 100.0, steps: int = 6000, model: int = MODEL_BYTES, label: str = "final_int6_roundtrip",
) -> str:  # fmt: skip
    """A run of `steps` steps, a line every 1000 of them; `shift` is added to its losses."""
    lines = [f"seed:{seed}", "world_size:8"]
    for step in range(1000, steps + 1, 1000):
        loss = 6.0 - step / 2000 + shift
        lines.append(f"step:{step}/20000 train_loss:{loss:.4f} train_time:{step * step_ms:.0f}ms step_avg:{step_ms:.2f}ms")
        if step % 2000 == 0:
            lines.append(f"step:{step}/20000 val_loss:{loss + 0.1:.4f} val_bpb:{(loss + 0.1) / 2.4:.4f} train_time:{step * step_ms:.0f}ms step_avg:{step_ms:.2f}ms")  # fmt: skip
    lines.append(f"stopping_early: wallclock_cap train_time:{steps * step_ms:.0f}ms step:{steps}/20000")
    lines += [f"Code size: {SCRIPT_BYTES} bytes", f"Serialized model int6+brotli: {model} bytes"]
    lines.append(f"Total submission size int6+brotli: {model + SCRIPT_BYTES} bytes")
    lines.append(f"{label} val_loss:{bpb * 1.69:.8f} val_bpb:{bpb:.8f} eval_time:80000ms")
    return "".join(line + "\n" for line in lines)


def logged(text: str) -> Run:
    return read_log("train_seed42.log", text.encode()).runs[-1]


def rerun(text: str, seed: int = 42, *, left: dict[str, int] | None = None, failure: str = "", step_ms: float = 100.0) -> Rerun:
    """A re-run that printed `text`: its lines come when its clock says."""
    lines: list[tuple[float, str]] = []
    now = 20.0
    for line in text.splitlines():
        if line.startswith("step:"):
            now = 20.0 + int(line.split("/")[0].removeprefix("step:")) * step_ms / 1000
        elif line.startswith("Serialized"):
            now += 30.0
        elif "eval_time" in line:
            now += 82.0
        lines.append((now, line))
    files = {"train_gpt.py": SCRIPT_BYTES, "final_model.ptz": MODEL_BYTES} if left is None else left
    return Rerun(seed, not failure, failure, "end", now, SCRIPT_BYTES, True, tuple(lines), files)


def pair(one: str, other: str, seed: int = 42, **given: object) -> Pair:
    run = logged(one)
    again = rerun(other, seed, **given)  # type: ignore[arg-type]
    label = run.headline.label if run.headline is not None else None
    return Pair(seed, run, run.headline, again, measure_phases(again, label))
