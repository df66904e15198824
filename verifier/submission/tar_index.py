"""The table of contents of a tar file, read from its headers alone.

Python's `tarfile` parses extended headers of any size and follows negative sizes backwards; an index needs neither. Formats:
POSIX ustar and pax, GNU long names. Sparse files are listed and not read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO

BLOCK = 512
HEADER_BYTES = 1 << 20
"""Largest extended header (a path, a pax record) that is read."""

_FILE_TYPES = frozenset({b"0", b"\0", b"7"})
_SYMLINK, _DIRECTORY, _LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL, _SPARSE = b"2", b"5", b"L", b"K", b"x", b"g", b"S"


class TarError(Exception):
    """The stream is no tar file from here on."""


@dataclass(frozen=True, slots=True)
class TarMember:
    """`kind` is `file`, `symlink`, `directory` or `other` (hard links, devices, sparse files). `offset` is that of the data."""

    name: str
    kind: str
    size: int
    offset: int


def index_tar(stream: IO[bytes], length: int, most: int) -> tuple[list[TarMember], str]:
    """Members in file order, at most `most` + 1, and why the index ends early (``""``: it does not).

    `length` is the number of bytes in `stream`, which must be seekable. Raises `TarError` when the first header is none.
    """
    if length < BLOCK:
        raise TarError("shorter than one tar header")
    members: list[TarMember] = []
    headers = 0
    position = 0
    extended: dict[str, bytes] = {}
    while position + BLOCK <= length:
        stream.seek(position)
        header = stream.read(BLOCK)
        if not header.strip(b"\0"):
            return members, ""
        headers += 1
        if not _checksum_fits(header):
            if not members:
                raise TarError("no tar header")
            return members, f"a damaged header at byte {position:,}"
        size = _number(header[124:136])
        kind = header[156:157]
        if kind in (_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL):
            if size is None or size > HEADER_BYTES or headers > 4 * most + 16:
                return members, f"an extended header at byte {position:,} beyond the limit"
            data = stream.read(size)
            if kind == _LONG_NAME:
                extended["path"] = data.rstrip(b"\0")
            elif kind == _PAX:
                extended |= _pax_records(data)
            position += BLOCK + _padded(size)
            continue
        if "size" in extended:
            size = _decimal(extended["size"])
        if size is None:
            return members, f"a member of unreadable size at byte {position:,}"
        name = extended.get("path") or _plain_name(header)
        sparse = kind == _SPARSE or any(key.startswith("GNU.sparse") for key in extended)
        members.append(TarMember(_decoded(name), _kind(kind, name, sparse), size, position + BLOCK))
        extended = {}
        if len(members) > most:
            return members, f"more than {most:,} members"
        # A link, a directory or a device has no data, whatever its size field says.
        has_data = kind in _FILE_TYPES or kind == _SPARSE or kind not in b"123456"
        position += BLOCK + (_padded(size) if has_data else 0)
        if position > length:
            return members, "the last member is cut off"
    return members, "" if members and position == length else "the archive ends without its end marker"


def _kind(kind: bytes, name: bytes, sparse: bool) -> str:
    if sparse:
        return "other"
    if kind in _FILE_TYPES:
        return "directory" if name.endswith(b"/") else "file"
    return {_SYMLINK: "symlink", _DIRECTORY: "directory"}.get(kind, "other")


def _plain_name(header: bytes) -> bytes:
    name = header[:100].split(b"\0", 1)[0]
    prefix = header[345:500].split(b"\0", 1)[0] if header[257:263] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name


def _decoded(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _checksum_fits(header: bytes) -> bool:
    return _number(header[148:156]) == sum(header) - sum(header[148:156]) + 8 * 0x20


def _number(field: bytes) -> int | None:
    """Octal text, or base 256 when the first bit is set; `None` for anything else, negative numbers included."""
    if field[0] & 0x80:
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:]) if field[0] == 0x80 else None
    text = field.split(b"\0", 1)[0].strip()
    if not text:
        return 0
    return int(text, 8) if all(digit in b"01234567" for digit in text) else None


def _decimal(text: bytes) -> int | None:
    return int(text) if text.isdigit() and len(text) < 20 else None


def _pax_records(data: bytes) -> dict[str, bytes]:
    """`<length> <key>=<value>\\n` records; a malformed one ends the list."""
    records: dict[str, bytes] = {}
    position = 0
    while position < len(data):
        space = data.find(b" ", position, position + 20)
        length = _decimal(data[position:space]) if space > position else None
        if length is None or length <= space - position + 1 or position + length > len(data):
            break
        key, equals, value = data[space + 1 : position + length - 1].partition(b"=")
        if equals:
            records[key.decode("utf-8", "replace")] = value
        position += length
    return records
