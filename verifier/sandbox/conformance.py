"""The conformance suite: escapes and exhaustions tried inside a tier, each judged from inside and from outside."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from verifier.evidence import excerpt
from verifier.sandbox.access_escapes import ACCESS_ESCAPES
from verifier.sandbox.attempt import PRELUDE, Attempt
from verifier.sandbox.exhaustion import EXHAUSTIONS
from verifier.sandbox.policy import Reason, SandboxPolicy, SandboxResult, Tier
from verifier.sandbox.process_escapes import PROCESS_ESCAPES
from verifier.sandbox.run import run_in_tier
from verifier.sandbox.syscalls import number, system_calls
from verifier.sandbox.tiers import has_own_root, python, readable_paths

ATTEMPTS = (*ACCESS_ESCAPES, *PROCESS_ESCAPES, *EXHAUSTIONS)
GRACE_SECONDS = 1.0
"""A process that was ended may be listed for a moment."""


class Containment(StrEnum):
    CONTAINED = "contained"
    NOT_CONTAINED = "not contained"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """What one attempt achieved in one tier; `line` says it in one line (it quotes the attempt: untrusted text)."""

    name: str
    topic: str
    title: str
    outcome: Containment
    line: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Conformance:
    """All attempts in one tier."""

    tier: Tier
    results: tuple[AttemptResult, ...]

    @property
    def contained(self) -> bool:
        return all(result.outcome is not Containment.NOT_CONTAINED for result in self.results)


def try_escapes(
    tier: Tier, attempts: Sequence[Attempt] = ATTEMPTS, after_each: Callable[[AttemptResult], object] = lambda result: None
) -> Conformance:
    """Try every attempt in this tier. Changes nothing outside unless one succeeds.

    `after_each` is told of each result as it comes. Many attempts wait for a limit, so two go on at a time, each with its own
    bait; only in a tier without namespaces they would count each other's processes.
    """
    lanes = 2 if has_own_root(tier) else 1

    def try_lane(lane: int) -> list[tuple[int, AttemptResult]]:
        tried: list[tuple[int, AttemptResult]] = []
        waiting = list(range(lane, len(attempts), lanes))
        while waiting:
            with _bait() as bait:
                while waiting:
                    at = waiting.pop(0)
                    result = _try_one(attempts[at], tier, bait)
                    after_each(result)
                    tried.append((at, result))
                    if result.outcome is Containment.NOT_CONTAINED:
                        # What it did to the bait must not be blamed on the next one.
                        break
        return tried

    with ThreadPoolExecutor(lanes) as pool:
        results = sorted((pair for lane in pool.map(try_lane, range(lanes)) for pair in lane), key=lambda pair: pair[0])
    return Conformance(tier, tuple(result for _, result in results))


class _Bait:
    """What attempts go for, outside: servers, a secret file, a process. Knows whether any of it was reached."""

    def __init__(self, folder: Path, victim: int, servers: dict[str, socket.socket]) -> None:
        self.outside = folder / "outside"
        self.outside.mkdir()
        self.secret = self.outside / "secret"
        self.secret.write_text("not for you")
        self.victim = victim
        self.servers = servers
        self.unix = str(servers["unix"].getsockname())
        # It is looked for in the names of files and the command lines of processes.
        self.marker = f"verifier-attempt-{secrets.token_hex(8)}"
        self.before = self._state()

    def describe(self) -> str:
        """What a program is told about the outside, as JSON."""
        package = Path(__file__).resolve().parent
        home = Path.home()
        shown = [Path(path) for path in readable_paths(Tier.LANDLOCK, SandboxPolicy())]
        repository = next((parent / ".git" for parent in package.parents if (parent / ".git").is_dir()), None)
        return json.dumps(
            {
                "pid": os.getpid(),
                "victim": self.victim,
                "tcp": self.servers["tcp"].getsockname()[1],
                "udp": self.servers["udp"].getsockname()[1],
                "abstract": self.servers["abstract"].getsockname()[1:].decode(),
                "unix": self.unix,
                "secret": str(self.secret),
                "outside": str(self.outside),
                "home": str(home),
                "hidden": sorted(
                    entry.name for entry in home.iterdir() if not any(entry in (path, *path.parents) for path in shown)
                ),
                "git": str(repository or ""),
                "package": str(package),
                "marker": self.marker,
                "calls": {name: number(name) for name in system_calls()},
            }
        )

    def damage(self) -> str:
        """What was reached, in a few words; empty when nothing was."""
        for name, server in self.servers.items():
            with contextlib.suppress(BlockingIOError):
                if server.type == socket.SOCK_DGRAM:
                    server.recv(64)
                else:
                    server.accept()[0].close()
                return f"the {name} server outside was reached"
        if self._state() != self.before:
            return "the folder outside was changed"
        for folder in ("/tmp", "/var/tmp", "/dev/shm", str(Path.home()), "/"):
            if os.path.lexists(f"{folder}/{self.marker}"):
                os.unlink(f"{folder}/{self.marker}")
                return f"a file was left in {folder}"
        if _process_state(self.victim) not in ("S", "R", "D"):
            return "a process outside was ended or stopped"
        return self._survivors()

    def _state(self) -> object:
        found = [(path, path.stat()) for path in (self.outside, self.secret)]
        return (
            sorted(os.listdir(self.outside)),
            self.secret.read_text(),
            [(at.st_mode, at.st_uid, at.st_nlink, at.st_mtime_ns, os.listxattr(path)) for path, at in found],
        )

    def _survivors(self) -> str:
        until = time.monotonic() + GRACE_SECONDS
        while pids := list(_processes_with(self.marker.encode())):
            if time.monotonic() > until:
                return f"{len(pids)} processes outlived the run"
            time.sleep(0.02)
        return ""


def _processes_with(marker: bytes) -> Iterator[int]:
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                if marker in Path(f"/proc/{name}/cmdline").read_bytes():
                    yield int(name)


def _process_state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


@contextlib.contextmanager
def _bait() -> Iterator[_Bait]:
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="verifier-bait-")))
        servers = {
            "tcp": socket.socket(socket.AF_INET, socket.SOCK_STREAM),
            "udp": socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
            "abstract": socket.socket(socket.AF_UNIX, socket.SOCK_STREAM),
            "unix": socket.socket(socket.AF_UNIX, socket.SOCK_STREAM),
        }
        addresses: tuple[tuple[str, int] | str, ...] = (
            ("127.0.0.1", 0),
            ("127.0.0.1", 0),
            f"\0verifier-{secrets.token_hex(8)}",
            str(folder / "socket"),
        )
        for server, address in zip(servers.values(), addresses, strict=True):
            stack.enter_context(server)
            server.bind(address)
            server.setblocking(False)
            if server.type == socket.SOCK_STREAM:
                server.listen()
        program = "import os, signal; signal.signal(signal.SIGURG, lambda *_: os._exit(0))\nwhile True: signal.pause()"
        victim = stack.enter_context(
            subprocess.Popen((python(), "-I", "-S", "-c", program), start_new_session=True, stdin=subprocess.DEVNULL)
        )
        stack.callback(victim.kill)
        yield _Bait(folder, victim.pid, servers)


def _try_one(attempt: Attempt, tier: Tier, bait: _Bait) -> AttemptResult:
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="verifier-results-") as results:
        policy = SandboxPolicy(limits=attempt.limits, results=Path(results))
        result = run_in_tier((python(), "-I", "-S", "-c", PRELUDE + attempt.program, bait.describe()), policy, tier)
        copied = [path for path in Path(results).rglob("*") if path.is_symlink() or not (path.is_file() or path.is_dir())]
    outcome, line = _judge(attempt, result)
    harm = bait.damage() or ("a link or special file came back as a result" if copied else "")
    if harm:
        outcome, line = Containment.NOT_CONTAINED, harm
    return AttemptResult(attempt.name, attempt.topic, attempt.title, outcome, _printable(line), time.monotonic() - begin)


def _printable(line: str) -> str:
    return excerpt("".join(character if character.isprintable() else " " for character in line))


def _judge(attempt: Attempt, result: SandboxResult) -> tuple[Containment, str]:
    """The answer from inside: what the program said, and why it ended."""
    lines = result.stdout.decode(errors="replace").splitlines()
    said = {
        word: [line.removeprefix(word).strip() for line in lines if line.startswith(word)]
        for word in ("escaped:", "held:", "n/a:")
    }
    limits = attempt.limits
    if said["escaped:"]:
        return Containment.NOT_CONTAINED, said["escaped:"][0]
    if len(result.stdout) > limits.stdout or len(result.stderr) > limits.stderr:
        return Containment.NOT_CONTAINED, "more output was kept than the cap"
    if any(problem.kind == "survivors" for problem in result.problems):
        return Containment.NOT_CONTAINED, "output stayed open after the end"
    if result.wall_seconds > limits.wall_seconds + 2:
        return Containment.NOT_CONTAINED, f"ran {result.wall_seconds:.1f} s of {limits.wall_seconds:g} s"
    if result.reason in attempt.stopped_by:
        return Containment.CONTAINED, f"stopped: {result.detail or result.reason}"
    if result.reason is Reason.FINISHED and said["held:"]:
        return Containment.CONTAINED, said["held:"][0]
    if result.reason is Reason.FINISHED and said["n/a:"]:
        return Containment.NOT_APPLICABLE, said["n/a:"][0]
    stderr = result.stderr.decode(errors="replace").strip()
    return Containment.NOT_CONTAINED, f"ended otherwise: {result.reason} {result.detail} {stderr[-160:]}"
