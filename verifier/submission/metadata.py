"""submission.json: tolerant reading of every shape that occurs, with the line of each value."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from verifier.evidence import Fact, Location, Problem


@dataclass(frozen=True, slots=True)
class SeedClaim:
    """What the file says about one seed. `seed` is `None` when values are listed without a seed number."""

    seed: int | None
    source: Location
    val_bpb: Fact | None = None
    val_loss: Fact | None = None
    artifact_bytes: Fact | None = None
    code_bytes: Fact | None = None
    model_bytes: Fact | None = None
    steps: Fact | None = None
    train_seconds: Fact | None = None
    eval_seconds: Fact | None = None
    step_ms: Fact | None = None
    others: tuple[Fact, ...] = ()
    """Everything else numeric (pre-quant metrics, gains, ...): `name` is the key as written."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """One submission JSON. Absent or unusable values are `None`; `problems` says what was wrong."""

    path: str
    parsed: bool
    """False when no JSON object could be recovered at all."""
    strict: bool
    """True when the file is plain valid JSON (no BOM repair, no second document, no duplicates, no NaN)."""
    author: Fact | None = None
    github_id: Fact | None = None
    name: Fact | None = None
    date: Fact | None = None
    day: datetime.date | None = None
    track: Fact | None = None
    val_bpb: Fact | None = None
    val_loss: Fact | None = None
    val_bpb_std: Fact | None = None
    val_loss_std: Fact | None = None
    bytes_total: Fact | None = None
    bytes_code: Fact | None = None
    bytes_model: Fact | None = None
    bytes_total_max: Fact | None = None
    bytes_total_mean: Fact | None = None
    train_seconds: Fact | None = None
    eval_seconds: Fact | None = None
    steps: Fact | None = None
    seeds: tuple[int, ...] = ()
    seeds_source: Location | None = None
    seed_claims: tuple[SeedClaim, ...] = ()
    hardware: Fact | None = None
    texts: tuple[Fact, ...] = ()
    """Every string long enough to carry a claim (blurb, notes, technique lists, compliance texts); `name` is the key path."""
    flags: tuple[Fact, ...] = ()
    """Every boolean with its key path, e.g. `compliance.score_first_ttt` = True."""
    decoys: tuple[Fact, ...] = ()
    """Numbers under keys that speak of something else (superseded_*, comparison_*, baseline_*, original_*, errata)."""
    problems: tuple[Problem, ...] = ()
