"""Log texts in the two dialects, written for the tests."""

from __future__ import annotations

SEPARATOR = "=" * 100


def classic(
    seed: int | None = 42,
    *,
    train_ms: int = 600_032,
    steps: int = 6_000,
    world_size: int = 8,
    body: str = "",
    tail: str = "",
    final: str = "final_int8_zlib_roundtrip",
    loss: str = "1.9512",
    bpb: str = "1.1556",
    eval_ms: int = 2_150,
) -> str:
    """A run in the classic dialect. `body` stands between training and the final metric, `tail` after it."""
    lines = [
        "logs/run.txt",
        "val_bpb:enabled tokenizer_kind=sentencepiece tokenizer_path=./data/tokenizers/fineweb_1024_bpe.model",
        "train_loader:dataset:fineweb10B_sp1024 train_shards:80",
        "val_loader:shards pattern=./data/datasets/fineweb10B_sp1024/fineweb_val_*.bin tokens:62021632",
        "model_params:17059912",
        f"world_size:{world_size} grad_accum_steps:1",
        "train_batch_tokens:524288 train_seq_len:1024 iterations:20000 warmup_steps:20 max_wallclock_seconds:600.000",
    ]
    if seed is not None:
        lines.append(f"seed:{seed}")
    lines.append("warmup_step:1/20")
    for at in range(8):
        step = 1 + at * (steps - 1) // 8
        lines.append(
            f"step:{step}/20000 train_loss:{6.9 - at * 0.6:.4f} train_time:{train_ms * step // steps}ms step_avg:{train_ms / steps:.2f}ms"
        )
    lines += [
        f"step:{steps}/20000 val_loss:2.0100 val_bpb:1.1900 train_time:{train_ms}ms step_avg:{train_ms / steps:.2f}ms",
        f"stopping_early: wallclock_cap train_time:{train_ms}ms step:{steps}/20000",
        "peak memory allocated: 10120 MiB reserved: 10588 MiB",
        "Serialized model: 67224983 bytes",
        "Code size: 47642 bytes",
        "Total submission size: 67272625 bytes",
    ]
    lines += [body] if body else []
    lines += [
        "Serialized model int8+zlib: 15815847 bytes (payload:17178912 raw_torch:17224025 payload_ratio:3.91x)",
        "Total submission size int8+zlib: 15863489 bytes",
        f"{final} val_loss:{loss} val_bpb:{bpb} eval_time:{eval_ms}ms",
        f"{final}_exact val_loss:{loss}1122 val_bpb:{bpb}3344",
    ]
    lines += [tail] if tail else []
    return "\n".join(lines) + "\n"


def modern(
    seed: int = 42,
    *,
    train_ms: int = 588_044,
    reserve: str = "gptq:reserving 12s, effective=588000ms",
    body: str = "GPTQ:collecting Hessians from calibration data...\nGPTQ:collected 67 Hessians in 11.3s",
    settings: tuple[str, ...] = (),
    tail: str = "",
) -> str:
    """A run in the modern dialect with its hyperparameter dump."""
    dump = [
        "  data_dir: ./data/",
        "  gptq_reserve_seconds: 12.0",
        "  iterations: 20000",
        f"  seed: {seed}",
        "  tokenizer_path: ./data/tokenizers/fineweb_8192_bpe.model",
        "  ttt_enabled: False",
        "  val_loss_every: 4000",
        "  world_size: 8",
        *settings,
    ]
    steps = [
        f"{step}/20000 train_loss: {9.0 - step / 1000:.4f} train_time: {step / 500:.1f}m tok/s: 6912345"
        for step in range(500, 4600, 500)
    ]
    lines = [
        "Hyperparameters:",
        *dump,
        "train_shards: 128",
        "val_tokens: 40540160",
        "model_params:35944536",
        reserve,
        *steps,
        "4585/20000 val_loss: 2.8104 val_bpb: 1.0881",
        f"stopping_early: wallclock_cap train_time: {train_ms}ms step: 4585/20000",
        "pre-quantization post-ema val_loss:2.80884157 val_bpb:1.08739010 eval_time:1988ms",
        "Serialized model: 135431033 bytes",
        "Code size (uncompressed): 86046 bytes",
        "Code size (compressed): 21046 bytes",
        body,
        "Serialized model quantized+brotli: 15971463 bytes",
        "Total submission size quantized+brotli: 15992509 bytes",
        "quantized val_loss:2.85199103 val_bpb:1.10409460 eval_time:8340ms",
        "quantized_sliding_window val_loss:2.80849403 val_bpb:1.08725556 eval_time:79162ms",
    ]
    return "\n".join(line for line in [*lines, tail] if line) + "\n"
