"""`verifier reproduce` as a command: refusals, resumption, formats, exit codes; with torch, a whole run."""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest

from audits.reproduction import command, job
from audits.reproduction.compare import Judgement
from audits.reproduction.job import Job, order_reference
from audits.reproduction.machine import Machine
from audits.reproduction.mapping import Mapped
from audits.reproduction.reference import Order
from fixtures.probes import write_folder
from tests.audits.reproduction.samples import log_text, rerun
from verifier.cli import record
from verifier.cli.errors import UsageFailure
from verifier.execution.own_script import Material
from verifier.execution.rerun import Rerun
from verifier.sandbox.policy import SandboxPolicy, Tier
from verifier.sandbox.tiers import TierState, choose_tier

H100 = "NVIDIA H100 80GB HBM3"


def call(*words: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args(words))


def machine(*gpus: str) -> Machine:
    return Machine("2.9.1", "3.12.3", gpus)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A record whose logs are those of the samples."""
    made = write_folder(tmp_path, "plain")
    for seed in (42, 7):
        (made / f"train_seed{seed}.log").write_text(log_text(seed))
    (made / "submission.json").write_text(json.dumps({"name": "x", "author": "y", "val_bpb": 1.08, "seeds": [42, 7]}))
    return made


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """No run is made: each would repeat its log. The seeds that were asked for."""
    asked: list[int | None] = []

    def run_seed(wanted: Job, seed: int | None, place: Path, note: object) -> Rerun:
        asked.append(seed)
        return rerun(log_text(seed or 0), seed or 0)

    monkeypatch.setattr(job, "inspect_machine", lambda python: machine())
    monkeypatch.setattr(record, "choose_tier", lambda policy: TierState(Tier.LANDLOCK, True, "", ()))
    monkeypatch.setattr(command, "run_seed", run_seed)
    return asked


def test_a_python_without_torch_is_refused(folder: Path, tmp_path: Path) -> None:
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\necho \"ModuleNotFoundError: No module named 'torch'\" >&2\nexit 1\n")
    fake.chmod(0o755)
    with pytest.raises(UsageFailure, match=r"no torch that starts.*No module named 'torch'.*nothing was run"):
        call(str(folder), "--toy", "--python", str(fake), "--evidence", str(tmp_path / "e"))
    with pytest.raises(UsageFailure, match="no such file"):
        call(str(folder), "--toy", "--python", str(tmp_path / "nothing"))
    assert not (tmp_path / "e").exists()


def test_no_gpu_is_refused_and_toy_is_named(folder: Path, runs: list[int | None]) -> None:
    with pytest.raises(UsageFailure, match="no GPU") as failure:
        call(str(folder))
    assert "--toy" in failure.value.hint
    assert failure.value.code == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--toy", "--nproc", "2"), "one process"),
        (("--toy", "--data", "."), "makes its own data"),
        (("--toy", "--preset", "baseline"), "--runner reference"),
    ],
)
def test_options_that_do_not_fit_are_refused(folder: Path, runs: list[int | None], words: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageFailure, match=message):
        call(str(folder), *words)


def test_a_full_run_needs_data_and_several_gpus_a_decision(
    folder: Path, runs: list[int | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "inspect_machine", lambda python: machine(*[H100] * 8))
    with pytest.raises(UsageFailure, match="--data"):
        call(str(folder))
    monkeypatch.setattr(job, "choose_tier", lambda policy: TierState(Tier.LANDLOCK, True, "", ()))
    with pytest.raises(UsageFailure, match="lets no processes talk") as failure:
        call(str(folder), "--data", str(tmp_path))
    assert "--unsafe-no-sandbox" in failure.value.hint
    with pytest.raises(UsageFailure, match="this machine has 8 GPUs"):
        call(str(folder), "--data", str(tmp_path), "--nproc", "9")


def test_a_full_run_on_the_contest_s_hardware_decides_rules(
    folder: Path, runs: list[int | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "shards"
    data.mkdir()
    monkeypatch.setattr(job, "inspect_machine", lambda python: machine(*[H100] * 8))
    words = (
        str(folder),
        "--data",
        str(data),
        "--unsafe-no-sandbox",
        "--evidence",
        str(tmp_path / "e"),
        "--output",
        f"json={tmp_path / 'r.json'}",
    )
    assert call(*words, "--quiet") == 0
    assert runs == [42, 7]
    report = json.loads((tmp_path / "r.json").read_text())["submissions"][0]
    assert report["rules"]["TIM001"]["outcome"] == "pass"
    assert report["reproduction"]["machine"]["same"] is True
    monkeypatch.setattr(command, "run_seed", lambda wanted, seed, place, note: rerun(log_text(seed, 1.3), seed))
    assert call(*words[:-4], "--evidence", str(tmp_path / "f"), "--quiet") == 1


def test_a_toy_run_is_resumed_and_compares_no_score(
    folder: Path, runs: list[int | None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (str(folder), "--toy", "--evidence", str(tmp_path / "e"))
    assert call(*words) == 0
    assert call(*words) == 0
    assert runs == [42]
    text = capsys.readouterr().out
    assert "kept from an earlier call" in text
    assert "toy size: another model on other data" in text
    assert call(*words, "--seed", "7", "--seed", "42") == 0
    assert runs == [42, 7]
    kept = json.loads((tmp_path / "e" / "reproduction.json").read_text())
    assert {line["judgement"] for line in kept["lines"] if line["subject"] == "final BPB"} == {Judgement.NOT_COMPARABLE.value}
    page = (tmp_path / "e" / "reproduction.html").read_text()
    assert "<svg" in page
    assert not re.search(r"<script|https?://|onload", page)


def test_a_changed_record_does_not_mix_with_old_evidence(folder: Path, runs: list[int | None], tmp_path: Path) -> None:
    words = (str(folder), "--toy", "--evidence", str(tmp_path / "e"))
    assert call(*words) == 0
    (folder / "train_gpt.py").write_text("print('another')\n")
    with pytest.raises(UsageFailure, match=r"other inputs \(record"):
        call(*words)


def test_an_interruption_keeps_what_had_ended(
    folder: Path, runs: list[int | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(wanted: Job, seed: int | None, place: Path, note: object) -> Rerun:
        if seed == 7:
            raise KeyboardInterrupt
        return rerun(log_text(42), 42)

    words = (str(folder), "--toy", "--seed", "42", "--seed", "7", "--evidence", str(tmp_path / "e"))
    monkeypatch.setattr(command, "run_seed", interrupted)
    with pytest.raises(UsageFailure, match="interrupted") as failure:
        call(*words)
    assert failure.value.code == 130
    assert [path.name for path in (tmp_path / "e" / "runs").iterdir() if "partial" not in path.name] == ["seed-42"]


def test_a_run_that_hangs_leaves_the_record_undetermined(
    folder: Path, runs: list[int | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        command, "run_seed", lambda wanted, seed, place, note: rerun("loading\n", seed, failure="more than 20 s of wall time")
    )
    words = (str(folder), "--toy", "--evidence", str(tmp_path / "e"))
    assert call(*words) == 0
    assert "not completed: more than 20 s of wall time" in capsys.readouterr().out
    assert call(*words, "--fail-on", "undetermined") == 1


def test_a_record_without_a_preset_is_refused_by_what_it_has(
    folder: Path, runs: list[int | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "read_catalog", lambda python: argparse.Namespace(presets={"baseline": {}}))
    monkeypatch.setattr(job, "map_record", lambda system, catalog, wanted: Mapped("", missing=("WAVELET_ENABLED=1",)))
    with pytest.raises(UsageFailure, match="no preset expresses this record: WAVELET_ENABLED=1; nothing was run"):
        call(str(folder), "--toy", "--runner", "reference")
    with pytest.raises(UsageFailure, match="no such preset"):
        call(str(folder), "--toy", "--runner", "reference", "--preset", "../../etc")


def test_a_reference_run_gets_the_record_s_settings_at_full_size_only(folder: Path, tmp_path: Path) -> None:
    _, asked = record.open_record(folder, ())
    mapped = Mapped("scylla-gptq", overrides={"MATRIX_LR": "0.03"})
    full = Job(
        asked,
        folder,
        Path(sys.executable),
        machine(H100),
        False,
        False,
        1,
        60.0,
        False,
        mapped,
        Material(tmp_path, tmp_path / "t.npz"),
    )
    order = order_reference(full, 42)
    assert order.overrides == {
        "MATRIX_LR": "0.03", "DATA_PATH": str(tmp_path), "TOKENIZER_META_PATH": str(tmp_path / "t.npz"), "PLANNED_STEPS": "6000",
    }  # fmt: skip
    toy = Job(asked, folder, Path(sys.executable), machine(), False, True, 2, 60.0, False, mapped, None)
    assert order_reference(toy, 42) == Order("tiny-scylla-gptq", {"GRAD_ACCUM_TOTAL": "2"}, 2, 42)


def test_what_is_no_record_folder_is_refused(tmp_path: Path, runs: list[int | None]) -> None:
    with pytest.raises(UsageFailure, match="nothing was run") as failure:
        call(str(tmp_path), "--toy")
    assert failure.value.code == 3
    with pytest.raises(UsageFailure, match="nothing was run"):
        call(str(tmp_path / "missing"), "--toy")


@pytest.mark.skipif(
    importlib.util.find_spec("torch") is None or not choose_tier(SandboxPolicy()).available,
    reason="needs torch and a sandbox that works here",
)
def test_a_whole_run_of_an_own_script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = write_folder(tmp_path, "plain")
    assert call(str(made), "--toy", "--seed", "1", "--evidence", str(tmp_path / "e"), "--format", "json") == 0
    found = json.loads(capsys.readouterr().out)["submissions"][0]["reproduction"]
    assert found["runs"][0]["completed"], found["runs"][0]["failure"]
    assert [phase["name"] for phase in found["runs"][0]["phases"]] == [
        "set-up",
        "training",
        "quantization and packing",
        "evaluation",
    ]
    sizes = next(line for line in found["lines"] if line["subject"] == "sizes of the re-run")
    assert (sizes["judgement"], sizes["difference"]) == ("agrees", 0)
