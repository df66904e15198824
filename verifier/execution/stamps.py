"""When each line of a run's output came, by a clock that the run can't reach: its own log states other times if it likes."""

from __future__ import annotations

import json
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import IO

LINES = 200_000
LINE = 1_000
BYTES = 64 * 1024 * 1024
"""Lines kept, characters kept of each, bytes kept of all; what follows is counted, not kept."""

type Stamped = tuple[tuple[float, str], ...]
"""(seconds since the start, text) of each line, in order."""


def stamp_output(output: bytes, arrived: Sequence[tuple[int, float]]) -> Stamped:
    """The lines of `output` with the seconds at which their ends came; `arrived` are (bytes that had come, seconds), in order."""
    lines = []
    at = 0
    for data in output.split(b"\n"):
        at += len(data) + 1
        if at > len(output) and not data:
            break
        found = bisect_left(arrived, min(at, len(output)), key=itemgetter(0))
        lines.append((arrived[found][1] if found < len(arrived) else arrived[-1][1] if arrived else 0.0, _shown(data)))
        if len(lines) == LINES:
            dropped = output.count(b"\n", at)
            return (*lines, (lines[-1][0], _not_kept(dropped))) if dropped else tuple(lines)
    return tuple(lines)


def stamp_lines(stream: Iterable[bytes], out: IO[str], started: float, note: Callable[[str], None] | None = None) -> None:
    """Write every line of `stream` with its time to `out`, and a last one that says how many were dropped, if any were."""
    kept = size = dropped = 0
    now = 0.0
    for data in stream:
        now = time.monotonic() - started
        text = _shown(data)
        entry = json.dumps([round(now, 4), text]) + "\n"
        if kept < LINES and size + len(entry) <= BYTES:
            kept, size = kept + 1, size + len(entry)
            out.write(entry)
            out.flush()
        else:
            dropped += 1
        if note is not None:
            note(text)
    if dropped:
        out.write(json.dumps([round(now, 4), _not_kept(dropped)]) + "\n")


def _shown(data: bytes) -> str:
    """One line here is one line for every reader: form feeds and the like would split it again."""
    return " ".join(data[: 4 * LINE].decode("utf-8", "replace").splitlines())[:LINE]


def _not_kept(count: int) -> str:
    return f"{count} more lines were printed and not kept"
