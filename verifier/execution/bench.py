"""One run of a submission: laid out, launched, read back, and what it left thrown away or kept as evidence."""

from __future__ import annotations

import math
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from verifier.execution.launch import MEMORY, OWN, RECORD, Ending, launch
from verifier.execution.observations import BadRecord, Observations, read_observations
from verifier.execution.passes import Run
from verifier.execution.seal import is_sealed
from verifier.execution.toy_data import ToyData, swap_token
from verifier.execution.workspace import leftover_bytes, prepare

LEFT = "files"
"""Where what a run leaves is kept: apart from what is written about it."""


@dataclass(frozen=True, slots=True)
class Budget:
    """Seconds of wall time: `total` for all runs of a folder, `single` for one run. `memory`: bytes of one run."""

    total: float = 600.0
    single: float = 300.0
    memory: int = MEMORY


@dataclass(frozen=True, slots=True)
class Attempt:
    """One run. `run` is `None` when it left no readable record; `stage` says how far it came. `branches` are the runs of the
    copies of its process, in the order that was asked for; `None` for one that was not made or left no complete record."""

    name: str
    ending: Ending
    run: Run | None
    stage: str
    left: dict[str, int] = field(default_factory=dict)
    branches: tuple[Run | None, ...] = ()
    sealed: bool = True
    """Whether the record is what the recorder wrote, to the last byte."""

    @property
    def completed(self) -> bool:
        held = self.run.observations if self.run is not None else None
        return held is not None and held.completed and not held.limited and not self.tampering

    @property
    def raised(self) -> bool:
        """Whether an exception of the script's own ended it, and nothing that it needs was missing."""
        held = self.run.observations if self.run is not None else None
        end = held.end if held is not None else None
        if held is None or end is None or end.entries.get("ok") is True or end.text("stage"):
            return False
        return not held.of("not-supported") and not held.limited and not self.tampering

    @property
    def tampering(self) -> str:
        """What the script did to what watches it, or that its record was changed; empty when neither is known."""
        if self.run is None:
            return ""
        found = [f"{event.text('what')} ({event.text('site')})" for event in self.run.observations.of("tampering")]
        if self.run.observations.completed and not self.sealed:
            found.append("the record is not what the recorder wrote")
        return "; ".join(found[:3])

    @property
    def failure(self) -> str:
        """One line: why there is no complete run; empty when there is one."""
        if self.completed:
            return ""
        if not self.ending.started:
            return f"the sandbox could not run it: {self.ending.detail}"
        if self.run is not None:
            if self.tampering:
                return f"tampering: {self.tampering}"
            missing = [event.text("operator") for event in self.run.observations.of("not-supported")]
            if missing:
                return f"not-supported: {', '.join(missing[:5])}"
            if self.run.observations.limited:
                return f"more happened than is recorded: {', '.join(self.run.observations.limited)[:200]}"
            end = self.run.observations.end
            if end is not None:
                message = " ".join(end.text("message").split())[:300]
                if end.text("stage") == "start":
                    return f"the Python that runs the script has no torch ({message}): name another one"
                return f"{end.text('error')}: {message} ({end.text('where')})"
        return self.ending.detail or f"it ended with code {self.ending.exit_code} and left no record of its end"


@dataclass(frozen=True, slots=True)
class Branching:
    """Copies of a process with other tokens (`swaps`: position, value), within so many seconds. They are made after event
    `points[position]` where that is known, else at the event `after` (for the child)."""

    after: Mapping[str, object]
    points: Mapping[int, int]
    swaps: tuple[tuple[int, int], ...]
    seconds: float

    def plan(self, data: ToyData) -> dict[str, object]:
        """For the child: with `AROUND` tokens on either side to know the place by."""
        swaps: list[dict[str, object]] = []
        for position, value in self.swaps:
            first = max(0, position - AROUND)
            around = data.val[first : position + AROUND + 1].tolist()
            swap: dict[str, object] = {"position": position, "value": value, "around": around, "offset": position - first}
            swaps.append({**swap, "at": self.points[position]} if position in self.points else swap)
        return {"after": dict(self.after), "swaps": swaps, "seconds": self.seconds}


AROUND = 5


@dataclass(slots=True)
class Bench:
    """Runs one submission again and again within a budget."""

    folder: Path
    script: str
    arguments: Sequence[str]
    texts: Sequence[str]
    python: Path
    budget: Budget
    keep: Path | None
    unsafe: bool
    label: str = ""
    """Of the claimed metric in the script's output."""
    started: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float:
        """Seconds left of the budget."""
        return self.budget.total - (time.monotonic() - self.started)

    def affords(self, seconds: float) -> bool:
        """Whether another run of about that long fits."""
        return self.left >= seconds

    def run(
        self,
        name: str,
        data: ToyData,
        environment: Mapping[str, str],
        *,
        replaced: Mapping[str, str] | None = None,
        branching: Branching | None = None,
    ) -> Attempt:
        """Raises `CannotPrepare`."""
        with scratch_folders() as (workspace, results):
            laid = prepare(
                self.folder, self.script, self.arguments, data, self.texts, workspace, environment,
                replaced=replaced, branches=branching.plan(data) if branching is not None else None,
            )  # fmt: skip
            seconds = max(1.0, min(self.budget.single, self.left))
            ending = launch(
                laid.inputs, results, laid.environment, self.python, seconds, unsafe=self.unsafe, memory=self.budget.memory
            )
            run = _read(results / RECORD, data, None, self.label)
            branches: tuple[Run | None, ...] = ()
            if branching is not None and run is not None:
                branches = tuple(
                    _read_branch(
                        results / RECORD / f"branch-{number}", data, run.observations, position, value, laid.key, self.label
                    )
                    for number, (position, value) in enumerate(branching.swaps)
                )
            if self.keep is not None:
                keep_evidence(results, self.keep / name, ending)
            sealed = is_sealed(results / RECORD, laid.key)
            return Attempt(name, ending, run, stage_of(run), leftover_bytes(results), branches, sealed)


@contextmanager
def scratch_folders() -> Iterator[tuple[Path, Path]]:
    """An empty workspace and an empty folder for results. Not below /tmp: a tier with a root of its own replaces that folder."""
    place = Path("/var/tmp") if Path("/var/tmp").is_dir() else None
    base = Path(tempfile.mkdtemp(prefix="verifier-run-", dir=place))
    try:
        for name in ("workspace", "results"):
            (base / name).mkdir()
        yield base / "workspace", base / "results"
    finally:
        shutil.rmtree(base, ignore_errors=True)


def _read(folder: Path, data: ToyData, trunk: Observations | None, label: str) -> Run | None:
    try:
        run = Run(read_observations(folder, trunk), data, label=label)
        run.observations.spans  # noqa: B018  (checks that the record fits together)
    except BadRecord:
        return None
    return run


def _read_branch(folder: Path, data: ToyData, trunk: Observations, position: int, value: int, key: str, label: str) -> Run | None:
    if not folder.is_dir() or folder.is_symlink() or not is_sealed(folder, key):
        return None
    run = _read(folder, swap_token(data, position, value), trunk, label)
    return run if run is not None and run.observations.completed and not run.observations.limited else None


def stage_of(run: Run | None) -> str:
    """How far a run came, by what it did last."""
    if run is None:
        return "nothing recorded"
    stages = {"start": "import", "file": "data", "update": "training", "scores": "scoring", "end": "end"}
    stage = "start"
    for event in run.observations.events:
        if event.kind == "end" and event.entries.get("ok") is True:
            return "end"
        if event.kind in stages and event.kind != "end":
            stage = stages[event.kind]
    return stage


def keep_evidence(results: Path, target: Path, ending: Ending) -> None:
    """Copy the evidence of a run: the record, the streams, what the script wrote."""
    copy_regular(results, target / LEFT, {"data", *(OWN - {RECORD})})
    target.mkdir(parents=True, exist_ok=True)
    (target / "output.txt").write_text(ending.output, encoding="utf-8", errors="replace")


def copy_regular(results: Path, target: Path, without: Set[str], largest: float = math.inf) -> None:
    """Copy the regular files of a run of at most `largest` bytes, but for folders and files of these names at the top."""
    for path in sorted(results.rglob("*")):
        relative = path.relative_to(results)
        if path.is_file() and not path.is_symlink() and relative.parts[0] not in without and path.stat().st_size <= largest:
            (target / relative).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target / relative)
