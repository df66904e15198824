import json
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audits.bytes import caseops, strict
from audits.bytes.accounting import ByteTable
from audits.bytes.model import ByteAuditError
from audits.bytes.raw_bytes import RawByteModel
from tests.audits.bytes.byte_builders import (
    CAPCODE_TEXTS,
    caseops_pieces,
    documents,
    metadata,
    model_bytes,
    npy,
    plain_pieces,
    raw_npz,
    shard,
    vocab_bytes,
)
from verifier.cli.main import main

TEXTS = ["Hello, world", "", "naïve 漢字 😀", "ends in a newline\n", "the end"]
OFFSET = 4


def spelled(texts):
    """The byte tokenizer's stream."""
    return [token for text in texts for token in [1, *(value + OFFSET for value in text.encode())]]


def run(capsys, *args):
    code = main(["bytes", *(str(arg) for arg in args)])
    return code, capsys.readouterr()


@pytest.fixture
def byte_set(tmp_path):
    """(folder, options of an audit that is exact)."""
    stream = spelled(TEXTS)
    shard(tmp_path / "x_val_000000.bin", stream[:20])
    shard(tmp_path / "x_val_000001.bin", stream[20:])
    shard(tmp_path / "x_val_bytes_000000.bin", [int(token >= OFFSET) for token in stream])
    metadata(tmp_path / "m.npz", [0] * 4 + [1] * 256)
    documents(tmp_path / "docs.jsonl", TEXTS)
    options = {
        "--tokenizer": "byte260",
        "--tokens": tmp_path / "x_val_*.bin",
        "--meta": tmp_path / "m.npz",
        "--docs": tmp_path / "docs.jsonl",
    }
    return tmp_path, options


def flat(options):
    return [part for item in options.items() for part in item]


def audit_json(capsys, options, *more):
    code, captured = run(capsys, *flat(options), "--strict", "--format", "json", *more)
    return code, json.loads(captured.out) if captured.out else captured.err


def test_an_exact_set_is_exact(capsys, byte_set):
    folder, options = byte_set
    code, report = audit_json(capsys, options, "--sidecar", str(folder / "x_val_*.bin"))
    total = len("".join(TEXTS).encode())
    assert code == 0
    assert report["exact"] is True
    assert report["docs"] == len(TEXTS)
    assert report["source_bytes"] == report["metadata_bytes"] == report["decoded_bytes"] == report["sidecar_bytes"] == total
    assert report["bad_docs"] == 0
    assert report["overcount_fraction"] == 0.0
    assert report["correction"] == {"factor": 1.0}
    assert set(report["classes"]) == {"plain", "capcode", "byte_fallback", "control"}


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 100])
def test_chunks_change_nothing(capsys, byte_set, monkeypatch, chunk):
    _, options = byte_set
    whole = audit_json(capsys, options)
    monkeypatch.setattr(strict, "CHUNK", chunk)
    assert audit_json(capsys, options) == whole
    without = dict(options)
    without["--tokenizer"] = "byte260"
    assert audit_json(capsys, without, "--differences", "0")[0] == 0


@pytest.mark.parametrize(
    ("change", "bad", "first"),
    [
        (lambda texts: [*texts[:2], "naïve 漢字 😁", *texts[3:]], 1, (2, 17)),
        (lambda texts: texts[:-1], 1, None),
        (lambda texts: [*texts, "one more"], 0, None),
        (lambda texts: texts[::-1], 4, (0, 0)),
        (lambda texts: ["".join(texts)], 5, (0, 12)),
    ],
)
def test_another_source_is_never_exact(capsys, byte_set, change, bad, first):
    folder, options = byte_set
    documents(folder / "docs.jsonl", change(TEXTS))
    code, report = audit_json(capsys, options)
    assert (code, report["exact"], report["bad_docs"]) == (1, False, bad)
    shown = report["truths"]["source_text"]["first_differences"]
    if first:
        assert (shown[0]["document"], shown[0]["offset"]) == first
        assert shown[0]["source_hex"] != shown[0]["decoded_hex"]


def test_equal_totals_do_not_hide_moved_bytes(capsys, byte_set):
    """Same number of bytes and documents; two characters have changed places between documents."""
    folder, options = byte_set
    documents(folder / "docs.jsonl", ["Jello, world", "", "naïve 漢字 😀", "ends in a newline\n", "the end"])
    code, report = audit_json(capsys, options)
    assert report["source_bytes"] == report["decoded_bytes"] == report["metadata_bytes"]
    assert (code, report["exact"], report["bad_docs"]) == (1, False, 1)


@pytest.mark.parametrize("where", [0, 4, 100])
def test_a_wrong_table_is_never_exact(capsys, byte_set, where):
    folder, options = byte_set
    base = [0] * 4 + [1] * 256
    base[OFFSET + ord("e")] = 3
    metadata(folder / "m.npz", base)
    code, report = audit_json(capsys, options)
    assert (code, report["exact"]) == (1, False)
    uses = "".join(TEXTS).count("e")
    assert report["metadata_bytes"] == report["source_bytes"] + 2 * uses
    assert report["worst_tokens"][0] == {
        "id": OFFSET + ord("e"), "piece": "<0x65>", "count": uses, "counted": 3, "true": 1, "drift_bytes": 2 * uses,
    }  # fmt: skip
    assert report["correction"]["factor"] == pytest.approx(report["metadata_bytes"] / report["source_bytes"])


def test_a_sidecar_that_only_sums_up_is_not_exact(capsys, byte_set):
    folder, options = byte_set
    entries = [int(token >= OFFSET) for token in spelled(TEXTS)]
    entries[0], entries[1] = 1, 0
    shard(folder / "x_val_bytes_000000.bin", entries)
    code, report = audit_json(capsys, options, "--sidecar", str(folder / "x_val_bytes_*.bin"))
    assert (code, report["exact"], report["sidecar_mismatches"]) == (1, False, 2)
    assert report["sidecar_bytes"] == report["source_bytes"]


def test_without_a_source_nothing_is_called_exact(capsys, byte_set):
    _, options = byte_set
    del options["--docs"]
    code, report = audit_json(capsys, options)
    assert (code, report["exact"], report["source_bytes"]) == (1, False, None)
    assert "no source" in report["statement"]
    assert "counted bytes equal the decoded bytes" in report["statement"]


def test_without_a_count_nothing_is_called_exact(capsys, byte_set):
    _, options = byte_set
    del options["--meta"]
    code, report = audit_json(capsys, options)
    assert (code, report["exact"], report["metadata_bytes"]) == (1, False, None)
    assert "no byte count" in report["statement"]


def test_tokens_before_the_first_boundary_are_a_problem(capsys, byte_set):
    folder, options = byte_set
    shard(folder / "x_val_000000.bin", spelled(TEXTS)[1:20])
    code, report = audit_json(capsys, options)
    assert (code, report["exact"]) == (1, False)
    assert "not the boundary token" in report["problems"][0]


BAD = {
    "truncated shard": (
        lambda f: (f / "x_val_000001.bin").write_bytes((f / "x_val_000001.bin").read_bytes()[:-2]),
        "truncated",
    ),
    "wrong magic": (lambda f: shard(f / "x_val_000001.bin", [1], magic=7), "magic"),
    "count mismatch": (lambda f: shard(f / "x_val_000001.bin", [1], count=0), "longer"),
    "id beyond the vocabulary": (
        lambda f: shard(f / "x_val_000001.bin", [260, *spelled(TEXTS)[21:]]),
        "not in the vocabulary",
    ),
    "sidecar of another length": (lambda f: shard(f / "x_val_bytes_000000.bin", [0]), "not of one set"),
    "pickle": (lambda f: raw_npz(f / "m.npz", {"base_bytes": npy(np.array([{}], dtype=object))}), "pickles"),
    "short table": (lambda f: metadata(f / "m.npz", [1] * 9), "byte table of 9"),
    "broken JSON": (lambda f: (f / "docs.jsonl").write_text("{"), "docs.jsonl:1: not JSON"),
    "no text": (lambda f: (f / "docs.jsonl").write_text("[]"), "no text"),
    "lone surrogate": (lambda f: (f / "docs.jsonl").write_text('{"text": "\\ud800"}'), "lone surrogate"),
    "zip of another method": (
        lambda f: raw_npz(f / "m.npz", {"base_bytes": npy(np.zeros(260, dtype=np.int16))}, zipfile.ZIP_LZMA),
        "compressed by method 14",
    ),
    "no docs": (lambda f: (f / "docs.jsonl").unlink(), "docs.jsonl"),
}


@pytest.mark.parametrize("name", list(BAD))
def test_bad_input_says_what_was_not_audited(capsys, byte_set, name):
    folder, options = byte_set
    damage, message = BAD[name]
    damage(folder)
    code, captured = run(capsys, *flat(options), "--sidecar", folder / "x_val_bytes_*.bin", "--strict")
    assert code == 2
    assert captured.out == ""
    assert "nothing was audited" in captured.err
    assert message in captured.err


BAD_VOCABULARIES = {
    "overlong entry": ("v.vocab", vocab_bytes([(b"x" * 41, 0)]), "41 bytes"),
    "cut off": ("v.vocab", vocab_bytes([(b"x", 0)])[:-3], "ends inside"),
    "a bomb of aliases": ("v.yaml", b"a: &a [x, x]\nb: &b [*a, *a]\ntokens:\n- token: *b\n", "line 1"),
    "tokens without ids of their own": ("v.yaml", b"include-256-bytes: true\ntokens:\n- token: x\n", "audit the built .vocab"),
    "UTF-16": ("v.vocab", vocab_bytes([(b"x\0", 0)], capcode=0, charset=2), "UTF-16"),
    "no model": ("v.model", b"\x0a\xff\xff", "protobuf"),
    "another file": ("v.json", b"{}", "expected .model"),
}


@pytest.mark.parametrize("name", list(BAD_VOCABULARIES))
def test_a_bad_vocabulary_says_why_nothing_was_audited(capsys, byte_set, name):
    folder, options = byte_set
    file, data, message = BAD_VOCABULARIES[name]
    (folder / file).write_bytes(data)
    code, captured = run(capsys, *flat(options | {"--tokenizer": folder / file}), "--strict")
    assert (code, captured.out) == (2, "")
    assert "nothing was audited" in captured.err
    assert message in captured.err


def test_ids_beyond_a_vocabulary_that_ignores_them_are_never_exact(capsys, tmp_path):
    """TokenMonster writes nothing for an id that it does not have: all sums agree, and yet the stream is wrong."""
    (tmp_path / "v.vocab").write_bytes(vocab_bytes([(b"a", 0), (b"b", 1)], capcode=0))
    shard(tmp_path / "a_val_0.bin", [2, 0, 1, 700, 2, 0])
    metadata(tmp_path / "m.npz", [1, 1, *[0] * 700])
    documents(tmp_path / "d.jsonl", ["ab", "a"])
    options = {"--tokenizer": tmp_path / "v.vocab", "--tokens": tmp_path / "a_val_*", "--meta": tmp_path / "m.npz"}
    options |= {"--docs": tmp_path / "d.jsonl", "--bos": 2}
    code, report = audit_json(capsys, options)
    assert (code, report["exact"], report["bad_docs"]) == (1, False, 0)
    assert report["source_bytes"] == report["metadata_bytes"] == report["decoded_bytes"]
    assert "1 tokens have ids outside the vocabulary of 2 (first: 700)" in report["problems"]


def test_empty_shards_hold_nothing_to_audit(capsys, byte_set):
    folder, options = byte_set
    for path in folder.glob("x_val_0*.bin"):
        shard(path, [])
    documents(folder / "docs.jsonl", [])
    code, report = audit_json(capsys, options)
    assert (code, report["exact"]) == (3, False)


def test_capcode_bundle(capsys, tmp_path):
    """A context-free table over a stateful tokenizer: the classes name where the drift comes from."""
    (tmp_path / "v.vocab").write_bytes(vocab_bytes([(text, token) for token, text in enumerate(CAPCODE_TEXTS)]))
    bos = len(CAPCODE_TEXTS)
    rows = [[0, 6, 8, 17, 18], [1, 5, 10], [0, 5, 0, 6]]
    shard(tmp_path / "a_val_0.bin", [token for row in rows for token in [bos, *row]])
    base = [len(text.removeprefix(b"D ")) if text not in (b"D", b"C", b"W") else 0 for text in CAPCODE_TEXTS]
    base[17] = base[18] = 3
    metadata(tmp_path / "m.npz", [*base, 0])
    documents(tmp_path / "d.jsonl", ["fooingé", " the.".title(), "thefoo"])
    options = {
        "--tokenizer": tmp_path / "v.vocab", "--tokens": tmp_path / "a_val_*", "--meta": tmp_path / "m.npz",
        "--docs": tmp_path / "d.jsonl",
    }  # fmt: skip
    code, report = audit_json(capsys, options)
    assert code == 1
    assert report["tokenizer"]["boundary_id"] == bos
    assert report["bad_docs"] == 0
    assert report["decoded_bytes"] == report["source_bytes"]
    assert report["classes"]["byte_fallback"] == {
        "tokens": 2,
        "true_bytes": 2,
        "counted_bytes": 6,
        "drift_share": pytest.approx(4 / 7),
    }
    assert report["metadata_bytes"] - report["decoded_bytes"] == 7


def test_caseops_with_its_sidecar_is_exact_and_its_own_table_is_not(capsys, tmp_path):
    pieces = caseops_pieces()
    (tmp_path / "c.model").write_bytes(model_bytes(pieces, extra=0))
    index = {text: token for token, (text, _) in enumerate(pieces)}
    texts = ["The NASA x\ue001", "iPhone é", "I"]
    ids, entries = [], []
    for text in texts:
        ids.append(1)
        entries.append(0)
        escaped = False
        for char in caseops.encode(text):
            if char in caseops.CONTROLS:
                ids.append(index[char])
                entries.append(3 if escaped else 0)
                escaped = char == caseops.ESCAPE and not escaped
            else:
                ids += [OFFSET + value for value in char.encode()]
                entries += [1] * len(char.encode())
    shard(tmp_path / "c_val_0.bin", ids)
    shard(tmp_path / "c_val_bytes_0.bin", entries)
    documents(tmp_path / "d.jsonl", texts)
    options = {"--tokenizer": tmp_path / "c.model", "--tokens": tmp_path / "c_val_*", "--docs": tmp_path / "d.jsonl"}
    code, report = audit_json(capsys, options, "--sidecar", str(tmp_path / "c_val_*"))
    assert (code, report["exact"], report["bad_docs"]) == (0, True, 0)
    assert report["tokenizer"]["kind"] == "caseops"
    code, report = audit_json(capsys, options)
    assert (code, report["exact"]) == (1, False)
    assert report["metadata_bytes"] > report["decoded_bytes"] == report["source_bytes"]


@pytest.mark.parametrize(
    ("listed", "mismatches"),
    [([2, 1, 1, 1, 1, 1], 0), ([2, 0, 2, 0, 2, 1], 0), ([2, 0, 2, 1, 1, 1], 0), ([2, 0, 2, 0, 3, 1], 1), ([1, 1, 2, 0, 2, 1], 2)],
)
def test_a_sidecar_may_list_a_character_at_its_last_byte(capsys, tmp_path, listed, mismatches):
    (tmp_path / "p.model").write_bytes(model_bytes(plain_pieces(), extra=0))
    index = {text: token for token, (text, _) in enumerate(plain_pieces())}
    raw = "öü".encode()
    shard(tmp_path / "p_val_0.bin", [1, index["ab"], *(OFFSET + value for value in raw), index["a"]])
    shard(tmp_path / "p_val_bytes_0.bin", [0, *listed])
    documents(tmp_path / "d.jsonl", ["aböüa"])
    options = {"--tokenizer": tmp_path / "p.model", "--tokens": tmp_path / "p_val_*", "--docs": tmp_path / "d.jsonl"}
    code, report = audit_json(capsys, options, "--sidecar", str(tmp_path / "p_val_*"))
    assert (code, report["exact"], report["sidecar_mismatches"]) == (int(mismatches > 0), mismatches == 0, mismatches)
    assert report["sidecar_bytes"] == sum(listed)
    assert mismatches or not report["worst_tokens"]


def test_the_canonical_stream_is_a_source_of_its_own(capsys, byte_set):
    folder, options = byte_set
    (folder / "s.model").write_bytes(model_bytes(plain_pieces(), extra=0))
    shard(folder / "s_val_0.bin", [token for text in TEXTS for token in [1, *(OFFSET + v for v in text.upper().encode())]])
    more = ["--source-tokens", str(folder / "s_val_*"), "--source-tokenizer", str(folder / "s.model")]
    code, report = audit_json(capsys, options, *more)
    assert (code, report["exact"], report["judged_by"]) == (0, True, "source_text")
    assert report["truths"]["canonical_stream"]["exact"] is False
    code, report = audit_json(capsys, options, *more, "--truth", "canonical_stream")
    assert (code, report["exact"], report["bad_docs"]) == (1, False, 4)


def test_a_set_without_boundaries_is_compared_as_one_text(tmp_path, monkeypatch):
    from audits.bytes.tokenmonster_vocab import TokenMonsterModel, parse_vocabulary

    monkeypatch.setattr(strict, "CHUNK", 5)
    model = TokenMonsterModel(parse_vocabulary(vocab_bytes([(text, token) for token, text in enumerate(CAPCODE_TEXTS)])))
    rng = np.random.default_rng(1)
    for _ in range(60):
        ids = rng.integers(0, len(CAPCODE_TEXTS), size=40)
        text = model.decode(ids, np.zeros(1, dtype=np.intp)).data.tobytes()
        try:
            whole = text.decode()
        except UnicodeDecodeError:
            continue
        tokens = strict.TokenSet.open(model, [shard(tmp_path / "n_val.bin", ids)], None)
        halves = documents(tmp_path / "n.jsonl", [whole[:7], whole[7:]])
        result = strict.audit(tokens, docs=halves)
        assert result.docs is None
        assert result.decoded_bytes == len(text)
        assert result.truth is not None
        assert result.truth.exact
        longer = strict.audit(tokens, docs=documents(tmp_path / "n.jsonl", [whole + "x"]))
        assert longer.truth is not None
        assert not longer.truth.exact
        other = strict.audit(tokens, docs=documents(tmp_path / "n.jsonl", [whole[:-1] + "\x00"]))
        assert other.truth is not None
        assert not other.truth.exact


@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_exact_means_equal_text(tmp_path, data):
    """For any pair of texts: exact if and only if they are the same."""
    alphabet = st.text(st.sampled_from("ab \n"), max_size=4)
    texts = data.draw(st.lists(alphabet, max_size=4))
    source = data.draw(st.one_of(st.just(texts), st.lists(alphabet, max_size=4)))
    tokens = strict.TokenSet.open(RawByteModel(), [shard(tmp_path / "h.bin", spelled(texts))], None)
    table = ByteTable(np.array([0] * 4 + [1] * 256), np.zeros(260, dtype=bool), np.zeros(260, dtype=bool), "t")
    result = strict.audit(tokens, table=table, docs=documents(tmp_path / "h.jsonl", source))
    assert result.exact == (texts == source and bool(texts))


def test_reports_escape_what_they_show(capsys, byte_set):
    folder, options = byte_set
    documents(folder / "docs.jsonl", ["\x1b[31mHello", *TEXTS[1:]])
    code, captured = run(capsys, *flat(options), "--strict", "--output", f"json={folder / 'r.json'}")
    assert code == 1
    assert "\x1b" not in captured.out
    assert "\\x1b[31mHello" in captured.out
    assert json.loads((folder / "r.json").read_text())["exact"] is False


def test_quiet_prints_nothing(capsys, byte_set):
    _, options = byte_set
    code, captured = run(capsys, *flat(options), "--quiet")
    assert (code, captured.out, captured.err) == (0, "", "")


def test_usage_errors(capsys, byte_set):
    folder, options = byte_set
    for more, message in (
        (["--constant", "2"], "give one"),
        (["--source-tokens", "x"], "go together"),
        (["--truth", "canonical_stream"], "was not given"),
    ):
        code, captured = run(capsys, *flat(options), *more)
        assert (code, captured.out) == (2, "")
        assert message in captured.err
    options["--tokenizer"] = folder / "m.npz"
    assert run(capsys, *flat(options))[0] == 2


def test_a_document_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(strict, "CHUNK", 8)
    monkeypatch.setattr(strict, "MAX_OPEN", 20)
    tokens = strict.TokenSet.open(RawByteModel(), [shard(tmp_path / "l.bin", spelled(["x" * 100]))], None)
    with pytest.raises(ByteAuditError, match="more than 20 tokens"):
        strict.audit(tokens)
