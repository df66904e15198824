"""`verifier probe` as a command: refusals, formats, exit codes; with torch, whole runs of our own scripts."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from pathlib import Path

import pytest

from audits.dynamic import command
from audits.dynamic.plain_mean import probe_mean
from audits.dynamic.rules import PROBES
from audits.dynamic.size import probe_size
from fixtures.probes import write_folder
from verifier.cli import record
from verifier.cli.errors import UsageFailure
from verifier.cli.record import open_record
from verifier.execution import experiment
from verifier.execution.experiment import Experiment
from verifier.sandbox.policy import SandboxPolicy, Tier
from verifier.sandbox.tiers import TierState, choose_tier


def call(*words: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args(words))


def confined() -> bool:
    return choose_tier(SandboxPolicy()).available


needs_runs = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None or not confined(), reason="needs torch and a sandbox that works here"
)


def test_a_machine_without_a_sandbox_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(record, "choose_tier", lambda policy: TierState(Tier.UNSAFE, False, "no namespaces", ()))
    with pytest.raises(UsageFailure, match="can't confine") as failure:
        call(str(write_folder(tmp_path, "plain")))
    assert "--unsafe-no-sandbox" in failure.value.hint


def test_what_is_no_record_folder_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(command, "refuse_without_sandbox", lambda unsafe: None)
    with pytest.raises(UsageFailure, match="nothing was run"):
        call(str(tmp_path))
    with pytest.raises(UsageFailure, match="nothing was run"):
        call(str(tmp_path / "missing"))
    write_folder(tmp_path / "checkout", "plain")
    with pytest.raises(UsageFailure, match="not the record folder itself"):
        call(str(tmp_path / "checkout"))
    with pytest.raises(UsageFailure, match="no such file"):
        call(str(write_folder(tmp_path, "plain")), "--python", str(tmp_path / "python"))
    with pytest.raises(UsageFailure, match="not an empty folder"):
        call(str(write_folder(tmp_path, "plain")), "--keep", str(tmp_path))


def test_a_report_of_nothing_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(command, "refuse_without_sandbox", lambda unsafe: None)
    monkeypatch.setattr(command, "experiment_on", lambda *args, **kwargs: Experiment(why_not="no room\x1b[2J"))
    folder = write_folder(tmp_path, "plain")
    assert call(str(folder), "--format", "json") == 0
    submission = json.loads(capsys.readouterr().out)["submissions"][0]
    assert submission["verdict"] == "undetermined"
    assert len(submission["probes"]) == len(PROBES)
    assert {probe["outcome"] for probe in submission["probes"].values()} == {"not-available"}
    assert submission["rules"]["CAU002"]["outcome"] == "not-available"
    assert "TIM001" in submission["not_examined"]
    assert call(str(folder), "--fail-on", "undetermined") == 1
    assert "\x1b" not in capsys.readouterr().out


@needs_runs
def test_adapting_before_the_artifact_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whole runs: the prequant script expects a GPU, DDP, torch.compile and FlashAttention."""
    keep = tmp_path / "evidence"
    assert call(str(write_folder(tmp_path, "prequant")), "--format", "json", "--keep", str(keep), "--python", sys.executable) == 1
    submission = json.loads(capsys.readouterr().out)["submissions"][0]
    outcomes = {code: submission["rules"][code]["outcome"] for code in ("CAU002", "NRM001", "TTT001", "TTT002")}
    assert outcomes == {"CAU002": "fail", "NRM001": "not-available", "TTT001": "not-applicable", "TTT002": "fail"}
    assert submission["verdict"] == "ineligible"
    runs = json.loads((keep / "runs.json").read_text())
    assert [run["name"] for run in runs["runs"]] == ["base", "twin", "again"]
    assert any("torch.compile" in mapped for mapped in runs["runs"][0]["mapped"])


@needs_runs
def test_a_packed_score_first_script_passes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experiment, "OTHER_SEEDS", ())
    monkeypatch.setattr(experiment, "PLACES", (0.93,))
    assert call(str(write_folder(tmp_path, "packed")), "--format", "json", "--python", sys.executable) == 0
    submission = json.loads(capsys.readouterr().out)["submissions"][0]
    outcomes = {name: probe["outcome"] for name, probe in submission["probes"].items()}
    # It sizes nothing by a large power of two, and its command sets nothing.
    assert {name for name, outcome in outcomes.items() if outcome != "pass"} == {"target-swap-transformed", "documented-settings"}
    assert outcomes["target-swap-transformed"] == outcomes["documented-settings"] == "not-applicable"
    assert {submission["rules"][code]["outcome"] for code in ("CAU002", "NRM001", "TTT001", "TTT002")} == {"pass"}


@needs_runs
@pytest.mark.parametrize(
    ("kind", "mean", "size"),
    [
        ("plain", "pass", "pass"),
        ("weighted", "review", "pass"),
        ("code-left-out", "pass", "review"),
        ("model-left-out", "pass", "review"),
    ],
)
def test_what_a_headline_is_the_mean_of_and_what_a_total_counts(tmp_path: Path, kind: str, mean: str, size: str) -> None:
    folder = write_folder(tmp_path, kind)
    _, context = open_record(folder, ())
    laboratory = experiment.laboratory_of(context, folder, Path(sys.executable), experiment.Budget(), None, unsafe=False)
    assert laboratory is not None
    made = Experiment(laboratory.settings, "train_gpt.py", base=laboratory.first_run())
    assert (probe_mean(made).outcome.value, probe_size(made).outcome.value) == (mean, size)
