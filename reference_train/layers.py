"""The layers of the model. Every option of the submitted systems is an explicit argument, none a global switch."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reference_train.attention import FlashFunction, causal_attention

RMS_EPS = 1.1920928955078125e-7
"""Machine epsilon of float32: what rms_norm uses inside, whatever the dtype of its input."""

Tap = Callable[[str, Tensor], None]
"""Observer of layer inputs (name of the weight, input): how Hessians are collected."""


def rms_norm(x: Tensor) -> Tensor:
    """x / sqrt(mean(x²)) over the last dimension, computed in fp32, returned in the input's dtype."""
    wide = x.float()
    return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + RMS_EPS)).to(x.dtype)


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """Weights are kept in fp32 and cast to the activations' dtype at use."""
    return F.linear(x, weight.to(x.dtype))


def rope_tables(
    length: int, dims: int, base: float, ref_len: int, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """cos and sin [T, dims/2]. Beyond `ref_len` the base grows (NTK-aware scaling), here `base * (T/ref)^(r/(r-2))`."""
    if length > ref_len:
        base = base * (length / ref_len) ** (dims / (dims - 2))
    frequencies = base ** (-torch.arange(0, dims, 2, dtype=torch.float32, device=device) / dims)
    angles = torch.outer(torch.arange(length, dtype=torch.float32, device=device), frequencies)
    return angles.cos().to(dtype), angles.sin().to(dtype)


def apply_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the first 2*cos.shape[-1] features of x [B, H, T, d], in halves (not in neighbouring pairs)."""
    half = cos.shape[-1]
    u, w, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    return torch.cat((u * cos + w * sin, w * cos - u * sin, rest), dim=-1)


def exclusive_self_attention(y: Tensor, v: Tensor) -> Tensor:
    """XSA: remove from each head's output its component along the token's own value vector."""
    batch, heads, length, width = y.shape
    direction = F.normalize(v, dim=-1, eps=1e-12).unsqueeze(2)
    grouped = y.view(batch, v.shape[1], heads // v.shape[1], length, width)
    return (grouped - (grouped * direction).sum(-1, keepdim=True) * direction).view_as(y)


class BlockWeights(NamedTuple):
    """The six matrices of one block, wherever they are stored (modules or banks)."""

    q: Tensor
    k: Tensor
    v: Tensor
    out: Tensor
    up: Tensor
    down: Tensor


class Attention(nn.Module):
    """Grouped-query attention with QK norm, a learned gain per head, partial RoPE, optional XSA and value residual."""

    def __init__(self, dim: int, heads: int, kv_heads: int, gain: float, xsa: bool, value_residual: bool, own: bool) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.width, self.xsa = heads, kv_heads, dim // heads, xsa
        if own:
            self.c_q = nn.Linear(dim, dim, bias=False)
            self.c_k = nn.Linear(dim, kv_heads * self.width, bias=False)
            self.c_v = nn.Linear(dim, kv_heads * self.width, bias=False)
            self.proj = nn.Linear(dim, dim, bias=False)
        self.q_gain = nn.Parameter(torch.full((heads,), gain))
        self.flash: FlashFunction | None = None
        # Value residual learning (VRL): sigmoid(-1.5) = 0.18 of the first layer's values at the start.
        self.vrl_gate = nn.Parameter(torch.tensor(-1.5)) if value_residual else None

    def forward(
        self,
        x: Tensor,
        w: BlockWeights,
        rope: tuple[Tensor, Tensor],
        value_embed: Tensor | None,
        v_first: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Output before the projection [B, T, D], and the raw values (what later layers may reuse)."""
        batch, length, _ = x.shape
        v_raw = v = linear(x, w.v)
        if value_embed is not None:
            v = v + value_embed
        if self.vrl_gate is not None and v_first is not None:
            gate = self.vrl_gate.to(v.dtype).sigmoid()
            v = (1 - gate) * v + gate * v_first
        q = linear(x, w.q).view(batch, length, self.heads, self.width).transpose(1, 2)
        k = linear(x, w.k).view(batch, length, self.kv_heads, self.width).transpose(1, 2)
        v = v.view(batch, length, self.kv_heads, self.width).transpose(1, 2)
        q = apply_rope(rms_norm(q), *rope) * self.q_gain.to(q.dtype)[:, None, None]
        k = apply_rope(rms_norm(k), *rope)
        y = causal_attention(q, k, v, self.flash)
        if self.xsa:
            y = exclusive_self_attention(y, v)
        return y.transpose(1, 2).reshape(batch, length, -1), v_raw


class MLP(nn.Module):
    """Storage of the two matrices; the activation is relu² or leaky_relu(0.5)²."""

    def __init__(self, dim: int, hidden: int, own: bool) -> None:
        super().__init__()
        if own:
            self.fc = nn.Linear(dim, hidden, bias=False)
            self.proj = nn.Linear(hidden, dim, bias=False)


def squared_activation(x: Tensor, negative_slope: float) -> Tensor:
    return (F.leaky_relu(x, negative_slope) if negative_slope else F.relu(x)).square()


class Block(nn.Module):
    """Residual mixing with the embedding, attention, MLP; each branch is scaled per channel."""

    def __init__(self, index: int, attn: Attention, mlp: MLP, dim: int, ln_scale: bool, slope: float, parallel: bool) -> None:
        super().__init__()
        self.index, self.attn, self.mlp = index, attn, mlp
        self.norm_scale = (index + 1) ** -0.5 if ln_scale else 1.0
        self.negative_slope, self.parallel = slope, parallel
        self.attn_scale = nn.Parameter(torch.ones(dim))
        self.mlp_scale = nn.Parameter(torch.ones(dim))
        self.resid_mix = nn.Parameter(torch.stack((torch.ones(dim), torch.zeros(dim))))

    def mix(self, x: Tensor, x0: Tensor) -> Tensor:
        keep, first = self.resid_mix.to(x.dtype)
        mixed: Tensor = keep * x + first * x0
        return mixed

    def normed(self, x: Tensor) -> Tensor:
        return rms_norm(x) * self.norm_scale

    def attention_branch(
        self,
        x: Tensor,
        w: BlockWeights,
        rope: tuple[Tensor, Tensor],
        value_embed: Tensor | None,
        v_first: Tensor | None,
        tap: Tap | None,
    ) -> tuple[Tensor, Tensor]:
        normed = self.normed(x)
        y, v_raw = self.attn(normed, w, rope, value_embed, v_first)
        if tap is not None:
            for name in ("c_q", "c_k", "c_v"):
                tap(f"blocks.{self.index}.attn.{name}.weight", normed)
            tap(f"blocks.{self.index}.attn.proj.weight", y)
        return self.attn_scale.to(x.dtype) * linear(y, w.out), v_raw

    def mlp_branch(self, x: Tensor, w: BlockWeights, tap: Tap | None) -> Tensor:
        normed = self.normed(x)
        hidden = squared_activation(linear(normed, w.up), self.negative_slope)
        if tap is not None:
            tap(f"blocks.{self.index}.mlp.fc.weight", normed)
            tap(f"blocks.{self.index}.mlp.proj.weight", hidden)
        return self.mlp_scale.to(x.dtype) * linear(hidden, w.down)


class SmearGate(nn.Module):
    """Blend each embedding with the previous one. Without `bos_id` it also blends across documents (quirk 14)."""

    def __init__(self, dim: int, bos_id: int | None) -> None:
        super().__init__()
        self.gate = nn.Parameter(torch.zeros(dim))
        self.bos_id = bos_id

    def forward(self, x: Tensor, ids: Tensor) -> Tensor:
        gate = self.gate.to(x.dtype).sigmoid()
        previous = F.pad(x, (0, 0, 1, 0))[:, :-1]
        blended = (1 - gate) * x + gate * previous
        return blended if self.bos_id is None else torch.where((ids == self.bos_id).unsqueeze(-1), x, blended)


def bigram_hash(ids: Tensor, rows: int, bos_id: int | None) -> Tensor:
    """Row of each (previous, current) pair; the last row is for a token without a past."""
    modulus = rows - 1
    wide = ids.to(torch.int32)
    hashed = torch.full_like(wide, modulus)
    hashed[:, 1:] = torch.bitwise_xor(36313 * wide[:, 1:], 27191 * wide[:, :-1]) % modulus
    if bos_id is not None:
        hashed = hashed.masked_fill(ids == bos_id, modulus)
    return hashed.long()


class BigramHash(nn.Module):
    """An embedding of the hashed token pair, added to the token embedding."""

    def __init__(self, rows: int, width: int, dim: int, bos_id: int | None) -> None:
        super().__init__()
        self.embed = nn.Embedding(rows, width)
        self.proj = nn.Linear(width, dim, bias=False) if width != dim else None
        self.scale = nn.Parameter(torch.tensor(0.05))
        self.bos_id = bos_id

    def forward(self, ids: Tensor, dtype: torch.dtype) -> Tensor:
        x = self.embed(bigram_hash(ids, self.embed.num_embeddings, self.bos_id)).to(dtype)
        if self.proj is not None:
            x = linear(x, self.proj.weight)
        scaled: Tensor = x * self.scale.to(dtype)
        return scaled


class ValueEmbedding(nn.Module):
    """One extra table whose rows are added to the values of a few layers."""

    def __init__(self, vocab: int, width: int, kv_dim: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocab, width)
        nn.init.normal_(self.embed.weight, std=0.01)
        self.proj = nn.Linear(width, kv_dim, bias=False)
        self.scale = nn.Parameter(torch.tensor(0.1))

    def forward(self, ids: Tensor, dtype: torch.dtype) -> Tensor:
        values: Tensor = linear(self.embed(ids).to(dtype), self.proj.weight) * self.scale.to(dtype)
        return values
