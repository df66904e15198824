"""The rules about claims: each violation beside its legal twin."""

from __future__ import annotations

from pathlib import Path

import pytest

from audits.claims import RULES
from tests.audits.claims.folder import COMMAND, SCRIPT, SEEDS, Seed, context
from verifier.engine.context import Context
from verifier.rule import Decision, Outcome

BY_CODE = {rule.code: rule for rule in RULES}


def decide(code: str, under: Context) -> Decision:
    return BY_CODE[code].decide(under)


def places(decision: Decision) -> list[str]:
    return [str(at) for finding in decision.findings for at in finding.locations]


class TestMetric:
    @pytest.mark.parametrize(
        ("claim", "outcome", "word"),
        [
            ("1.10200", Outcome.PASS, "mean of final_sliding_window_exact over 3"),
            ("1.10000", Outcome.REVIEW, "the best"),
            ("1.10100", Outcome.REVIEW, "mean over 2 of 3"),
            ("1.15490", Outcome.PASS, "mean of final_int8_zlib_roundtrip_exact"),
            ("1.13120", Outcome.REVIEW, "diagnostic"),
            ("1.12530", Outcome.REVIEW, "in-training"),
            ("1.05120", Outcome.FAIL, "no logged value"),
        ],
    )
    def test_what_explains_the_claim(self, tmp_path: Path, claim: str, outcome: Outcome, word: str) -> None:
        metadata = {"val_bpb": claim, "seeds": [42, 1337, 2024]}
        decision = decide("CLM001", context(tmp_path, metadata=metadata))
        assert decision.outcome is outcome
        assert word in decision.reason

    def test_a_failure_cites_the_claim_and_the_nearest_line(self, tmp_path: Path) -> None:
        decision = decide("CLM001", context(tmp_path, metadata={"val_bpb": 1.0512}))
        assert places(decision)[0] == "submission.json:3"
        assert places(decision)[1].startswith("train_seed42.log:")

    def test_a_missing_log_leaves_it_open(self, tmp_path: Path) -> None:
        metadata = {"val_bpb": 1.0512, "seeds": [42, 1337, 2024, 7]}
        assert decide("CLM001", context(tmp_path, metadata=metadata)).outcome is Outcome.REVIEW

    def test_an_earlier_metric_than_a_worse_last_one_is_a_choice(self, tmp_path: Path) -> None:
        tail = "legal_ttt_exact val_loss:1.90000000 val_bpb:1.12000000\n"
        seeds = tuple(Seed(seed.seed, seed.bpb, tail) for seed in SEEDS)
        assert decide("CLM001", context(tmp_path, seeds=seeds)).outcome is Outcome.REVIEW

    def test_rounding_is_no_mismatch(self, tmp_path: Path) -> None:
        assert decide("CLM001", context(tmp_path, metadata={"val_bpb": 1.1026})).outcome is Outcome.PASS

    @pytest.mark.parametrize(
        ("logged", "claim", "outcome", "word"),
        [
            # Another denominator in the log: the loss of 1.87 over the right 2.43593 bytes per token is 1.10752.
            ("1.05000000", "1.10752", Outcome.INFO, "logged loss of final_sliding_window_exact over 3 runs"),
            ("1.05000000", "1.09014", Outcome.FAIL, "no logged value"),
            ("1.20000000", "1.10752", Outcome.REVIEW, "the better of the two"),
            # The log divides by the right bytes: there is nothing to correct.
            ("1.10752000", "1.09014", Outcome.FAIL, "no logged value"),
        ],
    )
    def test_a_claim_over_the_right_bytes(self, tmp_path: Path, logged: str, claim: str, outcome: Outcome, word: str) -> None:
        counted = "val_loader:shards pattern=./data/fineweb_val_*.bin tokens:62021632\n"
        path = "val_bpb:enabled tokenizer_kind=sentencepiece tokenizer_path=./data/tokenizers/fineweb_1024_bpe.model\n"
        seeds = tuple(Seed(seed.seed, logged, head=path + counted) for seed in SEEDS)
        decision = decide("CLM001", context(tmp_path, metadata={"val_bpb": claim}, seeds=seeds))
        assert decision.outcome is outcome, decision.reason
        assert word in decision.reason

    @pytest.mark.parametrize("value", [None, "TBD"])
    def test_no_claim(self, tmp_path: Path, value: object) -> None:
        assert decide("CLM001", context(tmp_path, metadata={"val_bpb": value})).outcome is Outcome.NOT_AVAILABLE


TTT_ON = "Hyperparameters:\n  ttt_enabled: True\n  ttt_epochs: 3\n"
TTT_OFF = TTT_ON.replace("True", "False")
DENIAL = "# Example\n\n- No TTT\n\n" + COMMAND
LEGAL_TTT = "final_ttt_exact val_loss:1.86000000 val_bpb:1.09000000\n"


class TestContradiction:
    def test_the_quoted_metric_and_the_dump_prove_it(self, tmp_path: Path) -> None:
        seeds = (Seed(42, "1.10000000", LEGAL_TTT, TTT_ON),)
        decision = decide("CLM002", context(tmp_path, readme=DENIAL, metadata={"val_bpb": 1.09}, seeds=seeds))
        assert decision.outcome is Outcome.FAIL
        assert places(decision)[0] == "README.md:3"

    def test_a_label_without_the_dump_is_only_suspicious(self, tmp_path: Path) -> None:
        seeds = (Seed(42, "1.10000000", LEGAL_TTT),)
        decision = decide("CLM002", context(tmp_path, readme=DENIAL, metadata={"val_bpb": 1.09}, seeds=seeds))
        assert decision.outcome is Outcome.REVIEW

    def test_a_dump_that_shows_it_off_passes(self, tmp_path: Path) -> None:
        seeds = tuple(Seed(seed.seed, seed.bpb, "", TTT_OFF) for seed in SEEDS)
        assert decide("CLM002", context(tmp_path, readme=DENIAL, seeds=seeds)).outcome is Outcome.PASS

    def test_text_alone_decides_nothing(self, tmp_path: Path) -> None:
        assert decide("CLM002", context(tmp_path, readme=DENIAL)).outcome is Outcome.NOT_AVAILABLE

    @pytest.mark.parametrize(
        "line", ["- PR #1412: no TTT, 1.0835", "| Arm | BPB |\n|--|--|\n| base (no TTT) | 1.1 |", "- No TTT before scoring"]
    )
    def test_sentences_about_something_else(self, tmp_path: Path, line: str) -> None:
        seeds = (Seed(42, "1.10000000", LEGAL_TTT, TTT_ON),)
        readme = f"# Example\n\n{line}\n\n{COMMAND}"
        under = context(tmp_path, readme=readme, metadata={"val_bpb": 1.09}, seeds=seeds)
        assert decide("CLM002", under).outcome is Outcome.NOT_APPLICABLE

    @pytest.mark.parametrize(("epochs", "outcome"), [(21, Outcome.FAIL), (1, Outcome.NOT_AVAILABLE)])
    def test_a_promise_of_score_first(self, tmp_path: Path, epochs: int, outcome: Outcome) -> None:
        lines = "".join(
            f"prequant_ttt:epoch {n}/{epochs} val_bpb=1.0{n:02d}000 lr=0.0005 time=16.8s\n" for n in range(1, epochs + 1)
        )
        seeds = tuple(Seed(seed.seed, seed.bpb, middle=lines) for seed in SEEDS)
        metadata = {"compliance": {"score_first_ttt": True}}
        assert decide("CLM002", context(tmp_path, metadata=metadata, seeds=seeds)).outcome is outcome


class TestCommand:
    @pytest.mark.parametrize(
        ("assignments", "outcome"),
        [
            ("DATA_PATH=./x SEED=1", Outcome.PASS),
            ("DATA_PATH=./x NCCL_DEBUG=WARN OMP_NUM_THREADS=4", Outcome.PASS),
            ("DATA_DIR=./x SEED=1", Outcome.FAIL),
            ("NCCL_DEBUG=WARN", Outcome.NOT_APPLICABLE),
        ],
    )
    def test_unread_variables(self, tmp_path: Path, assignments: str, outcome: Outcome) -> None:
        readme = f"# Example\n\n```bash\n{assignments} torchrun train_gpt.py\n```\n"
        decision = decide("CLM003", context(tmp_path, readme=readme))
        assert decision.outcome is outcome
        if outcome is Outcome.FAIL:
            assert "DATA_DIR" in decision.findings[0].message
            assert "SEED" not in decision.findings[0].message
            assert places(decision) == ["README.md:4"]

    def test_another_kind_of_file_may_read_it(self, tmp_path: Path) -> None:
        readme = "# Example\n\n```bash\nDATA_DIR=./x torchrun train_gpt.py\n```\n"
        under = context(tmp_path, readme=readme, files={"run.sh": "echo $DATA_DIR\n"})
        assert decide("CLM003", under).outcome is Outcome.REVIEW

    def test_a_default_left_on(self, tmp_path: Path) -> None:
        script = SCRIPT.replace('"TTT_ENABLED", "0"', '"TTT_ENABLED", "1"')
        decision = decide("CLM004", context(tmp_path, readme=DENIAL, script=script))
        assert decision.outcome is Outcome.FAIL
        assert places(decision) == ["README.md:3", "train_gpt.py:7", "README.md:6"]

    @pytest.mark.parametrize(
        ("default", "assignment", "outcome"),
        [
            ("1", "TTT_ENABLED=0", Outcome.PASS),
            ("1", "TTT_EPOCHS=0", Outcome.PASS),
            ("0", "SEED=1", Outcome.PASS),
            ("0", "TTT_ENABLED=1", Outcome.FAIL),
            ("1", "TTT_ENABLED=$flag", Outcome.NOT_AVAILABLE),
        ],
    )
    def test_default_and_command_together(self, tmp_path: Path, default: str, assignment: str, outcome: Outcome) -> None:
        script = SCRIPT.replace('"TTT_ENABLED", "0"', f'"TTT_ENABLED", "{default}"')
        readme = f"# Example\n\n- No TTT\n\n```bash\n{assignment} torchrun train_gpt.py\n```\n"
        assert decide("CLM004", context(tmp_path, readme=readme, script=script)).outcome is outcome

    def test_without_a_command_it_stays_a_question(self, tmp_path: Path) -> None:
        script = SCRIPT.replace('"TTT_ENABLED", "0"', '"TTT_ENABLED", "1"')
        assert decide("CLM004", context(tmp_path, readme="# Example\n\n- No TTT\n", script=script)).outcome is Outcome.REVIEW


@pytest.mark.parametrize(
    ("claim", "outcome"),
    [
        ("int8 + zlib-9", Outcome.PASS),
        ("int8 + zlib", Outcome.PASS),
        ("int8 + zlib-6", Outcome.FAIL),
        ("int6 + zstd-22", Outcome.FAIL),
        ("a small model", Outcome.NOT_APPLICABLE),
    ],
)
def test_compressor(tmp_path: Path, claim: str, outcome: Outcome) -> None:
    decision = decide("CLM005", context(tmp_path, metadata={"blurb": claim}))
    assert decision.outcome is outcome
    if claim.endswith("-6"):
        assert places(decision)[1] == "train_gpt.py:13"


class TestLabels:
    def test_a_label_with_the_value_of_another(self, tmp_path: Path) -> None:
        tail = "final_int8_zlib_roundtrip_exact val_loss:1.87000000 val_bpb:1.10000000\n"
        decision = decide("CLM006", context(tmp_path, seeds=(Seed(42, "1.10000000", tail),)))
        assert decision.outcome is Outcome.FAIL
        assert "final_sliding_window_exact" in decision.findings[0].message

    def test_a_label_twice_without_a_twin_is_a_question(self, tmp_path: Path) -> None:
        tail = "final_sliding_window_exact val_loss:1.86000000 val_bpb:1.09000000\n"
        assert decide("CLM006", context(tmp_path, seeds=(Seed(42, "1.10000000", tail),))).outcome is Outcome.REVIEW

    @pytest.mark.parametrize(
        "tail",
        [
            "final_sliding_window_exact val_loss:1.87000000 val_bpb:1.10000000\n",
            "final_sliding_window val_loss:1.8700 val_bpb:1.1000\n",
            "final_sliding_window_s64_exact val_loss:1.86000000 val_bpb:1.09000000\n",
        ],
    )
    def test_repeats_and_new_labels_are_fine(self, tmp_path: Path, tail: str) -> None:
        assert decide("CLM006", context(tmp_path, seeds=(Seed(42, "1.10000000", tail),))).outcome is Outcome.PASS


class TestTable:
    ROWS = "| Seed | Pre-quant BPB | Sliding BPB | Artifact |\n|--|--|--|--|\n| 42 | 1.1312 | 1.1000 | 15,900,000 |\n"

    def test_empty_cells_are_named_with_their_value(self, tmp_path: Path) -> None:
        readme = "# Example\n\n" + self.ROWS + "| 2024 | — | 1.1040 | — |\n"
        decision = decide("CLM007", context(tmp_path, readme=readme))
        assert decision.outcome is Outcome.FAIL
        assert [finding.message.split("the log has ")[1] for finding in decision.findings] == [
            "1.1312 (DIAGNOSTIC post_ema)",
            "15,900,000 (total int8+zlib)",
        ]
        assert places(decision)[0] == "README.md:6"

    @pytest.mark.parametrize(
        "row", ["| 2024 | 1.1312 | 1.1040 | 15,900,000 |\n", "| 7 | — | — | — |\n", "| Mean | | 1.1020 | |\n"]
    )
    def test_full_rows_seeds_without_a_log_and_means(self, tmp_path: Path, row: str) -> None:
        assert decide("CLM007", context(tmp_path, readme="# Example\n\n" + self.ROWS + row)).outcome is Outcome.PASS

    def test_no_table(self, tmp_path: Path) -> None:
        assert decide("CLM007", context(tmp_path)).outcome is Outcome.NOT_APPLICABLE


@pytest.mark.parametrize(
    ("line", "outcome"),
    [
        ("Built on PR #1735 and PR #1493.", Outcome.REVIEW),
        ("Built on PR #1493.", Outcome.PASS),
        ("Credits: PR #1735 for the idea.", Outcome.NOT_APPLICABLE),
    ],
)
def test_lineage(tmp_path: Path, line: str, outcome: Outcome) -> None:
    assert decide("CLM009", context(tmp_path, readme=f"# Example\n\n{line}\n")).outcome is outcome


def test_lineage_in_the_json(tmp_path: Path) -> None:
    assert decide("CLM009", context(tmp_path, metadata={"base_pr": 1735})).outcome is Outcome.REVIEW


def test_an_empty_folder_accuses_nobody(tmp_path: Path) -> None:
    under = context(tmp_path, readme="", metadata={"val_bpb": None}, script="", seeds=())
    outcomes = {rule.decide(under).outcome for rule in RULES}
    assert outcomes <= {Outcome.NOT_AVAILABLE, Outcome.NOT_APPLICABLE}
