"""Result tables: which column is which measurement, which row is which seed."""

from __future__ import annotations

import re
from collections.abc import Sequence

from verifier.evidence import Location, Number
from verifier.submission.readme.blocks import Page, RawTable, plain
from verifier.submission.readme.model import Cell, Column, Row, Table

MOST_CELLS = 50_000
"""Cells read of one README."""

_NUMBER = re.compile(r"(?<![\w.])[-+−]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][-+]?\d{1,3})?")
_UNIT = re.compile(
    r"\s{0,3}(MiB|KiB|MB|KB|kB|GB|bytes|byte|B|ms|milliseconds|seconds|secs|sec|s|minutes|mins|min|hours|h|%)\b", re.IGNORECASE
)
_CANONICAL = {"mib": "MiB", "kib": "KiB", "mb": "MB", "kb": "KB", "gb": "GB", "bytes": "bytes", "byte": "bytes", "b": "bytes"}
_CANONICAL |= {"ms": "ms", "milliseconds": "ms", "seconds": "s", "secs": "s", "sec": "s", "s": "s", "%": "%"}
_CANONICAL |= {"minutes": "min", "mins": "min", "min": "min", "hours": "h", "h": "h"}
_EMPTY = re.compile(r"[-–—−.…\s_]*")
_SEED_HEADER = re.compile(r"(?:random\s+)?seeds?\b(?!\s*(?:mean|avg|average|std))|^rng$", re.IGNORECASE)
_SEED_LABEL = re.compile(r"(?:run\s+)?(?:\(?\d\)?\s+)?(?:seed|s)?\s*[=:#]?\s*(\d{1,10})(?:\s*\(.{0,60}\))?", re.IGNORECASE)
_SEED_COLUMN = re.compile(r"seed\s*[=:#]?\s*(\d{1,10})(?:\s.{0,40})?", re.IGNORECASE)
_MEAN = re.compile(r"\b(?:mean|avg|average)\b", re.IGNORECASE)
_STD = re.compile(r"\b(?:std|stdev|sd|stddev|standard deviation|sample std)\b|σ", re.IGNORECASE)
_OTHER = re.compile(
    r"Δ|δ|delta|gain|improve|\bvs\b|diff|change|gap|threshold|baseline|sota|margin|p-value|legal\?|legality|under|recover|cost",
    re.IGNORECASE,
)
_KINDS: tuple[tuple[Column, re.Pattern[str]], ...] = (
    (Column.BPB, re.compile(r"bpb|bits?[ /-]?per[ -]?byte", re.IGNORECASE)),
    (Column.STEP_MS, re.compile(r"ms\s*/\s*step|step[ _-]?(?:avg|time|ms)|ms per step|avg step", re.IGNORECASE)),
    (Column.LOSS, re.compile(r"\bval[ _]?loss\b|^loss\b|\bnats\b|\bnll\b", re.IGNORECASE)),
    (Column.CODE_BYTES, re.compile(r"code.{0,12}(?:bytes|size)|bytes_code|^code$", re.IGNORECASE)),
    (
        Column.ARTIFACT_BYTES,
        re.compile(
            r"artifact|artefact|submission (?:size|bytes)|total (?:size|bytes)|bytes[_ ]total|^(?:total )?(?:size|bytes)\b",
            re.IGNORECASE,
        ),
    ),
    (
        Column.EVAL_SECONDS,
        re.compile(r"eval.{0,16}(?:time|second|\(s\)|\bs$)|^eval(?:uation)?$|ttt[ _]?(?:eval[ _]?)?time", re.IGNORECASE),
    ),
    (Column.TRAIN_SECONDS, re.compile(r"(?:train|wall).{0,16}(?:time|second|clock|\(s\)|\bs$)|^wallclock", re.IGNORECASE)),
    (Column.STEPS, re.compile(r"\bsteps?\b|^iters?\b|iterations", re.IGNORECASE)),
)


def read_tables(page: Page) -> tuple[Table, ...]:
    tables: list[Table] = []
    cells = 0
    for raw in page.tables:
        cells += sum(len(row) for _, row in raw.rows)
        if cells > MOST_CELLS:
            break
        if len(raw.rows) > 1 and raw.rows[0][1]:
            tables.append(_read(page, raw))
    return tuple(tables)


def _read(page: Page, raw: RawTable) -> Table:
    headers = tuple(plain(text) for text in raw.rows[0][1])
    source = page.place(raw.rows[0][0])
    if sum(_SEED_COLUMN.fullmatch(header) is not None for header in headers) >= 2:
        return _read_transposed(page, raw, headers, source)
    columns = tuple(column_kind(header) for header in headers)
    columns = _with_seed_column(columns, headers, raw)
    rows = [_row(page, line, texts, headers, columns) for line, texts in raw.rows[1:]]
    return Table(headers, columns, tuple(rows), source)


def column_kind(header: str) -> Column:
    """What a column holds by its header; differences and comparisons are no measurements of the run."""
    if _SEED_HEADER.match(header.strip()):
        return Column.SEED
    if _OTHER.search(header):
        return Column.OTHER
    return next((kind for kind, pattern in _KINDS if pattern.search(header)), Column.OTHER)


def _with_seed_column(columns: tuple[Column, ...], headers: Sequence[str], raw: RawTable) -> tuple[Column, ...]:
    """`Run | Seed 42` labels under an unnamed or `Run` header are seeds too."""
    if Column.SEED in columns or not columns or columns[0] is not Column.OTHER:
        return columns
    labels = [plain(texts[0]) for _, texts in raw.rows[1:] if texts]
    named = [label for label in labels if re.match(r"seed\s*[=:#]?\s*\d", label, re.IGNORECASE)]
    return (
        (Column.SEED, *columns[1:])
        if named and headers[0].lower() in ("", "run", "runs", "log", "trial", "metric", "config")
        else columns
    )


def _row(page: Page, line: int, texts: Sequence[str], headers: Sequence[str], columns: Sequence[Column]) -> Row:
    cells = tuple(_cell(page, line, text, header, column) for text, header, column in zip(texts, headers, columns, strict=False))
    label = next(
        (cell.text for cell, column in zip(cells, columns, strict=False) if column is Column.SEED), cells[0].text if cells else ""
    )
    seed = None
    aggregate = _aggregate(label)
    if not aggregate and Column.SEED in columns:
        found = _SEED_LABEL.fullmatch(label)
        seed = int(found[1]) if found else None
    return Row(cells, seed, aggregate)


def _aggregate(label: str) -> str:
    if _MEAN.search(label):
        return "mean"
    return "std" if _STD.search(label) else ""


def _read_transposed(page: Page, raw: RawTable, headers: Sequence[str], source: Location) -> Table:
    """Seeds as columns: turned, so that a row is a seed."""
    body = raw.rows[1:]
    names = tuple(plain(texts[0]) if texts else "" for _, texts in body)
    kinds = tuple(column_kind(name) for name in names)
    rows = []
    for index, header in enumerate(headers[1:], 1):
        label = Cell(header, None, False, "", source)
        cells = [
            _cell(page, line, texts[index] if index < len(texts) else "", names[row], kinds[row])
            for row, (line, texts) in enumerate(body)
        ]
        found = _SEED_COLUMN.fullmatch(header)
        rows.append(Row((label, *cells), int(found[1]) if found else None, "" if found else _aggregate(header)))
    return Table((headers[0], *names), (Column.SEED, *kinds), tuple(rows), source)


def _cell(page: Page, line: int, text: str, header: str, column: Column) -> Cell:
    clean = plain(text)
    numbers = list(_NUMBER.finditer(clean))
    number = Number.parse(numbers[0][0].replace("−", "-").lstrip("+")) if len(numbers) == 1 else None
    unit = ""
    if number is not None and column is not Column.SEED:
        after = _UNIT.match(clean, numbers[0].end())
        unit = _CANONICAL.get(after[1].lower(), "") if after else _header_unit(header, column)
    return Cell(clean, number, _EMPTY.fullmatch(clean) is not None, unit, page.place(line))


def _header_unit(header: str, column: Column) -> str:
    """The unit in a header (`Artifact (MB)`), else the one the kind of column implies."""
    if column in (Column.BPB, Column.LOSS, Column.STEPS, Column.OTHER):
        return {Column.BPB: "bpb", Column.LOSS: "nats/token", Column.STEPS: "steps"}.get(column, "")
    stated = re.search(
        r"[(\[_ ,/](MiB|KiB|MB|KB|bytes|B|ms|s|sec|seconds|min|minutes|h|hours)[)\]]?$", header.strip(), re.IGNORECASE
    )
    if stated:
        return _CANONICAL.get(stated[1].lower(), "")
    return {Column.STEP_MS: "ms", Column.TRAIN_SECONDS: "s", Column.EVAL_SECONDS: "s"}.get(column, "bytes")
