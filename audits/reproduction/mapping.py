"""Which preset of the reference trainer is the system of a record, what has to be set differently, and what it lacks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from audits.reproduction.reference import Catalog
from audits.reproduction.system import RecordSystem, Trait
from verifier.ledger.configuration import DEFAULT, is_on, same_setting

ALIASES: Mapping[str, str] = {
    "VAL_BATCH_SIZE": "VAL_BATCH_TOKENS",
    "SDCLIP_K": "MATRIX_CLIP_SIGMAS",
    "SDCLIP_K_EMBED": "EMBED_CLIP_SIGMAS",
    "GPTQ_CALIB_SAMPLES": "GPTQ_CALIBRATION_BATCHES",
    "VALUE_RESIDUAL": "VRL_ENABLED",
}
"""One setting under two names."""
_MACHINE = frozenset(
    {
        "SEED",
        "RUN_ID",
        "DATA_PATH",
        "DATA_DIR",
        "TOKENIZER_PATH",
        "TOKENIZER_META_PATH",
        "DEVICE",
        "LOADER",
        "TOKENIZER",
        "WORLD_SIZE",
    }
)
"""Settings of a place, and those of the trainer that mean another thing elsewhere."""
MOST_NAMED = 6
"""Foreign parts that a message names."""
_SAID_BY: Mapping[str, str] = {
    "EMA_ENABLED": "EMA_DECAY", "LATE_QAT": "LATE_QAT_THRESHOLD", "CASEOPS_ENABLED": "BYTE_SIDECAR", "SMEAR_GATE_ENABLED": "SMEAR_GATE",
    "BIGRAM_ENABLED": "BIGRAM_VOCAB_SIZE", "XSA_ENABLED": "XSA_LAST_N", "PREQUANT_TTT": "PREQUANT_TTT_ENABLED",
}  # fmt: skip
"""Switches for what the reference says by a value."""
_HARMLESS = (
    "COMPILE",
    "LOG",
    "WANDB",
    "DEBUG",
    "SAVE",
    "PROFILE",
    "CHECKPOINT",
    "FLASH",
    "FUSED",
    "TRITON",
    "NCCL",
    "VERBOSE",
    "SKIP_",
)
"""Words of switches that change the speed or the output of a run, not its result."""


@dataclass(frozen=True, slots=True)
class Mapped:
    """`preset` is empty when none expresses the record: then `missing` says what for. `reasons` are the traits in which record and
    preset agree, `disagreements` those in which they don't, with their evidence; `overrides` is what the record sets otherwise;
    `ignored` are settings that the reference doesn't have; `notes` what it leaves out and the headline metric doesn't need."""

    preset: str
    reasons: tuple[str, ...] = ()
    disagreements: tuple[str, ...] = ()
    overrides: Mapping[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def refusal(self) -> str:
        """One line: why nothing is mapped; empty when something is."""
        return f"no preset expresses this record: {'; '.join(self.missing)}" if self.missing else ""


@dataclass(frozen=True, slots=True)
class _Property:
    """How a preset says a trait, and which settings make it so."""

    read: Callable[[Callable[[str], str]], str]
    on: Mapping[str, str]
    off: Mapping[str, str]


def _flag(name: str, on: str = "1", off: str = "0") -> _Property:
    return _Property(
        lambda get: "0" if same_setting(get(name), off) or not get(name) else "1", {name: on} if on else {}, {name: off}
    )


def _word(name: str) -> _Property:
    return _Property(lambda get: get(name), {}, {})


_PROPERTIES: Mapping[str, _Property] = {
    "tokenizer": _word("TOKENIZER"),
    "byte sidecar": _flag("BYTE_SIDECAR"),
    "repeated layers": _flag("RECUR_LAYERS", on="", off=""),
    "looped layers": _flag("NUM_LOOPS", on=""),
    "two lanes": _flag("PARALLEL_START_LAYER", on=""),
    "parallel residuals": _flag("PARALLEL_RESIDUAL_START", on="", off="-1"),
    "value embedding": _Property(
        lambda get: "1" if get("VE_LAYERS") and get("VE_ENABLED") == "1" else "0", {}, {"VE_ENABLED": "0"}
    ),
    "value residual": _flag("VRL_ENABLED"),
    "bigram hash": _flag("BIGRAM_VOCAB_SIZE", on=""),
    "XSA": _flag("XSA_LAST_N", on=""),
    "skip gates": _flag("SKIP_GATES_ENABLED"),
    "smear gate": _flag("SMEAR_GATE"),
    "leaky activation": _flag("LEAKY_SLOPE", on="0.5", off="0.0"),
    "parameter banks": _flag("PARAMETER_BANKS"),
    "quantizer": _word("MATRIX_QUANTIZER"),
    "calibration": _word("CALIBRATION"),
    "compressor": _word("COMPRESSOR"),
    "score-first TTT": _flag("TTT_ENABLED"),
    "pre-quantization TTT": _flag("PREQUANT_TTT_ENABLED"),
}
_WORDS = {"tokenizer": "TOKENIZER", "quantizer": "MATRIX_QUANTIZER", "calibration": "CALIBRATION", "compressor": "COMPRESSOR"}


def map_record(system: RecordSystem, catalog: Catalog, wanted: str = "") -> Mapped:
    """The preset that agrees with the record in most traits (then in most settings), or `wanted`."""
    missing = _missing(system, catalog)
    notes = tuple(
        f"{name}={system.settings[name].value} shows in the logs only behind the headline metric; the reference leaves it out"
        for name in system.later
        if name not in catalog.settings
    )
    if missing and not wanted:
        return Mapped("", missing=missing, notes=notes)

    def distance(preset: str) -> tuple[int, int]:
        return len(_disagreeing(system, catalog, preset)), len(_overrides(system, catalog, preset))

    preset = wanted or min(sorted(catalog.presets), key=distance)
    wrong = _disagreeing(system, catalog, preset)
    reasons = tuple(
        f"{name}: {trait.value} ({trait.why})"
        for name, trait in system.traits.items()
        if name not in wrong and _tells(name, trait)
    )
    disagreements = tuple(
        f"{name}: {trait.value} ({trait.why}), the preset has {_PROPERTIES[name].read(_getter(catalog, preset)) or '0'}"
        for name, trait in wrong.items()
    )
    known = {_own_name(name) for name in catalog.settings}
    off = tuple(name.removesuffix("ENABLED") for name in system.switches if name.endswith("_ENABLED") and not system.on(name))
    ignored = tuple(
        f"{name}={row.value}"
        for name, row in system.settings.items()
        if row.origin != DEFAULT
        and _own_name(name) not in known
        and name not in _MACHINE
        and is_on(row.value) is not False
        and not any(name.startswith(stem) for stem in off)
    )
    return Mapped(preset, reasons, disagreements, _overrides(system, catalog, preset), missing, ignored, notes)


def _tells(name: str, trait: Trait) -> bool:
    """Whether a trait is worth a line: what is absent in both goes without saying."""
    return trait.value != "0"


def _missing(system: RecordSystem, catalog: Catalog) -> tuple[str, ...]:
    """What acts on the headline metric and can't be told to the reference."""
    missing = [system.unread] if system.unread else []
    tokenizer = system.traits.get("tokenizer")
    known = {catalog.value(preset, "TOKENIZER") for preset in catalog.presets}
    if tokenizer is not None and tokenizer.value not in known:
        missing.append(f"tokenizer {tokenizer.why}")
    for name in sorted(system.switches):
        row = system.settings[name]
        known_as = _SAID_BY.get(name, _own_name(name))
        if known_as not in catalog.settings and system.on(name) and not any(word in name for word in _HARMLESS):
            where = f"{row.source.path}:{row.source.line}" if row.source.line else row.source.path
            missing.append(f"{name}={row.value} ({where})")
    return (*missing, *system.foreign[:MOST_NAMED])


def _disagreeing(system: RecordSystem, catalog: Catalog, preset: str) -> dict[str, Trait]:
    get = _getter(catalog, preset)
    return {
        name: trait
        for name, trait in system.traits.items()
        if not (name == "calibration" and not system.traits.get("quantizer", trait).value.startswith("gptq"))
        and _PROPERTIES[name].read(get) != trait.value
    }


def _overrides(system: RecordSystem, catalog: Catalog, preset: str) -> dict[str, str]:
    """Settings that make the preset the record's system: traits first, then every setting that both know."""
    found: dict[str, str] = {}
    for name, trait in _disagreeing(system, catalog, preset).items():
        if name in _WORDS:
            found[_WORDS[name]] = trait.value
        else:
            found |= _PROPERTIES[name].off if trait.value == "0" else _PROPERTIES[name].on
    absent = {name for name, trait in system.traits.items() if trait.value == "0"}
    for name, row in system.settings.items():
        own = _own_name(name)
        if own not in catalog.settings or own in _MACHINE or own in found or _belongs_to(own, absent):
            continue
        value = "1" if row.value == "True" else "0" if row.value == "False" else row.value.strip()
        if not same_setting(value, catalog.value(preset, own)) and not (own in system.switches and not system.on(name)):
            found[own] = value
    # A schedule by steps and one by share exclude each other.
    for one, other in (("WARMDOWN_ITERS", "WARMDOWN_FRAC"), ("WARMDOWN_FRAC", "WARMDOWN_ITERS")):
        given = system.settings.get(one)
        used = given is not None and other not in system.settings and is_on(given.value)
        if used and not same_setting(catalog.value(preset, other), "0"):
            found[other] = "0"
    return dict(sorted(found.items()))


def _belongs_to(name: str, absent: set[str]) -> bool:
    """Whether a setting is of a property that the record doesn't have."""
    owners = {
        "TTT_": "score-first TTT", "PREQUANT_": "pre-quantization TTT", "BIGRAM_": "bigram hash", "VE_": "value embedding",
        "LOOP_": "looped layers", "RECUR_": "repeated layers", "ENABLE_LOOPING": "looped layers",
    }  # fmt: skip
    return any(name.startswith(start) and owner in absent for start, owner in owners.items())


def _own_name(name: str) -> str:
    return ALIASES.get(name, name)


def _getter(catalog: Catalog, preset: str) -> Callable[[str], str]:
    return lambda name: catalog.value(preset, name)
