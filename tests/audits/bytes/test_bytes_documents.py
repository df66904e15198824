import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audits.bytes import compare, documents, strict
from audits.bytes.documents import JsonlDocuments
from audits.bytes.model import ByteAuditError
from audits.bytes.pieces import PieceTable
from audits.bytes.raw_bytes import RawByteModel
from audits.bytes.spelling import Spelling
from audits.bytes.tokenmonster_vocab import TokenMonsterModel, parse_vocabulary
from tests.audits.bytes.byte_builders import shard, vocab_bytes

TEXT = st.text(
    st.one_of(st.sampled_from('ab"\\/\n\t\x00\x1f\x7fé漢😀\u2028'), st.characters(exclude_categories=["Cs"])), max_size=12
)
FORMS = {
    "utf-8": lambda text: json.dumps({"text": text}, ensure_ascii=False),
    "ascii": lambda text: json.dumps({"text": text}),
    "compact": lambda text: json.dumps({"text": text}, separators=(",", ":")),
    "more fields": lambda text: json.dumps({"id": 1, "text": text}),
    "other escapes": lambda text: '{"text": "' + "".join(f"\\u{unit:04X}" for unit in units(text)) + '"}',
}
FIXTURE = [HealthCheck.function_scoped_fixture]


def units(text):
    return np.frombuffer(text.encode("utf-16-le"), dtype="<u2").tolist()


def write(path, texts, form, end="\n"):
    path.write_bytes("\n".join(FORMS[form](text) for text in texts).encode() + end.encode() * bool(texts))
    return path


def read(path, limit=None):
    with JsonlDocuments(path, limit) as source:
        return list(source)


@given(st.lists(TEXT, max_size=5), st.sampled_from(list(FORMS)), st.sampled_from(["\n", "", "\r\n", "\n\n \n"]), st.data())
@settings(max_examples=150, suppress_health_check=FIXTURE)
def test_lines_are_read_whatever_the_block(tmp_path, texts, form, end, data):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, "BLOCK", data.draw(st.integers(1, 50)))
        path = write(tmp_path / "d.jsonl", texts, form, end)
        assert read(path) == [text.encode() for text in texts]
        limit = data.draw(st.integers(0, 6))
        assert read(path, limit) == [text.encode() for text in texts][:limit]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (b'{"text": "a', "not JSON"),
        (b'{"text": "\x01"}', "not JSON"),
        (b'{"text": "\xff"}', "not JSON"),
        (b'{"text": "\\x"}', "not JSON"),
        (b'{"text": 1}', "no text field"),
        (b"[" * 5000, "not JSON"),
        (b'{"text": "\\udc00"}', "lone surrogate"),
    ],
)
def test_a_bad_line_is_named(tmp_path, bad, message):
    path = tmp_path / "d.jsonl"
    path.write_bytes(b'{"text": "a"}\n\n{"text": "b"}\n' + bad + b"\n")
    with JsonlDocuments(path) as source:
        source.spelling()
        assert source.skip(b'{"text": "a"}\n', 1)
        assert next(source) == b"b"
        with pytest.raises(ByteAuditError, match=rf"d.jsonl:4: .*{message}"):
            next(source)


def test_a_line_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(documents, "MAX_LINE", 1000)
    monkeypatch.setattr(documents, "BLOCK", 64)
    path = write(tmp_path / "d.jsonl", ["a", "b" * 2000], "utf-8")
    with pytest.raises(ByteAuditError, match=r"d.jsonl:2: a line of more than 1000 bytes"):
        read(path)


def test_only_equal_lines_are_passed(tmp_path):
    path = write(tmp_path / "d.jsonl", ["a", "é", "c"], "utf-8")
    lines = [FORMS["utf-8"](text).encode() + b"\n" for text in ("a", "é", "c")]
    with JsonlDocuments(path, 2) as source:
        assert not source.skip(lines[1], 1)
        assert not source.skip(b"".join(lines), 3)
    with JsonlDocuments(path, 2) as source:
        assert source.skip(lines[0] + lines[1], 2)
        assert list(source) == []
    broken = b'{"text": "\xff"}\n'
    path.write_bytes(broken)
    with JsonlDocuments(path) as source:
        assert not source.skip(broken, 1)


@given(
    st.lists(
        st.sampled_from([b"a", b"\x7f", b"\xc3", b"\xa9", b"\xe2\x80", b"\x99", b"\xed\xa0\x80", b"\xf0\x9f\x98\x80"]),
        max_size=12,
    )
)
def test_lines_are_passed_only_as_utf8(parts):
    text = b"".join(parts)
    try:
        text.decode()
    except UnicodeDecodeError:
        assert not documents._is_utf8(text)
    else:
        assert documents._is_utf8(text)


@given(TEXT, st.data())
def test_parts_of_a_text_are_spelled_as_the_whole(text, data):
    raw = text.encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=6)))
    parts = [raw[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    for form, ascii_only in (("utf-8", False), ("ascii", True)):
        spelling = Spelling(b'{"text": "', ascii_only)
        spelled = [spelling.escape(part) for part in parts]
        if None not in spelled:
            assert b'{"text": "' + b"".join(part for part in spelled if part) + b'"}' == FORMS[form](text).encode()
        assert ascii_only or None not in spelled


def test_lines_need_a_border_of_their_own():
    table = PieceTable([b"", b"a", b"\n", b"\xc3"])
    utf8, ascii_only = Spelling(b'{"text": "', False), Spelling(b'{"text": "', True)

    def lines(ids, starts, spelling=utf8):
        return table.row(np.array(ids), np.array(starts, dtype=np.intp)).as_json(spelling)

    assert lines([0, 1, 2, 0, 0, 1], [0, 3, 4]) == b'{"text": "a\\n"}\n{"text": ""}\n{"text": "a"}\n'
    assert lines([0, 1, 0], [0]) is None  # a border inside a document
    assert lines([1, 0, 1], [0, 1]) is None  # a document that begins with text
    assert lines([0, 1], []) is None
    assert lines([0, 3], [0]) == b'{"text": "\xc3"}\n'
    assert lines([0, 3], [0], ascii_only) is None


def audited(tokens, path, first):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compare, "FIRST_TRY", first)
        patch.setattr(strict, "CHUNK", 8)
        try:
            return strict.audit(tokens, docs=path)
        except ByteAuditError as error:
            return str(error)


@given(st.data())
@settings(max_examples=150, suppress_health_check=FIXTURE)
def test_comparing_lines_changes_no_result(tmp_path, data):
    texts = data.draw(st.lists(TEXT, max_size=5))
    source = data.draw(st.one_of(st.just(texts), st.lists(TEXT, max_size=5)))
    stream = [token for text in texts for token in [1, *(value + 4 for value in text.encode())]]
    tokens = strict.TokenSet.open(RawByteModel(), [shard(tmp_path / "t.bin", stream)], None)
    path = write(tmp_path / "d.jsonl", source, data.draw(st.sampled_from(list(FORMS))), data.draw(st.sampled_from(["\n", ""])))
    result = audited(tokens, path, 0)
    assert result == audited(tokens, path, 1 << 30)
    assert not texts or result.truth.exact == (texts == source)


def test_an_unknown_id_is_no_border(tmp_path):
    """The source has a border where the stream has an id that the vocabulary lacks."""
    model = TokenMonsterModel(parse_vocabulary(vocab_bytes([(b"a", 0), (b"b", 1)], capcode=0)))
    path = write(tmp_path / "d.jsonl", ["a", "b"], "utf-8")
    for stream, exact in (([5, 0, 5, 1], True), ([5, 0, 6, 1], False)):
        tokens = strict.TokenSet.open(model, [shard(tmp_path / "t.bin", stream)], 5)
        result = audited(tokens, path, 0)
        assert result.truth.exact == exact
        assert not result.exact
        assert bool(result.problems) == (not exact)


def test_a_source_that_is_no_utf8_is_refused_in_every_way(tmp_path):
    """The tokens spell the very bytes of the file, but these are no JSON."""
    tokens = strict.TokenSet.open(RawByteModel(), [shard(tmp_path / "t.bin", [1, 0xFF + 4])], None)
    (tmp_path / "d.jsonl").write_bytes(b'{"text": "\xff"}\n')
    for first in (0, 1 << 30):
        assert "d.jsonl:1: not JSON" in audited(tokens, tmp_path / "d.jsonl", first)
