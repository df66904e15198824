"""Running a submission's own script once more: at toy size through the harness, or at full size on this machine's GPUs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from verifier.engine.context import Context
from verifier.execution.bench import LEFT, Attempt, copy_regular, scratch_folders, stage_of
from verifier.execution.experiment import SEED, is_makeable, settings_listed, settings_of_run
from verifier.execution.launch import OWN, RECORD, Ending, confine, launch
from verifier.execution.observations import BadRecord, read_observations
from verifier.execution.passes import Run as RecordedRun
from verifier.execution.rerun import Rerun
from verifier.execution.seal import is_sealed
from verifier.execution.settings import settable
from verifier.execution.toy_data import make_data, tokenizer_names
from verifier.execution.toy_tokenizer import make_tokenizer
from verifier.execution.workspace import CannotPrepare, dataset_names, leftover_bytes, prepare, submitted_files
from verifier.ledger.configuration import documented_command
from verifier.limits import MIB
from verifier.program.analysis import analysis_of
from verifier.sandbox.policy import Reason, SandboxLimits

_TORCHRUN = (
    "-m", "torch.distributed.run", "--nnodes", "1", "--rdzv_backend", "static", "--master_addr", "127.0.0.1", "--master_port", "29500",
    "--nproc_per_node",
)  # fmt: skip
"""No names to look up: inside there is nobody to ask."""
OUTPUT = 32 * MIB
"""Bytes kept of what a run prints."""
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
    if not is_makeable(toy.vocabulary):
        raise CannotPrepare(f"a vocabulary of {toy.vocabulary} pieces can't be made here")
    case_controls = any("\\ue001" in text.lower() or "\ue001" in text for text in script.texts)
    data = make_data(make_tokenizer(toy.vocabulary, case_controls=case_controls), SEED)
    with scratch_folders() as (workspace, results):
        laid = prepare(folder, script.path, script.arguments, data, script.texts, workspace, toy.environment)
        environment = {**laid.environment, **_seeded(seed)}
        ending = launch(laid.inputs, results, environment, python, seconds, unsafe=unsafe, stdout=OUTPUT)
        try:
            record = RecordedRun(read_observations(results / RECORD), data)
        except BadRecord:
            record = None
        sealed = is_sealed(results / RECORD, laid.key)
        attempt = Attempt("rerun", ending, record, stage_of(record), leftover_bytes(results), sealed=sealed)
        copy_regular(results, kept / LEFT, {"data", *OWN}, KEPT_FILE)
        mapped = [
            f"{event.text('what')}: {event.text('equivalent')}" for event in (record.observations.of("mapped") if record else ())
        ]
        facts = {**_described(ending), "mapped": mapped, "shrunk": {name: list(pair) for name, pair in toy.shrunk.items()}}
        return Rerun(
            seed, attempt.completed, attempt.failure, attempt.stage, ending.seconds, _size(folder, script), False, ending.lines,
            attempt.left, facts,
        )  # fmt: skip


def rerun_full(
    context: Context, folder: Path, python: Path, seed: int | None, seconds: float, kept: Path, material: Material, processes: int,
    *, gpu: bool, unsafe: bool,
) -> Rerun:  # fmt: skip
    """Run the script as it is, under the settings of the run, on `processes` GPUs of this machine. Raises `CannotPrepare`.

    More than one process needs sockets between them: a tier of the sandbox with a network of its own gives these.
    """
    script = script_of(context, folder)
    settings = settable(script.settings)
    vocabulary = settings.get("VOCAB_SIZE", "")
    size = int(vocabulary) if vocabulary.isdecimal() else 1024
    with scratch_folders() as (workspace, results):
        names = dataset_names(size, [*script.texts, *script.settings.values()])
        _link(workspace / "data", names, tokenizer_names(size), material)
        start = (*_TORCHRUN, str(processes)) if processes > 1 else ()
        command = [str(python), "-u", *start, script.path, *script.arguments]
        inputs = (("data", workspace / "data"), *submitted_files(folder))
        tokenizer = f"./data/tokenizers/{tokenizer_names(size)[0]}"
        environment = {
            **settings, "DATA_PATH": f"./data/datasets/{names[0]}", "DATA_DIR": "./data", "TOKENIZER_PATH": tokenizer, "HF_HUB_OFFLINE": "1",
            **_seeded(seed), "GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo",
        }  # fmt: skip
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        limits = SandboxLimits(
            wall_seconds=seconds, cpu_seconds=seconds * 32 * processes, memory=int(0.9 * memory), processes=4096, open_files=65_536,
            file=16_384 * MIB, scratch=65_536 * MIB, stdout=OUTPUT,
        )  # fmt: skip
        visible = [material.data, *([material.tokenizer] if material.tokenizer is not None else [])]
        ending = confine(
            command, inputs, results, environment, python, limits, visible, gpu=gpu, loopback=processes > 1, unsafe=unsafe
        )
        left = leftover_bytes(results)
        copy_regular(results, kept / LEFT, {"data", *OWN}, KEPT_FILE)
        completed = ending.reason is Reason.FINISHED and ending.exit_code == 0
        last = next((line for line in reversed(ending.output.splitlines()) if line.strip()), "")
        failure = "" if completed else ending.detail or f"it ended with code {ending.exit_code}: {last.strip()[:300]}"
        stage = "end" if completed else "started" if ending.lines else "nothing printed"
        facts = {**_described(ending), "settings": settings}
        return Rerun(seed, completed, failure, stage, ending.seconds, _size(folder, script), True, ending.lines, left, facts)


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


def _size(folder: Path, script: Script) -> int:
    """Bytes of the script as it was submitted, whatever the run made of its copy."""
    return (folder / script.path).stat().st_size


def _described(ending: Ending) -> dict[str, object]:
    return {
        "tier": ending.tier,
        "reason": ending.reason.value,
        "exit_code": ending.exit_code,
        "peak_memory": ending.peak_memory,
        "weaknesses": list(ending.weaknesses),
        "tail": ending.output[-4000:],
    }
