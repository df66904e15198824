"""Running a submission's own script once more: at toy size through the harness, or at full size on this machine's GPUs."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from verifier.engine.context import Context
from verifier.execution.bench import Attempt, stage_of
from verifier.execution.experiment import SEED, settings_listed, settings_of_run
from verifier.execution.launch import CODE, MEMORY, OWN, PLAN, RECORD, base_of, own_code
from verifier.execution.launch import Ending as Ended
from verifier.execution.observations import BadRecord, read_observations
from verifier.execution.passes import Run as RecordedRun
from verifier.execution.rerun import STAMPS, Rerun, read_stamps
from verifier.execution.seal import is_sealed
from verifier.execution.settings import KEEP_OFF, LAUNCH
from verifier.execution.toy_data import make_data, tokenizer_names
from verifier.execution.toy_tokenizer import SMALLEST, make_tokenizer
from verifier.execution.workspace import CannotPrepare, dataset_names, leftover_bytes, prepare, submitted_files
from verifier.ledger.configuration import documented_command
from verifier.limits import MIB
from verifier.program.analysis import analysis_of
from verifier.sandbox.policy import Reason, SandboxLimits, SandboxPolicy, Tier
from verifier.sandbox.run import run, run_in_tier

STAMPING = "verifier.execution.child.stamps"
LARGEST_VOCABULARY = 32_768
KEPT_FILE = 32 * MIB
"""Larger files that a run leaves (raw checkpoints) are listed, not kept."""


@dataclass(frozen=True, slots=True)
class Material:
    """What a full run works on: the folder of shards and the tokenizer's file."""

    data: Path
    tokenizer: Path | None


@dataclass(frozen=True, slots=True)
class Script:
    """The submission's script as its documented command starts it."""

    path: str
    arguments: tuple[str, ...]
    texts: tuple[str, ...]
    settings: dict[str, str]


def script_of(context: Context, folder: Path) -> Script:
    """Raises `CannotPrepare` without one."""
    program = context.submission.program
    if program.main is None:
        raise CannotPrepare("the folder has no training script")
    command = documented_command(context.submission)
    configuration = analysis_of(context).config
    if command is None:
        configuration = {**settings_listed(context, folder), **configuration}
    arguments = command.arguments if command is not None and command.script == program.main.path else ()
    texts = tuple(text for member in program.members for _, text in member.code_texts)
    return Script(program.main.path, arguments, texts, configuration)


def rerun_toy(
    context: Context, folder: Path, python: Path, seed: int | None, seconds: float, kept: Path, *, unsafe: bool
) -> Rerun:
    """Run the script of `folder` at toy size on a CPU. What it leaves is copied to `kept`. Raises `CannotPrepare`."""
    script = script_of(context, folder)
    toy, _ = settings_of_run(context, folder)
    if not SMALLEST <= toy.vocabulary <= LARGEST_VOCABULARY:
        raise CannotPrepare(f"a vocabulary of {toy.vocabulary} pieces can't be made here")
    case_controls = any("\\ue001" in text.lower() or "\ue001" in text for text in script.texts)
    data = make_data(make_tokenizer(toy.vocabulary, case_controls=case_controls), SEED)
    with _scratch() as (workspace, results):
        laid = prepare(folder, script.path, script.arguments, data, script.texts, workspace, toy.environment)
        plan = workspace / PLAN
        stamped = {**json.loads(plan.read_text(encoding="utf-8")), "stamps": f"{RECORD}/{STAMPS}"}
        plan.write_text(json.dumps(stamped), encoding="utf-8")
        limits = SandboxLimits(
            wall_seconds=seconds, cpu_seconds=2 * seconds, memory=MEMORY, address_space=64 * 1024 * MIB, open_files=1024,
            scratch=1024 * MIB, processes=128,
        )  # fmt: skip
        environment = {**laid.environment, **_seeded(seed), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        ending = _confine(laid.inputs, results, environment, python, limits, (), gpu=False, unsafe=unsafe, tier=None)
        try:
            record = RecordedRun(read_observations(results / RECORD), data)
        except BadRecord:
            record = None
        sealed = is_sealed(results / RECORD, laid.key)
        attempt = Attempt("rerun", ending, record, stage_of(record), leftover_bytes(results), sealed=sealed)
        lines = read_stamps(results / RECORD / STAMPS)
        _keep(results, kept)
        mapped = [
            f"{event.text('what')}: {event.text('equivalent')}" for event in (record.observations.of("mapped") if record else ())
        ]
        facts = {**_described(ending), "mapped": mapped, "shrunk": {name: list(pair) for name, pair in toy.shrunk.items()}}
        return Rerun(
            seed, attempt.completed, attempt.failure, attempt.stage, ending.seconds, attempt.left.get(script.path, 0), False, lines,
            attempt.left, facts,
        )  # fmt: skip


def rerun_full(
    context: Context, folder: Path, python: Path, seed: int | None, seconds: float, kept: Path, material: Material, processes: int,
    *, gpu: bool, unsafe: bool,
) -> Rerun:  # fmt: skip
    """Run the script as it is, under the settings of the run, on `processes` GPUs of this machine. Raises `CannotPrepare`.

    More than one process needs sockets between them, which no tier of the sandbox gives: that is for `unsafe` only.
    """
    script = script_of(context, folder)
    settings = {
        name: value
        for name, value in script.settings.items()
        if name.replace("_", "").isalnum() and name == name.upper() and name not in KEEP_OFF and name not in LAUNCH
        and not name.startswith(("LD_", "PYTHON", "HF_"))
    }  # fmt: skip
    vocabulary = settings.get("VOCAB_SIZE", "")
    size = int(vocabulary) if vocabulary.isdecimal() else 1024
    with _scratch() as (workspace, results):
        names = dataset_names(size, [*script.texts, *script.settings.values()])
        _link(workspace / "data", names, tokenizer_names(size), material)
        start = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)) if processes > 1 else ()
        command = [str(python), "-u", *start, script.path, *script.arguments]
        record = workspace / RECORD
        record.mkdir()
        (record / ".keep").touch()
        plan = workspace / PLAN
        plan.write_text(json.dumps({"command": command, "stamps": f"{RECORD}/{STAMPS}"}), encoding="utf-8")
        inputs = (("data", workspace / "data"), (PLAN, plan), (RECORD, record), *submitted_files(folder))
        tokenizer = f"./data/tokenizers/{tokenizer_names(size)[0]}"
        environment = {
            **settings, "DATA_PATH": f"./data/datasets/{names[0]}", "DATA_DIR": "./data", "TOKENIZER_PATH": tokenizer, "HF_HUB_OFFLINE": "1",
            **_seeded(seed),
        }  # fmt: skip
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        limits = SandboxLimits(
            wall_seconds=seconds, cpu_seconds=seconds * 32 * processes, memory=int(0.9 * memory), processes=4096, open_files=65_536,
            file=16_384 * MIB, scratch=65_536 * MIB,
        )  # fmt: skip
        visible = [material.data, *([material.tokenizer] if material.tokenizer is not None else [])]
        tier = Tier.UNSAFE if processes > 1 and unsafe else None
        ending = _confine(inputs, results, environment, python, limits, visible, gpu=gpu, unsafe=unsafe, tier=tier)
        lines = read_stamps(results / RECORD / STAMPS)
        left = leftover_bytes(results)
        _keep(results, kept)
        completed = ending.reason is Reason.FINISHED and ending.exit_code == 0
        last = next((line for line in reversed(ending.output.splitlines()) if line.strip()), "")
        failure = "" if completed else ending.detail or f"it ended with code {ending.exit_code}: {last.strip()[:300]}"
        stage = "end" if completed else "started" if lines else "nothing printed"
        facts = {**_described(ending), "settings": settings}
        return Rerun(seed, completed, failure, stage, ending.seconds, left.get(script.path, 0), True, lines, left, facts)


def _confine(
    inputs: Sequence[tuple[str, Path]], results: Path, environment: Mapping[str, str], python: Path, limits: SandboxLimits,
    visible: Sequence[Path], *, gpu: bool, unsafe: bool, tier: Tier | None,
) -> Ended:  # fmt: skip
    """Run the plan under the stamping clock. `tier` is the one to use, `None` the strongest that works."""
    prefix = python.parent.parent
    try:
        policy = SandboxPolicy(
            read_only=tuple(dict.fromkeys((prefix, *base_of(prefix), *visible))),
            inputs=(*inputs, *own_code()),
            results=results,
            limits=limits,
            environment=(
                *environment.items(), ("PYTHONPATH", f"./{CODE}"), ("PYTHONHASHSEED", "0"), ("PYTHONDONTWRITEBYTECODE", "1"),
            ),
            gpu=gpu,
            unsafe=unsafe,
        )  # fmt: skip
    except ValueError as failure:  # a folder or a value that the sandbox does not take
        return Ended(Reason.NOT_AVAILABLE, None, 0.0, 0, None, str(failure), "")
    command = (str(python), "-m", STAMPING, PLAN)
    result = run(command, policy) if tier is None else run_in_tier(command, policy, tier)
    output = (result.stdout + b"\n" + result.stderr).decode("utf-8", "replace")
    name = result.tier.value if result.tier is not None else None
    return Ended(
        result.reason, result.exit_code, result.wall_seconds, result.peak_memory, name, result.detail, output[-20_000:], result.weaknesses
    )  # fmt: skip


@contextmanager
def _scratch() -> Iterator[tuple[Path, Path]]:
    """An empty workspace and an empty folder for results. Not below /tmp: a tier with a root of its own replaces that folder."""
    place = Path("/var/tmp") if Path("/var/tmp").is_dir() else None
    base = Path(tempfile.mkdtemp(prefix="verifier-rerun-", dir=place))
    try:
        for name in ("workspace", "results"):
            (base / name).mkdir()
        yield base / "workspace", base / "results"
    finally:
        shutil.rmtree(base, ignore_errors=True)


def _link(root: Path, names: Sequence[str], tokenizers: Sequence[str], material: Material) -> None:
    """The contest's layout of data as links to where the data is."""
    (root / "datasets").mkdir(parents=True)
    (root / "tokenizers").mkdir()
    for name in names:
        place = root / "datasets" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(material.data.resolve())
    for name in tokenizers if material.tokenizer is not None else ():
        assert material.tokenizer is not None
        (root / "tokenizers" / name).symlink_to(material.tokenizer.resolve())


def _seeded(seed: int | None) -> dict[str, str]:
    return {"RUN_ID": "reproduce"} | ({"SEED": str(seed)} if seed is not None else {})


def _described(ending: Ended) -> dict[str, object]:
    return {
        "tier": ending.tier,
        "reason": ending.reason.value,
        "exit_code": ending.exit_code,
        "peak_memory": ending.peak_memory,
        "weaknesses": list(ending.weaknesses),
        "tail": ending.output[-4000:],
    }


def _keep(results: Path, kept: Path) -> None:
    """Copy the run's files, the script among them, but for what is too large and what is ours."""
    for path in sorted(results.rglob("*")):
        relative = path.relative_to(results)
        ours = relative.parts[0] in {"data", *OWN}
        if path.is_file() and not path.is_symlink() and not ours and path.stat().st_size <= KEPT_FILE:
            (kept / relative).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, kept / relative)
