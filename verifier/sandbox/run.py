"""Running one command in a tier: start it, watch every budget, end all of it, hand back what it left."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

from verifier.evidence import Location, Problem
from verifier.limits import MIB
from verifier.sandbox.launch import News
from verifier.sandbox.policy import Reason, SandboxLimits, SandboxPolicy, SandboxResult, Tier
from verifier.sandbox.process_tree import Usage, descendants, inside, kill_descendants, measure, proportional_memory
from verifier.sandbox.scratch import copy_files, list_files, remove_tree, used_bytes
from verifier.sandbox.tiers import choose_tier, has_own_root, make_orders, start_command, weaknesses

SETUP_SECONDS = 30.0
DRAIN_SECONDS = 3.0
LOOK_SECONDS = 0.02
"""Time between two looks at a tree; five times as long once it has run for two seconds."""
DISK_LOOKS = 5
"""A scratch folder on disk is walked at every fifth look."""
MOST_NEWS = 64 * 1024
ARRIVAL_SECONDS = 0.01
"""What comes within this time of an output came together."""


def run(command: Sequence[str], policy: SandboxPolicy) -> SandboxResult:
    """Run a command in the strongest tier that works here, or refuse (`Reason.NOT_AVAILABLE`). Never raises on its behaviour.

    `command[0]` is an absolute path or a name in the system's folders. Must be called by a thread that lives as long as the
    call: the kernel ends the command with it.
    """
    state = choose_tier(policy)
    if not state.available:
        return SandboxResult(None, Reason.NOT_AVAILABLE, detail=state.reason)
    if policy.loopback and not has_own_root(state.tier) and state.tier is not Tier.UNSAFE:
        reason = f"{state.tier} has no network of its own, in which processes could talk to each other"
        return SandboxResult(None, Reason.NOT_AVAILABLE, detail=reason)
    return run_in_tier(tuple(command), policy, state.tier)


def run_in_tier(command: tuple[str, ...], policy: SandboxPolicy, tier: Tier) -> SandboxResult:
    """Run a command in this tier and no other; one that does not work here ends in `Reason.NOT_AVAILABLE`."""
    base = Path(tempfile.mkdtemp(prefix="verifier-sandbox-")).resolve()
    try:
        for name in ("scratch", "stage"):
            (base / name).mkdir(mode=0o700)
        if os.geteuid() == 0:
            # The command runs as another user, who must be able to pass through.
            base.chmod(0o711)
        result = _Run(command, policy, tier, base).run()
    except BaseException:
        remove_tree(base)
        raise
    try:
        if not any(problem.kind == "survivors" for problem in result.problems):
            remove_tree(base)
    except OSError as failure:
        problem = Problem(Location("."), "left-behind", f"{base} could not be removed: {failure.strerror}")
        result = replace(result, problems=(*result.problems, problem))
    return result


@dataclass(slots=True)
class _Stream:
    """One output: what is kept of it, when that came, and how much is not."""

    cap: int
    kept: bytearray = field(default_factory=bytearray)
    arrived: list[tuple[int, float]] = field(default_factory=list)
    total: int = 0

    def add(self, data: bytes, seconds: float) -> None:
        self.total += len(data)
        if len(self.kept) == self.cap:
            return
        self.kept += data[: self.cap - len(self.kept)]
        if self.arrived and seconds - self.arrived[-1][1] < ARRIVAL_SECONDS:
            self.arrived[-1] = (len(self.kept), self.arrived[-1][1])
        else:
            self.arrived.append((len(self.kept), seconds))

    @property
    def dropped(self) -> int:
        return self.total - len(self.kept)


class _Run:
    """The state of one run while it is watched."""

    def __init__(self, command: tuple[str, ...], policy: SandboxPolicy, tier: Tier, base: Path) -> None:
        self.command, self.policy, self.tier, self.base = command, policy, tier, base
        self.limits: SandboxLimits = policy.limits
        self.streams = (_Stream(self.limits.stdout), _Stream(self.limits.stderr))
        self.selector = selectors.DefaultSelector()
        self.news = b""
        self.started_at: float | None = None
        self.ended: News | None = None
        self.over = False
        self.failed = ""
        self.work = self.proc = -1
        self.peak = 0
        self.cpu = 0.0
        self.looks = 0
        self.free_at_start = 0

    def run(self) -> SandboxResult:
        ours, theirs = socket.socketpair()
        with ours, self.selector, contextlib.ExitStack() as stack:
            with theirs, tempfile.TemporaryFile() as letter:
                orders = make_orders(self.command, self.policy, self.tier, self.base)
                letter.write(json.dumps(orders).encode())
                letter.seek(0)
                self.free_at_start = shutil.disk_usage(self.base).free
                try:
                    process = subprocess.Popen(
                        start_command(orders, theirs.fileno()),
                        stdin=letter,
                        stdout=subprocess.PIPE,
                        stderr=subprocess.PIPE,
                        pass_fds=(theirs.fileno(),),
                        env={"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"},
                        cwd="/",
                        start_new_session=True,
                    )
                except OSError as failure:
                    return SandboxResult(None, Reason.NOT_AVAILABLE, detail=f"{self.tier}: {failure}")
            stack.callback(self._close)
            stack.enter_context(process)
            reason, detail = Reason.NOT_AVAILABLE, "interrupted"
            try:
                pipes = (process.stdout, process.stderr)
                for pipe, stream in zip(pipes, self.streams, strict=True):
                    self.selector.register(_file(pipe), selectors.EVENT_READ, stream)
                self.selector.register(ours, selectors.EVENT_READ, None)
                reason, detail = self._watch(process)
            finally:
                wall = time.monotonic() - (self.started_at or time.monotonic())
                gone = self._end(process)
            return self._result(reason, detail, wall, gone)

    def _watch(self, process: subprocess.Popen[bytes]) -> tuple[Reason, str]:
        """Read and look until the command has ended, or a budget has."""
        begin = time.monotonic()
        next_look = begin
        while True:
            now = time.monotonic()
            for key, _ in self.selector.select(max(0.0, next_look - now)):
                self._read(key)
            if self.over or self.failed:
                return self._how_it_ended()
            now = time.monotonic()
            if self.started_at is None:
                if now - begin > SETUP_SECONDS:
                    return Reason.NOT_AVAILABLE, f"the sandbox was not ready after {SETUP_SECONDS:g} s"
                next_look = now + LOOK_SECONDS
                continue
            if now - self.started_at > self.limits.wall_seconds:
                return Reason.TIMEOUT, f"more than {self.limits.wall_seconds:g} s of wall time"
            if sum(stream.total for stream in self.streams) > self.limits.stream_total:
                return Reason.OUTPUT, f"more than {self.limits.stream_total:,} bytes of output"
            if now >= next_look:
                crossed = self._look(process.pid)
                if crossed:
                    return crossed
                next_look = now + (LOOK_SECONDS if now - self.started_at < 2 else 5 * LOOK_SECONDS)

    def _read(self, key: selectors.SelectorKey) -> None:
        if isinstance(key.data, _Stream):
            data = os.read(key.fd, 65536)
            if data:
                now = time.monotonic()
                key.data.add(data, now - (self.started_at or now))
            else:
                self.selector.unregister(key.fileobj)
            return
        assert isinstance(key.fileobj, socket.socket)
        data, handles, _, _ = socket.recv_fds(key.fileobj, 4096, 2, socket.MSG_CMSG_CLOEXEC)
        if handles:
            self.work, self.proc = handles
        self.news += data
        if not data or len(self.news) > MOST_NEWS:
            self.over = True
            self.selector.unregister(key.fileobj)
        while b"\n" in self.news:
            line, self.news = self.news.split(b"\n", 1)
            news: News = json.loads(line)
            if news.get("started"):
                self.started_at = time.monotonic()
            if "failed" in news:
                self.failed = news["failed"]
            if "ended" in news:
                self.ended = news
                self.over = True

    def _how_it_ended(self) -> tuple[Reason, str]:
        if self.failed:
            return Reason.NOT_AVAILABLE, f"{self.tier}: {self.failed}"
        if self.ended is None:
            if self.started_at is None:
                return Reason.NOT_AVAILABLE, ""
            return Reason.KILLED, "the sandbox's own process ended first"
        self.cpu = max(self.cpu, self.ended["seconds"])
        self.peak = max(self.peak, self.ended["largest"])
        by = os.WTERMSIG(self.ended["ended"]) if os.WIFSIGNALED(self.ended["ended"]) else 0
        if by == signal.SIGXCPU or (by == signal.SIGKILL and self.cpu >= self.limits.cpu_seconds):
            return Reason.CPU, f"more than {self.limits.cpu_seconds:g} s of processor time"
        if by == signal.SIGXFSZ:
            return Reason.DISK, f"a file larger than {self.limits.file:,} bytes"
        return (Reason.KILLED, signal.Signals(by).name if by in set(signal.Signals) else str(by)) if by else (Reason.FINISHED, "")

    def _look(self, launcher: int) -> tuple[Reason, str] | None:
        """Compare what the tree uses with the budgets. The one that is crossed, or `None`."""
        limits = self.limits
        proc = self.proc if has_own_root(self.tier) else None
        pids = inside(self.proc) if proc is not None else [launcher, *descendants(launcher)]
        # The launcher is one of them.
        if len(pids) - 1 > limits.processes:
            return Reason.PROCESSES, f"more than {limits.processes} processes"
        usage: Usage = measure(pids, proc)
        memory = usage.memory
        if memory > limits.memory:
            memory = proportional_memory(pids, proc)
        self.peak = max(self.peak, memory)
        self.cpu = max(self.cpu, usage.cpu_seconds)
        if memory > limits.memory:
            return Reason.MEMORY, f"more than {limits.memory:,} bytes of memory in {usage.tasks} tasks"
        if usage.tasks - 1 > limits.processes:
            return Reason.PROCESSES, f"more than {limits.processes} processes and threads"
        if usage.cpu_seconds > limits.cpu_seconds:
            return Reason.CPU, f"more than {limits.cpu_seconds:g} s of processor time"
        self.looks += 1
        return self._look_at_disk() if proc is not None or self.looks % DISK_LOOKS == 0 else None

    def _look_at_disk(self) -> tuple[Reason, str] | None:
        limits = self.limits
        if has_own_root(self.tier):
            # Bytes are bound by the file system itself, which answers ENOSPC.
            files = os.fstatvfs(self.work)
            count = files.f_files - files.f_ffree
        else:
            size, count = used_bytes(self.base / "scratch", limits.scratch_files)
            if size > limits.scratch:
                return Reason.DISK, f"more than {limits.scratch:,} bytes in the scratch folder"
            # Files that were deleted while open are not found by walking.
            if self.free_at_start - shutil.disk_usage(self.base).free > 2 * limits.scratch + 256 * MIB:
                return Reason.DISK, "free disk space fell by more than twice what the scratch folder may hold"
        return (Reason.DISK, f"more than {limits.scratch_files:,} files") if count > limits.scratch_files else None

    def _end(self, process: subprocess.Popen[bytes]) -> bool:
        """End every process of the run and read what output is left. Whether all are gone."""
        gone = has_own_root(self.tier) or process.poll() is not None or kill_descendants(process.pid)
        # With a process namespace this ends its process 1, and the kernel all others in it.
        process.kill()
        process.wait()
        until = time.monotonic() + DRAIN_SECONDS
        while any(isinstance(key.data, _Stream) for key in self.selector.get_map().values()):
            if time.monotonic() > until:
                return False
            for key, _ in self.selector.select(0.1):
                self._read(key)
        return gone

    def _result(self, reason: Reason, detail: str, wall: float, gone: bool) -> SandboxResult:
        out, err = self.streams
        if reason is Reason.NOT_AVAILABLE:
            return SandboxResult(
                None, reason, detail=detail or f"{self.tier}: {err.kept.decode(errors='replace').strip()[-300:]}"
            )
        problems = (
            [] if gone else [Problem(Location("."), "survivors", "a process may have outlived the run: its output stayed open")]
        )
        files, odd = list_files(self.work, self.limits)
        problems += odd
        if self.policy.results is not None:
            problems += copy_files(self.work, files, self.policy.results, self.limits)
        status = self.ended["ended"] if self.ended is not None and reason in (Reason.FINISHED, Reason.KILLED) else None
        return SandboxResult(
            tier=self.tier,
            reason=reason,
            exit_code=os.WEXITSTATUS(status) if status is not None and os.WIFEXITED(status) else None,
            signal=os.WTERMSIG(status) if status is not None and os.WIFSIGNALED(status) else None,
            wall_seconds=wall,
            cpu_seconds=self.cpu,
            peak_memory=self.peak,
            stdout=bytes(out.kept),
            stderr=bytes(err.kept),
            stdout_dropped=out.dropped,
            stderr_dropped=err.dropped,
            stdout_at=tuple(out.arrived),
            files=files,
            problems=tuple(problems),
            detail=detail,
            weaknesses=weaknesses(self.tier, gpu=self.policy.gpu),
        )

    def _close(self) -> None:
        for handle in (self.work, self.proc):
            if handle >= 0:
                os.close(handle)


def _file(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe
