"""The day of a submission and the record of a day."""

from __future__ import annotations

import dataclasses
import datetime

import pytest

from tests.builders import empty_submission
from verifier.challenge.load import load_challenge
from verifier.ledger.dates import listed_sota, rows_of, sota_of, submission_day
from verifier.submission.metadata import Metadata
from verifier.submission.submission import Submission

CHALLENGE = load_challenge()


def submission(name: str, json_day: str | None = None, commit: str | None = None) -> Submission:
    metadata = Metadata(
        "submission.json", parsed=True, strict=True, day=datetime.date.fromisoformat(json_day) if json_day else None
    )
    return dataclasses.replace(
        empty_submission(),
        path=f"records/track_10min_16mb/{name}",
        metadata=(metadata,),
        first_commit=datetime.date.fromisoformat(commit) if commit else None,
    )


@pytest.mark.parametrize(
    ("name", "json_day", "commit", "day", "disputed"),
    [
        ("2026-04-06_Name", None, None, "2026-04-06", False),
        ("2026-04-06_Name", "2026-04-08", None, "2026-04-08", False),
        ("2026-04-06_Name", "2026-04-05", "2026-04-09", "2026-04-09", True),
        ("2026_4_6_name_1.08", None, None, "2026-04-06", False),
        ("2026-13-40_Name", None, None, None, False),
        ("12026-04-061", None, None, None, False),
        ("no date", None, None, None, False),
    ],
)
def test_the_latest_date_decides(name: str, json_day: str | None, commit: str | None, day: str | None, disputed: bool) -> None:
    found = submission_day(submission(name, json_day, commit))
    assert (found.day.isoformat() if found.day else None) == day
    assert found.disputed is disputed


@pytest.mark.parametrize(
    ("day", "pr"),
    [("2026-03-19", 49), ("2026-03-20", 65), ("2026-04-06", 1394), ("2026-04-20", 1736), ("2026-05-01", 1855)],
)
def test_the_record_of_a_day(day: str, pr: int) -> None:
    found = sota_of(datetime.date.fromisoformat(day), CHALLENGE)
    assert found is not None
    assert found.pr == pr


def test_before_the_first_record_there_is_none() -> None:
    assert sota_of(datetime.date(2026, 3, 18), CHALLENGE) is None


def test_a_row_counts_from_the_day_after_its_own() -> None:
    for row in CHALLENGE.leaderboard:
        day = datetime.date.fromisoformat(row.day)
        found = sota_of(day, CHALLENGE)
        assert found is None or found.day < row.day
        if row.withdrawn is None:
            after = sota_of(day + datetime.timedelta(days=1), CHALLENGE)
            assert after is not None
            assert after.bpb <= row.bpb


def test_a_withdrawn_row_stands_until_it_fell() -> None:
    first = dataclasses.replace(CHALLENGE.leaderboard[-1], day="2026-04-01", withdrawn="2026-04-10", bpb=1.0)
    challenge = dataclasses.replace(CHALLENGE, leaderboard=(*CHALLENGE.leaderboard, first))
    assert sota_of(datetime.date(2026, 4, 5), challenge) == first
    assert sota_of(datetime.date(2026, 4, 10), challenge) != first


def test_what_the_table_showed_lags_behind() -> None:
    shown = listed_sota(datetime.date(2026, 4, 6), CHALLENGE)
    assert shown is not None
    assert shown.pr == 1019
    assert [row.pr for row in rows_of(datetime.date(2026, 4, 6), CHALLENGE)] == [1412, 1413]
