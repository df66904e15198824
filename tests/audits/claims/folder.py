"""A small record folder as text, read through the real readers; tests change one thing at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from verifier.challenge.load import load_challenge
from verifier.engine.context import Context
from verifier.submission.disk_source import DiskSource
from verifier.submission.load import load_submission

FOLDER = "records/track_10min_16mb/2026-04-10_Example"
SCRIPT = """\
import os
import zlib

class Hyperparameters:
    data_path = os.environ.get("DATA_PATH", "./data")
    seed = int(os.environ.get("SEED", 1337))
    ttt_enabled = bool(int(os.environ.get("TTT_ENABLED", "0")))
    ttt_epochs = int(os.environ.get("TTT_EPOCHS", 3))

args = Hyperparameters()

def main():
    blob = zlib.compress(b"weights", level=9)
    if args.ttt_enabled:
        print("final_ttt", len(blob))

main()
"""
COMMAND = "```bash\nDATA_PATH=./x SEED=42 torchrun --standalone --nproc_per_node=8 train_gpt.py\n```\n"


@dataclass(frozen=True)
class Seed:
    """One log. `head`, `middle` and `tail` stand before the run, after training and after the last score."""

    seed: int
    bpb: str
    tail: str = ""
    head: str = ""
    middle: str = ""
    bytes: int = 15_900_000

    def text(self) -> str:
        steps = "".join(f"step:{n}000/20000 train_loss:2.{n}000 train_time:{n}00000ms step_avg:100.00ms\n" for n in range(1, 7))
        return (
            f"{self.head}seed:{self.seed}\n{steps}"
            f"step:6000/20000 val_loss:1.9000 val_bpb:1.1253 train_time:600000ms step_avg:100.00ms\n"
            f"stopping_early: wallclock_cap train_time:600000ms step:6000/20000\n"
            f"DIAGNOSTIC post_ema val_loss:1.9100 val_bpb:1.1312 eval_time:2000ms\n{self.middle}"
            f"Serialized model int8+zlib: {self.bytes - 50_000} bytes\n"
            f"Total submission size int8+zlib: {self.bytes} bytes\n"
            f"final_int8_zlib_roundtrip_exact val_loss:1.95000000 val_bpb:1.15490000\n"
            f"final_sliding_window_exact val_loss:1.87000000 val_bpb:{self.bpb}\n{self.tail}"
        )


SEEDS = (Seed(42, "1.10000000"), Seed(1337, "1.10200000"), Seed(2024, "1.10400000"))


def context(
    root: Path,
    *,
    readme: str = "# Example\n\n" + COMMAND,
    metadata: Mapping[str, object] | None = None,
    script: str = SCRIPT,
    seeds: tuple[Seed, ...] = SEEDS,
    files: Mapping[str, str] | None = None,
) -> Context:
    """Write the folder below `root` and read it."""
    record = root / FOLDER
    record.mkdir(parents=True)
    stated: dict[str, object] = {"author": "Ada", "val_bpb": 1.102, "bytes_total": 15_900_000}
    texts = {
        "README.md": readme,
        "submission.json": json.dumps({**stated, **(metadata or {})}, indent=2),
        "train_gpt.py": script,
        **{f"train_seed{seed.seed}.log": seed.text() for seed in seeds},
        **(files or {}),
    }
    for name, text in texts.items():
        (record / name).write_text(text, encoding="utf-8")
    return Context(load_submission(DiskSource(record, FOLDER)), load_challenge())
