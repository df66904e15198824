"""Speed of the reference against a plain, literal rendering of the same math, in one run on the same machine.

    python tests/benchmarks/bench_trainer.py

The literal forms follow the formulas one by one: GPTQ updates the row-major work matrix column by column within
blocks of 128, attention builds its score matrix, key and value heads are repeated, Muon takes one matrix after the
other. Both sides are timed in turn, so that a busy machine slows both; the best of each counts.

On a GPU it also times the baseline preset's step as the reference runs it (compiled, fused attention) and as the
challenge's baseline does (compiled literal formulas), and prints tokens/s and MFU of both.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from reference_train.build import build_model, compile_model, optim_config
from reference_train.config import make_config, read_preset
from reference_train.gptq import gptq_percentile, gptq_sdclip, weighted_error
from reference_train.layers import apply_rope, rms_norm, rope_tables
from reference_train.model import GPT, ModelConfig, initialize
from reference_train.newton_schulz import NEWTON_SCHULZ
from reference_train.optim import OptimConfig, Optimizers
from reference_train.quant import PERCENTILES, dequantize_rows, row_clip_quantile, scale_from_clip, sdclip_scale
from reference_train.throughput import describe_throughput, train_flops_per_token


def literal_gptq(weight: Tensor, hessian: Tensor, scale: Tensor, limit: int) -> Tensor:
    h = hessian.clone()
    h.diagonal().add_(0.01 * h.diagonal().mean())
    order = torch.argsort(h.diagonal(), descending=True)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(h[order][:, order]))
    upper = torch.linalg.cholesky(inverse, upper=True)
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


def literal_gptq_percentile(weight: Tensor, hessian: Tensor, limit: int) -> Tensor:
    scales = [scale_from_clip(row_clip_quantile(weight, p), limit, False).float() for p in PERCENTILES]
    return min((literal_gptq(weight, hessian, s, limit) for s in scales), key=lambda w: weighted_error(weight - w, hessian))


def literal_loss(model: GPT, ids: Tensor, targets: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    cfg = model.cfg
    x = x0 = rms_norm(model.tok_emb(ids).to(dtype))
    width = cfg.model_dim // cfg.num_heads
    rope = rope_tables(ids.shape[1], width, cfg.rope_base, cfg.rope_ref_len, ids.device, dtype)
    mask = torch.full((ids.shape[1], ids.shape[1]), float("-inf"), device=ids.device).triu(1)
    skips: list[Tensor] = []
    for i in range(cfg.num_layers):
        j = i - cfg.num_layers // 2
        if j >= 0 and skips:
            x = x + model.skip_weights[j].to(dtype) * skips.pop()
        block, w = model._block(i), [weight.to(dtype) for weight in model.block_weights(i)]
        mix = block.resid_mix.to(dtype)
        x = mix[0] * x + mix[1] * x0
        n = rms_norm(x)
        heads = [F.linear(n, weight).unflatten(-1, (-1, width)).transpose(1, 2) for weight in w[:3]]
        group = cfg.num_heads // cfg.num_kv_heads
        q = apply_rope(rms_norm(heads[0]), *rope) * block.attn.q_gain.to(dtype)[:, None, None]
        k = apply_rope(rms_norm(heads[1]), *rope).repeat_interleave(group, 1)
        v = heads[2].repeat_interleave(group, 1)
        scores = (q @ k.transpose(-1, -2) / width**0.5 + mask.to(dtype)).softmax(-1)
        x = x + block.attn_scale.to(dtype) * F.linear((scores @ v).transpose(1, 2).flatten(2), w[3])
        x = x + block.mlp_scale.to(dtype) * F.linear(torch.relu(F.linear(rms_norm(x), w[4])) ** 2, w[5])
        if j < 0:
            skips.append(x)
    z = F.linear(rms_norm(x), model.tok_emb.weight.to(dtype))
    logits = cfg.logit_softcap * torch.tanh(z / cfg.logit_softcap)
    return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())


class LiteralOptimizer:
    """Muon and AdamW by their formulas, one parameter after the other."""

    def __init__(self, model: GPT, cfg: OptimConfig) -> None:
        self._cfg, self._params = cfg, dict(model.named_parameters())
        self._state = {name: [torch.zeros_like(p), torch.zeros_like(p)] for name, p in self._params.items()}
        self._steps = 0

    @torch.no_grad()
    def step(self) -> None:
        cfg, (a, b, c) = self._cfg, NEWTON_SCHULZ
        self._steps += 1
        for name, p in self._params.items():
            assert p.grad is not None
            first, second = self._state[name]
            if p.ndim == 2 and "resid_mix" not in name and "skip" not in name and "emb" not in name:
                first.mul_(cfg.muon_momentum).add_(p.grad)
                update = p.grad + cfg.muon_momentum * first
                x = update.bfloat16()
                x = x / (x.norm() + 1e-7)
                x = x.T if len(update) > update.shape[1] else x
                for _ in range(cfg.muon_backend_steps):
                    gram = x @ x.T
                    x = a * x + (b * gram + c * gram @ gram) @ x
                x = x.T if len(update) > update.shape[1] else x
                p.sub_(cfg.matrix_lr * x.float() * max(1, len(update) / update.shape[1]) ** 0.5)
            else:
                rate = cfg.tied_embed_lr if "emb" in name else cfg.scalar_lr
                first.mul_(cfg.beta1).add_((1 - cfg.beta1) * p.grad)
                second.mul_(cfg.beta2).add_((1 - cfg.beta2) * p.grad**2)
                mean, square = first / (1 - cfg.beta1**self._steps), second / (1 - cfg.beta2**self._steps)
                p.sub_(rate * mean / (square.sqrt() + cfg.adam_eps))
            p.grad = None


def best_in_turn(works: list[Callable[[], object]], repeats: int) -> list[float]:
    """Best seconds of each, measured in alternation. On a CPU, where one thread works, only its own time counts."""
    now = time.perf_counter if torch.cuda.is_available() else time.process_time
    times: list[list[float]] = [[] for _ in works]
    for _ in range(repeats):
        for work, seconds in zip(works, times, strict=True):
            start = now()
            work()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            seconds.append(now() - start)
    return [min(seconds) for seconds in times]


def report(name: str, times: list[float], wanted: float) -> None:
    ratio = times[1] / times[0]
    verdict = "" if ratio >= wanted else f"  BELOW {wanted:.1f}x"
    print(f"{name}: reference {times[0] * 1e3:.0f} ms, literal {times[1] * 1e3:.0f} ms, {ratio:.2f}x{verdict}")


def bench_gptq() -> None:
    for rows, columns in ((512, 512), (256, 512), (2048, 512), (512, 1536), (512, 2048)):
        weight = torch.randn(rows, columns) * 0.05
        x = torch.randn(2 * columns, columns) @ torch.randn(columns, columns) * 0.05
        hessian, scale = x.T @ x, sdclip_scale(weight, 12.85, 31).float()
        found = dequantize_rows(gptq_sdclip(weight, hessian, 12.85, 31))
        errors = [weighted_error(weight - w, hessian) for w in (found, literal_gptq(weight, hessian, scale, 31))]
        assert abs(errors[0] / errors[1] - 1) < 0.01, errors
        works: list[Callable[[], object]] = [
            lambda w=weight, h=hessian: gptq_sdclip(w, h, 12.85, 31),  # type: ignore[misc]
            lambda w=weight, h=hessian, s=scale: literal_gptq(w, h, s, 31),  # type: ignore[misc]
        ]
        report(f"GPTQ {rows}x{columns}", best_in_turn(works, 3), 3.0)
        if (rows, columns) == (512, 512):
            works = [
                lambda w=weight, h=hessian: gptq_percentile(w, h, 31),  # type: ignore[misc]
                lambda w=weight, h=hessian: literal_gptq_percentile(w, h, 31),  # type: ignore[misc]
            ]
            report("GPTQ 512x512, five percentiles", best_in_turn(works, 2), 3.0)


def bench_step() -> None:
    cfg = ModelConfig(vocab_size=1024, num_layers=4, model_dim=256, num_heads=8, num_kv_heads=4, mlp_hidden=512)
    ids = torch.randint(0, 1024, (2, 513))
    x, y = ids[:, :-1], ids[:, 1:]
    models = []
    for _ in range(2):
        torch.manual_seed(0)
        models.append(GPT(cfg))
        initialize(models[-1], orthogonal=False, embed_std=0.005, aux_projection=None)
    reference, literal = models
    assert torch.allclose(reference(x, y), literal_loss(literal, x, y), atol=1e-4)
    optimizers = Optimizers(reference, OptimConfig(muon_momentum_warmup_steps=0), tied=True)
    by_formula = LiteralOptimizer(literal, OptimConfig())

    def reference_step() -> None:
        reference(x, y).backward()
        optimizers.step(0, 1.0)

    def literal_step() -> None:
        literal_loss(literal, x, y).backward()
        by_formula.step()

    report("training step (forward, backward, optimizers)", best_in_turn([reference_step, literal_step], 8), 1.0)
    drift = max((a - b).abs().max().item() for a, b in zip(reference.parameters(), literal.parameters(), strict=True))
    assert drift < 0.1, drift


def bench_gpu() -> None:
    device = torch.device("cuda")
    cfg = make_config(read_preset("baseline"), {})
    batch = cfg.train_batch_tokens // 8
    ids = torch.randint(0, cfg.vocab_size, (batch // cfg.train_seq_len, cfg.train_seq_len + 1), device=device)
    x, y = ids[:, :-1].contiguous(), ids[:, 1:].contiguous()
    flops = train_flops_per_token(build_model(cfg, device).cfg, cfg.train_seq_len, False)
    name = torch.cuda.get_device_name(device)
    for label in ("reference", "baseline as written"):
        model = build_model(cfg, device)
        optimizers = Optimizers(model, optim_config(cfg), tied=True, compiled=True)
        forward = compile_model(model) if label == "reference" else torch.compile(literal_loss, dynamic=False)

        def step(forward: Callable[..., Tensor] = forward, model: GPT = model, optimizers: Optimizers = optimizers) -> None:
            if isinstance(forward, torch.nn.Module):
                loss = forward(x, y, dtype=torch.bfloat16)
            else:
                loss = forward(model, x, y, torch.bfloat16)
            loss.backward()
            optimizers.step(0, 1.0)

        for _ in range(3):
            step()
        print(f"{label}: {describe_throughput(batch / best_in_turn([step], 10)[0], flops, name, 1)}")


def main() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    bench_gptq()
    bench_step()
    if torch.cuda.is_available():
        bench_gpu()
    else:
        print("no GPU: tokens/s and MFU were not measured")


if __name__ == "__main__":
    main()
