"""Training curve as a self-contained SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT, MARGIN = 720, 360, 48
COLORS = ("#2f6fab", "#b5482a", "#4d8a3f", "#7a4fa3")

Curve = Sequence[tuple[int, float]]


def curve_svg(curves: Mapping[str, Curve], title: str) -> str:
    """Loss curves over steps; each named curve gets its own scale-free colour and a legend entry."""
    points = [point for curve in curves.values() for point in curve]
    if not points:
        points = [(0, 0.0)]
    x_max = max(max(x for x, _ in points), 1)
    low, high = min(y for _, y in points), max(y for _, y in points)
    span = (high - low) or 1.0

    def place(x: float, y: float) -> str:
        px = MARGIN + x / x_max * (WIDTH - 2 * MARGIN)
        py = HEIGHT - MARGIN - (y - low) / span * (HEIGHT - 2 * MARGIN)
        return f"{px:.1f},{py:.1f}"

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{MARGIN}" y="22" font-size="14">{escape(title)}</text>',
    ]
    for k in range(5):
        value = low + span * k / 4
        x, y = place(0, value).split(",")
        parts.append(f'<line x1="{x}" y1="{y}" x2="{WIDTH - MARGIN}" y2="{y}" stroke="#ddd"/>')
        parts.append(f'<text x="{MARGIN - 6}" y="{float(y) + 4:.1f}" text-anchor="end">{value:.2f}</text>')
        step = x_max * k / 4
        x = place(step, low).split(",")[0]
        parts.append(f'<text x="{x}" y="{HEIGHT - MARGIN + 18}" text-anchor="middle">{step:.0f}</text>')
    parts.append(f'<text x="{WIDTH / 2}" y="{HEIGHT - 8}" text-anchor="middle">step</text>')
    for curve, color in zip(curves.values(), COLORS * len(curves), strict=False):
        line = " ".join(place(x, y) for x, y in curve)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{color}" stroke-width="1.5"/>')
    for k, name in enumerate(curves):
        top = 40 + 16 * k
        color = COLORS[k % len(COLORS)]
        parts.append(f'<rect x="{WIDTH - MARGIN - 150}" y="{top - 9}" width="10" height="10" fill="{color}"/>')
        parts.append(f'<text x="{WIDTH - MARGIN - 134}" y="{top}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"
