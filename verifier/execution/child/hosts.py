# mypy: disable-error-code="import-not-found, misc"
"""Programs of the machine that a script calls: `nvidia-smi` answers with a line of text, every call is recorded."""

from __future__ import annotations

import io
import os
import subprocess
from typing import Any

from verifier.execution.child.callers import site
from verifier.execution.child.recorder import Recorder

SMI = "nvidia-smi: not on this machine, the run is on a CPU\n"


class Answered:
    """A process that has printed `SMI` and ended; none is started."""

    def __init__(self, args: Any, text: bool) -> None:
        self.args = args
        self.returncode = 0
        self.pid = os.getpid()
        self._answer: Any = SMI if text else SMI.encode()
        self.stdout: Any = io.StringIO(SMI) if text else io.BytesIO(SMI.encode())
        self.stderr: Any = None
        self.stdin: Any = None

    def communicate(self, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        return self._answer, self._answer[:0]

    def poll(self) -> int:
        return 0

    def wait(self, timeout: float | None = None) -> int:
        return 0

    def kill(self) -> None: ...

    def terminate(self) -> None: ...

    def __enter__(self) -> Answered:
        return self

    def __exit__(self, *exc: object) -> None: ...


def install(recorder: Recorder) -> None:
    real: Any = subprocess.Popen

    class Popen(real):
        def __new__(cls, args: Any, *rest: Any, **kwargs: Any) -> Any:
            words = args.split() if isinstance(args, str) else [os.fspath(word) for word in args]
            name = os.path.basename(str(words[0])) if words else ""
            recorder.event("process", name=name[:100], site=site())
            if name == "nvidia-smi":
                recorder.mapped("nvidia-smi", "a line of text")
                text = bool(kwargs.get("text") or kwargs.get("universal_newlines") or kwargs.get("encoding"))
                return Answered(args, text)
            return super().__new__(cls)

    module: Any = subprocess
    module.Popen = Popen
