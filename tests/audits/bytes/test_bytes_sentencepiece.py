import io
import random

import numpy as np
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from audits.bytes.model import ByteAuditError, one_document
from audits.bytes.pieces import PieceTable
from audits.bytes.sentencepiece_model import SentencePieceModel, parse_model
from tests.audits.bytes.byte_builders import BYTE, CONTROL, NORMAL, UNKNOWN, field, model_bytes, plain_pieces

TEXT = "the quick brown Fox jumps over lazy dogs and 1234 numbers, naïve café 漢字 ok well-known"
WORDS = TEXT.split()
SETTINGS = {
    "contest": {"add_dummy_prefix": False},
    "library-default": {},
    "keeps-spaces": {"remove_extra_whitespaces": False, "normalization_rule_name": "identity"},
    "keeps-all": {
        "add_dummy_prefix": False,
        "remove_extra_whitespaces": False,
        "normalization_rule_name": "identity",
    },
    "unigram": {"model_type": "unigram", "add_dummy_prefix": False},
    "no-fallback": {"byte_fallback": False, "unk_surface": " ?? "},
}


@pytest.fixture(scope="module", params=list(SETTINGS))
def pair(request):
    """(our model, the library's processor) of one trained vocabulary."""
    rng = random.Random(7)
    lines = [" ".join(rng.choices(WORDS, k=12)) for _ in range(300)]
    out = io.BytesIO()
    options = {"model_type": "bpe", "vocab_size": 360, "byte_fallback": True, "hard_vocab_limit": False}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=out, minloglevel=2, **(options | SETTINGS[request.param])
    )
    data = out.getvalue()
    return SentencePieceModel(parse_model(data)), sentencepiece.SentencePieceProcessor(model_proto=data)


def decode(model, ids):
    decoded = model.decode(np.array(ids, dtype=np.uint16), one_document())
    assert int(decoded.lengths.sum()) == len(decoded.data) == int(decoded.truth.sum())
    assert int(decoded.counts.sum()) == len(ids)
    return decoded.data.tobytes()


@given(data=st.data())
@settings(max_examples=150)
def test_random_ids_decode_as_the_library_does(pair, data):
    model, library = pair
    space = [i for i in range(model.size) if model.label(i).startswith("\u2581")][:12]
    bytes_ = [i for i in range(model.size) if library.is_byte(i)] or [0]
    some = st.one_of(st.integers(0, model.size - 1), st.sampled_from(space), st.sampled_from(bytes_), st.integers(0, 3))
    ids = data.draw(st.lists(some, max_size=40))
    assert decode(model, ids) == library.decode(ids).encode()


@given(text=st.text(max_size=60))
@settings(max_examples=150)
def test_text_of_every_plane_decodes_as_the_library_does(pair, text):
    model, library = pair
    ids = library.encode(text)
    assert decode(model, ids) == library.decode(ids).encode()


def test_documents_of_a_row_do_not_touch_each_other(pair):
    model, library = pair
    rng = random.Random(3)
    rows = [[rng.randrange(model.size) for _ in range(rng.randrange(1, 9))] for _ in range(400)]
    starts = np.cumsum([0, *(len(row) for row in rows)])[:-1]
    decoded = model.decode(np.array([token for row in rows for token in row], dtype=np.uint16), starts)
    ends = np.concatenate([[0], np.cumsum(decoded.lengths)])
    for row, begin in zip(rows, starts.tolist(), strict=True):
        assert decoded.data[ends[begin] : ends[begin + len(row)]].tobytes() == library.decode(row).encode()


def test_a_cut_changes_nothing(pair):
    model, _ = pair
    rng = random.Random(5)
    for _ in range(200):
        ids = np.array([rng.randrange(model.size) for _ in range(rng.randrange(1, 12))], dtype=np.uint16)
        cut = model.cut(ids, one_document())
        whole = model.decode(ids, one_document()).data.tobytes()
        head = model.decode(ids[:cut], one_document()).data.tobytes()
        rest = model.decode(ids[cut:], np.zeros(int(cut == 0), dtype=np.intp)).data.tobytes()
        assert head + rest == whole


def test_ids_outside_the_vocabulary_are_refused():
    model = SentencePieceModel(parse_model(model_bytes(plain_pieces())))
    for wrong in ([model.size], [5, 65535]):
        with pytest.raises(ByteAuditError, match="not in the vocabulary"):
            model.decode(np.array(wrong, dtype=np.uint16), one_document())
    with pytest.raises(ByteAuditError, match="negative"):
        model.decode(np.array([-1]), one_document())


def test_missing_space_piece_is_reported():
    pieces = [piece for piece in plain_pieces() if piece[0] != "\u2581"]
    assert SentencePieceModel(parse_model(model_bytes(pieces))).describe()["space_piece"] is False
    assert SentencePieceModel(parse_model(model_bytes(plain_pieces()))).describe()["space_piece"] is True


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no pieces"),
        (b"\xff" * 40, "varint"),
        (b"hello, this is text", "protobuf|not a message"),
        (field(1, 5), "not a message"),
        (b"\x0a\xff\xff\xff\xff\x0f", "claims"),
        (b"\x0b", "wire type"),
        (model_bytes([("a", NORMAL)]), "0 unknown tokens"),
        (model_bytes([("<unk>", UNKNOWN), ("a", NORMAL), ("a", NORMAL)]), "same text"),
        (model_bytes([("<unk>", UNKNOWN), ("", NORMAL)]), "empty"),
        (model_bytes([("<unk>", UNKNOWN), (b"\xff", NORMAL)]), "not UTF-8"),
        (model_bytes([("<unk>", UNKNOWN), ("<0xZZ>", BYTE)]), "form"),
        (model_bytes([("<unk>", UNKNOWN), ("a", 9)]), "type 9"),
        (model_bytes([("<unk>", UNKNOWN), ("a" * 5000, NORMAL)]), "5000 bytes"),
        (model_bytes([("<unk>", UNKNOWN), ("<s>", CONTROL)], denormalizer=b"x"), "denormaliser"),
    ],
)
def test_malformed_models_are_refused_with_a_reason(data, message):
    with pytest.raises(ByteAuditError, match=message):
        SentencePieceModel(parse_model(data))


@given(st.data())
@settings(max_examples=200)
def test_damaged_models_never_crash(data):
    good = model_bytes(plain_pieces())
    at = data.draw(st.integers(0, len(good) - 1))
    damaged = data.draw(
        st.sampled_from([good[:at], good[:at] + b"\xff" * 11 + good[at:], good[:at] + bytes([good[at] ^ 0x55]) + good[at + 1 :]])
    )
    try:
        model = SentencePieceModel(parse_model(damaged))
    except ByteAuditError:
        return
    decode(model, list(range(model.size)))


@given(st.lists(st.integers(0, 40), max_size=300), st.lists(st.integers(0, 300), max_size=5))
def test_joining_equals_the_plain_way(index, at):
    pieces = [bytes((size * 31 + at) % 256 for at in range(size)) for size in range(41)]
    table = PieceTable(pieces)
    starts = np.array(sorted(min(one, len(index)) for one in at), dtype=np.intp)
    row = table.row(np.array(index, dtype=np.uint16), starts)
    data, borders = row.joined
    assert data.tobytes() == b"".join(pieces[i] for i in index)
    assert row.lengths.tolist() == index
    assert borders.tolist() == [sum(index[:one]) for one in [*starts.tolist(), len(index)]]
    assert row.uses.tolist() == [index.count(size) for size in range(41)]
    plain = table._join_plain(np.array(index, dtype=np.intp), starts)
    assert np.array_equal(plain[0], data)
    assert np.array_equal(plain[1], borders)
