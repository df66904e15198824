"""CaseOps: move ASCII capitalization out of the text, invertibly (PR 1729, `lossless_caps_caseops_v1`).

Four private-use characters carry the case. The transform is a bijection onto its image, and the bytes that a piece of
transformed text stands for are those of the ORIGINAL text: counting transformed bytes would make the score look better.
"""

from __future__ import annotations

from reference_train.errors import TrainerError

TITLE, ALLCAPS, CAPNEXT, ESCAPE = "\ue001", "\ue002", "\ue003", "\ue004"
CASE_CONTROLS = (TITLE, ALLCAPS, CAPNEXT, ESCAPE)


def _is_letter(char: str) -> bool:
    return char.isascii() and char.isalpha()


def caseops_encode(text: str) -> str:
    out: list[str] = []
    i = 0
    while i < len(text):
        char = text[i]
        if char in CASE_CONTROLS:
            out.append(ESCAPE + char)
            i += 1
        elif not _is_letter(char):
            out.append(char)
            i += 1
        else:
            j = i
            while j < len(text) and _is_letter(text[j]):
                j += 1
            out.append(_encode_word(text[i:j]))
            i = j
    return "".join(out)


def _encode_word(word: str) -> str:
    lower = word.lower()
    if word == lower:
        return word
    if len(word) >= 2 and word.isupper():
        return ALLCAPS + lower
    if word[0].isupper() and word[1:].islower():
        return TITLE + lower
    marked = (TITLE if word[0].isupper() else "") + lower[0]
    return marked + "".join(CAPNEXT + low if char.isupper() else low for char, low in zip(word[1:], lower[1:], strict=True))


class CaseDecoder:
    """The decoder as a state machine over characters; state persists across pieces of one document."""

    def __init__(self) -> None:
        self._escape = self._capnext = self._allcaps = self._in_word = False
        self._word_mode = ""

    def feed(self, char: str) -> str:
        """The original character that this transformed character stands for, "" for a marker."""
        if self._escape:
            self._escape = False
            return char
        if char == ESCAPE:
            self._no_pending()
            self._end_word()
            self._escape = True
            return ""
        if char in (TITLE, ALLCAPS):
            if self._in_word:
                raise TrainerError("CaseOps: a word marker inside a word; the text was not made by this transform")
            self._no_pending()
            self._word_mode = char
            return ""
        if char == CAPNEXT:
            self._no_pending()
            self._capnext = True
            return ""
        if not _is_letter(char):
            self._no_pending()
            self._end_word()
            return char
        upper = self._capnext or self._allcaps or bool(self._word_mode)
        self._allcaps = self._allcaps or self._word_mode == ALLCAPS
        self._capnext, self._word_mode, self._in_word = False, "", True
        return char.upper() if upper else char

    def finish(self) -> None:
        self._no_pending()
        if self._escape:
            raise TrainerError("CaseOps: the document ends after an escape; the text was not made by this transform")

    def _no_pending(self) -> None:
        if self._capnext or self._word_mode:
            raise TrainerError("CaseOps: a marker without a letter after it; the text was not made by this transform")

    def _end_word(self) -> None:
        self._in_word = self._allcaps = False


def caseops_decode(text: str) -> str:
    decoder = CaseDecoder()
    out = "".join(decoder.feed(char) for char in text)
    decoder.finish()
    return out


def caseops_char_bytes(text: str) -> list[int]:
    """Original UTF-8 bytes charged to each character of transformed text; their sum is the length of the original."""
    decoder = CaseDecoder()
    charges = [len(decoder.feed(char).encode("utf-8", "surrogatepass")) for char in text]
    decoder.finish()
    return charges


def caseops_piece_bytes(surfaces: list[str]) -> list[int]:
    """Sidecar entries of one document: the charge of every tokenizer piece, given the pieces' surfaces in order."""
    charges = caseops_char_bytes("".join(surfaces))
    out, position = [], 0
    for surface in surfaces:
        out.append(sum(charges[position : position + len(surface)]))
        position += len(surface)
    return out
