# mypy: disable-error-code="import-not-found, misc"
"""FlashAttention's Python interfaces, computed by torch's own attention on the CPU.

Covers `flash_attn`, `flash_attn_interface` and modules that the `kernels` package fetches under such names. Layout as there: (batch, time, heads, width), grouped
heads, causal mask aligned to the last key, sliding windows, packed sequences by cumulative lengths.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import torch
import torch.nn.attention
import torch.nn.functional as F

from verifier.execution.child.recorder import Recorder


def attend(q: Any, k: Any, v: Any, *, causal: bool, scale: float | None, window: tuple[int, int]) -> Any:
    """Attention of (batch, time, heads, width) tensors."""
    groups = q.shape[2] // k.shape[2]
    if groups > 1:
        k = k.repeat_interleave(groups, dim=2)
        v = v.repeat_interleave(groups, dim=2)
    queries, keys = q.shape[1], k.shape[1]
    mask = None
    if window != (-1, -1) or (causal and queries != keys):
        row = torch.arange(queries).unsqueeze(1) + (keys - queries)
        column = torch.arange(keys).unsqueeze(0)
        mask = torch.ones(queries, keys, dtype=torch.bool)
        if causal:
            mask &= column <= row
        if window[0] >= 0:
            mask &= column >= row - window[0]
        if window[1] >= 0:
            mask &= column <= row + window[1]
    out = F.scaled_dot_product_attention(
        q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), attn_mask=mask, is_causal=causal and mask is None, scale=scale
    )
    return out.transpose(1, 2).contiguous()


def make_module(name: str, recorder: Recorder) -> ModuleType:
    """A module with the functions that scripts import from a FlashAttention package."""
    module: Any = ModuleType(name)

    def flash_attn_func(q: Any, k: Any, v: Any, dropout_p: float = 0.0, softmax_scale: float | None = None, causal: bool = False,
                        window_size: Any = (-1, -1), softcap: float = 0.0, return_attn_probs: bool = False, **rest: Any) -> Any:  # fmt: skip
        recorder.mapped(f"{name}.flash_attn_func", "scaled_dot_product_attention on the CPU")
        if softcap or return_attn_probs:
            raise recorder.not_supported(f"{name}.flash_attn_func(softcap or probabilities)")
        return attend(q, k, v, causal=causal, scale=softmax_scale, window=tuple(window_size))

    def flash_attn_varlen_func(q: Any, k: Any, v: Any, cu_seqlens_q: Any = None, cu_seqlens_k: Any = None, max_seqlen_q: Any = None,
                               max_seqlen_k: Any = None, dropout_p: float = 0.0, softmax_scale: float | None = None,
                               causal: bool = False, window_size: Any = (-1, -1), **rest: Any) -> Any:  # fmt: skip
        recorder.mapped(f"{name}.flash_attn_varlen_func", "scaled_dot_product_attention per sequence")
        starts_q, starts_k = cu_seqlens_q.tolist(), cu_seqlens_k.tolist()
        parts = []
        for number in range(len(starts_q) - 1):
            a, b, c, d = starts_q[number], starts_q[number + 1], starts_k[number], starts_k[number + 1]
            if b > a:
                one = attend(
                    q[None, a:b], k[None, c:d], v[None, c:d], causal=causal, scale=softmax_scale, window=tuple(window_size)
                )
                parts.append(one[0])
        if starts_q[-1] < q.shape[0]:
            parts.append(torch.zeros_like(q[starts_q[-1] :]))
        return torch.cat(parts)

    def flash_attn_qkvpacked_func(qkv: Any, *args: Any, **kwargs: Any) -> Any:
        return flash_attn_func(qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2], *args, **kwargs)

    module.flash_attn_func = flash_attn_func
    module.flash_attn_varlen_func = flash_attn_varlen_func
    module.flash_attn_qkvpacked_func = flash_attn_qkvpacked_func
    module.__version__ = "2.8.0"
    module.__spec__ = ModuleSpec(name, None, is_package=True)
    module.__path__ = []
    made: ModuleType = module
    return made


def install(recorder: Recorder) -> None:
    for name in ("flash_attn", "flash_attn_interface", "flash_attn_3", "flash_attn_2", "hopper", "fa3"):
        sys.modules[name] = make_module(name, recorder)
    for parent, child in (
        ("flash_attn", "flash_attn_interface"),
        ("flash_attn_3", "flash_attn_interface"),
        ("hopper", "flash_attn_interface"),
    ):
        inner = make_module(f"{parent}.{child}", recorder)
        sys.modules[f"{parent}.{child}"] = inner
        setattr(sys.modules[parent], child, inner)
    _let_torch_choose(recorder)
    kernels: Any = ModuleType("kernels")
    kernels.__spec__ = ModuleSpec("kernels", None)

    def get_kernel(repository: str, *args: Any, **kwargs: Any) -> ModuleType:
        if "flash" not in repository:
            raise recorder.not_supported(f"kernels.get_kernel({repository})")
        recorder.mapped(f"kernels.get_kernel({repository})", "the same functions as flash_attn")
        module: Any = make_module(repository, recorder)
        module.flash_attn_interface = module
        interface: ModuleType = module
        return interface

    kernels.get_kernel = get_kernel
    sys.modules["kernels"] = kernels


def _let_torch_choose(recorder: Recorder) -> None:
    """Choices among attention kernels of the GPU mean nothing on a CPU, where they would forbid the only ones there are."""

    @contextlib.contextmanager
    def sdpa_kernel(*args: Any, **kwargs: Any) -> Iterator[None]:
        recorder.mapped("torch.nn.attention.sdpa_kernel", "torch's own choice")
        yield

    attention: Any = torch.nn.attention
    attention.sdpa_kernel = sdpa_kernel
    backends: Any = torch.backends.cuda
    backends.sdp_kernel = sdpa_kernel
    for name in ("enable_flash_sdp", "enable_mem_efficient_sdp", "enable_math_sdp", "enable_cudnn_sdp"):
        setattr(backends, name, lambda enabled: None)
