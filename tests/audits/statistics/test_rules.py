"""SIG001 to SIG006: violations, legal twins, and the benefit of the doubt."""

from __future__ import annotations

import dataclasses
import datetime
import math

import pytest

from audits.statistics import RULES
from tests.ledger.build import CHALLENGE, context, fact, metadata, metric, number, run, submission
from verifier.evidence import Location
from verifier.rule import Decision, Outcome
from verifier.submission.logs.model import Metric, Run, SizeKind, SizeLine, StepPoint, Value
from verifier.submission.readme import Cell, Column, Polarity, Readme, Row, Statement, Table
from verifier.submission.submission import Submission, Track

LN2 = math.log(2)
SP8192 = "./data/tokenizers/fineweb_8192_bpe.model"


def decide(code: str, built: Submission, **options: object) -> Decision:
    return next(rule for rule in RULES if rule.code == code).decide(context(built, **options))


def score(bpb: float) -> Metric:
    return metric(f"{bpb:.8f}", f"{bpb * LN2 * 3.726631:.8f}")


def trained(seed: int | None, bpb: float, **more: object) -> Run:
    return run(seed, score(bpb), tokens=40_540_160, tokenizer=SP8192, **more)  # type: ignore[arg-type]


def three(*values: float, **more: object) -> Submission:
    return submission(*(trained(seed, value) for seed, value in zip((42, 314, 999), values, strict=False)), **more)  # type: ignore[arg-type]


def seeded(*runs: Run, **more: object) -> Submission:
    """Runs whose seeds the metadata lists as one result."""
    claims = metadata(1.07, listed=[each.seed for each in runs if each.seed is not None])
    return submission(*runs, claims=claims, **more)  # type: ignore[arg-type]


def statement(topic: str, sentence: str, polarity: Polarity = Polarity.ASSERTED, line: int = 14) -> Statement:
    return Statement(topic, polarity, "", sentence, "prose", Location("README.md", line, excerpt=sentence))


def readme(*statements: Statement, tables: tuple[Table, ...] = ()) -> Readme:
    return Readme("README.md", (), tables, statements, ())


NO_RECORD = readme(statement("record", "This is not a record.", Polarity.DENIED))


@pytest.mark.parametrize("code", ["SIG001", "SIG003", "SIG004", "SIG006"])
def test_record_rules_do_not_apply_to_a_folder_that_says_it_is_none(code: str) -> None:
    assert decide(code, three(1.2, 1.2, 1.2, readmes=[NO_RECORD])).outcome is Outcome.NOT_APPLICABLE


def test_three_seeds_with_three_logs() -> None:
    assert decide("SIG001", three(1.07, 1.071, 1.072)).outcome is Outcome.PASS


def test_more_seeds_claimed_than_logged() -> None:
    claims = metadata(1.071, {42: 1.07, 314: 1.071, 999: 1.072})
    decision = decide("SIG001", submission(trained(42, 1.07), claims=claims))
    assert decision.outcome is Outcome.FAIL
    assert "without a log: 314, 999" in decision.reason
    assert [location.line for location in decision.findings[0].locations] == [11, 12]


def test_a_list_of_seeds_without_values_is_a_claim_too() -> None:
    assert decide("SIG001", submission(trained(42, 1.07), claims=metadata(1.07, listed=(42, 314, 999)))).outcome is Outcome.FAIL


def test_one_honest_seed_is_for_a_human() -> None:
    assert decide("SIG001", submission(trained(42, 1.07), claims=metadata(1.07, {42: 1.07}))).outcome is Outcome.REVIEW


def test_three_runs_in_one_log_count_as_three() -> None:
    runs = [dataclasses.replace(trained(None, 1.07), path="train.log", index=index) for index in range(3)]
    claims = metadata(1.07, {1: 1.07, 2: 1.07, 3: 1.07})
    assert decide("SIG001", submission(*runs, claims=claims)).outcome is Outcome.PASS


def test_no_log_at_all_and_no_full_run() -> None:
    assert decide("SIG001", submission(claims=metadata(1.07))).outcome is Outcome.FAIL
    started = dataclasses.replace(trained(42, 1.07, steps=3), metrics=())
    assert decide("SIG001", submission(started)).outcome is Outcome.FAIL
    evaluated = trained(42, 1.07, steps=0)
    assert decide("SIG001", submission(evaluated)).outcome is Outcome.REVIEW


def test_a_mean_of_other_numbers() -> None:
    seeds = {42: 1.0812, 314: 1.0815, 999: 1.0818}
    decision = decide("SIG002", three(1.07, 1.07, 1.07, claims=metadata(1.0805, seeds)))
    assert decision.outcome is Outcome.FAIL
    assert "the 3 seeds give 1.081500" in decision.reason
    assert decision.findings[0].locations[0].line == 5


@pytest.mark.parametrize("mean", [1.0815, 1.081, 1.08, 1.08153])
def test_rounded_and_cut_means_agree(mean: float) -> None:
    seeds = {42: 1.0812, 314: 1.0816, 999: 1.0818}
    assert decide("SIG002", submission(claims=metadata(mean, seeds))).outcome is Outcome.PASS


def test_one_seeds_value_instead_of_the_mean_is_for_a_human() -> None:
    seeds = {42: 1.0712, 314: 1.0816, 999: 1.0898}
    assert decide("SIG002", submission(claims=metadata(1.0712, seeds))).outcome is Outcome.REVIEW


@pytest.mark.parametrize(("std", "outcome"), [(0.003, Outcome.PASS), (0.0024, Outcome.PASS), (0.0005, Outcome.FAIL)])
def test_deviations_over_n_and_over_n_minus_one_agree(std: float, outcome: Outcome) -> None:
    seeds = {42: 1.0801, 314: 1.0831, 999: 1.0861}
    assert decide("SIG002", submission(claims=metadata(1.0831, seeds, std=std))).outcome is outcome


def table(mean: str, *values: str) -> Table:
    def row(first: str, value: str, seed: int | None, aggregate: str, line: int) -> Row:
        source = Location("README.md", line)
        cells = (Cell(first, None, False, "", source), Cell(value, number(value), False, "bpb", source))
        return Row(cells, seed, aggregate)

    rows = tuple(row(str(seed), value, seed, "", 20 + seed) for seed, value in enumerate(values))
    return Table(
        ("Seed", "BPB"), (Column.SEED, Column.BPB), (*rows, row("Mean", mean, None, "mean", 30)), Location("README.md", 18)
    )


def test_means_in_tables() -> None:
    right = readme(tables=(table("1.0815", "1.0812", "1.0815", "1.0818"),))
    wrong = readme(tables=(table("1.0785", "1.0812", "1.0815", "1.0818"),))
    assert decide("SIG002", submission(readmes=[right])).outcome is Outcome.PASS
    decision = decide("SIG002", submission(readmes=[wrong]))
    assert decision.outcome is Outcome.FAIL
    assert decision.findings[0].locations[0].line == 30


def test_a_table_of_two_arms_is_not_averaged_over_both() -> None:
    """Each seed stands once per arm, and the mean row is of one arm: which one is not said, so nothing is proven."""
    arms = table("1.0812", "1.0811", "1.0813", "1.0911", "1.0913")
    rows = tuple(dataclasses.replace(row, seed=index % 2) if row.seed is not None else row for index, row in enumerate(arms.rows))
    interleaved = readme(tables=(dataclasses.replace(arms, rows=rows),))
    assert decide("SIG002", submission(readmes=[interleaved])).outcome is Outcome.NOT_AVAILABLE
    assert decide("SIG002", submission(readmes=[readme(tables=(arms,))])).outcome is Outcome.FAIL


def test_the_mean_of_another_series_of_the_same_seeds_agrees() -> None:
    claims = metadata(1.0835, {42: 1.0812, 314: 1.0816})
    sliding = tuple(
        dataclasses.replace(claim, others=(fact("sliding_bpb", value, seed=claim.seed),))
        for claim, value in zip(claims.seed_claims, (1.0833, 1.0837), strict=True)
    )
    assert decide("SIG002", submission(claims=claims)).outcome is Outcome.FAIL
    assert decide("SIG002", submission(claims=dataclasses.replace(claims, seed_claims=sliding))).outcome is Outcome.PASS


def test_without_per_seed_values_there_is_no_mean_to_check() -> None:
    assert decide("SIG002", submission(claims=metadata(1.08))).outcome is Outcome.NOT_AVAILABLE


def test_the_margin_holds() -> None:
    # 2026-04-20: the row of 2026-04-19 stands at 1.06549
    decision = decide("SIG003", three(1.0550, 1.0551, 1.0552))
    assert decision.outcome is Outcome.PASS
    assert "#1736" in decision.reason
    assert "nats/token" in decision.reason
    assert "nats/byte" in decision.reason


def test_the_mean_is_not_better() -> None:
    decision = decide("SIG003", three(1.0790, 1.0791, 1.0792))
    assert decision.outcome is Outcome.FAIL
    assert "the mean is not better" in decision.reason
    assert any("the leaderboard still showed 1.0810" in finding.message for finding in decision.findings)


def test_scattered_seeds_do_not_show_an_improvement() -> None:
    decision = decide("SIG003", three(1.04, 1.06, 1.09, name="2026-04-26_Name", claims=metadata(day="2026-04-26")))
    assert decision.outcome is Outcome.FAIL
    assert "for any improvement at all" in decision.reason


def test_between_the_units_is_for_a_human() -> None:
    # 0.003 BPB better: clears the margin per token (0.0019), misses it per byte (0.0072)
    decision = decide("SIG003", three(1.0624, 1.0625, 1.0626))
    assert decision.outcome is Outcome.REVIEW
    assert "such seeds would do" in decision.reason


def test_a_row_of_the_days_just_before_does_not_condemn() -> None:
    """1.0670 loses to the row of 2026-04-19 and beats what stood before: two days later the order of the two is open."""
    near = three(1.0670, 1.0671, 1.0672, name="2026-04-21_Name", claims=metadata(day="2026-04-21"))
    later = three(1.0670, 1.0671, 1.0672, name="2026-04-22_Name", claims=metadata(day="2026-04-22"))
    assert decide("SIG003", near).outcome is Outcome.REVIEW
    assert decide("SIG003", later).outcome is Outcome.FAIL


def test_an_accepted_record_is_not_its_own_predecessor() -> None:
    """Its row may be dated a day before its folder; another submission with the same mean has to beat it."""
    row = next(row for row in CHALLENGE.leaderboard if row.pr == 1334)
    dated = {"name": "2026-04-05_Name", "claims": metadata(day="2026-04-05")}
    own = three(*row.bpb_seeds, **dated)
    other = three(*(value + shift for value, shift in zip(row.bpb_seeds, (1e-5, -1e-5, 0), strict=True)), **dated)
    assert "(#1285, 2026-04-03)" in decide("SIG003", own).reason
    assert "(#1334, 2026-04-04)" in decide("SIG003", other).reason


def test_dates_that_disagree_are_for_a_human() -> None:
    built = three(1.0550, 1.0551, 1.0552, name="2026-04-02_Name", claims=metadata(day="2026-04-20"))
    decision = decide("SIG003", built)
    assert decision.outcome is Outcome.REVIEW
    assert "submission.json 2026-04-20, folder name 2026-04-02" in decision.reason


def test_systems_work_is_for_a_human() -> None:
    waived = readme(statement("systems-only", "Pure systems optimization."))
    assert decide("SIG003", three(1.0790, 1.0791, 1.0792, readmes=[waived])).outcome is Outcome.REVIEW


def test_one_seed_is_never_a_pass() -> None:
    assert decide("SIG003", submission(trained(42, 1.01))).outcome is Outcome.REVIEW
    assert decide("SIG003", submission(trained(42, 1.09))).outcome is Outcome.FAIL


def test_without_a_date_there_is_no_predecessor() -> None:
    assert decide("SIG003", three(1.05, 1.051, 1.052, name="Name")).outcome is Outcome.NOT_AVAILABLE


def test_a_given_reference_and_a_given_day() -> None:
    built = three(1.10089760, 1.07818677, 1.07768838, name="Name")
    decision = decide("SIG003", built, sota=1.1147)
    assert decision.outcome is Outcome.REVIEW
    assert "any improvement 0.031" in decision.reason
    assert decide("SIG003", three(1.0550, 1.0551, 1.0552, name="Name"), as_of=datetime.date(2026, 4, 20)).outcome is Outcome.PASS


def with_config(of: int, /, **config: str) -> Run:
    one = trained(of, 1.07)
    return dataclasses.replace(one, config={key: Value(text, Location(one.path, 7)) for key, text in config.items()})


def test_different_settings_in_one_mean() -> None:
    mixed = seeded(with_config(42, num_layers="3"), with_config(314, num_layers="4"))
    decision = decide("SIG004", mixed)
    assert decision.outcome is Outcome.FAIL
    assert "num_layers" in decision.reason
    assert len(decision.findings[0].locations) == 2


def test_a_seed_with_several_logs_leaves_open_which_of_them_counts() -> None:
    runs = [with_config(42, num_layers="3"), with_config(314, num_layers="4"), with_config(42, num_layers="4")]
    decision = decide("SIG004", submission(*runs, claims=metadata(1.07, listed=[42, 314])))
    assert decision.outcome is Outcome.REVIEW
    assert "several logs have seed 42" in decision.reason


def test_names_paths_and_spellings_may_differ() -> None:
    same = seeded(
        with_config(42, num_layers="3", seed="42", run_id="a", logfile="x", matrix_lr="0.10", use_flag="True"),
        with_config(314, num_layers="3.0", seed="314", run_id="b", logfile="y", matrix_lr="0.1", use_flag="true"),
    )
    assert decide("SIG004", same).outcome is Outcome.PASS


def test_another_script_size_is_for_a_human() -> None:
    def sized(seed: int, size: int) -> Run:
        one = trained(seed, 1.07)
        return dataclasses.replace(one, sizes=(SizeLine(SizeKind.CODE, "", size, True, Location(one.path, 190)),))

    assert decide("SIG004", seeded(sized(42, 70_000), sized(314, 70_001))).outcome is Outcome.REVIEW
    assert decide("SIG004", seeded(sized(42, 70_000), sized(314, 70_000))).outcome is Outcome.PASS


def test_another_number_of_iterations_is_for_a_human() -> None:
    one, other = trained(42, 1.07), trained(314, 1.07)
    longer = tuple(StepPoint(point.step, 9_000, 2.0, point.train_ms, 60.0, None, point.line) for point in other.steps)
    assert decide("SIG004", seeded(one, dataclasses.replace(other, steps=longer))).outcome is Outcome.REVIEW


def test_a_setting_of_an_evaluation_counts_where_the_quoted_metric_names_it() -> None:
    def adapted(seed: int, label: str, enabled: str) -> Run:
        one = run(seed, dataclasses.replace(score(1.07), label=label), tokens=40_540_160, tokenizer=SP8192)
        return dataclasses.replace(one, config={"ttt_epochs": Value(enabled, Location(one.path, 7))})

    quoted = seeded(adapted(42, "quantized_ttt", "3"), adapted(314, "quantized_ttt", "4"))
    other = seeded(adapted(42, "quantized_sliding_window", "3"), adapted(314, "quantized_sliding_window", "4"))
    assert decide("SIG004", quoted).outcome is Outcome.FAIL
    assert decide("SIG004", other).outcome is Outcome.REVIEW


def test_runs_that_are_no_mean_may_differ() -> None:
    apart = submission(with_config(42, num_layers="3"), with_config(314, num_layers="4"), claims=metadata(1.01))
    assert decide("SIG004", apart).outcome is Outcome.NOT_APPLICABLE


def test_one_run_has_nothing_to_differ_from() -> None:
    assert decide("SIG004", submission(trained(42, 1.07))).outcome is Outcome.NOT_APPLICABLE


def test_a_worse_seed_left_out() -> None:
    claims = metadata(1.0705, {42: 1.07, 314: 1.071})
    dropped = submission(trained(42, 1.07), trained(314, 1.071), trained(999, 1.09), claims=claims)
    kept = submission(trained(42, 1.07), trained(314, 1.071), trained(999, 1.06), claims=claims)
    assert decide("SIG005", dropped).outcome is Outcome.REVIEW
    assert decide("SIG005", kept).outcome is Outcome.INFO
    assert decide("SIG005", three(1.07, 1.071, 1.072)).outcome is Outcome.PASS


@pytest.mark.parametrize(
    ("sentence", "outcome"),
    [
        ("Beats the record (1.0655) by 0.029 BPB (8x significance threshold).", Outcome.FAIL),
        ("Beats the record by 0.029 BPB (15x the threshold).", Outcome.PASS),
        ("Beats the record by 0.029 BPB (4x the threshold).", Outcome.PASS),
        ("Gains 0.0744 nats (14.9x the 0.005-nat threshold).", Outcome.PASS),
        ("Record threshold: 0.005 BPB.", Outcome.FAIL),
        ("Required margin: 0.005 nats.", Outcome.PASS),
        ("Clears the 0.005 threshold.", Outcome.REVIEW),
        ("Threshold (0.005 nats = 0.0072 BPB).", Outcome.REVIEW),
        ("Threshold (0.005 nats per byte = 0.0072 BPB).", Outcome.PASS),
        ("Threshold (0.005 nats/token = 0.0072 BPB).", Outcome.FAIL),
        ("Threshold (0.005 nats/token ≈ 0.0019 BPB).", Outcome.PASS),
        ("Threshold (0.005 nats = 0.0050 BPB).", Outcome.FAIL),
        ("Loss 1.8806 nats (1.1138 BPB) clears the threshold of 0.005 nats.", Outcome.PASS),
        ("Record 1.0655 BPB. Delta: -0.0105 nats, clears the threshold.", Outcome.FAIL),
        ("Record 1.0655 BPB. Delta: -0.0073 nats per byte, clears the threshold.", Outcome.PASS),
    ],
)
def test_units_of_the_margin(sentence: str, outcome: Outcome) -> None:
    built = three(1.0549, 1.0550, 1.0551, readmes=[readme(statement("margin", sentence))])
    decision = decide("SIG006", built)
    assert decision.outcome is outcome, decision.reason
    if outcome is not Outcome.PASS:
        assert decision.findings[0].locations[0].line == 14


def test_an_estimate_of_a_technique_is_no_margin() -> None:
    built = three(1.055, 1.055, 1.055, readmes=[readme(statement("technique", "Adds 0.005 BPB."))])
    assert decide("SIG006", built).outcome is Outcome.NOT_APPLICABLE


def test_the_rules_of_the_record_track() -> None:
    assert {rule.code for rule in RULES if rule.record_track_only} == {"SIG001", "SIG003", "SIG006"}
    outside = seeded(with_config(42, num_layers="3"), with_config(314, num_layers="4"), track=Track.NON_RECORD)
    assert decide("SIG004", outside).outcome is Outcome.FAIL
