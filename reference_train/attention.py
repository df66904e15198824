"""Causal attention: FlashAttention where its package and a fitting GPU are there, PyTorch's own kernel elsewhere.

Both compute softmax(QKᵀ/√d)V over the past, so their results agree to the rounding of the 16-bit inputs. The package
is imported only when a GPU could use it: without the `gpu` extra nothing is missed.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from reference_train.errors import TrainerError

FlashFunction = Callable[..., Tensor | tuple[Tensor, ...]]
"""flash_attn_func(q, k, v, causal=...) with [B, T, heads, d] tensors; the Hopper version may return (out, lse)."""

FLASH_PACKAGES = {9: ("flash_attn_interface", "flash_attn"), 8: ("flash_attn",)}
"""By the major compute capability: Hopper has FlashAttention 3 as well, Ampere and Ada have version 2."""


def find_flash_attention(kind: str, device: torch.device, dtype: torch.dtype) -> FlashFunction | None:
    """The FlashAttention function to use, None for PyTorch's kernel. "flash" makes its absence an error."""
    if kind == "sdpa":
        return None
    why = f"it needs a GPU and 16-bit inputs, this run has {device.type} and {str(dtype).removeprefix('torch.')}"
    if device.type == "cuda" and dtype in (torch.float16, torch.bfloat16):
        major = torch.cuda.get_device_capability(device)[0]
        why = f"no FlashAttention package is known for compute capability {major}.x"
        for package in FLASH_PACKAGES.get(major, ()):
            try:
                function: FlashFunction = importlib.import_module(package).flash_attn_func
                return function
            except ImportError as problem:
                why = f"{package} cannot be imported ({problem}); install the extra `gpu`"
    if kind == "flash":
        raise TrainerError(f"ATTENTION=flash is not possible: {why}, or use ATTENTION=auto")
    return None


def causal_attention(q: Tensor, k: Tensor, v: Tensor, flash: FlashFunction | None = None) -> Tensor:
    """Attention of q [B, H, T, d] over k, v [B, K, T, d]; query head h reads key head h // (H/K)."""
    if flash is None:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=q.shape[1] != k.shape[1])
    out = flash(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), causal=True)
    return (out[0] if isinstance(out, tuple) else out).transpose(1, 2)
