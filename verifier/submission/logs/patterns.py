"""Numbers, units and durations as logs print them. Every pattern is linear in the line and runs behind a substring test."""

from __future__ import annotations

import re

from verifier.evidence import Number

NUMBER = r"(?:[-+]?(?:\d[\d,]*(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d{1,3})?|nan|inf)"
"""A printed number: `1.0810`, `15,975,819`, `9.6e-4`, `nan`."""

PARSED_LENGTH = 4_096
"""Characters of a line that patterns look at; every line of interest is far shorter."""

_SECONDS = {
    "ms": 1e-3,
    "s": 1.0,
    "sec": 1.0,
    "secs": 1.0,
    "second": 1.0,
    "seconds": 1.0,
    "m": 60.0,
    "min": 60.0,
    "minutes": 60.0,
    "h": 3600.0,
}
UNIT = r"(?:ms|s|secs?|seconds?|m|min|minutes|h)"

DURATION = re.compile(
    rf"(?:\b(?:in|took|after)\s+|\b\w{{0,40}}?(?:time|elapsed|wallclock|wall_ms|seconds|duration|\bt)\b\s{{0,4}}[:=]\s{{0,8}}|\()"
    rf"(?P<value>{NUMBER})\s?(?P<unit>{UNIT})?(?![\w.%/])",
    re.IGNORECASE,
)
"""A duration with what introduces it: `in 10.6s`, `elapsed=429.5s`, `eval_time:8340ms`, `(101.6s)`."""


def read_number(text: str | None) -> Number | None:
    """A finite number; None for `nan`, `inf` and absent groups."""
    return None if text is None else Number.parse(text.rstrip(",."))


def read_float(text: str | None) -> float | None:
    number = read_number(text)
    return None if number is None else number.value


def read_int(text: str) -> int | None:
    """A whole number that may carry thousands separators; None beyond 15 digits (no count of a run is that large)."""
    digits = text.replace(",", "").replace("_", "")
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 15 else None


def in_seconds(value: float, unit: str | None, default: str) -> float:
    """`value` in seconds, to the microsecond; `default` is the unit where none is printed."""
    return round(value * _SECONDS[(unit or default).lower()], 6)


def read_duration(text: str, start: int = 0) -> float | None:
    """The first duration that is printed in `text` after `start`, in seconds.

    Without a unit a `..._ms` name decides; a bare number after `in` or a parenthesis is no duration.
    """
    for match in DURATION.finditer(text, start):
        unit, intro = match["unit"], match.group(0)[: match.start("value") - match.start()].lower()
        if unit is None and not intro.rstrip(" ").endswith((":", "=")):
            continue
        value = read_float(match["value"])
        if value is not None and value >= 0:
            return in_seconds(value, unit, "ms" if "_ms" in intro else "s")
    return None
