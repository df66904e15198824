"""Markdown as blocks with source lines: headings, bullets, prose, code, tables.

Only the block structure is parsed; text stays as written. A hostile file can make inline parsing slow, and nothing here needs
it: emphasis and code marks are stripped from short pieces of text instead.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markdown_it import MarkdownIt

from verifier.evidence import Location, Problem, excerpt
from verifier.limits import MIB, Limits

if TYPE_CHECKING:
    from markdown_it.token import Token

README_BYTES = MIB // 2
"""Text that is read as Markdown; the largest real README has 64 kB."""
README_LINES = 10_000
LINE = 8_000
"""Characters kept of one line."""

_MARKS = re.compile(r"\*\*|__|~~|`|<[^<>]{0,80}>|(?<![A-Za-z0-9_])[*_]|[*_](?![A-Za-z0-9_])")
_LINK = re.compile(r"!?\[([^\[\]]{0,200})\]\([^()\s]{0,300}\)")


@dataclass(frozen=True, slots=True)
class Line:
    number: int
    text: str


@dataclass(frozen=True, slots=True)
class Block:
    """`kind` is `heading`, `bullet`, `prose`, `fenced` or `indented`; `info` is a fence's language."""

    kind: str
    lines: tuple[Line, ...]
    info: str = ""

    @property
    def text(self) -> str:
        return "\n".join(line.text for line in self.lines)


@dataclass(frozen=True, slots=True)
class RawTable:
    """Cell texts as written with the line of each row; the first row is the header."""

    rows: tuple[tuple[int, tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True)
class Page:
    path: str
    lines: tuple[str, ...]
    parts: tuple[Block | RawTable, ...]
    problems: tuple[Problem, ...]

    def line(self, number: int) -> str:
        return self.lines[number - 1] if 0 < number <= len(self.lines) else ""

    def place(self, number: int) -> Location:
        """A line with its text."""
        return Location(self.path, number, excerpt=excerpt(self.line(number)))

    @property
    def blocks(self) -> tuple[Block, ...]:
        return tuple(part for part in self.parts if isinstance(part, Block))

    @property
    def tables(self) -> tuple[RawTable, ...]:
        return tuple(part for part in self.parts if isinstance(part, RawTable))


def read_page(path: str, data: bytes, limits: Limits) -> Page:
    """Decode and split a README. What exceeds a limit is left out and reported."""
    problems: list[Problem] = []
    text = _decode(path, data, limits, problems)
    lines = text.split("\n")
    if len(lines) > README_LINES:
        problems.append(
            Problem(Location(path, README_LINES), "truncated", f"more than {README_LINES:,} lines; the rest is not read")
        )
        lines = lines[:README_LINES]
    most = min(LINE, limits.line_length)
    cut = [number for number, line in enumerate(lines, 1) if len(line) > most]
    if cut:
        problems.append(
            Problem(Location(path, cut[0]), "truncated", f"{len(cut)} lines are longer than {most:,} characters; cut")
        )
        lines = [line[:most] for line in lines]
    parts = _parts("\n".join(lines), lines, path, problems)
    return Page(path, tuple(lines), tuple(parts), tuple(problems))


def plain(text: str) -> str:
    """Text without Markdown's marks, on one line."""
    return " ".join(_MARKS.sub("", _LINK.sub(r"\1", text)).split())


def _decode(path: str, data: bytes, limits: Limits, problems: list[Problem]) -> str:
    most = min(README_BYTES, limits.text_file)
    if len(data) > most:
        problems.append(Problem(Location(path), "truncated", f"{len(data):,} bytes; only the first {most:,} are read"))
        data = data[:most]
    encoding = "utf-8-sig"
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as failure:
        if failure.start < most - 4:
            line = data.count(b"\n", 0, failure.start) + 1
            problems.append(Problem(Location(path, line), "undecodable", f"not valid {encoding}: byte {failure.start}"))
        text = data.decode(encoding, "replace")
    # One character per line end, and no separators that Markdown would count as a line and an editor would not.
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\x00", "\N{REPLACEMENT CHARACTER}")


def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"maxNesting": 12}).enable("table")
    parser.core.ruler.enableOnly(["block"])
    parser.block.ruler.disable("reference")
    return parser


def _parts(text: str, lines: Sequence[str], path: str, problems: list[Problem]) -> list[Block | RawTable]:
    parts: list[Block | RawTable] = []
    tokens = _parser().parse(text)
    in_list = 0
    heading = False
    table: list[tuple[int, tuple[str, ...]]] | None = None
    row: list[str] = []
    row_line = 0
    for token in tokens:
        if token.type == "list_item_open":
            in_list += 1
        elif token.type == "list_item_close":
            in_list -= 1
        elif token.type in ("heading_open", "heading_close"):
            heading = token.type == "heading_open"
        elif token.type == "table_open":
            table = []
        elif token.type == "table_close":
            parts.append(RawTable(tuple(table or ())))
            table = None
        elif token.type == "tr_open":
            row, row_line = [], _first_line(token)
        elif token.type == "tr_close" and table is not None:
            table.append((row_line, tuple(row)))
        elif token.type == "inline" and table is not None:
            row.append(token.content)
        elif token.type == "inline":
            kind = "heading" if heading else "bullet" if in_list else "prose"
            parts.append(Block(kind, _numbered(token.content, _first_line(token))))
        elif token.type == "fence":
            first = _first_line(token) + 1
            parts.append(Block("fenced", _numbered(token.content, first), token.info.strip().split(" ")[0].lower()))
            if not _closed(token, lines):
                problems.append(Problem(Location(path, first - 1), "unbalanced-fence", "a code fence is opened and never closed"))
        elif token.type == "code_block":
            parts.append(Block("indented", _numbered(token.content, _first_line(token))))
        elif token.type == "html_block":
            parts.append(Block("prose", _numbered(token.content, _first_line(token))))
    return parts


def _first_line(token: Token) -> int:
    return token.map[0] + 1 if token.map else 1


def _numbered(content: str, first: int) -> tuple[Line, ...]:
    return tuple(Line(first + index, text) for index, text in enumerate(content.removesuffix("\n").split("\n")))


def _closed(token: Token, lines: Sequence[str]) -> bool:
    if token.map is None or token.map[1] < len(lines):
        return True
    last = next((line for line in reversed(lines) if line.strip()), "")
    return last.strip().strip(">").strip().startswith(token.markup[:3])
