"""Tokens/s of the reference on a GPU against the challenge's own baseline script, at the same configuration.

    python tests/benchmarks/bench_trainer_gpu.py PATH/TO/train_gpt.py [NAME=VALUE ...]

Both train the baseline on the same synthetic shards, one after the other on one GPU, and their own clocks count, which
leave compiling and warming up out. The reference's log has its model FLOP utilisation. Settings go to both.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import sentencepiece

from reference_train.data import SHIPPED_TEXT
from reference_train.shards import write_shard

ROOT = Path(__file__).parents[2]
STEPS, BATCH = 60, 524_288
SETTINGS = {
    "ITERATIONS": str(STEPS), "TRAIN_BATCH_TOKENS": str(BATCH), "VAL_LOSS_EVERY": "0", "TRAIN_LOG_EVERY": str(STEPS),
    "MAX_WALLCLOCK_SECONDS": "0", "VOCAB_SIZE": "1024", "SEED": "1337",
}  # fmt: skip


def prepare(folder: Path) -> dict[str, str]:
    """Shards of random ids and a tokenizer with as many pieces: the speed does not depend on what they mean."""
    text = folder / "text.txt"
    text.write_text(SHIPPED_TEXT.read_text(encoding="utf-8"), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(text), model_prefix=str(folder / "sp"), vocab_size=1024, model_type="bpe", byte_fallback=True,
        add_dummy_prefix=False, pad_id=0, bos_id=1, eos_id=2, unk_id=3, minloglevel=2,
    )  # fmt: skip
    ids = np.random.default_rng(0).integers(4, 1024, 20_000_000)
    write_shard(folder / "fineweb_train_000000.bin", ids)
    write_shard(folder / "fineweb_val_000000.bin", ids[:65_537])
    return {"DATA_PATH": str(folder), "TOKENIZER_PATH": str(folder / "sp.model")}


def train(command: list[str], settings: dict[str, str], folder: Path) -> str:
    environment = os.environ | settings | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def baseline_rate(log: str, batch: int) -> float:
    """Tokens/s from the baseline's last training line, which gives milliseconds per step."""
    return batch / float(re.findall(r"train_loss:\S+ train_time:\S+ step_avg:([\d.]+)ms", log)[-1]) * 1000


def reference_rate(log: str) -> float:
    return float(re.findall(r"train_loss: \S+ train_time: \S+ tok/s: (\d+)", log)[-1])


def main(arguments: list[str]) -> None:
    script = Path(arguments[0]).resolve()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = SETTINGS | prepare(folder) | dict(text.split("=", 1) for text in arguments[1:])
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "1"]
        theirs = baseline_rate(train([*torchrun, str(script)], settings, folder), int(settings["TRAIN_BATCH_TOKENS"]))
        log = train([*torchrun, "-m", "reference_train", "--preset", "baseline", "PLANNED_STEPS=0"], settings, folder)
    ours = reference_rate(log)
    print(*(line for line in log.splitlines() if line.startswith("throughput:")), sep="\n")
    verdict = "" if ours >= theirs else "  BELOW 1.0x"
    print(f"tokens/s: reference {ours:,.0f}, baseline script {theirs:,.0f}, {ours / theirs:.2f}x{verdict}")


if __name__ == "__main__":
    main(sys.argv[1:])
