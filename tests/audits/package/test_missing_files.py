"""PKG001: what fails, what a human decides, and what is no omission at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from audits.package.missing_files import MISSING_FILE
from tests.audits.package.folders import clean, decide, with_json
from verifier.limits import Limits
from verifier.rule import Outcome


def test_a_complete_folder_passes(tmp_path: Path) -> None:
    assert decide(MISSING_FILE, tmp_path, clean()).outcome is Outcome.PASS


@pytest.mark.parametrize(
    ("gone", "what"),
    [
        ("README.md", "README"),
        ("submission.json", "submission JSON"),
        ("train_gpt.py", "training script"),
        (".log", "training log"),
    ],
)
def test_each_missing_kind_fails_and_shows_what_the_folder_holds(tmp_path: Path, gone: str, what: str) -> None:
    decision = decide(MISSING_FILE, tmp_path, {name: data for name, data in clean().items() if not name.endswith(gone)})
    assert decision.outcome is Outcome.FAIL
    (finding,) = (finding for finding in decision.findings if finding.outcome is Outcome.FAIL)
    assert finding.message == f"the folder has no {what}"
    assert "the folder holds" in finding.locations[0].excerpt


@pytest.mark.parametrize(
    ("name", "alias"),
    [
        ("README.md", "readme.txt"),
        ("README.md", "docs/README.md"),
        ("submission.json", "submission_ternary.json"),
        ("train_gpt.py", "train_mdlm.py"),
    ],
)
def test_an_alias_is_for_a_human(tmp_path: Path, name: str, alias: str) -> None:
    files = clean()
    files[alias] = files.pop(name)
    decision = decide(MISSING_FILE, tmp_path, files)
    assert decision.outcome is Outcome.REVIEW
    assert alias in decision.reason
    assert decision.findings[0].locations[0].path == alias


def test_logs_as_text_files_are_for_a_human_and_logs_in_a_sub_folder_are_fine(tmp_path: Path) -> None:
    below = {f"logs/{name}" if name.endswith(".log") else name: data for name, data in clean().items()}
    assert decide(MISSING_FILE, tmp_path / "a", below).outcome is Outcome.PASS
    text = {name.replace(".log", ".txt"): data for name, data in clean().items()}
    assert decide(MISSING_FILE, tmp_path / "b", text).outcome is Outcome.REVIEW


def test_a_log_without_a_run_is_for_a_human(tmp_path: Path) -> None:
    files = {name: b"hello\n" if name.endswith(".log") else data for name, data in clean().items()}
    decision = decide(MISSING_FILE, tmp_path, files)
    assert decision.outcome is Outcome.REVIEW
    assert "no training step" in decision.reason


def test_a_claimed_seed_without_a_log_is_for_a_human(tmp_path: Path) -> None:
    files = clean()
    del files["train_seed1337.log"]
    decision = decide(MISSING_FILE, tmp_path, files)
    assert decision.outcome is Outcome.REVIEW
    assert "no log of seed 1337" in decision.reason
    assert decision.findings[0].locations[0].path == "submission.json"
    assert decision.findings[0].locations[0].line is not None


def test_a_log_that_names_no_seed_may_be_the_missing_one(tmp_path: Path) -> None:
    files = clean()
    files["train.log"] = files.pop("train_seed1337.log").replace(b"seed:1337\n", b"")
    assert decide(MISSING_FILE, tmp_path, files).outcome is Outcome.PASS


def test_a_sketch_without_seeds_claims_no_logs(tmp_path: Path) -> None:
    files = with_json(seeds=None, seed_results=None)
    del files["train_seed1337.log"]
    assert decide(MISSING_FILE, tmp_path, files).outcome is Outcome.PASS


def test_an_empty_script_is_for_a_human(tmp_path: Path) -> None:
    decision = decide(MISSING_FILE, tmp_path, clean() | {"train_gpt.py": b"\n"})
    assert decision.outcome is Outcome.REVIEW
    assert "is empty" in decision.reason


def test_junk_is_no_substitute(tmp_path: Path) -> None:
    files = clean()
    files[".ipynb_checkpoints/submission.json"] = files.pop("submission.json")
    assert decide(MISSING_FILE, tmp_path, files).outcome is Outcome.FAIL


def test_a_symlink_in_place_of_a_file_is_for_a_human(tmp_path: Path) -> None:
    (tmp_path / "README.md").symlink_to("../README.md")
    files = clean()
    del files["README.md"]
    decision = decide(MISSING_FILE, tmp_path, files)
    assert decision.outcome is Outcome.REVIEW
    assert "symlink" in decision.reason


def test_nothing_is_called_missing_when_the_listing_is_incomplete(tmp_path: Path) -> None:
    files = {f"aaa/{number}.csv": b"x" for number in range(20)} | {"README.md": b"x"}
    assert decide(MISSING_FILE, tmp_path, files, Limits(folder_files=10)).outcome is Outcome.NOT_AVAILABLE


def test_another_language_may_be_what_trains(tmp_path: Path) -> None:
    files = clean()
    del files["train_gpt.py"]
    files["src/main.rs"] = b"fn main() {}\n"
    decision = decide(MISSING_FILE, tmp_path, files)
    assert decision.outcome is Outcome.REVIEW
    assert "src/main.rs" in decision.reason
