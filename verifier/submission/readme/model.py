"""What a README says, as data: run commands, result tables and claims, each with its line."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from verifier.evidence import Fact, Location, Number, Problem


@dataclass(frozen=True, slots=True)
class Setting:
    """`NAME=value` as a command sets it (`value` unexpanded when it holds a shell variable, then `literal` is False)."""

    name: str
    value: str
    literal: bool
    source: Location


@dataclass(frozen=True, slots=True)
class RunCommand:
    """One documented command that runs a script.

    `settings` are the environment assignments in force (inline, `export`, `env`, earlier bare assignments in the block).
    `seeds` are those of a surrounding loop or assignment. `form` is `fenced`, `indented` or `inline`.
    """

    text: str
    script: str | None
    arguments: tuple[str, ...]
    settings: tuple[Setting, ...]
    seeds: tuple[int, ...]
    processes: int | None
    form: str
    source: Location


class Column(StrEnum):
    SEED = "seed"
    BPB = "bpb"
    LOSS = "loss"
    STEPS = "steps"
    STEP_MS = "step_ms"
    ARTIFACT_BYTES = "artifact_bytes"
    CODE_BYTES = "code_bytes"
    TRAIN_SECONDS = "train_seconds"
    EVAL_SECONDS = "eval_seconds"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Cell:
    """`number` is the cell's number when it has exactly one; `empty` is true for blanks and dashes."""

    text: str
    number: Number | None
    empty: bool
    unit: str
    source: Location


@dataclass(frozen=True, slots=True)
class Row:
    """`seed` is set for seed rows; `aggregate` is `mean`, `std` or ``""``."""

    cells: tuple[Cell, ...]
    seed: int | None
    aggregate: str


@dataclass(frozen=True, slots=True)
class Table:
    headers: tuple[str, ...]
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    source: Location

    @property
    def has_seeds(self) -> bool:
        return any(row.seed is not None for row in self.rows)


class Polarity(StrEnum):
    DENIED = "denied"
    ASSERTED = "asserted"


@dataclass(frozen=True, slots=True)
class Statement:
    """A sentence about a rule-relevant topic. A weak signal by itself: never the only evidence of a `fail`.

    `topic` is one of `ttt`, `slot`, `ngram`, `prequant-ttt`, `network`, `validation-data`, `etlb`, `record` (denied: says it is
    not a record), `withdrawn`, `compressor` (then `value` is `brotli`, `zstd:22`, ...), `size`, `train-time`, `eval-time`,
    `seeds`, `margin` (value: the text of threshold and unit), `base-pr` (value: the number), `sota` (value: the score compared
    with), `systems-only`, `technique` (value: the technique's slug). `form` is `bullet`, `prose`, `heading`, `table` or `json`.
    """

    topic: str
    polarity: Polarity
    value: str
    sentence: str
    form: str
    source: Location


@dataclass(frozen=True, slots=True)
class Readme:
    path: str
    commands: tuple[RunCommand, ...]
    tables: tuple[Table, ...]
    statements: tuple[Statement, ...]
    facts: tuple[Fact, ...]
    """Numbers in headings, bullets and prose with a recognisable meaning: val_bpb, val_loss, bytes_total, seconds, std."""
    problems: tuple[Problem, ...] = ()
    settings: tuple[Setting, ...] = ()
    """Settings that the text names outside of commands."""
