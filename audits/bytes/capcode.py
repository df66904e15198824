"""Capcode: TokenMonster's lossless coding of capitals and of missing spaces, decoded rune by rune.

Level 2 uses the letters `C` (next letter is a capital), `W` (the word is capitals) and `D` (the next rune, a space, is
not real); level 1 uses the byte 0x7F, which removes the byte after it; level 0 is plain. This module is the scalar
definition; `transducer` derives from it a table that runs at numpy speed. Behaviour follows the original decoder
(capcode 29a1ff4, Go 1.19).
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import NamedTuple

NO_CASE, CHAR_CASE, WORD_CASE = 0, 1, 2


class State(NamedTuple):
    """The decoder between two runes. `case`: none, next rune, or rest of the word."""

    delete: bool = False
    ignore: bool = False
    case: int = NO_CASE

    @property
    def code(self) -> int:
        """0 to 11; 0 is the state at the start of a document."""
        return self.delete + 2 * self.ignore + 4 * self.case

    @property
    def inert(self) -> bool:
        """Whether any rune, whole or in parts, is written as it stands."""
        return not self.delete and self.case == NO_CASE


STATES = tuple(State(bool(code & 1), bool(code & 2), code >> 2) for code in range(12))
DELETE_MARK = 0x7F

# The original's tables are those of Unicode 13.0: letters, numbers and marks of 14.0 to 15.1 are nothing special to it.
_AFTER_UNICODE_13 = (
    (0x0898, 0x089F), (0x08CA, 0x08D2), (0x0C3C, 0x0C3C), (0x0CF3, 0x0CF3), (0x0ECE, 0x0ECE), (0x1715, 0x1715),
    (0x180F, 0x180F), (0x1AC1, 0x1ACE), (0x1DFA, 0x1DFA), (0x2C2F, 0x2C2F), (0x2C5F, 0x2C5F), (0xA7C0, 0xA7C1),
    (0xA7D0, 0xA7D1), (0xA7D3, 0xA7D3), (0xA7D5, 0xA7D9), (0x10570, 0x105BC), (0x10EFD, 0x10EFF),
    (0x10F82, 0x10F85), (0x11070, 0x11070), (0x11073, 0x11074), (0x110C2, 0x110C2), (0x11241, 0x11241),
    (0x11F00, 0x11F59), (0x13440, 0x13440), (0x13447, 0x13455), (0x16AC0, 0x16AC9), (0x1CF00, 0x1CF46),
    (0x1D2C0, 0x1D2D3), (0x1DF00, 0x1DF2A), (0x1E08F, 0x1E08F), (0x1E2AE, 0x1E2AE), (0x1E4EC, 0x1E4F9),
)  # fmt: skip


@lru_cache(maxsize=4096)
def _rune(text: str) -> tuple[bool, bool, bytes]:
    """(is a cased letter, keeps an all-capitals word going, simple upper-case form) of one character."""
    raw = text.encode()
    if any(first <= ord(text) <= last for first, last in _AFTER_UNICODE_13):
        return False, False, raw
    category = unicodedata.category(text)
    keeps = category[0] in "NM" or text in "'’"
    # Python knows the full mappings. Where the full upper-case form has several characters the simple one is the
    # title-case form if that is a single character (Greek with iota subscript), else the character itself.
    upper = text.upper()
    if len(upper) != 1:
        upper = text.title() if len(text.title()) == 1 else text
    return category in ("Ll", "Lu"), keeps, upper.encode()


def rune_size(data: bytes, at: int) -> int:
    """Bytes of the UTF-8 character at `at`; 1 for an invalid byte; 0 when the data ends inside a possible character."""
    head = data[at]
    if head < 0x80:
        return 1
    size = 2 if 0xC2 <= head <= 0xDF else 3 if 0xE0 <= head <= 0xEF else 4 if 0xF0 <= head <= 0xF4 else 1
    low = {0xE0: 0xA0, 0xF0: 0x90}.get(head, 0x80)
    high = {0xED: 0x9F, 0xF4: 0x8F}.get(head, 0xBF)
    for offset in range(1, size):
        if at + offset >= len(data):
            return 0
        if not low <= data[at + offset] <= high:
            return 1
        low, high = 0x80, 0xBF
    return size


def step(state: State, unit: bytes) -> tuple[State, bytes]:
    """Level 2, one unit (a character or one invalid byte): (state after it, bytes written)."""
    delete, ignore, case = state
    if unit == b"C":
        return State(delete, ignore, CHAR_CASE), b""
    if unit == b"W":
        return State(delete, True, WORD_CASE), b""
    if unit == b"D":
        return State(True, ignore, case), b""
    if delete:
        return State(False, False, case), b""
    if unit == b" ":
        return State(False, False, NO_CASE if case == WORD_CASE and not ignore else case), b" "
    try:
        cased, keeps, upper = _rune(unit.decode())
    except UnicodeDecodeError:
        cased, keeps, upper = False, False, unit
    if case == CHAR_CASE:
        return State(), upper
    if case == WORD_CASE:
        return (State(case=WORD_CASE), upper) if cased else (State(case=WORD_CASE if keeps else NO_CASE), unit)
    return State(), unit


class Decoder:
    """Level 2 over a stream: an incomplete character is held back until it is complete or broken."""

    def __init__(self, state: State = STATES[0], tail: bytes = b"") -> None:
        self.state = state
        self.tail = tail

    def feed(self, data: bytes) -> bytes:
        """The bytes that `data` makes certain."""
        data = self.tail + data
        out = []
        at = 0
        while at < len(data) and (size := rune_size(data, at)):
            self.state, written = step(self.state, data[at : at + size])
            out.append(written)
            at += size
        self.tail = data[at:]
        return b"".join(out)

    def pending(self) -> bytes:
        """What the held-back bytes would write if the stream ended here."""
        state, out = self.state, []
        for value in self.tail:
            state, written = step(state, bytes([value]))
            out.append(written)
        return b"".join(out)


def decode_level1(data: bytes) -> bytes:
    """Level 1, byte by byte: a mark removes the byte after it, marks in a row count once, a mark at the end is
    dropped.
    """
    out = bytearray()
    delete = False
    for value in data:
        if value == DELETE_MARK:
            delete = True
        elif delete:
            delete = False
        else:
            out.append(value)
    return bytes(out)


def decode(data: bytes, level: int) -> bytes:
    """A whole encoded document. Raises `ValueError` for a level that does not exist."""
    if level == 0:
        return data
    if level == 1:
        return decode_level1(data)
    if level == 2:
        decoder = Decoder()
        return decoder.feed(data) + decoder.pending()
    raise ValueError(f"capcode level {level} does not exist")
