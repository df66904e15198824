"""The strict audit: all shards, every document, to the byte.

The token stream is read in chunks that end at document boundaries, so memory does not grow with the set. Each chunk is
decoded in one pass; documents are compared with their source, bytes are summed per id, and the count under audit runs
beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audits.bytes.accounting import Account, ByteTable
from audits.bytes.compare import Comparison
from audits.bytes.documents import JsonlDocuments
from audits.bytes.model import ByteAuditError, TokenClass, TokenModel
from audits.bytes.result import ClassTotals, StrictResult, TokenDrift
from audits.bytes.shards import Shard, open_shards, read_blocks

CHUNK = 1 << 17
"""Tokens decoded at once: few enough that the tables and arrays of a step stay in the cache."""
MAX_OPEN = 1 << 25
"""Tokens of one document; beyond, the set is refused rather than memory filled."""
SOURCE_TEXT, CANONICAL = "source_text", "canonical_stream"


@dataclass(frozen=True, slots=True)
class TokenSet:
    """A tokenized text: its shards and the tokenizer. `bos`: the id that opens each document, `None` if there is
    none.
    """

    model: TokenModel
    shards: Sequence[Shard]
    bos: int | None

    @property
    def tokens(self) -> int:
        return sum(shard.count for shard in self.shards)

    @classmethod
    def open(cls, model: TokenModel, paths: Sequence[Path], bos: int | None) -> TokenSet:
        """Check every shard. `bos` defaults to the model's own. Raises `ByteAuditError` or `OSError`."""
        return cls(model, open_shards(paths), model.bos_id if bos is None else bos)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive tokens with the indices of document starts in them; the first token goes on with an open document if
    `starts` does not begin with 0 (possible only in sets without boundaries)."""

    ids: NDArray[np.uint16]
    starts: NDArray[np.intp]


def read_chunks(tokens: TokenSet) -> Iterator[Chunk]:
    """The set in chunks. Raises `ByteAuditError` for a document of more than `MAX_OPEN` tokens."""
    held: NDArray[np.uint16] = np.zeros(0, dtype=np.uint16)
    fresh = True
    for block in read_blocks(tokens.shards, CHUNK):
        ids = np.concatenate([held, block]) if len(held) else block
        if tokens.bos is None:
            starts = np.zeros(int(fresh), dtype=np.intp)
            cut = tokens.model.cut(ids, starts)
        else:
            starts = np.flatnonzero(ids == tokens.bos)
            cut = int(starts[-1]) if starts.size else 0
            # Tokens before the first boundary are a document without its boundary token.
            starts = starts if starts.size and starts[0] == 0 else np.insert(starts, 0, 0)
            starts = starts[starts < cut]
        if cut:
            yield Chunk(ids[:cut], starts)
            fresh = False
        held = ids[cut:]
        if len(held) > MAX_OPEN:
            raise ByteAuditError(f"a document of more than {MAX_OPEN} tokens (boundary token {tokens.bos})")
    if len(held):
        begins = np.zeros(0 if tokens.bos is None and not fresh else 1, dtype=np.intp)
        yield Chunk(held, begins)


def token_documents(tokens: TokenSet) -> Iterator[bytes]:
    """The documents of a token set, decoded: the canonical stream when the set is the challenge's own.

    Raises `ByteAuditError` for a document that the model's transform refuses.
    """
    for chunk in read_chunks(tokens):
        decoded = tokens.model.decode(chunk.ids, chunk.starts)
        if decoded.undecodable:
            raise ByteAuditError(f"a document of the source stream cannot be decoded: {decoded.undecodable[0][1]}")
        raw = decoded.data.tobytes()
        for begin, end in pairwise(decoded.borders.tolist()):
            yield raw[begin:end]


def audit(
    tokens: TokenSet,
    *,
    table: ByteTable | None = None,
    sidecar: Sequence[Shard] | None = None,
    docs: Path | None = None,
    docs_limit: int | None = None,
    canonical: TokenSet | None = None,
    judge: str | None = None,
    shown: int = 5,
    progress: Callable[[int], None] = lambda tokens: None,
) -> StrictResult:
    """Run the audit.

    `table`: the byte count under audit. `sidecar`: shards with the bytes of each token. `docs`: JSONL with the source
    text. `canonical`: a second token set whose decoding is a source, too. `judge`: the source that decides
    (`source_text` where it is given, else `canonical_stream`). `progress` is called with the number of tokens done.
    Raises `ByteAuditError` when an input cannot be audited; nothing is then known about any of it.
    """
    if sidecar is not None and sum(shard.count for shard in sidecar) != tokens.tokens:
        held = sum(shard.count for shard in sidecar)
        raise ByteAuditError(f"the sidecar holds {held} entries, the token shards {tokens.tokens}: not of one set")
    run = _Run(tokens, table, sidecar, shown)
    with ExitStack() as opened:
        if docs is not None:
            run.add_source(SOURCE_TEXT, opened.enter_context(JsonlDocuments(docs, docs_limit)))
        if canonical is not None:
            run.add_source(CANONICAL, token_documents(canonical))
        for chunk in read_chunks(tokens):
            run.feed(chunk)
            progress(run.done)
        return run.finish(judge)


def settle_entries(
    entries: NDArray[np.integer], lengths: NDArray[np.int32], spelled: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], int]:
    """(entries of a sidecar, how many differ from the decoded bytes per token).

    A character that is spelled in byte tokens (`spelled`) may be listed byte by byte, or, as `sentencepiece` does for
    its surfaces, as a whole at its last byte: runs of such tokens are compared by their sums, and a run that agrees is
    given as decoded.
    """
    drift = entries.astype(np.int64) - lengths
    if not len(drift) or not drift.any():
        return lengths.astype(np.int64), 0
    begins = np.flatnonzero(np.append(True, ~(spelled[1:] & spelled[:-1])))
    wrong = np.add.reduceat(drift, begins) != 0
    drift[~np.repeat(wrong, np.diff(np.append(begins, len(drift))))] = 0
    return lengths + drift, int(np.count_nonzero(wrong))


class _Run:
    """The sums of a running audit."""

    def __init__(self, tokens: TokenSet, table: ByteTable | None, sidecar: Sequence[Shard] | None, shown: int) -> None:
        self.done = 0
        self._tokens = tokens
        self._shown = shown
        self._account = Account(table) if table is not None else None
        self._sidecar = _Entries(sidecar) if sidecar is not None else None
        self._sidecar_mismatches = 0
        self._spells_bytes = np.append(tokens.model.classes == TokenClass.BYTE_FALLBACK, False)
        model_size = tokens.model.size
        self._width = max(model_size, table.size if table is not None else 0, (tokens.bos or 0) + 1, 1 << 16)
        self._counts = np.zeros(self._width, dtype=np.int64)
        self._truth = np.zeros(model_size + 1, dtype=np.int64)
        self._listed = np.zeros(self._width, dtype=np.int64)
        self._comparisons: list[Comparison] = []
        self._documents = self._decoded = self._undecodable = 0
        self._problems: list[str] = []

    def add_source(self, name: str, source: Iterator[bytes]) -> None:
        self._comparisons.append(Comparison(name, source, whole=self._tokens.bos is None, shown=self._shown))

    def feed(self, chunk: Chunk) -> None:
        ids, starts = chunk.ids, chunk.starts
        if self._tokens.bos is not None and self.done == 0 and int(ids[0]) != self._tokens.bos:
            self._problems.append(f"the first token is {int(ids[0])}, not the boundary token {self._tokens.bos}")
        decoded = self._tokens.model.decode(ids, starts)
        self._truth += decoded.truth
        if decoded.swallowed is not None:
            self._truth -= decoded.swallowed
        uses = decoded.counts[:-1]
        if decoded.counts[-1]:
            beyond = np.bincount(ids[ids >= len(uses)])
            beyond[: len(uses)] = uses
            uses = beyond
        self._counts[: len(uses)] += uses
        size = int(decoded.truth.sum())
        self._decoded += size
        self.done += len(ids)
        if self._account is not None:
            self._account.feed(ids, uses)
        if self._sidecar is not None:
            spelled = self._spells_bytes[np.minimum(ids, self._tokens.model.size)]
            entries, mismatches = settle_entries(self._sidecar.take(len(ids)), decoded.lengths, spelled)
            self._sidecar_mismatches += mismatches
            self._listed += np.bincount(ids, weights=entries, minlength=self._width).astype(np.int64)
        self._undecodable += len(decoded.undecodable)
        whole = self._tokens.bos is None
        if not whole:
            self._documents += len(starts)
        left = [one for one in self._comparisons if whole or decoded.undecodable or not one.pass_lines(decoded, len(starts))]
        if not left:
            return
        if size != len(decoded.data):
            raise AssertionError("bytes per token do not add up to the decoded bytes")
        if whole:
            for comparison in left:
                comparison.stream(decoded.data.tobytes())
            return
        raw, borders = decoded.data.tobytes(), decoded.borders.tolist()
        reasons = {int(np.searchsorted(starts, at, side="right")) - 1: why for at, why in decoded.undecodable}
        for comparison in left:
            comparison.documents(raw, borders, reasons)

    def finish(self, judge: str | None) -> StrictResult:
        truths = tuple(comparison.finish() for comparison in self._comparisons)
        names = [truth.name for truth in truths]
        if judge is not None and judge not in names:
            raise ByteAuditError(f"cannot judge by {judge}: it was not given")
        counted, metadata = self._counted()
        self._check_ids()
        return StrictResult(
            tokenizer={**self._tokens.model.describe(), "boundary_id": self._tokens.bos},
            tokens=self.done,
            docs=None if self._tokens.bos is None else self._documents,
            decoded_bytes=self._decoded,
            metadata_bytes=metadata,
            metadata_source=self._account.table.source if self._account is not None else None,
            sidecar_bytes=int(self._listed.sum()) if self._sidecar is not None else None,
            sidecar_mismatches=self._sidecar_mismatches if self._sidecar is not None else None,
            truths=truths,
            judged=judge or next(iter(names), None),
            classes=self._classes(counted),
            worst_tokens=self._worst(counted),
            problems=tuple(self._problems),
            undecodable_docs=self._undecodable,
        )

    def _counted(self) -> tuple[NDArray[np.int64] | None, int | None]:
        """(bytes per id of the count in use, total of the table)."""
        per_id = None
        metadata = None
        if self._account is not None:
            per_id = np.zeros(self._width, dtype=np.int64)
            per_id[: self._account.table.size] = self._account.per_id()
            metadata = int(per_id.sum())
        return (self._listed if self._sidecar is not None else per_id), metadata

    def _check_ids(self) -> None:
        model, bos = self._tokens.model, self._tokens.bos
        beyond = np.flatnonzero(self._counts[model.size :]) + model.size
        beyond = beyond[beyond != (-1 if bos is None else bos)]
        if beyond.size:
            times = int(self._counts[beyond].sum())
            self._problems.append(f"{times} tokens have ids outside the vocabulary of {model.size} (first: {int(beyond[0])})")
        if self.done == 0:
            self._problems.append("the shards hold no tokens")

    def _true(self) -> NDArray[np.int64]:
        padded = np.zeros(self._width, dtype=np.int64)
        padded[: len(self._truth) - 1] = self._truth[:-1]
        return padded

    def _classes(self, counted: NDArray[np.int64] | None) -> dict[str, ClassTotals]:
        of_id = np.full(self._width, TokenClass.CONTROL, dtype=np.uint8)
        of_id[: self._tokens.model.size] = self._tokens.model.classes
        true = self._true()
        return {
            kind.name.lower(): ClassTotals(
                int(self._counts[of_id == kind].sum()),
                int(true[of_id == kind].sum()),
                int(counted[of_id == kind].sum()) if counted is not None else None,
            )
            for kind in TokenClass
        }

    def _worst(self, counted: NDArray[np.int64] | None, most: int = 20) -> tuple[TokenDrift, ...]:
        if counted is None:
            return ()
        true = self._true()
        drift = np.abs(counted - true)
        order = np.argsort(-drift, kind="stable")[:most]
        return tuple(
            TokenDrift(token, self._tokens.model.label(token), int(self._counts[token]), int(counted[token]), int(true[token]))
            for token in order.tolist()
            if drift[token]
        )


class _Entries:
    """Sidecar entries in step with the chunks."""

    def __init__(self, shards: Sequence[Shard]) -> None:
        self._blocks = read_blocks(shards, CHUNK)
        self._held: NDArray[np.uint16] = np.zeros(0, dtype=np.uint16)

    def take(self, size: int) -> NDArray[np.uint16]:
        parts, have = [self._held], len(self._held)
        while have < size:
            parts.append(next(self._blocks))
            have += len(parts[-1])
        joined = np.concatenate(parts)
        self._held = joined[size:]
        return joined[:size]
