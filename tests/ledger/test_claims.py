"""Claims and configuration: which run and which metric a claim is about, and where a setting comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.audits.claims.folder import COMMAND, SEEDS, Seed, context
from verifier.evidence import Fact, Location
from verifier.ledger.claims import claimed_headline, claimed_runs, claimed_seeds, fact_tolerance, headline_runs, is_record_claim
from verifier.ledger.configuration import is_on, resolve_configuration, same_setting


def test_only_claimed_seeds_count(tmp_path: Path) -> None:
    submission = context(tmp_path, metadata={"seeds": [2024, 42]}).submission
    assert [run.seed for run in claimed_runs(submission)] == [2024, 42]


def test_without_seeds_every_scored_run_counts(tmp_path: Path) -> None:
    assert {run.seed for run in claimed_runs(context(tmp_path).submission)} == {42, 1337, 2024}


def test_the_quoted_metric_need_not_be_the_last(tmp_path: Path) -> None:
    tail = "ngram_two_pass_exact val_loss:0.30000000 val_bpb:0.19500000\n"
    seeds = tuple(Seed(seed.seed, seed.bpb, tail) for seed in SEEDS)
    found = headline_runs(context(tmp_path, seeds=seeds).submission)
    assert [(one.metric.label if one.metric else None, one.explained) for one in found] == [
        ("final_sliding_window_exact", True)
    ] * 3


def test_an_unexplained_claim_falls_back_to_the_last_metric(tmp_path: Path) -> None:
    found = headline_runs(context(tmp_path, metadata={"val_bpb": 0.9}).submission)
    assert [(one.metric.label if one.metric else None, one.explained) for one in found] == [
        ("final_sliding_window_exact", False)
    ] * 3


def test_a_claim_in_the_middle_of_a_log_is_that_line(tmp_path: Path) -> None:
    """A score that is printed before the weights are adapted, and claimed: what the log ends with is not the claim."""
    tail = "DIAGNOSTIC post_swa val_loss:1.9312 val_bpb:1.1452 eval_time:2257ms\nfinal_adapted_exact val_loss:1.90000000 val_bpb:1.12000000\n"
    seeds = tuple(Seed(seed.seed, seed.bpb, tail) for seed in SEEDS)
    for claim, label in ((1.1452, "DIAGNOSTIC post_swa"), (1.12, "final_adapted_exact")):
        found = headline_runs(context(tmp_path / label, seeds=seeds, metadata={"val_bpb": claim}).submission)
        assert {(one.metric.label if one.metric else None, one.explained) for one in found} == {(label, True)}


def test_a_mean_of_rounded_rows_is_still_that_label(tmp_path: Path) -> None:
    tail = "mixer_exact val_loss:1.60000000 val_bpb:0.92900000\nfinal_window_exact val_loss:1.90000000 val_bpb:1.12000000\n"
    seeds = tuple(Seed(seed.seed, seed.bpb, tail) for seed in SEEDS)
    found = headline_runs(context(tmp_path, seeds=seeds, metadata={"val_bpb": 0.92904}).submission)
    assert {one.metric.label if one.metric else None for one in found} == {"mixer_exact"}


def test_one_run_among_others_that_are_kept(tmp_path: Path) -> None:
    seeds = (Seed(1, "1.03281422"), Seed(2, "1.04330173"), Seed(3, "1.38763000"))
    made = context(tmp_path, seeds=seeds, metadata={"val_bpb": 1.38763, "seeds": None})
    assert [run.seed for run in claimed_runs(made.submission)] == [3]


def test_of_two_columns_of_scores_the_claimed_one(tmp_path: Path) -> None:
    rows = "".join(f"| {seed} | 6100 | **0.321{digit}** | 1.18{seed} |\n" for seed, digit in ((1, 1), (2, 0), (3, 5)))
    readme = f"# X\n\n| Seed | Steps | val_bpb | Post-quant BPB |\n|--|--|--|--|\n{rows}"
    claims = claimed_seeds(context(tmp_path, readme=readme, metadata={"val_bpb": 0.3212, "seeds": None}).submission)
    assert [claim.val_bpb.value for claim in claims if claim.val_bpb is not None] == [0.3211, 0.321, 0.3215]
    plain = claimed_seeds(context(tmp_path / "plain", readme=readme, metadata={"val_bpb": 1.182, "seeds": None}).submission)
    assert [claim.val_bpb.value for claim in plain if claim.val_bpb is not None] == [1.181, 1.182, 1.183]


def test_the_table_fills_what_the_json_leaves_open(tmp_path: Path) -> None:
    readme = "# X\n\n| Seed | BPB | Steps | Artifact (MB) |\n|--|--|--|--|\n| 42 | 1.1000 | 6,000 | 15.9 |\n| 7 | 1.2 | 1 | 1 |\n"
    submission = context(tmp_path, readme=readme, metadata={"seed_results": {"42": {"val_bpb": 1.10001}}}).submission
    (claim,) = claimed_seeds(submission)
    assert claim.val_bpb is not None
    assert claim.val_bpb.value == 1.10001
    assert claim.steps is not None
    assert claim.steps.value == 6000
    assert claim.artifact_bytes is not None
    assert claim.artifact_bytes.value == 15_900_000


def test_the_readme_speaks_when_the_json_does_not(tmp_path: Path) -> None:
    submission = context(tmp_path, readme="# X — val_bpb 1.1020\n", metadata={"val_bpb": None}).submission
    bpb = claimed_headline(submission).bpb
    assert bpb is not None
    assert (bpb.value, bpb.source.path) == (1.102, "README.md")


@pytest.mark.parametrize(
    ("readme", "metadata", "claimed"),
    [
        ("# Record\n", {}, True),
        ("# Non-record: an ablation\n", {}, False),
        ("# Record\n", {"track": "non-record-16mb"}, False),
        ("# Record\n", {"compliance": {"record_claim": False}}, False),
        ("# Record\n\nThis PR has been withdrawn.\n", {}, False),
        ("# Record\n\nBetter than the last non-record submission.\n", {"track": "10min_16mb"}, True),
        ("# Record\n\n> **Status: non-record preliminary run.**\n", {}, False),
        ("# Record\n\nThis is an ablation, not a SOTA claim.\n", {}, False),
        ("# Record\n\nTreat this PR as withdrawn for the record track.\n", {}, False),
        ("# Record\n", {"status": "retracted"}, False),
        ("# Record\n", {"status": "non_record_pending_validation"}, False),
        ("# Record\n", {"status": "record, not retracted"}, True),
    ],
)
def test_record_claims(tmp_path: Path, readme: str, metadata: dict[str, object], claimed: bool) -> None:
    assert is_record_claim(context(tmp_path, readme=readme, metadata=metadata).submission) is claimed


@pytest.mark.parametrize(
    ("value", "printed", "tolerance"),
    [(1.081, "1.0810", 0.00005), (15_900_000, "15.9MB", 50_000), (110.0, "~110s", 0.5), (15_985_678, "15,985,678 bytes", 0.5)],
)
def test_tolerance_follows_the_digits(value: float, printed: str, tolerance: float) -> None:
    assert fact_tolerance(Fact("x", value, "", Location("a"), None, printed)) == pytest.approx(tolerance)


def test_log_over_command_over_default(tmp_path: Path) -> None:
    head = "Hyperparameters:\n  seed: 42\n  ttt_epochs: 5\n"
    rows = {row.name: row for row in resolve_configuration(context(tmp_path, seeds=(Seed(42, "1.1", head=head),)).submission)}
    assert (rows["TTT_EPOCHS"].value, rows["TTT_EPOCHS"].origin) == ("5", "log")
    assert [(origin, value) for origin, value, _ in rows["TTT_EPOCHS"].others] == [("default", "3")]
    assert (rows["DATA_PATH"].value, rows["DATA_PATH"].origin) == ("./x", "command")
    assert (rows["TTT_ENABLED"].value, rows["TTT_ENABLED"].origin) == ("0", "default")
    assert "DATA_PATH=./x" in COMMAND


@pytest.mark.parametrize(
    ("one", "other", "same"), [("1", "True", True), ("0.50", ".5", True), ("0", "false", True), ("a", "b", False)]
)
def test_same_setting(one: str, other: str, same: bool) -> None:
    assert same_setting(one, other) is same


def test_switch_values() -> None:
    assert [is_on(text) for text in ("1", "True", "0", "off", "", "0.0", "path")] == [
        True,
        True,
        False,
        False,
        False,
        False,
        None,
    ]
