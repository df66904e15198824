"""The denominator of bits per byte, from what a run printed.

`loss / (ln 2 x bpb)` is the number of bytes that the script counted per token. Times the scored tokens it is the size of the
text, which every lossless tokenizer shares: 151,080,891 bytes over the full validation set.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import PurePosixPath

from verifier.challenge.challenge import Challenge, ValidationStream
from verifier.evidence import Location, Number
from verifier.ledger.statistics import LN2
from verifier.submission.logs.model import Metric, Run
from verifier.submission.submission import Submission

CLOSE = 1e-3
"""Relative distance from the full text within which a stream counts as the full one."""
FAR = 3e-3
"""Relative distance above which it does not. Between the two lie short exports and dropped tails."""
RATIO_MATCH = 2.5e-4
"""Relative distance at which bytes per token name a stream when no token count is printed (6e-4 of 2.4)."""
CAUSE_MATCH = 1e-4
"""Relative distance at which bytes per token name a known miscount or prefix: tighter, because it accuses."""
EXACT = 2e-5
"""Printed precision (relative) of a pair that is good enough to name a prefix."""
MIXTURE_WORDS = re.compile(r"ppm|mix|n_?gram|ensemble|hedge|cache|knn|interp|blend|byte", re.IGNORECASE)


class Stream(StrEnum):
    """What a (tokens, loss, bpb) triple turns out to be."""

    FULL = "full"
    SHORT = "short"
    """The full set but for a clipped end (1e-3 to 3e-3 off)."""
    SUBSET = "subset"
    """A known subset of the documents, with its own right byte count."""
    PREFIX = "prefix"
    """The ratio of the first N tokens only, whatever count the log prints."""
    PRE_LAUNCH = "pre-launch"
    FOREIGN = "foreign"
    """A known export of other documents."""
    MISCOUNT = "miscount"
    """The ratio that a known mistake in the byte table gives."""
    MIXTURE = "mixture"
    """Loss and bpb belong to different things: the pair says nothing about bytes."""
    OFF = "off"
    """Far from the full text, cause unknown."""
    UNKNOWN = "unknown"
    """Neither the token count nor the tokenizer is known."""


@dataclass(frozen=True, slots=True)
class BytesSummary:
    """The denominator: bytes per token implied by the headline pair and the true figure for that stream, where known."""

    implied_bytes_per_token: float | None
    true_bytes_per_token: float | None
    corrected_bpb: float | None
    val_tokens: int | None
    tokenizer: str | None


@dataclass(frozen=True, slots=True)
class Tokens:
    """Scored validation tokens as a run printed them."""

    count: int
    source: Location


@dataclass(frozen=True, slots=True)
class Denominator:
    """One metric line's bytes. `tolerance` is relative, from the printed digits; `deviation` is relative to the right figure:
    the full text where the token count is known, else the tokenizer's bytes per token."""

    metric: Metric
    stream: Stream
    ratio: float
    tolerance: float
    tokens: Tokens | None
    total: float | None
    deviation: float | None
    true_ratio: float | None
    family: str | None
    cause: str
    contradicted: bool = False
    """Other lines of the run imply another size. A byte table does not change within a run, so this pair alone proves nothing."""
    stands_in: bool = False
    """The line is not the headline, which prints no loss, but one of the same run."""

    @property
    def corrected_bpb(self) -> float | None:
        """The line's loss over the right number of bytes. None where the line's loss is not that of its bpb."""
        if self.true_ratio is None or self.metric.loss is None or self.stream is Stream.MIXTURE:
            return None
        return self.metric.loss.value / (LN2 * self.true_ratio)


def implied_ratio(loss: Number, bpb: Number) -> tuple[float, float] | None:
    """Bytes per token of a pair and its relative tolerance; None for zero or negative values."""
    if loss.value <= 0 or bpb.value <= 0:
        return None
    return loss.value / (LN2 * bpb.value), loss.half_unit / loss.value + bpb.half_unit / bpb.value


def read_tokens(run: Run) -> Tokens | None:
    """The run's own count of validation tokens."""
    if run.val_tokens is None:
        return None
    number = Number.parse(run.val_tokens.text)
    if number is None or number.value < 1 or number.value != int(number.value):
        return None
    return Tokens(int(number.value), run.val_tokens.source)


def recognise_family(path: str) -> str | None:
    """The tokenizer family that a tokenizer or data path names, e.g. `caseops-sp8192` or `sp1024`."""
    text = path.replace("\\", "/").lower()
    size = re.search(r"fineweb_(\d{3,5})([a-z]{0,8})_", text) or re.search(r"(?:^|[^a-z])(?:sp|bpe_?)(\d{3,5})([a-z]{0,8})", text)
    # `8192nb` is another vocabulary of the same size: the letters stay part of the name.
    vocabulary = f"sp{int(size[1])}{size[2]}" if size else ""
    if re.search(r"scylla|tokenmonster|candidate\.vocab|tm0?054", text):
        return "tokenmonster"
    if re.search(r"caseops|lossless_caps", text):
        return f"caseops-{vocabulary}" if vocabulary else "caseops"
    if "casefold" in text or re.search(r"lower(?:case)?_bpe", text):
        return f"casefold-{vocabulary}" if vocabulary else "casefold"
    if re.search(r"byte260|fineweb10b_bytes?|pure_byte", text):
        return "bytes"
    if "gravity" in text:
        return "gravity"
    return vocabulary or None


def run_family(submission: Submission, run: Run) -> tuple[str, Location] | None:
    """The tokenizer of a run, from its log, else the documented command, else the script's default."""
    logged = [run.tokenizer_path, run.data_path]
    logged += [run.config[key] for key in sorted(run.config) if key.lower() in PATH_SETTINGS]
    candidates = [(value.text, value.source) for value in logged if value is not None]
    if run.tokenizer_path is not None and not any(recognise_family(text) for text, _ in candidates):
        # The run names a tokenizer that is none of the known ones: what the command or the script's default say is not what ran.
        return PurePosixPath(run.tokenizer_path.text.replace("\\", "/")).name.lower(), run.tokenizer_path.source
    candidates += [
        (setting.value, setting.source)
        for readme in submission.readmes
        for command in readme.commands
        for setting in command.settings
        if setting.name.lower() in PATH_SETTINGS
    ]
    candidates += [
        (read.default or "", read.source) for read in submission.program.env_reads if read.name.lower() in PATH_SETTINGS
    ]
    named = [(family, source) for text, source in candidates if (family := recognise_family(text)) is not None]
    # A data path may keep a plain name while the tokenizer says what the text went through: the more specific one wins.
    return next((pair for pair in named[:2] if "-" in pair[0]), named[0]) if named else None


PATH_SETTINGS = frozenset({"tokenizer_path", "data_path", "data_dir", "datasets_dir", "tokenizer", "tokenizer_meta_path"})


def measure_pair(metric: Metric, tokens: Tokens | None, family: str | None, challenge: Challenge) -> Denominator | None:
    """What one line says about bytes; None when it lacks loss or bpb."""
    if metric.loss is None or metric.bpb is None:
        return None
    implied = implied_ratio(metric.loss, metric.bpb)
    if implied is None:
        return None
    ratio, tolerance = implied
    if tokens is not None:
        return _measure_total(metric, ratio, tolerance, tokens, family, challenge)
    return _measure_ratio(metric, ratio, tolerance, family, challenge)


def _measure_total(
    metric: Metric, ratio: float, tolerance: float, tokens: Tokens, family: str | None, challenge: Challenge
) -> Denominator:
    total = ratio * tokens.count
    deviation = total / challenge.val_bytes - 1
    true_ratio: float | None = _whole_ratio(tokens, ratio, family, challenge)
    cause = ""
    known = [stream for stream in challenge.streams if stream.val_tokens == tokens.count]
    special = [stream for stream in known if stream.status in ("subset", "pre-launch", "foreign")]
    if abs(deviation) <= CLOSE + tolerance:
        stream = Stream.FULL
    elif abs(deviation) <= FAR + tolerance:
        stream = Stream.SHORT
    elif special:
        stream = Stream(special[0].status)
        true_ratio = special[0].bytes_per_token
        cause = special[0].note
        if not _near(ratio, true_ratio, FAR + tolerance):
            stream = Stream.OFF
    else:
        stream, cause = _explain(ratio, tolerance, tuple(row.family for row in known) or (family,), challenge)
        if stream is Stream.PREFIX and true_ratio is None:
            # The log counts what it scored: a part, with its own right bytes.
            stream, true_ratio = Stream.SUBSET, ratio
    if known:
        family = known[0].family
        if stream is not Stream.OFF and not special:
            true_ratio = min((row.bytes_per_token for row in known), key=lambda value: abs(value - ratio))
    return Denominator(metric, stream, ratio, tolerance, tokens, total, deviation, true_ratio, family, cause)


def _whole_ratio(tokens: Tokens, ratio: float, family: str | None, challenge: Challenge) -> float | None:
    """Bytes per token if these tokens are the whole text; None where the count is plainly not that of the whole text."""
    whole = challenge.val_bytes / tokens.count
    own = [row.bytes_per_token for row in challenge.streams if row.family == family and row.status == "canonical"] or [ratio]
    return whole if any(0.75 < whole / other < 1.5 for other in own) else None


def _measure_ratio(metric: Metric, ratio: float, tolerance: float, family: str | None, challenge: Challenge) -> Denominator:
    """Without a token count only the ratio speaks: it must be one that a canonical stream has."""

    def answer(stream: Stream, row: ValidationStream | None, cause: str = "") -> Denominator:
        true_ratio = row.bytes_per_token if row is not None else None
        deviation = ratio / true_ratio - 1 if true_ratio else None
        return Denominator(
            metric, stream, ratio, tolerance, None, None, deviation, true_ratio, row.family if row else family, cause
        )

    def nearest(rows: Iterable[ValidationStream]) -> ValidationStream | None:
        return min(rows, key=lambda row: abs(row.bytes_per_token - ratio), default=None)

    if tolerance > FAR:
        # Too few digits to tell one tokenizer from another.
        return answer(Stream.UNKNOWN, None)
    own = [row for row in challenge.streams if row.family == family]
    matching = [row for row in challenge.streams if _near(ratio, row.bytes_per_token, RATIO_MATCH + tolerance)]
    match = nearest([row for row in matching if row in own] or matching)
    if match is not None:
        stream = {"canonical": Stream.FULL, "short-export": Stream.SHORT}.get(match.status)
        return answer(stream or Stream(match.status), match, match.note)
    canonical = nearest(row for row in own if row.status == "canonical")
    families = (family,) if family is not None else tuple(sorted({row.family for row in challenge.miscounts}))
    stream, cause = _explain(ratio, tolerance, families, challenge)
    if stream is Stream.MISCOUNT and canonical is None:
        table = next(
            row
            for row in challenge.miscounts
            if row.cause == cause and _near(ratio, row.bytes_per_token, CAUSE_MATCH + tolerance)
        )
        canonical = nearest(row for row in challenge.streams if row.family == table.family and row.status == "canonical")
    if stream is not Stream.OFF:
        return answer(stream, canonical, cause)
    return answer(Stream.UNKNOWN if canonical is None else Stream.OFF, canonical, cause)


def _explain(ratio: float, tolerance: float, families: tuple[str | None, ...], challenge: Challenge) -> tuple[Stream, str]:
    """The known reason for a ratio that is not the stream's, if one fits within the printed digits."""
    for miscount in challenge.miscounts:
        if miscount.family in families and _near(ratio, miscount.bytes_per_token, CAUSE_MATCH + tolerance):
            return Stream.MISCOUNT, miscount.cause
    if tolerance <= EXACT:
        for prefix in challenge.prefixes:
            if prefix.family in families and prefix.low <= ratio <= prefix.high:
                return Stream.PREFIX, f"the first {prefix.tokens:,} tokens"
    if _near(ratio, 1.0, CAUSE_MATCH + tolerance) or _near(ratio, 1 / LN2, CAUSE_MATCH + tolerance):
        return Stream.MIXTURE, "the loss is already per byte"
    return Stream.OFF, ""


def measure_run(submission: Submission, run: Run, metric: Metric, challenge: Challenge) -> Denominator | None:
    """The bytes behind `metric`, read together with the run's other lines.

    The byte table of a run does not change between its evaluations. So when another line of the run has the full text and
    this one does not, this line's loss and bpb belong to different things: a mixture's bpb beside the network's loss.
    """
    tokens = read_tokens(run)
    found = run_family(submission, run)
    family = found[0] if found else None
    measured = measure_pair(metric, tokens, family, challenge)
    if measured is None or measured.stream in (Stream.FULL, Stream.SHORT, Stream.MIXTURE):
        return measured
    others = [measure_pair(other, tokens, family, challenge) for other in run.metrics if other is not metric]
    pairs = [other for other in others if other is not None]
    sound = [other for other in pairs if other.stream in (Stream.FULL, Stream.SHORT)]
    if not sound:
        steady = all(_near(other.ratio, measured.ratio, FAR + other.tolerance + measured.tolerance) for other in pairs)
        return measured if steady else replace(measured, contradicted=True)
    same_loss = any(_prints_same_loss(other.metric, metric) for other in sound)
    if not same_loss and not MIXTURE_WORDS.search(metric.label) and not _mixes(run):
        return replace(measured, contradicted=True)
    cause = "its loss is that of another line with another bpb" if same_loss else "the line of a mixture"
    return Denominator(
        metric,
        Stream.MIXTURE,
        measured.ratio,
        measured.tolerance,
        tokens,
        measured.total,
        measured.deviation,
        sound[-1].ratio,
        sound[-1].family or family,
        cause,
    )


def summarise_bytes(denominator: Denominator | None, tokenizer: str | None) -> BytesSummary | None:
    """The report's summary of the headline line's bytes."""
    if denominator is None:
        return None
    right = denominator.stream in (Stream.FULL, Stream.SHORT)
    return BytesSummary(
        implied_bytes_per_token=denominator.ratio,
        true_bytes_per_token=denominator.true_ratio,
        corrected_bpb=None if right else denominator.corrected_bpb,
        val_tokens=denominator.tokens.count if denominator.tokens else None,
        tokenizer=tokenizer or denominator.family,
    )


def _mixes(run: Run) -> bool:
    """Whether the run's settings switch a mixture on."""
    return any(
        MIXTURE_WORDS.search(name)
        and name.lower().endswith(("enabled", "mix", "mixer"))
        and value.text.strip().lower() in ("1", "true")
        for name, value in run.config.items()
    )


def _near(value: float, target: float, relative: float) -> bool:
    return abs(value / target - 1) <= relative


def _prints_same_loss(one: Metric, other: Metric) -> bool:
    return one.loss is not None and other.loss is not None and one.loss.agrees(other.loss)
