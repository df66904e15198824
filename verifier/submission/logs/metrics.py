"""Lines that state a loss or BPB: training steps, in-training validation, final metrics; and which of them are diagnostics."""

from __future__ import annotations

import re
from dataclasses import dataclass

from verifier.evidence import Number
from verifier.submission.logs.patterns import NUMBER, UNIT, in_seconds, read_duration, read_float, read_number

_STEP = re.compile(
    r"(?P<word>step|s|iter(?:ation)?)?\s{0,4}[:=]?\s{0,8}(?P<step>\d{1,9})(?:/(?P<total>\d{1,9}))?(?P<rest>[\s|:,]{1,8}.*)"
)
_TRAIN_LOSS = re.compile(rf"(?<![\w.])(?P<name>train_loss|loss|tl)\s?[:=]?\s{{0,4}}(?P<value>{NUMBER})(?![\w.])")
_VAL_LOSS = re.compile(rf"(?<![\w.])(?:val_loss|vl)(?:\s?[:=]\s{{0,4}}|\s{{1,4}})(?P<value>{NUMBER})(?![\w.])")
_VAL_BPB = re.compile(rf"(?<![\w.])(?:val_bpb|bpb)(?:\s?[:=]\s{{0,4}}|\s{{1,4}})(?P<value>{NUMBER})(?![\w.])", re.IGNORECASE)
_CLOCK = re.compile(rf"(?<![\w.])(?:train_time|tt|time)\s?[:=]\s{{0,4}}(?P<value>{NUMBER})\s?(?P<unit>{UNIT})\b")
_BARE_CLOCK = re.compile(r"\|\s{0,4}(?P<value>\d{1,7}(?:\.\d{1,3})?)s\s*$")
_AVERAGE = re.compile(rf"(?<![\w.])(?:step_avg|sa)\s?[:=]\s{{0,4}}(?P<value>{NUMBER})\s?ms")
_TOKENS = re.compile(rf"tok/s\s?[:=]\s{{0,4}}(?P<value>{NUMBER})")

_BETWEEN = r"[\s|,;(]{0,8}"
_LOSS_WORD = r"(?<![A-Za-z0-9.])(?:val_loss|loss|vl)\s?[:=]\s{0,8}"
_BPB_WORD = r"(?<![A-Za-z0-9.])(?:val_bpb|bpb)\s?[:=]\s{0,8}"
_PAIR = re.compile(
    rf"{_LOSS_WORD}(?P<loss>{NUMBER})(?![\w.]){_BETWEEN}{_BPB_WORD}(?P<bpb>{NUMBER})(?![\w])"
    rf"|{_BPB_WORD}(?P<bpb2>{NUMBER})(?![\w.]){_BETWEEN}{_LOSS_WORD}(?P<loss2>{NUMBER})(?![\w])",
    re.IGNORECASE,
)
_ANY_BPB = re.compile(
    rf"(?<!\w)(?P<key>\w{{0,60}}?bpb\w{{0,40}})(?!\w)[\"']?\s?(?:\([^()]{{0,60}}\))?(?:\s?[:=]{{1,2}}\s{{0,16}}|\s{{1,4}}(?=\d\.\d{{3}}))"
    rf"(?P<bpb>{NUMBER})(?!\w|\.\d)",
    re.IGNORECASE,
)
_LOSS_ALONE = re.compile(
    rf"(?<!\w)(?P<key>\w{{0,60}}?val_loss\w{{0,20}})(?!\w)\s?(?:\([^()]{{0,60}}\))?\s?[:=]\s{{0,16}}(?P<loss>{NUMBER})(?![\w.])",
    re.IGNORECASE,
)
_DIAGNOSTIC = re.compile(
    r"diagnostic|\bdiag\b|pre[-_ ]?quant(?![\w-]*ttt)|post[-_ ]?ema|post_swa|post_average|baseline|static|evs:rank|ttt:rank|rank ?\d|running|run_bpb"
    r"|chunk|batch|epoch|progress|\bphase\b|swa_eval|live_|raw_|raw model|pre_ttt|neural_only|nn_only|search|sweep|temp_|\d%"
    r"|\[\s{0,4}\d+/\d+\]|pass ?1\b|warmup|swa_checkpoint|ema_eval|delta|\bgain|improve|\bbest_averaging|\busing\b",
    re.IGNORECASE,
)
_NOT_A_SCORE = re.compile(
    r"delta|gain|improve|\bgap|diff|saving|target|best[-_ ]so|prior|previous|sota|record|claim|threshold|limit|\bvs\b|nn_|model_bpb|llm_|std|expected"
    r"|_only|running|oracle_gap|cost|penalty|min_bpb|ema|swa|baseline|quantization",
    re.IGNORECASE,
)
_MAX_BPB_KEYS = 6
_MAX_BPB = 32.0
"""Bits per byte above are no score of a language model (a file size or a step count was matched)."""


@dataclass(frozen=True, slots=True)
class StepLine:
    """A line of the training loop: `train_loss` on training lines, `loss` and `bpb` on validation lines."""

    step: int
    total: int | None
    train_loss: float | None
    loss: Number | None
    bpb: Number | None
    train_ms: float | None
    step_avg_ms: float | None
    tokens_per_second: float | None


@dataclass(frozen=True, slots=True)
class MetricLine:
    label: str
    loss: Number | None
    bpb: Number | None
    seconds: float | None
    diagnostic: bool


def read_step_line(line: str) -> StepLine | None:
    """Read `step:4000/20000 train_loss:1.9 ...`, `4000/20000 val_loss: 1.9 ...`, `step 400/9999 | loss 1.9 | ... | 131s`.

    A bare `3/21 ...` counts only with the words `train_loss` or `val_loss`: adaptation epochs print `3/21 loss` as well.
    """
    match = _STEP.match(line)
    if match is None or (match["word"] is None and match["total"] is None):
        return None
    rest = match["rest"]
    train, val = _TRAIN_LOSS.search(rest), _VAL_LOSS.search(rest)
    bpb = _VAL_BPB.search(rest)
    if val is None and bpb is not None and match["word"] and "val" in rest:
        train = None
    elif val is None and (train is None or (match["word"] is None and train["name"] == "loss")):
        return None
    if val is not None and (train is None or train["name"] == "loss"):
        train = None
    clock = _CLOCK.search(rest)
    milliseconds: float | None = None
    if clock is not None:
        value = read_float(clock["value"])
        milliseconds = None if value is None else in_seconds(value, clock["unit"], "s") * 1000.0
    elif (bare := _BARE_CLOCK.search(rest)) is not None:
        milliseconds = float(bare["value"]) * 1000.0
    return StepLine(
        step=int(match["step"]),
        total=int(match["total"]) if match["total"] else None,
        train_loss=read_float(train["value"]) if train else None,
        loss=read_number(val["value"]) if val else None,
        bpb=read_number(bpb["value"]) if bpb else None,
        train_ms=milliseconds,
        step_avg_ms=_float_of(_AVERAGE, rest),
        tokens_per_second=_float_of(_TOKENS, rest),
    )


def _float_of(pattern: re.Pattern[str], text: str) -> float | None:
    match = pattern.search(text)
    return read_float(match["value"]) if match else None


def read_metric_line(line: str) -> tuple[MetricLine, ...]:
    """Every metric that a line states: one for a pair of loss and BPB, one per key where only BPBs are named."""
    pair = _PAIR.search(line)
    if pair is not None:
        label = clean_label(line[: pair.start()])
        loss, bpb = read_number(pair["loss"] or pair["loss2"]), _as_bpb(pair["bpb"] or pair["bpb2"])
        return (MetricLine(label, loss, bpb, read_duration(line, pair.end()), is_diagnostic(label)),)
    found: list[MetricLine] = []
    seconds: float | None = None
    for match in _ANY_BPB.finditer(line):
        if len(found) == _MAX_BPB_KEYS:
            break
        bpb = _as_bpb(match["bpb"])
        if bpb is None:
            continue
        if not found:
            seconds = read_duration(line, match.end())
        key = match["key"]
        stem = clean_label(line[: match.start()] if not found else "")
        plain = key.lower() in ("val_bpb", "bpb", "final_val_bpb", "final_bpb")
        label = stem if plain and stem else f"{stem} {key}".strip()
        judged = line[: match.end("key")] if not found else key
        diagnostic = is_diagnostic(judged) or _NOT_A_SCORE.search(judged) is not None
        found.append(MetricLine(label, None, bpb, seconds, diagnostic))
    return tuple(found)


def read_lone_loss(line: str) -> tuple[str, Number] | None:
    """A line that states only a loss: the stem of its label and the value; a BPB line with the same stem completes it."""
    match = _LOSS_ALONE.search(line)
    loss = read_number(match["loss"]) if match else None
    return None if match is None or loss is None else (_stem(line[: match.end("key")]), loss)


def stem_of_label(label: str) -> str:
    """A label without the words `val_loss` and `val_bpb`, so that the two halves of a metric find each other."""
    return _stem(label)


def _stem(text: str) -> str:
    low = clean_label(text).lower()
    for word in ("val_loss", "val_bpb", "bpb", "loss"):
        low = low.replace(word, "")
    return low.strip(" _-:")


def _as_bpb(text: str | None) -> Number | None:
    number = read_number(text)
    return number if number is not None and 0.0 < number.value < _MAX_BPB else None


def clean_label(text: str) -> str:
    """What names a metric: the text before the numbers without separators at its ends."""
    return " ".join(text.split()).strip(" \t|,;:=([{\"'-–—>*#✓✅")[:160].strip()


def is_diagnostic(label: str) -> bool:
    """Whether a label says by its own words that it is not the score. A bare `phase` inside a word does not."""
    return _DIAGNOSTIC.search(label) is not None
