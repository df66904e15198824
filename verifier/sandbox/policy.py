"""The contract of the sandbox: what a command may use, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from verifier.evidence import Problem
from verifier.limits import MIB


class Tier(StrEnum):
    """How a command is confined, strongest first. All but `UNSAFE` isolate files, network and processes."""

    BUBBLEWRAP = "bubblewrap"
    """Namespaces made by `bwrap`, and inside them the locks of `LANDLOCK`."""
    NAMESPACES = "namespaces"
    """The same namespaces made here, for machines without `bwrap` that let a user create them."""
    LANDLOCK = "landlock"
    """Landlock, seccomp and resource limits around ordinary processes: no private process table, disk bound by watching."""
    UNSAFE = "unsafe"
    """Resource limits only. Never chosen, only asked for."""


class Reason(StrEnum):
    """Why the command is no longer running."""

    FINISHED = "finished"
    TIMEOUT = "timeout"
    CPU = "cpu"
    MEMORY = "memory"
    PROCESSES = "processes"
    DISK = "disk"
    OUTPUT = "output"
    KILLED = "killed"
    """A signal ended it that the sandbox did not send for a limit (a crash, or the kernel's own limit on one process)."""
    NOT_AVAILABLE = "not-available"
    """It never ran: no tier can confine it here, or setting one up failed."""


@dataclass(frozen=True, slots=True)
class SandboxLimits:
    """Budgets of one run, for the whole process tree. Bytes unless the name says otherwise."""

    wall_seconds: float = 60.0
    cpu_seconds: float = 60.0
    memory: int = 2048 * MIB
    """Resident memory of all processes together; the scratch folder's memory (`scratch`) comes on top."""
    address_space: int | None = None
    """Virtual memory of one process; `None`: four times `memory` (threads reserve far more than they use). Off with a GPU."""
    processes: int = 64
    """Processes and threads together."""
    open_files: int = 256
    file: int = 512 * MIB
    """Largest single file, sparse or not."""
    scratch: int = 512 * MIB
    """All files in the scratch folders together."""
    scratch_files: int = 10_000
    stdout: int = MIB
    stderr: int = MIB
    """Bytes kept of each stream; the rest is dropped and counted."""
    stream_total: int = 64 * MIB
    """A command that writes more than this to both streams together is stopped."""


@dataclass(frozen=True, slots=True)
class SandboxPolicy:
    """What one command may see and use. It starts in an empty work folder, with an empty home and no network.

    `read_only` are files and folders it sees at the same path, besides the system and the Python that runs this. `inputs` are
    (name, file or folder) copied into the work folder first. `environment` is added to the few variables that are always set;
    nothing is inherited. `results`: an existing folder that receives copies of the regular files left in the work folder.
    `gpu` passes the device nodes through, which is weaker: a driver is a large surface, and GPU memory is not bounded.
    """

    read_only: tuple[Path, ...] = ()
    inputs: tuple[tuple[str, Path], ...] = ()
    results: Path | None = None
    limits: SandboxLimits = field(default_factory=SandboxLimits)
    environment: tuple[tuple[str, str], ...] = ()
    gpu: bool = False
    loopback: bool = False
    """Whether processes inside may talk to each other over a loopback device of their own (torchrun, gloo, NCCL). Only tiers with a network
    namespace of their own can give that: nothing of the machine's network is in it."""
    unsafe: bool = False
    """Run without isolation when no tier is there. For code that is trusted anyway."""

    def __post_init__(self) -> None:
        home = Path.home().resolve()
        for path in self.read_only:
            # A home folder or what holds it would hand over keys and tokens.
            if not path.is_absolute() or home.is_relative_to(path.resolve()):
                raise ValueError(f"read_only: {path} is relative, the home folder, or holds it")
        for name, _ in self.inputs:
            if not name or name.startswith("/") or ".." in name.split("/") or "\0" in name:
                raise ValueError(f"inputs: {name!r} is no name inside the work folder")
        for name, value in self.environment:
            if not name or "=" in name or "\0" in name + value:
                raise ValueError(f"environment: {name!r} can't be set")


@dataclass(frozen=True, slots=True, order=True)
class LeftFile:
    """A regular file that the command left in its work folder. `size` is in bytes; links and other kinds are problems."""

    path: str
    size: int


@dataclass(frozen=True, slots=True)
class SandboxResult:
    """What came of one run. `exit_code` or `signal`, never both; neither when a limit ended it or it never ran."""

    tier: Tier | None
    reason: Reason
    exit_code: int | None = None
    signal: int | None = None
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_memory: int = 0
    """Bytes, the largest sum seen over all processes (looked at every few hundredths of a second)."""
    stdout: bytes = b""
    stderr: bytes = b""
    stdout_dropped: int = 0
    stderr_dropped: int = 0
    """Bytes beyond the cap; 0 when all of the stream is here."""
    stdout_at: tuple[tuple[int, float], ...] = ()
    """(bytes of `stdout` that had come, seconds since the command's start), in order, by the watching process's clock."""
    files: tuple[LeftFile, ...] = ()
    problems: tuple[Problem, ...] = ()
    detail: str = ""
    """One line: the limit that was crossed, or why nothing ran."""
    weaknesses: tuple[str, ...] = ()
    """Where this tier falls short of the contract on this machine."""
