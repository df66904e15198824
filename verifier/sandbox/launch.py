"""What runs inside before the command does: takes every right away, starts the command, waits for it and tells.

Runs in a bare interpreter (`python -I -S`), where only single modules of this package are loaded: standard library only. It
reads its orders as JSON from standard input and talks over one socket that the command never gets. Anything that can't be set
up ends the run before the command starts.
"""

from __future__ import annotations

import array
import errno
import json
import os
import resource
import shutil
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import TypedDict

from verifier.sandbox import namespaces
from verifier.sandbox.landlock import SIGNALS_SINCE, restrict_files
from verifier.sandbox.process_tree import kill_descendants
from verifier.sandbox.seccomp import build_filter, install_filter
from verifier.sandbox.syscalls import (
    PR_SET_CHILD_SUBREAPER,
    PR_SET_DUMPABLE,
    PR_SET_NO_NEW_PRIVS,
    PR_SET_PDEATHSIG,
    become_user,
    prctl,
)

FOLDERS = ("work", "home", "tmp", "shm")


class Orders(TypedDict):
    """What the launcher is to do."""

    tier: str
    command: list[str]
    environment: dict[str, str]
    readable: list[str]
    devices: list[str]
    inputs: list[list[str]]
    scratch: str
    stage: str
    scratch_bytes: int
    scratch_files: int
    landlock: int
    loopback: bool
    user: int
    resources: list[list[int]]


class News(TypedDict, total=False):
    """What the launcher tells: `started` with two descriptors, then `ended`; or `failed` and nothing else."""

    started: bool
    failed: str
    ended: int
    seconds: float
    largest: int


def main(channel: int) -> None:
    """Follow the orders. Never returns."""
    os.set_inheritable(channel, False)
    control = socket.socket(fileno=channel)
    try:
        orders: Orders = json.load(sys.stdin.buffer)
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        for name in (signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(name, signal.SIG_DFL)
        if orders["tier"] == "namespaces":
            namespaces.enter_namespaces()
            if orders["loopback"]:
                namespaces.raise_loopback()
            first = os.fork()
            if first:
                # Outside the process namespace: waits, so that the caller sees one process that ends when all have.
                _wait_for(first)
                os._exit(0)
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            namespaces.build_root(
                orders["stage"],
                orders["readable"],
                orders["devices"],
                orders["scratch"],
                orders["scratch_bytes"],
                orders["scratch_files"],
            )
        _oversee(orders, control)
    except BaseException as failure:
        _tell(control, {"failed": f"{type(failure).__name__}: {failure}"})
    os._exit(1)


def _oversee(orders: Orders, control: socket.socket) -> None:
    """Prepare the scratch folders, start the command, wait for it, leave nothing of it running, tell."""
    own_processes = os.getpid() == 1
    scratch = Path(orders["scratch"])
    for name in FOLDERS:
        (scratch / name).mkdir(mode=0o700, exist_ok=True)
    for name, source in orders["inputs"]:
        _copy_input(Path(source), scratch / "work" / name)
    handles = [os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) for path in (scratch / "work", "/proc")]
    if orders["user"]:
        # From the inside out: a folder that was given away may not be passed any more.
        for path in reversed([scratch, *scratch.rglob("*")]):
            os.chown(path, orders["user"], orders["user"], follow_symlinks=False)
    if not own_processes:
        # What the command's children leave behind comes to this process, not to process 1 of the machine.
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        signal.signal(signal.SIGTERM, lambda *_: (kill_descendants(os.getpid()), os._exit(1)))
    reading, writing = os.pipe()
    # Processes of the same user can then neither read this one's memory nor trace it; the command's start undoes it there.
    prctl(PR_SET_DUMPABLE, 0)
    child = os.fork()
    if not child:
        try:
            _confine(orders, scratch, writing)
            os.execvpe(orders["command"][0], orders["command"], orders["environment"])
        except BaseException as failure:
            os.write(_REPORT, f"{type(failure).__name__}: {failure}".encode()[:4096])
        os._exit(127)
    os.close(writing)
    failed = os.read(reading, 4096)
    if failed:
        _wait_for(child)
        _tell(control, {"failed": failed.decode(errors="replace")})
        os._exit(1)
    if own_processes:
        # The kernel ends the others with this one; only without that help root's right to do so is still needed.
        become_user(0)
    _tell(control, {"started": True}, handles)
    status = _wait_for(child)
    if not own_processes:
        kill_descendants(os.getpid())
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    _tell(control, {"ended": status, "seconds": used.ru_utime + used.ru_stime, "largest": used.ru_maxrss * 1024})
    # As process 1 of its namespace this ends every process left in it.
    os._exit(0)


_REPORT = 3
"""Where the child reports that it could not be confined; closed by the command's start."""


def _confine(orders: Orders, scratch: Path, report: int) -> None:
    """Take everything away from this process but what the orders leave it."""
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    if report != _REPORT:
        os.dup2(report, _REPORT, inheritable=False)
    os.closerange(_REPORT + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    os.umask(0o077)
    for which, limit in orders["resources"]:
        hard = resource.getrlimit(which)[1]
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(which, (limit, limit))
    become_user(orders["user"])
    # Becoming another user resets this one.
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    os.chdir(scratch / "work")
    if orders["tier"] == "unsafe":
        return
    alone = orders["tier"] == "landlock"
    if orders["landlock"]:
        restrict_files(orders["landlock"], orders["readable"], [str(scratch)], orders["devices"], loopback=orders["loopback"])
    signals = alone and orders["landlock"] < SIGNALS_SINCE
    install_filter(build_filter(alone=alone, own=os.getpid(), signals=signals, loopback=orders["loopback"]))


def _copy_input(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        # Links are copied as links: what they point to may lie outside, where the command can't follow them.
        shutil.copytree(source, target, symlinks=True, copy_function=shutil.copyfile, dirs_exist_ok=True)
    else:
        shutil.copyfile(source, target)


def _wait_for(child: int) -> int:
    """Collect children until this one has ended. Its wait status."""
    while True:
        with suppress(InterruptedError):
            pid, status = os.waitpid(-1, 0)
            if pid == child:
                return status


def _tell(control: socket.socket, news: News, handles: list[int] | None = None) -> None:
    message = json.dumps(news).encode() + b"\n"
    attached = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", handles))] if handles else []
    try:
        control.sendmsg([message], attached)
    except OSError as failure:
        if failure.errno not in (errno.EPIPE, errno.ECONNRESET):
            raise
