"""Shards, loaders, CaseOps and byte counting (no torch needed)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference_train.caseops import (
    ALLCAPS,
    CAPNEXT,
    CASE_CONTROLS,
    ESCAPE,
    TITLE,
    caseops_char_bytes,
    caseops_decode,
    caseops_encode,
    caseops_piece_bytes,
)
from reference_train.config import Config
from reference_train.data import SHIPPED_TEXT, export_text, load_data
from reference_train.errors import TrainerError
from reference_train.loaders import Loader, ShuffledLoader, make_loader, path_fold_seed
from reference_train.shards import find_shards, read_all, read_shard, truncate_validation, write_shard
from reference_train.tokbytes import byte_table_for_bytes, byte_table_from_metadata, byte_table_from_sentencepiece

T, A, C, E = TITLE, ALLCAPS, CAPNEXT, ESCAPE


def test_shard_round_trip_and_header_errors(tmp_path: Path) -> None:
    path = tmp_path / "fineweb_val_000000.bin"
    write_shard(path, [1, 2, 65535])
    assert read_shard(path).tolist() == [1, 2, 65535]
    assert path.stat().st_size == 1024 + 6
    good = path.read_bytes()
    for damaged, message in (
        (good[:100], "shorter than"),
        (b"\0\0\0\0" + good[4:], "magic"),
        (good[:4] + b"\2\0\0\0" + good[8:], "version 2"),
        (good[:-2], "3 tokens need"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(TrainerError, match=message):
            read_shard(path)
    with pytest.raises(TrainerError, match="uint16"):
        write_shard(path, [70000])


def test_sidecars_are_not_token_shards(tmp_path: Path) -> None:
    for name in ("fineweb_val_000001", "fineweb_val_000000", "fineweb_val_bytes_000000"):
        write_shard(tmp_path / f"{name}.bin", [1])
    assert [path.name for path in find_shards(tmp_path, "val")] == ["fineweb_val_000000.bin", "fineweb_val_000001.bin"]
    with pytest.raises(TrainerError, match="DATA_PATH"):
        find_shards(tmp_path, "train")


def test_validation_keeps_whole_windows() -> None:
    assert len(truncate_validation(np.arange(100, dtype=np.uint16), 16)) == 97
    with pytest.raises(TrainerError, match="EVAL_SEQ_LEN"):
        truncate_validation(np.arange(16, dtype=np.uint16), 16)


@pytest.fixture
def shards(tmp_path: Path) -> list[Path]:
    paths = []
    for index, count in enumerate((5000, 3333)):
        paths.append(tmp_path / f"fineweb_train_{index:06d}.bin")
        write_shard(paths[-1], (7 * np.arange(count) + 3) % 997)
    return paths


def test_shuffled_loader_matches_golden(shards: list[Path]) -> None:
    first_columns = {0: [558, 762, 351, 573, 854, 360, 843, 878], 1: [509, 59, 597, 37, 26, 140, 801, 96]}
    last_starts = {0: [2045, 1261, 1933, 477, 2957, 4637], 1: [1159, 2567, 2711, 2791, 2999, 1639]}
    for rank in (0, 1):
        loader = ShuffledLoader(shards, rank, 2, None, 16)
        assert loader._pending[0][-6:] == last_starts[rank]
        x, y = loader.next_batch(256, 16, 1)
        assert x[:, 0].tolist() == first_columns[rank]
        assert (y[:, :-1] == x[:, 1:]).all()
        assert len(loader._pending[0]) == (303, 199)[rank]  # what is left after the batch


def test_sequential_loader_wraps_and_ranks_do_not_overlap(shards: list[Path]) -> None:
    stream = read_all(shards).astype(int).tolist()
    rows = []
    for rank in (0, 1):
        x, y = make_loader("sequential", shards, rank, 2, None, 16).next_batch(64, 16, 1)
        rows.append((x.flatten().tolist(), y.flatten().tolist()))
    assert rows[0] == (stream[:32], stream[1:33])
    assert rows[1] == (stream[33:65], stream[34:66])
    loader = make_loader("sequential", shards, 0, 1, None, 16)
    loader.skip(520, 16, 16, 1)  # 520 spans of 17 tokens: the next one starts 507 after the wrap
    assert loader.next_batch(16, 16, 1)[0].flatten().tolist() == (stream + stream)[8840:8856]


def test_coprime_loader_visits_every_block_once(shards: list[Path]) -> None:
    loader = make_loader("coprime", shards[:1], 0, 1, 5, 16)
    seen = [row[0] for _ in range(10) for row in loader.next_batch(480, 16, 1)[0].tolist()]
    assert len(set(seen)) == 300  # token values identify blocks: 7*16k mod 997 repeats only after 997 blocks


def test_coprime_path_fold_is_fnv_like() -> None:
    assert path_fold_seed(["a"]) == (97 * 1099511628211) % 2**64
    assert path_fold_seed(["data/x"]) != path_fold_seed(["./data/x"])


@pytest.mark.parametrize("kind", ["sequential", "coprime", "shuffled"])
def test_seed_drives_the_order_and_resume_replays_it(kind: str, shards: list[Path]) -> None:
    def take(loader: Loader, calls: int) -> list[list[list[int]]]:
        return [loader.next_batch(128, 16, 2)[0].tolist() for _ in range(calls)]

    reference = take(make_loader(kind, shards, 0, 1, 1, 16), 5)
    assert reference == take(make_loader(kind, shards, 0, 1, 1, 16), 5)
    assert reference != take(make_loader(kind, shards, 0, 1, 2, 16), 5)
    resumed = make_loader(kind, shards, 0, 1, 1, 16)
    resumed.skip(3, 128, 16, 2)
    assert take(resumed, 2) == reference[3:]


def test_batch_too_small_is_an_error(shards: list[Path]) -> None:
    with pytest.raises(TrainerError, match="at least 128"):
        make_loader("sequential", shards, 0, 4, None, 16).next_batch(64, 16, 2)


CASES = {
    "The NASA Launch": f"{T}the {A}nasa {T}launch",
    "iPhone OpenAI": f"i{C}phone {T}open{C}a{C}i",
    "ABc": f"{T}a{C}bc",
    "aB": f"a{C}b",
    "HELLOworld": f"{T}h{C}e{C}l{C}l{C}oworld",
    "USAs": f"{T}u{C}s{C}as",
    f"{T}x": f"{E}{T}x",
    "I": f"{T}i",
    "A1B": f"{T}a1{T}b",
    "Éa": "Éa",
}


@pytest.mark.parametrize("text", CASES)
def test_caseops_examples(text: str) -> None:
    assert caseops_encode(text) == CASES[text]
    assert caseops_decode(CASES[text]) == text


def test_caseops_byte_charges() -> None:
    launch = [0, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1]
    assert caseops_char_bytes(caseops_encode("The NASA Launch")) == launch
    assert caseops_char_bytes(caseops_encode(f"{T}x")) == [0, 3, 1]
    assert caseops_char_bytes(caseops_encode("Éa BC")) == [2, 1, 1, 0, 1, 1]
    assert caseops_piece_bytes([f"{T}th", "e ", f"{A}nasa"]) == [2, 2, 4]


@settings(max_examples=200)
@given(st.text(st.one_of(st.sampled_from("aBcD1 é'" + "".join(CASE_CONTROLS)), st.characters(codec="utf-8"))))
def test_caseops_is_invertible_and_bytes_sum_to_the_original(text: str) -> None:
    shown = caseops_encode(text)
    assert caseops_decode(shown) == text
    assert not any("A" <= char <= "Z" for char in shown)
    assert sum(caseops_char_bytes(shown)) == len(text.encode())


@pytest.mark.parametrize("text", [f"a{T}b", f"{C}{C}a", f"{T}1", f"a{E}", f"a{C}"])
def test_caseops_rejects_what_it_cannot_have_written(text: str) -> None:
    with pytest.raises(TrainerError, match="CaseOps"):
        caseops_decode(text)


@pytest.mark.parametrize("caseops", [False, True])
def test_bytes_of_the_shipped_text_sum_to_its_length(tmp_path: Path, caseops: bool) -> None:
    source = export_text(SHIPPED_TEXT, tmp_path, 1, caseops=caseops)
    tokens = read_all(find_shards(tmp_path, "val"))
    if caseops:
        assert int(read_all(find_shards(tmp_path, "val_bytes")).sum()) == source
        assert byte_table_for_bytes().per_target(tokens).sum() > source  # the markers would be counted
    else:
        assert byte_table_for_bytes().per_target(tokens).sum() == source
    assert byte_table_for_bytes().per_target(np.array([5, 1, 5], dtype=np.uint16)).tolist() == [0, 1]


def test_sentencepiece_bytes_sum_to_the_text(tmp_path: Path) -> None:
    spm = pytest.importorskip("sentencepiece")
    text = "\n".join(f"the café number {i} is near the harbour, said Mira" for i in range(200))
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    spm.SentencePieceTrainer.train(
        input=str(tmp_path / "text.txt"), model_prefix=str(tmp_path / "sp"), vocab_size=320, model_type="bpe",
        byte_fallback=True, add_dummy_prefix=False, pad_id=0, bos_id=1, eos_id=2, unk_id=3, minloglevel=2,
        normalization_rule_name="identity", remove_extra_whitespaces=False,
    )  # fmt: skip
    table = byte_table_from_sentencepiece(tmp_path / "sp.model", 330)
    assert len(table.base_bytes) == 330
    model = spm.SentencePieceProcessor(model_file=str(tmp_path / "sp.model"))
    for doc in ("the café 🦉 is near", " Mira  said\tso", "é"):
        tokens = np.array([1, *model.encode(doc)], dtype=np.uint16)
        # A leading space right after BOS is not charged: the price of the convention, one byte per such document.
        assert table.per_target(tokens).sum() == len(doc.encode()) - doc.startswith(" ")


def test_metadata_table_pads_and_refuses_another_format(tmp_path: Path) -> None:
    path = tmp_path / "x.meta.npz"
    columns = {"base_bytes": np.array([0, 2], np.int16), "has_leading_space": np.zeros(2, bool)}
    np.savez(path, format_version=1, is_boundary_token=np.zeros(2, bool), **columns)
    table = byte_table_from_metadata(path, 4)
    assert table.base_bytes.tolist() == [0, 2, 0, 0]
    assert table.is_boundary.tolist() == [False, False, True, True]
    np.savez(path, format_version=2, is_boundary_token=np.zeros(2, bool), **columns)
    with pytest.raises(TrainerError, match="format_version 2"):
        byte_table_from_metadata(path, 4)
    np.savez(path, format_version=1, is_boundary_token=np.zeros(2, bool), **columns)
    with pytest.raises(TrainerError, match="has 2 pieces, but VOCAB_SIZE is 1"):
        byte_table_from_metadata(path, 1)
    with pytest.raises(TrainerError, match="no tokenizer metadata: set TOKENIZER_META_PATH"):
        byte_table_from_metadata(Path(), 4)


def _config(tmp_path: Path, **settings: object) -> Config:
    values: dict[str, object] = {
        "tokenizer": "bytes",
        "vocab_size": 260,
        "eval_seq_len": 64,
        "data_path": str(tmp_path),
    }
    return Config(**(values | settings))  # type: ignore[arg-type]


def test_wrong_vocabulary_and_missing_sidecar_are_errors(tmp_path: Path) -> None:
    export_text(SHIPPED_TEXT, tmp_path, 1, caseops=False)
    assert load_data(_config(tmp_path), tmp_path).price.shape[0] % 64 == 0
    with pytest.raises(TrainerError, match="VOCAB_SIZE is 100"):
        load_data(_config(tmp_path, vocab_size=100), tmp_path)
    wider = byte_table_for_bytes().per_target
    with pytest.raises(TrainerError, match="the tokenizer has 260 pieces: they do not belong"):
        wider(np.array([1, 300], dtype=np.uint16))
    with pytest.raises(TrainerError, match="--quirk 20"):
        load_data(_config(tmp_path, byte_sidecar=True), tmp_path)
    assert not load_data(_config(tmp_path, byte_sidecar=True, quirks=(20,)), tmp_path).sidecar
    with pytest.raises(TrainerError, match="tiny preset"):
        load_data(_config(tmp_path, data_path="", tokenizer="sentencepiece"), tmp_path)
