"""Which values and which record a claim is tested with."""

from __future__ import annotations

import datetime
import math

import pytest

from tests.ledger.build import CHALLENGE, metadata, metric, run, submission
from verifier.ledger.record import attempt_record, find_bytes_per_token, seed_values

SP8192 = "./data/tokenizers/fineweb_8192_bpe.model"


def test_logs_come_first_and_stated_seeds_fill_the_gaps() -> None:
    claims = metadata(1.0805, {42: 1.0800, 314: 1.0810})
    built = submission(run(42, metric("1.08004321")), claims=claims)
    assert [(value.seed, value.bpb, value.source.path) for value in seed_values(built)] == [
        (42, 1.08004321, "train_seed42.log"),
        (314, 1.0810, "submission.json"),
    ]


def test_without_logs_and_seeds_the_claimed_score_is_the_only_value() -> None:
    assert [(value.seed, value.bpb) for value in seed_values(submission(claims=metadata(1.0805)))] == [(None, 1.0805)]
    assert seed_values(submission()) == ()


def test_bytes_per_token_from_the_pair_else_from_the_tokenizer() -> None:
    pair = metric("1.08000000", f"{1.08 * math.log(2) * 3.726631:.8f}")
    assert find_bytes_per_token(submission(run(42, pair, tokens=None, tokenizer=None)), CHALLENGE) == pytest.approx(
        3.7266, abs=1e-4
    )
    bare = run(42, metric("1.08000000"), tokens=None, tokenizer=SP8192)
    assert find_bytes_per_token(submission(bare), CHALLENGE) == pytest.approx(3.7266, abs=1e-3)
    assert find_bytes_per_token(submission(run(42, metric("1.08"), tokens=None, tokenizer=None)), CHALLENGE) is None


def test_a_wrong_byte_table_does_not_loosen_the_margin() -> None:
    """The margin per token is converted with the tokenizer's right bytes, not with the inflated ones."""
    inflated = metric("1.00850000", f"{1.0085 * math.log(2) * 2.8672:.8f}")
    assert find_bytes_per_token(submission(run(42, inflated)), CHALLENGE) == pytest.approx(2.43593, abs=1e-4)


def test_a_given_reference_needs_no_date() -> None:
    attempt = attempt_record(submission(run(42, metric("1.08")), name="Name"), CHALLENGE, None, 1.1)
    assert attempt.row is not None
    assert attempt.row.bpb == 1.1
    assert attempt.as_of is None


def test_a_given_day_replaces_the_submissions() -> None:
    attempt = attempt_record(submission(run(42, metric("1.08"))), CHALLENGE, datetime.date(2026, 3, 25))
    assert attempt.row is not None
    assert attempt.row.pr == 549
