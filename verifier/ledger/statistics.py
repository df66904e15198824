"""Means, deviations and tests over seeds, in both units of the record margin.

The contest asks for an improvement of 0.005 nats at p < 0.01 without saying per what. Per token it is a difference of
`val_loss`, which depends on the tokenizer; per byte it is a difference of BPB x ln 2. Both are computed and named.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from verifier.challenge.challenge import Challenge, LeaderboardRow
from verifier.ledger.student_t import cumulative, quantile

LN2 = math.log(2.0)
PER_TOKEN = "nats/token"
PER_BYTE = "nats/byte"
MOST_SEEDS = 1000
"""More seeds than anyone will run: beyond this `seeds_needed` says never."""


@dataclass(frozen=True, slots=True)
class MarginTest:
    """One-sided test that the mean beats the reference by `margin` in `unit` (`nats/token` or `nats/byte`).

    `p_value` is for the whole margin, `p_any` for any improvement at all. `method` is `welch` (reference seeds known) or
    `one-sample`. `min_acceptable_mean` is the mean (in bpb) that would reach p < 0.01 with this spread and number of seeds,
    `seeds_needed` the number of seeds at which the present mean and spread would (None: never).
    """

    unit: str
    margin_bpb: float
    method: str
    t: float | None
    degrees: float | None
    p_value: float | None
    p_any: float | None
    min_acceptable_mean: float | None
    seeds_needed: int | None


@dataclass(frozen=True, slots=True)
class Statistics:
    """Statistics of the claimed seeds' headline BPB. `std` is the sample deviation (n-1), `std_population` divides by n."""

    values: tuple[tuple[int | None, float], ...]
    mean: float
    std: float | None
    std_population: float | None
    confidence_interval: tuple[float, float] | None
    """Two-sided 95 %, t distribution."""
    sota: float | None
    sota_pr: int | None
    sota_date: str | None
    sota_seeds: tuple[float, ...]
    tests: tuple[MarginTest, ...]


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and sample variance of `count` values; the variance of a single value is unknown (None)."""

    count: int
    mean: float
    variance: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Two passes around the mean: BPB of seeds differ in the fourth digit, so one pass would lose the variance."""
        count = len(values)
        mean = math.fsum(values) / count
        variance = math.fsum((value - mean) ** 2 for value in values) / (count - 1) if count > 1 else None
        return cls(count, mean, variance)


def margin_in_bpb(unit: str, margin_nats: float, bytes_per_token: float) -> float:
    """A margin in nats per token or per byte, as a difference of bits per byte."""
    return margin_nats / LN2 if unit == PER_BYTE else margin_nats / (LN2 * bytes_per_token)


def compute_statistics(
    values: Sequence[tuple[int | None, float]],
    sota: LeaderboardRow | None,
    challenge: Challenge,
    bytes_per_token: float | None,
) -> Statistics:
    """Statistics of (seed, bpb) pairs against `sota`. `bytes_per_token` is that of the submission's tokenizer; without it the
    margin per token can't be converted and only the one per byte is tested. Raises `ValueError` on an empty list."""
    if not values:
        raise ValueError("no values")
    spread = Spread.of([value for _, value in values])
    tests: tuple[MarginTest, ...] = ()
    if sota is not None:
        units = (PER_TOKEN, PER_BYTE) if bytes_per_token is not None else (PER_BYTE,)
        reference = Spread.of(sota.bpb_seeds) if len(sota.bpb_seeds) > 1 else Spread(1, sota.bpb, None)
        tests = tuple(
            compare_margin(
                spread,
                reference,
                unit,
                margin_in_bpb(unit, challenge.margin_nats, bytes_per_token or 1.0),
                challenge.margin_level,
            )
            for unit in units
        )
    return Statistics(
        values=tuple(values),
        mean=spread.mean,
        std=None if spread.variance is None else math.sqrt(spread.variance),
        std_population=None if spread.variance is None else math.sqrt(spread.variance * (spread.count - 1) / spread.count),
        confidence_interval=confidence_interval(spread),
        sota=None if sota is None else sota.bpb,
        sota_pr=None if sota is None else sota.pr,
        sota_date=None if sota is None else sota.day,
        sota_seeds=() if sota is None else sota.bpb_seeds,
        tests=tests,
    )


def confidence_interval(spread: Spread, level: float = 0.95) -> tuple[float, float] | None:
    if spread.variance is None:
        return None
    reach = quantile(spread.count - 1, 0.5 + level / 2) * math.sqrt(spread.variance / spread.count)
    return spread.mean - reach, spread.mean + reach


def compare_margin(spread: Spread, reference: Spread, unit: str, margin_bpb: float, level: float) -> MarginTest:
    """Test `spread.mean < reference.mean - margin_bpb`: Welch when the reference has a variance, one-sample otherwise."""
    method = "one-sample" if reference.variance is None else "welch"
    if spread.variance is None:
        return MarginTest(unit, margin_bpb, method, None, None, None, None, None, None)
    error, degrees = _standard_error(spread.variance, spread.count, reference)
    needed = reference.mean - margin_bpb
    return MarginTest(
        unit=unit,
        margin_bpb=margin_bpb,
        method=method,
        t=(needed - spread.mean) / error if error > 0 else None,
        degrees=degrees,
        p_value=_tail(needed - spread.mean, error, degrees),
        p_any=_tail(reference.mean - spread.mean, error, degrees),
        min_acceptable_mean=needed - quantile(degrees, 1 - level) * error,
        seeds_needed=_seeds_needed(spread, reference, needed, level),
    )


def _standard_error(variance: float, count: int, reference: Spread) -> tuple[float, float]:
    """Standard error of the difference of means, and its degrees of freedom (Welch-Satterthwaite where both are sampled)."""
    own = variance / count
    if reference.variance is None:
        return math.sqrt(own), count - 1
    other = reference.variance / reference.count
    total = own + other
    if total <= 0:
        return 0.0, count + reference.count - 2
    # Shares instead of squares of tiny variances: the plain formula underflows for nearly equal seeds.
    share = own / total
    degrees = 1 / (share**2 / (count - 1) + (1 - share) ** 2 / (reference.count - 1))
    return math.sqrt(total), degrees


def _tail(gain: float, error: float, degrees: float) -> float:
    """One-sided p of a gain this large if there were none. Without any spread the sign alone decides."""
    if error > 0:
        return cumulative(degrees, -gain / error)
    return 0.0 if gain > 0 else 1.0


def _seeds_needed(spread: Spread, reference: Spread, needed: float, level: float) -> int | None:
    if spread.variance is None or spread.mean >= needed:
        return None
    for count in range(2, MOST_SEEDS + 1):
        error, degrees = _standard_error(spread.variance, count, reference)
        if _tail(needed - spread.mean, error, degrees) < level:
            return count
    return None
