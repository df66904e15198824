"""The training loop: fixed order of operations, an injected clock, a state that can be saved and resumed."""

from __future__ import annotations

import contextlib
import math
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from reference_train.averaging import ExponentialAverage, StochasticAverage, load_average
from reference_train.build import build_model, compile_model, compute_dtype, optim_config
from reference_train.config import Config
from reference_train.container import dump_tree, load_tree
from reference_train.data import Data
from reference_train.errors import TrainerError
from reference_train.evaluate import EvalResult, Scorer, evaluate
from reference_train.loaders import Loader, make_loader
from reference_train.optim import Optimizers
from reference_train.schedule import PhaseClock, training_fraction, warmdown_by_fraction, warmdown_by_iterations
from reference_train.shards import check_vocabulary, write_atomic
from reference_train.throughput import describe_throughput, train_flops_per_token

LogLine = Callable[[str], None]
CHECKPOINT_FORMAT = "reference-train-checkpoint-2"


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


class Trainer:
    """Everything that changes while training."""

    def __init__(self, cfg: Config, data: Data, ranks: Ranks, clock: PhaseClock, log: LogLine) -> None:
        if cfg.grad_accum_total % ranks.world:
            raise TrainerError(f"{ranks.world} processes do not divide GRAD_ACCUM_TOTAL {cfg.grad_accum_total}; change one")
        self.cfg, self.data, self.ranks, self.clock, self.log = cfg, data, ranks, clock, log
        self.dtype = compute_dtype(cfg, ranks.device)
        self.model = build_model(cfg, ranks.device)
        self.compiled = cfg.torch_compile and ranks.device.type == "cuda"
        self._forward: nn.Module = compile_model(self.model) if self.compiled else self.model
        # Banks are reduced slice by slice, and quirk 6 clips before the exchange: DistributedDataParallel does neither.
        self._own_exchange = ranks.world > 1 and (cfg.parameter_banks or cfg.has(6))
        if ranks.world > 1 and not self._own_exchange:
            self._forward = DistributedDataParallel(self._forward)
        self.optimizers = Optimizers(self.model, optim_config(cfg), tied=cfg.tie_embeddings, compiled=self.compiled)
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
        self._stop_requested = self._qat_switched = False

    def new_loader(self) -> Loader:
        cfg, ranks = self.cfg, self.ranks
        seed = None if cfg.has(13) else cfg.seed
        return make_loader(cfg.loader, self.data.train_paths, ranks.rank, ranks.world, seed, cfg.train_seq_len)

    def next_batch(self) -> tuple[Tensor, Tensor]:
        x, y = self.loader.next_batch(self.cfg.train_batch_tokens, self.cfg.train_seq_len, self.accum)
        check_vocabulary(x, self.cfg.vocab_size, f"{self.data.train_paths[0].parent} (training batch)")
        check_vocabulary(y[:, -1], self.cfg.vocab_size, f"{self.data.train_paths[0].parent} (training batch)")
        return torch.from_numpy(x).to(self.ranks.device), torch.from_numpy(y).to(self.ranks.device)

    def elapsed(self) -> float:
        """Seconds of training, those of an earlier, resumed part included."""
        return self._carried_seconds + self.clock.spent("training")

    def scorer(self, recurrence: bool) -> Scorer:
        batch = max(self.cfg.val_batch_tokens // self.cfg.eval_seq_len, 1)
        return Scorer(recurrence, self.dtype, batch, self.compiled)

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
        max_norm = self.cfg.grad_clip_norm
        if max_norm > 0 and (not self._own_exchange or self.cfg.has(6)):
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), max_norm)
        if self._own_exchange:
            self.optimizers.average_gradients()
            if max_norm > 0 and not self.cfg.has(6):
                self.optimizers.clip_averaged_gradients(max_norm)
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
        """Learning rate of this step relative to its peak."""
        cfg, (steps, cap) = self.cfg, self._horizon
        if cfg.warmdown_frac:
            fraction = training_fraction(self.step, steps, elapsed, cap)
            return warmdown_by_fraction(fraction, cfg.warmdown_frac, cfg.min_lr)
        return warmdown_by_iterations(self.step, steps, cfg.warmdown_iters, elapsed, cap)

    @property
    def _horizon(self) -> tuple[int, float]:
        """Steps and seconds that schedules count on. With planned steps the clock has no say in them (quirk 22)."""
        cfg = self.cfg
        if cfg.planned_steps and not cfg.has(22):
            return min(cfg.planned_steps, cfg.iterations), 0.0
        return cfg.iterations, self.cap_seconds

    def _update_recurrence(self, elapsed: float) -> None:
        cfg, model, (steps, cap) = self.cfg, self.model.cfg, self._horizon
        if self.recurrence or not model.is_recurrent:
            return
        fraction = training_fraction(self.step, steps, elapsed, cap)
        if (self.step >= cfg.recur_start_step) if model.recur_layers else (fraction >= cfg.enable_looping_at):
            self.recurrence = True
            self.log(f"recurrence:activated at step {self.step}, virtual_layers={model.layer_order(True)}")

    def train(self, progress: Callable[[int, int, float], None], checkpoint: Path | None = None) -> TrainOutcome:
        """Train to the last iteration or the wallclock cap, then load the averaged weights."""
        cfg = self.cfg
        if self.step == 0:
            self.warm_up()
            self.ema = ExponentialAverage(self.model, cfg.ema_decay) if cfg.ema_decay > 0 else None
        stop_after, elapsed = self._horizon[0], self._agreed(self.elapsed())
        with self.clock.phase("training", "train"), self._interruptible():
            while True:
                last = self.step >= stop_after
                self._update_recurrence(elapsed)
                if last or (cfg.val_loss_every > 0 and self.step % cfg.val_loss_every == 0):
                    result = self.validate(self.recurrence)
                    self.outcome.val_curve.append((self.step, result.val_bpb))
                    self.log(f"{self.step}/{cfg.iterations} val_loss: {result.val_loss:.4f} val_bpb: {result.val_bpb:.4f}")
                if last:
                    break
                multiplier = self.multiplier(elapsed)
                if (cfg.qat_enabled or multiplier < cfg.late_qat_threshold) and not self._qat_switched:
                    self._switch_qat_on(multiplier)
                loss = self.optimize(self.step, multiplier)
                if self.ema is not None:
                    self.ema.update(self.model)
                self.step += 1
                if cfg.swa_enabled and multiplier < cfg.swa_threshold and self.step % cfg.swa_every == 0:
                    if self.swa.count == 0:
                        self.log(f"swa:start step:{self.step}")
                    self.swa.update(self.model)
                self.outcome.train_curve.append((self.step, loss))
                progress(self.step, stop_after, loss)
                elapsed = self._agreed(self.elapsed())
                if self.step <= 5 or self.step % cfg.train_log_every == 0:
                    rate = self.step * cfg.train_batch_tokens / max(elapsed, 1e-9)
                    pace = f"train_time: {elapsed / 60:.3f}m tok/s: {rate:.0f}"
                    self.log(f"{self.step}/{cfg.iterations} train_loss: {loss:.4f} {pace}")
                if 0 < self.cap_seconds <= elapsed:
                    stop_after = min(stop_after, self.step)
                if self._agreed(float(self._stop_requested)):
                    self._give_up(checkpoint)
                if checkpoint is not None and cfg.checkpoint_every and self.step % cfg.checkpoint_every == 0:
                    self.save(checkpoint)
        self._log_the_end(elapsed)
        if checkpoint is not None:
            self._save_trained(checkpoint)
        self._load_averages()
        self.outcome.steps = self.step
        return self.outcome

    def _switch_qat_on(self, multiplier: float) -> None:
        """Round weights in the forward from here on. The probe shows whether it works; under quirk 8 it does not."""
        self._qat_switched = True
        self.model.fake_quant_range = 0 if self.cfg.has(8) else self.cfg.matrix_levels
        self.log(f"late_qat:enabled step:{self.step} scale:{multiplier:.4f}")
        self.model.train()
        row = self.model.block_weights(0).up[0].tolist()
        self.log(f"late_qat:probe distinct_weights:{len(set(row))} of:{len(row)} in the first row of blocks.0.mlp.fc")

    def _save_trained(self, checkpoint: Path) -> None:
        """So that whatever goes wrong from here on (an artifact over the cap, a full disk) does not cost the training."""
        with self.clock.phase("saving", "none"):
            try:
                self.save(checkpoint)
            except TrainerError as problem:
                self.log(f"WARNING: the state after training is not saved: {problem}")

    def _give_up(self, checkpoint: Path | None) -> None:
        if checkpoint is None:
            raise TrainerError(f"interrupted at step {self.step}, nothing is saved: give a checkpoint path to go on later")
        self.save(checkpoint)
        raise TrainerError(f"interrupted at step {self.step}; state saved: continue with --resume {checkpoint}")

    def _log_the_end(self, elapsed: float) -> None:
        cfg, device = self.cfg, self.ranks.device
        planned = self._horizon[0]
        if self.step < planned:
            milliseconds = round(elapsed * 1000)
            self.log(f"stopping_early: wallclock_cap train_time: {milliseconds}ms step: {self.step}/{cfg.iterations}")
            if cfg.planned_steps and not cfg.has(22):
                self.log(f"WARNING: the learning rate had not come down: set PLANNED_STEPS={self.step} (was {planned})")
        if device.type == "cuda" and elapsed > 0:
            rate = self.step * cfg.train_batch_tokens / elapsed
            flops = train_flops_per_token(self.model.cfg, cfg.train_seq_len, self.recurrence)
            self.log(describe_throughput(rate, flops, torch.cuda.get_device_name(device), self.ranks.world))
            mib = torch.cuda.max_memory_allocated(device) // 2**20
            self.log(f"peak memory allocated: {mib} MiB")

    def _load_averages(self) -> None:
        self.model.fake_quant_range = 0
        if self.swa.count and not self.cfg.has(7):
            self.log(f"swa:applying the mean of {self.swa.count} snapshots")
            load_average(self.model, self.swa.mean)
        elif self.ema is not None:
            self.log("ema:applying EMA weights")
            load_average(self.model, self.ema.shadow)

    def _agreed(self, value: float) -> float:
        """The largest value of all processes. They must agree on the time: it decides learning rates and the end."""
        if self.ranks.world == 1:
            return value
        shared = torch.tensor(value, dtype=torch.float64, device=self.ranks.device)
        dist.all_reduce(shared, op=dist.ReduceOp.MAX)
        return float(shared.item())

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
        """Everything needed to go on as if nothing had happened. Every process has to call it; the first one writes."""
        optimizers = [_with_string_keys(state) for state in self.optimizers.state_dict()]
        if not self.ranks.main:
            return
        tree: dict[str, Any] = {
            "format": CHECKPOINT_FORMAT,
            "settings": training_settings(self.cfg),
            "step": self.step,
            "seconds": self.elapsed(),
            "recurrence": self.recurrence,
            "qat_switched": self._qat_switched,
            "fake_quant_range": self.model.fake_quant_range,
            "curves": [self.outcome.train_curve, self.outcome.val_curve],
            "model": dict(self.model.state_dict()),
            "optimizers": optimizers,
            "ema": self.ema.shadow if self.ema is not None else None,
            "swa": [self.swa.total, self.swa.count],
        }
        write_atomic(path, dump_tree(tree))

    def resume(self, path: Path) -> None:
        if not path.is_file():
            raise TrainerError(f"no checkpoint at {path}: give the file that an earlier run saved, or start without --resume")
        tree = load_tree(path.read_bytes())
        if tree.get("format") != CHECKPOINT_FORMAT:
            raise TrainerError(f"{path} is no checkpoint of this version: give a file that --checkpoint wrote")
        now = training_settings(self.cfg)
        for name, then in tree["settings"].items():
            if now.get(name) != then:
                raise TrainerError(
                    f"{path} was saved with {name.upper()}={then}, this run has {now.get(name)}: resume with its value"
                )
        self.model.load_state_dict(tree["model"])
        self.optimizers.load_state_dict([_with_int_keys(state) for state in tree["optimizers"]])
        self.step, self.recurrence = tree["step"], tree["recurrence"]
        self._qat_switched, self.model.fake_quant_range = tree["qat_switched"], tree["fake_quant_range"]
        self._carried_seconds = tree["seconds"]
        curves = [[(int(step), float(value)) for step, value in curve] for curve in tree["curves"]]
        self.outcome.train_curve, self.outcome.val_curve = curves
        if self.cfg.ema_decay > 0:
            self.ema = ExponentialAverage(self.model, self.cfg.ema_decay)
            self.ema.shadow = {name: tensor.to(self.ranks.device) for name, tensor in tree["ema"].items()}
        self.swa.total, self.swa.count = tree["swa"]
        self.loader.skip(self.step * self.accum, self.cfg.train_batch_tokens, self.cfg.train_seq_len, self.accum)


def training_settings(cfg: Config) -> dict[str, Any]:
    """What training depends on. Where the data lie, what is logged and all that comes after training may change."""
    free = {"preset", "description", "extends", "parity_quirks", "run_id", "device", "attention", "torch_compile"}
    free |= {"max_wallclock_seconds", "checkpoint_every", "val_loss_every", "train_log_every"}
    names = [field.name for field in fields(cfg)]
    during = names[: names.index("matrix_quantizer")]
    values = {name: getattr(cfg, name) for name in during if name not in free and not name.endswith(("_path", "_dir"))}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _with_string_keys(state: dict[str, Any]) -> dict[str, Any]:
    return state | {"state": {str(index): dict(values) for index, values in state["state"].items()}}


def _with_int_keys(state: dict[str, Any]) -> dict[str, Any]:
    return state | {"state": {int(index): values for index, values in state["state"].items()}}
