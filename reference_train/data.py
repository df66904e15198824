"""The data of a run: training shards, the validation stream and the price in bytes of each of its targets."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reference_train.caseops import caseops_char_bytes, caseops_encode
from reference_train.config import Config
from reference_train.errors import TrainerError
from reference_train.shards import (
    Tokens,
    check_vocabulary,
    find_shards,
    read_all,
    read_shard,
    truncate_validation,
    write_shard,
)
from reference_train.tokbytes import (
    BYTE_OFFSET,
    TokenBytes,
    byte_table_for_bytes,
    byte_table_from_metadata,
    byte_table_from_sentencepiece,
    check_total,
    load_sidecar,
)

SHIPPED_TEXT = Path(__file__).with_name("text") / "docs.jsonl"
VALIDATION_SHARE = 10
"""One document in ten is validation; like the challenge's exporter, the first ones in file order."""
TEXT_SHARDS = 4


@dataclass(frozen=True)
class Data:
    train_paths: list[Path]
    val_tokens: Tokens
    price: NDArray[np.float64]
    """Bytes of each validation target."""
    sidecar: bool


def export_text(docs: Path, folder: Path, bos_id: int, *, caseops: bool) -> int:
    """Tokenize a .jsonl of documents to bytes, as shards; returns the UTF-8 length of the validation text.

    With `caseops` the text is transformed first and a sidecar holds the bytes of the original.
    """
    if not docs.is_file():
        raise TrainerError(
            f'no text at {docs}: set DATA_PATH to a .jsonl with one {{"text": ...}} per line, like reference_train/text/docs.jsonl'
        )
    texts = [str(json.loads(line)["text"]) for line in docs.read_text(encoding="utf-8").splitlines() if line.strip()]
    held_out = len(texts) // VALIDATION_SHARE
    if held_out == 0:
        raise TrainerError(f"{docs}: {len(texts)} documents, at least {VALIDATION_SHARE} are needed; add documents")
    val_ids, val_charges = _tokenize_bytes(texts[:held_out], bos_id, caseops)
    write_shard(folder / "fineweb_val_000000.bin", val_ids)
    if caseops:
        write_shard(folder / "fineweb_val_bytes_000000.bin", val_charges)
    train_ids, _ = _tokenize_bytes(texts[held_out:], bos_id, caseops)
    for index, part in enumerate(np.array_split(np.array(train_ids), TEXT_SHARDS)):
        write_shard(folder / f"fineweb_train_{index:06d}.bin", part)
    return sum(len(text.encode()) for text in texts[:held_out])


def _tokenize_bytes(texts: list[str], bos_id: int, caseops: bool) -> tuple[list[int], list[int]]:
    ids: list[int] = []
    charges: list[int] = []
    for text in texts:
        shown = caseops_encode(text) if caseops else text
        per_char = caseops_char_bytes(shown) if caseops else [len(char.encode()) for char in text]
        ids.append(bos_id)
        charges.append(0)
        for char, charge in zip(shown, per_char, strict=True):
            encoded = char.encode()
            ids += [byte + BYTE_OFFSET for byte in encoded]
            charges += [charge, *[0] * (len(encoded) - 1)]
    return ids, charges


def load_data(cfg: Config, work_dir: Path, *, main_process: bool = True) -> Data:
    """Read or prepare what the configuration names, and check that tokens, tokenizer and bytes belong together."""
    source_bytes: int | None = None
    folder = Path(cfg.shard_folder)
    if cfg.tokenizer == "bytes" and (not cfg.shard_folder or folder.suffix == ".jsonl"):
        docs = folder if cfg.shard_folder else SHIPPED_TEXT
        key = hashlib.sha256(f"{docs.resolve()} {cfg.byte_sidecar}".encode()).hexdigest()[:12]
        folder = work_dir / f"shards-{key}"
        if main_process:
            source_bytes = export_text(docs, folder, cfg.bos_id, caseops=cfg.byte_sidecar)
    elif not cfg.shard_folder:
        raise TrainerError(
            f"preset {cfg.preset!r} needs token shards: set DATA_PATH to the folder with fineweb_train_*.bin and "
            "fineweb_val_*.bin, or use a tiny preset, which brings its own text"
        )
    train_paths = find_shards(folder, "train")
    val_all = read_all(find_shards(folder, "val"))
    check_vocabulary(val_all, cfg.vocab_size, str(folder))
    check_vocabulary(read_shard(train_paths[0]), cfg.vocab_size, str(train_paths[0]))
    pricer, sidecar = _make_pricer(cfg, folder)
    if source_bytes is not None:
        # The stream starts with a BOS, which costs nothing, so the targets hold the whole text.
        check_total(float(pricer.per_target(val_all).sum()), source_bytes, str(folder))
    val_tokens = truncate_validation(val_all, cfg.eval_seq_len)
    return Data(train_paths, val_tokens, pricer.per_target(val_tokens), sidecar)


def _make_pricer(cfg: Config, folder: Path) -> tuple[TokenBytes, bool]:
    if cfg.byte_sidecar:
        try:
            return load_sidecar(folder), True
        except TrainerError as problem:
            if not cfg.has(20):
                raise TrainerError(
                    f"{folder} has no fineweb_val_bytes_*.bin, and the tokens stand for transformed text: export the "
                    "sidecar with the shards (--quirk 20 falls back to the tokenizer's table, as PR 1738 does)"
                ) from problem
    if cfg.tokenizer == "bytes":
        return byte_table_for_bytes(), False
    if cfg.tokenizer == "metadata":
        return byte_table_from_metadata(Path(cfg.tokenizer_meta_path), cfg.vocab_size, accept_withdrawn=cfg.has(19)), False
    return byte_table_from_sentencepiece(cfg.sentencepiece_path, cfg.vocab_size), False
