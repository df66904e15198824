"""Cut the script's own source out of a log.

About a third of all logs begin with, or contain, the whole script as text. Its format strings and comments look like metric
lines, so it goes first. What is cut is kept: rules compare it with the shipped script.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from verifier.submission.logs.model import EmbeddedSource

_STRONG_FIRST = ("class ", "def ", "@torch", "import ", "from ", "if __name__")
_STRONG = re.compile(r"(?:class \w+|def \w+\(|@torch|import \w|from [\w.]+ import\b|if __name__ ?==)")
_SEPARATOR = re.compile(r"={40,}\s*$")
_RUN_LINE = re.compile(
    r"(?:Running P|Python \d|logs/\S+\.txt\s*$|\*{20}|W\d{4} |Hyperparameters:|  [a-z_0-9]+: \S+\s*$|seed:\s?\d|model_params:\s?\d"
    r"|(?:warmup_)?step:\s?\d+/\d|\d+/\d+ \w+_loss:|val_bpb:enabled|train_loader:\w|val_loader:\w|world_size:\d|stopping_early: )"
)
_MIN_STRONG = 3
"""Definitions, classes or imports at column 0 that make a block source; a lone `import` in prose does not."""
_DENSE_WINDOW = 12
_DENSE_RUN_LINES = 3
"""So many run lines close together end the source; a docstring that quotes one result line does not."""
_SOURCE_LIKE = re.compile(
    r"\s|$|[#)\]}'\"@]|[rbfu]?[\"']{3}|(?:import|from|try|except|if|else|with|for|class|def)\b|\w+(?:: \w+)? = "
)
_QUOTE = re.compile(r"[rbfu]?(?:\"\"\"|''')")
_LONGEST_DOCSTRING = 120
_NOT_A_RUN_LINE = frozenset(("", " ", "\t", "#", ")", "]", "}", '"', "'"))
_LOOK_BACK = 400


@dataclass(frozen=True, slots=True)
class SourceCut:
    """`sources` in file order; `hidden[i]` is true where line `i + 1` belongs to a source block."""

    sources: tuple[EmbeddedSource, ...]
    hidden: bytearray


def cut_embedded_source(lines: list[str]) -> SourceCut:
    """Find every block of Python source and its closing rule of `=` signs."""
    hidden = bytearray(len(lines))
    strong = [at for at, line in enumerate(lines) if line.startswith(_STRONG_FIRST) and _STRONG.match(line)]
    sources: list[EmbeddedSource] = []
    position = 0
    while len(strong) - position >= _MIN_STRONG:
        first = strong[position]
        end, used = _end_of_source(lines, strong, position)
        if used - position < _MIN_STRONG:
            position = used
            continue
        start = _start_of_source(lines, first, sources[-1].last_line if sources else 0)
        while end > start and not lines[end - 1].strip():
            end -= 1
        sources.append(EmbeddedSource(start + 1, end, "\n".join(lines[start:end])))
        hidden[start:end] = b"\x01" * (end - start)
        position = used
    return SourceCut(tuple(sources), hidden)


def _end_of_source(lines: list[str], strong: list[int], position: int) -> tuple[int, int]:
    """The index after the last line of the block that starts at `strong[position]`, and the first strong line after it."""
    at = last = strong[position]
    run_lines: list[int] = []
    used = position
    end = len(lines)
    while at < len(lines):
        line = lines[at]
        if used < len(strong) and at == strong[used]:
            last = at
            used += 1
        elif line.startswith("=") and _SEPARATOR.match(line):
            return at, used
        elif line[:1] not in _NOT_A_RUN_LINE and _RUN_LINE.match(line):
            run_lines = [seen for seen in run_lines if seen > at - _DENSE_WINDOW] + [at]
            if len(run_lines) >= _DENSE_RUN_LINES:
                end = run_lines[0]
                break
        at += 1
    if at >= len(lines):
        end = _end_of_body(lines, last)
    return end, used


def _end_of_body(lines: list[str], last: int) -> int:
    """Without a closing rule the source ends with the indented body of its last definition."""
    at = last + 1
    while at < len(lines) and (not lines[at].strip() or lines[at][0] in " \t)]}#"):
        at += 1
    return at


def _start_of_source(lines: list[str], first: int, floor: int) -> int:
    """Comments, imports and the docstring above the first definition belong to the source; log lines and rules do not."""
    at = first
    while at > floor and first - at < _LOOK_BACK:
        line = lines[at - 1]
        if (line.startswith("=") and _SEPARATOR.match(line)) or line.startswith("Source code:") or _RUN_LINE.match(line):
            break
        if not _SOURCE_LIKE.match(line):
            opened = _opening_quote(lines, at - 1, floor)
            if opened is None:
                break
            at = opened
            continue
        at -= 1
    while at < first and not lines[at].strip():
        at += 1
    return at


def _opening_quote(lines: list[str], at: int, floor: int) -> int | None:
    """The line that opens the docstring in which line `at` stands, if there is one."""
    for back in range(at, max(floor, at - _LONGEST_DOCSTRING) - 1, -1):
        if back < 0 or _RUN_LINE.match(lines[back]):
            return None
        if _QUOTE.match(lines[back]):
            return back
    return None
