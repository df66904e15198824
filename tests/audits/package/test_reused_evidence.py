"""PKG008: copies, contradicted names, shared scores and clocks; and what only looks like them."""

from __future__ import annotations

from pathlib import Path

from audits.package.reused_evidence import REUSED_EVIDENCE
from fixtures.record import BPB, Record, files_of
from tests.audits.package.folders import clean, decide
from verifier.rule import Outcome


def test_three_runs_of_three_seeds_pass(tmp_path: Path) -> None:
    assert decide(REUSED_EVIDENCE, tmp_path, clean()).outcome is Outcome.PASS


def test_one_log_under_two_seeds_names_fails(tmp_path: Path) -> None:
    files = clean()
    files["train_seed314.log"] = files["train_seed42.log"]
    decision = decide(REUSED_EVIDENCE, tmp_path, files)
    assert decision.outcome is Outcome.FAIL
    assert "same file, byte for byte" in decision.findings[0].message
    assert {location.path for location in decision.findings[0].locations} == {"train_seed314.log", "train_seed42.log"}


def test_a_second_copy_of_the_best_run_is_no_reuse(tmp_path: Path) -> None:
    files = clean()
    files["train.log"] = files["logs/train_seed42.log"] = files["train_seed42.log"]
    assert decide(REUSED_EVIDENCE, tmp_path, files).outcome is Outcome.PASS


def test_a_log_that_says_another_seed_than_its_name_fails_at_the_seed_line(tmp_path: Path) -> None:
    files = clean()
    files["train_seed42.log"] = files["train_seed42.log"].replace(b"\nseed:42\n", b"\nseed:2026\n")
    decision = decide(REUSED_EVIDENCE, tmp_path, files)
    assert decision.outcome is Outcome.FAIL
    (finding,) = decision.findings
    assert "named for seed 42" in finding.message
    assert finding.locations[0].line is not None


def test_an_evaluation_with_its_own_seed_is_for_a_human(tmp_path: Path) -> None:
    files = clean() | {"eval_seed7.log": b"seed:1337\nfinal_int8_zlib_roundtrip_exact val_loss:1.75432100 val_bpb:1.03900000\n"}
    assert decide(REUSED_EVIDENCE, tmp_path, files).outcome is Outcome.REVIEW


def test_names_that_count_the_runs_are_no_seeds(tmp_path: Path) -> None:
    names = {"train_seed42.log": "run_seed1.log", "train_seed314.log": "run_seed2.log", "train_seed1337.log": "run_seed3.log"}
    files = {names.get(name, name): data for name, data in clean().items()}
    assert decide(REUSED_EVIDENCE, tmp_path, files).outcome is Outcome.PASS


def test_one_exact_score_for_two_seeds_is_for_a_human(tmp_path: Path) -> None:
    files = files_of(Record(bpb={**BPB, 314: BPB[42]}))
    decision = decide(REUSED_EVIDENCE, tmp_path, files)
    assert decision.outcome is Outcome.REVIEW
    assert "to the last digit" in decision.reason


def test_an_edited_seed_line_is_betrayed_by_the_clock(tmp_path: Path) -> None:
    files = clean()
    files["train_seed314.log"] = files["train_seed42.log"].replace(b"\nseed:42\n", b"\nseed:314\n")
    decision = decide(REUSED_EVIDENCE, tmp_path, files)
    assert decision.outcome is Outcome.FAIL
    assert "readings of the training clock" in decision.reason


def test_without_a_log_there_is_nothing_to_compare(tmp_path: Path) -> None:
    files = {name: data for name, data in clean().items() if not name.endswith(".log")}
    assert decide(REUSED_EVIDENCE, tmp_path, files).outcome is Outcome.NOT_AVAILABLE
