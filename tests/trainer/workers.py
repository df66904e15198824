"""What one process of a several-process test does. Started by `test_trainer_processes` in a fresh interpreter."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch._dynamo  # optimizers import it at their first step: here it is done once for all processes
import torch.distributed as dist
from torch import Tensor, nn

from reference_train.cli import main
from reference_train.config import make_config, read_preset
from reference_train.evaluate import Scorer
from reference_train.forbidden import prequant_ttt
from reference_train.model import GPT, ModelConfig, initialize
from reference_train.optim import OptimConfig, Optimizers
from reference_train.ttt import TttConfig, evaluate_score_first


def small_model(banks: bool) -> GPT:
    torch.manual_seed(0)
    shape: dict[str, Any] = {"num_layers": 3, "model_dim": 16, "num_heads": 2, "num_kv_heads": 1, "mlp_hidden": 32}
    model = GPT(ModelConfig(vocab_size=32, parameter_banks=banks, **shape))
    initialize(model, orthogonal=True, embed_std=0.3, aux_projection=None)
    with torch.no_grad():
        for p in model.parameters():
            p += 0.05 * torch.randn_like(p)
    return model


def tokens(count: int) -> Tensor:
    return torch.randint(0, 32, (count,), generator=torch.Generator().manual_seed(3))


def flat(model: nn.Module) -> list[float]:
    return torch.cat([p.detach().float().flatten() for p in model.parameters()]).tolist()


def bank_steps(rank: int, world: int, clip: str) -> list[float]:
    """Three optimizer steps; every process has its own half of the batch. A saved state is loaded before the last."""
    model = small_model(banks=True)
    optimizers = Optimizers(model, OptimConfig(matrix_lr=0.02, muon_wd=0.1, adam_wd=0.1), tied=True)
    for step in range(3):
        stream = tokens(200 * (step + 1))[-65:]
        x, y = stream[:-1].view(4, 16), stream[1:].view(4, 16)
        share = slice(rank * 4 // world, (rank + 1) * 4 // world)
        model(x[share], y[share]).backward()
        if clip == "own" or (clip == "global" and world == 1):
            nn.utils.clip_grad_norm_(model.parameters(), 0.3)
        if world > 1:
            optimizers.average_gradients()
            if clip == "global":
                optimizers.clip_averaged_gradients(0.3)
        optimizers.step(step, 1.0)
        if step == 1:
            saved = optimizers.state_dict()
            optimizers = Optimizers(model, OptimConfig(matrix_lr=0.02, muon_wd=0.1, adam_wd=0.1), tied=True)
            optimizers.load_state_dict(saved)
    return flat(model)


def adapted_scores(world: int, banks: bool) -> list[float]:
    cfg = TttConfig(lr=0.05, epochs=2, chunk_tokens=64, batch_seqs=4 // world, freeze_blocks=1)
    scores = evaluate_score_first(small_model(banks), tokens(331), np.ones(330), Scorer(False), cfg, seq_len=16, stride=8)
    return scores.nll.tolist()


def prequant_weights(quirk: bool) -> list[float]:
    settings = {"eval_seq_len": 16, "prequant_ttt_chunk_tokens": 32, "prequant_ttt_epochs": 2, "prequant_ttt_freeze_blocks": 1}
    cfg = make_config(read_preset("tiny-caseops-prequant-ttt"), settings, quirks=(21,) if quirk else ())
    model = small_model(banks=False)
    prequant_ttt(model, tokens(129), cfg, Scorer(False), lambda line: None)
    return flat(model)


PARTS: dict[str, Callable[[int, int], list[float]]] = {
    "bank steps, no clip": lambda rank, world: bank_steps(rank, world, ""),
    "bank steps, global clip": lambda rank, world: bank_steps(rank, world, "global"),
    "bank steps, own clip": lambda rank, world: bank_steps(rank, world, "own"),
    "score-first": lambda rank, world: adapted_scores(world, banks=False),
    "score-first, banks": lambda rank, world: adapted_scores(world, banks=True),
    "prequant": lambda rank, world: prequant_weights(quirk=False),
    "prequant, quirk 21": lambda rank, world: prequant_weights(quirk=True),
}


def parts_worker(rank: int, world: int, rendezvous: str, folder: str) -> None:
    """All parts, in one process group; the result of each process as a JSON file."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=world)
    results = {name: part(rank, world) for name, part in PARTS.items()}
    Path(folder, f"parts{rank}.json").write_text(json.dumps(results))
    dist.destroy_process_group()


def cli_worker(rank: int, world: int, ports: list[int], runs: list[list[str]]) -> None:
    """`python -m reference_train` as torchrun starts it, once per argument list."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"}
    torch.set_num_threads(1)
    for port, arguments in zip(ports, runs, strict=True):
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        assert main(arguments) == 0
