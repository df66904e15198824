"""What must hold for every input, not for chosen ones: data, byte counts, forward, quantizers, evaluators, clock."""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from reference_train.data import export_text  # noqa: E402
from reference_train.evaluate import EvalResult, Scorer, evaluate  # noqa: E402
from reference_train.export import QuantConfig, dequantize_state, quantize_state  # noqa: E402
from reference_train.loaders import make_loader  # noqa: E402
from reference_train.model import GPT, ModelConfig, initialize  # noqa: E402
from reference_train.pack import write_artifact  # noqa: E402
from reference_train.quant import quantize_int8, quantize_percentile, quantize_sdclip, round_to_grid  # noqa: E402
from reference_train.schedule import PHASE_TAGS, PhaseClock  # noqa: E402
from reference_train.shards import find_shards, read_all, write_shard  # noqa: E402
from reference_train.tokbytes import byte_table_for_bytes, load_sidecar  # noqa: E402
from reference_train.ttt import ScoreFirstStream, TttConfig, evaluate_score_first  # noqa: E402

FEW = settings(max_examples=15)
VOCAB = 16


@settings(max_examples=30)
@given(
    st.sampled_from(["sequential", "coprime", "shuffled"]),
    st.lists(st.integers(40, 300), min_size=3, max_size=5),
    st.integers(2, 9),
    st.integers(1, 3),
    st.one_of(st.none(), st.integers(0, 99)),
)
def test_every_batch_is_contiguous_text_and_ranks_read_different_windows(
    kind: str, lengths: list[int], seq_len: int, world: int, seed: int | None
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"fineweb_train_{i:06d}.bin" for i in range(len(lengths))]
        starts = np.cumsum([0, *lengths])
        for path, start, count in zip(paths, starts, lengths, strict=False):
            write_shard(path, np.arange(start, start + count))  # a token is its own position
        loaders = [make_loader(kind, paths, rank, world, seed, seq_len) for rank in range(world)]
        accum, total = 2, int(starts[-1])
        seen: list[int] = []
        for _ in range(2):
            for loader in loaders:
                x, y = loader.next_batch(world * accum * 2 * seq_len, seq_len, accum)
                assert x.shape == y.shape == (2, seq_len)
                assert (x[:, 1:] == y[:, :-1]).all()
                # Only the sequential stream goes on in the next shard, and wraps at the end.
                assert ((y - x) % total == 1).all()
                if kind != "sequential":
                    shard = np.searchsorted(starts, x, side="right")
                    assert (shard == np.searchsorted(starts, y, side="right")).all()
                seen += x.flatten().tolist()
        if 8 * world * seq_len + 4 * world < min(lengths) // 2:  # before any shard is used up
            assert len(set(seen)) == len(seen)


TEXT = st.text(st.one_of(st.sampled_from("aBcD 1é€😀'\ue001\ue004"), st.characters(codec="utf-8")), max_size=30)


@settings(max_examples=40)
@given(st.lists(TEXT, min_size=10, max_size=12), st.booleans())
def test_bytes_over_a_split_are_the_length_of_its_text(texts: list[str], caseops: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        docs = folder / "docs.jsonl"
        docs.write_text("\n".join(json.dumps({"text": text}) for text in texts), encoding="utf-8")
        source = export_text(docs, folder, 1, caseops=caseops)
        assert source == len(texts[0].encode())
        tokens = read_all(find_shards(folder, "val"))
        price = (load_sidecar(folder) if caseops else byte_table_for_bytes()).per_target(tokens)
        assert price.sum() == source
        assert (price[tokens[1:] == 1] == 0).all()  # a BOS costs nothing


def tiny_model(seed: int, **options: Any) -> GPT:
    torch.manual_seed(seed)
    shape: dict[str, Any] = {"num_layers": 2, "model_dim": 16, "num_heads": 2, "num_kv_heads": 1, "mlp_hidden": 16}
    model = GPT(ModelConfig(vocab_size=VOCAB, negative_slope=0.5, **shape, **options))
    initialize(model, orthogonal=False, embed_std=0.5, aux_projection=1.0)
    with torch.no_grad():
        for p in model.parameters():
            p += 0.1 * torch.randn_like(p)
    return model.eval()


@FEW
@given(st.integers(0, 1000), st.integers(2, 12))
def test_forward_depends_on_weights_and_flags_only(seed: int, length: int) -> None:
    model = tiny_model(seed, num_loops=1, loop_start=0, loop_end=0)
    ids = torch.randint(VOCAB, (1, length), generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        plain, looped, again = (model.logits(ids, recurrence=flag) for flag in (False, True, False))
    assert torch.equal(plain, again)
    assert not torch.equal(plain, looped)


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.sampled_from([1e-4, 0.05, 2.0]), st.sampled_from([7, 20, 31, 127]), st.booleans())
def test_requantizing_with_the_stored_scales_changes_nothing(seed: int, spread: float, limit: int, floor: bool) -> None:
    w = torch.randn(6, 40, generator=torch.Generator().manual_seed(seed)) * spread
    w[0] = 0  # a row of zeros must not divide by zero
    for q in (
        quantize_int8(w, floor=floor),
        quantize_percentile(w, limit, floor=floor),
        quantize_sdclip(w, 4.0, limit, floor=floor),
    ):
        largest = 127 if q.values.abs().max() > limit else limit
        restored = q.values.float() * q.scale.float()[:, None]
        assert torch.isfinite(restored).all()
        assert not restored[0].any()
        assert torch.equal(round_to_grid(restored, q.scale, largest), q.values)


def leaves(node: Any) -> list[Any]:
    if isinstance(node, dict):
        return [leaf for value in node.values() for leaf in leaves(value)]
    return [node]


@FEW
@given(st.integers(0, 1000), st.sampled_from(["int8", "percentile", "sdclip"]), st.booleans())
def test_payload_is_tensors_and_strings_and_loads_strictly(seed: int, method: str, banks: bool) -> None:
    state = tiny_model(seed, parameter_banks=banks).state_dict()
    payload = quantize_state(state, {}, QuantConfig(matrix_quantizer=method, passthrough_numel=20))
    assert {type(leaf) for leaf in leaves(payload)} <= {torch.Tensor, str}
    back = dequantize_state(payload, state)
    assert {n: (t.shape, t.dtype) for n, t in back.items()} == {n: (t.shape, t.dtype) for n, t in state.items()}


@FEW
@given(st.integers(0, 400), st.integers(0, 400), st.integers(1, 600))
def test_ledger_adds_up_and_the_cap_holds(code: int, model: int, cap: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        script, artifact = Path(folder) / "train_gpt.py", Path(folder) / "model.ptz"
        script.write_bytes(b"c" * code)
        ledger = write_artifact(artifact, b"m" * model, script, cap=cap, allow_over_cap=True)
        assert (ledger.code, ledger.model, ledger.total) == (code, model, code + model)
        assert ledger.margin == cap - script.stat().st_size - artifact.stat().st_size


def score(evaluator: str, model: GPT, tokens: Any, seq_len: int, stride: int, chunk: int) -> EvalResult:
    price = np.ones(len(tokens) - 1)
    if evaluator == "ttt":
        cfg = TttConfig(lr=0.05, epochs=1, chunk_tokens=chunk, batch_seqs=2)
        return evaluate_score_first(model, tokens, price, Scorer(False), cfg, seq_len=seq_len, stride=stride)
    return evaluate(model, tokens, price, Scorer(False), seq_len=seq_len, stride=seq_len if evaluator == "plain" else stride)


@settings(max_examples=25)
@given(
    st.sampled_from(["plain", "sliding", "ttt"]),
    st.integers(0, 1000),
    st.integers(20, 70),
    st.integers(4, 12),
    st.integers(1, 4),
    st.integers(9, 40),
    st.data(),
)
def test_evaluators_score_each_target_once_and_never_look_ahead(
    evaluator: str, seed: int, targets: int, seq_len: int, stride: int, chunk: int, data: st.DataObject
) -> None:
    tokens = torch.randint(VOCAB, (targets + 1,), generator=torch.Generator().manual_seed(seed))
    result = score(evaluator, tiny_model(seed), tokens, seq_len, stride, chunk)
    assert (result.times_scored == 1).all()
    assert result.tokens == targets == result.bytes
    assert result.nll_sum == pytest.approx(result.nll.sum(), rel=1e-9)
    cut = data.draw(st.integers(1, targets), label="first changed token")
    changed = tokens.clone()
    changed[cut:] = (changed[cut:] + 3) % VOCAB
    other = score(evaluator, tiny_model(seed), changed, seq_len, stride, chunk)
    # Position p predicts token p + 1: positions up to cut - 2 have seen and predicted nothing that changed.
    assert np.allclose(other.nll[: cut - 1], result.nll[: cut - 1], atol=1e-5)


@FEW
@given(st.integers(0, 1000), st.integers(2, 20))
def test_probabilities_sum_to_one_at_every_position(seed: int, length: int) -> None:
    ids = torch.randint(VOCAB, (2, length), generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        total = tiny_model(seed).logits(ids, recurrence=False).double().softmax(-1).sum(-1)
    assert torch.allclose(total, torch.ones_like(total), atol=1e-9)


@FEW
@given(st.integers(20, 70), st.integers(9, 40))
def test_a_chunk_can_be_learned_from_only_after_its_score_is_final(targets: int, chunk: int) -> None:
    tokens = torch.arange(targets + 1) % VOCAB
    stream = ScoreFirstStream(tokens, np.ones(targets), Scorer(False), seq_len=8, stride=4, chunk_tokens=chunk)
    model, scored = tiny_model(0), 0
    for index in range(math.ceil(targets / chunk)):
        piece = stream.score_next(model)
        assert piece is not None
        assert piece.index == index
        scored = min(scored + chunk, targets)
        known = tokens[index * chunk : scored + 1].tolist()
        for x, y in piece.batches(4, 2):
            assert set(x.flatten().tolist()) | set(y.flatten().tolist()) <= set(known)
            assert y.numel() <= scored - index * chunk
    assert stream.score_next(model) is None


PHASES = st.recursive(
    st.tuples(st.sampled_from(PHASE_TAGS), st.integers(0, 5), st.just([])),
    lambda inner: st.tuples(st.sampled_from(PHASE_TAGS), st.integers(0, 5), st.lists(inner, max_size=3)),
    max_leaves=8,
)


@settings(max_examples=60)
@given(st.lists(PHASES, max_size=4))
def test_every_second_is_charged_to_one_budget(plan: list[Any]) -> None:
    now = 0.0
    clock = PhaseClock(lambda: now)
    expected = dict.fromkeys(PHASE_TAGS, 0.0)

    def walk(tag: str, seconds: int, inner: list[Any]) -> None:
        nonlocal now
        with clock.phase(f"{tag}-phase", tag):
            now += seconds
            expected[tag] += seconds
            for child in inner:
                walk(*child)

    for item in plan:
        walk(*item)
        now += 1  # outside every phase: charged to nothing
    assert {tag: clock.charged(tag) for tag in PHASE_TAGS} == expected
    assert sum(clock.seconds.values()) == sum(expected.values())
