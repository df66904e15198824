"""What was read and where: locations, printed numbers, facts.

Every number that the verifier compares keeps the place it was read from and the digits that were printed there, because
the printed precision decides the tolerance of each comparison.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

EXCERPT_LIMIT = 240


@dataclass(frozen=True, slots=True, order=True)
class Location:
    """A place in a submission.

    `path` is POSIX, relative to the record folder. `line` is 1-based; `None` means the file as a whole. `layer` > 0 counts in
    the text unpacked from that file. `excerpt` is untrusted text: renderers escape it.
    """

    path: str
    line: int | None = None
    end_line: int | None = None
    layer: int = 0
    excerpt: str = ""

    def __str__(self) -> str:
        text = self.path
        if self.layer:
            text += f"[layer {self.layer}]"
        if self.line is not None:
            text += f":{self.line}"
        return text


def excerpt(text: str, limit: int = EXCERPT_LIMIT) -> str:
    """One line of evidence, shortened in the middle of nowhere but never silently: an ellipsis marks the cut."""
    flat = " ".join(text.split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


@dataclass(frozen=True, slots=True)
class Number:
    """A number as printed, with its precision.

    `Number.parse("1.0810")` has `value` 1.081 and `half_unit` 0.00005: anything within half a unit of the last printed digit
    may have been printed that way.
    """

    value: float
    text: str

    @classmethod
    def parse(cls, text: str) -> Number | None:
        """A finite number from text such as `1,234`, `1.08`, `9.6e-4`; `None` for anything else (NaN and infinity included)."""
        cleaned = text.replace(",", "").replace("_", "").strip()
        if len(cleaned) > 64:
            return None
        try:
            number = Decimal(cleaned)
            value = float(number)
        except (InvalidOperation, ValueError, OverflowError):
            return None
        if not number.is_finite() or value in (float("inf"), float("-inf")):
            return None
        return cls(value, text.strip())

    @property
    def decimals(self) -> int:
        """Digits after the decimal point as printed (negative exponents count)."""
        exponent = Decimal(self.text.replace(",", "").replace("_", "")).as_tuple().exponent
        return max(0, -exponent) if isinstance(exponent, int) else 0

    @property
    def half_unit(self) -> float:
        """Half a unit of the last printed digit."""
        return 0.5 * 10.0**-self.decimals

    def agrees(self, other: Number | float) -> bool:
        """Whether both could be prints of one value (the coarser precision decides)."""
        if isinstance(other, Number):
            tolerance = max(self.half_unit, other.half_unit)
            return abs(self.value - other.value) <= tolerance * (1 + 1e-9)
        return abs(self.value - other) <= self.half_unit * (1 + 1e-9)


@dataclass(frozen=True, slots=True)
class Fact:
    """One number or statement with its provenance. `unit` is `bpb`, `nats/token`, `bytes`, `s`, `steps`, ... or ``""``."""

    name: str
    value: float | int | str | bool
    unit: str
    source: Location
    seed: int | None = None
    printed: str | None = None


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """Something that could not be read, and why. A problem is never silently dropped: rules turn it into `not-available`.

    `kind` is a stable slug: `too-large`, `symlink`, `gitlink`, `unreadable`, `not-utf8-name`, `undecodable`, `invalid-json`,
    `duplicate-key`, `not-finite`, `too-deep`, `layer-limit`, `layer-opaque`, `archive-limit`, `truncated`, ...
    """

    location: Location
    kind: str
    message: str
