"""CLM007: cells of the README's seed table that are empty although the log has the value."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from verifier.engine.context import Context
from verifier.evidence import Location, Number
from verifier.rule import Decision, Finding, Level, Outcome, Rule
from verifier.submission.logs.model import Run, SizeKind
from verifier.submission.readme import Cell, Column, Row, Table

_PULL = "https://github.com/openai/parameter-golf/pull/"


@dataclass(frozen=True, slots=True)
class Logged:
    """A value of a log: `name` is the metric's label or what the line counts."""

    name: str
    text: str
    value: float
    half_unit: float
    source: Location


def check(context: Context) -> Decision:
    tables = [table for readme in context.submission.readmes[:1] for table in readme.tables if table.has_seeds]
    if not tables:
        return Decision.not_applicable("the README has no table of seeds")
    runs = {run.seed: run for run in context.submission.runs if run.seed is not None and (run.full or run.headline)}
    if not runs:
        return Decision.not_available("no log names a seed that the table could be compared with")
    findings = [finding for table in tables for finding in _holes(table, runs)]
    if findings:
        return Decision.of(findings)
    empty = sum(cell.empty for table in tables for row in table.rows if row.seed is not None for cell in row.cells)
    told = "no seed's cell is empty" if not empty else f"{empty} cells are empty and the logs have no value for them"
    return Decision.passed(told)


def _holes(table: Table, runs: dict[int, Run]) -> Iterator[Finding]:
    for row in table.rows:
        run = runs.get(row.seed) if row.seed is not None else None
        for index, cell in enumerate(row.cells[: len(table.columns)]):
            if run is None or not cell.empty:
                continue
            found = _missing_value(table, index, row, run, runs)
            if found is not None:
                yield Finding(
                    Outcome.FAIL,
                    f"seed {row.seed}, {table.headers[index] or 'unnamed column'}: the cell is empty, the log has {found.text} ({found.name})",
                    (cell.source, found.source),
                    remediation=f"fill in {found.text}",
                )


def _missing_value(table: Table, index: int, row: Row, run: Run, runs: dict[int, Run]) -> Logged | None:
    """What belongs into an empty cell: the logged value of the same name that the column shows for every other seed."""
    shown: list[tuple[Cell, Run]] = []
    for other in table.rows:
        if other is row or other.seed is None or index >= len(other.cells) or other.cells[index].number is None:
            continue
        its_run = runs.get(other.seed)
        if its_run is not None:
            shown.append((other.cells[index], its_run))
    if not shown:
        return None
    column = table.columns[index]
    names = None
    for cell, its_run in shown:
        matching = {
            value.name for value in _values(its_run, column) if cell.number is not None and _matches(value, cell, cell.number)
        }
        names = matching if names is None else names & matching
    if not names:
        return None
    return _best([value for value in _values(run, column) if value.name in names])


def _values(run: Run, column: Column) -> list[Logged]:
    if column in (Column.BPB, Column.LOSS):
        numbers = [
            (metric.label, metric.bpb if column is Column.BPB else metric.loss, metric.source)
            for metric in run.metrics
            if metric.step is None
        ]
        return [
            Logged(label, number.text, number.value, number.half_unit, source)
            for label, number, source in numbers
            if number is not None
        ]
    if column in (Column.ARTIFACT_BYTES, Column.CODE_BYTES):
        kinds = (SizeKind.CODE,) if column is Column.CODE_BYTES else (SizeKind.TOTAL, SizeKind.MODEL)
        lines = [line for line in run.sizes if line.kind in kinds and line.exact]
        return [
            Logged(f"{line.kind.value} {line.tag}".strip(), f"{line.bytes:,}", line.bytes, 0.5, line.source) for line in lines
        ]
    if column is Column.STEPS and run.stop is not None and run.stop.step is not None:
        return [Logged("steps", str(run.stop.step), run.stop.step, 0.5, run.stop.source)]
    return []


def _matches(value: Logged, cell: Cell, number: Number) -> bool:
    scale = {"MB": 1e6, "MiB": 1024.0**2, "KB": 1e3, "KiB": 1024.0}.get(cell.unit, 1.0)
    tolerance = max(value.half_unit, number.half_unit * scale)
    return abs(value.value - number.value * scale) <= tolerance * (1 + 1e-9)


def _best(values: Sequence[Logged]) -> Logged | None:
    return min(reversed(values), key=lambda value: value.half_unit, default=None)


INCOMPLETE_TABLE = Rule(
    code="CLM007",
    name="incomplete-results-table",
    level=Level.WARNING,
    summary="the README's table leaves out values that the logs contain",
    why=(
        "A dash among numbers reads as 'not measured'. Where the log has the value, a reader can't know whether it was forgotten or "
        "left out because it does not fit."
    ),
    example=(
        "violation: `| 2024 | — | 1.0859 | — |` while the log prints 1.08623375 and 15975819 bytes\n"
        "legal: the row filled in, or a seed without a log marked as such"
    ),
    settles="the log line that the column shows for the other seeds",
    sources=(_PULL + "1471",),
    check=check,
)

RULES = (INCOMPLETE_TABLE,)
