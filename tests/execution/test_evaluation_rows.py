"""Rows of targets are found in a stream that repeats itself."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from verifier.execution.evaluation_rows import RowLocator

PAD = 65_000


def text(length: int, seed: int = 3) -> NDArray[np.uint16]:
    """Tokens that repeat: few words, and one paragraph that comes again and again."""
    draw = np.random.default_rng(seed)
    stream = draw.choice(np.arange(9), size=length, p=[0.3, 0.2, 0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05]).astype(np.uint16)
    for start in range(100, length - 60, 400):
        stream[start : start + 40] = np.arange(40) % 11 + 20
    return stream


def targets(stream: NDArray[np.uint16], *spans: tuple[int, int]) -> NDArray[np.int32]:
    return np.concatenate([stream[start:end] for start, end in spans]).astype(np.int32)


def test_rows_one_after_another() -> None:
    stream = text(4_097)
    locator = RowLocator(stream, (128,))
    for start in range(1, 4_097, 512):
        assert locator.locate(targets(stream, (start, start + 512))).tolist() == list(range(start, start + 512))


def test_windows_that_overlap() -> None:
    stream = text(3_000)
    locator = RowLocator(stream, (128,))
    spans = [(start, start + 128) for start in range(1, 2_000, 64)]
    expected = np.concatenate([np.arange(*span) for span in spans])
    found = np.concatenate([locator.locate(targets(stream, *spans[at : at + 4])) for at in range(0, len(spans), 4)])
    assert (found == expected).mean() == 1.0


def test_padding_has_no_place() -> None:
    stream = text(1_000)
    row = np.full(256, PAD, dtype=np.int32)
    row[:100] = stream[1:101]
    found = RowLocator(stream, (128,)).locate(row)
    assert found[:100].tolist() == list(range(1, 101))
    assert (found[100:] == -1).all()


def test_what_is_not_in_the_stream_has_no_place() -> None:
    stream = text(1_000)
    assert (RowLocator(stream, (128,)).locate(np.arange(3_000, 3_256, dtype=np.int32)) == -1).all()
    assert RowLocator(stream, ()).locate(np.zeros(0, dtype=np.int32)).tolist() == []


@settings(max_examples=60)
@given(st.integers(50, 400), st.integers(0, 50), st.integers(8, 40))
def test_every_place_holds_its_target(length: int, seed: int, row: int) -> None:
    """Whatever is found, the stream has that token there."""
    stream = text(length, seed)
    draw = np.random.default_rng(seed)
    wanted = np.concatenate([stream[at : at + row] for at in draw.integers(1, length - row, size=3)]).astype(np.int32)
    found = RowLocator(stream, (row,)).locate(wanted)
    known = found >= 0
    assert (stream[found[known]] == wanted[known]).all()
    assert (found[known] > 0).all()
