"""Result files written by code that nobody vouches for: two closed formats, read with checks on every byte.

Records are JSON lines: one object per line, UTF-8, every line ended, no duplicate key, no NaN or infinity.
Arrays are binary: `MAGIC`, then per array the length of its name (2 bytes, little-endian), the name, its type (1 byte: `d`, `f` or
`q`), the number of dimensions (1 byte, up to 4), each dimension (8 bytes), and the values, little-endian; the file ends with the
last value. Nothing in either can name code.
"""

from __future__ import annotations

import json
import math
import os
import re
import stat
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifier.evidence import Location, Problem
from verifier.limits import MIB

MAGIC = b"VARRAYS1"
MOST_DIMENSIONS = 4
TYPES: dict[bytes, np.dtype[Any]] = {b"d": np.dtype("<f8"), b"f": np.dtype("<f4"), b"q": np.dtype("<i8")}

type Json = str | int | float | bool | list[Json] | dict[str, Json] | None

_NAME = re.compile(r"[a-z0-9_.-]{1,64}")
_STRUCTURE = re.compile(r'\\.|["\[\]{}]', re.DOTALL)


@dataclass(frozen=True, slots=True)
class ResultLimits:
    """Budgets for one result file."""

    size: int = 64 * MIB
    """Bytes of the file."""
    records: int = 100_000
    line: int = MIB
    """Bytes of one record."""
    depth: int = 8
    items: int = 100_000
    """Members and elements in one record, at all depths."""
    arrays: int = 64


@dataclass(frozen=True, slots=True)
class ResultContent:
    """What a result file says. With a problem there is nothing else: a file that was tampered with is not half believed."""

    records: tuple[Mapping[str, Json], ...] = ()
    arrays: tuple[tuple[str, NDArray[Any]], ...] = ()
    """Names and read-only arrays, every value finite."""
    problems: tuple[Problem, ...] = ()


class _Refused(Exception):
    def __init__(self, kind: str, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.kind, self.line = kind, line


def read_result(path: Path, limits: ResultLimits | None = None) -> ResultContent:
    """Read a result file of either kind. Never raises on content, never waits: anything but a regular file is refused."""
    limits = limits or ResultLimits()
    try:
        data = _read_regular(path, limits.size)
        if data.startswith(MAGIC):
            return ResultContent(arrays=tuple(_read_arrays(data, limits)))
        return ResultContent(records=tuple(_read_records(data, limits)))
    except _Refused as refused:
        return ResultContent(problems=(Problem(Location(path.name, refused.line), refused.kind, str(refused)),))


def pack_arrays(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """The binary form of named arrays, which `read_result` reads back. Raises `ValueError` on what the format can't hold."""
    codes = {kind: code for code, kind in TYPES.items()}
    parts = [MAGIC]
    for name, values in arrays.items():
        code = codes.get(values.dtype.newbyteorder("<"))
        if code is None or _NAME.fullmatch(name) is None or values.ndim > MOST_DIMENSIONS:
            raise ValueError(f"{name!r}: {values.dtype} with {values.ndim} dimensions can't be packed")
        shape = struct.pack(f"<{values.ndim}Q", *values.shape)
        parts += [struct.pack("<H", len(name)), name.encode(), code, bytes([values.ndim]), shape]
        parts.append(values.astype(TYPES[code], copy=False).tobytes())
    return b"".join(parts)


def _read_regular(path: Path, most: int) -> bytes:
    """All bytes of a regular file that is reached without following a link as its last step."""
    try:
        # Without O_NONBLOCK opening a pipe waits for a writer that never comes.
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as failure:
        kind = "symlink" if path.is_symlink() else "unreadable"
        raise _Refused(kind, f"can't be opened as a regular file: {failure.strerror}") from failure
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise _Refused("not-a-file", "is no regular file")
        if found.st_nlink > 1:
            raise _Refused("hard-link", "has a second name, so someone else may change it")
        if found.st_size > most:
            raise _Refused("too-large", f"{found.st_size:,} bytes, above the limit of {most:,}")
        with os.fdopen(os.dup(handle), "rb") as file:
            data = file.read(most + 1)
    finally:
        os.close(handle)
    if len(data) != found.st_size:
        raise _Refused("truncated", f"{len(data):,} bytes read, {found.st_size:,} announced")
    return data


def _read_records(data: bytes, limits: ResultLimits) -> Iterable[dict[str, Json]]:
    if not data:
        raise _Refused("truncated", "is empty")
    if not data.endswith(b"\n"):
        raise _Refused("truncated", "the last line has no end", data.count(b"\n") + 1)
    if data.count(b"\n") > limits.records:
        raise _Refused("too-large", f"more than {limits.records:,} records")
    records = []
    for number, line in enumerate(data[:-1].split(b"\n"), 1):
        try:
            records.append(_read_record(line, limits))
        except _Refused as refused:
            refused.line = number
            raise
    return records


def _read_record(line: bytes, limits: ResultLimits) -> dict[str, Json]:
    if len(line) > limits.line:
        raise _Refused("too-large", f"a record of {len(line):,} bytes, above the limit of {limits.line:,}")
    try:
        text = line.decode()
    except UnicodeDecodeError as failure:
        raise _Refused("undecodable", "not UTF-8") from failure
    _check_depth(text, limits.depth)
    try:
        record = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite, parse_int=_integer)
    except (ValueError, RecursionError) as failure:
        raise _Refused("invalid-json", str(failure)[:200]) from failure
    if not isinstance(record, dict):
        raise _Refused("invalid-json", "a record must be an object")
    _check_values(record, limits.items)
    return record


def _check_depth(text: str, most: int) -> None:
    """Refuse nesting before a parser recurses into it."""
    depth, quoted = 0, False
    for found in _STRUCTURE.finditer(text):
        mark = found[0]
        if mark == '"':
            quoted = not quoted
        elif not quoted and mark in "[{":
            depth += 1
            if depth > most:
                raise _Refused("too-deep", f"nested deeper than {most}")
        elif not quoted and mark in "]}":
            depth -= 1


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    record = dict(pairs)
    if len(record) != len(pairs):
        raise _Refused("duplicate-key", "an object names a key twice")
    return record


def _no_constant(name: str) -> Json:
    raise _Refused("not-finite", f"{name} is no number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _Refused("not-finite", f"{text[:40]} is beyond any number")
    return value


def _integer(text: str) -> int:
    # Longer ones take quadratic time to read, and no count or identifier needs them.
    if len(text) > 20:
        raise _Refused("invalid-json", "an integer of more than 20 characters")
    return int(text)


def _check_values(record: Json, most: int) -> None:
    """Refuse too many values, and texts with half a character, which no report could write."""
    waiting, count = [record], 0
    while waiting:
        value = waiting.pop()
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        waiting += inner
        count += len(inner)
        if count > most:
            raise _Refused("too-large", f"more than {most:,} items in one record")
        for text in [value] if isinstance(value, str) else value if isinstance(value, dict) else ():
            if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
                raise _Refused("undecodable", "a text with half a surrogate pair")


def _read_arrays(data: bytes, limits: ResultLimits) -> Iterable[tuple[str, NDArray[Any]]]:
    at = len(MAGIC)
    arrays: dict[str, NDArray[Any]] = {}

    def take(count: int) -> bytes:
        nonlocal at
        if count > len(data) - at:
            raise _Refused("truncated", f"array {len(arrays) + 1} ends before its last byte")
        at += count
        return data[at - count : at]

    while at < len(data):
        if len(arrays) == limits.arrays:
            raise _Refused("too-large", f"more than {limits.arrays} arrays")
        name = take(struct.unpack("<H", take(2))[0]).decode("ascii", errors="replace")
        kind, dimensions = TYPES.get(take(1)), take(1)[0]
        if _NAME.fullmatch(name) is None or kind is None or dimensions > MOST_DIMENSIONS:
            raise _Refused("invalid-array", f"array {len(arrays) + 1} has a bad name, type or number of dimensions")
        if name in arrays:
            raise _Refused("duplicate-key", f"two arrays are called {name}")
        shape: tuple[int, ...] = struct.unpack(f"<{dimensions}Q", take(8 * dimensions))
        if any(size > limits.size for size in shape):
            # An empty array may claim any size in its other dimensions.
            raise _Refused("too-large", f"{name} claims {shape}")
        values = np.frombuffer(take(math.prod(shape) * kind.itemsize), dtype=kind).reshape(shape)
        if not np.isfinite(values).all():
            raise _Refused("not-finite", f"{name} holds NaN or an infinity")
        arrays[name] = values
    return arrays.items()
