"""From the settings of a run to its model, in the weights and precisions it starts with."""

from __future__ import annotations

from typing import cast

import torch
from torch import nn

from reference_train.attention import find_flash_attention
from reference_train.config import Config
from reference_train.model import GPT, ModelConfig, initialize
from reference_train.optim import OptimConfig, group_parameters


def compute_dtype(cfg: Config, device: torch.device) -> torch.dtype:
    if cfg.compute_dtype == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return torch.bfloat16 if cfg.compute_dtype == "bfloat16" else torch.float32


def model_config(cfg: Config) -> ModelConfig:
    return ModelConfig(
        vocab_size=cfg.vocab_size,
        num_layers=cfg.num_layers,
        model_dim=cfg.model_dim,
        num_heads=cfg.num_heads,
        num_kv_heads=cfg.num_kv_heads,
        mlp_hidden=int(cfg.mlp_mult * cfg.model_dim),
        negative_slope=cfg.leaky_slope,
        tie_embeddings=cfg.tie_embeddings,
        logit_softcap=cfg.logit_softcap,
        rope_base=cfg.rope_base,
        rope_dims=cfg.rope_dims,
        rope_ref_len=1024 if cfg.has(11) else cfg.train_seq_len,
        qk_gain_init=cfg.qk_gain_init,
        ln_scale=cfg.ln_scale,
        xsa_last_n=cfg.xsa_last_n,
        skip_gates=cfg.skip_gates_enabled,
        ve_dim=cfg.ve_dim if cfg.ve_enabled and cfg.ve_layers else 0,
        ve_layers=cfg.ve_layers if cfg.ve_enabled else (),
        value_residual=cfg.vrl_enabled,
        smear_gate=cfg.smear_gate,
        bigram_rows=cfg.bigram_vocab_size,
        bigram_dim=cfg.bigram_dim if cfg.bigram_vocab_size else 0,
        recur_layers=cfg.recur_layers,
        num_loops=cfg.num_loops,
        loop_start=cfg.loop_start,
        loop_end=cfg.loop_end,
        lanes_from=cfg.parallel_start_layer,
        parallel_from=cfg.parallel_residual_start,
        parameter_banks=cfg.parameter_banks,
        bos_id=None if cfg.has(14) else cfg.bos_id,
        dead_skips=cfg.has(10),
    )


def build_model(cfg: Config, device: torch.device) -> GPT:
    """A freshly initialized model; the same seed gives the same weights."""
    torch.manual_seed(cfg.seed)
    model = GPT(model_config(cfg))
    # In PR 1405 the overwritten projections also got the residual factor 1/sqrt(2L) (quirk 9).
    gain = (2 * cfg.num_layers) ** -0.5 if cfg.vrl_enabled else 1.0
    initialize(
        model,
        orthogonal=cfg.orthogonal_init,
        embed_std=cfg.tied_embed_init_std,
        aux_projection=gain if cfg.has(9) else None,
    )
    if cfg.bf16_embeddings:
        # The submitted systems keep embedding tables, their gradients and Adam moments in bf16, and round all other
        # initial weights through it once.
        tables = group_parameters(model).embeddings
        for name, p in model.named_parameters():
            p.data = p.data.bfloat16() if name in tables else p.data.bfloat16().float()
    model.use_flash_attention(find_flash_attention(cfg.attention, device, compute_dtype(cfg, device)))
    return model.to(device)


def optim_config(cfg: Config) -> OptimConfig:
    return OptimConfig(
        matrix_lr=cfg.matrix_lr,
        scalar_lr=cfg.scalar_lr,
        tied_embed_lr=cfg.tied_embed_lr,
        embed_lr=cfg.embed_lr,
        head_lr=cfg.head_lr,
        muon_wd=cfg.muon_wd,
        embed_wd=cfg.embed_wd,
        adam_wd=cfg.adam_wd,
        muon_momentum=cfg.muon_momentum,
        muon_momentum_warmup_start=cfg.muon_momentum_warmup_start,
        muon_momentum_warmup_steps=cfg.muon_momentum_warmup_steps,
        muon_backend_steps=cfg.muon_backend_steps,
        row_normalize=cfg.muon_row_normalize,
        beta1=cfg.beta1,
        beta2=cfg.beta2,
        adam_eps=cfg.adam_eps,
    )


def compile_model(model: nn.Module) -> nn.Module:
    """One graph per combination of flags (recurrence, late QAT, training); both are compiled during warmup."""
    import torch._dynamo

    torch._dynamo.config.recompile_limit = 32
    torch._dynamo.config.optimize_ddp = False
    return cast("nn.Module", torch.compile(model, dynamic=False, fullgraph=True))
