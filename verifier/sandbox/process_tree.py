"""All processes below one: who they are, what they use, and ending them.

Imported by the launcher in a bare interpreter: standard library only. Source: proc(5).
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

PAGE = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """What a set of processes uses at one moment. `cpu_seconds` includes children that were waited for."""

    tasks: int = 0
    memory: int = 0
    cpu_seconds: float = 0.0


def descendants(root: int) -> list[int]:
    """Every living process below `root`, not itself. Processes that start meanwhile may be missed: ask again."""
    found: list[int] = []
    waiting = [root]
    seen = {root}
    while waiting:
        for child in _children(waiting.pop()):
            if child not in seen:
                seen.add(child)
                found.append(child)
                waiting.append(child)
    return found


def _children(pid: int) -> Iterable[int]:
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with suppress(OSError), open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                yield from map(int, file.read().split())


def inside(proc: int) -> list[int]:
    """Every process of a process namespace, by the descriptor of its own `/proc`."""
    try:
        return [int(name) for name in os.listdir(proc) if name.isdigit()]
    except OSError:
        return []


def measure(pids: Iterable[int], proc: int | None = None) -> Usage:
    """Tasks, resident bytes and processor seconds of these processes; `proc` is the `/proc` that knows their numbers."""
    tasks, pages, ticks = 0, 0, 0
    for pid in pids:
        content = _read(f"{pid}/stat", proc)
        # The name, in parentheses, may hold anything: count from its end.
        fields = content[content.rfind(b")") + 2 :].split()
        if len(fields) < 22 or fields[0] == b"Z":
            continue
        tasks += int(fields[17])
        ticks += sum(map(int, fields[11:15]))
        pages += int(fields[21])
    return Usage(tasks, pages * PAGE, ticks / TICKS)


def proportional_memory(pids: Iterable[int], proc: int | None = None) -> int:
    """Bytes in memory with shared pages counted once, which is slower to learn. Processes that hide it count in full."""
    total = 0
    for pid in pids:
        for line in _read(f"{pid}/smaps_rollup", proc).splitlines():
            if line.startswith(b"Pss:"):
                total += int(line.split()[1]) * 1024
                break
        else:
            total += measure([pid], proc).memory
    return total


def _read(path: str, proc: int | None) -> bytes:
    try:
        handle = os.open(path if proc is not None else f"/proc/{path}", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc)
    except OSError:
        return b""
    try:
        return os.read(handle, 8192)
    except OSError:
        return b""
    finally:
        os.close(handle)


def kill_descendants(root: int, seconds: float = 5.0) -> bool:
    """End every process below `root`, which must be a subreaper that lives: nothing below it can then leave the tree.

    Whether none is left. All are stopped before any is ended, so that none can start another in the meantime.
    """
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        living = [pid for pid in descendants(root) if not _is_dead(pid)]
        if not living:
            return True
        for which in (signal.SIGSTOP, signal.SIGKILL):
            for pid in living:
                with suppress(ProcessLookupError):
                    os.kill(pid, which)
        if root == os.getpid():
            _collect_dead()
        time.sleep(0.002)
    return False


def _is_dead(pid: int) -> bool:
    content = _read(f"{pid}/stat", None)
    return content[content.rfind(b")") + 2 :][:1] in (b"Z", b"X", b"")


def _collect_dead() -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
