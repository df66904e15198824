"""The training loop: fixed order of operations, an injected clock, a state that can be saved and resumed."""

from __future__ import annotations

import contextlib
import math
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from reference_train.averaging import ExponentialAverage, StochasticAverage, load_average
from reference_train.config import Config
from reference_train.container import dump_tree, load_tree
from reference_train.data import Data
from reference_train.errors import TrainerError
from reference_train.evaluate import EvalResult, Scorer, evaluate
from reference_train.loaders import Loader, make_loader
from reference_train.model import GPT, ModelConfig, initialize
from reference_train.optim import OptimConfig, Optimizers, group_parameters
from reference_train.schedule import PhaseClock, training_fraction, warmdown_by_fraction, warmdown_by_iterations
from reference_train.shards import write_atomic

LogLine = Callable[[str], None]


@dataclass(frozen=True)
class Ranks:
    """This process among the processes of the run."""

    rank: int = 0
    world: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def main(self) -> bool:
        return self.rank == 0


@dataclass
class TrainOutcome:
    steps: int = 0
    train_curve: list[tuple[int, float]] = field(default_factory=list)
    val_curve: list[tuple[int, float]] = field(default_factory=list)


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
        ve_dim=cfg.ve_dim if cfg.ve_layers else 0,
        ve_layers=cfg.ve_layers,
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
        # The submitted systems keep embedding tables, their gradients and Adam moments in bf16, and round the initial
        # matrices through it once.
        for p in group_parameters(model).matrices.values():
            p.data = p.data.bfloat16().float()
        for p in group_parameters(model).embeddings.values():
            p.data = p.data.bfloat16()
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


class Trainer:
    """Everything that changes while training."""

    def __init__(self, cfg: Config, data: Data, ranks: Ranks, clock: PhaseClock, log: LogLine) -> None:
        if cfg.grad_accum_total % ranks.world:
            raise TrainerError(f"{ranks.world} processes do not divide GRAD_ACCUM_TOTAL {cfg.grad_accum_total}; change one")
        self.cfg, self.data, self.ranks, self.clock, self.log = cfg, data, ranks, clock, log
        self.dtype = compute_dtype(cfg, ranks.device)
        self.model = build_model(cfg, ranks.device)
        self._forward: nn.Module = DistributedDataParallel(self.model) if ranks.world > 1 else self.model
        self.optimizers = Optimizers(
            self.model, optim_config(cfg), tied=cfg.tie_embeddings, bank_momentum_bf16=cfg.parameter_banks
        )
        self.accum = cfg.grad_accum_total // ranks.world
        self.cap_seconds = max(cfg.max_wallclock_seconds - cfg.gptq_reserve_seconds, 0.0)
        self.step = 0
        self.recurrence = False
        self.outcome = TrainOutcome()
        self.loader = self.new_loader()
        self.ema: ExponentialAverage | None = None
        self.swa = StochasticAverage()
        self._carried_seconds = 0.0
        self._val_tokens = torch.from_numpy(data.val_tokens.astype("int64"))
        self._stop_requested = False

    def new_loader(self) -> Loader:
        cfg, ranks = self.cfg, self.ranks
        seed = None if cfg.has(13) else cfg.seed
        return make_loader(cfg.loader, self.data.train_paths, ranks.rank, ranks.world, seed, cfg.train_seq_len)

    def next_batch(self) -> tuple[Tensor, Tensor]:
        x, y = self.loader.next_batch(self.cfg.train_batch_tokens, self.cfg.train_seq_len, self.accum)
        return torch.from_numpy(x).to(self.ranks.device), torch.from_numpy(y).to(self.ranks.device)

    def elapsed(self) -> float:
        """Seconds of training, those of an earlier, resumed part included."""
        return self._carried_seconds + self.clock.spent("training")

    def scorer(self, recurrence: bool) -> Scorer:
        return Scorer(recurrence, self.dtype, max(self.cfg.val_batch_tokens // self.cfg.eval_seq_len, 1))

    def validate(self, recurrence: bool) -> EvalResult:
        """Plain evaluation: windows without overlap."""
        with self.clock.phase("validation", "validation"):
            length = self.cfg.eval_seq_len
            scorer = self.scorer(recurrence)
            return evaluate(self.model, self._val_tokens, self.data.price, scorer, seq_len=length, stride=length)

    def optimize(self, step: int, multiplier: float) -> float:
        """One optimizer step over all micro-steps; returns the mean loss over processes and micro-steps."""
        self.model.train()
        total = torch.zeros((), device=self.ranks.device)
        for micro in range(self.accum):
            x, y = self.next_batch()
            last = micro == self.accum - 1
            ddp = self._forward if isinstance(self._forward, DistributedDataParallel) else None
            with ddp.no_sync() if ddp is not None and not last else contextlib.nullcontext():
                loss = self._forward(x, y, recurrence=self.recurrence, dtype=self.dtype)
                (loss / self.accum).backward()
            total += loss.detach() / self.accum
        if self.ranks.world > 1:
            dist.all_reduce(total)
            total /= self.ranks.world
        value = float(total)
        if not math.isfinite(value):
            raise TrainerError(
                f"the loss is {value} at step {step}: lower MATRIX_LR, SCALAR_LR and TIED_EMBED_LR, or set "
                "GRAD_CLIP_NORM=0.3; a run saved before can be resumed with --resume"
            )
        if self.cfg.grad_clip_norm > 0:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.cfg.grad_clip_norm)
        self.optimizers.step(step, multiplier)
        return value

    def warm_up(self) -> None:
        """Run a few real steps so that kernels are compiled, then put every piece of state back."""
        cfg = self.cfg
        weights = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        fresh = self.optimizers.state_dict()
        with self.clock.phase("warmup", "none"):
            for recurrence in (False, True) if self.model.cfg.is_recurrent else (False,):
                self.recurrence = recurrence
                for k in range(cfg.warmup_steps):
                    self.optimize(k, 1.0)
                    if k < 6 or k + 1 == cfg.warmup_steps or (k + 1) % 10 == 0:
                        self.log(f"{'loop_' if recurrence else ''}warmup_step: {k + 1}/{cfg.warmup_steps}")
        self.recurrence = False
        self.model.load_state_dict(weights)
        self.optimizers.load_state_dict(fresh)
        self.loader = self.new_loader()

    def multiplier(self, elapsed: float) -> float:
        cfg = self.cfg
        if cfg.warmdown_frac:
            fraction = training_fraction(self.step, cfg.iterations, elapsed, self.cap_seconds)
            return warmdown_by_fraction(fraction, cfg.warmdown_frac, cfg.min_lr)
        return warmdown_by_iterations(self.step, cfg.iterations, cfg.warmdown_iters, elapsed, self.cap_seconds)

    def _update_recurrence(self, elapsed: float) -> None:
        cfg, model = self.cfg, self.model.cfg
        if self.recurrence or not model.is_recurrent:
            return
        fraction = training_fraction(self.step, cfg.iterations, elapsed, self.cap_seconds)
        if (self.step >= cfg.recur_start_step) if model.recur_layers else (fraction >= cfg.enable_looping_at):
            self.recurrence = True
            self.log(f"recurrence:activated at step {self.step}, virtual_layers={model.layer_order(True)}")

    def train(self, progress: Callable[[int, int, float], None], checkpoint: Path | None = None) -> TrainOutcome:
        """Train to the last iteration or the wallclock cap, then load the averaged weights."""
        cfg = self.cfg
        if self.step == 0:
            self.warm_up()
            self.ema = ExponentialAverage(self.model, cfg.ema_decay) if cfg.ema_decay > 0 else None
        stop_after = cfg.iterations
        with self.clock.phase("training", "train"), self._interruptible():
            while True:
                last = self.step >= stop_after
                self._update_recurrence(self.elapsed())
                if last or (cfg.val_loss_every > 0 and self.step % cfg.val_loss_every == 0):
                    result = self.validate(self.recurrence)
                    self.outcome.val_curve.append((self.step, result.val_bpb))
                    self.log(f"{self.step}/{cfg.iterations} val_loss: {result.val_loss:.4f} val_bpb: {result.val_bpb:.4f}")
                if last:
                    break
                multiplier = self.multiplier(self.elapsed())
                if multiplier < cfg.late_qat_threshold and not self.model.fake_quant_range:
                    self.model.fake_quant_range = cfg.matrix_levels
                    self.log(f"late_qat:enabled step:{self.step} scale:{multiplier:.4f}")
                loss = self.optimize(self.step, multiplier)
                if self.ema is not None:
                    self.ema.update(self.model)
                self.step += 1
                if cfg.swa_enabled and multiplier < cfg.swa_threshold and self.step % cfg.swa_every == 0:
                    self.swa.update(self.model)
                self.outcome.train_curve.append((self.step, loss))
                progress(self.step, stop_after, loss)
                if self.step <= 5 or self.step % cfg.train_log_every == 0:
                    seconds = self.elapsed()
                    rate = self.step * cfg.train_batch_tokens / max(seconds, 1e-9)
                    pace = f"train_time: {seconds / 60:.1f}m tok/s: {rate:.0f}"
                    self.log(f"{self.step}/{cfg.iterations} train_loss: {loss:.4f} {pace}")
                if self.cap_seconds > 0 and self._any_rank(self.elapsed() >= self.cap_seconds):
                    stop_after = min(stop_after, self.step)
                if checkpoint is not None and self._any_rank(self._stop_requested):
                    self.save(checkpoint)
                    raise TrainerError(f"interrupted at step {self.step}; state saved: continue with --resume {checkpoint}")
                if checkpoint is not None and cfg.checkpoint_every and self.step % cfg.checkpoint_every == 0:
                    self.save(checkpoint)
        if self.step < cfg.iterations:
            milliseconds = round(self.elapsed() * 1000)
            self.log(f"stopping_early: wallclock_cap train_time: {milliseconds}ms step: {self.step}/{cfg.iterations}")
        self._load_averages()
        self.outcome.steps = self.step
        return self.outcome

    def _load_averages(self) -> None:
        self.model.fake_quant_range = 0
        if self.swa.count:
            self.log(f"swa:applying the mean of {self.swa.count} snapshots")
            load_average(self.model, self.swa.mean)
        elif self.ema is not None:
            self.log("ema:applying EMA weights")
            load_average(self.model, self.ema.shadow)

    def _any_rank(self, flag: bool) -> bool:
        """Processes must agree when to stop, or one waits for the others forever."""
        if self.ranks.world == 1:
            return flag
        shared = torch.tensor(int(flag), device=self.ranks.device)
        dist.all_reduce(shared, op=dist.ReduceOp.MAX)
        return bool(shared.item())

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Ctrl-C ends the run after the step in hand; a second one ends it at once."""

        def request(*_: object) -> None:
            if self._stop_requested:
                raise KeyboardInterrupt
            self._stop_requested = True

        try:
            previous = signal.signal(signal.SIGINT, request)
        except ValueError:  # not the main thread: signals stay as they are
            yield
            return
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, previous)

    def save(self, path: Path) -> None:
        """Everything needed to go on as if nothing had happened. Processes hold equal state; the first one writes."""
        if not self.ranks.main:
            return
        tree: dict[str, Any] = {
            "format": "reference-train-checkpoint-1",
            "seed": self.cfg.seed,
            "step": self.step,
            "seconds": self.elapsed(),
            "recurrence": self.recurrence,
            "fake_quant_range": self.model.fake_quant_range,
            "curves": [self.outcome.train_curve, self.outcome.val_curve],
            "model": dict(self.model.state_dict()),
            "optimizers": [_with_string_keys(state) for state in self.optimizers.state_dict()],
            "ema": self.ema.shadow if self.ema is not None else None,
            "swa": [self.swa.total, self.swa.count],
        }
        write_atomic(path, dump_tree(tree))

    def resume(self, path: Path) -> None:
        if not path.is_file():
            raise TrainerError(f"no checkpoint at {path}: give the file that an earlier run saved, or start without --resume")
        tree = load_tree(path.read_bytes())
        if tree.get("format") != "reference-train-checkpoint-1" or tree["seed"] != self.cfg.seed:
            raise TrainerError(f"{path} is not a checkpoint of seed {self.cfg.seed}: resume with the settings of that run")
        self.model.load_state_dict(tree["model"])
        self.optimizers.load_state_dict([_with_int_keys(state) for state in tree["optimizers"]])
        self.step, self.recurrence = tree["step"], tree["recurrence"]
        self.model.fake_quant_range = tree["fake_quant_range"]
        self._carried_seconds = tree["seconds"]
        curves = [[(int(step), float(value)) for step, value in curve] for curve in tree["curves"]]
        self.outcome.train_curve, self.outcome.val_curve = curves
        if self.cfg.ema_decay > 0:
            self.ema = ExponentialAverage(self.model, self.cfg.ema_decay)
            self.ema.shadow = {name: tensor.to(self.ranks.device) for name, tensor in tree["ema"].items()}
        self.swa.total, self.swa.count = tree["swa"]
        self.loader.skip(self.step * self.accum, self.cfg.train_batch_tokens, self.cfg.train_seq_len, self.accum)


def _with_string_keys(state: dict[str, Any]) -> dict[str, Any]:
    return state | {"state": {str(index): dict(values) for index, values in state["state"].items()}}


def _with_int_keys(state: dict[str, Any]) -> dict[str, Any]:
    return state | {"state": {int(index): values for index, values in state["state"].items()}}
