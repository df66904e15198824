"""`python -m verifier.execution.child.stamps PLAN.json`: run a command and note when each line of its output came.

A script states its own times; what a clock outside of it saw stands beside them. The plan's `command` is run, or the recording
child when it names none; each line of its output goes to `stamps` as `[seconds since the start, text]`. Standard library only:
this runs where nothing else of the package is.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO

LINES = 200_000
LINE = 1_000
BYTES = 64 * 1024 * 1024
"""Lines kept, characters kept of each, bytes kept of all; what follows is counted, not kept."""


def stamp_lines(stream: Iterable[bytes], out: IO[str], started: float, note: Callable[[str], None] | None = None) -> None:
    """Write every line of `stream` with its time to `out`, and a last one that says how many were dropped, if any were."""
    kept = size = dropped = 0
    now = 0.0
    for data in stream:
        now = time.monotonic() - started
        # One line here is one line for every reader: form feeds and the like would split it again.
        text = " ".join(data[: 4 * LINE].decode("utf-8", "replace").splitlines())[:LINE]
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
        out.write(json.dumps([round(now, 4), f"{dropped} more lines were printed and not kept"]) + "\n")


def main() -> int:
    plan = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    command = plan.get("command") or [sys.executable, "-u", "-m", "verifier.execution.child", sys.argv[1]]
    started = time.monotonic()
    with Path(plan["stamps"]).open("w", encoding="ascii") as out:
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        with process.stdout as stream:
            stamp_lines(iter(lambda: stream.readline(65_536), b""), out, started)
        return process.wait()


if __name__ == "__main__":
    sys.exit(main())
