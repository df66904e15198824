"""A byte table against the tokenizer that it counts for, token by token and without any data.

A table charges `base[y] + (leading[y] and not boundary[x])` for token y after token x. What y really writes is known from the
tokenizer alone, up to the context: after ordinary text, after a token that leaves a delete mark open, at the start of a document.
In each context the count and the truth are intervals; a token deviates where they don't touch. So whatever is reported holds for
every text that uses the token there.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from audits.bytes.accounting import ByteTable
from audits.bytes.capcode import DELETE_MARK, STATES, Decoder, decode_level1
from audits.bytes.caseops import CONTROLS, CaseOpsModel
from audits.bytes.model import ByteAuditError, TokenClass, TokenModel
from audits.bytes.raw_bytes import RawByteModel
from audits.bytes.sentencepiece_model import SPACE, SentencePieceModel
from audits.bytes.tokenmonster_vocab import TokenMonsterModel

_MARKS = {1: frozenset({DELETE_MARK}), 2: frozenset(b"CWD")}
_DELETES = {1: DELETE_MARK, 2: ord("D")}


class DriftClass(StrEnum):
    """What kind of token a table gets wrong, in the words of a report."""

    BYTE_TOKENS = "byte tokens"
    OPEN_MARKS = "open delete marks"
    MARKS = "capcode modifiers"
    MARKED_TEXT = "text with case or delete marks"
    CONTROLS = "case controls of a transform"
    SPECIALS = "control, unknown and unused tokens"
    TEXT = "plain text"
    STARTS = "text after a boundary token"


@dataclass(frozen=True, slots=True)
class TokenCount:
    """One deviating token: bytes that the table counts and bytes that the token writes, per use."""

    id: int
    label: str
    counted: int
    true: int


@dataclass(frozen=True, slots=True)
class ClassDrift:
    """The deviating tokens of one class. `low` and `high` bound the bytes counted too many per use, over tokens and contexts;
    they have one sign unless the table is wrong both ways. `worst`: the largest deviations, ties by id."""

    kind: DriftClass
    ids: tuple[int, ...]
    of: int
    low: int
    high: int
    worst: tuple[TokenCount, ...]

    def describe(self) -> str:
        """One clause, e.g. `27 of 27 byte tokens +2 bytes per use (id 75 '<0x80>' counted 3, true 1)`."""
        span = f"{self.low:+d}" if self.low == self.high else f"{self.low:+d} to {self.high:+d}"
        each = "byte" if span in ("+1", "-1") else "bytes"
        if self.kind is DriftClass.OPEN_MARKS:
            labels = ", ".join(repr(one.label) for one in self.worst[:3])
            shown = f"after {labels} ... the next token loses its space, and the table counts it"
        else:
            shown = ", ".join(f"id {one.id} {one.label!r} counted {one.counted}, true {one.true}" for one in self.worst[:3])
        return f"{len(self.ids)} of {self.of} {self.kind.value} {span} {each} per use ({shown})"


@dataclass(frozen=True, slots=True)
class Drift:
    """All deviations of one table. `lossless`: the tokenizer writes back every text that it is given, so that its own bytes are
    the source's; otherwise text that is lost may offset a count that is too high."""

    classes: tuple[ClassDrift, ...]
    lossless: bool
    size_mismatch: str = ""

    def to_json(self) -> list[dict[str, object]]:
        """The `table_drift` list of `verifier bytes`: bytes are per use."""
        return [
            {
                "class": one.kind.value,
                "tokens": len(one.ids),
                "of": one.of,
                "low": one.low,
                "high": one.high,
                "worst": [
                    {"id": token.id, "piece": token.label, "counted": token.counted, "true": token.true} for token in one.worst
                ],
            }
            for one in self.classes
        ]

    @property
    def sign(self) -> int:
        """+1 if every deviation is a count that is too high, -1 if each is too low, 0 for both or none."""
        reaching = [one for one in self.classes if one.kind not in (DriftClass.SPECIALS, DriftClass.STARTS)]
        if reaching and all(one.low > 0 for one in reaching):
            return 1
        return -1 if reaching and all(one.high < 0 for one in reaching) else 0


@dataclass(frozen=True, slots=True)
class Spans:
    """Bytes that each id writes, as intervals over everything that may precede it; shape (size,), int64.

    `low`/`high` after ordinary text, `cut_low`/`cut_high` with a delete mark pending, `start` as the first token of a document.
    `opens`: leaves a delete mark pending, whatever it meets. `cut`: can meet a pending mark in text that the tokenizer writes (it
    begins with a space).
    """

    low: NDArray[np.int64]
    high: NDArray[np.int64]
    cut_low: NDArray[np.int64]
    cut_high: NDArray[np.int64]
    start: NDArray[np.int64]
    opens: NDArray[np.bool_]
    cut: NDArray[np.bool_]
    ordinary: NDArray[np.bool_]
    """Ids that stand for text or bytes: what may precede in the middle of a document."""


def measure_spans(model: TokenModel) -> Spans:
    """What each id writes. Raises `ByteAuditError` for a kind of model that is not known."""
    if isinstance(model, TokenMonsterModel):
        return _tokenmonster_spans(model)
    size = model.size
    if isinstance(model, CaseOpsModel | SentencePieceModel):
        inner = model.inner if isinstance(model, CaseOpsModel) else model
        table = ByteTable.from_sentencepiece(inner)
        whole, start = table.base + table.leading, table.base.copy()
        if not (inner.model.flag("add_dummy_prefix") or inner.model.flag("remove_extra_whitespaces")):
            start = whole.copy()
        if isinstance(model, CaseOpsModel):
            controls = {control.encode() for control in CONTROLS}
            taken = np.array([piece in controls for piece in inner.model.pieces])
            whole[taken] = start[taken] = 0
    elif isinstance(model, RawByteModel):
        whole = (model.classes == TokenClass.PLAIN).astype(np.int64)
        start = whole.copy()
    else:
        raise ByteAuditError(f"tokens of kind {model.kind} are not understood")
    no = np.zeros(size, dtype=np.bool_)
    return Spans(whole, whole, whole, whole, start, no, no, model.classes != TokenClass.CONTROL)


def _tokenmonster_spans(model: TokenMonsterModel) -> Spans:
    stored, level = model.vocabulary.stored, model.vocabulary.capcode
    rows = [_token_span(text, level) for text in stored]
    numbers = np.array([row[:5] for row in rows], dtype=np.int64).reshape(len(rows), 5)
    flags = np.array([row[5:] for row in rows], dtype=np.bool_).reshape(len(rows), 2)
    low, high, cut_low, cut_high, start = numbers.T
    ordinary = np.array([bool(text) for text in stored])
    return Spans(low, high, cut_low, cut_high, start, flags[:, 0], flags[:, 1], ordinary)


def _token_span(text: bytes, level: int) -> tuple[int, int, int, int, int, bool, bool]:
    """(low, high, low and high with a mark pending, at the start, opens, can be cut) of one stored text."""
    if level == 0 or not text:
        return len(text), len(text), len(text), len(text), len(text), False, False
    marks = _MARKS[level]
    first = next((value for value in text if value not in marks), None)
    # A mark of the token's own comes before the space that it takes: then a pending one changes nothing.
    cut = first == 0x20
    if level == 1:
        clean = len(decode_level1(text))
        after = len(decode_level1(bytes([DELETE_MARK]) + text))
        return clean, clean, after, after, clean, text[-1] == DELETE_MARK, cut
    if text.isascii() and not any(value in marks for value in text):
        return len(text), len(text), len(text) - 1, len(text) - 1, len(text), False, cut
    clean_sizes: list[int] = []
    cut_sizes: list[int] = []
    opens = []
    for state in STATES:
        decoder = Decoder(state)
        size = len(decoder.feed(text))
        size += len(decoder.pending())
        (cut_sizes if state.delete else clean_sizes).append(size)
        opens.append(decoder.state.delete)
    leaves = all(opens) and _DELETES[level] in text
    return min(clean_sizes), max(clean_sizes), min(cut_sizes), max(cut_sizes), clean_sizes[0], leaves, cut


def fits(table: ByteTable, model: TokenModel) -> bool:
    """Whether the table has one entry per id, or one more for a boundary token that the vocabulary does not hold."""
    return table.size in (model.size, model.size + 1)


def compare_table(table: ByteTable, model: TokenModel, worst: int = 5) -> Drift:
    """Every class of tokens that `table` gets wrong for `model`. Raises `ByteAuditError` when they can't belong together."""
    if not fits(table, model):
        raise ByteAuditError(f"{table.source} counts {table.size} ids, the tokenizer has {model.size}")
    spans = measure_spans(model)
    size = model.size
    classes = []
    base, leading, boundary = table.base[:size], table.leading[:size], table.boundary[:size]
    text_low, text_high = _charges(base, leading, boundary[spans.ordinary & ~spans.opens])
    kinds = _kinds(model, spans)
    for kind in DriftClass:
        members = kinds == list(DriftClass).index(kind)
        if members.any():
            classes.append(_deviations(kind, members, text_low - spans.high, text_high - spans.low, spans.low, model, worst))
    if spans.opens.any():
        classes.append(_open_marks(table, model, spans, worst))
    if (model.classes == TokenClass.CONTROL).any() or table.size > size:
        before = np.append(boundary[model.classes == TokenClass.CONTROL], table.boundary[size:])
        low, high = _charges(base, leading, before)
        low, high = low - spans.start, high - spans.start
        # What is wrong everywhere has been said.
        elsewhere = (text_low > spans.high) | (text_high < spans.low)
        members = spans.ordinary & ~elsewhere
        classes.append(_deviations(DriftClass.STARTS, members, low, high, spans.start, model, worst))
    extra = table.base[size:]
    mismatch = f"id {size}, outside the vocabulary, is counted with {int(extra[0])} bytes" if extra.size and extra[0] else ""
    return Drift(tuple(one for one in classes if one.ids), is_lossless(model), mismatch)


def _charges(
    base: NDArray[np.int64], leading: NDArray[np.bool_], before: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Least and most that the table charges each id after tokens whose boundary flags are `before`."""
    charged = leading.astype(np.int64)
    return base + charged * (not before.any()), base + charged * (not before.all() or not before.size)


def _deviations(
    kind: DriftClass,
    members: NDArray[np.bool_],
    low: NDArray[np.int64],
    high: NDArray[np.int64],
    true: NDArray[np.int64],
    model: TokenModel,
    worst: int,
) -> ClassDrift:
    """`low` and `high`: bounds of counted minus true. A token deviates where they exclude 0."""
    wrong = members & ((low > 0) | (high < 0))
    ids = np.flatnonzero(wrong)
    nearest = np.where(low > 0, low, high)
    order = sorted(ids.tolist(), key=lambda token: (-abs(int(nearest[token])), token))
    shown = tuple(
        TokenCount(token, model.label(token), int(true[token] + nearest[token]), int(true[token])) for token in order[:worst]
    )
    span = nearest[ids]
    least, most = (int(span.min()), int(span.max())) if ids.size else (0, 0)
    return ClassDrift(kind, tuple(ids.tolist()), int(members.sum()), least, most, shown)


def _open_marks(table: ByteTable, model: TokenModel, spans: Spans, worst: int) -> ClassDrift:
    """Tokens that leave a delete mark open. The byte that the next token then loses is charged to them: they are the cause, and
    a table that only lacks the mark is right about the next token everywhere else."""
    size = model.size
    marks = np.flatnonzero(spans.opens)
    victims = spans.cut & (spans.cut_high < spans.low)
    ids: list[int] = []
    amounts: list[int] = []
    base, leading = table.base[:size], table.leading[:size].astype(np.int64)
    # What is wrong about the next token even without a mark is its own, not the mark's.
    text_low, _ = _charges(base, table.leading[:size], table.boundary[:size][spans.ordinary & ~spans.opens])
    theirs = text_low - spans.low
    for flag in (False, True):
        mine = marks[table.boundary[:size][marks] == flag]
        over = (base + leading * (not flag) - spans.cut_high - theirs)[victims]
        if mine.size and over.size and (over.min() > 0 or over.max() < 0):
            ids += mine.tolist()
            amounts += [int(over.min()), int(over.max())]
    alone = {token for token in ids if not spans.high[token]}
    order = sorted(ids, key=lambda token: (token not in alone, token))
    shown = tuple(
        TokenCount(token, model.label(token), int(table.base[token]), int(spans.low[token]) - 1) for token in order[:worst]
    )
    least, most = (min(amounts), max(amounts)) if amounts else (0, 0)
    return ClassDrift(DriftClass.OPEN_MARKS, tuple(sorted(ids)), int(marks.size), least, most, shown)


def _kinds(model: TokenModel, spans: Spans) -> NDArray[np.int64]:
    """Index of each id's `DriftClass`."""
    order = {kind: index for index, kind in enumerate(DriftClass)}
    names = {
        TokenClass.PLAIN: DriftClass.TEXT,
        TokenClass.BYTE_FALLBACK: DriftClass.BYTE_TOKENS,
        TokenClass.CONTROL: DriftClass.SPECIALS,
        TokenClass.CAPCODE: DriftClass.MARKED_TEXT,
    }
    kinds = np.array([order[names[TokenClass(value)]] for value in model.classes.tolist()], dtype=np.int64)
    if isinstance(model, TokenMonsterModel):
        kinds[(model.classes == TokenClass.CAPCODE) & (spans.high == 0)] = order[DriftClass.MARKS]
    if isinstance(model, CaseOpsModel):
        controls = {control.encode() for control in CONTROLS}
        taken = np.array([piece in controls for piece in model.inner.model.pieces])
        kinds[taken] = order[DriftClass.CONTROLS]
    return kinds


def is_lossless(model: TokenModel) -> bool:
    """Whether no text loses bytes on the way through the tokenizer. A normalizer may lose some, so it counts as a loss."""
    if isinstance(model, TokenMonsterModel):
        return not model.vocabulary.normalization and not model.describe()["missing_bytes"]
    inner = model.inner if isinstance(model, CaseOpsModel) else model
    if isinstance(inner, SentencePieceModel):
        keeps = not inner.model.charsmap and not inner.model.flag("remove_extra_whitespaces")
        # Without U+2581 as a piece a lone space is spelled as the three byte tokens of the marker, not as the space.
        return keeps and TokenClass.BYTE_FALLBACK in inner.classes and SPACE in inner.model.pieces
    return True
