"""What only a GPU can run is chosen without one: attention kernels, compiled graphs, throughput lines."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from reference_train.attention import causal_attention, find_flash_attention  # noqa: E402
from reference_train.errors import TrainerError  # noqa: E402
from reference_train.model import GPT, ModelConfig, initialize  # noqa: E402
from reference_train.throughput import describe_throughput, peak_flops, train_flops_per_token  # noqa: E402

CUDA = torch.device("cuda")


def literal_flash(q: Any, k: Any, v: Any, causal: bool) -> tuple[Any, Any]:
    """softmax(QKᵀ/√d)V written out, in FlashAttention's layout, with its second result."""
    assert causal
    group, length = q.shape[2] // k.shape[2], q.shape[1]
    k, v = (t.repeat_interleave(group, dim=2) for t in (k, v))
    scores = torch.einsum("bthd,bshd->bhts", q, k) / q.shape[-1] ** 0.5
    scores = scores.masked_fill(torch.ones(length, length).triu(1).bool(), float("-inf"))
    return torch.einsum("bhts,bshd->bthd", scores.softmax(-1), v), scores.logsumexp(-1)


def test_both_attention_paths_agree() -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, heads, 9, 8, generator=generator) for heads in (4, 2, 2))
    assert torch.allclose(causal_attention(q, k, v), causal_attention(q, k, v, literal_flash), atol=1e-6)
    torch.manual_seed(0)
    shape: dict[str, Any] = {"vocab_size": 20, "num_layers": 2, "model_dim": 16, "num_heads": 4, "num_kv_heads": 2}
    model = GPT(ModelConfig(mlp_hidden=16, xsa_last_n=1, **shape)).eval()
    ids = torch.arange(12)[None]
    plain = model.logits(ids, recurrence=False)
    model.use_flash_attention(literal_flash)
    assert torch.allclose(model.logits(ids, recurrence=False), plain, atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_flash_attention_gives_what_pytorch_gives() -> None:
    flash = find_flash_attention("auto", CUDA, torch.bfloat16)
    if flash is None:
        pytest.skip("no FlashAttention package for this GPU")
    q, k, v = (torch.randn(2, heads, 256, 64, device=CUDA, dtype=torch.bfloat16) for heads in (8, 4, 4))
    assert torch.allclose(causal_attention(q, k, v, flash).float(), causal_attention(q, k, v).float(), atol=2e-2)


@pytest.mark.parametrize(
    ("major", "packages", "found"),
    [
        (9, ("flash_attn_interface", "flash_attn"), "flash_attn_interface"),
        (9, ("flash_attn",), "flash_attn"),
        (8, ("flash_attn_interface", "flash_attn"), "flash_attn"),
        (8, (), None),
        (7, ("flash_attn",), None),
    ],
)
def test_flash_package_fits_the_gpu(
    major: int, packages: tuple[str, ...], found: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (major, 0))
    for name in ("flash_attn_interface", "flash_attn"):
        module = types.ModuleType(name)
        module.flash_attn_func = name  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, name, module if name in packages else None)
    assert find_flash_attention("auto", CUDA, torch.bfloat16) == found
    assert find_flash_attention("sdpa", CUDA, torch.bfloat16) is None
    assert find_flash_attention("auto", CUDA, torch.float32) is None
    assert find_flash_attention("auto", torch.device("cpu"), torch.bfloat16) is None
    if found is None:
        with pytest.raises(TrainerError, match="ATTENTION=auto"):
            find_flash_attention("flash", CUDA, torch.bfloat16)


def test_one_graph_without_breaks_follows_the_switches() -> None:
    """`torch.compile(fullgraph=True)`, what a GPU run does, with a back end that only traces."""
    torch.manual_seed(0)
    shape: dict[str, Any] = {"vocab_size": 20, "num_layers": 4, "model_dim": 16, "num_heads": 4, "num_kv_heads": 2}
    options: dict[str, Any] = {
        "xsa_last_n": 4,
        "ve_dim": 8,
        "ve_layers": (3,),
        "smear_gate": True,
        "bigram_rows": 30,
        "bigram_dim": 8,
    }
    cfg = ModelConfig(mlp_hidden=16, num_loops=1, loop_start=1, loop_end=2, skip_gates=True, lanes_from=3, **shape, **options)
    model = GPT(cfg)
    initialize(model, orthogonal=True, embed_std=0.3, aux_projection=1.0)
    with torch.no_grad():
        for p in model.parameters():
            p += 0.05 * torch.randn_like(p)
    compiled = torch.compile(model, backend="eager", fullgraph=True, dynamic=False)
    ids = torch.arange(16)[None] % 20
    seen = set()
    for rounding in (0, 3):
        model.fake_quant_range = rounding
        for recurrence in (False, True):
            loss = compiled(ids[:, :-1], ids[:, 1:], recurrence=recurrence)
            assert loss.item() == model(ids[:, :-1], ids[:, 1:], recurrence=recurrence).item()
            seen.add(loss.item())
    assert len(seen) == 4


def test_throughput_counts_layers_as_often_as_they_run() -> None:
    base = ModelConfig(vocab_size=1024, num_layers=9, model_dim=512, num_heads=8, num_kv_heads=4, mlp_hidden=1024)
    block = 2 * 512 * 512 + 2 * 256 * 512 + 2 * 1024 * 512
    assert train_flops_per_token(base, 1024, False) == 6 * (9 * block + 1024 * 512) + 12 * 9 * 512 * 1024
    looped = ModelConfig(
        vocab_size=1024,
        num_layers=9,
        model_dim=512,
        num_heads=8,
        num_kv_heads=4,
        mlp_hidden=1024,
        num_loops=1,
        loop_start=3,
        loop_end=5,
    )
    extra = train_flops_per_token(looped, 1024, True) - train_flops_per_token(looped, 1024, False)
    assert extra == 3 * (6 * block + 12 * 512 * 1024)
    assert peak_flops("NVIDIA H100 80GB HBM3") == 989.4e12
    assert describe_throughput(1e6, 989.4e6, "NVIDIA H100 80GB HBM3", 2).endswith("model_tflops: 989.400 mfu: 50.0%")
    assert "mfu" not in describe_throughput(1e6, 1e8, "some other GPU", 1)
