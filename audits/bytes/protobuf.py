"""A reader of protocol-buffer wire format, small enough to be trusted with hostile files.

Only what a SentencePiece model needs: iterate the fields of one message. Source: the public wire-format description
(varint 0, 64-bit 1, length-delimited 2, 32-bit 5; groups 3 and 4 are refused).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from audits.bytes.model import ByteAuditError

MAX_FIELD_NUMBER = (1 << 29) - 1


def read_varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """An unsigned varint at `at`: (value below 2**64, position after it). Raises `ByteAuditError` when cut or
    overlong.
    """
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            raise ByteAuditError(f"protobuf: a varint is cut off at byte {at}")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >> 64:
                raise ByteAuditError(f"protobuf: a varint before byte {at} has more than 64 bits")
            return value, at
    raise ByteAuditError(f"protobuf: a varint before byte {at} has more than 10 bytes")


def signed32(value: int) -> int:
    """An `int32` field as protobuf writes it: negative numbers sign-extended to 64 bits."""
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value >> 31 else value


def fields(data: bytes, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int | tuple[int, int] | float]]:
    """The fields of the message in `data[start:end]`, in file order: (number, value).

    Values: int for varints, (begin, end) offsets into `data` for length-delimited fields, float for 32-bit fields.
    64-bit fields are skipped. Raises `ByteAuditError` for anything that is not well formed.
    """
    stop = len(data) if end is None else end
    at = start
    while at < stop:
        tag, at = read_varint(data, at, stop)
        number, wire = tag >> 3, tag & 7
        if not 0 < number <= MAX_FIELD_NUMBER:
            raise ByteAuditError(f"protobuf: field number {number} before byte {at}")
        if wire == 0:
            value, at = read_varint(data, at, stop)
            yield number, value
        elif wire == 2:
            size, at = read_varint(data, at, stop)
            if size > stop - at:
                raise ByteAuditError(f"protobuf: field {number} at byte {at} claims {size} bytes, {stop - at} are left")
            yield number, (at, at + size)
            at += size
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
            if size > stop - at:
                raise ByteAuditError(f"protobuf: field {number} at byte {at} is cut off")
            if wire == 5:
                yield number, struct.unpack_from("<f", data, at)[0]
            at += size
        else:
            raise ByteAuditError(f"protobuf: wire type {wire} of field {number} before byte {at} is not supported")
