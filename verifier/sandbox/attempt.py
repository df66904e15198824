"""One attempt to get out of the sandbox, or to use up what it bounds: a short program that says how far it got."""

from __future__ import annotations

from dataclasses import dataclass, field

from verifier.limits import MIB
from verifier.sandbox.policy import Reason, SandboxLimits

ATTEMPT_LIMITS = SandboxLimits(
    wall_seconds=8.0,
    cpu_seconds=8.0,
    memory=192 * MIB,
    processes=24,
    open_files=64,
    file=4 * MIB,
    scratch=8 * MIB,
    scratch_files=400,
    stdout=64 * 1024,
    stderr=64 * 1024,
    stream_total=4 * MIB,
)

PRELUDE = """
import ctypes, errno, json, os, signal, socket, sys, time
host = json.loads(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
def say(*words):
    print(*words, flush=True)
def tried(what, action):
    try:
        got = action()
    except (OSError, ValueError, MemoryError, RuntimeError, OverflowError) as failure:
        say("held:", what, "-", failure)
    else:
        say("escaped:", what, "-", repr(got)[:60])
def call(name, *words):
    number = host["calls"][name]
    if number is None:
        raise OSError(errno.ENOSYS, "no such call here")
    got = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(word) if isinstance(word, int) else word for word in words])
    if got < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return got
"""
"""Every program starts with this. It prints `held: ...` for what was stopped and `escaped: ...` for what was not."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """`program` follows `PRELUDE`. It is contained when no line says `escaped`, nothing outside has changed, and either a line
    says `held` or the sandbox stopped it for one of the reasons in `stopped_by`."""

    name: str
    topic: str
    title: str
    program: str
    stopped_by: frozenset[Reason] = frozenset()
    limits: SandboxLimits = field(default=ATTEMPT_LIMITS)
