"""Where the validation shards, the tokenizer and the source of a run lie in the folders that a user names.

`--data DIR` holds shards directly, in `DIR/<dataset>` or in `DIR/datasets/<dataset>` (as the contest's downloader leaves them), byte
sidecars beside them, and optionally the source as `docs_val.jsonl` or `docs_selected.jsonl`. `--tokenizer-dir DIR` holds
tokenizers by file name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from audits.bytes.model import ByteAuditError, TokenModel
from audits.bytes.sentencepiece_model import read_limited
from audits.bytes.shards import SIDECAR_MARK
from audits.bytes.shipped import open_tokenizer
from verifier.limits import DEFAULT_LIMITS
from verifier.submission.binaries import TOKENIZER_KINDS, recognise_binary

CANONICAL_DATASET, CANONICAL_TOKENIZER = "fineweb10B_sp1024", "fineweb_1024_bpe.model"
"""The export whose decoded text is the contest's validation text."""
SOURCES = (("docs_val.jsonl", False), ("docs_selected.jsonl", True))
"""Source files, and whether the validation documents are only its first ones."""


@dataclass(frozen=True, slots=True)
class Shards:
    """The token shards of one dataset in name order, and the byte sidecars beside them (none: empty)."""

    tokens: tuple[Path, ...]
    sidecars: tuple[Path, ...]


def find_dataset(data: Path, names: Sequence[str]) -> Shards | None:
    """The validation shards of the first of `names` that is there; the folder's own when it holds shards itself."""
    for name in names:
        for folder in (data / name, data / "datasets" / name):
            if (found := _validation_shards(folder)) is not None:
                return found
    return _validation_shards(data)


def _validation_shards(folder: Path) -> Shards | None:
    if not folder.is_dir():
        return None
    files = sorted(path for path in folder.glob("*_val_*.bin") if path.is_file())
    tokens = tuple(path for path in files if SIDECAR_MARK not in path.name)
    return Shards(tokens, tuple(path for path in files if SIDECAR_MARK in path.name)) if tokens else None


def dataset_names(text: str) -> tuple[str, ...]:
    """The dataset that a data path or a shard pattern names: its last part that is a plain folder name."""
    parts = [part for part in PurePosixPath(text.replace("\\", "/")).parts if part not in ("/", ".", "..")]
    plain = [part for part in parts if "*" not in part and not part.endswith(".bin")]
    return (plain[-1],) if plain else ()


def find_source(data: Path, documents: int) -> tuple[Path, int | None] | None:
    """(JSONL file with the source documents, how many of them are the validation set or `None` for all)."""
    for name, prefix in SOURCES:
        if (data / name).is_file():
            return data / name, documents if prefix else None
    return None


def load_named_tokenizer(below: Path, name: str) -> TokenModel | None:
    """The tokenizer called `name` in a folder; `None` when it is not there. Raises `ByteAuditError` or `OSError`."""
    for path in (below / name, below / "tokenizers" / name):
        if path.is_file():
            data = read_limited(path, DEFAULT_LIMITS)
            kind = recognise_binary(name, data, None).kind
            if kind not in TOKENIZER_KINDS:
                raise ByteAuditError(f"{name} is no tokenizer file that is understood")
            return open_tokenizer(data, kind)
    return None
