"""Evaluators: each target once, causal, normalized; test-time training only after scoring."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from reference_train.config import make_config, read_preset  # noqa: E402
from reference_train.errors import TrainerError  # noqa: E402
from reference_train.evaluate import Scorer, evaluate, make_windows  # noqa: E402
from reference_train.forbidden import (  # noqa: E402
    ngram_buckets,
    prequant_ttt,
    realized_token_mixture,
    slot_on_scored_targets,
    two_pass_ngram,
)
from reference_train.layers import bigram_hash  # noqa: E402
from reference_train.model import GPT, ModelConfig, initialize  # noqa: E402
from reference_train.ttt import ScoredChunk, ScoreFirstStream, TttConfig, evaluate_score_first  # noqa: E402

WINDOW_COUNTS = [
    (40_540_160, 64, False, 633_409, 40_540_160),
    (40_540_160, 64, True, 633_440, 40_542_144),
    (61_999_104, 64, False, 968_705, 61_999_104),
    (61_999_104, 64, True, 968_736, 62_001_088),
    (61_999_104, 96, True, 645_824, 62_001_056),
    (62_363_648, 64, False, 974_401, 62_363_648),
    (62_363_648, 64, True, 974_432, 62_365_632),
    (47_851_520, 64, False, 747_649, 47_851_520),
    (47_851_520, 64, True, 747_680, 47_853_504),
    (10_240, 64, False, 129, 10_240),
    (10_240, 64, True, 160, 12_224),
    (10_240, 96, True, 107, 12_192),
]


@pytest.mark.parametrize(("targets", "stride", "tail", "windows", "scored"), WINDOW_COUNTS[-3:])
def test_window_counts_match_golden(targets: int, stride: int, tail: bool, windows: int, scored: int) -> None:
    made = make_windows(targets, 2048, stride, tail_rescoring=tail)
    assert (len(made), sum(w.length - w.first for w in made)) == (windows, scored)


@pytest.mark.parametrize(("targets", "stride", "tail", "windows", "scored"), WINDOW_COUNTS[:-3])
def test_full_size_window_counts_match_golden(targets: int, stride: int, tail: bool, windows: int, scored: int) -> None:
    # The window list repeats with the stride away from the ends: count a stream that is shorter by whole strides.
    cut = (targets - 20_000) // stride
    made = make_windows(targets - cut * stride, 2048, stride, tail_rescoring=tail)
    assert len(made) + cut == windows
    assert sum(w.length - w.first for w in made) + cut * stride == scored


@settings(max_examples=150)
@given(st.integers(1, 700), st.integers(1, 64), st.integers(1, 64))
def test_windows_score_each_target_once(targets: int, seq_len: int, stride: int) -> None:
    if stride > seq_len:
        with pytest.raises(TrainerError, match="EVAL_STRIDE"):
            make_windows(targets, seq_len, stride)
        return
    times = np.zeros(targets, int)
    for w in make_windows(targets, seq_len, stride):
        assert 0 <= w.first < w.length <= seq_len
        times[w.start + w.first : w.start + w.length] += 1
    assert (times == 1).all()


def test_chunk_counts_match_golden() -> None:
    assert [math.ceil(n / 32_768) for n in (40_540_160, 61_999_104, 62_363_648, 47_851_520)] == [1238, 1893, 1904, 1461]


def small_model(seed: int = 0, **options: Any) -> GPT:
    torch.manual_seed(seed)
    shape: dict[str, Any] = {
        "vocab_size": 32,
        "num_layers": 4,
        "model_dim": 32,
        "num_heads": 4,
        "num_kv_heads": 2,
        "mlp_hidden": 64,
        "rope_dims": 4,
        "negative_slope": 0.5,
    }
    model = GPT(ModelConfig(**(shape | options)))
    initialize(model, orthogonal=True, embed_std=0.3, aux_projection=1.0)
    with torch.no_grad():
        for p in model.parameters():
            p += 0.05 * torch.randn_like(p)
    return model.eval()


SYSTEMS: dict[str, dict[str, Any]] = {
    "base": {},
    "1471": {
        "xsa_last_n": 4,
        "skip_gates": True,
        "ve_dim": 8,
        "ve_layers": (2, 3),
        "recur_layers": (1, 2),
        "lanes_from": 3,
    },
    "1405": {
        "xsa_last_n": 4,
        "value_residual": True,
        "smear_gate": True,
        "bigram_rows": 40,
        "bigram_dim": 8,
        "bos_id": 1,
    },
    "1242": {"xsa_last_n": 1, "smear_gate": True, "bigram_rows": 40, "bigram_dim": 8, "parameter_banks": True},
    "1738": {"xsa_last_n": 4, "skip_gates": True, "num_loops": 2, "loop_start": 1, "loop_end": 2, "parallel_from": 2},
}


@pytest.mark.parametrize("system", SYSTEMS)
def test_future_tokens_change_no_earlier_score_and_probabilities_sum_to_one(system: str) -> None:
    model = small_model(**SYSTEMS[system])
    ids = torch.randint(0, 32, (2, 20), generator=torch.Generator().manual_seed(1))
    changed = ids.clone()
    changed[:, 12:] = (changed[:, 12:] + 5) % 32
    with torch.no_grad():
        a, b = (model.logits(t, recurrence=True).log_softmax(-1) for t in (ids, changed))
    assert torch.allclose(a[:, :12], b[:, :12], atol=1e-5)
    assert not torch.allclose(a[:, 12:], b[:, 12:], atol=1e-3)
    assert torch.allclose(a.exp().sum(-1), torch.ones(2, 20), atol=1e-5)


def test_documents_do_not_leak_through_smear_and_bigram() -> None:
    ids = torch.tensor([[4, 5, 1, 7, 8]])
    assert bigram_hash(ids, 3072, 1)[0, 2] == 3071
    assert bigram_hash(torch.tensor([[1, 2]]), 3072, None)[0].tolist() == [3071, 2467]
    for pair, small, large in (((0, 0), 0, 0), ((5, 7), 2085, 5128), ((997, 996), 2051, 83), ((123, 456), 52, 22)):
        hashed = [int(bigram_hash(torch.tensor([pair]), rows, None)[0, 1]) for rows in (3072, 10240)]
        assert hashed == [small, large]
    other = torch.tensor([[9, 6, 1, 7, 8]])
    for bos_id, equal in ((1, True), (None, False)):
        model = small_model(smear_gate=True, bigram_rows=40, bigram_dim=8, bos_id=bos_id)
        at_bos = [model._embed(t, torch.float32)[0, 2] for t in (ids, other)]
        assert torch.equal(*at_bos) is equal


def stream(n: int = 331) -> Any:
    return torch.randint(0, 32, (n,), generator=torch.Generator().manual_seed(3))


def test_uniform_model_scores_log_vocabulary() -> None:
    model = small_model()
    with torch.no_grad():
        model.tok_emb.weight.zero_()
    tokens = stream()
    result = evaluate(model, tokens, np.full(330, 2.5), Scorer(False), seq_len=32, stride=8)
    assert result.val_loss == pytest.approx(math.log(32), abs=1e-6)
    assert result.val_bpb == pytest.approx(5 / 2.5, abs=1e-6)
    assert result.tokens == 330


def test_sliding_context_and_tail_variant() -> None:
    model, tokens, price = small_model(), stream(), np.ones(330)
    plain = evaluate(model, tokens, price, Scorer(False), seq_len=32, stride=32)
    sliding = evaluate(model, tokens, price, Scorer(False), seq_len=32, stride=8)
    tail = evaluate(model, tokens, price, Scorer(False), seq_len=32, stride=8, tail_rescoring=True)
    assert np.allclose(plain.nll[:32], sliding.nll[:32], atol=1e-5)
    assert not np.allclose(plain.nll[32:40], sliding.nll[32:40], atol=1e-3)
    assert tail.tokens > sliding.tokens == 330
    assert tail.times_scored.max() > 1
    with torch.no_grad():  # a position by hand: target 100 with the 25 to 32 tokens of context its window has
        window = next(w for w in make_windows(330, 32, 8) if w.start + w.first <= 100 < w.start + w.length)
        logits = model.logits(tokens[None, window.start : 101], recurrence=False)[0, -1]
        assert -logits.log_softmax(-1)[tokens[101]].item() == pytest.approx(sliding.nll[100], abs=1e-5)


TTT = TttConfig(lr=0.05, epochs=2, chunk_tokens=64, batch_seqs=2)


def score_first(tokens: Any, cfg: TttConfig = TTT) -> Any:
    return evaluate_score_first(small_model(), tokens, np.ones(330), Scorer(False), cfg, seq_len=32, stride=8)


def test_ttt_without_learning_is_the_sliding_score() -> None:
    sliding = evaluate(small_model(), stream(), np.ones(330), Scorer(False), seq_len=32, stride=8)
    assert np.allclose(score_first(stream(), TttConfig(lr=0.0, chunk_tokens=64)).nll, sliding.nll, atol=1e-6)


def test_ttt_scores_never_see_later_tokens_but_do_learn_from_earlier_ones() -> None:
    reference = score_first(stream())
    late = stream()
    late[200:] = (late[200:] + 7) % 32
    assert np.allclose(score_first(late).nll[:199], reference.nll[:199], atol=1e-5)
    early = stream()
    early[5] = (early[5] + 7) % 32
    assert not np.allclose(score_first(early).nll[64:128], reference.nll[64:128], atol=1e-5)
    assert (reference.times_scored == 1).all()


def test_adapting_needs_a_scored_chunk() -> None:
    with pytest.raises(TrainerError, match="score_next"):
        ScoredChunk(stream(), 0, object())
    scoring = ScoreFirstStream(stream(), np.ones(330), Scorer(False), seq_len=32, stride=8, chunk_tokens=64)
    chunk = scoring.score_next(small_model())
    assert chunk is not None
    seen = torch.cat([y.flatten() for _, y in chunk.batches(32, 2)])
    assert torch.equal(seen, stream()[1:65])  # targets 0..63, all scored
    with pytest.raises(TrainerError, match="1 of 6 chunks"):
        scoring.result()


def test_ngram_tables_match_golden() -> None:
    tokens = [5, 7, 9, 5, 7, 9, 5, 7, 11, 5, 7, 9]
    golden = {
        2: (
            [317, 239, 161, 317, 239, 161, 317, 239, 83, 317, 239],
            [700, 768, 946, 700, 768, 946, 700, 178, 832, 700, 768],
        ),
        3: ([700, 768, 946, 700, 768, 946, 700, 178, 832, 700], [267, 955, 907, 267, 955, 907, 393, 9, 889, 267]),
        4: ([267, 955, 907, 267, 955, 907, 393, 9, 889], [294, 900, 986, 294, 900, 1000, 420, 54, 808]),
    }
    for order, (context, full) in golden.items():
        assert [part.tolist() for part in ngram_buckets(tokens, order, 1024)] == [context, full]
    p, matched = two_pass_ngram(tokens, min_order=2, max_order=4, buckets=1024)
    assert p.tolist() == pytest.approx([1, 2 / 3, 0, 1, 2 / 3, 0, 1, 0, 0, 1, 2 / 3])
    assert matched.tolist() == [2, 3, -1, 2, 3, -1, 2, -1, -1, 2, 3]


def test_forbidden_methods_cheat() -> None:
    tokens, price = stream(), np.ones(330)
    model = small_model()
    honest = evaluate(model, tokens, price, Scorer(False), seq_len=32, stride=32)
    p, _ = two_pass_ngram(tokens.tolist(), min_order=2, max_order=3, buckets=64)
    assert realized_token_mixture(honest.nll, p, 0.9).sum() < 0.6 * honest.nll_sum
    with torch.no_grad():
        logits = model.logits(tokens[None, :64], recurrence=False)
    before = torch.nn.functional.cross_entropy(logits[0], tokens[1:65]).item()
    assert slot_on_scored_targets(logits, tokens[None, 1:65], steps=40, lr=0.3).mean().item() < before - 0.05
    cfg = make_config(
        read_preset("tiny-caseops-prequant-ttt"),
        {"eval_seq_len": 32, "prequant_ttt_chunk_tokens": 64, "prequant_ttt_lr": 0.01, "prequant_ttt_freeze_blocks": 1},
    )
    prequant_ttt(model, tokens, cfg, Scorer(False), lambda line: None)
    assert evaluate(model, tokens, price, Scorer(False), seq_len=32, stride=32).val_loss < honest.val_loss - 0.3
