"""The reading of byte tables out of a script's code."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audits.bytes.rule_table import TABLE_WRONG
from audits.bytes.sample_pieces import PIECES
from audits.bytes.table_reading import Unreadable, builders, read_tables
from audits.bytes.table_values import Table
from fixtures.program.editing import edited
from tests.audits.code.build import decide
from verifier.rule import Outcome
from verifier.submission.python_tree import index_tree

TRUE_BASE = [0, 0, 0, 1, 0, 0, 3, 3, 2, 5]


def tables(text: str) -> list[Table]:
    tree = index_tree(ast.parse(text))
    return [table for holders in builders(tree) for _, table in read_tables(holders[0], tree)]


BASELINE = """
def luts(sp, vocab_size, device):
    n = int(sp.vocab_size())
    size = max(n, vocab_size)
    base = np.zeros((size,), dtype=np.int16)
    space = np.zeros((size,), dtype=np.bool_)
    edge = np.ones((size,), dtype=np.bool_)
    for i in range(n):
        if sp.is_control(i) or sp.is_unknown(i) or sp.is_unused(i):
            continue
        edge[i] = False
        if sp.is_byte(i):
            base[i] = 1
            continue
        piece = sp.id_to_piece(i)
        if piece.startswith("\\u2581"):
            space[i] = True
            piece = piece[1:]
        base[i] = len(piece.encode("utf-8"))
    return torch.tensor(base), torch.tensor(space), torch.tensor(edge)
"""
COMPREHENSION = """
kinds = sp.is_control
base = [0 if sp.is_control(i) or sp.is_unknown(i) or sp.is_unused(i) else 1 if sp.is_byte(i)
        else len(sp.id_to_piece(i).replace("\\u2581", "").encode()) for i in range(sp.get_piece_size())]
"""
CLASS = """
class Data:
    def __init__(self, h):
        self.sp = spm.SentencePieceProcessor(model_file=h.tokenizer_path)
        if int(self.sp.vocab_size()) != h.vocab_size:
            raise ValueError("size")
        self.base = torch.zeros(h.vocab_size)
        for i in range(h.vocab_size):
            kind = 0
            if not (self.sp.IsControl(i) or self.sp.IsUnknown(i) or self.sp.IsUnused(i)):
                text = self.sp.IdToPiece(i)
                kind = 1 if self.sp.IsByte(i) else len(text.lstrip("\\u2581").encode("utf-8"))
            self.base[i] = kind
"""


@pytest.mark.parametrize("text", [BASELINE, COMPREHENSION, CLASS])
def test_one_table_in_three_spellings(text: str) -> None:
    assert TRUE_BASE in [list(table.row()) for table in tables(text)]


def test_what_is_not_modelled_is_not_read() -> None:
    with pytest.raises(Unreadable):
        tables(
            "def f(sp, flags):\n    base = [0] * 9\n    for i in range(9):\n        if flags[i]:\n            base[i] = len(sp.id_to_piece(i))\n"
        )
    with pytest.raises(Unreadable):
        tables("def f(sp):\n    i = 0\n    while True:\n        i += len(sp.id_to_piece(i))\n")


def test_endless_builders_end() -> None:
    nest = "".join(f"{'    ' * depth}for i{depth} in range(10):\n" for depth in range(1, 9))
    text = f"def f(sp):\n    base = [0] * 10\n{nest}{'    ' * 9}base[i1] = len(sp.id_to_piece(i1))\n"
    with pytest.raises(Unreadable):
        tables(text)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("base[i] = len(sp.id_to_piece(i).encode())", "marker"),
        ("base[i] = len(sp.id_to_piece(i).lstrip('\\u2581').encode())", "never counts the space"),
        ("base[i] = 2.44 if sp.id_to_piece(i) else 2.44", "same"),
    ],
)
def test_wrong_tables_without_logs_are_for_a_reader(body: str, words: str) -> None:
    text = f"import sentencepiece as spm\nsp = spm.SentencePieceProcessor(model_file='a.model')\nbase = [0] * 10\nfor i in range(10):\n    {body}\n"
    decision = decide(TABLE_WRONG, text)
    assert decision.outcome is Outcome.REVIEW
    assert words in decision.reason


def test_without_logs_the_sum_that_adds_the_space_again_is_proof() -> None:
    double = ("        base[token] = len(piece.encode", "        base[token] = int(leading[token]) + len(piece.encode")
    decision = decide(TABLE_WRONG, edited(double))
    assert decision.outcome is Outcome.FAIL
    assert "(base[y] + leading[y])" in decision.findings[0].locations[1].excerpt
    table_only = ("(base[y] + leading[y])", "base[y]")
    assert decide(TABLE_WRONG, edited(double, table_only)).outcome is not Outcome.FAIL


def test_a_table_from_a_file_is_not_judged() -> None:
    assert decide(TABLE_WRONG, "import numpy as np\nbase = np.load('meta.npz')['base']\n").outcome is Outcome.NOT_AVAILABLE


_EXPRESSIONS = st.recursive(
    st.sampled_from(["i", "piece", "sp", "base", "(1)", "(2.5)", "'▁'", "b'x'", "None", "[]", "{}", "unknown"]),
    lambda inner: st.one_of(
        st.builds("({} + {})".format, inner, inner),
        st.builds("({} * {})".format, inner, inner),
        st.builds("len({})".format, inner),
        st.builds("{}.encode()".format, inner),
        st.builds("{}.replace({}, {})".format, inner, inner, inner),
        st.builds("{}[{}]".format, inner, inner),
        st.builds("{}[{}:]".format, inner, inner),
        st.builds("({} if {} else {})".format, inner, inner, inner),
        st.builds("({} == {})".format, inner, inner),
        st.builds("[{} for i in {}]".format, inner, inner),
        st.builds("str({})".format, inner),
    ),
    max_leaves=8,
)


@given(st.lists(_EXPRESSIONS, min_size=1, max_size=4))
def test_any_builder_is_read_or_refused(values: list[str]) -> None:
    lines = "".join(f"        base[i] = {value}\n        piece = {value}\n" for value in values)
    text = f"def f(sp, n):\n    base = [0] * n\n    for i in range(n):\n        piece = sp.id_to_piece(i)\n{lines}"
    try:
        found = tables(text)
    except Unreadable:
        return
    assert all(len(table.row()) == len(PIECES) for table in found)
