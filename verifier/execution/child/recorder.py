"""The record of a run: one JSON line per event, plain little-endian arrays for scores. Bounded, never pickled.

`events.jsonl` holds events in the order they happened (`n` is a running number, `kind` says what). `targets.i32`, `losses.f32`
and `rows.u64` have one entry per target for which a cross entropy was formed; `counted.i64` holds indices into them: which of these
losses the script added up itself. `logs.f64` are logarithms of probabilities that it took outside of torch.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from verifier.execution.child.sealed import SealedFile

EVENT_LIMIT = 200_000
EVENT_BYTES = 2_000
SCORE_LIMIT = 20_000_000
COUNTED_LIMIT = 20_000_000


class NotSupported(RuntimeError):
    """The script needs something that has no equivalent here."""

    def __init__(self, operator: str) -> None:
        super().__init__(f"not-supported: {operator}")
        self.operator = operator


class Recorder:
    """Writes the record. Past a limit it notes that once and drops what follows."""

    def __init__(self, folder: Path, key: bytes = b"") -> None:
        self._key = key
        self._open(folder)
        self._number = 0
        self._scores = 0
        self._counts = 0
        self._logged = 0
        self._held: list[tuple[int, npt.NDArray[np.int32], npt.NDArray[np.uint64]]] = []
        self._full: set[str] = set()
        self._lock = threading.RLock()
        self.missing: set[str] = set()
        self.watch: Callable[[int, str, dict[str, Any]], None] | None = None
        """Told of each event after it is written."""

    def _open(self, folder: Path | None) -> None:
        """Without a folder, what is written goes nowhere."""
        self._folder = folder
        names = ("events.jsonl", "targets.i32", "losses.f32", "rows.u64", "counted.i64", "logs.f64")
        self._files = [SealedFile(folder / name if folder is not None else Path(os.devnull), self._key) for name in names]
        self._events, self._targets, self._losses, self._rows, self._counted, self._logs = self._files

    def silence(self) -> None:
        """In a copy of the process that the script made: record nothing more."""
        self.watch = None
        for file in self._files:
            file.close()
        self._open(None)

    def fork_here(self) -> None:
        """Note how much was written before copies of this process go on with records of their own."""
        self.event("branching", scores=self._scores, counts=self._counts, logs=self._logged)

    def branch(self, folder: Path) -> None:
        """In a copy of the process: go on in another folder. Numbers and indices go on too."""
        self._open(folder)

    def event(self, kind: str, **entries: Any) -> int:
        """Write one event; returns its number."""
        with self._lock:
            number = self._number
            self._number += 1
            if number >= EVENT_LIMIT and kind not in ("end", "limit"):
                self._over("events")
                return number
            text = json.dumps({"n": number, "kind": kind, **entries}, ensure_ascii=True, allow_nan=False, default=str)
            if len(text) > EVENT_BYTES:
                shortened = {key: value[:200] if isinstance(value, str) else value for key, value in entries.items()}
                text = json.dumps({"n": number, "kind": kind, **shortened, "cut": True}, ensure_ascii=True, default=str)
            if len(text) <= EVENT_BYTES:
                self._events.write(text + "\n")
                self._events.flush()
            if self.watch is not None:
                self.watch(number, kind, entries)
            return number

    def scores(
        self, targets: npt.NDArray[np.int32], losses: npt.NDArray[np.float32], rows: npt.NDArray[np.uint64], **entries: Any
    ) -> int | None:
        """Write the losses of one cross entropy; returns the index of the first, `None` past the limit.

        `rows` are digests of the distributions, one per target.
        """
        with self._lock:
            start = self._scores
            if start + len(targets) > SCORE_LIMIT:
                self._over("scores")
                return None
            self._scores += len(targets)
            self._targets.write(targets.astype("<i4").tobytes())
            self._losses.write(losses.astype("<f4").tobytes())
            self._rows.write(rows.astype("<u8").tobytes())
            # An event never speaks of losses that a stopped run would not have left.
            for file in (self._targets, self._losses, self._rows):
                file.flush()
            self._held.append((start, targets.astype(np.int32), rows))
            self.event("scores", start=start, count=len(targets), **entries)
            return start

    def targets_of(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        """Targets of losses that were recorded."""
        return np.concatenate([self._held[block][1][places] for block, places in self._blocks(indices)])

    def rows_of(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
        """Digests of the distributions of losses that were recorded."""
        return np.concatenate([self._held[block][2][places] for block, places in self._blocks(indices)])

    def _blocks(self, indices: npt.NDArray[np.int64]) -> list[tuple[int, npt.NDArray[np.int64]]]:
        """Runs of indices by the block that holds them, with their places in it."""
        starts = np.array([start for start, _, _ in self._held], dtype=np.int64)
        blocks = np.searchsorted(starts, indices, side="right") - 1
        borders = np.flatnonzero(np.diff(blocks)) + 1
        return [
            (int(part[0]), run - starts[part[0]])
            for part, run in zip(np.split(blocks, borders), np.split(indices, borders), strict=True)
        ]

    def counted(self, indices: npt.NDArray[np.int64], how: str, site: str) -> None:
        """Write which losses the script put into a sum, a mean or a number of its own."""
        with self._lock:
            known = indices[indices >= 0]
            start = self._counts
            if start + len(known) > COUNTED_LIMIT:
                self._over("counted")
                return
            self._counts += len(known)
            self._counted.write(known.astype("<i8").tobytes())
            self._counted.flush()
            self.event("counted", start=start, count=len(known), how=how, site=site)

    def logarithms(self, values: npt.NDArray[np.float64], site: str) -> None:
        """Write logarithms that the script took itself, in order."""
        with self._lock:
            start = self._logged
            if start + len(values) > COUNTED_LIMIT:
                self._over("logs")
                return
            self._logged += len(values)
            self._logs.write(values.astype("<f8").tobytes())
            self._logs.flush()
            self.event("logs", start=start, count=len(values), site=site)

    def not_supported(self, operator: str) -> NotSupported:
        """Note it and return the exception to raise (a script may swallow it; the note stays)."""
        if operator not in self.missing:
            self.missing.add(operator)
            self.event("not-supported", operator=operator)
        return NotSupported(operator)

    def mapped(self, what: str, equivalent: str) -> None:
        """Note once that something of the script's was replaced by an equivalent."""
        key = f"mapped:{what}"
        if key not in self.missing:
            self.missing.add(key)
            self.event("mapped", what=what, equivalent=equivalent)

    def close(self) -> None:
        with self._lock:
            if self._folder is not None:
                (self._folder / "seal.json").write_text(
                    json.dumps({file.name: file.seal for file in self._files}), encoding="ascii"
                )
            for file in self._files:
                file.close()

    def _over(self, what: str) -> None:
        if what not in self._full:
            self._full.add(what)
            self.event("limit", what=what)
