import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audits.bytes import caseops
from audits.bytes.model import ByteAuditError, TokenClass, one_document
from audits.bytes.sentencepiece_model import SentencePieceModel, parse_model
from tests.audits.bytes.byte_builders import caseops_pieces, model_bytes, plain_pieces

MODEL = caseops.CaseOpsModel(SentencePieceModel(parse_model(model_bytes(caseops_pieces(), extra=0))))
FIRST_BYTE = 4
CONTROLS = [MODEL.inner.model.pieces.index(control.encode()) for control in caseops.CONTROLS]
TEXT = st.text(st.one_of(st.sampled_from("aAbBzZ 1é'’" + "".join(caseops.CONTROLS)), st.characters(exclude_categories=["Cs"])))


@given(TEXT)
@settings(max_examples=300)
def test_the_transform_is_lossless(text):
    coded = caseops.encode(text)
    assert caseops.decode(coded) == text
    assert not any("A" <= char <= "Z" for char in coded)


@pytest.mark.parametrize(
    ("text", "coded"),
    [
        ("The NASA Launch", "<T>the <A>nasa <T>launch"),
        ("iPhone OpenAI", "i<C>phone <T>open<C>a<C>i"),
        ("ABc", "<T>a<C>bc"),
        ("aB I", "a<C>b <T>i"),
        ("HELLOworld", "<T>h<C>e<C>l<C>l<C>oworld"),
        ("USAs", "<T>u<C>s<C>as"),
        ("A1B Éa", "<T>a1<T>b Éa"),
        ("\ue001x", "<E>\ue001x"),
    ],
)
def test_examples(text, coded):
    for name, control in zip("TACE", caseops.CONTROLS, strict=True):
        coded = coded.replace(f"<{name}>", control)
    assert caseops.encode(text) == coded


@given(
    st.lists(
        st.lists(st.one_of(st.sampled_from(CONTROLS), st.integers(0, MODEL.size - 1)), max_size=12),
        min_size=1,
        max_size=5,
    )
)
@settings(max_examples=400)
def test_any_tokens_are_restored_or_named(rows):
    starts = np.cumsum([0, *(len(row) for row in rows)])[:-1]
    ids = np.array([token for row in rows for token in row], dtype=np.uint16)
    decoded = MODEL.decode(ids, starts)
    ends = np.concatenate([[0], np.cumsum(decoded.lengths)])
    assert ends[-1] == len(decoded.data) == decoded.truth.sum()
    named = [at for at, _ in decoded.undecodable]
    for row, begin in zip(rows, starts.tolist(), strict=True):
        coded = MODEL.inner.decode(np.array(row, dtype=np.uint16), one_document()).data.tobytes().decode()
        got = decoded.data[ends[begin] : ends[begin + len(row)]].tobytes().decode()
        inside = any(begin <= at < begin + len(row) for at in named)
        try:
            expected = caseops.decode(coded)
        except ByteAuditError:
            assert inside
            assert got == coded
        else:
            assert not inside
            assert got == expected


@given(st.lists(TEXT, min_size=1, max_size=4))
@settings(max_examples=200)
def test_bytes_per_token_are_those_of_the_source(texts):
    """Spelled in bytes and controls, each token's bytes are what a sidecar would list."""
    rows = []
    for text in texts:
        row = [1]
        for char in caseops.encode(text):
            known = char in caseops.CONTROLS
            row += [CONTROLS[caseops.CONTROLS.index(char)]] if known else [FIRST_BYTE + value for value in char.encode()]
        rows.append(row)
    ids = np.array([token for row in rows for token in row], dtype=np.uint16)
    decoded = MODEL.decode(ids, np.flatnonzero(ids == 1))
    assert decoded.data.tobytes().decode() == "".join(texts)
    assert not decoded.undecodable
    assert set(decoded.lengths[ids == 1].tolist()) == {0}
    assert set(decoded.lengths.tolist()) <= {0, 1, 3}


@pytest.mark.parametrize("text", ["\ue001", "\ue001\ue001a", "a\ue001b", "\ue0031", "\ue004a", "x\ue002y", "\ue002 a"])
def test_text_that_no_encoder_writes_is_refused(text):
    with pytest.raises(ByteAuditError):
        caseops.decode(text)


def test_models_are_recognised_by_their_reserved_controls():
    assert caseops.is_caseops(MODEL.inner)
    assert not caseops.is_caseops(SentencePieceModel(parse_model(model_bytes(plain_pieces()))))
    assert MODEL.classes[CONTROLS].tolist() == [TokenClass.CONTROL] * 4
