import dataclasses
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audits.bytes.accounting import Account, ByteTable
from audits.bytes.metadata import load_metadata
from audits.bytes.model import ByteAuditError
from audits.bytes.sentencepiece_model import SentencePieceModel, parse_model
from audits.bytes.shards import find_shards, open_shard, open_shards, read_blocks
from tests.audits.bytes.byte_builders import metadata, model_bytes, npy, plain_pieces, raw_npz, shard
from verifier.limits import DEFAULT_LIMITS


def plainly(table, ids):
    """The formula as the scripts write it."""
    before = np.concatenate([[True], table.boundary[ids[:-1]]]) if len(ids) else np.zeros(0, dtype=bool)
    return table.base[ids] + (table.leading[ids] & ~before)


@given(st.lists(st.integers(0, 5), max_size=60), st.lists(st.integers(1, 7), max_size=8), st.integers(0, 2**18 - 1))
@settings(max_examples=200)
def test_the_running_count_equals_the_formula(ids, cuts, bits):
    flags = [(bits >> at & 1) for at in range(18)]
    table = ByteTable(
        np.array(flags[:6], dtype=np.int64) * 3,
        np.array(flags[6:12], dtype=bool),
        np.array(flags[12:], dtype=bool),
        "test",
    )
    row = np.array(ids, dtype=np.uint16)
    account, told = Account(table), Account(table)
    for part in np.split(row, np.cumsum(cuts)):
        account.feed(part)
        told.feed(part, np.bincount(part, minlength=6))
    expected = plainly(table, row)
    assert account.total == told.total == int(expected.sum())
    per_id = np.bincount(row, weights=expected, minlength=6).astype(int) if ids else np.zeros(6, dtype=int)
    assert account.per_id().tolist() == per_id.tolist()


def test_the_formula_over_a_model():
    model = SentencePieceModel(parse_model(model_bytes(plain_pieces())))
    table = ByteTable.from_sentencepiece(model)
    of = {model.label(token): token for token in range(model.size)}
    names = ["<s>", "<unk>", "unused", "<0xE2>", "\u2581the", "\u2581\u2581", "é"]
    assert table.base[[of[name] for name in names]].tolist() == [
        0, 0, 0, 1, 3, 3, 2,
    ]  # fmt: skip
    account = Account(table)
    account.feed(np.array([1, of["\u2581the"], of["\u2581the"]]))
    assert account.total == 3 + 4


def test_ids_beyond_the_table_are_refused():
    for uses in (None, np.array([1, 0, 0, 0, 1])):
        account = Account(ByteTable.constant(4, 2))
        with pytest.raises(ByteAuditError, match="id 4"):
            account.feed(np.array([0, 4]), uses)


def test_metadata_reads_the_published_form(tmp_path):
    path = metadata(
        tmp_path / "m.npz",
        [0, 1, 3],
        has_leading_space=np.array([False, True, False]),
        is_boundary_token=np.array([True, False, False]),
        tokenizer_kind="tokenmonster",
        format_version=np.int64(1),
        extra=np.zeros(2),
    )
    read = load_metadata(path)
    assert read.table.base.tolist() == [0, 1, 3]
    assert read.table.leading.tolist() == [False, True, False]
    assert read.table.boundary.tolist() == [True, False, False]
    assert (read.vocab_size, read.tokenizer_kind, read.unread) == (3, "tokenmonster", ("extra",))


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was loaded",))


BASE = np.arange(4, dtype=np.int16)
GOOD = npy(BASE)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"base_bytes": npy(np.array([Trap()], dtype=object))}, "never pickles"),
        ({"base_bytes": b"\x80\x04K\x01."}, "pickles are never loaded"),
        ({"base_bytes": GOOD[:-1]}, "bytes of data"),
        ({"base_bytes": GOOD + b"\0"}, "bytes of data"),
        ({"base_bytes": GOOD.replace(b"(4,)", b"(9,)")}, "bytes of data"),
        ({"base_bytes": GOOD.replace(b"(4,), }", b"(9**9,)")}, "header"),
        ({"base_bytes": GOOD.replace(b"<i2", b"|O8")}, "never pickles"),
        ({"base_bytes": npy(BASE - 2)}, "negative"),
        ({"base_bytes": npy(BASE.astype(float))}, "not a table"),
        ({"base_bytes": npy(BASE.reshape(2, 2))}, "not a table"),
        ({"has_leading_space": GOOD}, "no base_bytes"),
        ({"base_bytes": GOOD, "has_leading_space": npy(np.zeros(3, dtype=bool))}, "3 entries"),
        ({"base_bytes": GOOD, "is_boundary_token": GOOD}, "neither true nor false"),
        ({"base_bytes": GOOD, "vocab_size": npy(np.int64(5))}, "vocab_size is 5"),
        ({"base_bytes": GOOD, "format_version": npy(np.int64(2))}, "format version 2"),
    ],
)
def test_malformed_metadata_is_refused(tmp_path, members, message):
    with pytest.raises(ByteAuditError, match=message):
        load_metadata(raw_npz(tmp_path / "m.npz", members))


def test_what_a_bundle_unpacks_to_is_bounded(tmp_path):
    path = raw_npz(tmp_path / "m.npz", {"base_bytes": GOOD, "more": bytes(3000)}, zipfile.ZIP_DEFLATED)
    limits = dataclasses.replace(DEFAULT_LIMITS, vocabulary_file=3000)
    assert path.stat().st_size < 3000
    with pytest.raises(ByteAuditError, match="unpack to more than 3000"):
        load_metadata(path, limits)
    raw_npz(path, {f"m{number}": GOOD for number in range(400)})
    with pytest.raises(ByteAuditError, match="more than 64"):
        load_metadata(path)


def test_a_file_that_is_no_archive_is_refused(tmp_path):
    path = tmp_path / "m.npz"
    path.write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(ByteAuditError, match="not a readable npz"):
        load_metadata(path)


def test_shards_are_read_in_blocks_over_files(tmp_path):
    values = list(range(1000))
    paths = [shard(tmp_path / f"val_{n}.bin", part) for n, part in enumerate((values[:10], [], values[10:777], values[777:]))]
    for size in (1, 7, 256, 5000):
        blocks = list(read_blocks(open_shards(paths), size)) if size > 1 else list(read_blocks(open_shards(paths[:1]), 1))
        assert np.concatenate(blocks).tolist() == (values if size > 1 else values[:10])
        assert all(len(block) == size for block in blocks[:-1])


@pytest.mark.parametrize(
    ("options", "tail", "message"),
    [
        ({"magic": 1}, b"", "magic"),
        ({"version": 2}, b"", "version 2"),
        ({"count": 4}, b"", "truncated"),
        ({"count": 2}, b"", "longer"),
        ({"count": -1}, b"", "claims -1"),
        ({}, b"x", "longer"),
    ],
)
def test_bad_shards_are_refused_by_name(tmp_path, options, tail, message):
    path = shard(tmp_path / "val_000.bin", [1, 2, 3], **options)
    path.write_bytes(path.read_bytes() + tail)
    with pytest.raises(ByteAuditError, match=f"val_000.bin: .*{message}"):
        open_shard(path)


def test_a_file_shorter_than_the_header_is_refused(tmp_path):
    path = tmp_path / "val.bin"
    path.write_bytes(b"abc")
    with pytest.raises(ByteAuditError, match="shorter than the header"):
        open_shard(path)


def test_tokens_and_sidecars_of_one_folder_are_kept_apart(tmp_path):
    tokens = shard(tmp_path / "fineweb_val_000000.bin", [1])
    bytes_ = shard(tmp_path / "fineweb_val_bytes_000000.bin", [0])
    pattern = str(tmp_path / "fineweb_val_*.bin")
    assert find_shards(pattern, sidecars=False) == [tokens]
    assert find_shards(pattern, sidecars=True) == [bytes_]
    with pytest.raises(ByteAuditError, match="no token shard"):
        find_shards(str(tmp_path / "*_bytes_*"), sidecars=False)
