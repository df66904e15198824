"""One more run of a record: what it printed and when, what it left, how it ended; kept as a folder that can be read back."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from verifier.execution.stamps import LINE, LINES
from verifier.limits import MIB
from verifier.submission.logs.model import Run
from verifier.submission.logs.reader import read_log

STAMPS, FACTS, OUTPUT = "stamps.jsonl", "run.json", "output.log"
STAMP_FILE = 256 * MIB


class BadRun(Exception):
    """A kept run can't be read back."""


@dataclass(frozen=True, eq=False)
class Rerun:
    """`seconds` is wall time from outside, `lines` are (seconds since the start, text). `left` are the files it wrote, with bytes;
    `script` is the script that it ran (as in `left`), `script_bytes` its size on disk. `own_clock` is false where the harness
    gives the script a clock that counts calls: durations in its log are none then. `failure` is empty for a complete run."""

    seed: int | None
    completed: bool
    failure: str
    stage: str
    seconds: float
    script_bytes: int
    own_clock: bool
    lines: tuple[tuple[float, str], ...]
    left: dict[str, int] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    """How it ran, for the evidence: tier, memory, settings, what was mapped."""

    @property
    def text(self) -> str:
        return "".join(text + "\n" for _, text in self.lines)

    @cached_property
    def run(self) -> Run | None:
        """The output as a log: its last run, `None` when it holds none."""
        runs = read_log(OUTPUT, self.text.encode("utf-8", "replace")).runs
        return runs[-1] if runs else None

    def time_of(self, line: int | None) -> float | None:
        """When a line (1-based) came, in s since the start."""
        return self.lines[line - 1][0] if line is not None and 0 < line <= len(self.lines) else None


def write_run(rerun: Rerun, folder: Path) -> None:
    """Keep a run below an existing folder."""
    facts = {
        "seed": rerun.seed, "completed": rerun.completed, "failure": rerun.failure, "stage": rerun.stage, "seconds": round(rerun.seconds, 3),
        "script_bytes": rerun.script_bytes, "own_clock": rerun.own_clock, "left": rerun.left, "facts": rerun.facts,
    }  # fmt: skip
    (folder / OUTPUT).write_text(rerun.text, encoding="utf-8", errors="replace")
    (folder / STAMPS).write_text("".join(json.dumps(list(line)) + "\n" for line in rerun.lines), encoding="ascii")
    (folder / FACTS).write_text(json.dumps(facts, indent=2, sort_keys=True) + "\n", encoding="ascii")


def load_run(folder: Path) -> Rerun:
    """Raises `BadRun`."""
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="ascii"))
        return Rerun(
            seed=facts["seed"],
            completed=bool(facts["completed"]),
            failure=str(facts["failure"]),
            stage=str(facts["stage"]),
            seconds=float(facts["seconds"]),
            script_bytes=int(facts["script_bytes"]),
            own_clock=bool(facts["own_clock"]),
            lines=read_stamps(folder / STAMPS),
            left={str(name): int(size) for name, size in facts["left"].items()},
            facts=dict(facts["facts"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as failure:
        raise BadRun(f"{folder.name} can't be read back: {failure}") from failure


def read_stamps(path: Path) -> tuple[tuple[float, str], ...]:
    """Lines with their times. The file may come from a hostile run: what does not fit ends the reading. Missing: no lines."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size > STAMP_FILE:
        return ()
    with path.open("rb") as file:
        return tuple(_checked(file))


def _checked(lines: Iterable[bytes]) -> Iterable[tuple[float, str]]:
    last = 0.0
    for number, line in enumerate(lines):
        try:
            seconds, text = json.loads(line)
        except (ValueError, TypeError, RecursionError):
            return
        timed = isinstance(seconds, int | float) and not isinstance(seconds, bool) and math.isfinite(seconds) and seconds >= last
        if number > LINES or not timed or not isinstance(text, str):
            return
        last = float(seconds)
        yield last, " ".join(text[:LINE].splitlines())
