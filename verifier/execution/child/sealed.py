"""Files of a record that sign what is written to them, so that whatever else changes them shows (`verifier.execution.seal`)."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path


class SealedFile:
    """A file open for writing, with the running signature of all that was written through it."""

    def __init__(self, path: Path, key: bytes) -> None:
        self.name = path.name
        self._file = path.open("wb")
        self._running = hmac.new(key, digestmod=hashlib.sha256)

    def write(self, data: str | bytes) -> None:
        data = data.encode("ascii") if isinstance(data, str) else data
        self._running.update(data)
        self._file.write(data)

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    @property
    def seal(self) -> str:
        return self._running.hexdigest()
