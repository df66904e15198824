"""Arithmetic of a training step, and which share of the GPU's peak it reaches (model FLOPs utilization, MFU)."""

from __future__ import annotations

from reference_train.model import ModelConfig

PEAK_FLOPS = {"H200": 989.4e12, "H100": 989.4e12, "A100": 312e12, "L40S": 362e12, "4090": 165.2e12}
"""Dense bf16 peaks of the vendors' data sheets, in FLOP/s, by a word of the device's name. The SXM form is meant."""


def train_flops_per_token(cfg: ModelConfig, seq_len: int, recurrence: bool) -> float:
    """6 per multiplied weight and token, 12 L D T for attention (Chowdhery et al., arXiv 2204.02311, appendix B).

    Layers that run twice count twice. The causal half of the scores is not discounted, as is the convention.
    """
    dim, layers = cfg.model_dim, len(cfg.layer_order(recurrence))
    block = 2 * dim * dim + 2 * cfg.kv_dim * dim + 2 * cfg.mlp_hidden * dim
    weights = layers * block + cfg.vocab_size * dim + dim * cfg.bigram_dim + cfg.kv_dim * cfg.ve_dim
    return 6.0 * weights + 12.0 * layers * dim * seq_len


def peak_flops(device_name: str) -> float | None:
    """Peak of a known GPU; None for one whose data sheet is not in the table."""
    return next((peak for word, peak in PEAK_FLOPS.items() if word in device_name), None)


def describe_throughput(tokens_per_second: float, flops_per_token: float, device_name: str, devices: int) -> str:
    """One log line. Without a known peak the utilization is left out rather than guessed."""
    achieved = tokens_per_second * flops_per_token
    line = f"throughput: tok/s: {tokens_per_second:.0f} model_tflops: {achieved / 1e12:.3f}"
    peak = peak_flops(device_name)
    return f"{line} mfu: {achieved / (peak * devices):.1%}" if peak else line
