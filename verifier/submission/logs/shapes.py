"""The different kinds of lines of a log, to tell which print statements of a script ran."""

from __future__ import annotations

import re
from collections.abc import Sequence

_NUMBER = re.compile(r"[-+]?\d[\d.,]*(?:e[-+]?\d+)?")
KINDS = 4_000
"""Kinds of lines that are kept of one log; real ones have a few hundred."""
_WIDTH = 240


def distinct_lines(lines: Sequence[str], hidden: bytearray) -> tuple[tuple[int, str], ...]:
    """The first line of each kind (lines that differ in numbers only are one kind) with its 1-based number. `hidden`
    marks lines of an embedded source, which nothing printed at run time."""
    kinds: dict[str, tuple[int, str]] = {}
    for number, line in enumerate(lines, 1):
        if hidden[number - 1]:
            continue
        text = line[:_WIDTH]
        kind = _NUMBER.sub("0", text)
        if kind not in kinds:
            kinds[kind] = (number, text)
            if len(kinds) >= KINDS:
                break
    return tuple(kinds.values())
