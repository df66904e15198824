"""The system calls that confined code can't make, as a seccomp filter written instruction by instruction.

Imported by the launcher in a bare interpreter: standard library only. A list of what is refused rather than of what is allowed:
scientific Python uses most of the harmless calls, and files, processes and memory are bounded by other means.
"""

from __future__ import annotations

import ctypes
import errno
import struct

from verifier.sandbox.syscalls import LAST_KNOWN, MACHINE, call, number

_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_KILL, _ERRNO, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_LOAD, _EQUAL, _GREATER, _ANY_BIT, _RETURN = 0x20, 0x15, 0x25, 0x45, 0x06
_SET_MODE_FILTER = 1
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16

NAMESPACE_FLAGS = 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000 | 0x00020000
AF_UNIX, AF_INET, AF_INET6, AF_NETLINK = 1, 2, 10, 16
IOCTLS_REFUSED = (0x5412, 0x541C, 0x8901, 0x8902, 0x40086602, 0x401C5820, 0x40087602)
"""TIOCSTI, TIOCLINUX, FIOSETOWN, SIOCSPGRP, FS_IOC_SETFLAGS, FS_IOC_FSSETXATTR, FS_IOC_SETVERSION: typing into a terminal,
choosing who gets a signal, flags of files that were opened for reading only."""
FCNTLS_REFUSED = (10, 8, 15, 1024)
"""F_SETSIG, F_SETOWN, F_SETOWN_EX, F_SETLEASE."""

REFUSED = (
    # reaching into other processes
    *("ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd", "kcmp", "process_madvise"),
    *("process_mrelease", "move_pages", "migrate_pages"),
    # mounts, roots, namespaces
    *("mount", "umount2", "pivot_root", "chroot", "unshare", "setns", "open_tree", "move_mount", "fsopen"),
    *("fsconfig", "fsmount", "fspick", "mount_setattr"),
    # files by handle pass every path check
    *("open_by_handle_at", "name_to_handle_at"),
    # keys, kernel programs, counters, modules, the machine itself
    *("add_key", "request_key", "keyctl", "bpf", "perf_event_open", "init_module", "finit_module"),
    *("delete_module", "kexec_load", "kexec_file_load", "reboot", "swapon", "swapoff", "acct", "quotactl"),
    *("quotactl_fd", "syslog", "settimeofday", "clock_settime", "clock_adjtime", "adjtimex", "sethostname"),
    *("setdomainname", "iopl", "ioperm", "modify_ldt", "personality", "vhangup", "lookup_dcookie", "nfsservctl"),
    *("uselib", "sysfs", "_sysctl", "fanotify_init"),
    # priorities of other processes of the same user
    *("setpriority", "ioprio_set", "sched_setscheduler", "sched_setattr", "sched_setparam"),
)
ABSENT = (
    # answered like a kernel without them, so that libraries fall back: clone3 hides its flags in memory, io_uring goes past
    # this filter, the rest is memory that no limit counts
    *("clone3", "io_uring_setup", "io_uring_enter", "io_uring_register", "io_setup", "userfaultfd"),
    *("memfd_create", "memfd_secret", "shmget", "msgget", "semget", "mq_open"),
)
IGNORED = (
    # Landlock does not govern modes, owners and times, and they reach files of the same user outside. Answered with success,
    # as copying programs insist on setting them.
    *("chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "fchown", "lchown", "fchownat", "utime", "utimes"),
    *("futimesat", "utimensat", "setxattr", "lsetxattr", "fsetxattr", "removexattr", "lremovexattr"),
    *("fremovexattr",),
)
SIGNALS_ELSEWHERE = ("tkill", "rt_sigqueueinfo", "pidfd_send_signal")


def _step(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("=HBBI", code, yes, no, value & 0xFFFFFFFF)


def _answer(failure: int) -> bytes:
    return _step(_RETURN, _ERRNO | failure)


def _argument(index: int) -> bytes:
    """Load the low word of an argument (both architectures store it first)."""
    return _step(_LOAD, _ARGUMENTS_AT + 8 * index)


def _when_called(name: str, body: list[bytes]) -> list[bytes]:
    """Instructions that run for one system call and fall through to `body`'s end otherwise; the number is loaded again."""
    at = number(name)
    if at is None:
        return []
    body = [*body, _step(_LOAD, _NUMBER_AT)]
    return [_step(_EQUAL, at, 0, len(body)), *body]


def _refuse_values(index: int, values: tuple[int, ...], failure: int) -> list[bytes]:
    """Refuse when the low word of an argument (the kernel reads only that of an `int`) is one of these."""
    steps = [_argument(index)]
    for value in values:
        steps += [_step(_EQUAL, value, 0, 1), _answer(failure)]
    return steps


def _allow_values(index: int, values: tuple[int, ...], failure: int) -> list[bytes]:
    """Refuse unless the low word of an argument is one of these."""
    jumps = [_step(_EQUAL, value, len(values) - at, 0) for at, value in enumerate(values)]
    return [_argument(index), *jumps, _answer(failure)]


def build_filter(*, alone: bool, own: int, signals: bool, loopback: bool = False) -> bytes:
    """The filter as the kernel takes it.

    `alone`: there are no namespaces, so the filter also keeps local sockets, file modes, owners and times, and the processors of
    other processes out of reach. `signals`: so it does signals, where Landlock does not: only the process `own`, the first, and
    the caller's group get any. `loopback`: the network namespace's own, so Internet sockets are let through, and questions for its devices.
    """
    steps = [
        _step(_LOAD, _ARCHITECTURE_AT),
        _step(_EQUAL, _AUDIT_ARCH[MACHINE], 1, 0),
        _step(_RETURN, _KILL),
        _step(_LOAD, _NUMBER_AT),
        # x32 numbers and calls newer than this list
        _step(_GREATER, LAST_KNOWN, 0, 1),
        _answer(errno.ENOSYS),
    ]
    groups = [(REFUSED, errno.EPERM), (ABSENT, errno.ENOSYS)]
    if alone:
        groups.append((IGNORED, 0))
    if signals:
        groups.append((SIGNALS_ELSEWHERE, errno.EPERM))
    for names, failure in groups:
        for name in names:
            at = number(name)
            if at is not None:
                steps += [_step(_EQUAL, at, 0, 1), _answer(failure)]
    steps += _when_called("clone", [_argument(0), _step(_ANY_BIT, NAMESPACE_FLAGS, 0, 1), _answer(errno.EPERM)])
    families: tuple[int, ...] = () if alone else (AF_UNIX, AF_INET, AF_INET6, AF_NETLINK) if loopback else (AF_UNIX,)
    if loopback:
        # Of netlink only the kind that tells devices and addresses.
        otherwise = _step(_EQUAL, AF_NETLINK, 0, 3)
        steps += _when_called("socket", [_argument(0), otherwise, _argument(2), _step(_EQUAL, 0, 1, 0), _answer(errno.EACCES)])
    steps += _when_called("socket", _allow_values(0, families, errno.EACCES))
    steps += _when_called("socketpair", _allow_values(0, (AF_UNIX,), errno.EACCES))
    steps += _when_called("prlimit64", _allow_values(0, (0,), errno.EPERM))
    steps += _when_called("ioctl", _refuse_values(1, IOCTLS_REFUSED, errno.EPERM))
    steps += _when_called("fcntl", _refuse_values(1, FCNTLS_REFUSED, errno.EPERM))
    if alone:
        steps += _when_called("sched_setaffinity", _allow_values(0, (0, own), errno.EPERM))
    if signals:
        steps += _when_called("kill", _allow_values(0, (0, own), errno.EPERM))
        steps += _when_called("tgkill", _allow_values(0, (own,), errno.EPERM))
        steps += _when_called("rt_tgsigqueueinfo", _allow_values(0, (own,), errno.EPERM))
    return b"".join([*steps, _step(_RETURN, _ALLOW)])


def install_filter(program: bytes) -> None:
    """Put the filter on this thread and all it starts. Raises `OSError`; needs no_new_privs."""
    code = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("=HxxxxxxQ", len(program) // 8, ctypes.addressof(code))
    call("seccomp", _SET_MODE_FILTER, 0, ctypes.create_string_buffer(header, len(header)))
