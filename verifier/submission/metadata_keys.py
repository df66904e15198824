"""What the keys of a submission JSON mean, and the units in which their values are written.

About 1,900 top-level keys occur in real files. A key is split into words; the words decide the quantity, the unit (`_ms`,
`_mb`), whether it is an aggregate over seeds, and whether it speaks of another measurement than the submission's own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from verifier.evidence import Number

_WORD = re.compile(r"[A-Za-z]+|[0-9]+")
_QUANTITY = re.compile(
    r"[~≈<>≤≥=+\s]{0,6}(-?[0-9][0-9,_]{0,30}(?:\.[0-9]{1,30})?(?:[eE][+-]?[0-9]{1,3})?)[ \t]{0,3}([A-Za-z%]{0,12})"
)
_AFTER = re.compile(r"(?:\s*[(\[;,].*|\s*)", re.DOTALL)

_DECOY_WORDS = (
    "superseded retracted original comparison compared baseline base errata prefix prior previous reference sota leaderboard"
    " delta improvement gain old ablation control target expected projected predicted estimated estimate invalid oracle merged"
    " parent vs threshold margin diff difference reduction recovery tax penalty smoke local dev scout upstream init"
)
DECOYS = frozenset(_DECOY_WORDS.split())
"""Words that mark a number as something other than the submission's own result."""

SECONDS = {"ms": 1e-3, "milliseconds": 1e-3, "s": 1.0, "sec": 1.0, "secs": 1.0, "second": 1.0, "seconds": 1.0}
SECONDS |= {"m": 60.0, "min": 60.0, "mins": 60.0, "minute": 60.0, "minutes": 60.0}
SECONDS |= {"h": 3600.0, "hr": 3600.0, "hrs": 3600.0, "hour": 3600.0, "hours": 3600.0}
BYTES = {"b": 1, "byte": 1, "bytes": 1, "kb": 1000, "mb": 1_000_000, "gb": 1_000_000_000, "m": 1_000_000}
BYTES |= {"kib": 1024, "mib": 1024**2, "gib": 1024**3}

_TIME = frozenset({"time", "seconds", "wallclock", "duration", "sec", "secs", "minutes", "hours", "ms", "s", "runtime", "clock"})
_KEY_SECONDS = frozenset({"ms", "s", "sec", "secs", "seconds", "minutes", "mins", "hours", "h"})
_STEPS = frozenset(
    {"steps", "step_stop", "stop_step", "training_steps", "train_steps", "num_steps", "steps_completed", "total_steps"}
)
_STEP_MS = frozenset({"step_avg_ms", "ms_per_step", "step_ms", "avg_step_ms", "step_time_ms", "mean_step_ms"})
_AGGREGATES = {
    "mean": "mean",
    "avg": "mean",
    "average": "mean",
    "std": "std",
    "stdev": "std",
    "sigma": "std",
    "max": "max",
    "min": "min",
}
_SCORE_WORDS = (
    "val validation bpb mean avg average score final best std stdev seed three exact headline official seeds per by run runs each"
)
_SCORE = frozenset(_SCORE_WORDS.split())
"""Words a key may consist of and still mean the headline score itself (`pre_quant_val_bpb` has others: another metric)."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """`quantity` is `bpb`, `loss`, `total`, `code`, `model`, `train`, `eval`, `steps` or `step_ms`; `aggregate` is `mean`, `std`,
    `max`, `min` or ``""``; `scale` turns the written number into bytes, seconds or ms. `plain` is false for a metric that is
    named as another one than the headline (`sliding_bpb`, `pre_quant_val_bpb`)."""

    quantity: str
    aggregate: str = ""
    scale: float = 1.0
    plain: bool = True


def words_of(key: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(key[:200])]


def is_decoy(key: str) -> bool:
    """Whether the key speaks of another measurement: a baseline, an older result, a difference."""
    return not DECOYS.isdisjoint(words_of(key))


def meaning_of(key: str) -> Meaning | None:
    """What a key says it holds; `None` for anything that is not one of the measured quantities."""
    words = words_of(key)
    named = set(words)
    aggregate = next(
        (_AGGREGATES[word] for word in words if word in _AGGREGATES and not (word == "min" and words[-1] == "min")), ""
    )
    name = key.lower()
    if "bpb" in named or "bpp" in named or (named & {"score"} and len(words) == 1):
        return Meaning("bpb", aggregate, plain=named - digits_among(words) <= _SCORE)
    if name in _STEP_MS or name.removesuffix("_mean") in _STEP_MS:
        return Meaning("step_ms", aggregate)
    if name in _STEPS or name.removesuffix("_mean") in _STEPS:
        return Meaning("steps", aggregate)
    size = _size_meaning(words, named, aggregate)
    if size is not None:
        return size
    if not named.isdisjoint(_TIME) and named.isdisjoint(
        {"step", "epoch", "chunk", "overhead", "reserve", "per", "date", "cap", "limit"}
    ):
        return _time_meaning(words, named, aggregate)
    if "loss" in named and not named.isdisjoint({"val", "validation"}):
        return Meaning("loss", aggregate, plain=named - digits_among(words) <= (_SCORE | {"loss", "nats"}) - {"bpb"})
    return None


def digits_among(words: list[str]) -> set[str]:
    """The words that are numbers (a seed, a stride)."""
    return {word for word in words if word.isdigit()}


def _size_meaning(words: list[str], named: set[str], aggregate: str) -> Meaning | None:
    unit = next((word for word in reversed(words) if word in BYTES and word not in ("b", "m", "byte")), None)
    sized = named & {"artifact", "submission", "model", "code", "total", "compressed", "size"}
    if unit is None and not (named >= {"artifact", "size"} or named >= {"model", "size"}):
        return None
    if unit != "bytes" and not sized:
        return None
    if named & {"val", "source", "token", "per", "headroom", "train", "raw", "uncompressed", "budget", "limit", "cap", "scored"}:
        return None
    scale = float(BYTES[unit]) if unit else 1.0
    if "code" in named:
        return Meaning("code", aggregate, scale)
    if "model" in named and "total" not in named:
        return Meaning("model", aggregate, scale)
    if named & {"artifact", "submission", "total", "compressed"} or words == ["bytes"]:
        return Meaning("total", aggregate, scale)
    return None


def _time_meaning(words: list[str], named: set[str], aggregate: str) -> Meaning | None:
    unit = next((word for word in reversed(words) if word in _KEY_SECONDS), None)
    scale = SECONDS[unit] if unit else 1.0
    if named & {"train", "training"}:
        return Meaning("train", aggregate, scale)
    if named & {"eval", "evaluation"} and named.isdisjoint({"ttt", "slot", "ngram", "sliding", "roundtrip", "quant", "prequant"}):
        return Meaning("eval", aggregate, scale)
    if words[:1] == ["wallclock"] and "max" not in named:
        return Meaning("train", aggregate, scale)
    return None


def parse_quantity(text: str, units: dict[str, float] | dict[str, int] | None = None) -> tuple[Number, float] | None:
    """A number with an optional unit from text such as `15.9MB`, `~110s`, `15,985,678 bytes (max)`, with the factor of its unit.

    `None` when the text is more than that (`under_16MB`, `TBD`) or the unit is not one of `units`.
    """
    found = _QUANTITY.match(text[:200].strip())
    if found is None:
        return None
    number = Number.parse(found[1])
    rest = text[:200].strip()[found.end() :]
    if number is None or _AFTER.fullmatch(rest) is None:
        return None
    unit = found[2].lower()
    if not unit:
        return number, 1.0
    if units is None or unit not in units:
        return None
    return number, float(units[unit])
