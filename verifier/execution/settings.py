"""Making a run small by the script's own settings, and by nothing else.

The settings of the run that produced the logs come first (the features that it switched on), then a toy value for each setting
of size that the script reads. Code is never changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

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
AT_MOST: Mapping[str, int] = {"EVAL_STRIDE": 64, "SLIDING_STRIDE": 64, "NUM_LAYERS": 11, "TTT_STRIDE": 64, "VE_DIM": 128}
"""Settings that keep their value unless it is larger."""
FEW = ("EPOCHS", "SLOT_STEPS", "SLOT_ITERS", "TTT_STEPS", "INNER_STEPS")
"""Repetitions, by the end of their names: two instead of more."""
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


@dataclass(frozen=True, slots=True)
class ToySettings:
    """`environment` is what the script gets; `shrunk` are the settings among it that differ from the run's own, with both
    values; `vocabulary` is the size the script will expect."""

    environment: dict[str, str]
    shrunk: dict[str, tuple[str | None, str]]
    vocabulary: int


def shrink(reads: Iterable[EnvRead], configuration: Mapping[str, str]) -> ToySettings:
    """Toy settings for a script that reads `reads` and ran under `configuration`."""
    defaults: dict[str, str | None] = {}
    for read in reads:
        defaults.setdefault(read.name, read.default)
    own = {name: configuration.get(name, default) for name, default in defaults.items()}
    # Also what no reading was found for: scripts build names of settings.
    environment = {
        name: value
        for name, value in configuration.items()
        if name.replace("_", "").isalnum() and name == name.upper() and not _of_the_machine(name)
    }
    shrunk: dict[str, tuple[str | None, str]] = {}
    for name in defaults:
        value = _toy_value(name, own[name])
        if value is not None and value != own[name]:
            environment[name] = value
            shrunk[name] = (own[name], value)
    _repair_heads(environment, own, shrunk)
    environment |= LAUNCH
    vocabulary = environment.get("VOCAB_SIZE") or own.get("VOCAB_SIZE") or ""
    return ToySettings(environment, shrunk, int(vocabulary) if vocabulary.isdecimal() else 1024)


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


def _toy_value(name: str, own: str | None) -> str | None:
    if name in LAUNCH:
        return None
    number = _as_int(own)
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
    if name.endswith(FEW) and number is not None and number > 2:
        return "2"
    return None


def _repair_heads(environment: dict[str, str], own: Mapping[str, str | None], shrunk: dict[str, tuple[str | None, str]]) -> None:
    """Grouped heads only where the run groups them."""
    if "NUM_KV_HEADS" in environment and own.get("NUM_KV_HEADS") == own.get("NUM_HEADS"):
        environment["NUM_KV_HEADS"] = environment.get("NUM_HEADS", environment["NUM_KV_HEADS"])
        shrunk["NUM_KV_HEADS"] = (own.get("NUM_KV_HEADS"), environment["NUM_KV_HEADS"])


def _as_int(text: str | None) -> int | None:
    cleaned = (text or "").replace("_", "").strip()
    return int(cleaned) if cleaned.isdecimal() and len(cleaned) < 16 else None
