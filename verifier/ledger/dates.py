"""The day of a submission and the record that stood on a day."""

from __future__ import annotations

import datetime
import re
from collections.abc import Collection
from dataclasses import dataclass

from verifier.challenge.challenge import Challenge, LeaderboardRow
from verifier.evidence import Location
from verifier.submission.submission import Submission

FOLDER_DAY = re.compile(r"(?<!\d)(20\d\d)[-_](\d{1,2})[-_](\d{1,2})(?!\d)")
TOLERATED_DAYS = 2
"""Dates of one submission may differ by this much (written before midnight, pushed after a weekend's runs)."""


@dataclass(frozen=True, slots=True)
class DatedBy:
    """One date of a submission: `origin` is `submission.json`, `folder name` or `first commit`."""

    day: datetime.date
    origin: str
    source: Location


@dataclass(frozen=True, slots=True)
class SubmissionDay:
    """The latest of the submission's dates; None when it has none."""

    day: datetime.date | None
    dates: tuple[DatedBy, ...]

    @property
    def disputed(self) -> bool:
        """Whether the dates differ by more than two days, so that a human must say which one counts."""
        days = [dated.day for dated in self.dates]
        return bool(days) and (max(days) - min(days)).days > TOLERATED_DAYS


def submission_day(submission: Submission) -> SubmissionDay:
    """The day that decides which record a submission has to beat."""
    dates = []
    if submission.metadata and submission.metadata[0].day is not None:
        metadata = submission.metadata[0]
        source = metadata.date.source if metadata.date is not None else Location(metadata.path)
        dates.append(DatedBy(submission.metadata[0].day, "submission.json", source))
    in_name = _folder_day(submission.name)
    if in_name is not None:
        dates.append(DatedBy(in_name, "folder name", Location(".", excerpt=submission.name)))
    if submission.first_commit is not None:
        dates.append(DatedBy(submission.first_commit, "first commit", Location(".", excerpt=submission.name)))
    return SubmissionDay(max((dated.day for dated in dates), default=None), tuple(dates))


def sota_of(day: datetime.date, challenge: Challenge, but: Collection[LeaderboardRow] = ()) -> LeaderboardRow | None:
    """The best accepted row whose Date is before `day` and which had not fallen by then; None before the first record. `but`
    names rows to leave out."""
    return _best([row for row in challenge.leaderboard if row.day < day.isoformat() and _stood(row, day) and row not in but])


def listed_sota(day: datetime.date, challenge: Challenge) -> LeaderboardRow | None:
    """The best row that the leaderboard showed on `day`. Rows appeared there up to weeks after their Date, so this is
    what an author could read there, not what decides."""
    return _best([row for row in challenge.leaderboard if row.listed and row.listed < day.isoformat() and _stood(row, day)])


def rows_of(day: datetime.date, challenge: Challenge) -> tuple[LeaderboardRow, ...]:
    """The rows dated `day` itself: which of them came first is unknown, so they are printed and not used."""
    return tuple(row for row in challenge.leaderboard if row.day == day.isoformat() and _stood(row, day))


def _stood(row: LeaderboardRow, day: datetime.date) -> bool:
    return row.withdrawn is None or row.withdrawn > day.isoformat()


def _best(rows: list[LeaderboardRow]) -> LeaderboardRow | None:
    return min(rows, key=lambda row: (row.bpb, row.day), default=None)


def _folder_day(name: str) -> datetime.date | None:
    found = FOLDER_DAY.search(name)
    if found is None:
        return None
    try:
        return datetime.date(int(found[1]), int(found[2]), int(found[3]))
    except ValueError:
        return None
