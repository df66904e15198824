"""BPB of each seed with the mean, its interval, the reference and the margin to reach."""

from __future__ import annotations

import math

from verifier.ledger.statistics import Statistics
from verifier.report import wording
from verifier.report.svg_canvas import Frame, figure, legend, line, number, text, ticks, x_axis

SEEDS = 16
ROW = 22.0


def draw_seeds(identity: str, statistics: Statistics) -> str | None:
    """Dots per seed over BPB; vertical lines for the SOTA and for the SOTA less the margin in each unit."""
    values = [(seed, value) for seed, value in statistics.values if math.isfinite(value)][:SEEDS]
    if not values:
        return None
    lines: list[tuple[str, str, float]] = []
    if statistics.sota is not None:
        lines.append(("limit", f"SOTA: {statistics.sota:.5f}", statistics.sota))
        for test, style in zip(statistics.tests, ("margin-a", "margin-b"), strict=False):
            goal = statistics.sota - test.margin_bpb
            lines.append((style, f"margin per {test.unit.removeprefix('nats/')}: {goal:.5f}", goal))
    interval = statistics.confidence_interval
    every = [value for _, value in values] + [statistics.mean] + [value for _, _, value in lines]
    every += [edge for edge in interval or () if abs(edge - statistics.mean) < 0.05]
    low, high = min(every), max(every)
    air = 0.08 * (high - low) or 0.001
    head, below = legend([("line", style, label) for style, label, _ in lines], 14)
    top = below
    height = top + (len(values) + 1) * ROW + 12 + 38
    frame = Frame(height, 124, 14, top, 38, low - air, high + air)
    parts = [*head, *x_axis(frame, "bits per byte", ticks(frame.x0, frame.x1, 7))]
    parts += [line(frame.x(value), top, frame.x(value), height - 38, style) for style, _, value in lines]
    y = top + 14
    for seed, value in values:
        parts.append(text(4, y + 4, wording.seed_words(seed)))
        parts.append(text(frame.left - 8, y + 4, f"{value:.5f}", anchor="end"))
        parts.append(
            f'<circle cx="{number(frame.x(value))}" cy="{number(y)}" r="4.5" class="dot"><title>{value:.5f}</title></circle>'
        )
        y += ROW
    parts.append(text(4, y + 4, "mean", style="strong"))
    parts.append(text(frame.left - 8, y + 4, f"{statistics.mean:.5f}", anchor="end", style="strong"))
    if interval is not None:
        edges = [min(max(edge, frame.x0), frame.x1) for edge in interval]
        parts.append(line(frame.x(edges[0]), y, frame.x(edges[1]), y, "interval"))
    x = frame.x(statistics.mean)
    parts.append(f'<path d="M{number(x)} {number(y - 6)} l6 6 l-6 6 l-6 -6 z" class="mean"><title>mean</title></path>')
    said = "; ".join(
        [f"seed {wording.seed_words(seed)} {value:.5f}" for seed, value in values] + [label for _, label, _ in lines]
    )
    return figure(identity, "BPB per seed", f"mean {statistics.mean:.5f}; {said}", height, parts)
