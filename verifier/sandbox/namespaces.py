"""Namespaces and a root of read-only mounts, for machines without `bwrap`.

Imported by the launcher in a bare interpreter: standard library only. Sources: mount(2), mount_setattr(2), pivot_root(2).
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import stat
import struct
from collections.abc import Iterable
from pathlib import Path

from verifier.sandbox.syscalls import call

_NEW_MOUNT, _NEW_UTS, _NEW_IPC = 0x00020000, 0x04000000, 0x08000000
_NEW_USER, _NEW_PID, _NEW_NET = 0x10000000, 0x20000000, 0x40000000
_NOSUID, _NODEV, _NOEXEC, _BIND, _RECURSIVE, _PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18
_ATTR_READ_ONLY, _ATTR_NOSUID, _ATTR_NODEV = 1, 2, 4
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_DETACH = 2
_SET_DEVICE_FLAGS, _UP, _RUNNING = 0x8914, 1, 64

USER = 1000
"""The user and group inside; outside they stay whoever started this."""


def enter_namespaces() -> None:
    """Leave the host's mounts, processes, network, IPC and host name. The next child is process 1. Raises `OSError`.

    An ordinary user leaves the host's users first, which gives the right to do so; root has it.
    """
    user, group = os.geteuid(), os.getegid()
    call("unshare", (_NEW_USER if user else 0) | _NEW_MOUNT | _NEW_PID | _NEW_NET | _NEW_IPC | _NEW_UTS)
    if not user:
        return
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{USER} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{USER} {group} 1")


def raise_loopback() -> None:
    """Switch on the loopback device of the new network, which has no other. Raises `OSError`. Source: netdevice(7)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        request = struct.pack("16sH14x", b"lo", _UP | _RUNNING)
        fcntl.ioctl(made, _SET_DEVICE_FLAGS, request)


def build_root(stage: str, readable: Iterable[str], devices: Iterable[str], scratch: str, scratch_bytes: int, files: int) -> None:
    """Make `stage` the root: an empty memory file system with only these paths in it, all read-only but `scratch`.

    Called as process 1 of the new namespaces. Raises `OSError`.
    """
    _mount(None, "/", None, _RECURSIVE | _PRIVATE)
    _mount("tmpfs", stage, "tmpfs", _NOSUID | _NODEV, "size=4m,nr_inodes=20000,mode=755")
    _mount_at(stage, "/proc", "proc", _NOSUID | _NODEV | _NOEXEC)
    for path in sorted(set(readable)):
        if not path.startswith("/proc"):
            _bind(stage, path, _ATTR_READ_ONLY | _ATTR_NOSUID | _ATTR_NODEV)
    for path in devices:
        _bind(stage, path, _ATTR_NOSUID)
    _mount_at(stage, scratch, "tmpfs", _NOSUID | _NODEV, f"size={scratch_bytes},nr_inodes={files},mode=700")
    if not Path(stage + "/tmp").exists():
        # It does when something readable lies in it; TMPDIR names the folder to use.
        Path(stage + "/tmp").symlink_to(f"{scratch}/tmp")
    Path(stage + "/dev").mkdir(exist_ok=True)
    Path(stage + "/dev/shm").symlink_to(f"{scratch}/shm")
    Path(stage + "/dev/fd").symlink_to("/proc/self/fd")
    os.chdir(stage)
    call("pivot_root", b".", b".")
    call("umount2", b".", _DETACH)
    os.chdir("/")
    _set_attributes("/", _ATTR_READ_ONLY, recursive=False)
    _set_attributes("/proc", _ATTR_READ_ONLY, recursive=False)


def _bind(stage: str, path: str, attributes: int) -> None:
    """Show a host path at the same place. A symbolic link stays one; what is not there is skipped."""
    target = stage + path
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return
    if os.path.lexists(target):
        return
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    if stat.S_ISLNK(mode):
        os.symlink(os.readlink(path), target)
        return
    if stat.S_ISDIR(mode):
        Path(target).mkdir()
    else:
        Path(target).touch()
    _mount(path, target, None, _BIND | _RECURSIVE)
    _set_attributes(target, attributes, recursive=True)


def _mount_at(stage: str, path: str, kind: str, flags: int, options: str = "") -> None:
    Path(stage + path).mkdir(parents=True)
    _mount(kind, stage + path, kind, flags, options)


def _mount(source: str | None, target: str, kind: str | None, flags: int, options: str = "") -> None:
    encoded = [None if text is None else os.fsencode(text) for text in (source, target, kind)]
    call("mount", *encoded, flags, os.fsencode(options))


def _set_attributes(path: str, attributes: int, *, recursive: bool) -> None:
    request = ctypes.create_string_buffer(struct.pack("=QQQQ", attributes, 0, 0, 0), 32)
    call("mount_setattr", _AT_FDCWD, os.fsencode(path), _AT_RECURSIVE if recursive else 0, request, 32)
