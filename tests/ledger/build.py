"""Runs and submissions for tests, as the readers would deliver them."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence

from tests.builders import empty_submission
from verifier.challenge.load import load_challenge
from verifier.engine.context import Context, Options
from verifier.evidence import Fact, Location, Number
from verifier.submission.logs.model import LogFile, Metric, Run, StepPoint, Value
from verifier.submission.metadata import Metadata, SeedClaim
from verifier.submission.readme import Readme
from verifier.submission.submission import Submission, Track

CHALLENGE = load_challenge()
SP1024 = "./data/tokenizers/fineweb_1024_bpe.model"
CASEOPS = "./tokenizers/fineweb_8192_bpe_lossless_caps_caseops_v1_reserved.model"


def number(text: str) -> Number:
    parsed = Number.parse(text)
    assert parsed is not None
    return parsed


def metric(
    bpb: str,
    loss: str | None = None,
    label: str = "final_exact",
    line: int = 100,
    path: str = "train.log",
    step: int | None = None,
) -> Metric:
    text = f"{label} val_loss:{loss} val_bpb:{bpb}" if loss else f"{label} val_bpb:{bpb}"
    return Metric(label, number(loss) if loss else None, number(bpb), step, None, False, Location(path, line, excerpt=text))


def run(
    seed: int | None,
    *metrics: Metric,
    path: str | None = None,
    tokens: int | None = 62_021_632,
    tokenizer: str | None = SP1024,
    steps: int = 20,
    **more: object,
) -> Run:
    """A full training run that ends with `metrics`. `more` are further fields of `Run`."""
    name = path or f"train_seed{seed}.log"
    read = Run(
        path=name,
        index=0,
        first_line=1,
        last_line=200,
        seed=seed,
        seed_source=Location(name, 3) if seed is not None else None,
        seed_from="line" if seed is not None else "",
        file_name_seed=seed,
        steps=tuple(
            StepPoint(index * 500, 20_000, 2.0, index * 30_000.0, 60.0, None, 10 + index) for index in range(1, steps + 1)
        ),
        metrics=tuple(dataclasses.replace(each, source=dataclasses.replace(each.source, path=name)) for each in metrics),
        val_tokens=Value(str(tokens), Location(name, 5, excerpt=f"tokens:{tokens}")) if tokens is not None else None,
        tokenizer_path=Value(tokenizer, Location(name, 4, excerpt=tokenizer)) if tokenizer is not None else None,
    )
    return dataclasses.replace(read, **more)  # type: ignore[arg-type]


def fact(
    name: str, value: float | str, line: int = 5, seed: int | None = None, printed: str | None = None, unit: str = "bpb"
) -> Fact:
    return Fact(name, value, unit, Location("submission.json", line), seed, printed if printed is not None else str(value))


def metadata(
    bpb: float | None = None,
    seeds: dict[int, float] | None = None,
    day: str | None = "2026-04-20",
    std: float | None = None,
    listed: Sequence[int] = (),
) -> Metadata:
    return Metadata(
        "submission.json",
        parsed=True,
        strict=True,
        day=datetime.date.fromisoformat(day) if day else None,
        val_bpb=fact("val_bpb", bpb) if bpb is not None else None,
        val_bpb_std=fact("val_bpb_std", std, 6) if std is not None else None,
        seeds=tuple(listed),
        seeds_source=Location("submission.json", 7) if listed else None,
        seed_claims=tuple(
            SeedClaim(seed, Location("submission.json", 10 + index), fact("val_bpb", value, 10 + index, seed))
            for index, (seed, value) in enumerate((seeds or {}).items())
        ),
    )


def submission(
    *runs: Run,
    claims: Metadata | None = None,
    readmes: Sequence[Readme] = (),
    track: Track | None = Track.TEN_MINUTES,
    name: str = "2026-04-20_Name",
    **more: object,
) -> Submission:
    paths = dict.fromkeys(one.path for one in runs)
    built = dataclasses.replace(
        empty_submission(track),
        path=f"records/track_10min_16mb/{name}",
        metadata=(claims,) if claims is not None else (),
        readmes=tuple(readmes),
        logs=tuple(
            LogFile(path, "0" * 64, "utf-8", tuple(one for one in runs if one.path == path), None, None) for path in paths
        ),
    )
    return dataclasses.replace(built, **more)  # type: ignore[arg-type]


def context(built: Submission, **options: object) -> Context:
    return Context(built, CHALLENGE, Options(**options))  # type: ignore[arg-type]
