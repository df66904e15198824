"""Plots as plain SVG text: scales, ticks, axes, legends. Colours and dashes are classes of the page's style sheet.

Coordinates are rounded to a tenth of a unit, so the same report is the same bytes on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from verifier.report.text import printable

WIDTH = 520
"""Units of every plot's width; text is 12 units high."""
SERIES = 8
"""Distinct line styles of the style sheet (`s0` to `s7`)."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A plot area and its linear scales. Margins in SVG units; `x0..x1` and `y0..y1` are data values, y upwards."""

    height: float
    left: float
    right: float
    top: float
    bottom: float
    x0: float
    x1: float
    y0: float = 0.0
    y1: float = 1.0

    def x(self, value: float) -> float:
        return self.left + (value - self.x0) / (self.x1 - self.x0) * (WIDTH - self.left - self.right)

    def y(self, value: float) -> float:
        return self.height - self.bottom - (value - self.y0) / (self.y1 - self.y0) * (self.height - self.top - self.bottom)


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round values inside the interval, at most `most`: steps of 1, 2 or 5 times a power of ten."""
    if not low < high:
        return [low]
    raw = (high - low) / most
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    count = math.floor((high - low) / step + 1e-9) + 1
    values = [(first + index) * step for index in range(count)]
    return [value for value in values if value <= high + step * 1e-6][: most + 1]


def tick_label(value: float, values: Sequence[float]) -> str:
    """Digits enough to tell neighbouring ticks apart."""
    step = values[1] - values[0] if len(values) > 1 else abs(value) or 1.0
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return f"{value:,.{min(digits, 8)}f}"


def number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def text(x: float, y: float, content: str, *, anchor: str = "start", style: str = "") -> str:
    kind = f' class="{style}"' if style else ""
    place = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text x="{number(x)}" y="{number(y)}"{place}{kind}>{escape(printable(content, 80))}</text>'


def line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    return f'<line x1="{number(x1)}" y1="{number(y1)}" x2="{number(x2)}" y2="{number(y2)}" class="{style}"/>'


def rect(x: float, y: float, width: float, height: float, style: str, title: str = "") -> str:
    inner = f"<title>{escape(printable(title, 200))}</title>" if title else ""
    return (
        f'<rect x="{number(x)}" y="{number(y)}" width="{number(max(width, 0.0))}" height="{number(height)}"'
        f' class="{style}">{inner}</rect>'
    )


def x_axis(frame: Frame, label: str, values: Sequence[float]) -> list[str]:
    """Vertical grid lines with labels below, and the axis' name."""
    base = frame.height - frame.bottom
    parts = []
    for value in values:
        x = frame.x(value)
        parts += [
            line(x, frame.top, x, base, "grid"),
            text(x, base + 15, tick_label(value, values), anchor="middle", style="tick"),
        ]
    parts.append(text(WIDTH - frame.right, base + 31, label, anchor="end", style="tick"))
    return parts


def y_axis(frame: Frame, values: Sequence[float]) -> list[str]:
    parts = []
    for value in values:
        y = frame.y(value)
        parts += [
            line(frame.left, y, WIDTH - frame.right, y, "grid"),
            text(frame.left - 6, y + 4, tick_label(value, values), anchor="end", style="tick"),
        ]
    return parts


def legend(entries: Sequence[tuple[str, str, str]], y: float, left: float = 8.0) -> tuple[list[str], float]:
    """(shape, class, label) entries in rows; returns the parts and the y below them. Shape: `line` or `box`."""
    parts, x = [], left
    for shape, style, label in entries:
        shown = printable(label, 44)
        width = 26 + 6.6 * len(shown) + 12
        if x + width > WIDTH and x > left:
            x, y = left, y + 18
        parts.append(line(x, y - 4, x + 20, y - 4, style) if shape == "line" else rect(x + 4, y - 10, 12, 12, style))
        parts.append(text(x + 26, y, shown))
        x += width
    return parts, y + 18 if entries else y


def figure(identity: str, title: str, description: str, height: float, parts: Sequence[str]) -> str:
    """An SVG element that tells its content to screen readers."""
    return (
        f'<svg viewBox="0 0 {WIDTH} {number(height)}" role="img" aria-labelledby="{identity}-t {identity}-d">'
        f'<title id="{identity}-t">{escape(printable(title))}</title>'
        f'<desc id="{identity}-d">{escape(printable(description))}</desc>{"".join(parts)}</svg>'
    )
