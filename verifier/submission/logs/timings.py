"""Duration lines: how training ended, what was reserved, where calibration data came from, what each later phase took."""

from __future__ import annotations

import re
from dataclasses import dataclass

from verifier.submission.logs.metrics import clean_label
from verifier.submission.logs.model import PhaseKind
from verifier.submission.logs.patterns import NUMBER, UNIT, in_seconds, read_duration, read_float

_STOP = re.compile(
    rf"(?:stopping_early|early_stop\w{{0,20}}|stopping|wallclock_stop|stop)\s?[:=]?\s{{0,4}}(?P<reason>[\w =.]{{0,80}}?)\s{{0,4}}"
    rf"(?:train_time|tt)\s?[:=]\s{{0,4}}(?P<value>{NUMBER})\s?(?P<unit>{UNIT})\b(?:\s{{1,4}}(?:step|s)\s?[:=]\s{{0,4}}(?P<step>\d{{1,9}})(?:/(?P<total>\d{{1,9}}))?)?"
)
_RESERVE = re.compile(rf"reserving\s{{1,4}}(?P<value>{NUMBER})\s?(?P<unit>ms|s)\b")
_SUMMED_TRAINING = re.compile(
    rf"(?:Training complete in (?P<a>{NUMBER})\s?s\b|Training: (?:\d+) steps, (?P<b>{NUMBER})\s?s\b|phase:train wall_ms:(?P<c>\d{{1,10}})\b)"
)
_CALIBRATION_WORDS = ("hessian", "calib")
_QUANTIZER_WORDS = ("gptq", "hessian", "quant", "awq", "spinquant", "batches")
_PROGRESS = re.compile(
    r"\d\s?%|\d/\d|\[\s{0,4}\d+/|\bchunk|\bepoch|\bbatch \d|\brank:?\s?\d|progress|\bETA\b|\bshard \d|\bround \d",
    re.IGNORECASE,
)
_SELF = re.compile(
    r"self[-_ ]?gen|autoregressive|\bar[-_ ](?:data|calib|self)|ar_self|self-sampled|generated (?:data|sequences|text)|from the model itself",
    re.IGNORECASE,
)
_VALIDATION = re.compile(r"source\s?[:=]\s?val|val(?:idation)?[-_ ](?:data|tokens|tail|shard)|val_tail", re.IGNORECASE)
_TRAINING = re.compile(
    r"source\s?[:=]\s?train|\btrain(?:ing)?[-_ ](?:data|tokens|shards?|batches|loader|set|samples)|\(train\)|train_loader",
    re.IGNORECASE,
)
_RANDOM = re.compile(r"random tokens|synthetic|dummy", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class StopLine:
    reason: str
    train_ms: float | None
    step: int | None
    total: int | None


@dataclass(frozen=True, slots=True)
class CalibrationLine:
    """`reads` is `train`, `validation`, `self`, or `""` where the line does not say; `implied` marks "calibration data"."""

    reads: str
    seconds: float | None
    implied: bool


@dataclass(frozen=True, slots=True)
class TimingLine:
    kind: PhaseKind
    seconds: float
    label: str


def read_stop(line: str) -> StopLine | None:
    """`stopping_early: wallclock_cap train_time:600032ms step:6289/20000` and its relatives."""
    match = _STOP.match(line)
    if match is None:
        return None
    value = read_float(match["value"])
    train_ms = None if value is None else in_seconds(value, match["unit"], "ms") * 1000.0
    total = match["total"]
    return StopLine(
        match["reason"].strip(" ="), train_ms, int(match["step"]) if match["step"] else None, int(total) if total else None
    )


def read_reserve(line: str) -> float | None:
    """Seconds that the training loop leaves for what follows (`gptq:reserving 12s, effective=588000ms`)."""
    match = _RESERVE.search(line)
    value = read_float(match["value"]) if match else None
    return None if match is None or value is None else in_seconds(value, match["unit"], "s")


def read_training_sum(line: str) -> float | None:
    """Seconds of training from a line that sums it up; None for anything else."""
    match = _SUMMED_TRAINING.search(line)
    if match is None:
        return None
    if match["c"]:
        return int(match["c"]) / 1000.0
    return read_float(match["a"] or match["b"])


def read_calibration(line: str, low: str) -> CalibrationLine | None:
    """Lines about quantization statistics (Hessians, activation ranges). `low` is the line in lower case.

    Temperature or logit calibration is another thing, and so are settings such as `gptq_calibration_batches: 64`.
    """
    if not any(word in low for word in _CALIBRATION_WORDS) or not any(word in low for word in _QUANTIZER_WORDS):
        return None
    if any(
        word in low
        for word in (
            "temperature",
            "logit",
            "without",
            "no calib",
            "no train",
            "skip",
            "disabled",
            "missing",
            "building",
            "merged",
            "patched",
            "clip_lambda",
        )
    ):
        return None
    if "generat" in low and "collect" not in low:
        return None
    for reads, pattern in (("self", _SELF), ("validation", _VALIDATION), ("train", _TRAINING), ("random", _RANDOM)):
        if pattern.search(line):
            return CalibrationLine(reads, read_duration(line), False)
    if "calibration data" in low:
        return CalibrationLine("train", read_duration(line), True)
    return CalibrationLine("", read_duration(line), False)


def is_self_generation(low: str) -> bool:
    return "generat" in low and ("seq" in low or "calib" in low or "autoregressive" in low)


def read_timing(line: str, low: str) -> TimingLine | None:
    """A phase with its duration. Progress lines (`chunk 3/40 time=..`) are running values of a phase, not phases."""
    if low.startswith("total_eval_time"):
        kind = PhaseKind.TOTAL_EVAL if low[15:16] in (":", "=", " ") else PhaseKind.OTHER
        return _timed(kind, line)
    if _PROGRESS.search(line):
        return None
    if is_self_generation(low) and "generated" in low:
        return _timed(PhaseKind.SELF_GENERATION, line)
    if "warmup" in low or "warming" in low or "compile" in low:
        return _timed(PhaseKind.OTHER, line)
    if "ngram" in low or "ppm" in low or "n-gram" in low:
        return _timed(PhaseKind.NGRAM, line)
    if "ttt" in low or "adapt" in low or "slot" in low:
        return _timed(PhaseKind.ADAPT, line)
    if any(word in low for word in ("quantiz", "gptq", "serializ", "compress", "prun", "awq")):
        return _timed(PhaseKind.QUANTIZE, line)
    if low.startswith(("artifact_production_wallclock", "deserialize", "total_elapsed", "wallclock:")):
        return _timed(PhaseKind.OTHER, line)
    return None


def _timed(kind: PhaseKind, line: str) -> TimingLine | None:
    seconds = read_duration(line)
    return None if seconds is None else TimingLine(kind, seconds, _label(line))


def _label(line: str) -> str:
    """The words before the duration's own name: `prequant_ttt:done in 378.9s` gives `prequant_ttt:done`."""
    match = _LABEL_END.search(line)
    return clean_label(line[: match.start()] if match and match.start() else line)


_LABEL_END = re.compile(rf"\s{{0,4}}(?:\bin|\btook|\belapsed|\btime|\bt)?\s?[:=(]?\s{{0,4}}{NUMBER}\s?{UNIT}\b", re.IGNORECASE)
