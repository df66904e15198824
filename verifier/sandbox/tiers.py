"""Which tiers work on this machine, found out by using them, and how a command is started in each."""

from __future__ import annotations

import functools
import glob
import itertools
import os
import resource
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from verifier.limits import MIB
from verifier.sandbox import namespaces
from verifier.sandbox.landlock import LEAST_ALONE, SIGNALS_SINCE, landlock_version
from verifier.sandbox.launch import Orders
from verifier.sandbox.policy import SandboxPolicy, Tier
from verifier.sandbox.syscalls import MACHINE, supported

SYSTEM = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"),
    # Of /etc only what programs need to start: no keys, no shadow, no machine identity.
    *("/etc/alternatives", "/etc/group", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime"),
    *("/etc/mime.types", "/etc/nsswitch.conf", "/etc/passwd"),
    "/sys/devices/system",
)
PROC_ALONE = (
    # Without a private process table the command's own entry and some figures of the machine: no other process.
    *("/proc/self", "/proc/cpuinfo", "/proc/filesystems", "/proc/loadavg", "/proc/meminfo", "/proc/stat", "/proc/version"),
    *("/proc/sys/kernel", "/proc/sys/vm"),
)
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
GPU_DEVICES = ("/dev/nvidia*", "/dev/nvidia-caps", "/dev/dri", "/dev/kfd")
GPU_READABLE = ("/proc/driver/nvidia", "/sys/module/nvidia", "/sys/bus/pci", "/sys/devices", "/sys/class/drm")
PATH = "/usr/local/bin:/usr/bin:/bin"
SCRATCH = "/scratch"
"""The scratch folder where the tier has a root of its own."""

_RUNS = itertools.count()

_PACKAGE = Path(__file__).resolve().parent
# The launcher must not import the package `verifier`, only single modules of this one, which is all that it can see.
_BOOT = (
    "import sys, types; package = types.ModuleType('verifier'); package.__path__ = [sys.argv[1]]; "
    "sys.modules['verifier'] = package; from verifier.sandbox.launch import main; main(int(sys.argv[2]))"
)


@dataclass(frozen=True, slots=True)
class TierState:
    """Whether a tier works here; `reason` says why not, `weaknesses` where it falls short of the contract if it does."""

    tier: Tier
    available: bool
    reason: str
    weaknesses: tuple[str, ...]


def has_own_root(tier: Tier) -> bool:
    """Whether the tier gives a command its own mounts and processes."""
    return tier in (Tier.BUBBLEWRAP, Tier.NAMESPACES)


@functools.cache
def examine_tier(tier: Tier) -> TierState:
    """Try a tier by running a command in it. Takes some tenths of a second the first time."""
    from verifier.sandbox.run import run_in_tier  # run needs the plans made here

    missing = _what_is_missing(tier)
    if not missing:
        result = run_in_tier((python(), "-I", "-S", "-c", "print('ready')"), SandboxPolicy(), tier)
        if result.stdout != b"ready\n":
            missing = result.detail or result.stderr.decode(errors="replace").strip()[-200:] or f"a first run: {result.reason}"
    return TierState(tier, not missing, missing or "a command ran in it", weaknesses(tier, gpu=False))


def choose_tier(policy: SandboxPolicy) -> TierState:
    """The strongest tier that works here. Without one: `UNSAFE` when the policy asks for it, else one that is not available."""
    states = []
    for tier in (Tier.BUBBLEWRAP, Tier.NAMESPACES, Tier.LANDLOCK):
        states.append(examine_tier(tier))
        if states[-1].available:
            return states[-1]
    if policy.unsafe:
        return TierState(Tier.UNSAFE, True, "asked for", weaknesses(Tier.UNSAFE, gpu=policy.gpu))
    reasons = "; ".join(f"{state.tier}: {state.reason}" for state in states)
    return TierState(Tier.UNSAFE, False, f"no sandbox works on this machine ({reasons})", ())


def _what_is_missing(tier: Tier) -> str:
    """Why a tier need not even be tried, or nothing."""
    if not supported():
        return f"needs Linux on x86-64 or aarch64, this is {sys.platform} on {MACHINE}"
    if tier is Tier.BUBBLEWRAP and shutil.which("bwrap") is None:
        return "bwrap is not installed"
    version = landlock_version()
    if tier is Tier.LANDLOCK and version < LEAST_ALONE:
        # A tier that can't keep files apart is none: older versions let a command empty files outside.
        return f"the kernel's Landlock has version {version}, at least {LEAST_ALONE} isolates files"
    return ""


def weaknesses(tier: Tier, *, gpu: bool) -> tuple[str, ...]:
    """Where a tier falls short of the contract on this machine, one sentence each."""
    found = []
    if tier is Tier.UNSAFE:
        found.append("no isolation: files, network and processes of this user are open to the command")
    if has_own_root(tier) and not landlock_version():
        found.append("no Landlock in this kernel: mounts alone keep files apart")
    if tier is Tier.LANDLOCK:
        found.append("the scratch folder is on disk: its size is watched several times a second, not bound by the kernel")
        found.append("file metadata is frozen: changes of modes and times are answered with success and ignored")
        found.append("metadata of files outside (names, sizes, owners) can be asked for by exact path; contents can't be read")
        found.append("no shared memory in /dev/shm and no local sockets")
        if landlock_version() < SIGNALS_SINCE:
            found.append("signals are kept inside by refusing those to any process but the first")
    if os.geteuid() == 0 and tier is not Tier.UNSAFE:
        found.append("started by root: the command runs as an unknown user and sees only files that everyone may read")
    if gpu:
        found.append("GPU device nodes are passed through: the driver is exposed, GPU memory and time are not bounded")
    return tuple(found)


def python() -> str:
    """The interpreter outside of any virtual environment, which starts without looking for one."""
    return os.path.realpath(sys.executable)


def readable_paths(tier: Tier, policy: SandboxPolicy) -> list[str]:
    """Everything a command may read, as spelled and as resolved; nothing that lies in another one."""
    own = (sys.base_prefix, sys.prefix, str(_PACKAGE))
    wanted = [*SYSTEM, *own, *map(os.fspath, policy.read_only)]
    if has_own_root(tier):
        # There inputs are copied by a launcher that has left the host's mounts.
        wanted += [os.path.abspath(source) for _, source in policy.inputs]
        wanted.append("/proc")
    else:
        wanted += PROC_ALONE
    if policy.gpu:
        wanted += GPU_READABLE
    # /proc/self must stay a link: it means the command, not this process.
    both = {path for one in wanted for path in (one, one if one.startswith("/proc") else os.path.realpath(one))}
    there = {path for path in both if os.path.lexists(path)}
    folders = {path for path in there if not os.path.islink(path)}
    return sorted(path for path in there if not any(str(parent) in folders for parent in Path(path).parents))


def device_paths(policy: SandboxPolicy) -> list[str]:
    gpu = [path for pattern in GPU_DEVICES for path in sorted(glob.glob(pattern))] if policy.gpu else []
    return [path for path in (*DEVICES, *gpu) if os.path.exists(path)]


def make_orders(command: tuple[str, ...], policy: SandboxPolicy, tier: Tier, base: Path) -> Orders:
    """What the launcher is told. `base` is an empty folder of this run on the host."""
    scratch = SCRATCH if has_own_root(tier) else str(base / "scratch")
    environment = {
        "HOME": f"{scratch}/home",
        "LANG": "C.UTF-8",
        "PATH": PATH,
        "TMPDIR": f"{scratch}/tmp",
        "USER": "sandbox",
        **dict(policy.environment),
    }
    return {
        "tier": tier.value,
        "command": list(command),
        "environment": environment,
        "readable": readable_paths(tier, policy),
        "devices": device_paths(policy),
        "inputs": [[name, os.path.abspath(source)] for name, source in policy.inputs],
        "scratch": scratch,
        "stage": str(base / "stage"),
        "scratch_bytes": policy.limits.scratch,
        "scratch_files": policy.limits.scratch_files,
        "landlock": landlock_version(),
        "loopback": policy.loopback,
        "user": _unknown_user() if os.geteuid() == 0 and tier is not Tier.UNSAFE else 0,
        "resources": [list(pair) for pair in _resources(policy, tier)],
    }


def _resources(policy: SandboxPolicy, tier: Tier) -> Iterator[tuple[int, int]]:
    """Limits of the kernel on each process; budgets of the whole tree are watched from outside."""
    limits = policy.limits
    yield resource.RLIMIT_CORE, 0
    yield resource.RLIMIT_CPU, max(1, int(limits.cpu_seconds + 0.999))
    yield resource.RLIMIT_FSIZE, limits.file
    yield resource.RLIMIT_NOFILE, limits.open_files
    yield resource.RLIMIT_MSGQUEUE, 0
    yield resource.RLIMIT_NICE, 0
    yield resource.RLIMIT_RTPRIO, 0
    if not policy.gpu:
        yield resource.RLIMIT_AS, limits.address_space or 4 * limits.memory
        yield resource.RLIMIT_MEMLOCK, 64 * 1024
    # A namespace of users and a user of its own count for themselves; else the limit is on all tasks of this user, so those that
    # run now come on top.
    others = 0 if has_own_root(tier) or (os.geteuid() == 0 and tier is not Tier.UNSAFE) else _tasks_of_user()
    yield resource.RLIMIT_NPROC, limits.processes + 2 + others


def _unknown_user() -> int:
    """For root, whom the kernel's process limit does not bind: a user that nobody else is, of its own for every run.

    0 in a container that knows no other user: its root is an ordinary user outside, who is bound.
    """
    lines = Path("/proc/self/uid_map").read_text().splitlines()
    highest = max(int(first) + int(count) - 1 for first, _, count in map(str.split, lines))
    if highest > 2_100_000_000:
        return 2_000_000_000 + 100 * (os.getpid() % 1_000_000) + next(_RUNS) % 100
    return max(0, highest - 1000 - next(_RUNS) % 1000)


def _tasks_of_user() -> int:
    count = 0
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                if entry.stat().st_uid == os.geteuid():
                    count += len(os.listdir(f"/proc/{entry.name}/task"))
            except OSError:
                continue
    return count


def start_command(orders: Orders, channel: int) -> list[str]:
    """The command line that starts the launcher in a tier."""
    launcher = [python(), "-I", "-S", "-B", "-c", _BOOT, str(_PACKAGE.parent), str(channel)]
    if orders["tier"] != Tier.BUBBLEWRAP:
        return launcher
    line = [
        "bwrap",
        "--unshare-ipc",
        "--unshare-pid",
        "--unshare-net",
        "--unshare-uts",
        "--unshare-cgroup-try",
        "--cap-drop",
        "ALL",
    ]
    if orders["user"]:
        # The launcher gives these up when it becomes that user, before the command starts.
        line += [word for name in ("SETUID", "SETGID", "SETPCAP", "CHOWN") for word in ("--cap-add", f"CAP_{name}")]
    else:
        line += ["--unshare-user", "--uid", str(namespaces.USER), "--gid", str(namespaces.USER)]
    line += ["--die-with-parent", "--new-session", "--as-pid-1", "--clearenv", "--hostname", "sandbox", "--proc", "/proc"]
    shown = [path for path in (*orders["readable"], *orders["devices"]) if not path.startswith("/proc")]
    for parent in sorted({str(parent) for path in shown for parent in Path(path).parents} - {"/"} - set(shown)):
        # bwrap by itself would make them for root alone to pass.
        line += ["--perms", "0755", "--dir", parent]
    for path in orders["readable"]:
        if os.path.islink(path):
            line += ["--symlink", os.readlink(path), path]
        elif not path.startswith("/proc"):
            line += ["--ro-bind", path, path]
    for path in orders["devices"]:
        line += ["--dev-bind", path, path]
    line += ["--symlink", "/proc/self/fd", "/dev/fd", "--symlink", f"{SCRATCH}/shm", "/dev/shm"]
    line += ["--perms", "0700", "--size", str(max(orders["scratch_bytes"], MIB)), "--tmpfs", SCRATCH]
    if not any(path.startswith("/tmp/") for path in orders["readable"]):
        # It is a folder already when something readable lies in it; TMPDIR names the one to use.
        line += ["--symlink", f"{SCRATCH}/tmp", "/tmp"]
    return [*line, "--remount-ro", "/", "--", *launcher]
