"""Packing: codecs, container, ledger, the cap, and what happens when the disk is full."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from hypothesis import example, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from reference_train.container import dump_tree, load_tree  # noqa: E402
from reference_train.errors import TrainerError  # noqa: E402
from reference_train.export import (  # noqa: E402
    QuantConfig,
    dequantize_state,
    join_banks,
    prune_smallest,
    quantize_state,
    split_banks,
)
from reference_train.model import GPT, ModelConfig, initialize  # noqa: E402
from reference_train.pack import (  # noqa: E402
    COMPRESSORS,
    byte_shuffle,
    byte_unshuffle,
    pack_code,
    pack_payload,
    unpack_code,
    unpack_payload,
    write_artifact,
)


def test_byte_shuffle_golden() -> None:
    assert byte_shuffle(bytes(range(7))).hex() == "42534846" + "02" + "00020406" + "010305"


@settings(max_examples=100)
@given(st.binary(max_size=50), st.integers(2, 5))
@example(b"BSHF", 5)
def test_byte_shuffle_inverse(data: bytes, stride: int) -> None:
    assert byte_unshuffle(byte_shuffle(data, stride)) == data


@pytest.mark.parametrize("compressor", COMPRESSORS)
def test_codecs_round_trip_and_name_the_next_step(compressor: str) -> None:
    data = bytes(range(256)) * 20
    packed = pack_payload(data, compressor, shuffle=True)
    assert len(packed) < len(data) / 5
    assert unpack_payload(packed, compressor) == data
    with pytest.raises(TrainerError, match="check COMPRESSOR"):
        unpack_payload(b"not compressed", compressor)


def test_container_round_trip() -> None:
    tree: dict[str, Any] = {
        "a": torch.tensor([[1, -2]], dtype=torch.int8),
        "b": [torch.tensor(1.5), None, True, 3, "x", {"c": torch.randn(2, 0)}],
        "d": torch.randn(3, 2).bfloat16().T,
    }
    back = load_tree(dump_tree(tree))
    assert torch.equal(back["a"], tree["a"])
    assert back["b"][0].shape == ()
    assert back["b"][1:5] == tree["b"][1:5]
    assert back["b"][5]["c"].shape == (2, 0)
    assert torch.equal(back["d"], tree["d"])
    assert b"torch" not in dump_tree(tree)


def test_container_rejects_damage_and_objects() -> None:
    good = dump_tree({"a": torch.ones(4)})
    for bad, message in (
        (b"x" + good[1:], "magic"),
        (good[:-1], "shorter"),
        (good + b"x", "follow"),
        (good[:14], "damaged"),
    ):
        with pytest.raises(TrainerError, match=message):
            load_tree(bad)
    with pytest.raises(TypeError, match=r"not [A-Za-z]*Path"):
        dump_tree({"a": Path()})


def test_packed_code_unpacks_to_itself_and_runs() -> None:
    source = "result = 6 * 7\n" * 50
    packed = pack_code(source)
    assert unpack_code(packed) == source
    assert len(packed) < len(source)
    names: dict[str, Any] = {"__file__": "x"}
    exec(packed, names)  # noqa: S102
    assert len(packed.splitlines()) == 2


def test_ledger_is_what_lies_on_disk_and_the_cap_is_not_exceeded_silently(tmp_path: Path) -> None:
    script, artifact = tmp_path / "train_gpt.py", tmp_path / "model.ptz"
    script.write_text("x" * 30)
    ledger = write_artifact(artifact, b"m" * 70, script, cap=100)
    assert (ledger.total, ledger.margin) == (100, 0)
    assert ledger.model == artifact.stat().st_size
    with pytest.raises(TrainerError, match="1 over the cap of 100"):
        write_artifact(artifact, b"n" * 71, script, cap=100)
    assert artifact.read_bytes() == b"m" * 70
    assert write_artifact(artifact, b"n" * 71, script, cap=100, allow_over_cap=True).margin == -1


def test_full_disk_keeps_the_old_artifact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script, artifact = tmp_path / "train_gpt.py", tmp_path / "model.ptz"
    script.write_text("x")
    write_artifact(artifact, b"old", script)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TrainerError, match="previous file is untouched: free space"):
        write_artifact(artifact, b"new", script)
    assert artifact.read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.ptz", "train_gpt.py"]


def bank_model(banks: bool = True) -> GPT:
    torch.manual_seed(0)
    model = GPT(
        ModelConfig(vocab_size=40, num_layers=3, model_dim=32, num_heads=4, num_kv_heads=2, mlp_hidden=64, parameter_banks=banks)
    )
    initialize(model, orthogonal=True, embed_std=0.02, aux_projection=None)
    with torch.no_grad():
        for p in model.parameters():
            p += 0.05 * torch.randn_like(p)
    return model


def test_banks_split_and_join() -> None:
    state = bank_model().state_dict()
    flat = split_banks(state)
    assert torch.equal(flat["blocks.2.attn.proj.weight"], state["qo_bank"][5])
    assert torch.equal(flat["blocks.1.attn.c_v.weight"], state["kv_bank"][4])
    assert {name for name in flat if name.startswith("blocks.")} == set(bank_model(False).state_dict()) - {
        "tok_emb.weight",
        "skip_weights",
    }
    joined = join_banks(flat, state)
    assert all(torch.equal(joined[name], state[name]) for name in state)


@pytest.mark.parametrize("method", ["int8", "percentile", "sdclip"])
def test_quantized_state_loads_strictly_and_requantizes_to_itself(method: str) -> None:
    model = bank_model()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    cfg = QuantConfig(matrix_quantizer=method, passthrough_numel=100, matrix_levels=127)
    payload = quantize_state(state, {}, cfg)
    back = dequantize_state(load_tree(dump_tree(payload)), state)
    model.load_state_dict(back)
    assert (back["qo_bank"] - state["qo_bank"]).abs().max() < 0.02
    assert torch.equal(back["blocks.0.attn_scale"], state["blocks.0.attn_scale"])  # controls stay fp32
    half = quantize_state(state, {}, QuantConfig(passthrough_numel=100, quirks=frozenset({15})))
    assert half["tensors"]["blocks.0.attn_scale"]["values"].dtype == torch.float16
    del payload["tensors"]["tok_emb.weight"]
    with pytest.raises(TrainerError, match=r"differ in tok_emb\.weight"):
        dequantize_state(payload, state)


def test_pruning_zeroes_the_cheapest_ones_first() -> None:
    entry = {
        "values": torch.tensor([[1, -1, 2], [1, 5, 0]], dtype=torch.int8),
        "scale": torch.tensor([0.5, 0.25]).half(),
    }
    payload = {"tensors": {"blocks.0.mlp.fc.weight": entry}}
    assert prune_smallest(payload, 2) == 2
    assert entry["values"].tolist() == [[0, -1, 2], [0, 5, 0]]
    assert prune_smallest(payload, 9) == 1
