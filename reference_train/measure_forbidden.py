"""FORBIDDEN methods measured: `python -m reference_train.measure_forbidden [NAME=VALUE ...]`.

Trains the tiny preset once and scores the same model honestly and by each method that the rules forbid. The difference
is what the method gains by looking at what it predicts.
"""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reference_train.config import Config, make_config, parse_setting, read_preset
from reference_train.data import load_data
from reference_train.evaluate import Scorer, evaluate, make_windows
from reference_train.forbidden import prequant_ttt, realized_token_mixture, slot_on_scored_targets, two_pass_ngram
from reference_train.model import GPT
from reference_train.runlog import RunLog
from reference_train.schedule import PhaseClock
from reference_train.train import Ranks, Trainer

CHEAP = {"prequant_ttt_epochs": 3, "prequant_ttt_lr": 2e-3, "prequant_ttt_chunk_tokens": 1024}


def measure_forbidden(model: GPT, tokens: Tensor, price: NDArray[np.float64], cfg: Config, scorer: Scorer) -> dict[str, float]:
    """Bits per byte over the same targets, by method. All use windows without overlap."""
    length = cfg.eval_seq_len

    def plain(judged: GPT) -> NDArray[np.float64]:
        return evaluate(judged, tokens, price, scorer, seq_len=length, stride=length).nll

    honest = plain(model)
    counted, matched = two_pass_ngram(tokens.tolist(), min_order=2, max_order=8, buckets=1 << 16)
    mixed = np.where(matched > 0, realized_token_mixture(honest, counted, 0.9), honest)
    adapted = deepcopy(model)
    prequant_ttt(adapted, tokens, cfg, scorer, lambda line: None)
    fitted = []
    with torch.no_grad():
        for window in make_windows(len(tokens) - 1, length, length):
            span = tokens[None, window.start : window.start + window.length + 1]
            logits = model.logits(span[:, :-1], recurrence=scorer.recurrence, dtype=scorer.dtype)
            with torch.enable_grad():
                fitted.append(slot_on_scored_targets(logits, span[:, 1:]).flatten())
    scores = {
        "honest": honest,
        "pre-quant TTT on the validation stream": plain(adapted),
        "two-pass n-gram, mixed for the realized token": mixed,
        "SLOT on the scored targets": torch.cat(fitted).double().numpy(),
    }
    return {name: float(nll.sum() / (math.log(2) * price.sum())) for name, nll in scores.items()}


def main(arguments: Sequence[str]) -> None:
    overrides = dict(parse_setting(*text.split("=", 1)) for text in arguments)
    cfg = make_config(read_preset("tiny"), CHEAP | overrides)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        data = load_data(cfg, Path(folder))
        trainer = Trainer(cfg, data, Ranks(), PhaseClock(), RunLog())
        trainer.train(lambda step, steps, loss: None)
        tokens = torch.from_numpy(data.val_tokens.astype("int64"))
        found = measure_forbidden(trainer.model, tokens, data.price, cfg, trainer.scorer(trainer.model.cfg.is_recurrent))
    for name, bpb in found.items():
        print(f"{name}: {bpb:.4f} bpb ({bpb - found['honest']:+.4f})")


if __name__ == "__main__":
    main(sys.argv[1:])
