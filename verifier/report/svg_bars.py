"""Bars against limits: the phases of each run against both budgets, bytes against the cap."""

from __future__ import annotations

from verifier.ledger.timeline import Budget
from verifier.report import outline, wording
from verifier.report.model import Report, SubmissionReport
from verifier.report.svg_canvas import WIDTH, Frame, figure, legend, line, rect, text, ticks, x_axis
from verifier.report.text import printable
from verifier.submission.logs.model import PhaseKind

RUNS = 8
SIZES = 12
ROW = 20.0
BAR = 13.0

_PHASE_STYLES = {
    PhaseKind.TRAIN: "p-train",
    PhaseKind.CALIBRATION: "p-calibration",
    PhaseKind.SELF_GENERATION: "p-selfgen",
    PhaseKind.QUANTIZE: "p-quantize",
    PhaseKind.EVAL: "p-eval",
    PhaseKind.ADAPT: "p-adapt",
    PhaseKind.NGRAM: "p-ngram",
}
_OTHER = "p-other"


def draw_timeline(identity: str, report: Report, submission: SubmissionReport) -> str | None:
    """Three lanes per run (training budget, evaluation budget, neither), stacked from 0, with a line at each budget."""
    runs = [(timeline, outline.lanes(timeline)) for timeline in submission.timelines[:RUNS]]
    rows = [(timeline, lane) for timeline, of_run in runs for lane in of_run]
    if not rows:
        return None
    limits = {budget: outline.budget_seconds(report, budget) or 0.0 for budget in Budget}
    widest = max(*limits.values(), *(lane.total for _, lane in rows)) * 1.16
    shown = {phase.kind for _, lane in rows for phase in lane.phases}
    entries = [("box", _PHASE_STYLES.get(kind, _OTHER), kind.value) for kind in PhaseKind if kind in shown]
    if any(lane.rest for _, lane in rows):
        entries.append(("box", _OTHER, "not itemised"))
    head, below = legend(entries, 14)
    groups = sum(1 for _, of_run in runs if of_run)
    top = below + 14
    height = top + len(rows) * ROW + groups * 8 + 38
    frame = Frame(height, 138, 8, top, 38, 0, widest)
    parts = [*head, *x_axis(frame, "seconds", ticks(0, widest))]
    y, said = top + 4, []
    for timeline, of_run in runs:
        for index, lane in enumerate(of_run):
            if index == 0:
                parts.append(text(4, y + 11, f"{wording.seed_words(timeline.seed)}", style="strong"))
            parts.append(text(frame.left - 6, y + 11, wording.budget_words(lane.budget), anchor="end", style="tick"))
            parts += _stack(frame, y, lane)
            said.append(f"seed {wording.seed_words(timeline.seed)} {wording.budget_words(lane.budget)} {lane.total:,.1f} s")
            limit = limits[lane.budget]
            if limit:
                parts.append(line(frame.x(limit), y - 3, frame.x(limit), y + BAR + 3, "limit"))
            parts.append(text(frame.x(lane.total) + 5, y + 11, f"{lane.total:,.1f} s", style="halo"))
            y += ROW
        y += 8 if of_run else 0
    for limit in sorted({limit for limit in limits.values() if limit}):
        parts.append(text(frame.x(limit), top - 4, f"{limit:g} s", anchor="middle", style="limit-label"))
    return figure(identity, "Timeline against the budgets", "; ".join(said), height, parts)


def _stack(frame: Frame, y: float, lane: outline.Lane) -> list[str]:
    parts, start = [], 0.0
    for phase in lane.phases:
        style = _PHASE_STYLES.get(phase.kind, _OTHER) + (" faint" if lane.budget is Budget.NONE else "")
        width = frame.x(start + phase.seconds) - frame.x(start)
        parts.append(
            rect(frame.x(start), y, max(width, 0.8), BAR, style, f"{phase.label}: {phase.seconds:,.1f} s ({phase.source})")
        )
        start += phase.seconds
    if lane.rest:
        width = frame.x(start + lane.rest) - frame.x(start)
        parts.append(rect(frame.x(start), y, width, BAR, _OTHER, f"not itemised: {lane.rest:,.1f} s"))
    return parts


def draw_sizes(identity: str, report: Report, submission: SubmissionReport) -> str | None:
    """Code and model bytes of each total against the cap, with what is left."""
    bars = submission.sizes[:SIZES]
    if not bars:
        return None
    widest = max(report.artifact_cap, *(bar.total for bar in bars)) * 1.04
    head, below = legend((("box", "p-code", "code"), ("box", "p-model", "model"), ("box", _OTHER, "total only")), 14)
    top = below + 12
    row = 38.0
    height = top + len(bars) * row + 40
    frame = Frame(height, 8, 8, top, 38, 0, widest / 1e6)
    parts = [*head, *x_axis(frame, "million bytes", ticks(0, frame.x1))]
    cap = frame.x(report.artifact_cap / 1e6)
    y, said = top, []
    for bar in bars:
        room = report.artifact_cap - bar.total
        left = f"{room:,} left" if room >= 0 else f"{-room:,} above the cap"
        seed = f"seed {bar.seed}, " if bar.seed is not None else ""
        figures = f"{bar.total:,} · {left}"
        letters = int((WIDTH - 2 * frame.left - 7.0 * len(figures)) / 6.3)
        parts.append(
            text(frame.left, y + 13, printable(f"{seed}{bar.counting}{'' if bar.claimed else ' (run not claimed)'}", letters))
        )
        parts.append(text(WIDTH - frame.right, y + 13, figures, anchor="end", style="strong" if room >= 0 else "over"))
        if bar.code is not None and bar.model is not None:
            split = max(frame.x(bar.code / 1e6) - frame.x(0), 2.0)
            parts.append(rect(frame.left, y + 18, split, BAR, "p-code", f"code {bar.code:,} bytes"))
            end = frame.x((bar.code + bar.model) / 1e6)
            parts.append(rect(frame.left + split, y + 18, end - frame.left - split, BAR, "p-model", f"model {bar.model:,} bytes"))
        else:
            parts.append(
                rect(frame.left, y + 18, frame.x(bar.total / 1e6) - frame.left, BAR, _OTHER, f"total {bar.total:,} bytes")
            )
        said.append(f"{seed}{bar.counting}: {bar.total:,} bytes, {left}")
        parts.append(line(cap, y + 17, cap, y + 33, "limit"))
        y += row
    parts.append(text(cap, top - 2, f"cap {report.artifact_cap:,}", anchor="end", style="limit-label"))
    return figure(identity, "Artifact size against the cap", "; ".join(said), height, parts)
