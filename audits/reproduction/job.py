"""What one call runs: checked before anything starts, carried out seed by seed."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from audits.reproduction.compare import Conditions
from audits.reproduction.evidence import describe_data, digest_folder
from audits.reproduction.machine import Machine, inspect_machine
from audits.reproduction.mapping import Mapped, map_record
from audits.reproduction.reference import TINY, Order, read_catalog, run_reference
from audits.reproduction.system import describe_record
from verifier.cli.errors import UsageFailure
from verifier.cli.record import find_python, refuse_without_sandbox
from verifier.engine.context import Context
from verifier.execution.own_script import Material, rerun_full, rerun_toy
from verifier.execution.rerun import Rerun
from verifier.ledger.claims import headline_runs
from verifier.sandbox.policy import SandboxPolicy
from verifier.sandbox.tiers import choose_tier, has_own_root
from verifier.submission.submission import Track

TOY_SECONDS, FULL_SECONDS = 600.0, 5400.0
CONTEST_GPUS = 8


@dataclass(frozen=True, slots=True)
class Job:
    """What is run: everything that decides the result of a seed's run."""

    context: Context
    folder: Path
    python: Path
    machine: Machine
    own: bool
    toy: bool
    processes: int
    seconds: float
    unsafe: bool
    mapped: Mapped | None
    material: Material | None


def prepare_job(args: argparse.Namespace, context: Context) -> Job:
    """Check what can be checked before anything runs. Raises `UsageFailure`."""
    own = args.runner == "own"
    python = find_python(args.python)
    if own and context.submission.program.main is None:
        raise UsageFailure(
            f"{args.folder} has no training script; nothing was run", "--runner reference needs settings in README or logs, too"
        )
    if own and args.preset:
        raise UsageFailure("--preset is for --runner reference; nothing was run")
    machine = inspect_machine(python)
    if not args.toy and not machine.gpus:
        raise UsageFailure(
            "no GPU that torch can use on this machine; nothing was run",
            "--toy runs at a size for a CPU: it shows that and how the record runs, and compares no BPB",
        )
    processes: int = args.nproc or (1 if args.toy else len(machine.gpus))
    material = None
    if args.toy:
        if args.data or args.tokenizer:
            raise UsageFailure("--toy makes its own data: leave --data and --tokenizer out; nothing was run")
        if own and processes > 1:
            raise UsageFailure("--toy runs the record's script as one process; nothing was run", "leave --nproc out")
    else:
        if processes > len(machine.gpus):
            raise UsageFailure(f"--nproc {processes}: this machine has {len(machine.gpus)} GPUs; nothing was run")
        if args.data is None or not args.data.is_dir() or (args.tokenizer is not None and not args.tokenizer.is_file()):
            raise UsageFailure("a full run needs --data FOLDER (the shards) and --tokenizer FILE; nothing was run")
        material = Material(args.data.resolve(), args.tokenizer.resolve() if args.tokenizer is not None else None)
        if own and processes > 1 and not args.unsafe_no_sandbox and not has_own_root(choose_tier(SandboxPolicy()).tier):
            raise UsageFailure(
                "the sandbox of this machine lets no processes talk to each other, which torchrun needs; nothing was run",
                "install bubblewrap or allow user namespaces, or run one process (--nproc 1); --unsafe-no-sandbox runs it with your own "
                "rights: for a machine that holds nothing else",
            )
    if own:
        refuse_without_sandbox(args.unsafe_no_sandbox)
    mapped = None if own else map_to_preset(context, python, args.preset)
    seconds = args.timeout or (TOY_SECONDS if args.toy else FULL_SECONDS)
    return Job(context, args.folder, python, machine, own, args.toy, processes, seconds, args.unsafe_no_sandbox, mapped, material)


def map_to_preset(context: Context, python: Path, wanted: str) -> Mapped:
    """Raises `UsageFailure` when no preset is the record's system."""
    catalog = read_catalog(python)
    if wanted and wanted not in catalog.presets:
        raise UsageFailure(
            f"--preset {wanted}: no such preset; nothing was run", f"there are {', '.join(sorted(catalog.presets))}"
        )
    mapped = map_record(describe_record(context), catalog, wanted)
    if not mapped.preset:
        raise UsageFailure(
            f"{mapped.refusal}; nothing was run",
            "--runner own runs its script; --preset NAME compares with a system of your choice",
        )
    return mapped


def logged_seeds(context: Context, *, first_only: bool) -> list[int | None]:
    """The seeds of the claimed runs; the script's own seed where no log names one."""
    seeds = [headline.run.seed for headline in headline_runs(context.submission) if headline.run.seed is not None]
    unique: list[int | None] = list(dict.fromkeys(seeds))
    return (unique[:1] if first_only else unique) or [None]


def describe_inputs(job: Job, args: argparse.Namespace) -> dict[str, object]:
    """What an evidence folder is bound to."""
    tokenizer = job.material.tokenizer if job.material is not None else None
    return {
        "tool": version("contest-verifier"),
        "record": digest_folder(job.folder),
        "runner": args.runner,
        "toy": job.toy,
        "preset": job.mapped.preset if job.mapped is not None else None,
        "overrides": dict(job.mapped.overrides) if job.mapped is not None else None,
        "processes": job.processes,
        "machine": job.machine.named(job.processes),
        "torch": job.machine.torch,
        "data": describe_data(job.material.data if job.material is not None else None),
        "tokenizer": hashlib.sha256(tokenizer.read_bytes()).hexdigest() if tokenizer is not None else None,
    }


def run_seed(job: Job, seed: int | None, place: Path, note: Callable[[str], None]) -> Rerun:
    """One run into the empty folder `place`."""
    if job.mapped is not None:
        order = order_reference(job, seed)
        return run_reference(order, job.python, job.seconds, place.absolute(), note)
    if job.toy:
        return rerun_toy(job.context, job.folder, job.python, seed, job.seconds, place, unsafe=job.unsafe)
    assert job.material is not None
    return rerun_full(
        job.context, job.folder, job.python, seed, job.seconds, place, job.material, job.processes, gpu=True, unsafe=job.unsafe
    )  # fmt: skip


def order_reference(job: Job, seed: int | None) -> Order:
    """The reference run of a seed: the mapped preset with the record's settings, or its tiny form as it is."""
    assert job.mapped is not None
    if job.toy:
        # Every process takes at least one of a step's micro-batches.
        settings = {"GRAD_ACCUM_TOTAL": str(job.processes)} if job.processes > 1 else {}
        return Order(TINY + job.mapped.preset, settings, job.processes, seed)
    assert job.material is not None
    settings = dict(job.mapped.overrides) | {"DATA_PATH": str(job.material.data)}
    if job.material.tokenizer is not None:
        table = job.material.tokenizer.suffix == ".npz"
        settings["TOKENIZER_META_PATH" if table else "TOKENIZER_PATH"] = str(job.material.tokenizer)
    # The reference's schedules go by steps: those that the logged run reached.
    reached = [run.steps_reached for headline in headline_runs(job.context.submission) if (run := headline.run).seed == seed]
    if reached and reached[0]:
        settings["PLANNED_STEPS"] = str(reached[0])
    return Order(job.mapped.preset, settings, job.processes, seed)


def make_conditions(job: Job) -> Conditions:
    submission = job.context.submission
    runs = [headline.run for headline in headline_runs(submission)]
    named = next((run.gpus[0].text for run in runs if run.gpus), "")
    world = next((run.world_size.text for run in runs if run.world_size is not None), "")
    contest = submission.track is Track.TEN_MINUTES
    count = int(world) if world.isdecimal() and len(world) < 6 else CONTEST_GPUS if contest else None
    logged = f"{count or '?'} x {named or ('H100 (the track says so, no log)' if contest else 'a GPU that no log names')}"
    here = job.machine.gpus[0].upper() if job.machine.gpus and not job.toy else ""
    wanted = named.upper() or ("H100" if contest else "")
    alike = bool(here and wanted) and (here in wanted or wanted in here or ("H100" in here and "H100" in wanted))
    machine = "CPU" if job.toy else job.machine.named(job.processes)
    return Conditions(job.toy, job.own, logged, machine, alike and count == job.processes)
