"""The contest's constants and history, loaded from the data files beside this module."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LeaderboardRow:
    """An accepted record. `day` is the row's Date column (ISO). `bpb_seeds` are per-seed BPB where known, `loss_seeds` likewise.

    `bpb` has all digits that are known, `printed` is the score as the table shows it. `listed` is the day on which the table
    first showed the row, `withdrawn` the day on which the row fell, None while it stands.
    """

    day: str
    pr: int | None
    bpb: float
    val_loss: float | None
    bpb_seeds: tuple[float, ...]
    loss_seeds: tuple[float, ...]
    name: str
    withdrawn: str | None
    printed: str = ""
    listed: str | None = None


@dataclass(frozen=True, slots=True)
class ValidationStream:
    """Figures of a validation stream that occurs in logs: scored tokens, bytes per token, total bytes.

    `status` is `canonical` (the full validation set), `short-export` (canonical but for a clipped end), `subset` (its first
    documents only), `pre-launch` (the set before the contest fixed it) or `foreign` (other documents); `note` says what it is.
    """

    family: str
    val_tokens: int
    bytes_per_token: float
    total_bytes: float
    status: str
    note: str


@dataclass(frozen=True, slots=True)
class PrefixRatio:
    """Bytes per token over the first `tokens` of a canonical stream: early text is not average, so each prefix has its own."""

    family: str
    tokens: int
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Miscount:
    """Bytes per token that a known mistake in the byte table yields on a canonical stream.

    `cause` is a stable slug: `leading-space-twice`, `marker-as-bytes` or `transformed-text`.
    """

    family: str
    cause: str
    bytes_per_token: float
    note: str


@dataclass(frozen=True, slots=True)
class Challenge:
    name: str
    ruleset: str
    artifact_cap: int
    train_budget: float
    train_overshoot: float
    """s above the budget that the last step may take."""
    eval_budget: float
    margin_nats: float
    val_bytes: int
    """UTF-8 bytes of the full validation text: the denominator that every lossless tokenizer shares."""
    val_docs: int
    leaderboard: tuple[LeaderboardRow, ...]
    streams: tuple[ValidationStream, ...]
    withdrawn_bundles: dict[str, str]
    """sha256 of withdrawn tokenizer files -> what they are."""
    prefixes: tuple[PrefixRatio, ...] = ()
    miscounts: tuple[Miscount, ...] = ()
    margin_level: float = 0.01
    """Significance at which the margin must hold."""
    overlap_shards: tuple[int, ...] = ()
    """Training shard counts that the overlapping data preparation (10,000 held-out documents) leaves behind."""
    published_tokenizers: tuple[str, ...] = ()
    """Tokenizer families whose model is published with the shards: a folder need not ship it."""
