"""Means, tests and margins: golden numbers and invariants."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from verifier.challenge.challenge import LeaderboardRow
from verifier.challenge.load import load_challenge
from verifier.ledger.statistics import PER_BYTE, PER_TOKEN, Statistics, compute_statistics, margin_in_bpb

CHALLENGE = load_challenge()
MARCH = next(row for row in CHALLENGE.leaderboard if row.pr == 1019)
SCATTERED = [(1337, 1.10089760), (42, 1.07818677), (2024, 1.07768838)]

bpb = st.floats(1.0, 1.3).map(lambda value: round(value, 6))
seeds = st.lists(bpb, min_size=2, max_size=8)


def row(bpb: float, *seeds: float) -> LeaderboardRow:
    return LeaderboardRow("2026-04-01", 1, bpb, None, seeds, (), "row", None, f"{bpb:.4f}")


def pairs(values: list[float]) -> list[tuple[int | None, float]]:
    return [(index, value) for index, value in enumerate(values)]


def test_golden_welch_against_known_seeds() -> None:
    statistics = compute_statistics(SCATTERED, MARCH, CHALLENGE, 2.5)
    assert statistics.mean == pytest.approx(1.08559092, abs=1e-8)
    assert statistics.std == pytest.approx(0.0132583, abs=1e-7)
    assert statistics.std_population == pytest.approx(0.0108254, abs=1e-7)
    per_token, per_byte = statistics.tests
    assert (per_token.unit, per_token.method) == (PER_TOKEN, "welch")
    assert per_token.degrees == pytest.approx(2.00285, abs=1e-5)
    assert per_token.p_any == pytest.approx(0.031240, abs=1e-6)
    assert per_token.p_value == pytest.approx(0.037690, abs=1e-6)
    assert per_byte.p_value == pytest.approx(0.051595, abs=1e-6)
    assert per_token.seeds_needed == 5


def test_golden_one_sample_against_a_printed_score() -> None:
    (per_byte,) = compute_statistics(SCATTERED, row(1.1147), CHALLENGE, None).tests
    assert per_byte.method == "one-sample"
    assert per_byte.degrees == 2
    assert per_byte.p_any == pytest.approx(0.031358, abs=1e-6)


def test_the_margin_in_both_units() -> None:
    assert margin_in_bpb(PER_BYTE, 0.005, 1.0) == pytest.approx(0.0072135, abs=1e-7)
    assert margin_in_bpb(PER_TOKEN, 0.005, 2.43593) == pytest.approx(0.0029613, abs=1e-7)
    assert margin_in_bpb(PER_TOKEN, 0.005, 3.72663) == pytest.approx(0.0019357, abs=1e-7)
    assert margin_in_bpb(PER_TOKEN, 0.005, 3.15715) == pytest.approx(0.0022848, abs=1e-7)


def test_a_single_value_has_a_mean_and_nothing_else() -> None:
    statistics = compute_statistics([(42, 1.08)], row(1.09, 1.0899, 1.0901), CHALLENGE, 3.7)
    assert (statistics.mean, statistics.std, statistics.confidence_interval) == (1.08, None, None)
    assert all(test.p_value is None and test.seeds_needed is None for test in statistics.tests)


def test_identical_seeds_are_judged_by_sign() -> None:
    better = compute_statistics(pairs([1.05, 1.05, 1.05]), row(1.08), CHALLENGE, 3.7)
    worse = compute_statistics(pairs([1.08, 1.08, 1.08]), row(1.08), CHALLENGE, 3.7)
    assert [test.p_value for test in better.tests] == [0.0, 0.0]
    assert [test.p_any for test in worse.tests] == [1.0, 1.0]


def test_no_values_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="no values"):
        compute_statistics([], None, CHALLENGE, None)


@given(seeds, bpb)
def test_the_order_of_seeds_does_not_matter(values: list[float], sota: float) -> None:
    def numbers(statistics: Statistics) -> tuple[object, ...]:
        return tuple(dataclasses.astuple(test) for test in statistics.tests)

    forward = compute_statistics(pairs(values), row(sota), CHALLENGE, 3.7)
    backward = compute_statistics(pairs(values[::-1]), row(sota), CHALLENGE, 3.7)
    assert numbers(forward) == numbers(backward)


@given(seeds, st.floats(-0.05, 0.05), bpb)
def test_only_differences_count(values: list[float], shift: float, sota: float) -> None:
    assume(max(values) - min(values) > 1e-5)
    still = compute_statistics(pairs(values), row(sota), CHALLENGE, 3.7)
    moved = compute_statistics(pairs([value + shift for value in values]), row(sota + shift), CHALLENGE, 3.7)
    for one, other in zip(still.tests, moved.tests, strict=True):
        assert one.p_value == pytest.approx(other.p_value, abs=1e-6)


@given(seeds, bpb, st.floats(1e-4, 0.1))
def test_a_better_reference_is_harder_to_beat(values: list[float], sota: float, step: float) -> None:
    easy = compute_statistics(pairs(values), row(sota), CHALLENGE, 3.7)
    hard = compute_statistics(pairs(values), row(sota - step), CHALLENGE, 3.7)
    for one, other in zip(easy.tests, hard.tests, strict=True):
        assert one.p_value is not None
        assert other.p_value is not None
        assert other.p_value >= one.p_value - 1e-12


@given(seeds, bpb)
def test_the_whole_margin_is_harder_than_any_improvement_and_bytes_are_harder_than_tokens(
    values: list[float], sota: float
) -> None:
    per_token, per_byte = compute_statistics(pairs(values), row(sota), CHALLENGE, 3.7).tests
    assert None not in (per_token.p_any, per_token.p_value, per_byte.p_value)
    assert per_token.p_any <= per_token.p_value + 1e-12  # type: ignore[operator]
    assert per_token.p_value <= per_byte.p_value + 1e-12  # type: ignore[operator]


@given(seeds, seeds)
def test_the_acceptable_mean_is_where_the_test_just_passes(values: list[float], reference: list[float]) -> None:
    assume(max(values) - min(values) > 1e-4)
    sota = row(math.fsum(reference) / len(reference), *reference)
    (test,) = compute_statistics(pairs(values), sota, CHALLENGE, None).tests
    assert test.min_acceptable_mean is not None
    shift = test.min_acceptable_mean - math.fsum(values) / len(values)
    (at_limit,) = compute_statistics(pairs([value + shift for value in values]), sota, CHALLENGE, None).tests
    assert at_limit.p_value == pytest.approx(CHALLENGE.margin_level, rel=1e-3)


@given(seeds)
def test_the_interval_holds_the_mean_and_the_deviations_are_ordered(values: list[float]) -> None:
    statistics = compute_statistics(pairs(values), None, CHALLENGE, None)
    assert statistics.confidence_interval is not None
    low, high = statistics.confidence_interval
    assert low <= statistics.mean <= high
    assert statistics.std is not None
    assert statistics.std_population is not None
    assert statistics.std_population <= statistics.std


@given(seeds, bpb)
def test_the_seeds_needed_would_do(values: list[float], sota: float) -> None:
    """A sample of that many seeds with the same mean and spread passes, one seed fewer does not."""
    assume(max(values) - min(values) > 1e-4)
    (test,) = compute_statistics(pairs(values), row(sota), CHALLENGE, None).tests
    assume(test.seeds_needed is not None and 3 <= test.seeds_needed <= 200)
    assert test.seeds_needed is not None
    mean = math.fsum(values) / len(values)
    spread = compute_statistics(pairs(values), None, CHALLENGE, None).std
    assert spread is not None

    def p_with(count: int) -> float:
        # Two values at distance d around the mean and the rest on it have the variance 2 d^2 / (count - 1).
        reach = spread * math.sqrt((count - 1) / 2)
        sample = [mean - reach, mean + reach] + [mean] * (count - 2)
        (again,) = compute_statistics(pairs(sample), row(sota), CHALLENGE, None).tests
        assert again.p_value is not None
        return again.p_value

    assert p_with(test.seeds_needed) < CHALLENGE.margin_level * 1.0001
    assert p_with(test.seeds_needed - 1) >= CHALLENGE.margin_level * 0.9999
