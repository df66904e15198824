"""CaseOps, the lossless case transform in front of a SentencePiece model, undone exactly.

Controls (three UTF-8 bytes each): U+E001 next letter is a capital and opens a word, U+E002 the whole word is capitals,
U+E003 the next letter is a capital inside a word, U+E004 the next control is literal text. Only ASCII letters change
case, so a letter is one byte in both forms; a control is no byte of the source. A marker that no ASCII letter follows,
a word marker inside a word and two markers in a row are errors.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from audits.bytes.model import ByteAuditError, Decoded, Ids, TokenClass
from audits.bytes.pieces import Written
from audits.bytes.sentencepiece_model import USER_DEFINED, SentencePieceModel

TITLE, ALLCAPS, CAPNEXT, ESCAPE = "\ue001", "\ue002", "\ue003", "\ue004"
CONTROLS = (TITLE, ALLCAPS, CAPNEXT, ESCAPE)
CONTROL_BYTES = 3
_HEAD = b"\xee\x80"


def encode(text: str) -> str:
    """The transform itself: what the model is trained on. Used to check what a pipeline would have produced."""
    out: list[str] = []
    at = 0
    while at < len(text):
        char = text[at]
        if not _is_letter(char):
            out.append(ESCAPE + char if char in CONTROLS else char)
            at += 1
            continue
        end = at
        while end < len(text) and _is_letter(text[end]):
            end += 1
        out.append(_encode_word(text[at:end]))
        at = end
    return "".join(out)


def _is_letter(char: str) -> bool:
    return char.isascii() and char.isalpha()


def _encode_word(word: str) -> str:
    if word.islower():
        return word
    if len(word) >= 2 and word.isupper():
        return ALLCAPS + word.lower()
    head = (TITLE if word[0].isupper() else "") + word[0].lower()
    return head + "".join(CAPNEXT + char.lower() if char.isupper() else char for char in word[1:])


def decode(text: str) -> str:
    """Undo the transform. Raises `ByteAuditError` with the character offset for text that no encoder writes."""
    out: list[str] = []
    pending = ""
    in_word = all_caps = False
    for at, char in enumerate(text):
        if pending == ESCAPE:
            if char not in CONTROLS:
                raise ByteAuditError(f"character {at}: an escape before something that is no case control")
            out.append(char)
            pending = ""
            in_word = all_caps = False
        elif char in CONTROLS:
            if pending:
                raise ByteAuditError(f"character {at}: two case controls in a row")
            if char in (TITLE, ALLCAPS) and in_word:
                raise ByteAuditError(f"character {at}: a word control inside a word")
            pending = char
        elif _is_letter(char):
            all_caps = all_caps or pending == ALLCAPS
            out.append(char.upper() if pending or all_caps else char)
            pending = ""
            in_word = True
        elif pending:
            raise ByteAuditError(f"character {at}: a case control before something that is no ASCII letter")
        else:
            out.append(char)
            in_word = all_caps = False
    if pending:
        raise ByteAuditError("the text ends with a case control")
    return "".join(out)


def is_caseops(model: SentencePieceModel) -> bool:
    """Whether the model reserves all four controls as pieces of their own."""
    reserved = {piece for piece, kind in zip(model.model.pieces, model.model.types, strict=True) if kind == USER_DEFINED}
    return {control.encode() for control in CONTROLS} <= reserved


class CaseOpsModel:
    """A SentencePiece model whose decoded text is turned back into the text before the transform."""

    def __init__(self, inner: SentencePieceModel) -> None:
        self.inner = inner
        self._classes = inner.classes.copy()
        controls = {control.encode() for control in CONTROLS}
        for token, piece in enumerate(inner.model.pieces):
            if piece in controls:
                self._classes[token] = TokenClass.CONTROL

    @property
    def kind(self) -> str:
        return "caseops"

    @property
    def size(self) -> int:
        return self.inner.size

    @property
    def bos_id(self) -> int | None:
        return self.inner.bos_id

    @property
    def classes(self) -> NDArray[np.uint8]:
        return self._classes

    def label(self, token: int) -> str:
        return self.inner.label(token)

    def describe(self) -> dict[str, object]:
        return {**self.inner.describe(), "kind": self.kind, "transform": "caseops"}

    def cut(self, ids: Ids, starts: NDArray[np.intp]) -> int:
        """Only at document starts: case runs over tokens."""
        return int(starts[-1]) if starts.size else 0

    def decode(self, ids: Ids, starts: NDArray[np.intp]) -> Decoded:
        """See `TokenModel.decode`. Documents that the transform cannot have written are listed, and given as they
        stand.
        """
        coded = self.inner.decode(ids, starts)
        data = coded.data
        lengths = coded.lengths
        ends = np.cumsum(lengths, dtype=np.int64)
        begins = np.unique(np.append(coded.borders[:-1], 0))
        controls, kinds = _find_controls(data)
        removed, undecodable = _restore(data, begins, controls, kinds)
        keep = np.ones(len(data), dtype=np.bool_)
        for offset in range(CONTROL_BYTES):
            keep[removed + offset] = False
        owners = np.searchsorted(ends, removed, side="right")
        np.subtract.at(lengths, owners, CONTROL_BYTES)
        truth = coded.truth.copy()
        np.subtract.at(truth, ids[owners], CONTROL_BYTES)
        refused = []
        for at, reason in undecodable:
            # The last start at or before the first token that writes: documents without bytes share its offset.
            writes = int(np.searchsorted(ends, at, side="right"))
            number = int(np.searchsorted(starts, writes, side="right")) - 1
            refused.append((int(starts[number]) if number >= 0 else 0, reason))
        borders = coded.borders - CONTROL_BYTES * np.searchsorted(np.sort(removed), coded.borders)
        return Decoded(Written(data[keep], borders, lengths), coded.counts, truth, tuple(refused))


def _find_controls(data: NDArray[np.uint8]) -> tuple[NDArray[np.intp], NDArray[np.uint8]]:
    """(offsets of the controls in UTF-8 text, 1 to 4 for each)."""
    at = np.flatnonzero(data == _HEAD[0])
    at = at[at + 2 < len(data)]
    at = at[(data[at + 1] == _HEAD[1]) & (data[at + 2] >= 0x81) & (data[at + 2] <= 0x84)]
    return at, data[at + 2] & 0x0F


def _letters(values: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return ((values | 0x20) >= 0x61) & ((values | 0x20) <= 0x7A) & (values < 0x80)


def _restore(
    data: NDArray[np.uint8], begins: NDArray[np.int64], at: NDArray[np.intp], kinds: NDArray[np.uint8]
) -> tuple[NDArray[np.intp], list[tuple[int, str]]]:
    """Write the capitals into `data`; (offsets of the controls to take out, documents that are no transformed text).

    Documents whose controls are all followed by a letter and, for word controls, not preceded by one are restored at
    once; the others (escapes, errors) one by one through `decode`.
    """
    after = np.append(data, 0)[np.minimum(at + CONTROL_BYTES, len(data))]
    before = np.where(at > 0, data[np.maximum(at - 1, 0)], 0).astype(np.uint8)
    document = np.searchsorted(begins, at, side="right") - 1
    # A letter just before a document start belongs to another document.
    before[np.isin(at, begins)] = 0
    odd = ~_letters(after) | (kinds == 4) | ((kinds <= 2) & _letters(before))
    document_ends = np.append(begins[1:], len(data))
    odd |= at + CONTROL_BYTES >= document_ends[document]
    removed: list[NDArray[np.intp]] = []
    undecodable: list[tuple[int, str]] = []
    odd_documents = np.unique(document[odd])
    regular = ~np.isin(document, odd_documents)
    data[at[regular] + CONTROL_BYTES] &= 0xDF
    removed.append(at[regular])
    running = at[regular & (kinds == 2)]
    # A control inside the word (a capital within capitals) is skipped, not the end of the word.
    cursor, limit = running + CONTROL_BYTES, document_ends[document[regular & (kinds == 2)]]
    control_at = np.zeros(len(data) + CONTROL_BYTES, dtype=np.bool_)
    control_at[at] = True
    while cursor.size:
        inside = cursor < limit
        cursor, limit = cursor[inside], limit[inside]
        skip = control_at[cursor]
        letter = _letters(data[cursor])
        data[cursor[letter]] &= 0xDF
        go_on = skip | letter
        cursor = (cursor + np.where(skip, CONTROL_BYTES, 1))[go_on]
        limit = limit[go_on]
    for number in odd_documents.tolist():
        begin, end = int(begins[number]), int(document_ends[number])
        raw = data[begin:end].tobytes().decode("utf-8")
        try:
            restored = decode(raw)
        except ByteAuditError as error:
            undecodable.append((begin, str(error)))
            continue
        taken, text = _taken(raw, restored)
        data[begin:end] = np.frombuffer(text, dtype=np.uint8)
        removed.append(np.array(taken, dtype=np.intp) + begin)
    return np.concatenate(removed), undecodable


def _taken(raw: str, restored: str) -> tuple[list[int], bytes]:
    """(byte offsets of the controls that `decode` took out of `raw`, `raw` with the restored capitals still around
    them).
    """
    taken: list[int] = []
    out: list[str] = []
    at = size = 0
    for char in raw:
        # A control is literal only directly after an escape, and then the next restored character is that control
        # itself.
        literal = bool(out) and char in CONTROLS and out[-1] == ESCAPE and taken and taken[-1] == size - CONTROL_BYTES
        if char in CONTROLS and not literal:
            taken.append(size)
            out.append(char)
        else:
            out.append(restored[at])
            at += 1
        size += len(char.encode())
    return taken, "".join(out).encode()
