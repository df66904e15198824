"""The replay of window arithmetic scores exactly what the loop scores, and gives up where it can't."""

from __future__ import annotations

import ast
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audits.coverage.replay import Replay
from audits.coverage.values import Opaque, Scored, Tokens, Unknown

WINDOWS = """
def score(model, tokens, size, stride, batch):
    total = tokens.numel() - 1
    starts = [at for at in range(0, total, stride) if min(at + size, total) - at >= least or at == 0]
    for first in range(0, len(starts), batch):
        rows = starts[first : first + batch]
        lengths = []
        for at in rows:
            end = min(at + size, total)
            lengths.append(end - at)
            chunk = tokens[at : end + 1]
        nll = F.cross_entropy(model(rows), tokens, reduction="none")
        for row, at in enumerate(rows):
            length = lengths[row]
            skip = 0 if at == 0 else max(length - stride, 0)
            scored = nll[row, skip:length]
"""


def replay(source: str, **names: int) -> Scored:
    function = ast.parse(source).body[0]
    assert isinstance(function, ast.FunctionDef)
    known = {name: value for name, value in names.items() if name != "tokens"}
    return Replay(lambda node: None).run(function, {"model": Opaque(), "tokens": Tokens(names["tokens"]), **known})


@given(
    total=st.integers(2, 300),
    size=st.integers(2, 40),
    stride=st.integers(1, 40),
    batch=st.integers(1, 9),
    least=st.integers(1, 8),
)
def test_counts_every_target_as_often_as_the_loop_does(total: int, size: int, stride: int, batch: int, least: int) -> None:
    found = Counter[int]()
    for _, first, end in replay(WINDOWS, tokens=total + 1, size=size, stride=stride, batch=batch, least=least).slices:
        found.update(range(first, end))
    expected = Counter[int]()
    for at in range(0, total, stride):
        end = min(at + size, total)
        if end - at >= least or at == 0:
            expected.update(range(at if at == 0 else at + max(end - at - stride, 0), end))
    assert found == expected


def test_takes_the_start_from_the_first_thing_looked_up_by_row() -> None:
    source = WINDOWS.replace("for row, at in enumerate(rows):\n", "for row in range(len(rows)):\n            at = rows[row]\n")
    assert (
        replay(source, tokens=101, size=20, stride=5, batch=3, least=1).slices.keys()
        == replay(WINDOWS, tokens=101, size=20, stride=5, batch=3, least=1).slices.keys()
    )


NUMBERED = """
def score(model, tokens, size, stride, windows):
    total = len(tokens) - 1
    for number in range(windows):
        start = number * stride
{cut}
        skip = 0 if number == 0 else size - stride
        scored = F.cross_entropy(model(x), y, reduction="none")[skip : y.numel()]
"""
CHUNK = """\
        chunk = tokens[start : min(start + size, total) + 1]
        x, y = chunk[:-1][None], chunk[1:][None]"""
TARGETS_FIRST = """\
        y = tokens[start + 1 : min(start + size, total) + 1]
        x = tokens[start : start + size]"""


@given(
    cut=st.sampled_from([CHUNK, TARGETS_FIRST]),
    total=st.integers(2, 300),
    size=st.integers(2, 40),
    stride=st.integers(1, 40),
    windows=st.integers(1, 60),
)
def test_windows_that_are_numbered_start_where_they_are_cut(cut: str, total: int, size: int, stride: int, windows: int) -> None:
    stride = min(stride, size)
    expected = Counter[int]()
    for number in range(windows):
        start = number * stride
        expected.update(range(start if number == 0 else start + size - stride, min(start + size, total)))
    found = Counter[int]()
    for _, first, end in replay(NUMBERED.format(cut=cut), tokens=total + 1, size=size, stride=stride, windows=windows).slices:
        found.update(range(first, min(end, total)))
    assert found == expected


@pytest.mark.parametrize(
    "body",
    [
        "for at in range(1_000_000_000): pass",
        "x = [1]\n    for at in range(9000): x = x + x",
        "x = 9\n    for at in range(9000): x = x * x",
        "while True: pass",
        "for at in range(9000):\n        for to in range(9000): pass",
        "x = 1 // (tokens.numel() - tokens.numel())",
        "starts = [at for at in range(0, 99, 3) if at in model.starts]",
    ],
)
def test_gives_up_on_what_is_too_much_or_not_known(body: str) -> None:
    with pytest.raises(Unknown):
        replay(f"def score(model, tokens):\n    {body}\n", tokens=100)
