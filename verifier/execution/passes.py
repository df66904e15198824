"""Which losses the script's final number is made of.

The run prints a loss; before it, losses were formed and added up. A pass is accepted as the one behind the printed number only
when the number follows from it to the printed digits. Otherwise there is no pass, and no probe may say that all is well.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from verifier.execution.observations import Event, Observations
from verifier.execution.positions import Locator
from verifier.execution.toy_data import ToyData
from verifier.submission.logs.model import Metric
from verifier.submission.logs.reader import read_log

CLOSE, LOOSE = 1e-7, 2e-6
"""Relative difference between a mean in the script's precision and ours: sums in double precision, and in single. The looser
one only for a pass over nearly the whole stream: losses of a barely trained model lie so close together that the mean of
some part of them may come near any number."""
WHOLE = 0.95
PLACES = 8
"""Places of a script whose counted losses are looked at by themselves."""
NOTHING = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Printed:
    """The final metric as printed, and the event that printed it."""

    metric: Metric
    number: int
    earlier: tuple[int, ...]
    """Events of the metric lines before it, latest first."""


@dataclass(frozen=True, slots=True, eq=False)
class Pass:
    """The losses behind the printed number: indices into the record, in the order of counting, with their positions in the
    validation stream (-1: not found there). `how`: `counted` by the script's own sums, `first-scores` or `last-scores` of
    each position, or `logarithms` that the script took outside of torch: then `indices` are the neural losses in whose order they came.
    `numbers` are the events in which the losses were formed."""

    indices: NDArray[np.int64]
    positions: NDArray[np.int64]
    losses: NDArray[np.float64]
    numbers: NDArray[np.int64]
    how: str


@dataclass(frozen=True, eq=False)
class Run:
    """One run's record, with the data it was given."""

    observations: Observations
    data: ToyData
    label: str = field(default="", kw_only=True)
    """Label of the metric that the submission claims, where its logs tell: a script may print others after it."""

    @cached_property
    def printed(self) -> Printed | None:
        lines = self.observations.of("line")
        text = "\n".join(event.text("text").replace("\n", " ").replace("\r", " ") for event in lines)
        runs = read_log("probe.log", text.encode("utf-8", "replace")).runs
        if not runs or runs[-1].headline is None:
            return None
        wanted = self.label.removesuffix("_exact")
        claimed = [one for one in runs[-1].metrics if wanted and one.label.removesuffix("_exact") == wanted]
        metric = claimed[-1] if claimed else runs[-1].headline
        numbers = [lines[other.source.line - 1].number for run in runs for other in run.metrics if other.source.line is not None]
        assert metric.source.line is not None
        number = lines[metric.source.line - 1].number
        return Printed(metric, number, tuple(sorted({at for at in numbers if at < number}, reverse=True)))

    @cached_property
    def positions(self) -> NDArray[np.int64]:
        """Position in the validation stream of each recorded loss."""
        locator = Locator(self.data.val)
        found = np.full(len(self.observations.losses), -1, dtype=np.int64)
        for span in self.observations.spans:
            part = slice(span.start, span.start + span.count)
            found[part] = locator.locate(self.observations.targets[part])
        return found

    @cached_property
    def formed(self) -> NDArray[np.int64]:
        """Number of the event in which each loss was formed."""
        numbers = np.zeros(len(self.observations.losses), dtype=np.int64)
        for span in self.observations.spans:
            numbers[span.start : span.start + span.count] = span.number
        return numbers

    @cached_property
    def bytes(self) -> NDArray[np.int64]:
        """Bytes of each position of the validation stream."""
        return self.data.tokenizer.count_bytes(self.data.val)

    @cached_property
    def final(self) -> Pass | None:
        """The pass behind the printed number, `None` when it can't be rebuilt."""
        printed = self.printed
        if printed is None:
            return None
        best: tuple[float, int, Pass] | None = None
        starts = (*printed.earlier[:40], -1)
        neural = [candidate for start in starts for candidate in self._candidates(start, printed.number)]
        mixed = [
            candidate for start in starts
            for candidate in self._logarithms(start, printed.number, [*self._left_torch(start, printed.number), *neural])
        ]  # fmt: skip
        for candidate in (*neural, *mixed):
            distance = self._distance(candidate, printed.metric)
            # Two sums over the same losses give their mean too.
            repeats = len(candidate.indices) - len(np.unique(candidate.indices)) if distance is not None else 0
            if distance is not None and (best is None or (distance, repeats) < best[:2]):
                best = distance, repeats, candidate
        return best[2] if best is not None else None

    @cached_property
    def first_scores(self) -> Pass:
        """The first loss formed without a gradient for each position: what is known of the scoring where
        the printed number could not be rebuilt."""
        spans = [span for span in self.observations.spans if not span.grad and not span.mixed]
        indices = np.concatenate([np.arange(span.start, span.start + span.count) for span in spans]) if spans else NOTHING
        return self._make(_first(indices, self.positions), "first-scores")

    def _candidates(self, start: int, end: int) -> Iterator[Pass]:
        for counted in self._counted(start, end):
            yield self._make(counted, "counted")
        spans = [span for span in self.observations.spans if start < span.number < end and not span.mixed]
        for grad in (False, True):
            chosen = [span for span in spans if grad or not span.grad]
            if not chosen:
                continue
            indices = np.concatenate([np.arange(span.start, span.start + span.count) for span in chosen])
            first, last = _first(indices, self.positions), _first(indices[::-1], self.positions)
            if len(first):
                yield self._make(first, "first-scores")
                yield self._make(last, "last-scores")

    def _left_torch(self, start: int, end: int) -> Iterator[Pass]:
        """Losses in the order in which they (or what was computed from them) were handed to numpy at one place."""
        places: dict[str, list[tuple[int, int]]] = {}
        for event in self.observations.of("to-numpy"):
            ranges = event.entries.get("ranges")
            if start < event.number < end and isinstance(ranges, list):
                held = places.setdefault(event.text("site"), [])
                held += [(one[0], one[1]) for one in ranges if self._is_range(one)]
        for ranges in places.values():
            if 0 < sum(count for _, count in ranges) <= len(self.observations.losses) * 2:
                yield self._make(np.concatenate([np.arange(first, first + count) for first, count in ranges]), "left-torch")

    def _is_range(self, one: object) -> bool:
        return (
            isinstance(one, list) and len(one) == 2 and all(type(value) is int and value >= 0 for value in one)
            and one[0] + one[1] <= len(self.observations.losses)
        )  # fmt: skip

    def _logarithms(self, start: int, end: int, orders: list[Pass]) -> Iterator[Pass]:
        """Losses from logarithms taken at one place: as many as an order of scoring has, and taken to be in that order."""
        places: dict[str, list[Event]] = {}
        for event in self.observations.of("logs"):
            if start < event.number < end:
                places.setdefault(event.text("site"), []).append(event)
        for events in places.values():
            ranges = [(event.whole("start"), event.whole("start") + event.whole("count")) for event in events]
            losses = -np.concatenate([self.observations.logs[first:last] for first, last in ranges])
            numbers = np.concatenate(
                [np.full(last - first, event.number) for event, (first, last) in zip(events, ranges, strict=True)]
            )
            order = next((one for one in orders if len(one.indices) == len(losses)), None)
            if order is not None and len(numbers) == len(losses):
                yield Pass(order.indices, order.positions, losses, numbers.astype(np.int64), "logarithms")

    def _counted(self, start: int, end: int) -> Iterator[NDArray[np.int64]]:
        """Counted losses between two events: all, all but what was computed from losses, and those of each place, latest first."""
        events = [event for event in self.observations.of("counted") if start < event.number < end]
        if not events:
            return
        whole = self._slices(events)
        yield whole
        cross = whole[~self.mixed[whole]]
        if len(cross) not in (0, len(whole)):
            yield cross
        for place in list(dict.fromkeys(event.text("site") for event in reversed(events)))[:PLACES]:
            part = self._slices([event for event in events if event.text("site") == place])
            if len(part) != len(whole):
                yield part

    @cached_property
    def mixed(self) -> NDArray[np.bool_]:
        """Which of the recorded losses were computed from others."""
        mixed = np.zeros(len(self.observations.losses), dtype=np.bool_)
        for span in self.observations.spans:
            mixed[span.start : span.start + span.count] = span.mixed
        return mixed

    def _slices(self, events: list[Event]) -> NDArray[np.int64]:
        held = self.observations.counted
        return np.concatenate([held[event.whole("start") : event.whole("start") + event.whole("count")] for event in events])

    def _make(self, indices: NDArray[np.int64], how: str) -> Pass:
        losses = self.observations.losses[indices].astype(np.float64)
        return Pass(indices, self.positions[indices], losses, self.formed[indices], how)

    def _distance(self, candidate: Pass, metric: Metric) -> float | None:
        """How far the printed number is from what the candidate gives, beyond its printed digits; `None` when it is too far."""
        if len(candidate.losses) < 16 or not np.isfinite(candidate.losses).all():
            return None
        value = float(candidate.losses.mean())
        printed = metric.loss
        if printed is None:
            known = candidate.positions[candidate.positions >= 0]
            total = int(self.bytes[known].sum())
            if metric.bpb is None or len(known) != len(candidate.positions) or total == 0:
                return None
            printed, value = metric.bpb, value / math.log(2) * len(known) / total
        distance = max(0.0, abs(printed.value - value) - printed.half_unit)
        if distance > LOOSE * abs(value):
            return None
        reached = len(np.unique(candidate.positions[candidate.positions >= 0]))
        allowed = LOOSE if reached >= WHOLE * (len(self.data.val) - 1) else CLOSE
        return distance if distance <= allowed * abs(value) else None


def _first(indices: NDArray[np.int64], positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of indices in order, the first for each position of the stream."""
    known = indices[positions[indices] >= 0]
    _, first = np.unique(positions[known], return_index=True)
    return known[np.sort(first)]
