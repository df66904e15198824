"""Tiny forwards against the golden losses of the specification (section 14.5), and parameter counts."""

from __future__ import annotations

import math
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from reference_train.model import GPT, ModelConfig, count_parameters  # noqa: E402


def fill(model: GPT) -> None:
    """The closed-form fill rule of the golden vectors: first matching rule decides (center, amplitude)."""
    rules = [
        (("attn_scale", "mlp_scale", "skip_weights", "ve_layer_scales"), 1.0, 0.1),
        (("q_gain",), 1.5, 0.1),
        (("lane_merge",), 0.5, 0.1),
        (("vrl_gate",), -1.5, 0.1),
    ]
    state = {}
    for name, tensor in model.state_dict().items():
        center, amp = 0.0, 0.15
        matched = [(c, a) for keys, c, a in rules if any(key in name for key in keys)]
        if matched:
            center, amp = matched[0]
        elif name.endswith(".scale"):
            center, amp = 0.5, 0.1
        elif "gate" in name:
            amp = 0.5
        elif "resid_mix" in name:
            amp = 0.1
        key = sum(name.encode()) % 101
        i = torch.arange(tensor.numel(), dtype=torch.float64)
        values = (center + amp * torch.sin(0.37 * i + 0.1 * key + 0.0007 * i * i)).reshape(tensor.shape)
        if "resid_mix" in name:
            values[0] += 1
        state[name] = values.float()
    model.load_state_dict(state)


def golden_batch() -> tuple[Any, Any]:
    rows = [[(7 * b + 3 * t + (t * t % 5) + 11 * b * t) % 48 for t in range(25)] for b in range(2)]
    ids = torch.tensor(rows)
    return ids[:, :24], ids[:, 1:]


COMMON: dict[str, Any] = {"vocab_size": 48, "model_dim": 64, "num_heads": 4, "num_kv_heads": 2}
LEAKY: dict[str, Any] = {"num_layers": 6, "negative_slope": 0.5, "ln_scale": True, "rope_dims": 8}
BASE = {"num_layers": 5, "mlp_hidden": 128}
P1471 = LEAKY | {
    "mlp_hidden": 256,
    "rope_ref_len": 16,
    "ve_dim": 16,
    "ve_layers": (4, 5),
    "xsa_last_n": 6,
    "skip_gates": True,
    "recur_layers": (2, 3),
    "lanes_from": 4,
    "dead_skips": True,
}
P1405 = LEAKY | {
    "mlp_hidden": 192,
    "rope_ref_len": 1024,
    "ve_dim": 16,
    "ve_layers": (4, 5),
    "xsa_last_n": 6,
    "smear_gate": True,
    "bigram_rows": 40,
    "bigram_dim": 24,
    "value_residual": True,
}
P1738 = LEAKY | {
    "mlp_hidden": 256,
    "rope_ref_len": 64,
    "xsa_last_n": 6,
    "skip_gates": True,
    "num_loops": 2,
    "loop_start": 2,
    "loop_end": 3,
    "parallel_from": 4,
}
GOLDEN = [
    ("base", BASE, False, 147_860, 3.9362166, None),
    ("1471", P1471, False, 276_636, 4.0783319, (-0.557169, 0.363055, -0.838802, 0.815354)),
    ("1471 recurrent", P1471, True, 276_636, 4.0815082, (-0.515060, 0.418943, -0.762618, 0.835559)),
    (
        "1471 no NTK",
        P1471 | {"rope_ref_len": 64},
        True,
        276_636,
        4.0832872,
        (-0.511661, 0.419458, -0.761215, 0.835626),
    ),
    (
        "1471 one lane",
        P1471 | {"rope_ref_len": 64, "lanes_from": 0},
        True,
        276_635,
        4.0826020,
        (-0.460687, 0.570569, -0.698500, 0.780766),
    ),
    ("1405", P1405, False, 229_857, 4.0942268, (-0.495906, 1.036633, -1.053354, -0.781073)),
    (
        "1405 no VRL",
        P1405 | {"value_residual": False},
        False,
        229_852,
        4.0836253,
        (-0.478208, 1.076759, -1.007719, -0.785557),
    ),
    (
        "1242 banks",
        P1405 | {"value_residual": False, "xsa_last_n": 2, "parameter_banks": True},
        False,
        229_852,
        4.2858653,
        (0.783371, 0.329395, 0.727485, 1.645190),
    ),
    ("1738", P1738, False, 275_608, 4.0885096, (-0.543125, 0.159102, -0.722031, 0.761294)),
    ("1738 looped", P1738, True, 275_608, 4.0883851, (-0.503522, 0.278915, -0.818913, 0.729181)),
]


@pytest.mark.parametrize(
    ("config", "recurrence", "params", "loss", "logits"), [g[1:] for g in GOLDEN], ids=[g[0] for g in GOLDEN]
)
def test_tiny_forward_matches_golden(config: Any, recurrence: bool, params: int, loss: float, logits: Any) -> None:
    model = GPT(ModelConfig(**COMMON, **config)).eval()
    fill(model)
    x, y = golden_batch()
    assert count_parameters(model) == params
    with torch.no_grad():
        assert model(x, y, recurrence=recurrence).item() == pytest.approx(loss, abs=2e-6)
        if logits is not None:
            assert model.logits(x, recurrence=recurrence)[0, 5, :4].tolist() == pytest.approx(logits, abs=2e-6)


FULL = [
    ("base", {"vocab_size": 1024, "num_layers": 9, "mlp_hidden": 1024}, 17_059_912),
    (
        "1471",
        {
            "vocab_size": 8192,
            "num_layers": 11,
            "mlp_hidden": 2048,
            "skip_gates": True,
            "ve_dim": 128,
            "ve_layers": (9, 10),
            "lanes_from": 7,
            "recur_layers": (3, 4, 5),
            "dead_skips": True,
        },
        37_022_812,
    ),
    (
        "1405",
        {
            "vocab_size": 998,
            "num_layers": 11,
            "mlp_hidden": 1536,
            "ve_dim": 128,
            "ve_layers": (9, 10),
            "value_residual": True,
            "smear_gate": True,
            "bigram_rows": 3072,
            "bigram_dim": 112,
        },
        27_050_854,
    ),
    (
        "1242",
        {
            "vocab_size": 1024,
            "num_layers": 11,
            "mlp_hidden": 1536,
            "ve_dim": 128,
            "ve_layers": (9, 10),
            "smear_gate": True,
            "bigram_rows": 10240,
            "bigram_dim": 128,
            "parameter_banks": True,
        },
        28_042_332,
    ),
    (
        "1738",
        {
            "vocab_size": 8192,
            "num_layers": 11,
            "mlp_hidden": 2048,
            "skip_gates": True,
            "num_loops": 2,
            "loop_start": 3,
            "loop_end": 5,
        },
        35_944_536,
    ),
]


@pytest.mark.parametrize(("config", "params"), [f[1:] for f in FULL], ids=[f[0] for f in FULL])
def test_logged_parameter_counts(config: Any, params: int) -> None:
    with torch.device("meta"):
        model = GPT(ModelConfig(model_dim=512, num_heads=8, num_kv_heads=4, **config))
    assert count_parameters(model) == params


def test_ntk_base() -> None:
    from reference_train.layers import rope_tables

    cos, _ = rope_tables(2048, 16, 10_000.0, 1024, torch.device("cpu"), torch.float32)
    assert cos[1, 1].item() == pytest.approx(math.cos(22081.790273476247 ** (-2 / 16)), abs=1e-6)
