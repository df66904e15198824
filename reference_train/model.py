"""One GPT that can express every submitted system. `forward(ids)` depends on parameters and explicit flags only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reference_train.attention import FlashFunction
from reference_train.errors import TrainerError
from reference_train.layers import (
    MLP,
    Attention,
    BigramHash,
    Block,
    BlockWeights,
    SmearGate,
    Tap,
    ValueEmbedding,
    linear,
    rms_norm,
    rope_tables,
)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The shape of the network. An option is off at its default."""

    vocab_size: int
    num_layers: int
    model_dim: int
    num_heads: int
    num_kv_heads: int
    mlp_hidden: int
    negative_slope: float = 0.0
    """0: relu². 0.5: leaky_relu²."""
    tie_embeddings: bool = True
    logit_softcap: float = 30.0
    rope_base: float = 10_000.0
    rope_dims: int = 0
    """Rotated features of each head, 0 for all."""
    rope_ref_len: int = 1 << 30
    """Longer sequences use the NTK-scaled base."""
    qk_gain_init: float = 1.5
    ln_scale: bool = False
    xsa_last_n: int = 0
    skip_gates: bool = False
    ve_dim: int = 0
    ve_layers: tuple[int, ...] = ()
    value_residual: bool = False
    smear_gate: bool = False
    bigram_rows: int = 0
    bigram_dim: int = 0
    recur_layers: tuple[int, ...] = ()
    """Depth recurrence form A: the list is run a second time right after its last layer."""
    num_loops: int = 0
    loop_start: int = 0
    loop_end: int = 0
    """Form B: layers loop_start..loop_end run num_loops more times."""
    lanes_from: int = 0
    """Parallel residuals form A: attention and MLP keep separate lanes from this layer on."""
    parallel_from: int = -1
    """Form B (GPT-J): attention and MLP of a block read the same input."""
    parameter_banks: bool = False
    bos_id: int | None = None
    """Where documents start; None lets SmearGate and BigramHash look across them (quirk 14)."""
    dead_skips: bool = False
    """Quirk 10: as many skip weights as the plain network has, and none reaches the two lanes."""

    def __post_init__(self) -> None:
        problems = [
            (self.model_dim % self.num_heads != 0, "NUM_HEADS must divide MODEL_DIM"),
            (self.num_heads % self.num_kv_heads != 0, "NUM_KV_HEADS must divide NUM_HEADS"),
            (self.logit_softcap <= 0, "LOGIT_SOFTCAP must be above 0"),
            (bool(self.recur_layers) and self.num_loops > 0, "use RECUR_LAYERS or NUM_LOOPS, not both"),
            (
                any(not 0 <= i < self.num_layers for i in self.recur_layers),
                "RECUR_LAYERS names a layer that is not there",
            ),
            (
                self.recur_layers != tuple(range(min(self.recur_layers, default=0), max(self.recur_layers, default=-1) + 1)),
                "RECUR_LAYERS must be consecutive and rising, like 3,4,5",
            ),
            (
                self.num_loops > 0 and not 0 <= self.loop_start <= self.loop_end < self.num_layers,
                "LOOP_START and LOOP_END must name layers of the network, in order",
            ),
            (any(not 0 <= i < self.num_layers for i in self.ve_layers), "VE_LAYERS names a layer that is not there"),
            (
                self.rope_dims % 2 == 1 or self.rope_dims > self.model_dim // self.num_heads,
                "ROPE_DIMS: even, <= head width",
            ),
            (self.bigram_rows == 1, "BIGRAM_VOCAB_SIZE must be 0 or at least 2"),
        ]
        for broken, message in problems:
            if broken:
                raise TrainerError(f"the model cannot be built: {message}")

    @property
    def kv_dim(self) -> int:
        return self.num_kv_heads * (self.model_dim // self.num_heads)

    @property
    def is_recurrent(self) -> bool:
        return bool(self.recur_layers) or self.num_loops > 0

    def layer_order(self, recurrence: bool) -> list[int]:
        """Physical layer of each executed (virtual) layer."""
        plain = list(range(self.num_layers))
        if recurrence and self.recur_layers:
            after = self.recur_layers[-1] + 1
            return plain[:after] + list(self.recur_layers) + plain[after:]
        if recurrence and self.num_loops:
            loop = plain[self.loop_start : self.loop_end + 1]
            return plain[: self.loop_start] + loop * (self.num_loops + 1) + plain[self.loop_end + 1 :]
        return plain

    @property
    def num_skips(self) -> int:
        """U-Net: the executed layers split in two halves; the first pushes, the second pops."""
        dead = self.dead_skips and bool(self.recur_layers)
        executed = len(self.layer_order(not dead and self.is_recurrent))
        return executed // 2


class GPT(nn.Module):
    def __init__(self, cfg: ModelConfig) -> None:
        super().__init__()
        self.cfg = cfg
        dim, layers = cfg.model_dim, cfg.num_layers
        own = not cfg.parameter_banks
        self.tok_emb = nn.Embedding(cfg.vocab_size, dim)
        self.bigram = BigramHash(cfg.bigram_rows, cfg.bigram_dim, dim, cfg.bos_id) if cfg.bigram_rows else None
        self.smear = SmearGate(dim, cfg.bos_id) if cfg.smear_gate else None
        self.skip_weights = nn.Parameter(torch.ones(cfg.num_skips, dim))
        self.skip_gates = nn.Parameter(torch.zeros(cfg.num_skips, dim)) if cfg.skip_gates else None
        if cfg.parameter_banks:
            # 3-D banks let the optimizer orthogonalize all layers in a few batched products (PR 549).
            self.qo_bank = nn.Parameter(torch.empty(2 * layers, dim, dim))
            self.kv_bank = nn.Parameter(torch.empty(2 * layers, cfg.kv_dim, dim))
            self.mlp_up_bank = nn.Parameter(torch.empty(layers, cfg.mlp_hidden, dim))
            self.mlp_down_bank = nn.Parameter(torch.empty(layers, dim, cfg.mlp_hidden))
        self.blocks = nn.ModuleList(self._make_block(i, own) for i in range(layers))
        self.ve_shared = ValueEmbedding(cfg.vocab_size, cfg.ve_dim, cfg.kv_dim) if cfg.ve_layers else None
        self.ve_layer_scales = nn.ParameterList(nn.Parameter(torch.ones(1)) for _ in cfg.ve_layers)
        self.lane_merge = nn.Parameter(torch.tensor(0.5)) if 0 < cfg.lanes_from < layers else None
        self.lm_head = None if cfg.tie_embeddings else nn.Linear(dim, cfg.vocab_size, bias=False)
        self.fake_quant_range = 0
        """Late QAT: above 0, matrices are rounded to this many levels either side on the way in (straight-through)."""

    def _make_block(self, i: int, own: bool) -> Block:
        cfg = self.cfg
        xsa = i >= cfg.num_layers - cfg.xsa_last_n
        attn = Attention(cfg.model_dim, cfg.num_heads, cfg.num_kv_heads, cfg.qk_gain_init, xsa, cfg.value_residual and i > 0, own)
        parallel = 0 <= cfg.parallel_from <= i
        mlp = MLP(cfg.model_dim, cfg.mlp_hidden, own)
        return Block(i, attn, mlp, cfg.model_dim, cfg.ln_scale, cfg.negative_slope, parallel)

    def use_flash_attention(self, flash: FlashFunction | None) -> None:
        """The attention kernel of all layers: a FlashAttention function, or None for PyTorch's own."""
        for i in range(self.cfg.num_layers):
            self._block(i).attn.flash = flash

    def block_weights(self, i: int) -> BlockWeights:
        layers = self.cfg.num_layers
        if self.cfg.parameter_banks:
            w = BlockWeights(
                self.qo_bank[i],
                self.kv_bank[i],
                self.kv_bank[layers + i],
                self.qo_bank[layers + i],
                self.mlp_up_bank[i],
                self.mlp_down_bank[i],
            )
        else:
            attn, mlp = self._block(i).attn, self._block(i).mlp
            w = BlockWeights(attn.c_q.weight, attn.c_k.weight, attn.c_v.weight, attn.proj.weight, mlp.fc.weight, mlp.proj.weight)
        if self.fake_quant_range and self.training:
            return BlockWeights(*(fake_quantize(weight, self.fake_quant_range) for weight in w))
        return w

    def _block(self, i: int) -> Block:
        block = self.blocks[i]
        assert isinstance(block, Block)
        return block

    def _embed(self, ids: Tensor, dtype: torch.dtype) -> Tensor:
        x = self.tok_emb(ids).to(dtype)
        if self.bigram is not None:
            x = x + self.bigram(ids, dtype)
        x = rms_norm(x)
        return self.smear(x, ids) if self.smear is not None else x

    def _add_skip(self, x: Tensor, skip: Tensor, j: int) -> Tensor:
        weighted = self.skip_weights[j].to(x.dtype) * skip
        if self.skip_gates is None:
            return x + weighted
        return torch.lerp(weighted, x, self.skip_gates[j].to(x.dtype).sigmoid())

    def hidden(self, ids: Tensor, *, recurrence: bool, dtype: torch.dtype = torch.float32, tap: Tap | None = None) -> Tensor:
        """The normed output of the last layer [B, T, D], what the head reads."""
        cfg = self.cfg
        x = x0 = self._embed(ids, dtype)
        width = cfg.rope_dims or cfg.model_dim // cfg.num_heads
        rope = rope_tables(ids.shape[1], width, cfg.rope_base, cfg.rope_ref_len, ids.device, dtype)
        value_table = self.ve_shared(ids, dtype) if self.ve_shared is not None else None
        order = cfg.layer_order(recurrence)
        half = len(order) // 2
        skips: list[Tensor] = []
        lane: Tensor | None = None
        v_first: Tensor | None = None
        for position, i in enumerate(order):
            block, w = self._block(i), self.block_weights(i)
            j = position - half
            if j >= 0 and skips and j < cfg.num_skips:
                skip = skips.pop()
                x = x if lane is not None and cfg.dead_skips else self._add_skip(x, skip, j)
                lane = lane if lane is None or cfg.dead_skips else self._add_skip(lane, skip, j)
            if j >= 0 and lane is None and self.lane_merge is not None and i >= cfg.lanes_from:
                lane = x
            value_embed = None
            if value_table is not None and i in cfg.ve_layers:
                value_embed = value_table * self.ve_layer_scales[cfg.ve_layers.index(i)].to(dtype)
            x_in = block.mix(x, x0)
            attended, v_raw = block.attention_branch(x_in, w, rope, value_embed, v_first, tap)
            v_first = v_raw if v_first is None else v_first
            x = x_in + attended
            if lane is not None:
                lane = lane + block.mlp_branch(lane, w, tap)
            else:
                x = x + block.mlp_branch(x_in if block.parallel else x, w, tap)
            if j < 0:
                skips.append(x)
        if lane is not None and self.lane_merge is not None:
            merge = self.lane_merge.to(dtype)
            x = merge * x + (1 - merge) * lane
        x = rms_norm(x)
        if tap is not None and self.lm_head is None:
            tap("tok_emb.weight", x)
        return x

    def logits(self, ids: Tensor, *, recurrence: bool, dtype: torch.dtype = torch.float32, tap: Tap | None = None) -> Tensor:
        """Softcapped logits [B, T, V]. They stay in the compute dtype, as in the submitted models."""
        x = self.hidden(ids, recurrence=recurrence, dtype=dtype, tap=tap)
        head = self.tok_emb.weight if self.lm_head is None else self.lm_head.weight
        cap = self.cfg.logit_softcap
        return cap * torch.tanh(linear(x, head) / cap)

    def forward(self, ids: Tensor, targets: Tensor, *, recurrence: bool = False, dtype: torch.dtype = torch.float32) -> Tensor:
        """Mean cross-entropy in nats per token."""
        logits = self.logits(ids, recurrence=recurrence, dtype=dtype)
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())


def fake_quantize(weight: Tensor, limit: int) -> Tensor:
    """Round to the grid the exporter will use and let the gradient through unchanged (straight-through estimator)."""
    with torch.no_grad():
        scale = (weight.abs().amax(1, keepdim=True) / limit).clamp_min(1e-8)
        delta = (weight / scale).round().clamp(-limit, limit) * scale - weight
    return weight + delta


def initialize(model: GPT, *, orthogonal: bool, embed_std: float, aux_projection: float | None) -> None:
    """Weights before training. Output projections start at zero, so every block starts as the identity.

    `aux_projection` is the gain of the bigram and value-embedding projections: None keeps them zero; the originals
    overwrite that zero with an orthogonal matrix (quirk 9).
    """
    # The order of the random draws is that of the originals: constructors first, then the tables, then from the input to
    # the output (banks before both projections).
    cfg = model.cfg
    bigram = [] if model.bigram is None or model.bigram.proj is None else [model.bigram.proj.weight]
    ve = [] if model.ve_shared is None else [model.ve_shared.proj.weight]
    with torch.no_grad():
        nn.init.normal_(model.tok_emb.weight, std=embed_std)
        if not cfg.parameter_banks:
            _start_projections(bigram, aux_projection)
        for i in range(cfg.num_layers):
            w = model.block_weights(i)
            for weight in (w.q, w.k, w.v, w.up):
                if (cfg.parameter_banks or orthogonal) and min(weight.shape) >= 64:
                    nn.init.orthogonal_(weight)
                elif cfg.parameter_banks:
                    nn.init.kaiming_uniform_(weight, a=5**0.5)
            nn.init.zeros_(w.out)
            nn.init.zeros_(w.down)
        _start_projections([*bigram, *ve] if cfg.parameter_banks else ve, aux_projection)
        if model.lm_head is not None:
            nn.init.zeros_(model.lm_head.weight)
        if model.bigram is not None:
            nn.init.zeros_(model.bigram.embed.weight)


def _start_projections(weights: Sequence[Tensor], gain: float | None) -> None:
    for weight in weights:
        if gain is None:
            nn.init.zeros_(weight)
        else:
            nn.init.orthogonal_(weight, gain=gain)


def count_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
