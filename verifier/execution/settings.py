"""Making a run small by the script's own settings, and by nothing else.

The settings of the run that produced the logs come first (the features that it switched on), then a toy value for each setting
of size that the script reads. Code is never changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from verifier.execution.toy_tokenizer import SMALLEST
from verifier.submission.script import EnvRead

VOCABULARY = 512
SEQUENCE = 128

TOY: Mapping[str, str] = {
    "VOCAB_SIZE": str(VOCABULARY),
    "ITERATIONS": "4", "NUM_ITERATIONS": "4", "MAX_STEPS": "4", "WARMUP_STEPS": "1", "WARMDOWN_ITERS": "2", "COOLDOWN_ITERS": "2",
    "LR_WARMUP_STEPS": "1", "MUON_MOMENTUM_WARMUP_STEPS": "2", "SWA_EVERY": "1", "LAWA_FREQ": "1",
    "TRAIN_BATCH_TOKENS": "1024", "TRAIN_SEQ_LEN": str(SEQUENCE), "EVAL_SEQ_LEN": str(SEQUENCE), "SEQ_LEN": str(SEQUENCE),
    "VAL_SEQ_LEN": str(SEQUENCE), "ROPE_TRAIN_SEQ_LEN": str(SEQUENCE), "YARN_MAX_LEN": str(SEQUENCE),
    "VAL_BATCH_SIZE": "4096", "VAL_BATCH_TOKENS": "4096", "VAL_LOSS_EVERY": "1000", "TRAIN_LOG_EVERY": "1",
    "MODEL_DIM": "128", "EMBEDDING_DIM": "128", "NUM_HEADS": "4", "NUM_KV_HEADS": "2",
    "MAX_WALLCLOCK_SECONDS": "600",
    "TTT_CHUNK_TOKENS": "1024", "PREQUANT_TTT_CHUNK_TOKENS": "1024", "TTT_CHUNK_SIZE": "32", "TTT_BATCH_SEQS": "8",
    "GPTQ_CALIBRATION_BATCHES": "2", "GPTQ_CALIB_BATCHES": "2", "GPTQ_CALIB_SAMPLES": "4", "GPTQ_CALIB_SEQS": "4", "CALIB_BATCHES": "2",
    "BIGRAM_VOCAB_SIZE": "512", "TRIGRAM_VOCAB_SIZE": "512",
    "RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1",
}  # fmt: skip
WIDTHS, WIDE = ("MODEL_DIM", "EMBEDDING_DIM"), 256
"""Settings for the width of a model, and how wide one is at least that was refused at its toy size."""
AT_MOST: Mapping[str, int] = {
    "EVAL_STRIDE": 64, "SLIDING_STRIDE": 64, "SLIDING_WINDOW_STRIDE": 64, "NUM_LAYERS": 11, "TTT_STRIDE": 64, "VE_DIM": 128,
    "GLOBAL_TTT_CHUNK_TOKENS": 1024, "PHASED_TTT_PREFIX_DOCS": 4, "TTT_MAX_TRAIN_CHUNKS": 4, "WARMUP_ITERS": 1, "EMA_WARMUP_STEPS": 1,
    "TTT_BATCH_SIZE": 8, "TTT_LORA_RANK": 16, "FULL_GPTQ_CALIB_BATCHES": 2, "GPTQ_BATCHES": 2, "GPTQ_SAMPLES": 4,
}  # fmt: skip
"""Settings that keep their value unless it is larger."""
FEW = (
    "EPOCHS",
    "SLOT_STEPS",
    "SLOT_ITERS",
    "TTT_STEPS",
    "INNER_STEPS",
    "TTT_MAX_STEPS",
    "BURST_STEPS",
    "DISTILL_STEPS",
    "MAX_ITER",
)
"""Repetitions, by the end of their names: two instead of more."""
SOON = "START_STEP"
"""End of the names of steps from which a feature is on: the first, so that a short run has it too."""
ELSEWHERE = ("/", "../", "~/")
"""Beginnings of paths out of the working folder."""
ON, OFF = frozenset({"enabled", "true", "yes", "on"}), frozenset({"disabled", "false", "no", "off", "none"})
_FLOAT = re.compile(r"[+-]?[0-9_]{0,20}\.?[0-9]{0,20}(e[+-]?[0-9]{1,3})?|[+-]?(inf|nan)", re.IGNORECASE)
_VOCABULARY = re.compile(r"\bvocab_size(?:: ?int)? ?= ?([1-9][0-9]{2,4})\b", re.IGNORECASE)
PER_RANK = ("_PER_GPU", "_PER_RANK")
"""Ends of the names of lists with an entry for each process: the first stays."""
_LENGTH = re.compile(r"\d{3,9}")
LAUNCH = {
    "RANK": "0",
    "LOCAL_RANK": "0",
    "WORLD_SIZE": "1",
    "LOCAL_WORLD_SIZE": "1",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29500",
}
KEEP_OFF = frozenset(
    {
        "DATA_PATH",
        "DATA_DIR",
        "TOKENIZER_PATH",
        "RUN_ID",
        "SEED",
        "CUDA_VISIBLE_DEVICES",
        "PATH",
        "HOME",
        "TMPDIR",
        "LOG_DIR",
        "OUT_DIR",
    }
)

SHORT: Mapping[str, str] = {
    "ITERATIONS": "2", "NUM_ITERATIONS": "2", "MAX_STEPS": "2", "WARMUP_STEPS": "1", "WARMDOWN_ITERS": "1", "COOLDOWN_ITERS": "1",
    "LR_WARMUP_STEPS": "1", "MUON_MOMENTUM_WARMUP_STEPS": "1", "SWA_EVERY": "1", "LAWA_FREQ": "1", "VAL_LOSS_EVERY": "0",
    "GPTQ_CALIBRATION_BATCHES": "1", "GPTQ_CALIB_BATCHES": "1", "GPTQ_CALIB_SAMPLES": "1", "GPTQ_CALIB_SEQS": "1", "CALIB_BATCHES": "1",
    "PREQUANT_TTT_EPOCHS": "1",
}  # fmt: skip
"""What only the training before the artifact depends on, at its least."""
STEPS, LONGER = ("ITERATIONS", "NUM_ITERATIONS", "MAX_STEPS"), "5"
"""Settings for the steps of a training, and another small number of them."""
BATCH = "TRAIN_BATCH_TOKENS"
ACCUMULATED = 8
"""Sequences per step of the shortest training: scripts on one process accumulate over the eight that they were written for."""


@dataclass(frozen=True, slots=True)
class ToySettings:
    """`environment` is what the script gets; `shrunk` are the settings among it that differ from the run's own, with both
    values; `vocabulary` is the size the script will expect."""

    environment: dict[str, str]
    shrunk: dict[str, tuple[str | None, str]]
    vocabulary: int


def shrink(reads: Iterable[EnvRead], configuration: Mapping[str, str], texts: Iterable[str] = ()) -> ToySettings:
    """Toy settings for a script that reads `reads` and ran under `configuration`. `texts` are those of the program: one without a
    setting for it writes its vocabulary there."""
    reads = tuple(reads)
    configuration = _fitting(reads, configuration)
    defaults: dict[str, str | None] = {}
    for read in reads:
        defaults.setdefault(read.name, read.default)
    own = {name: configuration.get(name, default) for name, default in defaults.items()}
    environment = settable(configuration)
    shrunk: dict[str, tuple[str | None, str]] = {}
    for name in defaults:
        value = _toy_value(name, own[name])
        if value is not None and value != own[name]:
            environment[name] = value
            shrunk[name] = (own[name], value)
        elif name not in environment and (default := defaults[name] or "").startswith(ELSEWHERE):
            # A path of another machine; the working folder's own is put in its place.
            environment[name] = default
    _repair_heads(environment, own, shrunk)
    environment |= LAUNCH
    vocabulary = environment.get("VOCAB_SIZE") or own.get("VOCAB_SIZE") or _written_vocabulary(texts)
    return ToySettings(environment, shrunk, int(vocabulary) if vocabulary.isdecimal() else 1024)


def widen(toy: ToySettings) -> ToySettings | None:
    """The same with a wider model that has the odd divisors of the run's: some scripts refuse any other width, or can't go on when
    all matrices are too small to be quantized. `None` where no setting was made that small."""
    widths: dict[str, tuple[str | None, str]] = {}
    for name in WIDTHS:
        own, held = toy.shrunk.get(name, (None, ""))
        width = _as_int(own) or 0
        while width % 2 == 0 and width // 2 >= WIDE:
            width //= 2
        if width > (_as_int(held) or 0):
            widths[name] = (own, str(width))
    if not widths:
        return None
    environment = {**toy.environment, **{name: value for name, (_, value) in widths.items()}}
    return replace(toy, environment=environment, shrunk={**toy.shrunk, **widths})


def keep_vocabulary(toy: ToySettings) -> ToySettings | None:
    """The same with as many pieces as the run had: tables of a tokenizer that the submission brings fit no other number. `None` where
    that was not changed."""
    own, held = toy.shrunk.get("VOCAB_SIZE", (None, ""))
    size = _as_int(own)
    if size is None or own is None or size < SMALLEST or own == held:
        return None
    shrunk = {name: values for name, values in toy.shrunk.items() if name != "VOCAB_SIZE"}
    return ToySettings({**toy.environment, "VOCAB_SIZE": own}, shrunk, size)


def shorten(reads: Iterable[EnvRead], configuration: Mapping[str, str]) -> ToySettings:
    """Settings under which the script builds the model of the run and scores as the run did, after next to no training."""
    reads = tuple(reads)
    configuration = _fitting(reads, configuration)
    defaults: dict[str, str | None] = {}
    for read in reads:
        defaults.setdefault(read.name, read.default)
    environment = settable(configuration)
    shortened: dict[str, tuple[str | None, str]] = {}
    wanted = {name: value for name, value in SHORT.items() if name in defaults}
    sequence = _as_int(configuration.get("TRAIN_SEQ_LEN") or defaults.get("TRAIN_SEQ_LEN"))
    if BATCH in defaults and sequence:
        wanted[BATCH] = str(ACCUMULATED * sequence)
    last = min((count for name in STEPS if (count := _as_int(configuration.get(name) or defaults.get(name)))), default=0)
    for name in defaults:
        begins = _as_int(configuration.get(name) or defaults[name]) if name.endswith(SOON) else None
        # What the run's training came to is on when the artifact is scored.
        if begins is not None and begins <= last:
            wanted[name] = "1"
    for name, value in wanted.items():
        own = configuration.get(name, defaults[name])
        number = _as_int(own)
        if number is None or number > int(value):
            environment[name] = value
            shortened[name] = (own, value)
    environment |= LAUNCH
    vocabulary = environment.get("VOCAB_SIZE") or defaults.get("VOCAB_SIZE") or ""
    return ToySettings(environment, shortened, int(vocabulary) if vocabulary.isdecimal() else 1024)


def lengthen(settings: ToySettings) -> ToySettings | None:
    """The same with a few more steps of training: a score that they change is no score of the artifact alone. `None` where no setting
    says how many there are."""
    longer = {name: LONGER for name in STEPS if name in settings.shrunk}
    return replace(settings, environment={**settings.environment, **longer}) if longer else None


def _fitting(reads: Iterable[EnvRead], configuration: Mapping[str, str]) -> dict[str, str]:
    """The configuration in the words that the script can read. A log prints `enabled` where the script takes a number, and a README
    may name a list that this version of the script does not know: its default is taken then."""
    first: dict[str, EnvRead] = {}
    for read in reads:
        first.setdefault(read.name, read)
    fitting = {name: _fit(value, first.get(name)) for name, value in configuration.items()}
    return {name: value for name, value in fitting.items() if value is not None}


def _fit(value: str, read: EnvRead | None) -> str | None:
    if read is not None and value[:1] + value[-1:] in ("[]", "()") and (read.default or "")[:1] not in ("[", "("):
        # A list as a log prints it, for a script that reads `3,4,5`.
        return ",".join(part.strip().strip("'\"") for part in value[1:-1].split(",")).strip(",")
    if read is None or read.kind not in ("int", "bool", "float"):
        return value
    if read.kind == "float":
        return value if _FLOAT.fullmatch(value.strip()) else None
    if _as_int(value.strip().lstrip("+-")) is not None:
        return value
    word = value.strip().lower()
    if read.kind == "bool" and _as_int(read.default) is None:
        return value
    return "1" if word in ON else "0" if word in OFF else None


def settable(configuration: Mapping[str, str]) -> dict[str, str]:
    """The settings of a run, also those that no reading was found for: scripts build names of settings."""
    return {
        name: value
        for name, value in configuration.items()
        if name.replace("_", "").isalnum() and name == name.upper() and not _of_the_machine(name) and not _of_another_place(value)
    }


def _of_another_place(value: str) -> bool:
    """A path of the machine of the run that is not the contest's data: the script's default is taken instead."""
    return value.startswith(ELSEWHERE) and "/datasets/" not in value and "/tokenizers/" not in value


def _of_the_machine(name: str) -> bool:
    return name in KEEP_OFF or name in LAUNCH or name.startswith(("LD_", "PYTHON", "HF_"))


def listed_settings(readme: str) -> dict[str, str]:
    """`NAME=value` lines in the code blocks of a README that documents no command to read them from."""
    found: dict[str, str] = {}
    inside = False
    for line in readme.splitlines()[:20_000]:
        text = line.strip()[:400]
        if text.startswith(("```", "~~~")):
            inside = not inside
            continue
        name, sign, value = text.removeprefix("export ").partition("=")
        if inside and sign and len(name) > 2 and name.replace("_", "").isalnum() and name == name.upper() and name[0].isalpha():
            value = value.removesuffix("\\").strip()
            value = value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'" else value
            if "$" not in value and " " not in value:
                found[name] = value
    return found


def _written_vocabulary(texts: Iterable[str]) -> str:
    """The number that the program assigns to a `vocab_size` first, empty when it assigns none."""
    return next((found[1] for text in texts if (found := _VOCABULARY.search(text)) is not None), "")


def _toy_value(name: str, own: str | None) -> str | None:
    if name in LAUNCH:
        return None
    number = _as_int(own)
    if name.endswith("COMPILE"):
        return "0" if (own or "").lower() in ("1", "true") else None
    if name == "VOCAB_SIZE" and number is not None and number < SMALLEST:
        return TOY[name]
    if name in TOY:
        # A feature that is switched off by a zero stays off.
        switchable = name.startswith(("BIGRAM", "TRIGRAM", "EMBEDDING")) or name.endswith("CHUNK_TOKENS")
        if number == 0 and switchable:
            return None
        toy = TOY[name]
        if number is not None and toy.isdecimal() and 0 < number < int(toy) and name != "VAL_LOSS_EVERY":
            return None
        return toy
    if name in AT_MOST:
        return str(AT_MOST[name]) if number is not None and number > AT_MOST[name] else None
    if name.endswith(PER_RANK) and "," in (own or ""):
        first = (own or "").split(",")[0].strip()
        return str(min(SEQUENCE, int(first))) if "SEQ" in name and first.isdecimal() else first
    if number is None:
        # A schedule of lengths, such as `1024@0.35,2048@1.0`.
        lengths = "SEQ" in name and ("@" in (own or "") or ":" in (own or ""))
        return _LENGTH.sub(lambda found: str(min(SEQUENCE, int(found[0]))), own or "") if lengths else None
    if name.endswith("SEQ_LEN"):
        return str(SEQUENCE) if number > SEQUENCE else None
    if name.endswith(SOON):
        return "1" if number > 1 else None
    return "2" if name.endswith(FEW) and number > 2 else None


def _repair_heads(environment: dict[str, str], own: Mapping[str, str | None], shrunk: dict[str, tuple[str | None, str]]) -> None:
    """Grouped heads only where the run groups them."""
    if "NUM_KV_HEADS" in environment and own.get("NUM_KV_HEADS") == own.get("NUM_HEADS"):
        environment["NUM_KV_HEADS"] = environment.get("NUM_HEADS", environment["NUM_KV_HEADS"])
        shrunk["NUM_KV_HEADS"] = (own.get("NUM_KV_HEADS"), environment["NUM_KV_HEADS"])


def _as_int(text: str | None) -> int | None:
    cleaned = (text or "").replace("_", "").strip()
    return int(cleaned) if cleaned.isdecimal() and len(cleaned) < 16 else None
