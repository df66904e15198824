"""Curves of all seeds over the steps: training loss, validation BPB, milliseconds per step."""

from __future__ import annotations

import math
from collections.abc import Sequence

from verifier.report import wording
from verifier.report.model import Curve
from verifier.report.svg_canvas import SERIES, WIDTH, Frame, figure, legend, number, ticks, x_axis, y_axis

HEIGHT = 250.0
POINTS = 300
"""Points drawn per curve: more are thinned to the lowest and highest of each bucket, so that spikes stay."""
MARKED = 40
"""Up to so many points are marked: most logs evaluate three to ten times, and a line between them is no measurement."""
CURVES = 16
START_SHARE = 0.1
"""The first tenth of the steps doesn't set the scale: losses fall from 11 there and would flatten the rest."""
FEW = 4
"""With fewer points after it, all set the scale."""


def draw_curves(identity: str, title: str, unit: str, curves: Sequence[Curve]) -> str | None:
    """One plot with a line per run; None when there is nothing to draw."""
    drawn = [(curve, _points(curve)) for curve in curves]
    drawn = [(curve, points) for curve, points in drawn if len(points) > 1][:CURVES]
    if not drawn:
        return None
    last = max(points[-1][0] for _, points in drawn)
    late = [value for _, points in drawn for step, value in points if step >= START_SHARE * last]
    low, high = _range(late if len(late) >= FEW else [value for _, points in drawn for _, value in points])
    entries = [("line", f"line s{index % SERIES}", _name(curve)) for index, (curve, _) in enumerate(drawn)]
    head, below = legend(entries, 14)
    frame = Frame(HEIGHT + below, 58, 20, below, 38, 0, max(last, 1), low, high)
    clip = f"{identity}-c"
    parts = [*head, *x_axis(frame, "step", ticks(0, frame.x1)), *y_axis(frame, ticks(low, high))]
    parts.append(
        f'<clipPath id="{clip}"><rect x="{number(frame.left - 4)}" y="{number(frame.top)}"'
        f' width="{number(WIDTH - frame.left - frame.right + 8)}" height="{number(frame.height - frame.top - frame.bottom)}"/></clipPath>'
        f'<g clip-path="url(#{clip})">'
    )
    for index, (_, points) in enumerate(drawn):
        path = " ".join(f"{number(frame.x(step))},{number(frame.y(value))}" for step, value in points)
        parts.append(f'<polyline points="{path}" class="line s{index % SERIES}"/>')
        if len(points) <= MARKED:
            parts += [_mark(frame.x(step), frame.y(value), index) for step, value in points]
    parts.append("</g>")
    ends = ", ".join(f"{_name(curve)} ends at {points[-1][1]:.4f}" for curve, points in drawn)
    return figure(identity, f"{title} ({unit})", ends, frame.height, parts)


def _mark(x: float, y: float, index: int) -> str:
    return f'<circle cx="{number(x)}" cy="{number(y)}" r="2.5" class="s{index % SERIES} mark"/>'


def _name(curve: Curve) -> str:
    return f"seed {curve.seed}" if curve.seed is not None else curve.log


def _points(curve: Curve) -> list[tuple[int, float]]:
    """Finite points by step, thinned."""
    points = sorted((step, value) for step, value in curve.points if math.isfinite(value) and step >= 0)
    if len(points) <= POINTS:
        return points
    size = math.ceil(len(points) / (POINTS // 2))
    thinned: list[tuple[int, float]] = []
    for start in range(0, len(points), size):
        bucket = points[start : start + size]
        ends = {min(bucket, key=lambda point: point[1]), max(bucket, key=lambda point: point[1])}
        thinned += sorted(ends)
    return thinned


def _range(values: list[float]) -> tuple[float, float]:
    """The values' range without the most extreme hundredth above, with some air."""
    ordered = sorted(values)
    low, high = ordered[0], ordered[min(len(ordered) - 1, math.floor(0.99 * len(ordered)))]
    air = 0.06 * (high - low) or max(abs(high) * 0.01, 1e-6)
    return low - air, high + air


def curve_plots(identity: str, curves: Sequence[Curve]) -> list[tuple[str, str]]:
    """(caption, svg) of each kind that has data."""
    kinds = (
        ("val_bpb", "Validation BPB during training", "bits per byte"),
        ("train_loss", "Training loss", "nats per token"),
        ("step_ms", "Pace", "ms per step"),
    )
    plots = []
    for kind, title, unit in kinds:
        of_kind = [curve for curve in curves if curve.kind == kind]
        if svg := draw_curves(f"{identity}-{kind}", title, unit, of_kind):
            caption = f"{title}, {unit}"
            if len(of_kind) > CURVES:
                caption += f" (the first {CURVES} of {wording.plural(len(of_kind), 'run')})"
            plots.append((caption, svg))
    return plots
