"""Targets are found in the stream by their values."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from verifier.execution.positions import GRAM, Locator
from verifier.execution.toy_data import make_data
from verifier.execution.toy_tokenizer import make_tokenizer

STREAM = make_data(make_tokenizer(512), 3).val
LOCATOR = Locator(STREAM)


@settings(max_examples=60)
@given(st.lists(st.integers(1, len(STREAM) - 65), min_size=1, max_size=12), st.integers(GRAM, 64))
def test_rows_of_one_length_laid_end_to_end_are_found(starts: list[int], length: int) -> None:
    """As in a flattened batch of windows; a target at a row's border may be claimed by its neighbour too."""
    places = np.concatenate([np.arange(start, start + length) for start in starts])
    found = LOCATOR.locate(STREAM[places].astype(np.int32))
    wrong = np.flatnonzero(found != places)
    assert all(min(at % length, length - at % length) <= 1 for at in wrong.tolist())
    assert len(wrong) <= len(starts) // 4 + 1


def test_a_border_that_two_rows_claim_goes_where_the_rows_length_puts_it() -> None:
    # The target before the second row in the stream is the same token as the last target of the first row.
    second = next(at for at in range(300, len(STREAM)) if STREAM[at - 1] == STREAM[64])
    rows = [np.arange(1, 65), np.arange(second, second + 64), np.arange(1000, 1064), np.arange(2000, 2064)]
    places = np.concatenate(rows)
    assert LOCATOR.locate(STREAM[places].astype(np.int32)).tolist() == places.tolist()


def test_padding_and_other_tokens_are_not_found() -> None:
    row = np.concatenate([STREAM[100:110].astype(np.int32), np.zeros(6, dtype=np.int32)])
    assert LOCATOR.locate(row).tolist() == [*range(100, 110), *[-1] * 6]
    assert (LOCATOR.locate(make_data(make_tokenizer(512), 4).val.astype(np.int32)) == -1).all()


@given(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=40))
def test_any_targets_give_positions_of_the_stream_or_none(targets: list[int]) -> None:
    found = LOCATOR.locate(np.array(targets, dtype=np.int32))
    assert len(found) == len(targets)
    assert ((found >= -1) & (found < len(STREAM))).all()
