"""The seam to the sandbox: a prepared working folder and a Python in, how it ended and what it left out."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import verifier
from verifier.execution.stamps import Stamped, stamp_output
from verifier.limits import MIB
from verifier.sandbox.policy import Reason, SandboxLimits, SandboxPolicy
from verifier.sandbox.run import run

CHILD = "verifier.execution.child"
PLAN, RECORD, CODE, ARTIFACT = "probe-plan.json", "probe-record", "probe-code", "probe-artifact"
OWN = frozenset({PLAN, RECORD, CODE, ARTIFACT})
"""Names in the working folder that are ours."""
MEMORY = 4096 * MIB
"""Bytes of memory of all processes of a run, unless the caller says otherwise."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended. `reason` is the sandbox's word, `detail` its line; `output` the tails of both streams."""

    reason: Reason
    exit_code: int | None
    seconds: float
    peak_memory: int
    tier: str | None
    detail: str
    output: str
    weaknesses: tuple[str, ...] = ()
    problems: tuple[str, ...] = field(default=())
    cpu_seconds: float = 0.0
    lines: Stamped = ()
    """What came on standard output, and when."""

    @property
    def started(self) -> bool:
        return self.reason is not Reason.NOT_AVAILABLE


def launch(
    inputs: Sequence[tuple[str, Path]],
    results: Path,
    environment: Mapping[str, str],
    python: Path,
    seconds: float,
    *,
    unsafe: bool,
    memory: int = MEMORY,
    stdout: int = MIB,
) -> Ending:
    """Run the child on copies of `inputs` (name in the working folder, file or folder) for at most `seconds` of wall time.

    What the run leaves is copied to `results`. `python` must have torch; `unsafe` allows a machine without any isolation.
    `stdout`: bytes kept of the output.
    """
    limits = SandboxLimits(
        wall_seconds=seconds, cpu_seconds=2 * seconds, memory=memory, address_space=64 * 1024 * MIB, open_files=1024,
        scratch=1024 * MIB, processes=128, stdout=stdout,
    )  # fmt: skip
    own = {"PYTHONPATH": f"./{CODE}", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = (str(python), "-u", "-m", CHILD, PLAN)
    return confine(command, (*inputs, *own_code()), results, {**environment, **own}, python, limits, unsafe=unsafe)


def confine(
    command: Sequence[str],
    inputs: Sequence[tuple[str, Path]],
    results: Path,
    environment: Mapping[str, str],
    python: Path,
    limits: SandboxLimits,
    visible: Sequence[Path] = (),
    *,
    gpu: bool = False,
    loopback: bool = False,
    unsafe: bool,
) -> Ending:
    """Run a command of `python` in the strongest tier of the sandbox that works. `visible` are files and folders that it sees besides that
    Python; `loopback`: its processes may talk to each other."""
    prefix = python.parent.parent
    try:
        policy = SandboxPolicy(
            read_only=tuple(dict.fromkeys((prefix, *base_of(prefix), *visible))),
            inputs=tuple(inputs),
            results=results,
            limits=limits,
            environment=(*environment.items(), ("PYTHONHASHSEED", "0"), ("PYTHONDONTWRITEBYTECODE", "1")),
            gpu=gpu,
            loopback=loopback,
            unsafe=unsafe,
        )  # fmt: skip
    except ValueError as failure:  # a folder or a value that the sandbox does not take
        return Ending(Reason.NOT_AVAILABLE, None, 0.0, 0, None, str(failure), "")
    result = run(command, policy)
    output = (result.stdout + b"\n" + result.stderr).decode("utf-8", "replace")
    return Ending(
        result.reason,
        result.exit_code,
        result.wall_seconds,
        result.peak_memory,
        result.tier.value if result.tier is not None else None,
        result.detail,
        output[-20_000:],
        result.weaknesses,
        tuple(problem.message for problem in result.problems),
        result.cpu_seconds,
        stamp_output(result.stdout, result.stdout_at),
    )


def base_of(prefix: Path) -> tuple[Path, ...]:
    """The installation a virtual environment was made from."""
    config = prefix / "pyvenv.cfg"
    if not config.is_file():
        return ()
    for line in config.read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, value = line.partition("=")
        if name.strip() == "home" and Path(value.strip()).is_absolute():
            return (Path(value.strip()).resolve().parent,)
    return ()


def own_code() -> tuple[tuple[str, Path], ...]:
    """The child's modules as inputs: a copy needs no way to the place where this package is installed."""
    root = Path(verifier.__file__).resolve().parent
    files = [root / "__init__.py", root / "execution" / "__init__.py", *sorted((root / "execution" / "child").glob("*.py"))]
    return tuple((f"{CODE}/verifier/{file.relative_to(root).as_posix()}", file) for file in files)


def default_python() -> Path:
    return Path(sys.executable)
