"""BYT005, the normalizer and the examples of what it changes."""

from __future__ import annotations

import io
import unicodedata

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from audits.bytes.losses import PROBES, describe_normalization, pass_through
from audits.bytes.model import ByteAuditError
from audits.bytes.normalizer import CharsMap, normalize
from audits.bytes.raw_bytes import RawByteModel
from audits.bytes.render import render
from audits.bytes.result import StrictResult
from audits.bytes.sentencepiece_model import SentencePieceModel, parse_model
from audits.bytes.shipped import open_tokenizer
from fixtures.byte_cases import sentencepiece as build_model
from fixtures.byte_cases import vocabulary

SENTENCES = ["The quick brown fox jumps over the lazy dog. ", "ABC abc 123 “quoted” text, naïve café…"] * 20


def train(rule: str, *, squeezes: bool = True) -> tuple[bytes, sentencepiece.SentencePieceProcessor]:
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES), model_writer=out, vocab_size=320, model_type="bpe", byte_fallback=True,
        hard_vocab_limit=False, normalization_rule_name=rule, minloglevel=2, add_dummy_prefix=False,
        user_defined_symbols=["\ue001"], remove_extra_whitespaces=squeezes,
    )  # fmt: skip
    return out.getvalue(), sentencepiece.SentencePieceProcessor(model_proto=out.getvalue())


TRAINED = {rule: train(rule) for rule in ("nmt_nfkc", "nmt_nfkc_cf", "identity")}
KEEPING = train("nmt_nfkc", squeezes=False)
TEXT = st.text(
    st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from(" \t\n\u2581\ue001ABCﬁ½①Ａe\u0301\u200b\u3000")),
    max_size=40,
)


@pytest.mark.parametrize("rule", list(TRAINED))
@settings(max_examples=150)
@given(text=TEXT)
def test_the_normalizer_writes_what_the_library_writes(rule: str, text: str) -> None:
    data, library = TRAINED[rule]
    assert normalize(parse_model(data), text) == library.normalize(text).replace("\u2581", " ")


@settings(max_examples=150)
@given(text=TEXT)
def test_spaces_are_kept_where_the_model_keeps_them(text: str) -> None:
    data, library = KEEPING
    assert normalize(parse_model(data), text) == library.normalize(text).replace("\u2581", " ")


@given(st.binary(max_size=200))
def test_a_damaged_table_is_refused_and_never_read_outside(data: bytes) -> None:
    try:
        table = CharsMap(len(data).to_bytes(4, "little") + data + b"a\0")
        for text in (b"a", b"The", b"\xef\xac\x81"):
            table.longest(text, 0)
    except ByteAuditError:
        pass


def test_the_examples_state_what_the_contests_normalization_does() -> None:
    model = SentencePieceModel(parse_model(TRAINED["nmt_nfkc"][0]))
    assert {what: pass_through(model, before) for what, before, _ in PROBES} == {what: after for what, _, after in PROBES}
    assert describe_normalization(model).beyond_baseline == ()


def test_case_folding_is_shown_by_example() -> None:
    found = describe_normalization(SentencePieceModel(parse_model(TRAINED["nmt_nfkc_cf"][0])))
    assert not found.invertible
    assert "'The NASA Launch' -> 'the nasa launch'" in [str(change).split(": ", 1)[1] for change in found.beyond_baseline]


def test_a_model_without_normalization_changes_only_the_marker_and_spaces() -> None:
    found = describe_normalization(SentencePieceModel(parse_model(TRAINED["identity"][0])))
    assert {change.what for change in found.changes} == {"repeated spaces", "spaces at the ends", "the space marker"}
    assert found.beyond_baseline == ()


def test_what_is_invertible() -> None:
    every = [bytes([value]) for value in range(256)]
    assert describe_normalization(RawByteModel()).invertible
    assert describe_normalization(open_tokenizer(vocabulary(every, capcode=0, normalization=0), "tokenmonster")).invertible
    controls = [chr(0xE001 + number) for number in range(4)]
    caseops = describe_normalization(open_tokenizer(build_model(["ab"], controls), "sentencepiece"))
    assert [change.what for change in caseops.changes] == ["the space marker"]
    assert not caseops.no_capitals


@pytest.mark.parametrize(
    ("bit", "before", "after"),
    [
        (1, "Café", unicodedata.normalize("NFD", "Café")),
        (2, "The NASA", "the nasa"),
        (4, "Café", "Cafe"),
        (8, "“it’s”", '"it\'s"'),
        (16, "one   two", "one two"),
        (32, " text ", "text"),
        (64, "text", " text"),
        (128, "one\r\ntwo", "one\ntwo"),
    ],
)
def test_tokenmonster_normalizations(bit: int, before: str, after: str) -> None:
    every = [bytes([value]) for value in range(256)]
    assert pass_through(open_tokenizer(vocabulary(every, capcode=0, normalization=bit), "tokenmonster"), before) == after


def test_bytes_that_no_token_holds_are_lost() -> None:
    ascii_only = [bytes([value]) for value in range(128)]
    model = open_tokenizer(vocabulary(ascii_only, capcode=0, normalization=0), "tokenmonster")
    assert pass_through(model, "ok 😀") == "ok "


def test_without_byte_pieces_a_strange_character_is_the_unknown_token() -> None:
    data = train("nmt_nfkc")[0]
    model = SentencePieceModel(parse_model(data))
    assert pass_through(model, "ok 😀") == "ok 😀"
    pieces = parse_model(data)
    kept = [index for index, kind in enumerate(pieces.types) if kind != 6]
    bare = SentencePieceModel(
        type(pieces)(
            tuple(pieces.pieces[index] for index in kept), tuple(pieces.types[index] for index in kept),
            normalizer_flags=pieces.normalizer_flags, charsmap=pieces.charsmap,
        )
    )  # fmt: skip
    assert "\u2047" in pass_through(bare, "ok 😀")


def test_the_strict_audit_shows_what_the_tokenizer_changes() -> None:
    result = StrictResult(
        {"kind": "sentencepiece"}, 1, 1, 1, None, None, None, None, (), None, {}, (), (), 0,
        describe_normalization(SentencePieceModel(parse_model(TRAINED["nmt_nfkc_cf"][0]))),
    )  # fmt: skip
    text = render(result)
    assert "nmt_nfkc_cf: not invertible" in text
    assert "letter case: 'The NASA Launch' -> 'the nasa launch'" in text
    tokenizer = result.to_json()["tokenizer"]
    assert isinstance(tokenizer, dict)
    block = tokenizer["normalization"]
    assert (block["name"], block["invertible"]) == ("nmt_nfkc_cf", False)
    folded = {"what": "letter case", "before": "The NASA Launch", "after": "the nasa launch", "as_baseline": False}
    assert folded in block["changes"]
