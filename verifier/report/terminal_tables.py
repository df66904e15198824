"""The tables of the terminal page: seeds, sizes, timeline bars, settings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from verifier.ledger.configuration import ConfigRow
from verifier.ledger.timeline import Timeline
from verifier.report import outline, wording
from verifier.report.model import Report, SeedRow, SubmissionReport
from verifier.report.text import printable

COMPACT_SEEDS = 8
VISIBLE_EXCESS = 0.002
"""Share of a budget from which an excess is drawn: the overshoot of one step (a tenth of a second) is none to look at."""


def seeds_table(submission: SubmissionReport, verbose: bool) -> Iterator[RenderableType]:
    """One line per seed, then which metric the numbers are; `verbose` adds every final metric of each seed."""
    rows = submission.seeds if verbose else submission.seeds[:COMPACT_SEEDS]
    table = Table.grid(padding=(0, 2, 0, 0))
    for title in ("seed", "steps", "ms/step", "train s", "eval s", "loss", "BPB", "claimed", "total bytes"):
        table.add_column(title, justify="right", overflow="fold")
    table.add_row(*(Text(str(column.header), "dim") for column in table.columns))
    for row in rows:
        table.add_row(
            Text(wording.seed_words(row.seed), "bold"),
            wording.whole(row.steps),
            wording.decimal(row.step_ms, 1),
            wording.decimal(row.train_seconds, 1),
            wording.decimal(row.eval_seconds, 1),
            Text(printable(row.val_loss or "–", 24)),
            Text(printable(row.val_bpb or "–", 24), "bold"),
            Text(printable(row.claimed_bpb or "–", 24), "yellow" if outline.claim_differs(row) else ""),
            wording.whole(row.artifact_bytes),
        )
    yield table
    if len(rows) < len(submission.seeds):
        yield Text(f"+{len(submission.seeds) - len(rows)} more seeds (-v shows them)", "dim")
    yield Text(f"metric: {_labels(rows)}", "dim")
    if verbose:
        yield _metrics_table(rows)


def _labels(rows: Iterable[SeedRow]) -> str:
    labels = dict.fromkeys(printable(row.headline_label or "none", 80) for row in rows)
    return ", ".join(labels)


def _metrics_table(rows: Iterable[SeedRow]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_column(overflow="fold")
    table.add_column(overflow="fold")
    for row in rows:
        for label, loss, bpb in row.metrics:
            cells = (printable(label, 120), f"loss {printable(loss or '–', 24)}", f"BPB {printable(bpb or '–', 24)}")
            table.add_row(Text(wording.seed_words(row.seed)), *(Text(cell, "dim") for cell in cells))
    return table


def sizes_table(report: Report, submission: SubmissionReport, verbose: bool) -> Table:
    """Bytes against the cap: the largest total of each way of counting, every one when verbose."""
    largest = {}
    for bar in sorted(submission.sizes, key=lambda bar: (bar.total, bar.counting)):
        largest[bar.counting] = bar
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(justify="right", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    for bar in submission.sizes if verbose else largest.values():
        parts = f"code {bar.code:,} + model {bar.model:,}, " if bar.code is not None and bar.model is not None else ""
        seed = f"seed {bar.seed}, " if bar.seed is not None else ""
        room = report.artifact_cap - bar.total
        table.add_row(
            Text(f"{bar.total:,}", "bold"),
            Text(f"{room:,} left" if room >= 0 else f"{-room:,} above", "" if room >= 0 else "yellow"),
            Text.assemble(
                f"{printable(bar.counting)}{'' if bar.claimed else ' (run not claimed)'}",
                (f"  {seed}{parts}{wording.place(bar.source)}", "dim"),
            ),
        )
    return table


def timeline_table(report: Report, submission: SubmissionReport, verbose: bool, cells: int) -> Table:
    """A bar per run and budget with the phases that fill it; `cells` columns are a full budget."""
    timelines = submission.timelines if verbose else submission.timelines[:COMPACT_SEEDS]
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    for timeline in timelines:
        for index, lane in enumerate(outline.lanes(timeline)):
            limit = outline.budget_seconds(report, lane.budget)
            table.add_row(
                Text(wording.seed_words(timeline.seed) if index == 0 else "", "bold"),
                wording.budget_words(lane.budget),
                _bar(lane.total, limit, cells),
                Text(f"{lane.total:,.1f} s"),
                Text(_phases(lane, verbose), "dim"),
            )
        if verbose:
            table.add_row("", "", "", "", Text(_sums(timeline), "dim"))
    if len(timelines) < len(submission.timelines):
        table.add_row("", Text(f"+{len(submission.timelines) - len(timelines)} more runs"), "", "", "")
    return table


def _bar(seconds: float, limit: float | None, cells: int) -> Text:
    """Up to the budget's end mark in one colour, what exceeds it beyond the mark in another."""
    if limit is None or limit <= 0:
        return Text("")
    filled = min(cells, round(seconds / limit * cells))
    room = cells // 4
    excess = (seconds - limit) / limit
    beyond = min(room, max(1, round(excess * cells))) if excess > VISIBLE_EXCESS else 0
    return Text.assemble(
        ("━" * filled, "green"),
        ("╌" * (cells - filled), "dim"),
        "┃",
        ("━" * beyond, "red"),
        " " * (room - beyond),
    )


def _phases(lane: outline.Lane, verbose: bool) -> str:
    if verbose:
        parts = [f"{printable(phase.label, 80)} {phase.seconds:,.1f} ({wording.place(phase.source)})" for phase in lane.phases]
    else:
        sums: dict[str, float] = {}
        for phase in lane.phases:
            sums[phase.kind.value] = sums.get(phase.kind.value, 0.0) + phase.seconds
        parts = [f"{kind} {seconds:,.1f}" for kind, seconds in sums.items()]
    if lane.rest:
        parts.append(f"not itemised {lane.rest:,.1f}")
    return " + ".join(parts)


def _sums(timeline: Timeline) -> str:
    parts = [printable(timeline.log)]
    if timeline.reserve_seconds is not None:
        parts.append(f"reserve {timeline.reserve_seconds:,.1f} s")
    parts.append(f"diagnostics {timeline.diagnostic_seconds:,.1f} s")
    if timeline.eval_is_total:
        parts.append("evaluation total as logged")
    return ", ".join(parts)


def config_table(rows: Iterable[ConfigRow]) -> Table:
    """Each setting with its source; other sources that say otherwise below it."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(overflow="fold", max_width=32)
    table.add_column(overflow="fold", max_width=40)
    table.add_column(overflow="fold")
    for row in rows:
        source = f"{printable(row.origin)}, {wording.place(row.source)}"
        table.add_row(Text(printable(row.name, 80), "bold"), Text(printable(row.value, 120)), Text(source, "dim"))
        for origin, value, place in row.others:
            table.add_row("", Text(printable(value, 120), "yellow"), Text(f"{printable(origin)}, {wording.place(place)}", "dim"))
    return table
