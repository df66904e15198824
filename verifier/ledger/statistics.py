"""Means, deviations and tests over seeds, in both units of the record margin."""

from __future__ import annotations

from dataclasses import dataclass


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
