"""Tokens of C, with their lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

MOST_TOKENS = 60_000
"""Tokens of one text that are read."""
_TOKEN = re.compile(
    r"//[^\n]*|/\*.*?\*/|(?P<text>\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*')|(?P<name>[A-Za-z_]\w*)"
    r"|(?P<number>(?:0[xX][0-9a-fA-F]+|\d[\d.]*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)[uUlLfF]*)"
    r"|(?P<mark><<=|>>=|\.\.\.|->|\+\+|--|<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%&|^]=|[-+*/%&|^~!<>=?:;,.(){}\[\]])",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class CToken:
    kind: str
    text: str
    line: int


class CSyntaxError(Exception):
    """The text leaves the part of C that is read."""


def tokenize(text: str) -> Iterator[CToken]:
    """Tokens with lines; comments and preprocessor lines are left out."""
    lines = text.split("\n")
    kept: list[str] = []
    continued = False
    for line in lines:
        directive = continued or line.lstrip().startswith("#")
        continued = directive and line.rstrip().endswith("\\")
        kept.append("" if directive else line)
    position, line_number, count = 0, 1, 0
    source = "\n".join(kept)
    for found in _TOKEN.finditer(source):
        line_number += source.count("\n", position, found.start())
        position = found.start()
        if found.lastgroup is not None:
            count += 1
            if count > MOST_TOKENS:
                raise CSyntaxError(f"more than {MOST_TOKENS:,} tokens")
            yield CToken(found.lastgroup, found.group(), line_number)
