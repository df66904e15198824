"""The source against which a tokenization is held: documents as UTF-8 bytes, in the order of the token stream."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np

from audits.bytes.model import ByteAuditError
from audits.bytes.spelling import Spelling

MAX_LINE = 64 * 1024 * 1024
BLOCK = 1 << 20
"""Bytes read at once."""


class JsonlDocuments:
    """The `text` of each line of a file, as UTF-8, at most `limit` documents. Blank lines are skipped.

    Iteration raises `ByteAuditError` with the line number for a line that is too long, no JSON object, without text, or
    whose text holds lone surrogates (it has no UTF-8 form).
    """

    def __init__(self, path: Path, limit: int | None = None) -> None:
        self._name = path.name
        self._left = limit
        self._line = 0
        self._buffer = b""
        self._at = 0
        self._handle = path.open("rb", buffering=0)

    def __enter__(self) -> JsonlDocuments:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._handle.close()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._left == 0:
            raise StopIteration
        while not (line := self._next_line()).strip():
            pass
        where = f"{self._name}:{self._line}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ByteAuditError(f"{where}: not JSON: {error}") from None
        text = record.get("text") if isinstance(record, dict) else None
        if not isinstance(text, str):
            raise ByteAuditError(f"{where}: no text field")
        try:
            raw = text.encode("utf-8")
        except UnicodeEncodeError:
            raise ByteAuditError(f"{where}: the text holds a lone surrogate") from None
        if self._left is not None:
            self._left -= 1
        return raw

    def spelling(self) -> Spelling | None:
        """How the next lines are written, judged by what lies in the buffer; `None` for lines with more than a text."""
        self._fill(1)
        return Spelling.of(self._buffer[self._at :])

    def skip(self, lines: bytes, documents: int) -> bool:
        """Pass over the next `documents` lines if they are exactly `lines`, and valid UTF-8; else nothing happens."""
        if self._left is not None and self._left < documents:
            return False
        self._fill(len(lines))
        if not self._buffer.startswith(lines, self._at):
            return False
        if not _is_utf8(lines):
            return False
        self._at += len(lines)
        self._line += documents
        if self._left is not None:
            self._left -= documents
        return True

    def _fill(self, size: int) -> None:
        """Have `size` bytes in the buffer, or all that are left."""
        have = len(self._buffer) - self._at
        if have >= size:
            return
        parts = [self._buffer[self._at :]]
        while have < size and (block := self._handle.read(max(BLOCK, size - have))):
            parts.append(block)
            have += len(block)
        self._buffer, self._at = b"".join(parts), 0

    def _next_line(self) -> bytes:
        """Raises `StopIteration` at the end of the file."""
        self._line += 1
        while (end := self._buffer.find(b"\n", self._at)) < 0:
            have = len(self._buffer) - self._at
            if have > MAX_LINE:
                raise ByteAuditError(f"{self._name}:{self._line}: a line of more than {MAX_LINE} bytes")
            self._fill(2 * have + 1)
            if len(self._buffer) - self._at <= have:
                end = len(self._buffer)
                break
        if end == self._at and end == len(self._buffer):
            raise StopIteration
        line = self._buffer[self._at : end + 1]
        self._at += len(line)
        return line


def _is_utf8(text: bytes) -> bool:
    """As decoding would tell, from the bytes that are not ASCII: each run of them has to be valid by itself."""
    raw = np.frombuffer(text, dtype=np.uint8)
    at = np.flatnonzero(raw >= 0x80)
    begins = np.flatnonzero(np.append(True, at[1:] != at[:-1] + 1)[: len(at)])
    try:
        np.insert(raw[at], begins, 0x0A).tobytes().decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
