"""A record folder: README, submission.json, one log per seed, the script, the artifact and the curve."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from reference_train.config import Config
from reference_train.plot import curve_svg
from reference_train.run import SeedResult
from reference_train.shards import write_atomic


def write_record(folder: Path, cfg: Config, results: Sequence[SeedResult], command: str) -> None:
    """Everything but the script, the artifact and the logs, which the runs have written already."""
    largest = max(results, key=lambda result: result.ledger.total)
    scores = [result.val_bpb for result in results]
    submission = {
        "author": "reference trainer",
        "github_id": "reference-train",
        "name": f"Reference run of {cfg.preset}",
        "blurb": cfg.description,
        "date": f"{date.today().isoformat()}T00:00:00Z",
        "val_loss": round(statistics.fmean(result.val_loss for result in results), 8),
        "val_bpb": round(statistics.fmean(scores), 8),
        "bytes_total": largest.ledger.total,
        "bytes_code": largest.ledger.code,
        "bytes_model": largest.ledger.model,
        "seed_results": {
            str(r.seed): {
                "val_loss": round(r.val_loss, 8),
                "val_bpb": round(r.val_bpb, 8),
                "artifact_bytes": r.ledger.total,
            }
            for r in results
        },
    }
    write_atomic(folder / "submission.json", (json.dumps(submission, indent=2) + "\n").encode())
    curves = {f"train, seed {r.seed} (nats/token)": r.outcome.train_curve for r in results}
    curves |= {f"validation, seed {r.seed} (bpb)": r.outcome.val_curve for r in results}
    write_atomic(folder / "curve.svg", curve_svg(curves, f"{cfg.preset}: loss over steps").encode())
    write_atomic(folder / "README.md", _readme(cfg, results, command).encode())


def _readme(cfg: Config, results: Sequence[SeedResult], command: str) -> str:
    scores = [result.val_bpb for result in results]
    lines = [f"# Reference run of {cfg.preset}", "", cfg.description + ".", ""]
    if cfg.forbidden:
        lines += [f"**Not a legal submission: {cfg.forbidden}.** It exists to show the size of the effect.", ""]
    if cfg.shown_data_path.endswith(".jsonl"):
        lines += [
            f"Scored on `{cfg.shown_data_path}`, not on the challenge's validation set: no submission, and no score to compare.",
            "",
        ]
    lines += [
        f"Headline metric: `{results[0].headline}`.",
        "",
        "| seed | steps | val_loss (nats/token) | val_bpb | model bytes | code bytes | total bytes |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r.seed} | {r.outcome.steps} | {r.val_loss:.8f} | {r.val_bpb:.8f} | {r.ledger.model} | {r.ledger.code} | "
        f"{r.ledger.total} |"
        for r in results
    ]
    mean = f"Mean val_bpb {statistics.fmean(scores):.8f}"
    spread = f", sample standard deviation (ddof 1) {statistics.stdev(scores):.8f}" if len(scores) > 1 else ""
    lines += ["", mean + spread + ".", "", "Run command:", "", "```bash", command, "```", "", "![curve](curve.svg)", ""]
    return "\n".join(lines)
