"""Reading a record back: events, losses and what was counted, checked and bounded. Nothing in it is trusted to be well formed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifier.limits import MIB
from verifier.sandbox.results import Refused, ResultLimits, read_records, read_regular

EVENT_FILE = 256 * MIB
ARRAY_FILE = 256 * MIB
LINE = 4_000
EVENTS = 250_000


class BadRecord(Exception):
    """The record can't be read: missing, cut off, or not what the recorder writes."""


@dataclass(frozen=True, slots=True)
class Event:
    """`number` orders the events of a run; `entries` hold what the kind of event has."""

    number: int
    kind: str
    entries: dict[str, Any]

    def text(self, name: str) -> str:
        value = self.entries.get(name)
        return value if isinstance(value, str) else ""

    def whole(self, name: str) -> int:
        value = self.entries.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0


@dataclass(frozen=True, slots=True)
class Span:
    """Losses `start` to `start + count` formed by one call. `grad`: under a gradient; `width`: size of the distribution;
    `plain`: neither weighted nor smoothed; `mixed`: no cross entropy, but computed from losses of the same targets."""

    number: int
    start: int
    count: int
    grad: bool
    width: int
    plain: bool
    site: str
    mixed: bool = False


@dataclass(frozen=True, eq=False)
class Observations:
    """All that one run left. The arrays have one entry per loss; `counted` are indices into them in the order of counting."""

    events: tuple[Event, ...]
    targets: NDArray[np.int32]
    losses: NDArray[np.float32]
    rows: NDArray[np.uint64]
    counted: NDArray[np.int64]
    logs: NDArray[np.float64]
    """Logarithms of probabilities that the script took outside of torch."""

    def of(self, *kinds: str) -> tuple[Event, ...]:
        return tuple(event for event in self.events if event.kind in kinds)

    @cached_property
    def spans(self) -> tuple[Span, ...]:
        """The cross entropies in order. Raises `BadRecord` when they, or what was counted of them, don't tile the arrays."""
        spans: list[Span] = []
        self._check_tiles("scores", len(self.losses))
        self._check_tiles("counted", len(self.counted))
        self._check_tiles("logs", len(self.logs))
        for event in self.of("scores"):
            spans.append(
                Span(
                    event.number,
                    event.whole("start"),
                    event.whole("count"),
                    event.entries.get("grad") is True,
                    event.whole("width"),
                    event.entries.get("plain") is True,
                    event.text("site"),
                    event.entries.get("mixed") is True,
                )
            )
        return tuple(spans)

    def _check_tiles(self, kind: str, length: int) -> None:
        expected = 0
        for event in self.of(kind):
            start, count = event.whole("start"), event.whole("count")
            if start != expected or start + count > length:
                raise BadRecord("the record's arrays and its events do not fit together")
            expected = start + count

    @cached_property
    def end(self) -> Event | None:
        ends = self.of("end")
        return ends[-1] if ends else None

    @property
    def completed(self) -> bool:
        return self.end is not None and self.end.entries.get("ok") is True

    @property
    def limited(self) -> tuple[str, ...]:
        """Limits of the recorder that the run hit."""
        return tuple(event.text("what") for event in self.of("limit"))


def read_observations(folder: Path, trunk: Observations | None = None) -> Observations:
    """Raises `BadRecord`. With `trunk`, `folder` holds what a copy of that run's process wrote after it branched off: the
    result is the whole run of the copy."""
    try:
        arrays = (
            _array(folder / "targets.i32", np.dtype("<i4")),
            _array(folder / "losses.f32", np.dtype("<f4")),
            _array(folder / "rows.u64", np.dtype("<u8")),
        )
        counted = _array(folder / "counted.i64", np.dtype("<i8"))
        logs = _array(folder / "logs.f64", np.dtype("<f8"))
        events = _events(folder / "events.jsonl")
    except Refused as refused:
        raise BadRecord(f"the record can't be read: {refused}") from refused
    # A killed run may have flushed one array further than another.
    length = min(len(values) for values in arrays)
    if trunk is not None:
        return _join(trunk, Observations(events, arrays[0][:length], arrays[1][:length], arrays[2][:length], counted, logs))
    if len(counted) and (int(counted.min()) < 0 or int(counted.max()) >= length):
        raise BadRecord("the record counts losses that it does not hold")
    return Observations(events, arrays[0][:length], arrays[1][:length], arrays[2][:length], counted, logs)


def _join(trunk: Observations, branch: Observations) -> Observations:
    first = branch.events[0].number if branch.events else -1
    at = next((event for event in trunk.of("branching") if event.number == first - 1), None)
    if at is None:
        raise BadRecord("the run did not branch there")
    scores, counts, logs = at.whole("scores"), at.whole("counts"), at.whole("logs")
    if scores > len(trunk.losses) or counts > len(trunk.counted) or logs > len(trunk.logs):
        raise BadRecord("the run branched off after its end")
    joined = Observations(
        (*(event for event in trunk.events if event.number <= at.number), *branch.events),
        np.concatenate([trunk.targets[:scores], branch.targets]),
        np.concatenate([trunk.losses[:scores], branch.losses]),
        np.concatenate([trunk.rows[:scores], branch.rows]),
        np.concatenate([trunk.counted[:counts], branch.counted]),
        np.concatenate([trunk.logs[:logs], branch.logs]),
    )
    if len(joined.counted) and (int(joined.counted.min()) < 0 or int(joined.counted.max()) >= len(joined.losses)):
        raise BadRecord("the record counts losses that it does not hold")
    return joined


def _array(path: Path, kind: np.dtype[Any]) -> NDArray[Any]:
    data = read_regular(path, ARRAY_FILE)
    return np.frombuffer(data[: len(data) - len(data) % kind.itemsize], dtype=kind)


def _events(path: Path) -> tuple[Event, ...]:
    data = read_regular(path, EVENT_FILE)
    events: list[Event] = []
    for entries in read_records(data, ResultLimits(records=EVENTS, line=LINE)) if data else ():
        number, kind = entries.pop("n", None), entries.pop("kind", None)
        if not isinstance(number, int) or not isinstance(kind, str):
            raise BadRecord("the record holds a line that is no event")
        events.append(Event(number, kind, dict(entries)))
    return tuple(events)
