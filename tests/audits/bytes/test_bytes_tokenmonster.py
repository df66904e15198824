import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audits.bytes import capcode
from audits.bytes.model import ByteAuditError, TokenClass, one_document
from audits.bytes.tokenmonster_vocab import TokenMonsterModel, parse_vocabulary
from audits.bytes.tokenmonster_yaml import parse_yaml_vocabulary
from tests.audits.bytes.byte_builders import CAPCODE_TEXTS, vocab_bytes

ENTRIES = [(text, token) for token, text in enumerate(CAPCODE_TEXTS)]


def build(level):
    return TokenMonsterModel(parse_vocabulary(vocab_bytes(ENTRIES, capcode=level)))


MODELS = {level: build(level) for level in (0, 1, 2)}
LEVEL_1 = TokenMonsterModel(
    parse_vocabulary(
        vocab_bytes([(b"\x7f", 0), (b"\x7f ", 1), (b" a", 2), (b"a\x7f", 3), (b"\xc3", 4), (b"\x7fb", 5)], capcode=1)
    )
)
IDS = st.lists(st.one_of(st.integers(0, len(ENTRIES) - 1), st.sampled_from([0, 1, 2, 3, 17, 18, 21, 22, 23, 999])), max_size=40)


def stored(model, ids):
    return [model.vocabulary.stored[i] if i < model.size else b"" for i in ids]


def check(model, ids):
    """Decoded bytes equal the definition, and each token adds what the decoded prefix grows by."""
    level = model.vocabulary.capcode
    decoded = model.decode(np.array(ids, dtype=np.uint16), one_document())
    parts = stored(model, ids)
    assert decoded.data.tobytes() == capcode.decode(b"".join(parts), level)
    grown = [len(capcode.decode(b"".join(parts[:end]), level)) for end in range(len(parts) + 1)]
    assert decoded.lengths.tolist() == np.diff(grown).tolist()
    assert int(decoded.truth.sum()) == len(decoded.data)
    sums = np.zeros(model.size + 1, dtype=np.int64)
    np.add.at(sums, np.minimum(np.array(ids, dtype=np.intp), model.size), decoded.lengths)
    assert decoded.truth.tolist() == sums.tolist()


@given(IDS, st.sampled_from([0, 2]))
@settings(max_examples=400)
def test_any_order_of_tokens_decodes_by_the_definition(ids, level):
    check(MODELS[level], ids)


@given(st.lists(st.integers(0, 6), max_size=30))
def test_level_1_decodes_by_the_definition(ids):
    check(LEVEL_1, ids)


@given(st.lists(IDS, min_size=1, max_size=6))
@settings(max_examples=200)
def test_state_ends_with_the_document(rows):
    model = MODELS[2]
    starts = np.cumsum([0, *(len(row) for row in rows)])[:-1]
    decoded = model.decode(np.array([token for row in rows for token in row], dtype=np.uint16), starts)
    expected = [capcode.decode(b"".join(stored(model, row)), 2) for row in rows]
    assert decoded.data.tobytes() == b"".join(expected)
    ends = np.concatenate([[0], np.cumsum(decoded.lengths)])
    for row, begin, text in zip(rows, starts.tolist(), expected, strict=True):
        assert ends[begin + len(row)] - ends[begin] == len(text)


@given(IDS, st.sampled_from([0, 2]))
@settings(max_examples=300)
def test_a_cut_changes_nothing(ids, level):
    model = MODELS[level]
    row = np.array(ids, dtype=np.uint16)
    cut = model.cut(row, one_document())
    whole = model.decode(row, one_document()).data.tobytes()
    none = np.zeros(0, dtype=np.intp)
    assert model.decode(row[:cut], one_document()).data.tobytes() + model.decode(row[cut:], none).data.tobytes() == whole


SPLIT = TokenMonsterModel(
    parse_vocabulary(
        vocab_bytes(
            [(text, token) for token, text in enumerate(
                [b"C", b"W", b"DC", b" ", b"a", b"\xe2", b"\x80", b"\x99", b"\xc3", b"\xa9", b"\xbf", b"\xe1", b"\xbe", b"\xb0",
                 b"\xe2\x80", b"\x99a", b"D", b"\xce", b"\xb1", b"W "]
            )]
        )
    )
)  # fmt: skip


@given(st.lists(st.integers(0, 20), max_size=14))
@settings(max_examples=400)
def test_characters_split_over_tokens_keep_their_case(ids):
    check(SPLIT, ids)


def test_long_chains_of_one_state_are_followed():
    model = MODELS[2]
    for opening in ([0], [2, 5]):
        check(model, opening + [999] * 300 + [5, 28, 18])


@pytest.mark.parametrize(
    ("encoded", "text"),
    [
        (b"DC this is a test.", "This is a test."),
        (b"DW a", "A"),
        (b"D camelDC case", "camelCase"),
        (b"D don'tW don't", "don't DON'T"),
        (b"D one\nDC two", "one\nTwo"),
        (b"DW abcD 123D def", "ABC123DEF"),
        (b" C foo", "  Foo"),
        ("C ᾀ".encode(), " ᾈ"),
        ("W ßa".encode(), " ßA"),
        ("C ǆ".encode(), " Ǆ"),
        ("C 𐖗".encode(), " 𐖗"),
    ],
)
def test_level_2_examples(encoded, text):
    assert capcode.decode(encoded, 2).decode() == text


def test_twins_share_an_id_and_the_last_entry_is_written():
    model = TokenMonsterModel(parse_vocabulary(vocab_bytes([(b"abc", 0), (b"D", 1), (b"D abc", 0)])))
    assert model.decode(np.array([1, 0], dtype=np.uint16), one_document()).data.tobytes() == b"abc"
    assert model.classes.tolist() == [TokenClass.PLAIN, TokenClass.CAPCODE]


def test_unk_and_unknown_ids_write_nothing():
    model = TokenMonsterModel(parse_vocabulary(vocab_bytes([(b"a", 0), (b"b", 2)], capcode=0, unk=1)))
    decoded = model.decode(np.array([0, 1, 2, 3, 65535], dtype=np.uint16), one_document())
    assert decoded.data.tobytes() == b"ab"
    assert decoded.counts.tolist() == [1, 1, 1, 2]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "ends inside"),
        (bytes([3]) + bytes(60), "not a TokenMonster"),
        (vocab_bytes(ENTRIES)[:-1], "ends inside"),
        (vocab_bytes(ENTRIES)[:200], "ends inside"),
        (vocab_bytes(ENTRIES) + b"x", "1 bytes follow"),
        (vocab_bytes([(b"x" * 41, 0)]), "41 bytes"),
        (vocab_bytes([(b"a", 5)], table=2), "id 5"),
        (vocab_bytes([(b"a", 0)], unk=9), "unk token"),
        (vocab_bytes([(b"a", 0)], table=0xFFFFFE), "more than"),
    ],
)
def test_malformed_vocabularies_are_refused(data, message):
    with pytest.raises(ByteAuditError, match=message):
        parse_vocabulary(data)


@given(st.integers(0, 600), st.integers(0, 255))
@settings(max_examples=200)
def test_damaged_vocabularies_never_crash(at, value):
    data = bytearray(vocab_bytes(ENTRIES))
    data[at % len(data)] = value
    try:
        model = TokenMonsterModel(parse_vocabulary(bytes(data)))
    except ByteAuditError:
        return
    model.decode(np.arange(40, dtype=np.uint16), one_document())


HEAD = 'charset: none\nnormalization: "none"\ncapcode: 0\ntokens:\n'


def yaml_table(body, head=HEAD):
    return parse_yaml_vocabulary((head + body).encode()).table()


def test_yaml_reads_the_dialect():
    body = (
        '    - token:   "a\\n\\"\\\\"\n      id:      2\n      score:   0.1\n      encoded: true\n'
        "    - token: 'it''s'\n      id: 0\n"
        '    - token: "TokenMonsterHexEncode{80ff}"\n      id: 4\n      encoded: true\n'
        '    - token: "\u2028x"\n      id: 5\n'
        "    - token: plain\n"
    )
    assert yaml_table(body) == (b"it's", b"plain", b'a\n"\\', b"", b"\x80\xff", "\u2028x".encode())


def test_yaml_settings_that_are_off_change_nothing():
    off = "reset-token-ids: false\ninclude-256-bytes: false\nexclude-other-bytes: false\nunk: false\n"
    assert yaml_table("- token: x\n  id: 0\n", off + HEAD) == (b"x",)


def test_utf16_is_refused(tmp_path):
    text = "a".encode("utf-16-le")
    with pytest.raises(ByteAuditError, match="UTF-16"):
        TokenMonsterModel(parse_vocabulary(vocab_bytes([(text, 0)], capcode=0, charset=2)))
    path = tmp_path / "v.yaml"
    path.write_text('charset: utf-16\ncapcode: 0\ntokens:\n- token: "a"\n  id: 0\n')
    with pytest.raises(ByteAuditError, match="UTF-16"):
        TokenMonsterModel.load(path)


def test_yaml_a_text_listed_twice_belongs_to_the_later_id():
    assert yaml_table('- token: "x"\n  id: 0\n- token: "x"\n  id: 1\n') == (b"", b"x")


def test_yaml_with_capcode_writes_the_twin():
    head = "charset: utf-8\ncapcode: 2\ntokens:\n"
    assert yaml_table('- token: "abc"\n  id: 0\n  encoded: true\n- token: "D"\n  id: 1\n  encoded: true\n', head) == (
        b"D abc",
        b"D",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no tokens"),
        ("a: &a [x, x]\nb: &b [*a, *a]\ntokens:\n- token: *b\n", "anchor"),
        (HEAD + "- token: *x\n", "alias"),
        (HEAD + "- token: !!python/object:os.system x\n", "tag"),
        (HEAD + "- token: |\n    x\n", "block text"),
        (HEAD + "- {token: x}\n", "key: value|keys"),
        (HEAD + "- token: x\n  id: -1\n", "not a number"),
        (HEAD + "- token: x\n  id: 99999999999999999999\n", "not a number"),
        (HEAD + "- token: x\n  id: 0\n- token: y\n  id: 0\n", "given to"),
        (HEAD + '- token: "x\n', "not closed"),
        (HEAD + '- token: "\\q"\n', "unknown escape"),
        (HEAD + '- token: "\\ud800"\n', "surrogate"),
        (HEAD + '- token: ""\n', "empty token"),
        (HEAD + '- token: "TokenMonsterHexEncode{8}"\n', "hexadecimal"),
        (HEAD + "- token: x\n  token: y\n", "twice"),
        (HEAD + "- id: 1\n", "has the keys"),
        (HEAD + "-\ttoken: x\n", "expected"),
        ("capcode: 2\ntokens:\n- token: x\n  id: 0\n", "not marked encoded"),
        ("capcode: 3\n" + "tokens:\n- token: x\n", "not a number from 0 to 2"),
        ("reset-token-ids: true\ntokens:\n- token: x\n", "with reset-token-ids .* audit the built .vocab"),
        ("include-256-bytes: true\ntokens:\n- token: x\n", "with include-256-bytes .* audit the built .vocab"),
        ("exclude-other-bytes: true\ntokens:\n- token: x\n", "with exclude-other-bytes .* audit the built .vocab"),
        ("unk: true\ntokens:\n- token: x\n", "with unk .* audit the built .vocab"),
        ("capcode: 0\ncapcode: 1\n", "twice"),
        ("mystery: 1\n", "unknown setting"),
        ("tokens:\n- token: " + "x" * 5000 + "\n", "5007|more than 4096"),
    ],
)
def test_yaml_outside_the_dialect_is_refused(text, message):
    with pytest.raises(ByteAuditError, match=message):
        parse_yaml_vocabulary(text.encode()).table()


def test_yaml_that_is_not_utf8_is_refused():
    with pytest.raises(ByteAuditError, match="not UTF-8"):
        parse_yaml_vocabulary(b"tokens:\n- token: \xff\n")


def test_yaml_overlong_tokens_write_nothing():
    assert yaml_table(f'- token: "{"x" * 41}"\n  id: 0\n- token: "y"\n  id: 1\n') == (b"", b"y")
