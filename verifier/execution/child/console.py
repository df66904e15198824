"""The script's own lines, in their place among the other events."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import Any, TextIO

from verifier.execution.child.callers import site
from verifier.execution.child.logarithms import Logarithms
from verifier.execution.child.recorder import Recorder

LINE = 1_000


class Console(io.TextIOBase):
    """Passes text on and records whole lines."""

    encoding = "utf-8"

    def __init__(
        self, real: TextIO, recorder: Recorder, logarithms: Logarithms, stream: str, check: Callable[[], None] = lambda: None
    ) -> None:
        self._real = real
        self._recorder = recorder
        self._logarithms = logarithms
        self._stream = stream
        self._rest = ""
        self.check = check
        """Called before a line is recorded."""

    def write(self, text: str) -> int:
        self._real.write(text)
        *lines, rest = (self._rest + text).split("\n")
        self._rest = rest[-LINE:]
        for line in lines:
            if line.strip():
                self.check()
                self._logarithms.write()
                self._recorder.event("line", stream=self._stream, text=line[:LINE], site=site())
        return len(text)

    def flush(self) -> None:
        self._real.flush()

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        return self._real.fileno()

    def writable(self) -> bool:
        return True

    @property
    def buffer(self) -> Any:
        return self._real.buffer


def install(recorder: Recorder, logarithms: Logarithms) -> Console:
    console = Console(sys.stdout, recorder, logarithms, "out")
    sys.stdout = console
    return console
