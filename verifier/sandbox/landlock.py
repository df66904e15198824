"""File rights that a process takes from itself and all its children (Landlock, Linux 5.13 and later).

Imported by the launcher in a bare interpreter: standard library only. Source: include/uapi/linux/landlock.h.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Iterable

from verifier.sandbox.syscalls import call, supported

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
MAKE_CHAR, MAKE_BLOCK, REFER, TRUNCATE, IOCTL_DEV = 1 << 6, 1 << 11, 1 << 13, 1 << 14, 1 << 15
READ = EXECUTE | READ_FILE | READ_DIR
ON_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
"""Rights that make sense for a file; the kernel refuses a rule that grants others on one."""
LEAST_ALONE = 3
"""The first version that stops truncating files: below it Landlock can't stand without read-only mounts."""
SIGNALS_SINCE = 6
"""The first version that keeps signals and abstract sockets inside."""

_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1


def landlock_version() -> int:
    """The version of the kernel's Landlock interface, 0 when it has none or it is switched off."""
    if not supported():
        return 0
    try:
        return call("landlock_create_ruleset", None, 0, _CREATE_RULESET_VERSION)
    except OSError:
        return 0


def file_rights(version: int) -> int:
    """All file rights that this version can withhold."""
    rights = (1 << 13) - 1
    return rights | (REFER if version >= 2 else 0) | (TRUNCATE if version >= 3 else 0) | (IOCTL_DEV if version >= 5 else 0)


def restrict_files(
    version: int, readable: Iterable[str], writable: Iterable[str], devices: Iterable[str], *, loopback: bool = False
) -> None:
    """Leave this process only these paths. Paths that are not there are skipped. Raises `OSError`; needs no_new_privs.

    TCP (but for `loopback`), signals and abstract sockets are withheld as well where the version can.
    """
    handled = file_rights(version)
    attributes = struct.pack("=Q", handled)
    if version >= 4:
        attributes += struct.pack("=Q", 0 if loopback else 0b11)
    if version >= SIGNALS_SINCE:
        attributes += struct.pack("=Q", 0b11)
    ruleset = call("landlock_create_ruleset", ctypes.create_string_buffer(attributes, len(attributes)), len(attributes), 0)
    everything = handled & ~(MAKE_CHAR | MAKE_BLOCK | IOCTL_DEV)
    nodes = READ_FILE | READ_DIR | WRITE_FILE | TRUNCATE | IOCTL_DEV
    try:
        for paths, rights in ((readable, READ), (writable, everything), (devices, nodes)):
            for path in paths:
                _allow(ruleset, path, rights & handled)
        call("landlock_restrict_self", ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    try:
        if not stat.S_ISDIR(os.fstat(handle).st_mode):
            rights &= ON_FILES
        rule = struct.pack("=Qi", rights, handle)
        call("landlock_add_rule", ruleset, _RULE_PATH_BENEATH, ctypes.create_string_buffer(rule, len(rule)), 0)
    finally:
        os.close(handle)
