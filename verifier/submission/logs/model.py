"""What a log says, as data. One file may hold several runs; a run is what one start of the script printed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

from verifier.evidence import Location, Number, Problem


@dataclass(frozen=True, slots=True)
class StepPoint:
    """A training line. `train_ms` is the script's own clock at that step; `step_avg_ms` as printed."""

    step: int
    total: int | None
    train_loss: float | None
    train_ms: float | None
    step_avg_ms: float | None
    tokens_per_second: float | None
    line: int


@dataclass(frozen=True, slots=True)
class Metric:
    """A line that states a loss and/or BPB.

    `label` is what precedes the numbers, prefix stripped (`final_int8_zlib_roundtrip_exact`). `step` is set for in-training
    validation lines. `diagnostic` is true for labels that by their own words are not the score (post-EMA, pre-quantization,
    running values, per chunk). `seconds` is the eval time printed on the line or the line that belongs to it.
    """

    label: str
    loss: Number | None
    bpb: Number | None
    step: int | None
    seconds: float | None
    diagnostic: bool
    source: Location


class SizeKind(StrEnum):
    TOTAL = "total"
    """Code plus compressed model, as the log adds them up."""
    RAW_TOTAL = "raw-total"
    """Code plus the uncompressed model file: printed by many scripts, never the artifact."""
    MODEL = "model"
    """Compressed model bytes."""
    RAW_MODEL = "raw-model"
    CODE = "code"


@dataclass(frozen=True, slots=True)
class SizeLine:
    """`tag` is the text between the words and the colon, e.g. `int8+zlib`, `(compressed)`. `unit` is as printed."""

    kind: SizeKind
    tag: str
    bytes: int
    exact: bool
    """False when the line printed a rounded unit (MB), so `bytes` is only as good as that."""
    source: Location


class PhaseKind(StrEnum):
    TRAIN = "train"
    """Wallclock of the training loop, as the script counted it."""
    RESERVE = "reserve"
    """Seconds the training loop stopped early to leave room for calibration (a promise, not a duration)."""
    CALIBRATION = "calibration"
    """Hessians or activations collected on training data after the training clock."""
    SELF_GENERATION = "self-generation"
    """Calibration text sampled from the model itself."""
    QUANTIZE = "quantize"
    EVAL = "eval"
    ADAPT = "adapt"
    """Adaptation on validation tokens with its own clock (pre-quant TTT and the like)."""
    NGRAM = "ngram"
    TOTAL_EVAL = "total-eval"
    """The log's own total of the evaluation."""
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Timing:
    """A duration line. `label` is the text that names it; `metric` is the label of the metric it belongs to, if any."""

    kind: PhaseKind
    seconds: float
    label: str
    metric: str | None
    source: Location


@dataclass(frozen=True, slots=True)
class Calibration:
    """A line about quantization statistics: where they come from (`train`, `validation`, `self`, or `""` when it is not said)
    and how long they took (None when it is not said). `stated` is false where `reads` is carried over from an earlier line or
    follows from "calibration data", the usual words for training batches."""

    reads: str
    seconds: float | None
    stated: bool
    source: Location


@dataclass(frozen=True, slots=True)
class Stop:
    """How training ended: `reason` as printed (`wallclock_cap`)."""

    reason: str
    train_ms: float | None
    step: int | None
    total: int | None
    source: Location


@dataclass(frozen=True, slots=True)
class Value:
    """One logged setting or scalar as printed."""

    text: str
    source: Location


@dataclass(frozen=True, slots=True)
class Run:
    """One run. Everything is `None` or empty when the log does not say it."""

    path: str
    index: int
    first_line: int
    last_line: int
    seed: int | None
    seed_source: Location | None
    """Where the seed was read; the file as a whole when only its name says it."""
    seed_from: str
    """`line`, `dump`, `inline`, `file-name` or ``""``."""
    file_name_seed: int | None
    steps: tuple[StepPoint, ...] = ()
    metrics: tuple[Metric, ...] = ()
    sizes: tuple[SizeLine, ...] = ()
    timings: tuple[Timing, ...] = ()
    calibrations: tuple[Calibration, ...] = ()
    stop: Stop | None = None
    world_size: Value | None = None
    gpus: tuple[Value, ...] = ()
    torch: Value | None = None
    val_tokens: Value | None = None
    val_docs: Value | None = None
    train_shards: Value | None = None
    """e.g. `1499/1502` or a count."""
    tokenizer_path: Value | None = None
    data_path: Value | None = None
    model_params: Value | None = None
    peak_memory: Value | None = None
    config: dict[str, Value] = field(default_factory=dict)
    """The hyperparameter dump, keys as printed."""
    tracebacks: tuple[Location, ...] = ()
    warnings: tuple[Location, ...] = ()
    """Lines in which the script itself warns (size above the cap, budget exceeded, ...)."""

    @property
    def train_ms(self) -> float | None:
        """The training clock at its end, in ms: the stop line's, else the last step's, else a line that sums training up."""
        if self.stop is not None and self.stop.train_ms is not None:
            return self.stop.train_ms
        clocks = [point.train_ms for point in self.steps if point.train_ms is not None]
        if clocks:
            return clocks[-1]
        sums = [timing.seconds for timing in self.timings if timing.kind is PhaseKind.TRAIN]
        return sums[-1] * 1000.0 if sums else None

    @property
    def steps_reached(self) -> int | None:
        if self.stop is not None and self.stop.step is not None:
            return self.stop.step
        return max((point.step for point in self.steps), default=None)

    @property
    def step_ms(self) -> float | None:
        """Mean milliseconds per step: train clock over steps, else the last printed average."""
        reached, clock = self.steps_reached, self.train_ms
        if reached and clock:
            return clock / reached
        averages = [point.step_avg_ms for point in self.steps if point.step_avg_ms is not None]
        return averages[-1] if averages else None

    @property
    def final_metrics(self) -> tuple[Metric, ...]:
        """Metrics after training that are not diagnostics, in log order."""
        return tuple(metric for metric in self.metrics if metric.step is None and not metric.diagnostic)

    @property
    def headline(self) -> Metric | None:
        """The last final metric with a BPB: what the run ends with (labels name code paths, not contents)."""
        scored = [metric for metric in self.final_metrics if metric.bpb is not None]
        return _most_precise_tail(scored)

    @property
    def full(self) -> bool:
        """A real training run: more than five step lines."""
        return len(self.steps) > 5


def _most_precise_tail(scored: list[Metric]) -> Metric | None:
    """The last metric; of an `X` / `X_exact` pair that prints one value twice, the one with more digits."""
    if not scored:
        return None
    last = scored[-1]
    for other in reversed(scored[:-1]):
        same = other.label.removesuffix("_exact") == last.label.removesuffix("_exact")
        if not same or other.bpb is None or last.bpb is None or not other.bpb.agrees(last.bpb):
            break
        if other.bpb.decimals > last.bpb.decimals:
            last = other
    return last


@dataclass(frozen=True, slots=True)
class EmbeddedSource:
    """The script as the log printed it, cut out before anything else was read. Lines are those of the log."""

    first_line: int
    last_line: int
    text: str


_DUMP = 6
"""So many settings within as many lines above and below are a dump."""


@dataclass(frozen=True, slots=True)
class LogFile:
    path: str
    sha256: str
    encoding: str
    runs: tuple[Run, ...]
    embedded: EmbeddedSource | None
    duplicate_of: str | None
    """Path of a log in the same folder with the same content (the first in path order); its runs are counted once."""
    problems: tuple[Problem, ...] = ()
    kinds: tuple[tuple[int, str], ...] = ()
    """The first line of each kind (lines that differ in numbers only are one kind) with its number."""

    @property
    def dumped(self) -> frozenset[int]:
        """The lines of dumps of settings: `name: value` alone on a line, several of them one after another."""
        pairs = Counter(value.source.line for run in self.runs for value in run.config.values())
        alone = {line for line, count in pairs.items() if count == 1 and line is not None}
        near = range(1 - _DUMP, _DUMP)
        return frozenset(line for line in alone if sum(line + step in alone for step in near) >= _DUMP)
