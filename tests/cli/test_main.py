"""The command line from outside: exit codes, messages, files written whole."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from verifier.cli.main import main

RECORDS = Path(__file__).parents[2] / "fixtures" / "records" / "track_10min_16mb"
CLEAN = RECORDS / "2026-04-30_Clean"
FLAWED = RECORDS / "2026-04-29_LateCalibration"


def run(*words: object) -> int:
    return main([str(word) for word in words])


def test_a_flawed_record_exits_1_and_names_rule_and_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("audit", FLAWED) == 1
    out = capsys.readouterr().out
    assert "INELIGIBLE" in out
    assert "SIZ001" in out
    assert "train_seed1337.log:" in out


def test_a_clean_record_is_not_accused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("audit", CLEAN, "--format", "json") == 0
    submission = json.loads(capsys.readouterr().out)["submissions"][0]
    assert submission["verdict"] == "eligible"
    assert [code for code, one in submission["rules"].items() if one["outcome"] in ("fail", "error")] == []


@pytest.mark.parametrize(
    ("line", "clean", "flawed"),
    [("error", 0, 1), ("undetermined", 0, 1), ("record", 0, 1), ("warning", 0, 1), ("never", 0, 0)],
)
def test_fail_on_draws_the_line(line: str, clean: int, flawed: int) -> None:
    assert run("audit", CLEAN, "--fail-on", line, "--quiet") == clean
    assert run("audit", FLAWED, "--fail-on", line, "--quiet") == flawed


def test_formats_do_not_change_the_exit_code(tmp_path: Path) -> None:
    for name in ("human", "json", "sarif", "github", "markdown", "html"):
        assert run("audit", FLAWED, "--format", name, "--output", tmp_path / name) == 1
        assert (tmp_path / name).stat().st_size > 100


def test_one_run_writes_many_formats_and_equal_bytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("audit", FLAWED, "--output", f"json={tmp_path / 'a.json'}", "--output", f"html={tmp_path / 'a.html'}") == 1
    assert "INELIGIBLE" in capsys.readouterr().out
    assert (
        run("audit", FLAWED, "--quiet", "--output", f"json={tmp_path / 'b.json'}", "--output", f"html={tmp_path / 'b.html'}") == 1
    )
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_a_missing_path_is_usage_and_says_what_to_do(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run("audit", tmp_path / "nowhere") == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "nothing was audited" in captured.err
    assert "name a record folder" in captured.err


def test_a_folder_without_records_exits_3(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    assert run("audit", tmp_path) == 3
    assert "nothing to audit" in capsys.readouterr().err


def test_an_unreadable_input_in_a_batch_is_reported_and_the_rest_audited(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run("audit", CLEAN, tmp_path / "nowhere", "--format", "json") == 0
    reports = {one["path"]: one for one in json.loads(capsys.readouterr().out)["submissions"]}
    assert len(reports) == 2
    lost = reports[(tmp_path / "nowhere").as_posix()]
    assert lost["verdict"] == "undetermined"
    assert {one["outcome"] for one in lost["rules"].values()} == {"not-available"}
    assert run("audit", CLEAN, tmp_path / "nowhere", "--quiet", "--strict-inputs") == 2


def test_output_that_cannot_be_written_fails_before_the_work(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run("audit", CLEAN, "--output", tmp_path / "no" / "such" / "report.json") == 2
    assert "can't be written" in capsys.readouterr().err


def test_unknown_rule_and_format_are_usage(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run("audit", CLEAN, "--select", "NOPE") == 2
    assert "no rule is called 'NOPE'" in capsys.readouterr().err
    assert run("audit", CLEAN, "--output", "pdf=report.pdf") == 2
    assert "no format 'pdf'" in capsys.readouterr().err


def test_what_is_not_selected_never_passes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("audit", CLEAN, "--select", "TIM", "--format", "json") == 0
    submission = json.loads(capsys.readouterr().out)["submissions"][0]
    assert submission["verdict"] == "undetermined"
    assert submission["rules"]["SIZ001"]["outcome"] == "not-available"
    assert "SIZ001" in submission["not_examined"]


def test_jobs_do_not_change_the_report(tmp_path: Path) -> None:
    for name in ("one", "two"):
        shutil.copytree(CLEAN, tmp_path / "records" / "track_10min_16mb" / f"2026-04-30_{name}")
    assert run("audit", tmp_path, "--jobs", 1, "--quiet", "--output", f"json={tmp_path / '1.json'}") == 0
    assert run("audit", tmp_path, "--jobs", 2, "--quiet", "--output", f"json={tmp_path / '2.json'}") == 0
    assert (tmp_path / "1.json").read_bytes() == (tmp_path / "2.json").read_bytes()


def test_rules_and_explain(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("rules", "--select", "TIM") == 0
    assert len(capsys.readouterr().out.splitlines()) == 5
    assert run("explain", "tim003") == 0
    page = capsys.readouterr().out
    assert "calibration-outside-budget" in page
    assert "legal" in page
    assert run("explain", "XXX999") == 2


def test_doctor_says_what_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("doctor", "--format", "json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rules"]["static"] > 60


@pytest.mark.parametrize("command", ["audit", "ci", "rules", "explain", "doctor"])
def test_every_command_has_help_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        run(command, "--help")
    assert stop.value.code == 0
    assert "example:" in capsys.readouterr().out
