"""SIG002: claimed means and deviations recomputed from the per-seed values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from verifier.engine.context import Context
from verifier.evidence import Fact, Location, Number
from verifier.ledger.claims import headline_runs, own_metadata
from verifier.ledger.statistics import Spread
from verifier.rule import Decision, Finding, Level, Measured, Outcome, Rule
from verifier.submission.metadata import Metadata
from verifier.submission.readme import Column, Readme, Table

_PULL = "https://github.com/openai/parameter-golf/pull/"
FLOAT = 1e-6
"""Slack for binary floats when printed digits are compared."""
HARMLESS = 1e-4
"""A mean that is off by less than the fourth digit is a slip to be explained, not a wrong claim."""
ROUNDED_SEEDS = 0.05
"""Relative slack of a deviation: it is often computed from seeds with more or fewer digits than are shown."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One claimed aggregate and the values that should give it."""

    what: str
    claimed: Number
    unit: str
    values: tuple[Number, ...]
    source: Location
    evidence: tuple[Location, ...]
    others: tuple[tuple[Number, ...], ...] = ()
    """Further per-seed series of the same claims (sliding, adapted, ...): the aggregate may be of one of them."""


def check(context: Context) -> Decision:
    means, deviations = _collect(context)
    if not means and not deviations:
        return Decision.not_available("no claimed mean or deviation stands beside at least two per-seed values")
    findings = [finding for comparison in means if (finding := _check_mean(comparison)) is not None]
    findings += [finding for comparison in deviations if (finding := _check_deviation(comparison)) is not None]
    if findings:
        return Decision.of(findings)
    return Decision.passed(f"{len(means)} means and {len(deviations)} deviations agree with their per-seed values")


def _collect(context: Context) -> tuple[list[Comparison], list[Comparison]]:
    means: list[Comparison] = []
    deviations: list[Comparison] = []
    metadata = own_metadata(context.submission)
    if metadata is not None:
        _from_metadata(context, metadata, means, deviations)
    for readme in context.submission.readmes:
        _from_tables(readme, means, deviations)
    return means, deviations


def _from_metadata(context: Context, metadata: Metadata, means: list[Comparison], deviations: list[Comparison]) -> None:
    for name, claimed, deviation, stated in (
        ("val_bpb", metadata.val_bpb, metadata.val_bpb_std, [claim.val_bpb for claim in metadata.seed_claims]),
        ("val_loss", metadata.val_loss, metadata.val_loss_std, [claim.val_loss for claim in metadata.seed_claims]),
    ):
        facts = [fact for fact in stated if fact is not None]
        numbers = [number for fact in facts if (number := _number(fact)) is not None]
        places = tuple(fact.source for fact in facts)
        others = _other_series(metadata)
        if len(numbers) < 2 and name == "val_bpb":
            scored = [each.metric for each in headline_runs(context.submission) if each.explained and each.metric is not None]
            numbers = [metric.bpb for metric in scored if metric.bpb is not None]
            places = tuple(metric.source for metric in scored)
        elif len(numbers) >= 2 and claimed is not None and (number := _number(claimed)) is not None:
            means.append(Comparison(f"mean {name}", number, claimed.unit, tuple(numbers), claimed.source, places, others))
        if len(numbers) >= 2 and deviation is not None and (number := _number(deviation)) is not None:
            deviations.append(
                Comparison(f"deviation of {name}", number, deviation.unit, tuple(numbers), deviation.source, places, others)
            )


def _other_series(metadata: Metadata) -> tuple[tuple[Number, ...], ...]:
    """Values that every seed has under one further key."""
    series: dict[str, list[Number]] = {}
    for claim in metadata.seed_claims:
        for fact in claim.others:
            if (number := _number(fact)) is not None:
                series.setdefault(fact.name.rsplit(".", 1)[-1], []).append(number)
    return tuple(tuple(numbers) for _, numbers in sorted(series.items()) if len(numbers) == len(metadata.seed_claims))


def _number(fact: Fact) -> Number | None:
    if isinstance(fact.value, bool) or not isinstance(fact.value, int | float):
        return None
    return Number.parse(fact.printed if fact.printed is not None else repr(fact.value))


def _from_tables(readme: Readme, means: list[Comparison], deviations: list[Comparison]) -> None:
    for table in readme.tables:
        for index, column in enumerate(table.columns):
            if column not in (Column.BPB, Column.LOSS):
                continue
            rows = [row for row in table.rows if row.seed is not None and index < len(row.cells)]
            if len({row.seed for row in rows}) < len(rows):
                continue  # a seed that stands twice: rows of several arms, and which of them a mean row is about is not said
            cells = [row.cells[index] for row in rows]
            numbers = tuple(cell.number for cell in cells if cell.number is not None)
            if len(numbers) < 2 or len(numbers) != len(cells):
                continue
            _aggregates(table, index, numbers, tuple(cell.source for cell in cells), means, deviations)


def _aggregates(
    table: Table,
    index: int,
    numbers: tuple[Number, ...],
    places: tuple[Location, ...],
    means: list[Comparison],
    deviations: list[Comparison],
) -> None:
    heading = table.headers[index] if index < len(table.headers) else "column"
    for row in table.rows:
        cell = row.cells[index] if index < len(row.cells) else None
        if row.aggregate == "" or cell is None or cell.number is None:
            continue
        comparison = Comparison(f"{row.aggregate} of {heading}", cell.number, cell.unit, numbers, cell.source, places)
        (deviations if row.aggregate == "std" else means).append(comparison)


def _check_mean(comparison: Comparison) -> Finding | None:
    if any(_is_mean(comparison.claimed, values) for values in (comparison.values, *comparison.others)):
        return None
    values = [number.value for number in comparison.values]
    mean = Spread.of(values).mean
    one = next((number for number in comparison.values if comparison.claimed.agrees(number)), None)
    message = f"{comparison.what}: {comparison.claimed.text} claimed, the {len(values)} seeds give {mean:.6f}"
    if one is not None:
        message += f"; it is one seed's value ({one.text})"
    return Finding(
        Outcome.FAIL if one is None and abs(comparison.claimed.value - mean) > HARMLESS else Outcome.REVIEW,
        message,
        (comparison.source, *comparison.evidence),
        measured=Measured(comparison.claimed.value, comparison.unit),
        limit=Measured(round(mean, 8), comparison.unit),
        remediation="State the mean of the listed seeds.",
    )


def _check_deviation(comparison: Comparison) -> Finding | None:
    if any(_is_deviation(comparison.claimed, values) for values in (comparison.values, *comparison.others)):
        return None
    sample, population = _deviations(comparison.values)
    return Finding(
        Outcome.FAIL,
        f"{comparison.what}: {comparison.claimed.text} claimed, the {len(comparison.values)} seeds give {sample:.6f} (n-1) or {population:.6f} (n)",
        (comparison.source, *comparison.evidence),
        measured=Measured(comparison.claimed.value, comparison.unit),
        limit=Measured(round(sample, 8), comparison.unit),
        remediation="State the sample deviation of the listed seeds.",
    )


def _is_mean(claimed: Number, values: Sequence[Number]) -> bool:
    """Rounded seeds move the mean by at most half their unit; a truncated instead of rounded mean is off by up to one unit."""
    slack = 2 * claimed.half_unit + max(number.half_unit for number in values) + FLOAT
    return abs(claimed.value - Spread.of([number.value for number in values]).mean) <= slack


def _is_deviation(claimed: Number, values: Sequence[Number]) -> bool:
    """Over n or n-1, from values that may have been rounded before."""
    slack = 2 * claimed.half_unit + 2 * max(number.half_unit for number in values) + FLOAT
    return any(abs(claimed.value - deviation) <= slack + ROUNDED_SEEDS * deviation for deviation in _deviations(values))


def _deviations(values: Sequence[Number]) -> tuple[float, float]:
    spread = Spread.of([number.value for number in values])
    variance = spread.variance or 0.0
    return math.sqrt(variance), math.sqrt(variance * (len(values) - 1) / len(values))


MEAN_MISMATCH = Rule(
    code="SIG002",
    name="mean-mismatch",
    level=Level.WARNING,
    summary="a claimed mean or deviation can't be recomputed from the per-seed values",
    why="The mean and its deviation decide whether the margin holds. They must follow from the numbers beside them.",
    example="violation: seeds 1.0812, 1.0815, 1.0818 and a mean of 1.0805\n"
    "legal: a mean rounded or cut at its last digit; a deviation over n or over n-1",
    settles="the exact per-seed values with all digits",
    sources=(_PULL + "1242", _PULL + "1405"),
    check=check,
)
