"""Making untrusted text harmless before it reaches a terminal, a page or a log.

File names, log lines and README sentences come from a submission and may carry terminal escapes, bidirectional overrides,
invisible characters or undecodable bytes. Every renderer passes them through `printable`, which shows such characters as a
visible escape, so nothing is hidden and nothing acts.
"""

from __future__ import annotations

import unicodedata

MESSAGE_LIMIT = 2_000
"""Characters of one message or reason that renderers print; messages of rules are a few hundred long."""

# Cc: terminal controls, Cf: bidi controls, zero-width characters, tags, Cs: bytes that were not UTF-8, Zl/Zp: line breaks.
# The noncharacters U+xxFFFE and U+xxFFFF are not allowed in XML.
_ACTING = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def printable(text: str, limit: int = MESSAGE_LIMIT) -> str:
    """One line of text without a character that acts: controls, bidi and invisible characters become `\\x1b` or `\\u202e`,
    line breaks `\\n`, tabs a space, undecodable bytes (surrogate escapes) `\\xff`. Cut at `limit` with an ellipsis."""
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    if cut.isascii() and cut.isprintable():
        return cut
    return "".join(_visible(char) for char in cut)


def encodable(text: str) -> str:
    """The text with lone surrogates shown as `\\xff` (or `\\ud800`): what JSON and UTF-8 can carry. Nothing else changes."""
    if text.isascii():
        return text
    return "".join(_visible(char) if "\ud800" <= char <= "\udfff" else char for char in text)


def _visible(char: str) -> str:
    if char == "\t":
        return " "
    if char == "\n":
        return "\\n"
    code = ord(char)
    if unicodedata.category(char) not in _ACTING and code & 0xFFFE != 0xFFFE:
        return char
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
