"""Byte metadata bundles (`*.meta.npz`): read without unpickling anything, with every size known before it is allocated.

Members: `base_bytes` (integers), `has_leading_space` and `is_boundary_token` (booleans), each of shape (vocab_size,),
and the scalars `format_version`, `vocab_size`, `tokenizer_kind`, `source_model_name`. Absent flags mean false.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audits.bytes.accounting import ByteTable
from audits.bytes.model import ByteAuditError
from verifier.limits import DEFAULT_LIMITS, Limits
from verifier.submission.archive import CENTRAL_BYTES_PER_MEMBER, central_directory_bytes
from verifier.submission.binaries import read_npy_header

MAX_MEMBERS = 64
MAX_VALUES = 1 << 20
MAX_TEXT_CHARS = 4096


@dataclass(frozen=True, slots=True)
class Metadata:
    """A byte table as shipped. `unread` names members that the known formulas do not use."""

    table: ByteTable
    vocab_size: int
    tokenizer_kind: str | None
    unread: tuple[str, ...]


def load_metadata(path: Path, limits: Limits = DEFAULT_LIMITS) -> Metadata:
    """Read a bundle. Raises `ByteAuditError` for pickles, oversized or malformed members, or missing tables; or
    `OSError`.
    """
    if path.stat().st_size > limits.vocabulary_file:
        raise ByteAuditError(f"{path.name} is larger than {limits.vocabulary_file} bytes")
    try:
        with path.open("rb") as handle:
            if central_directory_bytes(handle) > MAX_MEMBERS * CENTRAL_BYTES_PER_MEMBER:
                raise ByteAuditError(f"{path.name}: more than {MAX_MEMBERS} members")
            with zipfile.ZipFile(handle) as archive:
                arrays = _read_members(archive, path, limits)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, zlib.error, struct.error) as error:
        raise ByteAuditError(f"{path.name} is not a readable npz archive: {error}") from None
    known = {
        "base_bytes", "has_leading_space", "is_boundary_token", "vocab_size", "format_version", "tokenizer_kind",
        "source_model_name",
    }  # fmt: skip
    unread = sorted(set(arrays) - known)
    base = _table(arrays, "base_bytes", "iu", path)
    if base is None:
        raise ByteAuditError(f"{path.name} has no base_bytes: members are {sorted(arrays)}")
    size = _integer(arrays, "vocab_size", len(base), path)
    version = _integer(arrays, "format_version", 1, path)
    if version != 1:
        raise ByteAuditError(f"{path.name}: format version {version} instead of 1")
    if size != len(base):
        raise ByteAuditError(f"{path.name}: vocab_size is {size}, base_bytes has {len(base)} entries")
    if base.dtype.kind == "i" and int(base.min(initial=0)) < 0:
        raise ByteAuditError(f"{path.name}: base_bytes holds the negative value {int(base.min())}")
    flags: list[NDArray[np.bool_]] = []
    for name in ("has_leading_space", "is_boundary_token"):
        values = _table(arrays, name, "biu", path)
        if values is None:
            values = np.zeros(size, dtype=np.bool_)
        if len(values) != size:
            raise ByteAuditError(f"{path.name}: {name} has {len(values)} entries, base_bytes has {size}")
        if values.dtype.kind != "b" and int(values.max(initial=0)) > 1:
            raise ByteAuditError(f"{path.name}: {name} is neither true nor false everywhere")
        flags.append(values.astype(np.bool_))
    kind = arrays.get("tokenizer_kind")
    table = ByteTable(base.astype(np.int64), flags[0], flags[1], path.name)
    text = str(kind[()]) if kind is not None and kind.dtype.kind == "U" and kind.shape == () else None
    return Metadata(table, size, text, tuple(unread))


def _read_members(archive: zipfile.ZipFile, path: Path, limits: Limits) -> dict[str, NDArray[np.generic]]:
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        raise ByteAuditError(f"{path.name}: {len(members)} members, more than {MAX_MEMBERS}")
    if sum(member.file_size for member in members) > limits.vocabulary_file:
        raise ByteAuditError(f"{path.name}: the members unpack to more than {limits.vocabulary_file} bytes")
    arrays: dict[str, NDArray[np.generic]] = {}
    for member in members:
        name = member.filename.removesuffix(".npy")
        if name in arrays:
            raise ByteAuditError(f"{path.name}: two members are called {name}")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ByteAuditError(
                f"{path.name}: {name} is compressed by method {member.compress_type}, which numpy does not write"
            )
        with archive.open(member) as handle:
            arrays[name] = _read_npy(handle.read(member.file_size), f"{path.name}: {name}")
    return arrays


def _table(arrays: dict[str, NDArray[np.generic]], name: str, kinds: str, path: Path) -> NDArray[np.generic] | None:
    values = arrays.get(name)
    if values is None:
        return None
    if values.ndim != 1 or values.dtype.kind not in kinds:
        raise ByteAuditError(f"{path.name}: {name} is {values.dtype} of shape {values.shape}, not a table by id")
    return values


def _integer(arrays: dict[str, NDArray[np.generic]], name: str, default: int, path: Path) -> int:
    values = arrays.get(name)
    if values is None:
        return default
    if values.size != 1 or values.dtype.kind not in "iu":
        raise ByteAuditError(f"{path.name}: {name} is {values.dtype} of shape {values.shape}, not one integer")
    return int(values.reshape(-1)[0])


def _read_npy(data: bytes, what: str) -> NDArray[np.generic]:
    """One `.npy` member: plain booleans, integers, floats or text only."""
    header = read_npy_header(data)
    if header is None:
        known = data[:6] == b"\x93NUMPY"
        raise ByteAuditError(
            f"{what}: unreadable array header" if known else f"{what} is not an array (pickles are never loaded)"
        )
    descr, shape = header.descr, header.shape
    if not isinstance(descr, str) or descr[1:2] not in tuple("biufU"):
        raise ByteAuditError(f"{what} holds {str(descr)[:40]!r}: only numbers, booleans and text are read, never pickles")
    try:
        dtype = np.dtype(descr)
    except (TypeError, ValueError):
        raise ByteAuditError(f"{what}: unknown element type {descr[:40]!r}") from None
    if dtype.kind == "U" and dtype.itemsize > 4 * MAX_TEXT_CHARS:
        raise ByteAuditError(f"{what}: text of {dtype.itemsize // 4} characters")
    if len(shape) > 2 or any(extent > MAX_VALUES for extent in shape):
        raise ByteAuditError(f"{what}: shape {str(shape)[:60]}")
    values = int(np.prod(shape, dtype=np.int64))
    if values > MAX_VALUES or header.start + values * dtype.itemsize != len(data):
        raise ByteAuditError(f"{what}: {len(data) - header.start} bytes of data for shape {shape} of {dtype}")
    flat: NDArray[np.generic] = np.frombuffer(data, dtype=dtype, count=values, offset=header.start)
    return flat.reshape(shape, order="F" if header.fortran_order else "C")
