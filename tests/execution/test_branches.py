"""Copies of a process with one token swapped: our own scripts in the sandbox (needs torch), and the search for the token without."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fixtures.probes import write_folder
from verifier.challenge.load import load_challenge
from verifier.engine.context import Context
from verifier.execution.bench import Attempt, Bench, Branching, Budget
from verifier.execution.experiment import SEED, alternatives, settings_of_run, swap_places
from verifier.execution.toy_data import make_data
from verifier.execution.toy_tokenizer import make_tokenizer
from verifier.execution.transform import shrink_literals
from verifier.sandbox.policy import SandboxPolicy
from verifier.sandbox.tiers import choose_tier
from verifier.submission.discover import discover
from verifier.submission.load import load_submission

PIECES, TOKENS = 32, 2049
AFTER = {"kind": "file", "name": "final_model.ptz", "count": 1}
WITH_TORCH = importlib.util.find_spec("torch") is not None
needs_runs = pytest.mark.skipif(
    not WITH_TORCH or not choose_tier(SandboxPolicy()).available, reason="needs torch and a sandbox that works here"
)


def copied(tmp_path: Path, kind: str) -> tuple[Attempt, int]:
    """A transformed run of this script with one target swapped for every alternative, and its place."""
    folder = write_folder(tmp_path, kind)
    context = Context(load_submission(discover(folder)[0]), load_challenge())
    program = context.submission.program
    environment = {**settings_of_run(context, folder)[0].environment, "VOCAB_SIZE": str(PIECES), "TTT_CHUNK_TOKENS": "512"}
    transformed = shrink_literals(program, environment, TOKENS, 256)
    data = make_data(make_tokenizer(PIECES, byte_pieces=False), SEED, val_tokens=TOKENS)
    place = swap_places(data)[0]
    orders = tuple((place, value) for value in alternatives(data, place))
    texts = [text for member in program.members for _, text in member.code_texts]
    bench = Bench(folder, "train_gpt.py", (), texts, Path(sys.executable), Budget(), None, unsafe=False)
    branching = Branching(AFTER, {}, orders, 60.0)
    return bench.run("full", data, environment, replaced=transformed.texts, branching=branching), place


def total(attempt: Attempt, place: int) -> float:
    runs = [run for run in (attempt.run, *attempt.branches) if run is not None and run.final is not None]
    assert len(runs) == PIECES
    return sum(math.exp(-float(run.final.losses[run.final.positions == place][0])) for run in runs if run.final is not None)


@needs_runs
def test_a_full_table_of_realized_tokens_sums_to_more_than_one(tmp_path: Path) -> None:
    attempt, place = copied(tmp_path, "packed-hashed")
    assert attempt.completed, attempt.failure
    assert total(attempt, place) > 1.5


@needs_runs
def test_counts_over_the_whole_vocabulary_sum_to_one(tmp_path: Path) -> None:
    attempt, place = copied(tmp_path, "full-table")
    assert attempt.completed, attempt.failure
    assert total(attempt, place) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.skipif(not WITH_TORCH, reason="needs torch")
def test_every_place_that_holds_the_token_is_found() -> None:
    torch: Any = pytest.importorskip("torch")
    from verifier.execution.child.branches import find_places

    stream = np.random.default_rng(5).integers(1000, 2000, size=300)
    held = {
        "array": stream.copy(), "tensor": torch.from_numpy(stream.copy()).to(torch.int32), "list": stream.tolist(),
        "bytes": np.frombuffer(stream.astype("<u2").tobytes(), dtype="<u2"), "rows": torch.from_numpy(stream[1:281].copy()).view(4, 70),
        "other": stream[::-1].copy(), "floats": stream.astype(np.float64),
    }  # fmt: skip
    around = tuple(stream[145:156].tolist())
    for place in find_places(around, 5):
        place(7)
    assert [int(held[name][150]) for name in ("array", "tensor", "list", "bytes")] == [7, 7, 7, 7]
    assert int(held["rows"].reshape(-1)[149]) == 7
    assert not (held["other"] == 7).any()
    assert not (held["floats"] == 7).any()


def test_the_plan_of_a_copy_names_the_tokens_around() -> None:
    data = make_data(make_tokenizer(PIECES, byte_pieces=False), 1, val_tokens=100)
    plan = Branching(AFTER, {50: 12}, ((50, 9), (98, 9)), 5.0).plan(data)
    first, second = list(plan["swaps"])  # type: ignore[call-overload]
    assert first == {"position": 50, "value": 9, "around": data.val[45:56].tolist(), "offset": 5, "at": 12}
    assert second == {"position": 98, "value": 9, "around": data.val[93:100].tolist(), "offset": 5}
