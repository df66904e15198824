"""What a submission claims: its score, its seeds, and which logged runs those seeds are.

The submission JSON speaks first, the README second. Which metric of a log is *the* score follows from the claim, not from the
label: labels name code paths, and a log may end with a diagnostic that nobody claims.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from verifier.evidence import Fact, Location, Number
from verifier.submission.logs.model import Metric, Run
from verifier.submission.metadata import Metadata, SeedClaim
from verifier.submission.readme import Column, Polarity, Row, Statement, Table
from verifier.submission.submission import Submission, Track, worked_out_once

_NO_RECORD = re.compile(r"non[-_ ]record|retracted|withdrawn", re.IGNORECASE)
"""Beginnings of the statuses of what is no record."""
SLIP = 1e-4
"""What a mean may be off when it was taken from rounded rows."""
ROUNDING = 1e-3
"""bpb by which a claim and a log may differ before they are no longer the same measurement."""

_COLUMN_FIELDS = {
    Column.BPB: "val_bpb",
    Column.LOSS: "val_loss",
    Column.STEPS: "steps",
    Column.STEP_MS: "step_ms",
    Column.ARTIFACT_BYTES: "artifact_bytes",
    Column.CODE_BYTES: "code_bytes",
    Column.TRAIN_SECONDS: "train_seconds",
    Column.EVAL_SECONDS: "eval_seconds",
}
_COLUMN_UNITS = {
    Column.BPB: "bpb",
    Column.LOSS: "nats/token",
    Column.STEPS: "steps",
    Column.STEP_MS: "ms",
    Column.ARTIFACT_BYTES: "bytes",
    Column.CODE_BYTES: "bytes",
    Column.TRAIN_SECONDS: "s",
    Column.EVAL_SECONDS: "s",
}
_UNIT_SCALES = {
    "ms": 1e-3,
    "s": 1.0,
    "min": 60.0,
    "h": 3600.0,
    "bytes": 1.0,
    "KB": 1e3,
    "MB": 1e6,
    "KiB": 1024.0,
    "MiB": 1024.0**2,
}
_NOT_A_RECORD = frozenset(
    {"non_record", "non_record_submission", "not_claiming_new_sota", "is_negative_result", "experimental_non_record"}
)
_NOT_A_RECORD |= {"non_record_unlimited_compute", "single_seed_non_record", "withdrawn", "retracted"}
_A_RECORD = frozenset({"record_claim", "is_record", "leaderboard_claim", "sota_claim", "record", "claiming_record_candidate"})


@dataclass(frozen=True, slots=True)
class Headline:
    """The claimed BPB and loss as the folder states them; `None` where it does not."""

    bpb: Fact | None
    loss: Fact | None


@dataclass(frozen=True, slots=True)
class HeadlineRun:
    """A run of a claimed seed and the metric that the claim quotes. `explained` is true when a claimed value (of the seed, or the
    mean over the seeds) is that metric; otherwise it is the log's last final metric."""

    run: Run
    metric: Metric | None
    explained: bool


def own_metadata(submission: Submission) -> Metadata | None:
    """The folder's own submission JSON, when it could be read."""
    return next((metadata for metadata in submission.metadata if metadata.parsed), None)


@worked_out_once
def claimed_headline(submission: Submission) -> Headline:
    """The score that the folder claims: what the JSON states, else what the README states. A mean that neither states is not
    made up here."""
    metadata = own_metadata(submission)
    facts = [fact for readme in submission.readmes[:1] for fact in readme.facts if fact.seed is None]
    bpb = metadata.val_bpb if metadata is not None else None
    loss = metadata.val_loss if metadata is not None else None
    return Headline(
        bpb=bpb or next((fact for fact in facts if fact.name == "val_bpb"), None),
        loss=loss or next((fact for fact in facts if fact.name == "val_loss"), None),
    )


@worked_out_once
def claimed_seeds(submission: Submission) -> tuple[SeedClaim, ...]:
    """Per-seed claims: the JSON's entries with their gaps filled from the README's seed table. The table's other seeds count only
    when the JSON names no seeds at all."""
    metadata = own_metadata(submission)
    stated = metadata.seed_claims if metadata is not None else ()
    claims = {claim.seed: claim for claim in stated if claim.seed is not None}
    unnamed = [claim for claim in stated if claim.seed is None]
    wanted = {*claims, *(metadata.seeds if metadata is not None else ())}
    table = seed_table(submission)
    score = _score_column(table, claimed_headline(submission).bpb) if table is not None else None
    for row in table.rows if table is not None and not unnamed else ():
        if table is None or row.seed is None or (wanted and row.seed not in wanted):
            continue
        shown = _row_claim(table, row, score)
        known = claims.get(row.seed, shown)
        gaps = {
            field: value
            for field in _COLUMN_FIELDS.values()
            if getattr(known, field) is None and (value := getattr(shown, field))
        }
        claims[row.seed] = replace(known, **gaps)
    return (*claims.values(), *unnamed)


def seed_table(submission: Submission) -> Table | None:
    """The README's table of seeds: the first one with a BPB for its seeds, else the first with seeds."""
    tables = [table for readme in submission.readmes[:1] for table in readme.tables if table.has_seeds]
    return next((table for table in tables if Column.BPB in table.columns), tables[0] if tables else None)


def _score_column(table: Table, total: Fact | None) -> int | None:
    """Of several BPB columns the one whose mean over the seeds is the claimed score."""
    if total is None:
        return None
    for index, column in enumerate(table.columns):
        cells = [row.cells[index] for row in table.rows if row.seed is not None and index < len(row.cells)]
        values = [cell.number.value for cell in cells if cell.number is not None]
        if (
            column is Column.BPB
            and values
            and abs(sum(values) / len(values) - float(total.value)) <= max(fact_tolerance(total), SLIP)
        ):
            return index
    return None


def _row_claim(table: Table, row: Row, score: int | None) -> SeedClaim:
    """A table row as a claim. Of several columns of one kind (pre-quant, sliding, TTT) `score` is the score, else by custom the last; the
    others are kept."""
    known: dict[str, Fact] = {}
    others: list[Fact] = []
    source = row.cells[0].source if row.cells else table.source
    for index, (header, column, cell) in enumerate(zip(table.headers, table.columns, row.cells, strict=False)):
        if column not in _COLUMN_FIELDS or cell.number is None:
            continue
        scale = _UNIT_SCALES.get(cell.unit, 1.0) if column not in (Column.STEP_MS, Column.BPB, Column.LOSS, Column.STEPS) else 1.0
        scaled = cell.number.value * scale
        value = round(scaled) if _COLUMN_UNITS[column] in ("bytes", "steps") else scaled
        fact = Fact(header, value, _COLUMN_UNITS[column], cell.source, row.seed, cell.number.text)
        field = _COLUMN_FIELDS[column]
        beside = field == "val_bpb" and score is not None and index != score
        if beside or (field in known and field != "val_bpb"):
            others.append(fact)
            continue
        if field in known:
            others.append(known[field])
        known[field] = fact
    return SeedClaim(row.seed, source, others=tuple(others), **known)


@worked_out_once
def claimed_runs(submission: Submission) -> tuple[Run, ...]:
    """The run of each claimed seed, in the order of the claims; without claimed seeds, every full run that has a final score.

    Where a seed has several runs, the one whose score is claimed wins, then a full run, then the one that ends nearest to the
    claim.
    """
    stated: dict[int, Fact | None] = {claim.seed: claim.val_bpb for claim in claimed_seeds(submission) if claim.seed is not None}
    metadata = own_metadata(submission)
    for seed in metadata.seeds if metadata is not None else ():
        stated.setdefault(seed, None)
    runs = submission.runs
    claimed = claimed_headline(submission).bpb
    if any(run.seed in stated for run in runs):
        chosen = []
        for seed, bpb in stated.items():
            same = [run for run in runs if run.seed == seed]
            if same:
                target = bpb or claimed
                chosen.append(
                    max(same, key=lambda run: (run_shows(run, bpb), _digits_shown(run, bpb), run.full, _closeness(run, target)))
                )
        return tuple(chosen)
    scored = [run for run in runs if run.full and run.headline is not None] or [run for run in runs if run.headline is not None]
    if len(scored) > 1 and claimed is not None and not (metadata is not None and metadata.seeds):
        # One run that ends with the claim, among others that are kept beside it.
        shows = [run for run in scored if run_shows(run, claimed)]
        if len(shows) == 1 and _label_that_explains(scored, claimed) is None:
            return tuple(shows)
    if len(scored) > 1 and claimed is not None and len({run.seed for run in scored}) == 1:
        # Several runs of one seed (or of none): at most one of them is the claim.
        scored = [max(scored, key=lambda run: (run_shows(run, claimed), _digits_shown(run, claimed)))]
    return tuple(scored)


def _closeness(run: Run, claimed: Fact | None) -> float:
    """Larger is closer; a run without a final score is farthest."""
    if run.headline is None or run.headline.bpb is None:
        return -math.inf
    return -abs(run.headline.bpb.value - float(claimed.value)) if claimed is not None else 0.0


def run_shows(run: Run, claimed: Fact | None) -> bool:
    """Whether a final metric of the run is the claimed value."""
    return claimed is not None and metric_showing(run.final_metrics, claimed) is not None


def _digits_shown(run: Run, claimed: Fact | None) -> int:
    """Digits behind the point with which a run prints the claimed value, as far as the claim has them: four rounded ones may be of
    another metric."""
    shown = metric_showing(run.final_metrics, claimed) if claimed is not None else None
    return shown.bpb.decimals if shown is not None and shown.bpb is not None else 0


def metric_showing(metrics: Sequence[Metric], claimed: Fact, shared: Collection[str] = ()) -> Metric | None:
    """The metric that prints the claimed BPB; of several one whose label is `shared` by the other runs, then the most precise,
    then the last."""
    same = [metric for metric in metrics if metric.bpb is not None and same_value(metric.bpb, claimed)]
    return max(
        reversed(same), key=lambda metric: (metric.label in shared, metric.bpb.decimals if metric.bpb else 0), default=None
    )


def same_value(printed: Number, claimed: Fact) -> bool:
    """Whether a printed number and a claim can be one value (the coarser print decides)."""
    return abs(printed.value - float(claimed.value)) <= max(printed.half_unit, fact_tolerance(claimed)) * (1 + 1e-9)


def fact_tolerance(fact: Fact) -> float:
    """Half a unit of the last digit that a fact printed, in the fact's unit (`15.9MB` in bytes: 50,000)."""
    leading = (fact.printed or "").strip().lstrip("~≈<>≤≥=+ ")
    digits = leading[: len(leading) - len(leading.lstrip("0123456789.,_-"))].rstrip(".,_-")
    number = Number.parse(digits) if digits else None
    if number is None:
        return 0.0
    scale = abs(float(fact.value) / number.value) if number.value and not isinstance(fact.value, str) else 1.0
    return number.half_unit * scale


@worked_out_once
def headline_runs(submission: Submission) -> tuple[HeadlineRun, ...]:
    """Each claimed seed's run with the metric that the claim is about.

    First the metric that prints the seed's claimed value; else the label whose mean over the runs is the claimed score (the last
    such label in the log); else a line in the middle of the log that prints the claim; else the label whose mean is near it; else what
    the log ends with.
    """
    claims = {claim.seed: claim.val_bpb for claim in claimed_seeds(submission)}
    runs = claimed_runs(submission)
    total = claimed_headline(submission).bpb
    # Values of seeds that are far from the claimed score are of another column: pre-quant, or what training printed last.
    values = [float(value.value) for value in claims.values() if value is not None]
    beside = total is not None and bool(values) and abs(sum(values) / len(values) - float(total.value)) > ROUNDING
    label, near = _label_that_explains(runs, total), _label_that_explains(runs, total, ROUNDING)
    shared = set.intersection(*({metric.label for metric in run.final_metrics} for run in runs)) if runs else set()
    chosen = []
    for run in runs:
        claimed = claims.get(run.seed)
        metric = metric_showing(run.final_metrics, claimed, shared) if claimed is not None else None
        explained = metric is not None
        if metric is None and label is not None:
            metric = _last_of(run, label)
            explained = claimed is None
        wanted = total if beside else claimed or total
        if metric is None and wanted is not None:
            results = [metric for metric in run.metrics if metric.step is None]  # progress of the training is none
            metric = metric_showing(results, wanted) or (_last_of(run, near) if near is not None else None)
            explained = metric is not None
        chosen.append(HeadlineRun(run, metric or run.headline, explained))
    return tuple(chosen)


def is_unlogged(submission: Submission) -> bool:
    """Whether a score is claimed and none of the claimed runs' logs has it: what is read then is the path to another number."""
    runs = headline_runs(submission)
    return claimed_headline(submission).bpb is not None and bool(runs) and not any(run.explained for run in runs)


def _label_that_explains(runs: Sequence[Run], total: Fact | None, slack: float = 0.0) -> str | None:
    if total is None or not runs:
        return None
    for metric in reversed(runs[0].final_metrics):
        values = [found.bpb for run in runs if (found := _last_of(run, metric.label)) is not None and found.bpb is not None]
        if len(values) == len(runs):
            mean = sum(value.value for value in values) / len(values)
            tolerance = max(slack, fact_tolerance(total), *(value.half_unit for value in values))
            if abs(mean - float(total.value)) <= tolerance * (1 + 1e-9):
                return metric.label
    return None


def _last_of(run: Run, label: str) -> Metric | None:
    return next((metric for metric in reversed(run.final_metrics) if metric.label == label and metric.bpb is not None), None)


def is_record_claim(submission: Submission) -> bool:
    """A folder in the 10-minute track that does not itself say that it is no record or is withdrawn."""
    return submission.track is Track.TEN_MINUTES and record_denial(submission) is None


def record_denial(submission: Submission) -> Location | None:
    """Where the folder says that it is not a record, or that it is withdrawn."""
    metadata = own_metadata(submission)
    if metadata is not None:
        for flag in metadata.flags:
            name = flag.name.rsplit(".", 1)[-1]
            if (flag.value is True and name in _NOT_A_RECORD) or (flag.value is False and name in _A_RECORD):
                return flag.source
        if metadata.track is not None and "non" in str(metadata.track.value).lower().replace("-", "_").split("_"):
            return metadata.track.source
        if metadata.status is not None and _NO_RECORD.match(str(metadata.status.value)):
            return metadata.status.source
    denied = (statement for statement in _statements(submission) if statement.topic in ("record", "withdrawn"))
    return next((statement.source for statement in denied if _says_no_record(statement)), None)


def _says_no_record(statement: Statement) -> bool:
    wanted = Polarity.ASSERTED if statement.topic == "withdrawn" else Polarity.DENIED
    return statement.polarity is wanted


def _statements(submission: Submission) -> tuple[Statement, ...]:
    return tuple(statement for readme in submission.readmes[:1] for statement in readme.statements)
