"""Two processes (gloo) do what one does: Parallel Muon, clipping, test-time training, whole runs."""

from __future__ import annotations

import json
import multiprocessing
import socket
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from reference_train.cli import main  # noqa: E402
from tests.trainer.test_trainer_run import ARGUMENTS  # noqa: E402
from tests.trainer.workers import PARTS, cli_worker, parts_worker  # noqa: E402


def run_together(worker: Any, arguments: list[tuple[Any, ...]]) -> None:
    """Start one process per argument tuple, wait for all, fail if one fails."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.trainer.workers"])
    processes = [context.Process(target=worker, args=args) for args in arguments]
    for process in processes:
        process.start()
    try:
        for process in processes:
            process.join(timeout=90)
            assert process.exitcode == 0
    finally:
        for process in processes:
            process.kill()


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Results of the parts in each of two processes, and in this one."""
    folder = tmp_path_factory.mktemp("parts")
    run_together(parts_worker, [(rank, 2, str(folder / "rendezvous"), str(folder)) for rank in (0, 1)])
    together = [json.loads((folder / f"parts{rank}.json").read_text()) for rank in (0, 1)]
    return together, {name: torch.tensor(part(0, 1)) for name, part in PARTS.items()}


@pytest.mark.parametrize("part", PARTS)
def test_processes_end_with_the_same_values(part: str, parts: Any) -> None:
    together, _ = parts
    assert together[0][part] == together[1][part]


@pytest.mark.parametrize(
    ("part", "tolerance"),
    [
        ("bank steps, no clip", 6e-3),  # gradients are rounded to bf16 before they are averaged
        ("bank steps, global clip", 6e-3),
        ("score-first", 1e-4),
        ("score-first, banks", 1e-4),
    ],
)
def test_two_processes_give_what_one_gives(part: str, tolerance: float, parts: Any) -> None:
    together, alone = parts
    difference = (torch.tensor(together[0][part]) - alone[part]).abs()
    assert difference.max() < tolerance


def test_clipping_before_the_exchange_is_another_optimizer(parts: Any) -> None:
    together, alone = parts
    assert torch.equal(alone["bank steps, own clip"], alone["bank steps, global clip"])  # one process: no difference
    own, whole = (torch.tensor(together[0][f"bank steps, {kind} clip"]) for kind in ("own", "global"))
    assert (own - whole).abs().max() > 1e-3


def test_averaging_weights_once_an_epoch_differs_from_averaging_gradients(parts: Any) -> None:
    together, alone = parts
    assert torch.equal(alone["prequant"], alone["prequant, quirk 21"])
    assert (torch.tensor(together[0]["prequant"]) - torch.tensor(together[0]["prequant, quirk 21"])).abs().max() > 1e-4


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, few_docs: str) -> Path:
    """Record folders of two presets, each trained by one process and by two."""
    folder = tmp_path_factory.mktemp("runs")
    common = [*ARGUMENTS, "LOADER=sequential", "GRAD_ACCUM_TOTAL=2", "ITERATIONS=3", "TRAIN_LOG_EVERY=1", "VAL_LOSS_EVERY=0"]

    def commands(world: int) -> list[list[str]]:
        return [
            ["--preset", preset, "--record-dir", str(folder / f"{preset}-{world}"), "--quiet", f"DATA_PATH={few_docs}", *common]
            for preset in ("tiny", "tiny-scylla-ttt")
        ]

    for arguments in commands(1):
        assert main(arguments) == 0
    with socket.socket() as one, socket.socket() as other:
        ports = []
        for probe in (one, other):
            probe.bind(("127.0.0.1", 0))
            ports.append(probe.getsockname()[1])
    run_together(cli_worker, [(rank, 2, ports, commands(2)) for rank in (0, 1)])
    return folder


@pytest.mark.parametrize("preset", ["tiny", "tiny-scylla-ttt"])
def test_two_processes_follow_the_curve_of_one(preset: str, runs: Path) -> None:
    curves, scores = [], []
    for world in (1, 2):
        record = runs / f"{preset}-{world}"
        log = (record / "train_seed1337.log").read_text().splitlines()
        assert f"  world_size: {world}" in log
        curves.append([float(line.split("train_loss: ")[1].split()[0]) for line in log if "train_loss" in line])
        scores.append(json.loads((record / "submission.json").read_text())["val_bpb"])
    assert len(curves[0]) == 3
    assert curves[0] == pytest.approx(curves[1], abs=2e-3)
    assert scores[0] == pytest.approx(scores[1], abs=0.02)
