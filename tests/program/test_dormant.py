"""Evaluations that the settings switch off, in a folder whose logs do not say what ran."""

from __future__ import annotations

from tests.program.judge import CHALLENGE, MemorySource, analyse_script
from verifier.engine.context import Context
from verifier.limits import DEFAULT_LIMITS
from verifier.program.dormant import dormant_trace
from verifier.submission.load import load_submission

SCRIPT = """\
import glob, os
import numpy as np
import torch
import torch.nn.functional as F
TWICE = bool(int(os.environ.get("SCORE_TWICE", "0")))
NOISY = bool(int(os.environ.get("NOISY", "0")))

def evaluate(model, val):
    twice = TWICE
    loss = F.cross_entropy(model(val), val)
    if NOISY:
        print("noise is on")
    if twice:
        loss = F.cross_entropy(model(val), val)
    if twice:
        print(f"second pass val_bpb:{loss.item()}")
    return loss

def main():
    extra = bool(int(os.environ.get("EXTRA_EVAL", "0")))
    model = torch.nn.Linear(4, 4)
    val = torch.from_numpy(np.fromfile(sorted(glob.glob("fineweb_val_*.bin"))[0], dtype=np.uint16))
    print(f"plain val_bpb:{F.cross_entropy(model(val), val).item()}")
    if extra:
        print(f"extra val_bpb:{evaluate(model, val).item()}")

main()
"""
LOG = "\n".join(
    [
        "seed:1337",
        *(f"step:{step}/1000 train_loss:3.{step} train_time:{step * 100}ms step_avg:100.00ms" for step in range(100, 1001, 100)),
        "step:1000/1000 val_loss:2.1000 val_bpb:1.2400 train_time:100000ms step_avg:100.00ms",
        "plain val_bpb:1.2436",
        "final_int8_zlib_roundtrip_exact val_loss:2.10000000 val_bpb:1.24360000",
    ]
)


def losses(script: str, **logs: str) -> int | None:
    files = {"README.md": b"# A model\n", "submission.json": b"{}", "train_gpt.py": script.encode()}
    files |= {f"{name}.log": text.encode() for name, text in logs.items()}
    submission = load_submission(MemorySource("records/track_10min_16mb/2026-04-30_Dormant", files), DEFAULT_LIMITS, None)
    trace = dormant_trace(Context(submission, CHALLENGE))
    return len(trace.of("loss")) if trace is not None else None


def test_a_dormant_evaluation_wakes_with_the_ones_inside_it() -> None:
    assert len(analyse_script(SCRIPT).run.of("loss")) == 1
    assert losses(SCRIPT) == 3  # plain, extra, and the second pass that only the extra one holds


def test_what_prints_no_result_sleeps_on() -> None:
    woken = analyse_script(SCRIPT).assuming(())
    assert len(woken.of("loss")) == 1


def test_a_log_says_what_ran() -> None:
    assert losses(SCRIPT, train=LOG) is None


def test_nothing_dormant_is_no_trace() -> None:
    assert (
        losses(SCRIPT.replace('"EXTRA_EVAL", "0"', '"EXTRA_EVAL", "1"').replace('"SCORE_TWICE", "0"', '"SCORE_TWICE", "1"'))
        is None
    )
