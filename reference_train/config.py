"""All settings of a run in one flat record. A preset is a data file; the challenge's variable names override it."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from reference_train.errors import TrainerError
from reference_train.quirks import QUIRKS

PRESET_DIR = Path(__file__).parent / "presets"


@dataclass(frozen=True, kw_only=True)
class Config:
    """Field names are the challenge's environment variables in lower case, where it has one."""

    preset: str = ""
    description: str = ""
    extends: tuple[str, ...] = ()
    parity_quirks: tuple[int, ...] = ()
    """What `--parity` turns on."""
    quirks: tuple[int, ...] = ()

    # Data
    run_id: str = ""
    """A name for the log."""
    data_dir: str = ""
    """Folder with datasets/fineweb10B_sp<V> and tokenizers/fineweb_<V>_bpe.model, for DATA_PATH and TOKENIZER_PATH."""
    data_path: str = ""
    """Folder of shards, or a .jsonl of documents for the byte tokenizer; empty: the text that ships."""
    tokenizer: str = "sentencepiece"
    tokenizer_path: str = ""
    tokenizer_meta_path: str = ""
    byte_sidecar: bool = False
    vocab_size: int = 1024
    bos_id: int = 1
    loader: str = "sequential"
    seed: int = 1337
    device: str = "cuda"
    compute_dtype: str = "auto"
    attention: str = "auto"
    """FlashAttention where it is possible ("auto"), always ("flash") or never ("sdpa")."""
    torch_compile: bool = True
    """Compile the model; on a GPU only."""

    # Model
    num_layers: int = 9
    model_dim: int = 512
    num_heads: int = 8
    num_kv_heads: int = 4
    mlp_mult: float = 2.0
    leaky_slope: float = 0.0
    tie_embeddings: bool = True
    logit_softcap: float = 30.0
    rope_base: float = 10_000.0
    rope_dims: int = 0
    qk_gain_init: float = 1.5
    ln_scale: bool = False
    xsa_last_n: int = 0
    skip_gates_enabled: bool = False
    ve_enabled: bool = True
    ve_dim: int = 128
    ve_layers: tuple[int, ...] = ()
    vrl_enabled: bool = False
    smear_gate: bool = False
    bigram_vocab_size: int = 0
    bigram_dim: int = 128
    recur_layers: tuple[int, ...] = ()
    recur_start_step: int = 0
    num_loops: int = 0
    loop_start: int = 0
    loop_end: int = 0
    enable_looping_at: float = 0.35
    parallel_start_layer: int = 0
    parallel_residual_start: int = -1
    parameter_banks: bool = False
    orthogonal_init: bool = False
    tied_embed_init_std: float = 0.005
    bf16_embeddings: bool = False

    # Optimization
    train_seq_len: int = 1024
    train_batch_tokens: int = 524_288
    grad_accum_total: int = 8
    """Micro-steps of one step, summed over processes."""
    iterations: int = 20_000
    planned_steps: int = 0
    """Steps that fit in the budget: schedules and the end go by them, not by the clock. 0: by the clock, if there is a cap."""
    warmup_steps: int = 20
    warmdown_iters: int = 0
    warmdown_frac: float = 0.0
    min_lr: float = 0.0
    max_wallclock_seconds: float = 600.0
    gptq_reserve_seconds: float = 0.0
    matrix_lr: float = 0.04
    scalar_lr: float = 0.04
    tied_embed_lr: float = 0.05
    embed_lr: float = 0.6
    head_lr: float = 0.008
    muon_wd: float = 0.0
    embed_wd: float = 0.0
    adam_wd: float = 0.0
    muon_momentum: float = 0.95
    muon_momentum_warmup_start: float = 0.85
    muon_momentum_warmup_steps: int = 500
    muon_backend_steps: int = 5
    muon_row_normalize: bool = False
    beta1: float = 0.9
    beta2: float = 0.95
    adam_eps: float = 1e-8
    grad_clip_norm: float = 0.0
    ema_decay: float = 0.0
    swa_enabled: bool = False
    swa_every: int = 50
    swa_threshold: float = 0.2
    qat_enabled: bool = False
    """Round the weights in the forward from the first step on, not only at the end (LATE_QAT_THRESHOLD)."""
    late_qat_threshold: float = 0.0
    checkpoint_every: int = 0
    val_loss_every: int = 1000
    train_log_every: int = 200

    # Quantization and packing
    matrix_quantizer: str = "int8"
    embed_quantizer: str = "int8"
    matrix_levels: int = 31
    embed_levels: int = 127
    gptq_enabled: bool = True
    """0: the same clips, rounded to nearest."""
    matrix_clip_sigmas: float = 12.85
    embed_clip_sigmas: float = 20.0
    passthrough_numel: int = 65_536
    calibration: str = "train"
    gptq_calibration_batches: int = 64
    compressor: str = "zlib"
    byte_shuffle: bool = False
    selective_prune: bool = False
    pack_code: bool = False

    # Evaluation
    eval_seq_len: int = 1024
    eval_stride: int = 64
    second_eval_stride: int = 0
    """A second sliding evaluation, with its own label; 0 for none (PR 1405 gives 96 and then 64, its headline)."""
    sliding_window_enabled: bool = False
    val_batch_tokens: int = 524_288
    ttt_enabled: bool = False
    ttt_lr: float = 0.005
    ttt_epochs: int = 3
    ttt_chunk_tokens: int = 32_768
    ttt_momentum: float = 0.9
    ttt_batch_seqs: int = 32
    ttt_grad_clip: float = 1.0
    ttt_freeze_blocks: int = 0
    ogd_enabled: bool = False
    """An output bias and a unigram cache that learn from what is scored already."""
    ogd_lr: float = 0.1
    cache_lambda: float = 0.02
    cache_decay: float = 0.995
    prequant_ttt_enabled: bool = False
    prequant_ttt_epochs: int = 21
    prequant_ttt_lr: float = 5e-4
    prequant_ttt_wd: float = 0.0
    prequant_ttt_grad_clip: float = 1.0
    prequant_ttt_chunk_tokens: int = 32_768
    prequant_ttt_freeze_blocks: int = 2
    ngram_enabled: bool = False
    ngram_min_order: int = 2
    ngram_max_order: int = 12
    ngram_num_buckets: int = 16_777_216
    ngram_alpha_min: float = 0.05
    ngram_alpha_max: float = 0.7
    ngram_entropy_center: float = 3.0
    ngram_entropy_scale: float = 2.0
    ngram_min_count: int = 2
    ngram_leave_one_out: bool = True

    def __post_init__(self) -> None:
        choices = {
            "tokenizer": ("sentencepiece", "metadata", "bytes"),
            "loader": ("sequential", "coprime", "shuffled"),
            "calibration": ("train", "self-generated"),
            "device": ("cpu", "cuda"),
            "attention": ("auto", "sdpa", "flash"),
            "compute_dtype": ("auto", "float32", "bfloat16"),
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise TrainerError(f"{name.upper()} is {getattr(self, name)!r}; use one of {', '.join(known)}")
        unknown = set(self.quirks) - QUIRKS.keys()
        if unknown:
            raise TrainerError(f"no switch for quirk {min(unknown)}; there are {', '.join(map(str, QUIRKS))}")
        for name in ("iterations", "train_seq_len", "eval_seq_len", "num_layers", "vocab_size", "grad_accum_total"):
            if getattr(self, name) < 1:
                raise TrainerError(f"{name.upper()} is {getattr(self, name)}; it must be at least 1")
        if self.warmdown_iters and self.warmdown_frac:
            raise TrainerError("WARMDOWN_ITERS and WARMDOWN_FRAC exclude each other; set one of them to 0")

        if self.ngram_enabled and self.ngram_num_buckets & (self.ngram_num_buckets - 1):
            raise TrainerError(f"NGRAM_NUM_BUCKETS is {self.ngram_num_buckets}; it must be a power of 2")

    def has(self, quirk: int) -> bool:
        return quirk in self.quirks

    @property
    def forbidden(self) -> str:
        """Why the rules do not allow this system; empty for a legal one."""
        return "; ".join(why for name, why in FORBIDDEN.items() if getattr(self, name))

    @property
    def shard_folder(self) -> str:
        """Where the token shards are; DATA_PATH wins over DATA_DIR."""
        if self.data_path or not self.data_dir:
            return self.data_path
        return str(Path(self.data_dir) / "datasets" / f"fineweb10B_sp{self.vocab_size}")

    @property
    def shown_data_path(self) -> str:
        """DATA_PATH as logs and commands name it: a record's script has no text beside it, so it has to be said."""
        shipped = self.tokenizer == "bytes" and not self.shard_folder
        return "reference_train/text/docs.jsonl" if shipped else self.shard_folder

    @property
    def sentencepiece_path(self) -> Path:
        if self.tokenizer_path or not self.data_dir:
            return Path(self.tokenizer_path)
        return Path(self.data_dir) / "tokenizers" / f"fineweb_{self.vocab_size}_bpe.model"


FORBIDDEN = {
    "prequant_ttt_enabled": "it trains on the validation tokens that it is scored on afterwards",
    "ngram_enabled": "its last score is mixed from counts over the whole validation stream, future included",
}
"""Settings that switch on what the rules do not allow, and why they do not."""

ALIASES = {
    "val_batch_size": "val_batch_tokens",
    "sdclip_k": "matrix_clip_sigmas",
    "sdclip_k_embed": "embed_clip_sigmas",
    "gptq_calib_samples": "gptq_calibration_batches",
}
"""The same setting under another stack's name."""

NEVER_READ = {
    "muon_beta2",
    "rope_train_seq_len",
    "num_shared_blocks",
    "shared_block_layout",
    "ortho_init",
    "int6_quant",
    "swa_interval",
    "swa_lr_threshold",
    "ttt_max_seqs",
    "gptq_blocksize",
    "gptq_dampening",
}
"""Variables of the run commands that the submitted scripts never read."""

_OFF = "off in every submitted run, and not implemented here"
_ABSENT = "off in every submitted run, and not implemented; measure_forbidden shows what fitting to scored targets gains"
ONLY_VALUES: dict[str, tuple[str, str]] = {
    **dict.fromkeys(("dtg_enabled", "mtp_num_heads", "gated_attention", "value_residual", "lawa_enabled"), ("0", _OFF)),
    **dict.fromkeys(("ttt_adaptive", "ttt_ema_enabled"), ("0", _OFF)),
    **dict.fromkeys(("lbfgs_slot_enabled", "etlb_enabled"), ("0", _ABSENT)),
    "embedding_dim": ("512", "tables as wide as the model are all that was submitted; set MODEL_DIM"),
    "gptq_hessian": ("0", "set MATRIX_QUANTIZER=gptq_one_percentile"),
    "gptq_block_size": ("128", "the block does not change the result"),
    "gptq_damp_pct": ("0.01", "every submitted system uses this damping"),
    "tokenizer_meta_validate": ("0", "a table is checked wherever the length of its text is known"),
}
"""Names of the challenge whose only possible value here is the given one, and why."""
SUBORDINATE = (
    "mtp_", "lawa_", "lbfgs_slot_", "etlb_", "ttt_ema_",
    "int8_keep_float_fp32_name_patterns", "control_tensor_name_patterns",
)  # fmt: skip
"""Beginnings of names that belong to those."""
BITS = {"matrix_bits": "matrix_levels", "embed_bits": "embed_levels"}
"""A number of bits b stands for levels up to 2^(b-1) - 1."""

_FIELDS = {field.name: str(field.type) for field in fields(Config)}
_FIXED = {"preset", "description", "extends", "parity_quirks", "quirks"}
SETTINGS = tuple(name for name in _FIELDS if name not in _FIXED)


def parse_setting(name: str, text: str) -> tuple[str, Any]:
    """A field and its value from a NAME and a string, in the challenge's spelling (booleans 0 and 1, lists 3,4,5).

    The field is empty for a name of the challenge that leaves everything as it is.
    """
    lowered = name.lower()
    key = ALIASES.get(lowered, lowered)
    if key in NEVER_READ:
        raise TrainerError(f"{name.upper()} has no effect: the submitted scripts define it and never read it; remove it")
    if key in ONLY_VALUES:
        value, why = ONLY_VALUES[key]
        if text != value:
            raise TrainerError(f"{name.upper()}={text} is not possible, only {value} is: {why}")
        return "", None
    if key.startswith(SUBORDINATE):
        raise TrainerError(f"{name.upper()} has no effect here: it belongs to an option that is not implemented; remove it")
    if key in BITS and text.isdigit() and 2 <= int(text) <= 8:
        return BITS[key], 2 ** (int(text) - 1) - 1
    if key not in SETTINGS:
        near = difflib.get_close_matches(lowered, [*SETTINGS, *ALIASES, *BITS], n=1, cutoff=0.5)
        hint = f"did you mean {near[0].upper()}?" if near else "see --list-settings"
        raise TrainerError(f"unknown setting {name.upper()}: {hint}")
    kind = _FIELDS[key]
    try:
        if kind == "bool":
            return key, {"1": True, "0": False, "true": True, "false": False}[text.lower()]
        if kind == "int":
            return key, int(text.replace("_", ""))
        if kind == "float":
            return key, float(text)
        if kind.startswith("tuple"):
            return key, tuple(int(part) for part in text.split(",") if part.strip())
    except (KeyError, ValueError) as problem:
        wanted = {"bool": "0 or 1", "int": "an integer", "float": "a number"}.get(kind, "integers like 3,4,5")
        raise TrainerError(f"{name.upper()}={text}: expected {wanted}") from problem
    return key, text


def settings_from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """Settings among the environment's variables; a likely misspelling is an error, foreign names are not."""
    found: dict[str, Any] = {}
    known = {name.upper() for name in (*SETTINGS, *ALIASES, *BITS, *ONLY_VALUES, *NEVER_READ)}
    for name, text in environ.items():
        if name in known:
            key, value = parse_setting(name, text)
            found |= {key: value} if key else {}
        elif re.fullmatch(r"[A-Z][A-Z0-9_]{7,}", name):
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.92)
            if near:
                raise TrainerError(f"the environment sets {name}, which is no setting: did you mean {near[0]}?")
    return found


def preset_names() -> list[str]:
    return sorted(path.stem for path in PRESET_DIR.glob("[!_]*.toml"))


EMBEDDED_PRESETS: dict[str, dict[str, Any]] = {}
"""Presets of a single-file script, which has no preset folder beside it."""


def read_preset(name: str) -> dict[str, Any]:
    """The settings of a preset, those of the presets it extends first."""
    if name in EMBEDDED_PRESETS:
        return EMBEDDED_PRESETS[name]
    path = PRESET_DIR / f"{name}.toml"
    if not path.is_file():
        near = difflib.get_close_matches(name, preset_names(), n=1, cutoff=0.3)
        hint = f"did you mean {near[0]}? " if near else ""
        raise TrainerError(f"no preset {name!r}: {hint}there are {', '.join(preset_names())}")
    own = tomllib.loads(path.read_text(encoding="utf-8"))
    unknown = own.keys() - _FIELDS.keys()
    if unknown:
        raise TrainerError(f"{path}: unknown setting {min(unknown)!r}; see --list-settings")
    merged: dict[str, Any] = {}
    for parent in own.get("extends", ()):
        merged |= read_preset(parent)
    return merged | own | {"preset": name}


def make_config(
    settings: Mapping[str, Any], overrides: Mapping[str, Any], *, parity: bool = False, quirks: tuple[int, ...] = ()
) -> Config:
    """A configuration from a preset's settings, overrides and quirk switches."""
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}
    merged: dict[str, Any] = values | dict(overrides)
    cfg = Config(**merged)
    chosen = set(cfg.quirks) | set(quirks) | (set(cfg.parity_quirks) if parity else set())
    return replace(cfg, quirks=tuple(sorted(chosen)))
