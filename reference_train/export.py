"""Quantize a trained model into a payload of tensors and plain data, and load it back.

Routing by name, as submitted: small tensors and controls stay floating point, matrices of attention and MLP get the
matrix quantizer, embedding tables get the embedding quantizer. Banks are exported as the matrices they hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from reference_train.errors import TrainerError
from reference_train.gptq import gptq_one_percentile, gptq_percentile, gptq_sdclip
from reference_train.optim import is_control
from reference_train.quant import Quantized, dequantize_rows, quantize_int8, quantize_percentile, quantize_sdclip

PAYLOAD_FORMAT = "reference-train-payload-1"
MATRIX_QUANTIZERS = ("int8", "percentile", "sdclip", "gptq_sdclip", "gptq_percentile", "gptq_one_percentile")
EMBED_QUANTIZERS = ("int8", "sdclip", "gptq_sdclip")


@dataclass(frozen=True, kw_only=True)
class QuantConfig:
    matrix_quantizer: str = "int8"
    embed_quantizer: str = "int8"
    matrix_levels: int = 31
    """Largest level: 31 for the 6-bit range, 20 for the "int6" of PR 1242."""
    embed_levels: int = 127
    matrix_sigmas: float = 12.85
    embed_sigmas: float = 20.0
    passthrough_numel: int = 65_536
    """Tensors up to this size are stored as floats."""
    quirks: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        for name, value, known in (
            ("MATRIX_QUANTIZER", self.matrix_quantizer, MATRIX_QUANTIZERS),
            ("EMBED_QUANTIZER", self.embed_quantizer, EMBED_QUANTIZERS),
        ):
            if value not in known:
                raise TrainerError(f"unknown {name} {value!r}: use one of {', '.join(known)}")

    @property
    def needs_hessians(self) -> bool:
        return "gptq" in self.matrix_quantizer or "gptq" in self.embed_quantizer


BANK_PARTS = {
    "qo_bank": ("attn.c_q", "attn.proj"),
    "kv_bank": ("attn.c_k", "attn.c_v"),
    "mlp_up_bank": ("mlp.fc",),
    "mlp_down_bank": ("mlp.proj",),
}


def split_banks(state: dict[str, Tensor]) -> dict[str, Tensor]:
    out: dict[str, Tensor] = {}
    for name, tensor in state.items():
        parts = BANK_PARTS.get(name)
        if parts is None:
            out[name] = tensor
            continue
        layers = len(tensor) // len(parts)
        for p, part in enumerate(parts):
            out |= {f"blocks.{i}.{part}.weight": tensor[p * layers + i] for i in range(layers)}
    return out


def join_banks(state: dict[str, Tensor], template: dict[str, Tensor]) -> dict[str, Tensor]:
    out: dict[str, Tensor] = {}
    for name, like in template.items():
        parts = BANK_PARTS.get(name)
        if parts is None:
            out[name] = state[name]
        else:
            layers = len(like) // len(parts)
            out[name] = torch.stack([state[f"blocks.{i}.{part}.weight"] for part in parts for i in range(layers)])
    return out


def quantize_state(state: dict[str, Tensor], hessians: dict[str, Tensor], cfg: QuantConfig) -> dict[str, Any]:
    """Payload: {"format", "tensors": {name: {"kind", "values"[, "scale"]}}}."""
    tensors: dict[str, Any] = {}
    for name, tensor in split_banks(state).items():
        tensor = tensor.detach().cpu()
        if not tensor.is_floating_point():
            tensors[name] = {"kind": "exact", "values": tensor}
        elif is_control(name) or tensor.numel() <= cfg.passthrough_numel or tensor.ndim != 2:
            wide = is_control(name) and 15 not in cfg.quirks
            tensors[name] = {"kind": "float", "values": tensor.float() if wide else tensor.half()}
        else:
            kind, q = _quantize_one(name, tensor.float(), hessians, cfg)
            tensors[name] = {"kind": kind, "values": q.values, "scale": q.scale}
    return {"format": PAYLOAD_FORMAT, "tensors": tensors}


def _quantize_one(name: str, weight: Tensor, hessians: dict[str, Tensor], cfg: QuantConfig) -> tuple[str, Quantized]:
    quirks = cfg.quirks
    table = name.endswith((".embed.weight", "tok_emb.weight", "lm_head.weight"))
    method = cfg.embed_quantizer if table else cfg.matrix_quantizer
    sigmas = cfg.embed_sigmas if table else cfg.matrix_sigmas
    limit = cfg.embed_levels if table else cfg.matrix_levels
    if method.startswith("gptq") and name not in hessians:
        # Tables without a linear layer behind them (bigram, value embedding) see no input, so nothing can be balanced.
        method = "sdclip"
    if method == "int8":
        return "int8 row quantile", quantize_int8(weight, unrounded_scale=3 in quirks, floor=4 in quirks)
    if method == "percentile":
        return f"percentile R={limit}", quantize_percentile(weight, limit, floor=4 in quirks)
    if method == "sdclip":
        return f"sdclip R={limit}", quantize_sdclip(weight, sigmas, limit, floor=2 in quirks, unrounded_scale=3 in quirks)
    hessian = hessians[name]
    if method == "gptq_sdclip":
        return f"gptq sdclip R={limit}", gptq_sdclip(weight, hessian, sigmas, limit, floor=2 in quirks)
    if method == "gptq_one_percentile":
        return f"gptq one percentile R={limit}", gptq_one_percentile(weight, hessian, limit, floor=4 in quirks)
    return f"gptq percentile R={limit}", gptq_percentile(
        weight, hessian, limit, floor=4 in quirks, double_damping=5 in quirks, plain_mse=18 in quirks
    )


def dequantize_state(payload: dict[str, Any], template: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights in the template's names, shapes and dtypes; a missing or extra tensor is an error."""
    if payload.get("format") != PAYLOAD_FORMAT:
        raise TrainerError(f"payload format {payload.get('format')!r}, expected {PAYLOAD_FORMAT!r}: write the artifact again")
    flat = split_banks(template)
    entries: dict[str, Any] = payload["tensors"]
    if flat.keys() != entries.keys():
        odd = sorted(flat.keys() ^ entries.keys())[:3]
        raise TrainerError(f"artifact and model differ in {', '.join(odd)}: build the model with the artifact's preset")
    out: dict[str, Tensor] = {}
    for name, like in flat.items():
        entry = entries[name]
        values = dequantize_rows(Quantized(entry["values"], entry["scale"])) if "scale" in entry else entry["values"]
        if values.shape != like.shape:
            raise TrainerError(f"{name}: shape {tuple(values.shape)} in the artifact, {tuple(like.shape)} in the model")
        out[name] = values.to(like.dtype)
    return join_banks(out, template)


def prune_smallest(payload: dict[str, Any], count: int) -> int:
    """Zero the `count` entries of ±1 that cost least (s² of their row); returns how many were there to take."""
    places: list[tuple[str, Tensor]] = []
    costs: list[Tensor] = []
    for name, entry in payload["tensors"].items():
        if "scale" in entry and not name.endswith((".embed.weight", "tok_emb.weight", "lm_head.weight")):
            index = (entry["values"].abs() == 1).nonzero()
            places.append((name, index))
            costs.append(entry["scale"].float()[index[:, 0]].square())
    if not costs:
        return 0
    chosen = torch.zeros(sum(len(cost) for cost in costs), dtype=torch.bool)
    chosen[torch.argsort(torch.cat(costs), stable=True)[:count]] = True
    start = 0
    for name, index in places:
        rows = index[chosen[start : start + len(index)]]
        payload["tensors"][name]["values"][rows[:, 0], rows[:, 1]] = 0
        start += len(index)
    return int(chosen.sum())
