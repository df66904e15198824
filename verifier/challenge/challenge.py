"""The contest's constants and history, loaded from the data files beside this module."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LeaderboardRow:
    """An accepted record. `day` is the row's Date column (ISO). `seeds` are per-seed BPB where known, `losses` likewise.

    `withdrawn` is the day on which the row fell, None while it stands.
    """

    day: str
    pr: int | None
    bpb: float
    val_loss: float | None
    bpb_seeds: tuple[float, ...]
    loss_seeds: tuple[float, ...]
    name: str
    withdrawn: str | None


@dataclass(frozen=True, slots=True)
class ValidationStream:
    """Canonical figures of the validation set under one tokenizer: scored tokens, bytes per token, total bytes.

    `status` is `canonical`, `short-export` or `foreign` (another document set); `note` says what it is.
    """

    family: str
    val_tokens: int
    bytes_per_token: float
    total_bytes: float
    status: str
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
