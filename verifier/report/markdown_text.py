"""Untrusted text inside Markdown: prose, code spans and table cells that can't become markup, links or mentions."""

from __future__ import annotations

import re

from verifier.report.text import MESSAGE_LIMIT, printable

_MARKUP = re.compile(r"[\\`*_\[\]<>|~&$]")
_BLOCK_START = re.compile(r"^([#+=-]|\d{1,9}(?=[.)](?:\s|$)))")
_REFERENCES = re.compile(r"@|#(?=\d)|:(?=//)|www(?=\.)", re.IGNORECASE)
_BACKTICKS = re.compile(r"`+")
_CELL = re.compile(r"[^a-z0-9 ,.+-]|(?<=www)\.", re.IGNORECASE)


def prose(text: str) -> str:
    """A sentence with every character of markup escaped, and an empty comment after what GitHub would turn into a mention, a
    cross-reference or a link (it does so in the finished text, where a backslash is gone)."""
    escaped = _MARKUP.sub(r"\\\g<0>", printable(text).strip())
    escaped = _BLOCK_START.sub(lambda start: f"{start[0]}\\" if start[0].isdigit() else f"\\{start[0]}", escaped)
    return _REFERENCES.sub(r"\g<0><!-- -->", escaped)


def code(text: str, limit: int = MESSAGE_LIMIT) -> str:
    """A code span whose fence is longer than any run of backticks inside. Not for tables: `|` would end the cell."""
    shown = printable(text, limit)
    if not shown.strip():
        return "–"
    longest = max((len(run) for run in _BACKTICKS.findall(shown)), default=0)
    fence = "`" * (longest + 1)
    padding = " " if shown[0] in "` " or shown[-1] in "` " else ""
    return f"{fence}{padding}{shown}{padding}{fence}"


def cell(text: str, limit: int = 120) -> str:
    """A code element for a table cell: everything but letters, digits and harmless signs is a character reference."""
    shown = printable(text, limit).strip()
    return f"<code>{_CELL.sub(lambda match: f'&#{ord(match[0])};', shown)}</code>" if shown else "–"
