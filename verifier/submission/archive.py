"""Opening `.zip`, `.tar` and `.tar.gz` archives without unpacking them to names on disk.

A tar stream is decompressed once, within budget, into an anonymous temporary file; zip members are decompressed one by one as
they are read. Names that could mean two things (duplicates, `..`, absolute paths) are refused, not repaired.
"""

from __future__ import annotations

import os
import stat
import struct
import tempfile
import weakref
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from verifier.evidence import Location, Problem
from verifier.limits import Limits
from verifier.submission.source import Entry, EntryKind, Unreadable, too_large
from verifier.submission.tar_index import TarError, index_tar

_CHUNK = 1 << 20
_IN_MEMORY = 16 << 20
CENTRAL_BYTES_PER_MEMBER = 256
"""Real central directories need 80 to 200 bytes per name."""
_RATIO_FLOOR = 1 << 20
"""Members below this unpacked size may have any ratio: a file of 900 kB of spaces is no bomb."""


@dataclass(frozen=True, slots=True)
class _Member:
    entry: Entry
    read: Callable[[int], bytes]
    """All bytes, at most the given number."""


class Archive:
    """The members of one archive. Opened once, shared by the sources of all record folders in it; reopened after pickling."""

    def __init__(self, path: Path, limits: Limits) -> None:
        """Raises `Unreadable` when this is no archive, or one that can't be listed within the limits."""
        self.path = path
        self.limits = limits
        self._problems: list[Problem] = []
        self._spent = 0
        try:
            # A FIFO must not make us wait for someone who writes to it.
            self._file: IO[bytes] = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
        except OSError as failure:
            raise Unreadable("unreadable", failure.strerror or str(failure)) from failure
        weakref.finalize(self, self._file.close)
        if not stat.S_ISREG(os.fstat(self._file.fileno()).st_mode):
            raise Unreadable("special-file", "not a regular file")
        members = self._members()
        names = Counter(member.entry.path for member in members)
        for name in sorted(name for name, count in names.items() if count > 1):
            self._problems.append(
                Problem(Location(name), "duplicate-name", f"the archive holds this name {names[name]} times: not read")
            )
        self._by_path = {member.entry.path: member for member in members if names[member.entry.path] == 1}
        self.entries = tuple(sorted(member.entry for member in self._by_path.values()))

    def __reduce__(self) -> tuple[type[Archive], tuple[Path, Limits]]:
        return type(self), (self.path, self.limits)

    @property
    def problems(self) -> tuple[Problem, ...]:
        return tuple(sorted(self._problems))

    def read(self, path: str, limit: int) -> bytes:
        """One member. Raises `Unreadable` also when the archive's own budget of unpacked bytes is spent."""
        member = self._by_path.get(path)
        if member is None:
            raise Unreadable("unreadable", "no such name in the archive, or a refused one")
        if member.entry.kind is EntryKind.SYMLINK:
            raise Unreadable("symlink", "a symlink is not followed")
        if member.entry.kind is not EntryKind.FILE:
            raise Unreadable("special-file", "not a regular file")
        if member.entry.size > limit:
            raise too_large(member.entry.size, limit)
        left = self.limits.archive_bytes - self._spent
        if member.entry.size > left:
            raise Unreadable("archive-limit", f"more than {self.limits.archive_bytes:,} bytes were read from this archive")
        data = member.read(limit)
        self._spent += len(data)
        return data

    def _members(self) -> list[_Member]:
        start = self._file.read(4)
        if start[:2] == b"PK":
            return self._zip_members()
        self._file.seek(0)
        if start[:2] == b"\x1f\x8b":
            return self._tar_members(self._unzipped())
        return self._tar_members(self._file)

    # --- zip -------------------------------------------------------------------------------------------------------------

    def _zip_members(self) -> list[_Member]:
        most = self.limits.archive_members
        if central_directory_bytes(self._file) > most * CENTRAL_BYTES_PER_MEMBER:
            raise Unreadable("archive-limit", f"the zip directory is larger than {most:,} members need")
        try:
            archive = zipfile.ZipFile(self._file)
        except (zipfile.BadZipFile, OSError, ValueError, struct.error, NotImplementedError, OverflowError) as failure:
            raise Unreadable("unreadable", f"not a readable zip archive: {failure}") from failure
        weakref.finalize(self, archive.close)
        infos = archive.infolist()
        if len(infos) > most:
            raise Unreadable("archive-limit", f"{len(infos):,} members, more than {most:,}")
        if _overlapping(infos):
            raise Unreadable("archive-limit", "members share their bytes: a zip made to unpack to more than it holds")
        members = []
        for info in infos:
            path = self._accepted(info.filename)
            if path is None or info.is_dir():
                continue
            mode = info.external_attr >> 16
            kind = EntryKind.SYMLINK if stat.S_ISLNK(mode) else EntryKind.FILE
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFLNK):
                kind = EntryKind.OTHER
            members.append(_Member(Entry(path, kind, info.file_size), _zip_reader(archive, info, self.limits.archive_ratio)))
        return members

    # --- tar -------------------------------------------------------------------------------------------------------------

    def _unzipped(self) -> IO[bytes]:
        """The gzip stream's contents in an anonymous file; what exceeds the budget or is damaged is cut off and reported."""
        spool: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - lives as long as the archive
        weakref.finalize(self, spool.close)
        packed = written = 0
        inflate = zlib.decompressobj(wbits=31)
        while chunk := self._file.read(1 << 16):
            packed += len(chunk)
            try:
                while chunk:
                    if inflate.eof:  # gzip files may be concatenated; zero padding ends them
                        if not chunk.strip(b"\0"):
                            break
                        inflate = zlib.decompressobj(wbits=31)
                    unpacked = inflate.decompress(chunk, _CHUNK)
                    chunk = inflate.unconsumed_tail or inflate.unused_data
                    spool.write(unpacked)
                    written += len(unpacked)
                    if written > self.limits.archive_bytes or written > max(_RATIO_FLOOR, packed * self.limits.archive_ratio):
                        raise Unreadable(
                            "archive-limit",
                            f"unpacks to more than {self.limits.archive_bytes:,} bytes or {self.limits.archive_ratio:,} times its size",
                        )
            except zlib.error as failure:
                self._cut_short(f"the compressed stream is damaged: {failure}")
                break
        else:
            if not inflate.eof:
                self._cut_short("the compressed stream ends early")
        return spool

    def _tar_members(self, stream: IO[bytes]) -> list[_Member]:
        length = stream.seek(0, os.SEEK_END)
        try:
            found, cut = index_tar(stream, length, self.limits.archive_members)
        except TarError as failure:
            raise Unreadable("unreadable", "not a .zip, .tar or .tar.gz archive") from failure
        if cut.startswith("more than"):
            raise Unreadable("archive-limit", cut)
        if cut:
            self._cut_short(cut)
        kinds = {"file": EntryKind.FILE, "symlink": EntryKind.SYMLINK, "other": EntryKind.OTHER}
        members = []
        for member in found:
            path = self._accepted(member.name)
            if path is not None and member.kind != "directory":
                entry = Entry(path, kinds[member.kind], member.size)
                members.append(_Member(entry, _tar_reader(stream, member.offset, member.size)))
        return members

    # --- names -----------------------------------------------------------------------------------------------------------

    def _accepted(self, name: str) -> str | None:
        """The member's path, or `None` with a problem when it leads (or pretends to lead) outside."""
        path = name.removeprefix("./").rstrip("/")
        parts = path.replace("\\", "/").split("/")
        if path in ("", "."):
            return None
        if ".." in parts or "" in parts or "." in parts or "\0" in path or parts[0].endswith(":"):
            self._problems.append(Problem(Location(path), "refused-name", "an absolute or climbing name in an archive: not read"))
            return None
        if len(parts) > self.limits.folder_depth + 8:  # folders above the record folder are allowed for
            self._problems.append(Problem(Location(path), "tree-too-deep", f"{len(parts)} levels deep: not read"))
            return None
        return path

    def _cut_short(self, why: str) -> None:
        self._problems.append(Problem(Location("."), "truncated-archive", f"the archive is incomplete: {why}"))


def central_directory_bytes(file: IO[bytes]) -> int:
    """What the end record says about the size of the zip directory; the largest of the candidates, 0 when there is none."""
    length = file.seek(0, os.SEEK_END)
    file.seek(max(0, length - 65_557 - 20))
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    size = int.from_bytes(tail[at + 12 : at + 16], "little") if at >= 0 else 0
    locator = tail.rfind(b"PK\x06\x07")
    if locator >= 0:
        file.seek(min(int.from_bytes(tail[locator + 8 : locator + 16], "little"), length))
        record = file.read(56)
        if record[:4] == b"PK\x06\x06":
            size64 = int.from_bytes(record[40:48], "little")
            size = max(size64, size if size != 0xFFFFFFFF else 0)
    file.seek(0)
    return size


def _overlapping(infos: list[zipfile.ZipInfo]) -> bool:
    """Whether two members claim the same packed bytes."""
    end = 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        if info.header_offset < end:
            return True
        end = info.header_offset + 30 + info.compress_size
    return False


def _zip_reader(archive: zipfile.ZipFile, info: zipfile.ZipInfo, ratio: int) -> Callable[[int], bytes]:
    def read(limit: int) -> bytes:
        if info.flag_bits & 0x1:
            raise Unreadable("encrypted", "an encrypted archive member")
        if info.file_size > max(_RATIO_FLOOR, info.compress_size * ratio):
            raise Unreadable("archive-limit", f"unpacks to more than {ratio:,} times its size")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # LZMA members may claim gigabytes of dictionary
            raise Unreadable(
                "unreadable", f"packed with zip method {info.compress_type}; only stored and deflated members are read"
            )
        try:
            with archive.open(info) as stream:
                return _bounded(stream, limit)
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, struct.error, RuntimeError) as failure:
            raise Unreadable("unreadable", f"a damaged archive member: {failure}") from failure

    return read


def _tar_reader(stream: IO[bytes], offset: int, size: int) -> Callable[[int], bytes]:
    def read(limit: int) -> bytes:
        stream.seek(offset)
        data = stream.read(size)
        if len(data) != size:
            raise Unreadable("truncated", "the archive ends inside this file")
        return data

    return read


def _bounded(stream: IO[bytes], limit: int) -> bytes:
    chunks: list[bytes] = []
    total = 0
    while chunk := stream.read(_CHUNK):
        total += len(chunk)
        if total > limit:
            raise too_large(total, limit)
        chunks.append(chunk)
    return b"".join(chunks)
