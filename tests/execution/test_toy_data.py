"""The toy tokenizer and shards are what scripts and libraries expect of real ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import sentencepiece

from audits.bytes.accounting import ByteTable
from audits.bytes.sentencepiece_model import SentencePieceModel, parse_model
from verifier.execution.experiment import CHANGED_FROM, SEED
from verifier.execution.positions import Locator
from verifier.execution.toy_data import make_data, write_data
from verifier.execution.toy_tokenizer import BOS, make_tokenizer


@pytest.mark.parametrize("size", [300, 512, 1024, 8192])
def test_the_library_reads_the_model(size: int) -> None:
    toy = make_tokenizer(size)
    model = sentencepiece.SentencePieceProcessor(model_proto=toy.serialize())
    assert model.vocab_size() == size
    assert (model.pad_id(), model.bos_id(), model.eos_id(), model.unk_id()) == (0, BOS, 2, 3)
    assert [model.id_to_piece(index) for index in range(size)] == [piece for piece, _ in toy.pieces]
    assert len({piece for piece, _ in toy.pieces}) == size
    assert model.is_byte(4)
    assert model.is_control(BOS)


@pytest.mark.parametrize("case_controls", [False, True])
def test_bytes_are_those_of_the_strict_audit(case_controls: bool) -> None:
    toy = make_tokenizer(600, case_controls=case_controls)
    table = ByteTable.from_sentencepiece(SentencePieceModel(parse_model(toy.serialize())))
    assert (table.base == toy.base).all()
    assert (table.leading == toy.leading).all()
    assert (table.boundary == toy.boundary).all()


def test_too_small_a_vocabulary_is_refused() -> None:
    with pytest.raises(ValueError, match="no room"):
        make_tokenizer(256)


def test_a_twin_differs_in_every_token_but_document_starts_from_the_change_on_and_in_none_before() -> None:
    toy = make_tokenizer(512)
    base, twin = make_data(toy, 7), make_data(toy, 7, changed_from=1000)
    assert (base.train == twin.train).all()
    assert (base.val[:1000] == twin.val[:1000]).all()
    same = base.val[1000:] == twin.val[1000:]
    assert (same == (base.val[1000:] == BOS)).all()
    assert ((twin.val == BOS) == (base.val == BOS)).all()
    assert np.isin(twin.val, toy.alphabet).all()


def test_the_place_of_the_change_is_no_document_start_and_training_text_is_not_in_the_validation_stream() -> None:
    for size in (512, 1024, 8192):
        data = make_data(make_tokenizer(size), SEED)
        assert data.val[CHANGED_FROM] != BOS
        locator = Locator(data.val)
        for train in (data.train, data.train[::-1]):
            assert (locator.locate(train.astype(np.int32)) == -1).all()


def test_tokens_are_uniform() -> None:
    toy = make_tokenizer(512)
    data = make_data(toy, 7, val_tokens=65_536)
    counts = np.bincount(data.val, minlength=512)[toy.alphabet]
    expected = len(data.val) / len(toy.alphabet)
    chi_square = float(((counts - expected) ** 2 / expected).sum())
    freedom = len(toy.alphabet) - 1
    assert abs(chi_square - freedom) < 6 * (2 * freedom) ** 0.5
    assert data.entropy == pytest.approx(np.log(len(toy.alphabet)))


def test_shards_have_the_contest_s_form(tmp_path: Path) -> None:
    data = make_data(make_tokenizer(512), 7)
    write_data(data, tmp_path, ("one", "two"), sidecar=True)
    raw = (tmp_path / "datasets" / "two" / "fineweb_val_000000.bin").read_bytes()
    header = np.frombuffer(raw[:1024], dtype="<i4")
    assert header[:3].tolist() == [20240520, 1, len(data.val)]
    assert (np.frombuffer(raw[1024:], dtype="<u2") == data.val).all()
    sidecar = (tmp_path / "datasets" / "one" / "fineweb_val_bytes_000000.bin").read_bytes()
    assert np.frombuffer(sidecar[1024:], dtype="<u2").sum() == data.tokenizer.count_bytes(data.val).sum()
