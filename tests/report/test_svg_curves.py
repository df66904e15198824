"""What a plot of curves shows."""

from __future__ import annotations

import re

import pytest

from verifier.report.model import Curve
from verifier.report.svg_curves import draw_curves


def heights(points: tuple[tuple[int, float], ...]) -> tuple[list[float], float]:
    """Where the points lie, from the top, and the height of the plot's frame."""
    svg = draw_curves("x", "Loss", "nats", [Curve("train_loss", 1, "train.log", points)]) or ""
    frame = re.search(r'<rect x="[^"]+" y="([^"]+)" width="[^"]+" height="([^"]+)"/></clipPath>', svg)
    assert frame is not None
    drawn = [float(pair.split(",")[1]) for pair in re.findall(r'<polyline points="([^"]+)"', svg)[0].split()]
    return [height - float(frame[1]) for height in drawn], float(frame[2])


@pytest.mark.parametrize("points", [((0, 11.0), (40, 1.3)), ((0, 11.0), (20, 5.0), (40, 1.3))])
def test_a_short_curve_is_shown_whole(points: tuple[tuple[int, float], ...]) -> None:
    drawn, height = heights(points)
    assert all(0 <= value <= height for value in drawn)


def test_the_fall_at_the_start_does_not_set_the_scale_of_a_long_one() -> None:
    drawn, height = heights(((0, 11.0), *((step, 3.0 - step / 1000) for step in range(100, 1001, 100))))
    assert drawn[0] < 0
    assert all(0 <= value <= height for value in drawn[1:])
