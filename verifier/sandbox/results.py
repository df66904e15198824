"""Files written by code that nobody vouches for: read whole or refused, without waiting and without following links.

Records are JSON lines: one object per line, UTF-8, every line ended, no duplicate key, no NaN or infinity. Nothing in them can name
code.
"""

from __future__ import annotations

import json
import math
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from verifier.limits import MIB

type Json = str | int | float | bool | list[Json] | dict[str, Json] | None

_STRUCTURE = re.compile(r'\\.|["\[\]{}]', re.DOTALL)


@dataclass(frozen=True, slots=True)
class ResultLimits:
    """Budgets for the records of one file."""

    records: int = 100_000
    line: int = MIB
    """Bytes of one record."""
    depth: int = 8
    items: int = 100_000
    """Members and elements in one record, at all depths."""


class Refused(Exception):
    """Why a file is not believed, and the line where that shows."""

    def __init__(self, kind: str, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.kind, self.line = kind, line


def read_regular(path: Path, most: int) -> bytes:
    """All bytes of a regular file that is reached without following a link as its last step. Raises `Refused`, never waits."""
    try:
        # Without O_NONBLOCK opening a pipe waits for a writer that never comes.
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as failure:
        kind = "symlink" if path.is_symlink() else "unreadable"
        raise Refused(kind, f"can't be opened as a regular file: {failure.strerror}") from failure
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise Refused("not-a-file", "is no regular file")
        if found.st_nlink > 1:
            raise Refused("hard-link", "has a second name, so someone else may change it")
        if found.st_size > most:
            raise Refused("too-large", f"{found.st_size:,} bytes, above the limit of {most:,}")
        with os.fdopen(os.dup(handle), "rb") as file:
            data = file.read(most + 1)
    finally:
        os.close(handle)
    if len(data) != found.st_size:
        raise Refused("truncated", f"{len(data):,} bytes read, {found.st_size:,} announced")
    return data


def read_records(data: bytes, limits: ResultLimits | None = None) -> tuple[dict[str, Json], ...]:
    """The records of a file. Raises `Refused`: a file that was tampered with is not half believed."""
    limits = limits or ResultLimits()
    if not data:
        raise Refused("truncated", "is empty")
    if not data.endswith(b"\n"):
        raise Refused("truncated", "the last line has no end", data.count(b"\n") + 1)
    if data.count(b"\n") > limits.records:
        raise Refused("too-large", f"more than {limits.records:,} records")
    records = []
    for number, line in enumerate(data[:-1].split(b"\n"), 1):
        try:
            records.append(_read_record(line, limits))
        except Refused as refused:
            refused.line = number
            raise
    return tuple(records)


def _read_record(line: bytes, limits: ResultLimits) -> dict[str, Json]:
    if len(line) > limits.line:
        raise Refused("too-large", f"a record of {len(line):,} bytes, above the limit of {limits.line:,}")
    try:
        text = line.decode()
    except UnicodeDecodeError as failure:
        raise Refused("undecodable", "not UTF-8") from failure
    _check_depth(text, limits.depth)
    try:
        record = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite, parse_int=_integer)
    except (ValueError, RecursionError) as failure:
        raise Refused("invalid-json", str(failure)[:200]) from failure
    if not isinstance(record, dict):
        raise Refused("invalid-json", "a record must be an object")
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
                raise Refused("too-deep", f"nested deeper than {most}")
        elif not quoted and mark in "]}":
            depth -= 1


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    record = dict(pairs)
    if len(record) != len(pairs):
        raise Refused("duplicate-key", "an object names a key twice")
    return record


def _no_constant(name: str) -> Json:
    raise Refused("not-finite", f"{name} is no number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise Refused("not-finite", f"{text[:40]} is beyond any number")
    return value


def _integer(text: str) -> int:
    # Longer ones take quadratic time to read, and no count or identifier needs them.
    if len(text) > 20:
        raise Refused("invalid-json", "an integer of more than 20 characters")
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
            raise Refused("too-large", f"more than {most:,} items in one record")
        for text in [value] if isinstance(value, str) else value if isinstance(value, dict) else ():
            if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
                raise Refused("undecodable", "a text with half a surrogate pair")
