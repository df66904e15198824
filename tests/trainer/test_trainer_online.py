"""Bias and cache learned while scoring (PR 1405), the second stride, and PR 1242's n-gram pass in a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from reference_train.evaluate import Scorer, evaluate  # noqa: E402
from reference_train.forbidden import ngram_weight  # noqa: E402
from reference_train.online import OnlineConfig, OnlineState, evaluate_online  # noqa: E402
from reference_train.runlog import RunLog  # noqa: E402
from tests.trainer.test_trainer_evaluate import small_model, stream  # noqa: E402
from tests.trainer.test_trainer_run import quick, run  # noqa: E402

ONLINE = OnlineConfig(lr=0.05, cache_weight=0.1, cache_decay=0.9)
CPU = torch.device("cpu")


def learned(steps: int = 3) -> Any:
    state, generator = OnlineState(32, CPU, ONLINE), torch.Generator().manual_seed(5)
    for _ in range(steps):
        state.learn(torch.randn(7, 32, generator=generator), torch.randint(0, 32, (7,), generator=generator))
    return state


def test_batch_form_equals_the_token_by_token_rule() -> None:
    state, generator = learned(), torch.Generator().manual_seed(6)
    bias, counts = state.bias.clone(), state.counts.clone()
    logits, targets = torch.randn(9, 32, generator=generator), torch.randint(0, 32, (9,), generator=generator)
    frozen = (logits + bias).softmax(-1)
    state.learn(logits, targets)
    for p, y in zip(frozen, targets.tolist(), strict=True):
        gradient = p.clone()
        gradient[y] -= 1
        bias -= ONLINE.lr * gradient
        counts *= ONLINE.cache_decay
        counts[y] += 1
    assert torch.allclose(state.bias, bias, atol=1e-5)
    assert torch.allclose(state.counts, counts, atol=1e-5)


def test_the_mixture_is_a_distribution_and_starts_as_the_model() -> None:
    logits = torch.randn(5, 32, generator=torch.Generator().manual_seed(7))
    assert torch.allclose(OnlineState(32, CPU, ONLINE).probabilities(logits), logits.softmax(-1))
    mixed = learned().probabilities(logits)
    assert torch.allclose(mixed.sum(-1), torch.ones(5), atol=1e-5)
    assert (mixed > 0).all()


def score(tokens: Any, cfg: OnlineConfig = ONLINE) -> Any:
    return evaluate_online(small_model(), tokens, np.ones(330), Scorer(False, batch_windows=3), cfg, seq_len=32, stride=8)


def test_targets_are_learned_only_after_their_score() -> None:
    reference = score(stream())
    assert (reference.times_scored == 1).all()
    late = stream()
    late[200:] = (late[200:] + 7) % 32
    assert np.allclose(score(late).nll[:199], reference.nll[:199], atol=1e-5)
    # Token 40 is a target of the second batch and out of reach of the windows that score from 100 on: what remains is learned.
    early = stream()
    early[40] = (early[40] + 7) % 32
    assert not np.allclose(score(early).nll[100:], reference.nll[100:], atol=1e-6)


def test_learning_nothing_is_the_sliding_score() -> None:
    sliding = evaluate(small_model(), stream(), np.ones(330), Scorer(False), seq_len=32, stride=8)
    off = score(stream(), OnlineConfig(lr=0.0, cache_weight=0.0))
    assert np.allclose(off.nll, sliding.nll, atol=1e-5)


def test_ngram_weight_follows_entropy_and_order(few_docs: str) -> None:
    cfg = quick("tiny-scylla-ttt", few_docs)
    weights = ngram_weight(np.array([3.0, 3.0, 2.5, 9.0]), np.array([2, 4, 4, 16]), cfg)
    # At the center the sigmoid is one half: 0.05 + 0.65 / 2 = 0.375, times the factor of the order; at most 0.95.
    assert weights.tolist() == pytest.approx([0.375 * 0.3, (0.05 + 0.65 / (1 + np.exp(-1.0))) * 0.97, 0.375 * 0.97, 0.95])


def test_everything_the_submitted_scripts_turn_on_runs(few_docs: str, tmp_path: Path) -> None:
    """PR 1405's defaults: strides 96 and 64, bias and cache, then TTT; PR 1242's command: the n-gram pass last."""
    strides = {"eval_stride": 48, "second_eval_stride": 32}
    log = RunLog()
    full = run(quick("tiny-scylla-gptq", few_docs, ogd_enabled=True, ttt_enabled=True, **strides), tmp_path, log=log)
    scored = [label for label in full.metrics if label.startswith("quantized")]
    slides = ["quantized_sliding_window", "quantized_sliding_window_s32"]
    assert scored == ["quantized", *slides, "quantized_ogd", "quantized_ttt"]
    assert full.headline == "quantized_ttt"
    assert "stride:32" in log.text
    assert full.metrics[slides[1]].val_bpb < full.metrics[slides[0]].val_bpb  # more context for each target
    cheat = run(quick("tiny-scylla-ttt", few_docs, ngram_enabled=True), tmp_path, log=log)
    assert cheat.headline == "quantized_ttt"
    assert cheat.metrics["ngram_two_pass"].val_bpb < cheat.val_bpb - 0.5
    assert "ngram_rescore: matched=" in log.text
