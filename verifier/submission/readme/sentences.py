"""Sentences of headings, bullets, prose and table rows, each with the line it starts in."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

from verifier.evidence import Location
from verifier.submission.readme.blocks import Block, Page, RawTable, plain

SENTENCE = 1_200
"""Characters looked at in one sentence."""
_BREAK = re.compile(r"(?<=[.!?;])\s+(?=[A-Z*`\[(#])|\n(?=\s*(?:[-*✅❌✓]|\d+\.)\s)")


@dataclass(frozen=True, slots=True)
class Sentence:
    """`form` is `bullet`, `prose`, `heading`, `table` or `json`; `section` is the heading it stands under. `lines` are the places
    of a sentence that spans lines, with the offset in `text` at which each begins."""

    text: str
    form: str
    section: str
    source: Location
    lines: tuple[tuple[int, Location], ...] = ()

    def at(self, offset: int) -> Location:
        """The line in which the character at `offset` stands."""
        return next((place for start, place in reversed(self.lines) if start <= offset), self.source)


def read_sentences(page: Page) -> tuple[Sentence, ...]:
    found: list[Sentence] = []
    section = ""
    for part in page.parts:
        if isinstance(part, RawTable):
            found += _rows(page, part, section)
        elif part.kind in ("heading", "bullet", "prose"):
            if part.kind == "heading":
                section = plain(part.text[:SENTENCE])
            found += _of_block(page, part, section)
    return tuple(found)


def _rows(page: Page, table: RawTable, section: str) -> Iterable[Sentence]:
    for line, texts in table.rows:
        text = " | ".join(plain(text[:SENTENCE]) for text in texts[:40])
        yield Sentence(text[:SENTENCE], "table", section, page.place(line))


def _of_block(page: Page, block: Block, section: str) -> Iterable[Sentence]:
    text = block.text
    starts = [0]
    for line in block.lines:
        starts.append(starts[-1] + len(line.text) + 1)
    begin = 0
    for end in (*(found.end() for found in _BREAK.finditer(text)), len(text)):
        offset, clean = begin, ""
        places: list[tuple[int, Location]] = []
        for piece in text[begin : min(end, begin + SENTENCE)].split("\n"):
            words = plain(piece)
            if words:
                number = block.lines[min(bisect_right(starts, offset), len(block.lines)) - 1].number
                clean += " " if clean else ""
                places.append((len(clean), page.place(number)))
                clean += words
            offset += len(piece) + 1
        if clean:
            yield Sentence(clean, block.kind, section, places[0][1], tuple(places))
        begin = end
