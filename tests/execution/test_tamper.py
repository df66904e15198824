"""Scripts that try to fool the recorder: each is contained, or noticed and reported, and never passes. Needs torch and a sandbox."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from audits.dynamic.probe import Probe
from audits.dynamic.rules import answer_probes
from verifier.execution.bench import Attempt, Bench, Budget
from verifier.execution.experiment import Experiment
from verifier.execution.launch import MEMORY
from verifier.execution.toy_data import make_data
from verifier.execution.toy_tokenizer import make_tokenizer
from verifier.limits import MIB
from verifier.rule import Outcome
from verifier.sandbox.policy import Reason, SandboxPolicy
from verifier.sandbox.tiers import choose_tier

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None or not choose_tier(SandboxPolicy()).available, reason="needs torch and a sandbox"
)

HONEST = """\
import os, subprocess, sys, time
import numpy as np
import torch
import torch.nn.functional as F

val = torch.from_numpy(np.fromfile(os.environ["DATA_PATH"] + "/fineweb_val_000000.bin", dtype="<u2", offset=1024).astype(np.int64))
head = torch.nn.Linear(8, 512, bias=False)
torch.nn.init.normal_(head.weight, std=0.01, generator=torch.Generator().manual_seed(1))

def evaluate():
    with torch.no_grad():
        x = F.one_hot(val[:-1] % 8, 8).float()
        return F.cross_entropy(head(x), val[1:], reduction="none").double().mean().item()

def report(loss):
    print(f"final_roundtrip_exact val_loss:{loss:.8f} val_bpb:{loss / 1.386:.8f}", flush=True)

"""
LOOK = """
import pathlib
seen = [name for name in list(sys.modules) if name.startswith("verifier")]
seen += [name for name in os.environ if "probe-code" in os.environ[name]] + [path for path in sys.path if "probe-code" in path]
for name in ("probe-plan.json", "probe-record/events.jsonl"):
    try:
        seen.append(pathlib.Path(name).read_text())
    except OSError:
        pass
report(evaluate() - (1.0 if seen else 0.0))
"""
WRITE = """
report(evaluate())
try:
    open("probe-record/events.jsonl", "a").write("{}")
except OSError:
    pass
"""
SHELL = """
report(evaluate())
line = '{"n": 999999, "kind": "end", "ok": true, "message": "' + "x" * 2000 + '"}'
subprocess.run(["/bin/sh", "-c", f"echo '{line}' >> probe-record/events.jsonl"])
"""
REPLACE_ALL = """
report(evaluate() - 0.5)
forged = '{"n": 0, "kind": "start"}\\\\n{"n": 1, "kind": "end", "ok": true}\\\\n'
names = ("targets.i32", "losses.f32", "rows.u64", "counted.i64", "logs.f64", "seal.json")
empty = "; ".join(f"rm -f probe-record/{name}; : > probe-record/{name}" for name in names)
subprocess.run(["/bin/sh", "-c", f"{empty}; rm probe-record/events.jsonl; printf '{forged}' > probe-record/events.jsonl"])
import signal
signal.raise_signal(signal.SIGKILL)
"""
DESCRIPTORS = """
report(evaluate())
for number in range(3, 64):
    try:
        os.write(number, b'{"n": 500000, "kind": "counted", "start": 0, "count": 0}\\n')
    except OSError:
        pass
"""
FORK = """
back, forth = os.pipe()
child = os.fork()
if child == 0:
    os.write(forth, str(evaluate()).encode())
    os._exit(0)
os.waitpid(child, 0)
report(float(os.read(back, 100)))
"""
HOOK = """
real = F.cross_entropy
F.cross_entropy = lambda *args, **kwargs: 0.5 * real(*args, **kwargs)
report(evaluate())
"""
UNWATCHED = """
torch._C._pop_torch_function_stack()
report(evaluate() * 0.5)
"""
PARENT = """
import signal
for target in (os.getppid(), 1):
    try:
        os.kill(target, signal.SIGKILL)
    except OSError:
        pass
report(evaluate())
"""
ALLOCATE = "held = []\nwhile True:\n    held.append(bytearray(b'x') * (32 << 20))\n"

SCRIPTS = {
    "honest": HONEST + "report(evaluate())\n",
    "forged": HONEST + "evaluate()\nreport(evaluate() * 0.5)\n",
    "look": HONEST + LOOK,
    "write": HONEST + WRITE,
    "shell": HONEST + SHELL,
    "replace": HONEST + REPLACE_ALL,
    "descriptors": HONEST + DESCRIPTORS,
    "fork": HONEST + FORK,
    "hook": HONEST + HOOK,
    "unwatched": HONEST + UNWATCHED,
    "parent": HONEST + PARENT,
    "exit": HONEST + "report(evaluate() * 0.5)\nos._exit(0)\n",
    "sleep": "import time\nwhile True:\n    time.sleep(60)\n",
    "allocate": ALLOCATE,
}
BUDGETS = {"sleep": Budget(single=8.0), "allocate": Budget(memory=768 * MIB)}


@dataclass(frozen=True)
class Seen:
    attempt: Attempt
    probes: dict[str, Probe]

    @property
    def passed(self) -> set[str]:
        """Probes that say all is well with the score."""
        return {name for name, probe in self.probes.items() if probe.outcome is Outcome.PASS} - {
            "files-and-network",
            "artifact-bytes",
        }


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Seen]]]:
    """All scripts, two at a time."""
    data = make_data(make_tokenizer(512), 3, val_tokens=2_049)

    def one(name: str) -> Seen:
        folder = tmp_path_factory.mktemp(name)
        (folder / "train_gpt.py").write_text(SCRIPTS[name], encoding="utf-8")
        budget = BUDGETS.get(name, Budget(single=120.0, memory=MEMORY))
        bench = Bench(folder, "train_gpt.py", (), (SCRIPTS[name],), Path(sys.executable), budget, None, False)
        attempt = bench.run("base", data, {})
        return Seen(attempt, answer_probes(Experiment(script="train_gpt.py", base=attempt)))

    with ThreadPoolExecutor(2) as pool:
        yield {name: pool.submit(one, name) for name in SCRIPTS}


def test_the_honest_twin_is_believed(runs: dict[str, Future[Seen]]) -> None:
    seen = runs["honest"].result()
    assert seen.attempt.failure == ""
    assert seen.attempt.tampering == ""
    assert "noise-canary" in seen.passed


def test_a_forged_number_is_not_believed(runs: dict[str, Future[Seen]]) -> None:
    seen = runs["forged"].result()
    assert seen.passed == set()
    assert "capture incomplete" in seen.probes["score-before-update"].summary


def test_a_script_that_looks_for_the_recorder_finds_nothing_and_is_reported(runs: dict[str, Future[Seen]]) -> None:
    seen = runs["look"].result()
    assert "probe-plan.json" in seen.attempt.tampering
    assert seen.passed == set()
    honest = runs["honest"].result().attempt.run
    assert seen.attempt.run is not None
    assert honest is not None
    lines = [run.observations.of("line")[-1].text("text") for run in (seen.attempt.run, honest)]
    assert lines[0] == lines[1]


def test_writing_to_the_record_is_refused_and_reported(runs: dict[str, Future[Seen]]) -> None:
    seen = runs["write"].result()
    assert "probe-record" in seen.attempt.failure
    assert "tampering" in seen.attempt.failure
    assert seen.attempt.sealed
    assert seen.passed == set()


@pytest.mark.parametrize("name", ["shell", "replace", "descriptors"])
def test_a_record_that_something_else_wrote_to_is_no_evidence(runs: dict[str, Future[Seen]], name: str) -> None:
    seen = runs[name].result()
    assert not seen.attempt.completed
    assert seen.attempt.failure
    assert seen.passed == set()


def test_what_a_copy_of_the_process_scores_is_not_seen(runs: dict[str, Future[Seen]]) -> None:
    seen = runs["fork"].result()
    assert seen.attempt.run is not None
    assert "os.fork" in {event.text("name") for event in seen.attempt.run.observations.of("process")}
    assert seen.passed == set()


@pytest.mark.parametrize("name", ["hook", "unwatched"])
def test_a_replaced_hook_is_reported(runs: dict[str, Future[Seen]], name: str) -> None:
    seen = runs[name].result()
    assert "tampering" in seen.attempt.failure
    assert seen.passed == set()


def test_leaving_before_the_end_leaves_no_complete_record(runs: dict[str, Future[Seen]]) -> None:
    seen = runs["exit"].result()
    assert "os._exit" in seen.attempt.failure
    assert seen.passed == set()


def test_the_sandbox_outlives_an_attack_on_its_processes(runs: dict[str, Future[Seen]]) -> None:
    seen = runs["parent"].result()
    assert seen.attempt.ending.reason in (Reason.FINISHED, Reason.KILLED)
    assert seen.attempt.run is not None
    assert "os.kill" in {event.text("name") for event in seen.attempt.run.observations.of("process")}


def test_time_and_memory_end(runs: dict[str, Future[Seen]]) -> None:
    assert runs["sleep"].result().attempt.ending.reason is Reason.TIMEOUT
    assert "wall time" in runs["sleep"].result().attempt.failure
    assert runs["allocate"].result().attempt.ending.reason is Reason.MEMORY
    assert "memory" in runs["allocate"].result().attempt.failure
