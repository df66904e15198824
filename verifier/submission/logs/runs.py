"""From lines to runs: which lines start a new run, and what one run says in total."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from verifier.evidence import Location, Number, excerpt
from verifier.submission.logs import environment
from verifier.submission.logs.decoding import strip_prefix
from verifier.submission.logs.metrics import MetricLine, read_lone_loss, read_metric_line, read_step_line, stem_of_label
from verifier.submission.logs.model import Calibration, Metric, PhaseKind, Run, SizeKind, SizeLine, StepPoint, Stop, Timing, Value
from verifier.submission.logs.patterns import PARSED_LENGTH, read_duration
from verifier.submission.logs.sizes import read_sizes
from verifier.submission.logs.timings import (
    is_self_generation,
    read_calibration,
    read_reserve,
    read_stop,
    read_timing,
    read_training_sum,
)

_START = re.compile(
    r"(?:Hyperparameters:|logs/\S{1,200}\.txt\s*$|val_bpb:enabled|train_loader:dataset|model_params:|seed:\s?\d|Running P(?:ython|yTorch)"
    r"|world_size:\d|W\d{4} [\d:.]{8,20} +\d{1,9} +torch/distributed/run\.py)"
)
_START_FIRST = frozenset("HlvtmsRwW")
_STEP_FIRST = frozenset("si0123456789")
_OWN_TIME = re.compile(r"\s{0,8}(?:\w{0,20}eval[_ ]time|elapsed|time|eval)\s?[:=]", re.IGNORECASE)
_TIME_AFTER_METRIC = 3
"""Lines around a metric in which its other half (a bare `eval_time:`, a loss on a line of its own) is looked for."""
_SAME_STEPS = 4
"""Step lines that must agree before two runs count as one run printed twice."""
_WARNING_WORDS = ("exceeds", "exceeded", "over budget", "over the limit", "overrun", "too large")
_MOST_WARNINGS = 50
_MOST_TRACEBACKS = 20
_MOST_GPUS = 64


@dataclass(slots=True)
class _Draft:
    """A run while it is read."""

    first_line: int
    steps: list[StepPoint] = field(default_factory=list)
    metrics: list[Metric] = field(default_factory=list)
    sizes: list[SizeLine] = field(default_factory=list)
    timings: list[Timing] = field(default_factory=list)
    calibrations: list[Calibration] = field(default_factory=list)
    gpus: list[Value] = field(default_factory=list)
    tracebacks: list[Location] = field(default_factory=list)
    warnings: list[Location] = field(default_factory=list)
    config: dict[str, Value] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    seeds: dict[str, tuple[int, Location]] = field(default_factory=dict)
    stop: Stop | None = None
    last_step: int = -1
    calibration_reads: str = ""
    lone_loss: tuple[str, Number, int] | None = None
    """A loss without its BPB so far: stem of the label, value, line."""

    @property
    def begun(self) -> bool:
        """Whether the run has produced anything, so that another start line means another run."""
        return bool(self.steps or self.metrics)

    @property
    def said(self) -> int:
        return len(self.metrics) + len(self.sizes) + len(self.timings)


def read_runs(path: str, lines: list[str], hidden: bytearray) -> tuple[Run, ...]:
    """Read all runs of a log. `hidden` marks lines of embedded source, which are not looked at."""
    drafts: list[_Draft] = []
    draft = _Draft(first_line=1)
    for index, raw in enumerate(lines):
        if hidden[index] or not raw:
            continue
        line = strip_prefix(raw if len(raw) <= PARSED_LENGTH else raw[:PARSED_LENGTH])
        if _starts_run(line, draft):
            drafts.append(draft)
            draft = _Draft(first_line=index + 1)
        _read_line(draft, path, index + 1, line)
    drafts.append(draft)
    merged = _join_continuations(drafts)
    ends = [following.first_line - 1 for following in merged[1:]] + [len(lines)]
    return tuple(_finish(draft, path, number, end) for number, (draft, end) in enumerate(zip(merged, ends, strict=True)))


def _starts_run(line: str, draft: _Draft) -> bool:
    if not draft.begun or line[:1] not in _START_FIRST:
        return False
    return _START.match(line) is not None and (draft.stop is not None or draft.last_step > 0 or not draft.steps)


def _read_line(draft: _Draft, path: str, number: int, line: str) -> None:
    """Dispatch one line. Substring tests come first: most lines of a log say nothing."""
    if not draft.begun and line.startswith("  ") and (setting := environment.read_dump_line(line)) is not None:
        _add_setting(draft, path, number, line, *setting)
        return
    stripped = line.strip()
    if not stripped:
        return
    low = stripped.lower()
    if stripped[0] in _STEP_FIRST and ("loss" in low or "bpb" in low or "l:" in low) and _add_step(draft, path, number, stripped):
        return
    _read_environment(draft, path, number, stripped, low)
    if stripped.startswith(("stop", "early", "wallclock_stop")):
        _add_stop(draft, path, number, stripped)
    if "bytes" in low or "size" in low or "artifact" in low or "total:" in low:
        draft.sizes += [
            SizeLine(size.kind, size.tag, size.bytes, size.exact, _at(path, number, stripped))
            for size in read_sizes(stripped, low)
        ]
    if "bpb" in low and _add_metrics(draft, path, number, stripped):
        return
    if "val_loss" in low and (lone := read_lone_loss(stripped)) is not None:
        draft.lone_loss = (*lone, number)
    _read_times(draft, path, number, stripped, low)
    _read_trouble(draft, path, number, stripped, low)


def _at(path: str, number: int, line: str) -> Location:
    return Location(path, number, excerpt=excerpt(line))


def _add_step(draft: _Draft, path: str, number: int, line: str) -> bool:
    found = read_step_line(line)
    if found is None:
        return False
    if found.loss is not None or found.bpb is not None:
        draft.metrics.append(
            Metric(f"step:{found.step}", found.loss, found.bpb, found.step, None, False, _at(path, number, line))
        )
        if found.train_loss is None and (found.step <= draft.last_step or found.train_ms is None):
            return True
    if found.train_loss is None and found.train_ms is None:
        return True
    draft.last_step = max(draft.last_step, found.step)
    draft.steps.append(
        StepPoint(found.step, found.total, found.train_loss, found.train_ms, found.step_avg_ms, found.tokens_per_second, number)
    )
    return True


def _add_stop(draft: _Draft, path: str, number: int, line: str) -> None:
    found = read_stop(line)
    if found is not None:
        draft.stop = Stop(found.reason, found.train_ms, found.step, found.total, _at(path, number, line))


def _add_setting(draft: _Draft, path: str, number: int, line: str, key: str, text: str) -> None:
    source = _at(path, number, line)
    draft.config.setdefault(key, Value(text, source))
    if key == "seed" and text.isdigit() and len(text) <= 12:
        draft.seeds.setdefault("dump", (int(text), source))
    low = line.lower()
    _read_environment(draft, path, number, line.strip(), low, seeds=False)


def _read_environment(draft: _Draft, path: str, number: int, line: str, low: str, *, seeds: bool = True) -> None:
    values = draft.values
    for name, word, pattern in environment.FIELDS:
        if word in low and name not in values:
            match = pattern.search(line)
            if match is not None:
                values[name] = Value(match["value"], _at(path, number, line))
    if seeds and "seed" in low:
        for origin, read in (("line", environment.read_seed_line), ("inline", environment.read_seed_inline)):
            if origin not in draft.seeds and (seed := read(line)) is not None:
                draft.seeds[origin] = (seed, _at(path, number, line))
    if ("|" in line or "gpu" in low or "device" in low or "hardware" in low) and len(draft.gpus) < _MOST_GPUS:
        gpu = environment.read_gpu(line)
        if gpu is not None:
            draft.gpus.append(Value(gpu, _at(path, number, line)))
    if not draft.begun and ":" in line and line[0].islower():
        for key, setting in environment.read_setting_pairs(line).items():
            draft.config.setdefault(key, Value(setting, _at(path, number, line)))


def _add_metrics(draft: _Draft, path: str, number: int, line: str) -> bool:
    found = read_metric_line(line)
    lone = draft.lone_loss
    for metric in found:
        if metric.loss is None and lone and number - lone[2] <= _TIME_AFTER_METRIC and stem_of_label(metric.label) == lone[0]:
            metric = replace(metric, loss=lone[1])
        seconds = metric.seconds if metric.seconds is not None else _seconds_of_repeat(draft.metrics, metric)
        draft.metrics.append(
            Metric(metric.label, metric.loss, metric.bpb, None, seconds, metric.diagnostic, _at(path, number, line))
        )
    if found and found[0].seconds is not None:
        kind = PhaseKind.ADAPT if "ttt" in found[0].label.lower() and "epoch" in found[0].label.lower() else PhaseKind.EVAL
        if kind is PhaseKind.EVAL and not _is_progress(found[0].label):
            draft.timings.append(Timing(kind, found[0].seconds, found[0].label, found[0].label, _at(path, number, line)))
    return bool(found)


def _is_progress(label: str) -> bool:
    """Whether the line is a running value of one evaluation (`ttt_chunk [3/40]`, `sliding_eval [ 10%]`)."""
    return "[" in label or "%" in label or "chunk" in label.lower() or "batch" in label.lower()


def _seconds_of_repeat(metrics: list[Metric], metric: MetricLine) -> float | None:
    """`X_exact` repeats `X` with more digits and no clock: the clock is the one of `X`."""
    if not metrics or metric.bpb is None:
        return None
    last = metrics[-1]
    if last.step is None and last.bpb is not None and last.bpb.agrees(metric.bpb):
        return last.seconds
    return None


def _read_times(draft: _Draft, path: str, number: int, line: str, low: str) -> None:
    if "reserving" in low and (reserve := read_reserve(line)) is not None:
        draft.timings.append(Timing(PhaseKind.RESERVE, reserve, line[:160], None, _at(path, number, line)))
        return
    calibration = read_calibration(line, low)
    if calibration is not None:
        reads, stated = calibration.reads, bool(calibration.reads) and not calibration.implied
        if (not reads or calibration.implied) and draft.calibration_reads:
            reads = draft.calibration_reads
        draft.calibration_reads = reads
        draft.calibrations.append(Calibration(reads, calibration.seconds, stated, _at(path, number, line)))
        if calibration.seconds is not None:
            kind = PhaseKind.CALIBRATION if reads in ("train", "") else PhaseKind.QUANTIZE
            draft.timings.append(Timing(kind, calibration.seconds, line[:160], None, _at(path, number, line)))
        return
    if is_self_generation(low) and ("gptq" in low or "calib" in low):
        draft.calibration_reads = "self"
    if "train" in low and (seconds := read_training_sum(line)) is not None:
        draft.timings.append(Timing(PhaseKind.TRAIN, seconds, line[:160], None, _at(path, number, line)))
        return
    timing = read_timing(line, low) if any(word in low for word in _TIMED_WORDS) else None
    if timing is not None:
        draft.timings.append(Timing(timing.kind, timing.seconds, timing.label, None, _at(path, number, line)))
        return
    _add_time_of_metric(draft, path, number, line, low)


_TIMED_WORDS = (
    "ttt", "adapt", "slot", "ngram", "n-gram", "ppm", "eval_time", "gptq", "quant", "serializ", "compress", "prun", "awq",
    "wallclock", "elapsed", "generated", "compile",
)  # fmt: skip


def _add_time_of_metric(draft: _Draft, path: str, number: int, line: str, low: str) -> None:
    """A bare `eval_time: 123s` just below a metric without a clock belongs to it."""
    if not draft.metrics or ("time" not in low and "elapsed" not in low) or _OWN_TIME.match(line) is None:
        return
    last = draft.metrics[-1]
    if (
        last.step is not None
        or last.seconds is not None
        or last.source.line is None
        or number - last.source.line > _TIME_AFTER_METRIC
    ):
        return
    seconds = read_duration(line)
    if seconds is None:
        return
    draft.metrics[-1] = replace(last, seconds=seconds)
    draft.timings.append(Timing(PhaseKind.EVAL, seconds, last.label, last.label, _at(path, number, line)))


def _read_trouble(draft: _Draft, path: str, number: int, line: str, low: str) -> None:
    if line.startswith("Traceback (most recent") or "OutOfMemoryError" in line:
        if len(draft.tracebacks) < _MOST_TRACEBACKS:
            draft.tracebacks.append(_at(path, number, line))
    elif _is_own_warning(low) and len(draft.warnings) < _MOST_WARNINGS:
        draft.warnings.append(_at(path, number, line))


def _is_own_warning(low: str) -> bool:
    """A warning of the script itself; package managers and the launcher warn in other words."""
    if low.startswith(("warning:", "[warning", "warn:", "!!")):
        return "running pip" not in low
    return any(word in low for word in _WARNING_WORDS) and not low.startswith(("w0", "w1"))


def _join_continuations(drafts: list[_Draft]) -> list[_Draft]:
    """A start that trains nothing and names no other seed continues the run before it (evaluation appended to a training log);
    a run that the file holds twice is one run."""
    joined: list[_Draft] = []
    for draft in drafts:
        before = joined[-1] if joined else None
        if before is not None and not draft.steps and before.steps and _same_seed(before, draft):
            _append(before, draft)
        elif before is not None and _printed_twice(before, draft):
            fuller, other = (draft, before) if draft.said >= before.said else (before, draft)
            _fill_in(fuller, other)
            fuller.first_line = before.first_line
            joined[-1] = fuller
        else:
            joined.append(draft)
    return joined


def _printed_twice(one: _Draft, other: _Draft) -> bool:
    """Console output and the script's own log file pasted into one file: the same losses at the same clock."""
    shared = min(len(one.steps), len(other.steps))
    if shared < _SAME_STEPS or not _same_seed(one, other):
        return False
    return all(
        (a.step, a.train_loss, a.train_ms) == (b.step, b.train_loss, b.train_ms)
        for a, b in zip(one.steps[:shared], other.steps[:shared], strict=True)
    )


def _same_seed(one: _Draft, other: _Draft) -> bool:
    seeds = {draft.seeds[origin][0] for draft in (one, other) for origin in ("line", "dump") if origin in draft.seeds}
    return len(seeds) <= 1


def _append(before: _Draft, after: _Draft) -> None:
    before.metrics += after.metrics
    before.sizes += after.sizes
    before.timings += after.timings
    before.calibrations += after.calibrations
    before.tracebacks += after.tracebacks
    before.warnings += after.warnings
    _fill_in(before, after)


def _fill_in(draft: _Draft, other: _Draft) -> None:
    """What only the other part says about the run as a whole."""
    draft.stop = draft.stop or other.stop
    draft.gpus = draft.gpus or other.gpus
    for key, value in other.config.items():
        draft.config.setdefault(key, value)
    for name, text in other.values.items():
        draft.values.setdefault(name, text)
    for origin, seed in other.seeds.items():
        draft.seeds.setdefault(origin, seed)


def _finish(draft: _Draft, path: str, index: int, last_line: int) -> Run:
    named = environment.read_file_name_seed(path)
    seed, seed_source, seed_from = named, Location(path) if named is not None else None, "file-name" if named is not None else ""
    for origin in ("line", "dump", "inline"):
        if origin in draft.seeds:
            (seed, seed_source), seed_from = draft.seeds[origin], origin
            break
    values = draft.values
    return Run(
        path=path,
        index=index,
        first_line=draft.first_line,
        last_line=last_line,
        seed=seed,
        seed_source=seed_source,
        seed_from=seed_from,
        file_name_seed=named,
        steps=tuple(draft.steps),
        metrics=tuple(draft.metrics),
        sizes=_without_raw_totals(draft.sizes),
        timings=tuple(draft.timings),
        calibrations=tuple(draft.calibrations),
        stop=draft.stop,
        gpus=tuple(draft.gpus),
        world_size=values.get("world_size"),
        torch=values.get("torch"),
        val_tokens=values.get("val_tokens"),
        val_docs=values.get("val_docs"),
        train_shards=values.get("train_shards"),
        tokenizer_path=values.get("tokenizer_path"),
        data_path=values.get("data_path"),
        model_params=values.get("model_params"),
        peak_memory=values.get("peak_memory"),
        config=draft.config,
        tracebacks=tuple(draft.tracebacks),
        warnings=tuple(draft.warnings),
    )


def _without_raw_totals(sizes: list[SizeLine]) -> tuple[SizeLine, ...]:
    """An untagged total that is raw model + code is not the artifact: many scripts print it before they quantize."""
    raw = {size.bytes for size in sizes if size.kind is SizeKind.RAW_MODEL}
    code = {size.bytes for size in sizes if size.kind is SizeKind.CODE}
    sums = {model + script for model in raw for script in code} if len(raw) * len(code) <= 10_000 else set()
    return tuple(
        replace(size, kind=SizeKind.RAW_TOTAL) if size.kind is SizeKind.TOTAL and not size.tag and size.bytes in sums else size
        for size in sizes
    )
