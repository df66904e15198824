"""Command line: `python -m reference_train --preset tiny`, also under torchrun."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from reference_train.config import (
    SETTINGS,
    Config,
    make_config,
    parse_setting,
    preset_names,
    read_preset,
    settings_from_environment,
)
from reference_train.errors import TrainerError
from reference_train.quirks import QUIRKS
from reference_train.run import SeedResult, pick_device, run_seed
from reference_train.runlog import RunLog
from reference_train.shards import write_atomic
from reference_train.train import Ranks

DEFAULT_CHECKPOINT = "reference_train.ckpt"


def build_parser(default_preset: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m reference_train",
        description="Train, quantize, pack and evaluate one of the submitted systems.",
        epilog="Example: python -m reference_train --preset tiny --record-dir out/tiny ITERATIONS=100 MATRIX_LR=0.03",
    )
    parser.add_argument("settings", nargs="*", metavar="NAME=VALUE", help="settings, by the challenge's variable names")
    parser.add_argument("--preset", default=default_preset, help="which system (see --list-presets)")
    parser.add_argument("--seeds", default="", help="several seeds, like 1337,42,2024: one log each")
    parser.add_argument("--record-dir", type=Path, help="write README, submission.json, logs, script, artifact and curve here")
    parser.add_argument("--parity", action="store_true", help="turn on the quirks of the submitted system")
    parser.add_argument("--quirk", type=int, action="append", default=[], help="turn on one quirk (see --list-quirks)")
    parser.add_argument(
        "--checkpoint",
        type=Path,
        help="save the state here on Ctrl-C, every CHECKPOINT_EVERY steps and after training; without it, to "
        f"{DEFAULT_CHECKPOINT} in the record folder or here, until the run has succeeded",
    )
    parser.add_argument("--resume", type=Path, help="go on from a checkpoint")
    parser.add_argument("--allow-over-cap", action="store_true", help="write an artifact above 16,000,000 bytes, with a warning")
    parser.add_argument("--quiet", action="store_true", help="print the final table only")
    parser.add_argument("--list-presets", action="store_true")
    parser.add_argument("--list-settings", action="store_true")
    parser.add_argument("--list-quirks", action="store_true")
    return parser


def main(argv: Sequence[str] | None = None, *, default_preset: str = "tiny") -> int:
    args = build_parser(default_preset).parse_intermixed_args(argv)
    console = Console(stderr=True)
    try:
        if args.list_presets or args.list_settings or args.list_quirks:
            _print_lists(args)
            return 0
        overrides = settings_from_environment(os.environ)
        for text in args.settings:
            name, equals, value = text.partition("=")
            if not equals:
                raise TrainerError(f"{text!r} is no setting: write NAME=VALUE, like ITERATIONS=100")
            key, parsed = parse_setting(name, value)
            overrides |= {key: parsed} if key else {}
        cfg = make_config(read_preset(args.preset), overrides, parity=args.parity, quirks=tuple(args.quirk))
        return _run(cfg, args, console)
    except TrainerError as problem:
        console.print(f"reference_train: {problem}", style="red", markup=False, highlight=False, soft_wrap=True)
        return 2
    except OSError as problem:
        message = f"reference_train: {problem}: check the path, its permissions and the free space"
        console.print(message, style="red", markup=False, highlight=False, soft_wrap=True)
        return 2
    except KeyboardInterrupt:
        console.print(
            "reference_train: interrupted; files that were written are complete. If training had ended, --resume with the "
            f"checkpoint ({DEFAULT_CHECKPOINT} unless you named one) goes on after it",
            style="red",
            soft_wrap=True,
        )
        return 130


def _print_lists(args: argparse.Namespace) -> None:
    if args.list_presets:
        for name in preset_names():
            preset = make_config(read_preset(name), {})
            print(f"{name}{' [forbidden]' if preset.forbidden else ''}: {preset.description}")
    if args.list_settings:
        for name in SETTINGS:
            print(f"{name.upper()} (default {getattr(Config(), name)!r})")
    if args.list_quirks:
        for number, text in QUIRKS.items():
            print(f"Q{number}: {text}")


def _run(cfg: Config, args: argparse.Namespace, console: Console) -> int:
    seeds = [int(part) for part in args.seeds.split(",") if part.strip()] or [cfg.seed]
    with ExitStack() as stack:
        ranks = _join_processes(cfg, stack)
        record: Path | None = args.record_dir
        checkpoint: Path = args.checkpoint or (record or Path.cwd()) / DEFAULT_CHECKPOINT
        work = Path(_shared_temporary(ranks, stack))
        own_folder = record or work
        script = work / "train_gpt.py"
        if ranks.main:
            own_folder.mkdir(parents=True, exist_ok=True)
            _provide_script(script, cfg)
        results = []
        for seed in seeds:
            seeded = replace(cfg, seed=seed)
            log = RunLog(print if ranks.main and not args.quiet and not console.is_terminal else None)
            with Progress(
                TextColumn(f"seed {seed}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("loss {task.fields[loss]:.4f}"),
                TimeElapsedColumn(),
                console=console,
                disable=not (ranks.main and console.is_terminal and not args.quiet),
            ) as bar:
                task = bar.add_task("train", total=cfg.iterations, loss=float("nan"))
                result = run_seed(
                    seeded,
                    work_dir=work,
                    script=script,
                    artifact_path=own_folder / "final_model.ptz",
                    ranks=ranks,
                    log=log,
                    progress=lambda step, steps, loss: bar.update(task, completed=step, total=steps, loss=loss),  # noqa: B023
                    checkpoint=checkpoint,
                    resume=args.resume,
                    allow_over_cap=args.allow_over_cap,
                )
            results.append(result)
            if record is not None and ranks.main:
                write_atomic(record / f"train_seed{seed}.log", log.text.encode())
        if ranks.main:
            if record is not None:
                from reference_train.record import write_record

                write_atomic(record / script.name, script.read_bytes())
                write_record(record, cfg, results, _command(cfg, args))
            _print_results(cfg, results)
            if args.checkpoint is None:
                checkpoint.unlink(missing_ok=True)
    return 0


def _provide_script(script: Path, cfg: Config) -> None:
    """The one-file form of this trainer; run as that file already, it is the file."""
    running = Path(sys.argv[0]).resolve()
    if running.name == "train_gpt.py" and running.is_file():
        if running != script.resolve():
            script.write_bytes(running.read_bytes())
        return
    from reference_train.bundle import write_script

    write_script(script, cfg)


def _join_processes(cfg: Config, stack: ExitStack) -> Ranks:
    """The process group under torchrun (gloo on CPU, NCCL on GPU), a single process otherwise."""
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    device = pick_device(cfg, int(os.environ.get("LOCAL_RANK", "0")))
    if device.type == "cuda":
        torch.cuda.set_device(device)
    elif "OMP_NUM_THREADS" not in os.environ:
        # The small matrices of CPU runs gain little from a second thread and lose much to waiting on a shared machine.
        torch.set_num_threads(1)
    if world > 1:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        stack.callback(dist.destroy_process_group)
    return Ranks(rank, world, device)


def _shared_temporary(ranks: Ranks, stack: ExitStack) -> str:
    """A temporary folder of the first process, known to all."""
    name: list[Any] = [None]
    if ranks.main:
        name[0] = stack.enter_context(tempfile.TemporaryDirectory(prefix="reference_train-"))
    if ranks.world > 1:
        dist.broadcast_object_list(name)
    return str(name[0])


def _command(cfg: Config, args: argparse.Namespace) -> str:
    own_data = any(setting.upper().startswith(("DATA_PATH=", "DATA_DIR=")) for setting in args.settings)
    settings = args.settings if own_data else [f"DATA_PATH={cfg.shown_data_path}", *args.settings]
    prefix = " ".join(shlex.quote(setting) for setting in settings)
    seeds = f" --seeds {args.seeds}" if args.seeds else ""
    return f"{prefix} python train_gpt.py{seeds}".strip()


def _print_results(cfg: Config, results: Sequence[SeedResult]) -> None:
    console = Console()
    table = Table(title=f"{cfg.preset}{' (FORBIDDEN: ' + cfg.forbidden + ')' if cfg.forbidden else ''}")
    for column in ("seed", "metric", "nats/token", "bpb", "targets"):
        table.add_column(column, justify="left" if column == "metric" else "right")
    for result in results:
        for label, metric in result.metrics.items():
            style = "bold" if label == result.headline else ""
            table.add_row(
                str(result.seed),
                label,
                f"{metric.val_loss:.5f}",
                f"{metric.val_bpb:.5f}",
                f"{metric.tokens:,}",
                style=style,
            )
    console.print(table)
    for result in results:
        ledger = result.ledger
        verdict = f"{ledger.margin:,} below the cap" if ledger.margin >= 0 else f"OVER THE CAP by {-ledger.margin:,}"
        sizes = f"code {ledger.code:,} + model {ledger.model:,} = {ledger.total:,} bytes"
        console.print(f"seed {result.seed}: {sizes}, {verdict} of {ledger.cap:,}", highlight=False, soft_wrap=True)
        console.print(f"artifact sha256 {result.artifact_sha256}", highlight=False, soft_wrap=True)
        console.print("phases: " + ", ".join(f"{name} {spent:.1f} s" for name, spent in result.seconds.items()), highlight=False)
