"""The tokenizers and byte tables that a record folder ships, opened."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from audits.bytes.accounting import ByteTable
from audits.bytes.caseops import CaseOpsModel, is_caseops
from audits.bytes.drift import Drift, compare_table, fits
from audits.bytes.metadata import load_metadata
from audits.bytes.model import ByteAuditError, TokenModel
from audits.bytes.sentencepiece_model import SentencePieceModel, parse_model
from audits.bytes.tokenmonster_vocab import TokenMonsterModel, parse_vocabulary
from verifier.engine.context import Context
from verifier.submission.binaries import TOKENIZER_KINDS, BinaryFile

MAX_IDS = 1 << 16
"""Ids that tokens of 16 bits can name."""
MAX_FILE = 16 << 20
"""Bytes of a tokenizer or table with that many ids."""


@dataclass(frozen=True, slots=True)
class Opened[T]:
    """A file of the folder (`path` relative to it) and what it holds; `item` is `None` when it can't be read, `problem` says
    why."""

    path: str
    item: T | None
    problem: str = ""


def open_tokenizers(context: Context) -> tuple[Opened[TokenModel], ...]:
    """Every tokenizer of the folder, in path order. Equal files are opened once."""
    files = [file for file in context.submission.binaries if file.kind in TOKENIZER_KINDS]
    first = {file.sha256: file for file in reversed(files)}
    return tuple(
        _open(file, lambda file: open_tokenizer(file.content or b"", file.kind)) for file in files if first[file.sha256] is file
    )


def open_tables(context: Context) -> tuple[Opened[ByteTable], ...]:
    """Every byte metadata file of the folder, in path order."""
    files = [file for file in context.submission.binaries if file.counts_bytes and file.kind not in TOKENIZER_KINDS]
    return tuple(_open(file, lambda file: open_table(file.content or b"", PurePosixPath(file.path).name)) for file in files)


@dataclass(frozen=True, slots=True)
class ShippedDrift:
    """A byte table of the folder against the tokenizer of the folder that it fits best; `kind` is the tokenizer's."""

    table: str
    tokenizer: str
    kind: str
    drift: Drift

    @property
    def exact(self) -> bool:
        return not self.drift.classes and not self.drift.size_mismatch


def compare_shipped(context: Context) -> tuple[ShippedDrift, ...]:
    """Each byte table that a tokenizer of its size lies beside, in path order."""
    tokenizers = open_tokenizers(context)
    compared: list[ShippedDrift] = []
    for table in open_tables(context):
        found = [
            ShippedDrift(table.path, one.path, one.item.kind, compare_table(table.item, one.item))
            for one in tokenizers
            if table.item is not None and one.item is not None and fits(table.item, one.item)
        ]
        if found:
            compared.append(min(found, key=lambda one: sum(len(part.ids) for part in one.drift.classes)))
    return tuple(compared)


def _open[T](file: BinaryFile, reader: Callable[[BinaryFile], T]) -> Opened[T]:
    if file.content is None or file.size > MAX_FILE or (file.vocab_size or 0) > MAX_IDS:
        return Opened(file.path, None, f"{file.size:,} bytes, {file.vocab_size or 'unknown'} ids: too large to be looked at")
    try:
        return Opened(file.path, reader(file))
    except ByteAuditError as failure:
        return Opened(file.path, None, str(failure))


@lru_cache(maxsize=4)
def open_tokenizer(content: bytes, kind: str) -> TokenModel:
    """The model of a tokenizer file; `kind` as in `BinaryFile`. Raises `ByteAuditError`."""
    if kind == "sentencepiece":
        model = SentencePieceModel(parse_model(content))
        return CaseOpsModel(model) if is_caseops(model) else model
    if kind == "tokenmonster":
        return TokenMonsterModel(parse_vocabulary(content))
    with _as_file(content, "vocabulary.yaml") as path:
        return TokenMonsterModel.load(path)


@lru_cache(maxsize=4)
def open_table(content: bytes, name: str) -> ByteTable:
    """The byte table of a metadata file called `name`. Raises `ByteAuditError`."""
    with _as_file(content, name) as path:
        return load_metadata(path).table


@contextmanager
def _as_file(content: bytes, name: str) -> Iterator[Path]:
    """A private file for readers that open paths: the folder may be an archive or a git tree. Raises `ByteAuditError` where
    nothing can be written."""
    try:
        with tempfile.TemporaryDirectory(prefix="verifier-") as below:
            path = Path(below) / name
            path.write_bytes(content)
            yield path
    except OSError as failure:
        raise ByteAuditError(f"{name} could not be read: {failure.strerror or failure}") from None
