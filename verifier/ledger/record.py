"""A submission against the record of its day: which values, which row, which test."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from verifier.challenge.challenge import Challenge, LeaderboardRow
from verifier.evidence import Location
from verifier.ledger.claims import claimed_headline, claimed_seeds, headline_runs
from verifier.ledger.dates import TOLERATED_DAYS, SubmissionDay, sota_of, submission_day
from verifier.ledger.denominator import Stream, measure_run, run_family
from verifier.ledger.statistics import Statistics, compute_statistics
from verifier.submission.submission import Submission

SAME_VALUE = 2e-6
"""BPB distance at which a seed's value is the one of a row's seeds (values are carried with five digits or more)."""


@dataclass(frozen=True, slots=True)
class SeedValue:
    """The headline BPB of one seed and where it stands."""

    seed: int | None
    bpb: float
    source: Location


@dataclass(frozen=True, slots=True)
class RecordAttempt:
    """`row` is None when no record stood before `day`. `cautious` is the row that stood two days earlier: dates are written by
    hand and without a time zone, so a row of the days just before may have come later. `bytes_per_token` converts the margin per
    token."""

    values: tuple[SeedValue, ...]
    day: SubmissionDay
    as_of: datetime.date | None
    row: LeaderboardRow | None
    cautious: LeaderboardRow | None
    bytes_per_token: float | None
    statistics: Statistics | None


def seed_values(submission: Submission) -> tuple[SeedValue, ...]:
    """Headline BPB per seed: from the log of each claimed seed, else as stated for it; without any seed the one claimed score."""
    logged = [
        SeedValue(headline.run.seed, headline.metric.bpb.value, headline.metric.source)
        for headline in headline_runs(submission)
        if headline.metric is not None and headline.metric.bpb is not None
    ]
    with_log = {value.seed for value in logged}
    stated = [
        SeedValue(claim.seed, float(claim.val_bpb.value), claim.val_bpb.source)
        for claim in claimed_seeds(submission)
        if claim.val_bpb is not None and claim.seed not in with_log
    ]
    if logged or stated:
        return (*logged, *stated)
    claimed = claimed_headline(submission).bpb
    return () if claimed is None else (SeedValue(None, float(claimed.value), claimed.source),)


def find_bytes_per_token(submission: Submission, challenge: Challenge) -> float | None:
    """Bytes per token of the submission's tokenizer: the right figure where known, else what its headline implies."""
    for headline in headline_runs(submission):
        measured = measure_run(submission, headline.run, headline.metric, challenge) if headline.metric is not None else None
        if measured is not None and measured.stream is not Stream.MIXTURE:
            return measured.true_ratio or measured.ratio
        family = run_family(submission, headline.run)
        for stream in challenge.streams:
            if family is not None and stream.family == family[0] and stream.status == "canonical":
                return stream.bytes_per_token
    return None


def attempt_record(
    submission: Submission, challenge: Challenge, as_of: datetime.date | None = None, sota: float | None = None
) -> RecordAttempt:
    """Everything that the record rules and the report say about the margin. `as_of` replaces the submission's day, `sota` the
    leaderboard's value."""
    values = seed_values(submission)
    day = submission_day(submission)
    against = as_of or day.day
    row = cautious = None
    if sota is not None:
        row = cautious = LeaderboardRow(
            against.isoformat() if against else "", None, sota, None, (), (), "given", None, f"{sota:g}"
        )
    elif against is not None and values:
        own = _own_rows(challenge, against, [value.bpb for value in values])
        row = sota_of(against, challenge, own)
        cautious = sota_of(against - datetime.timedelta(days=TOLERATED_DAYS), challenge, own)
    bytes_per_token = find_bytes_per_token(submission, challenge)
    pairs = [(value.seed, value.bpb) for value in values]
    return RecordAttempt(
        values=values,
        day=day,
        as_of=against,
        row=row,
        cautious=cautious,
        bytes_per_token=bytes_per_token,
        statistics=compute_statistics(pairs, row, challenge, bytes_per_token) if pairs else None,
    )


def _own_rows(challenge: Challenge, day: datetime.date, values: Sequence[float]) -> tuple[LeaderboardRow, ...]:
    """Rows of these days that are made of this submission's values: an accepted record is not its own predecessor."""

    def is_own(row: LeaderboardRow) -> bool:
        stated = row.bpb_seeds or (row.bpb,)
        return all(any(abs(one - value) <= SAME_VALUE for value in values) for one in stated)

    return tuple(
        row
        for row in challenge.leaderboard
        if abs((datetime.date.fromisoformat(row.day) - day).days) <= TOLERATED_DAYS and is_own(row)
    )
