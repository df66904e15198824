"""Speed of the reference against a plain, literal rendering of the same math, in one run on the same machine.

    python tests/benchmarks/bench_trainer.py

The literal forms follow the formulas one by one: GPTQ updates the row-major work matrix column by column within
blocks of 128, attention builds its score matrix, key and value heads are repeated.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from reference_train.gptq import gptq_sdclip, weighted_error
from reference_train.layers import apply_rope, rms_norm, rope_tables
from reference_train.model import GPT, ModelConfig, initialize
from reference_train.quant import dequantize_rows, sdclip_scale


def literal_gptq(weight: Tensor, hessian: Tensor, sigmas: float, limit: int) -> Tensor:
    h = hessian.clone()
    h.diagonal().add_(0.01 * h.diagonal().mean())
    order = torch.argsort(h.diagonal(), descending=True)
    upper = torch.linalg.cholesky(torch.linalg.inv(h[order][:, order]), upper=True)
    scale = sdclip_scale(weight, sigmas, limit).float()
    work, levels = weight[:, order].clone(), torch.zeros_like(weight)
    for start in range(0, weight.shape[1], 128):
        end = min(start + 128, weight.shape[1])
        errors = torch.zeros(len(weight), end - start)
        for j in range(start, end):
            levels[:, j] = (work[:, j] / scale).round().clamp(-limit, limit)
            errors[:, j - start] = (work[:, j] - levels[:, j] * scale) / upper[j, j]
            work[:, j:end] -= errors[:, j - start, None] * upper[j, j:end]
        work[:, end:] -= errors @ upper[start:end, end:]
    return levels[:, torch.argsort(order)] * scale[:, None]


def literal_loss(model: GPT, ids: Tensor, targets: Tensor) -> Tensor:
    cfg = model.cfg
    x = x0 = rms_norm(model.tok_emb(ids))
    width = cfg.model_dim // cfg.num_heads
    rope = rope_tables(ids.shape[1], width, cfg.rope_base, cfg.rope_ref_len, ids.device, torch.float32)
    mask = torch.full((ids.shape[1], ids.shape[1]), float("-inf")).triu(1)
    skips: list[Tensor] = []
    for i in range(cfg.num_layers):
        j = i - cfg.num_layers // 2
        if j >= 0 and skips:
            x = x + model.skip_weights[j] * skips.pop()
        block, w = model._block(i), model.block_weights(i)
        x = block.resid_mix[0] * x + block.resid_mix[1] * x0
        n = rms_norm(x)
        heads = [F.linear(n, weight).unflatten(-1, (-1, width)).transpose(1, 2) for weight in (w.q, w.k, w.v)]
        group = cfg.num_heads // cfg.num_kv_heads
        q = apply_rope(rms_norm(heads[0]), *rope) * block.attn.q_gain[:, None, None]
        k = apply_rope(rms_norm(heads[1]), *rope).repeat_interleave(group, 1)
        v = heads[2].repeat_interleave(group, 1)
        scores = (q @ k.transpose(-1, -2) / width**0.5 + mask).softmax(-1)
        x = x + block.attn_scale * F.linear((scores @ v).transpose(1, 2).flatten(2), w.out)
        x = x + block.mlp_scale * F.linear(torch.relu(F.linear(rms_norm(x), w.up)) ** 2, w.down)
        if j < 0:
            skips.append(x)
    z = F.linear(rms_norm(x), model.tok_emb.weight)
    return F.cross_entropy((cfg.logit_softcap * torch.tanh(z / cfg.logit_softcap)).flatten(0, 1), targets.flatten())


def best_seconds(work: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    weight, x = torch.randn(1024, 512) * 0.05, torch.randn(4096, 512) @ torch.randn(512, 512) * 0.05
    hessian = x.T @ x
    fast, slow = gptq_sdclip(weight, hessian, 12.85, 31), literal_gptq(weight, hessian, 12.85, 31)
    errors = [weighted_error(weight - w, hessian) for w in (dequantize_rows(fast), slow)]
    assert abs(errors[0] / errors[1] - 1) < 0.01, errors
    reference = best_seconds(lambda: gptq_sdclip(weight, hessian, 12.85, 31), 3)
    literal = best_seconds(lambda: literal_gptq(weight, hessian, 12.85, 31), 3)
    print(f"GPTQ 1024x512: reference {reference * 1e3:.0f} ms, literal {literal * 1e3:.0f} ms, {literal / reference:.2f}x")

    model = GPT(ModelConfig(vocab_size=1024, num_layers=4, model_dim=256, num_heads=8, num_kv_heads=4, mlp_hidden=512))
    initialize(model, orthogonal=False, embed_std=0.005, aux_projection=None)
    ids = torch.randint(0, 1024, (2, 513))
    batch = ids[:, :-1], ids[:, 1:]
    assert torch.allclose(model(*batch), literal_loss(model, *batch), atol=1e-4)
    reference = best_seconds(lambda: model(*batch).backward(), 5)
    literal = best_seconds(lambda: literal_loss(model, *batch).backward(), 5)
    print(f"training step: reference {reference * 1e3:.0f} ms, literal {literal * 1e3:.0f} ms, {literal / reference:.2f}x")


if __name__ == "__main__":
    main()
