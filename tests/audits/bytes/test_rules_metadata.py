"""BYT002 and the comparison behind it: tables against vocabularies, class by class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audits.bytes.accounting import Account, ByteTable
from audits.bytes.drift import ClassDrift, Drift, DriftClass, compare_table, is_lossless, measure_spans
from audits.bytes.model import ByteAuditError, TokenModel, one_document
from audits.bytes.raw_bytes import RawByteModel
from audits.bytes.shipped import open_table, open_tokenizer
from fixtures.byte_cases import HIGH_BYTES, MARKED, byte_table, sentencepiece, vocabulary

CAPCODE = [*MARKED, *HIGH_BYTES]
MODEL = open_tokenizer(vocabulary(CAPCODE, capcode=2, normalization=1), "tokenmonster")
CASE_CONTROLS = [chr(0xE001 + number) for number in range(4)]


def table(base: Sequence[int], leading: Sequence[bool] | None = None, boundary: Sequence[bool] | None = None) -> ByteTable:
    no = np.zeros(len(base), dtype=np.bool_)
    return ByteTable(
        np.array(base, dtype=np.int64),
        no if leading is None else np.array(leading, dtype=np.bool_),
        no if boundary is None else np.array(boundary, dtype=np.bool_),
        "own table",
    )


def classes(drift: Drift) -> dict[DriftClass, ClassDrift]:
    return {one.kind: one for one in drift.classes}


def true_base(model: TokenModel) -> list[int]:
    return [int(value) for value in measure_spans(model).low]


def test_open_delete_marks_are_named_apart_from_byte_tokens() -> None:
    base = [3 if text in HIGH_BYTES else count for text, count in zip(CAPCODE, true_base(MODEL), strict=True)]
    drift = compare_table(table(base), MODEL)
    found = classes(drift)
    assert found.keys() == {DriftClass.BYTE_TOKENS, DriftClass.OPEN_MARKS}
    assert (found[DriftClass.BYTE_TOKENS].low, found[DriftClass.BYTE_TOKENS].high) == (2, 2)
    assert len(found[DriftClass.BYTE_TOKENS].ids) == len(HIGH_BYTES)
    assert found[DriftClass.OPEN_MARKS].ids == (0, 3, 4)
    assert [one.label for one in found[DriftClass.OPEN_MARKS].worst[:2]] == ["D", "DC"]
    assert drift.sign == 1
    assert not drift.lossless


def test_byte_tokens_put_right_leave_the_marks() -> None:
    assert classes(compare_table(table(true_base(MODEL)), MODEL)).keys() == {DriftClass.OPEN_MARKS}


def test_a_table_that_takes_the_space_off_after_a_mark_is_exact() -> None:
    spaced = [text.startswith(b" ") for text in CAPCODE]
    opens = [text in (b"D", b"DC", b".DC") for text in CAPCODE]
    base = [count - space for count, space in zip(true_base(MODEL), spaced, strict=True)]
    assert compare_table(table(base, spaced, opens), MODEL).classes == ()


def test_marks_counted_as_text_and_text_counted_with_its_marks() -> None:
    drift = compare_table(table([len(text) for text in CAPCODE]), MODEL)
    found = classes(drift)
    assert found[DriftClass.MARKS].ids == (0, 1, 2, 3)
    assert found[DriftClass.MARKS].high == 2
    assert 8 in found[DriftClass.TEXT].ids, "`D ing` writes three bytes"
    assert found[DriftClass.MARKED_TEXT].ids == (4,)


def test_the_mark_of_level_1() -> None:
    model = open_tokenizer(vocabulary([b"\x7f", b" the", b"a", b"b\x7f"], capcode=1, normalization=0), "tokenmonster")
    found = classes(compare_table(table([0, 4, 1, 1]), model))
    assert found.keys() == {DriftClass.OPEN_MARKS}
    assert found[DriftClass.OPEN_MARKS].ids == (0, 3)
    assert classes(compare_table(table([1, 4, 1, 2]), model)).keys() == {
        DriftClass.MARKS,
        DriftClass.MARKED_TEXT,
        DriftClass.OPEN_MARKS,
    }


def test_a_missing_byte_is_a_drift_of_the_other_sign() -> None:
    model = open_tokenizer(vocabulary([b"a", b" the"], capcode=0, normalization=0), "tokenmonster")
    assert compare_table(table([1, 3]), model).sign == -1
    assert compare_table(table([2, 3]), model).sign == 0


def test_a_boundary_id_behind_the_vocabulary_counts_nothing() -> None:
    model = open_tokenizer(vocabulary([b"a", b" the"], capcode=0, normalization=0), "tokenmonster")
    assert not compare_table(table([1, 4, 0]), model).size_mismatch
    assert "id 2" in compare_table(table([1, 4, 1]), model).size_mismatch
    with pytest.raises(ByteAuditError, match="3 ids"):
        compare_table(table([1, 4, 0]), open_tokenizer(vocabulary([b"a"], capcode=0, normalization=0), "tokenmonster"))


def test_the_contests_own_formula_is_exact_for_sentencepiece() -> None:
    model = open_tokenizer(sentencepiece(["\u2581the", "ab", "é"]), "sentencepiece")
    formula = ByteTable.from_model(model)
    assert formula is not None
    # This model keeps a space at the head of a document, which the formula does not charge after a boundary token.
    assert classes(compare_table(formula, model)).keys() == {DriftClass.STARTS}
    twice = ByteTable(formula.base + formula.leading, formula.leading, formula.boundary, "twice")
    found = classes(compare_table(twice, model))
    assert (found[DriftClass.TEXT].low, found[DriftClass.TEXT].high) == (1, 1)


def test_case_controls_counted_as_text() -> None:
    model = open_tokenizer(sentencepiece(["\u2581the", "ab"], CASE_CONTROLS), "sentencepiece")
    assert model.kind == "caseops"
    flat = ByteTable.from_model(model)
    assert flat is not None
    found = classes(compare_table(flat, model))
    assert found.keys() == {DriftClass.CONTROLS}
    assert (len(found[DriftClass.CONTROLS].ids), found[DriftClass.CONTROLS].low) == (4, 3)


def test_raw_bytes_are_one_byte_each() -> None:
    model = RawByteModel()
    assert compare_table(table([0] * 4 + [1] * 256), model).classes == ()
    assert is_lossless(model)


def test_what_loses_text() -> None:
    every = [bytes([value]) for value in range(256)]
    assert is_lossless(open_tokenizer(vocabulary(every, capcode=0, normalization=0), "tokenmonster"))
    assert not is_lossless(open_tokenizer(vocabulary(every, capcode=0, normalization=1), "tokenmonster"))
    assert not is_lossless(open_tokenizer(vocabulary(every[1:], capcode=0, normalization=0), "tokenmonster"))
    assert is_lossless(open_tokenizer(sentencepiece(["ab"]), "sentencepiece"))


@given(st.lists(st.integers(0, len(CAPCODE) - 1), min_size=1, max_size=60))
def test_drift_of_one_sign_holds_for_every_text(ids: list[int]) -> None:
    base = [3 if text in HIGH_BYTES else count for text, count in zip(CAPCODE, true_base(MODEL), strict=True)]
    counts = table(base)
    assert compare_table(counts, MODEL).sign == 1
    account = Account(counts)
    account.feed(np.array(ids, dtype=np.uint16))
    assert account.total >= len(MODEL.decode(np.array(ids, dtype=np.uint16), one_document()).data)


@given(st.lists(st.binary(min_size=1, max_size=6).filter(lambda text: b"\x7f" not in text), min_size=1, max_size=20, unique=True))
def test_stored_lengths_are_exact_without_capcode(stored: list[bytes]) -> None:
    model = open_tokenizer(vocabulary(stored, capcode=0, normalization=0), "tokenmonster")
    assert compare_table(table([len(text) for text in stored]), model).classes == ()


def test_a_bundle_is_read_from_its_bytes() -> None:
    held = open_table(byte_table([1, 2, 3], [True, False, False]), "own.meta.npz")
    assert held.base.tolist() == [1, 2, 3]
    assert held.leading.tolist() == [True, False, False]
    with pytest.raises(ByteAuditError):
        open_table(b"PK no archive", "own.meta.npz")
