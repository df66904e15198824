"""The filter's decisions on both architectures, by running its instructions here."""

from __future__ import annotations

import errno
import struct

import pytest

from verifier.sandbox import seccomp, syscalls

ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
ALLOW, KILL = "allow", "kill"


def decide(program: bytes, number: int, arguments: tuple[int, ...], architecture: int) -> str | int:
    """What the kernel would answer: `allow`, `kill` or an error number."""
    data = struct.pack("<IIQ6Q", number, architecture, 0, *arguments, *[0] * (6 - len(arguments)))
    steps = [struct.unpack_from("=HBBI", program, at) for at in range(0, len(program), 8)]
    register, at = 0, 0
    while True:
        code, yes, no, value = steps[at]
        at += 1
        if code == 0x20:
            (register,) = struct.unpack_from("<I", data, value)
        elif code == 0x06:
            return ALLOW if value == 0x7FFF0000 else KILL if value == 0x80000000 else int(value & 0xFFFF)
        else:
            holds = {0x15: register == value, 0x25: register > value, 0x45: bool(register & value)}[code]
            at += yes if holds else no


@pytest.fixture(params=["x86_64", "aarch64"])
def machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    name = str(request.param)
    monkeypatch.setattr(syscalls, "MACHINE", name)
    monkeypatch.setattr(seccomp, "MACHINE", name)
    return name


def ask(machine: str, name: str | int, *arguments: int, alone: bool = False, signals: bool = False) -> str | int:
    number = syscalls.number(name) if isinstance(name, str) else name
    assert number is not None
    return decide(seccomp.build_filter(alone=alone, own=77, signals=signals), number, arguments, ARCHITECTURE[machine])


def test_every_listed_call_is_answered_as_listed(machine: str) -> None:
    for alone in (False, True):
        for names, answer in ((seccomp.REFUSED, errno.EPERM), (seccomp.ABSENT, errno.ENOSYS)):
            for name in names:
                if syscalls.number(name) is not None:
                    assert ask(machine, name, alone=alone) == answer, name


def test_sockets(machine: str) -> None:
    for family in (0, 2, 10, 16, 17, 40, 1 << 31):
        assert ask(machine, "socket", family) == errno.EACCES
        assert ask(machine, "socketpair", family) == errno.EACCES
    assert ask(machine, "socket", 1) == ALLOW
    # The kernel reads an int: what stands above it does not count.
    assert ask(machine, "socket", (1 << 32) | 2) == errno.EACCES
    assert ask(machine, "socket", 1, alone=True) == errno.EACCES
    assert ask(machine, "socketpair", 1, alone=True) == ALLOW


def test_clone_makes_threads_and_processes_but_no_namespaces(machine: str) -> None:
    assert ask(machine, "clone", 0x3D0F00) == ALLOW
    assert ask(machine, "clone", 17) == ALLOW
    for flag in (0x20000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000):
        assert ask(machine, "clone", flag | 17) == errno.EPERM
    assert ask(machine, "clone3") == errno.ENOSYS


def test_limits_of_others_and_terminals(machine: str) -> None:
    assert ask(machine, "prlimit64", 0) == ALLOW
    assert ask(machine, "prlimit64", 1234) == errno.EPERM
    assert ask(machine, "ioctl", 1, 0x5412) == errno.EPERM
    assert ask(machine, "ioctl", 1, (7 << 32) | 0x5412) == errno.EPERM
    assert ask(machine, "ioctl", 1, 0x5401) == ALLOW
    assert ask(machine, "fcntl", 1, 8) == errno.EPERM
    assert ask(machine, "fcntl", 1, 4) == ALLOW


def test_metadata_is_frozen_only_without_mounts(machine: str) -> None:
    for name in ("fchmod", "fchmodat", "fchownat", "utimensat", "setxattr"):
        assert ask(machine, name) == ALLOW
        # Error number 0: the caller is told that it worked.
        assert ask(machine, name, alone=True) == 0


def test_signals_stay_inside_where_nothing_else_keeps_them(machine: str) -> None:
    assert ask(machine, "kill", 1, alone=True) == ALLOW
    for pid in (1, 1234, 2**32 - 1):
        assert ask(machine, "kill", pid, alone=True, signals=True) == errno.EPERM
    for pid in (0, 77):
        assert ask(machine, "kill", pid, alone=True, signals=True) == ALLOW
    assert ask(machine, "tgkill", 77, 80, alone=True, signals=True) == ALLOW
    assert ask(machine, "tgkill", 78, 80, alone=True, signals=True) == errno.EPERM
    assert ask(machine, "pidfd_send_signal", alone=True, signals=True) == errno.EPERM


def test_other_interfaces_and_later_calls(machine: str) -> None:
    program = seccomp.build_filter(alone=False, own=1, signals=False)
    others = [*ARCHITECTURE.values(), 0x40000003]
    assert [decide(program, 39, (), other) for other in others if other != ARCHITECTURE[machine]] == [KILL, KILL]
    for number in (463, 0x40000000 | 39, 0x40000000 | 521, 2**32 - 1):
        assert ask(machine, number) == errno.ENOSYS


def test_ordinary_calls_pass(machine: str) -> None:
    ordinary = {"x86_64": (0, 1, 9, 39, 57, 59, 231, 257), "aarch64": (56, 63, 64, 93, 172, 221, 222)}[machine]
    assert {ask(machine, number) for number in ordinary} == {ALLOW}
