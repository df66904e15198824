# mypy: disable-error-code="import-not-found, misc"
"""Many continuations of one run: at a given event the process is copied once for each, with one validation token another one.

A copy changes the token wherever the process holds the stream (tensors, arrays, lists) and in the shard on disk, writes a
record of its own from there on, and runs to the end like any run. What a script has derived from the token before that
event is not changed; a full run on a changed shard shows whether that mattered.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from time import monotonic, sleep  # bound before the clocks are replaced
from types import BuiltinFunctionType, GetSetDescriptorType, MethodDescriptorType, ModuleType, WrapperDescriptorType
from typing import Any

import numpy as np
import torch

from verifier.execution.child.recorder import Recorder

RUN = 6
"""Tokens in a row that must fit for a place to count as one that holds the stream."""
EARLY_SHARE = 0.2
"""Of the time left that the copies at a place may take when there are later places."""
HEADER = 1024
"""Bytes of a shard before its tokens."""
FORK, WAIT, KILL, WRITE = os.fork, os.waitpid, os.kill, os.pwrite

SKIPPED = frozenset({type, ModuleType, BuiltinFunctionType, MethodDescriptorType, WrapperDescriptorType, GetSetDescriptorType})
"""Kinds of objects that hold no data of a script (asking a module for its fields may run code of its own)."""

OWN_EVENTS = frozenset({"branching", "branched"})

type Place = Callable[[int], None]


class Brancher:
    """`plan`: `swaps` (position, value, the tokens around, and `at`: the number of the event after which to copy), `after` (which
    event, and its how manieth, for swaps without a number), `shards` (files), `seconds` for all copies."""

    def __init__(self, recorder: Recorder, plan: dict[str, Any], folder: Path) -> None:
        self._recorder = recorder
        self._after = plan["after"]
        self._groups: dict[int | None, list[tuple[int, dict[str, Any]]]] = {}
        for number, swap in enumerate(plan["swaps"]):
            # No lists: they would be found as places that hold the stream.
            self._groups.setdefault(swap.get("at"), []).append((number, {**swap, "around": tuple(swap["around"])}))
        self._until = monotonic() + float(plan["seconds"])
        self._folder = folder
        self._seen = 0
        self._own = 0
        self._files = []
        for path in plan["shards"]:
            try:
                self._files.append(os.open(path, os.O_RDWR))
            except OSError:
                continue

    def watch(self, number: int, kind: str, entries: dict[str, Any]) -> None:
        """Called after each event of the recorder. Our own events do not count: a run without copies has none."""
        if kind in OWN_EVENTS:
            self._own += 1
            return
        if number - self._own in self._groups:
            self._branch(self._groups.pop(number - self._own))
        elif None in self._groups and self._is_awaited(kind, entries):
            self._branch(self._groups.pop(None))

    def _is_awaited(self, kind: str, entries: dict[str, Any]) -> bool:
        after = self._after
        if kind == after["kind"] and (kind != "file" or (entries["mode"] == "r" and _name(entries["path"]) == after["name"])):
            self._seen += 1
            return bool(self._seen == after["count"])
        return False

    def _branch(self, swaps: list[tuple[int, dict[str, Any]]]) -> None:
        """Make the copies one after another; returns in each of them, and in the original when all have ended."""
        self._recorder.fork_here()
        started, longest, made = monotonic(), 0.0, 0
        # The last place is the one that has to be complete: tables are fullest there, and the copies shortest.
        until = started + max(0.0, self._until - started) * (EARLY_SHARE if self._groups else 1.0)
        places: dict[int, list[Place]] = {}
        for number, swap in swaps:
            before = monotonic()
            # Another copy has to fit: one that is cut off says nothing.
            if before + longest > until:
                break
            position = swap["position"]
            if position not in places:
                places[position] = list(find_places(swap["around"], swap["offset"]))
            child = FORK()
            if child == 0:
                (self._folder / f"branch-{number}").mkdir()
                self._recorder.watch = None
                self._recorder.branch(self._folder / f"branch-{number}")
                for place in places[position]:
                    place(swap["value"])
                self._write(position, swap["value"])
                return
            _wait(child, max(1.0, until - before))
            self._write(position, swap["around"][swap["offset"]])
            longest = max(longest, monotonic() - before)
            made += 1
        self._recorder.event(
            "branched",
            made=made,
            seconds=round(monotonic() - started, 1),
            places={str(position): len(found) for position, found in places.items()},
        )

    def _write(self, position: int, value: int) -> None:
        for file in self._files:
            WRITE(file, value.to_bytes(2, "little"), HEADER + 2 * position)


def _wait(child: int, seconds: float) -> None:
    until = monotonic() + seconds
    while monotonic() < until:
        done, _ = WAIT(child, os.WNOHANG)
        if done:
            return
        sleep(0.005)
    KILL(child, signal.SIGKILL)
    WAIT(child, 0)


def find_places(around: tuple[int, ...], offset: int) -> Iterator[Place]:
    """All places of this process that hold token `around[offset]` between the tokens around it."""
    pattern = np.array(around, dtype=np.int64)
    seen: set[tuple[int, int, int]] = set()
    for held in _held():
        if isinstance(held, list):
            yield from (_setter(held, index) for index in _find_in_list(held, around, offset))
            continue
        flat = _flat(held)
        if flat is None or len(flat) < RUN or (flat.ctypes.data, flat.itemsize, len(flat)) in seen:
            continue
        seen.add((flat.ctypes.data, flat.itemsize, len(flat)))
        yield from (_setter(flat, int(index)) for index in _find(flat, pattern, offset))


def _setter(held: Any, index: int) -> Place:
    def put(value: int) -> None:
        held[index] = value

    return put


def _held() -> Iterator[Any]:
    """Tensors of whole numbers, arrays and lists that this process can reach."""
    for owner in gc.get_objects():
        yield from _of_interest([owner])
        # Arrays are not tracked themselves: what holds them is.
        if type(owner) not in SKIPPED:
            yield from (one for one in _of_interest(gc.get_referents(owner)) if isinstance(one, np.ndarray))
    for frame in sys._current_frames().values():
        current: Any = frame
        while current is not None:
            yield from _of_interest(list(current.f_locals.values()))
            current = current.f_back


def _of_interest(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        kind = type(value)
        if kind is list:
            if len(value) >= RUN and type(value[0]) is int:
                yield value
        elif issubclass(kind, np.ndarray):
            if value.dtype.kind in "iu":
                yield value
        elif issubclass(kind, torch.Tensor) and not value.dtype.is_floating_point and value.dtype != torch.bool:
            yield value


def _flat(held: Any) -> Any:
    """The whole memory behind a tensor or an array as one writable row; `None` where it can't be written."""
    if isinstance(held, torch.Tensor):
        if held.device.type != "cpu" or held.is_complex() or held.is_sparse:
            return None
        try:
            storage = held.untyped_storage()
            width = held.element_size()
            row = torch.empty(0, dtype=held.dtype)
            row.set_(storage, 0, torch.Size((storage.nbytes() // width,)), torch.Size((1,)))
            return row.numpy()
        except (RuntimeError, TypeError, NotImplementedError):
            return None
    while isinstance(held.base, np.ndarray) and held.base.dtype == held.dtype:
        held = held.base
    if not held.flags.c_contiguous:
        return None
    if not held.flags.writeable:
        return _opened(held)
    return held.reshape(-1)


def _opened(held: Any) -> Any:
    """A writable row over memory that Python holds to be constant (`np.frombuffer` of bytes). Memory of a file is left alone: it
    shows what the shard holds."""
    base = held
    while isinstance(base, np.ndarray):
        base = base.base
    if not isinstance(base, bytes):
        return None
    return np.frombuffer((ctypes.c_char * held.nbytes).from_address(held.ctypes.data), dtype=held.dtype)


def _find(flat: Any, pattern: Any, offset: int) -> Any:
    """Indices of `flat` at which the token lies: `RUN` neighbours in a row fit, wherever among them it is."""
    hits = np.flatnonzero(flat == pattern[offset])
    found = np.zeros(len(hits), dtype=bool)
    for back in range(RUN):
        if back > offset or offset - back + RUN > len(pattern):
            continue
        starts = hits - back
        inside = (starts >= 0) & (starts + RUN <= len(flat))
        rows = flat[np.clip(starts, 0, max(0, len(flat) - RUN))[:, None] + np.arange(RUN)]
        found |= inside & (rows == pattern[offset - back : offset - back + RUN]).all(axis=1)
    return hits[found]


def _find_in_list(held: list[Any], around: tuple[int, ...], offset: int) -> Iterator[int]:
    index = -1
    while True:
        try:
            index = held.index(around[offset], index + 1)
        except ValueError:
            return
        for back in range(RUN):
            start = index - back
            if back <= offset and start >= 0 and held[start : start + RUN] == list(around[offset - back : offset - back + RUN]):
                yield index
                break


def _name(path: str) -> str:
    return path.rsplit("/", 1)[-1]
