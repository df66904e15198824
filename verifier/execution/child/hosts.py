# mypy: disable-error-code="import-not-found, misc"
"""Programs of the machine that a script calls. Every call is recorded; a few are answered without starting anything.

`nvidia-smi` prints a line. `pip` installs nothing and says it has. `pyminify` and `lrzip`, where they are missing, are the text as it
is and LZMA: sizes differ from the real ones.
"""

from __future__ import annotations

import io
import lzma
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from verifier.execution.child.callers import site
from verifier.execution.child.recorder import Recorder

SMI = b"nvidia-smi: not on this machine, the run is on a CPU\n"


class Answered:
    """A process that has ended; none was started. `answer` makes its output from its input."""

    def __init__(self, args: Any, text: bool, answer: Callable[[bytes], bytes]) -> None:
        self.args = args
        self.returncode = 0
        self.pid = os.getpid()
        self._text = text
        self._answer = answer
        self.stdout: Any = io.StringIO(answer(b"").decode("utf-8", "replace")) if text else io.BytesIO(answer(b""))
        self.stderr: Any = io.StringIO() if text else io.BytesIO()
        self.stdin: Any = io.StringIO() if text else io.BytesIO()

    def communicate(self, input: Any = None, timeout: float | None = None) -> tuple[Any, Any]:
        given = input.encode() if isinstance(input, str) else bytes(input or b"")
        output = self._answer(given)
        return (output.decode("utf-8", "replace"), "") if self._text else (output, b"")

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
            words = args.split() if isinstance(args, str) else [str(os.fspath(word)) for word in args]
            name = os.path.basename(words[0]) if words else ""
            recorder.event("process", name=name[:100], site=site())
            answer = _answer(name, words, recorder)
            if answer is not None:
                text = bool(kwargs.get("text") or kwargs.get("universal_newlines") or kwargs.get("encoding"))
                return Answered(args, text, answer)
            return super().__new__(cls)

    module: Any = subprocess
    module.Popen = Popen


def _answer(name: str, words: Sequence[str], recorder: Recorder) -> Callable[[bytes], bytes] | None:
    """What answers for a program, `None` for one that is to be started."""
    if name in ("nvidia-smi", "rocm-smi"):
        recorder.mapped(name, "a line of text")
        return lambda given: SMI
    if name in ("pip", "pip3") or (name.startswith("python") and list(words[1:3]) == ["-m", "pip"]):
        recorder.mapped("pip", "nothing is installed")
        return lambda given: b""
    if name.startswith("python") and any(os.path.basename(word) == "setup.py" for word in words[1:]):
        raise recorder.not_supported("a native extension built by setup.py")
    if name in ("torchrun", "accelerate", "deepspeed") or (name.startswith("python") and "torch.distributed.run" in words):
        raise recorder.not_supported(f"{name} started by the script")
    if name == "pyminify" and shutil.which(name) is None:
        recorder.mapped(name, "the text as it is: sizes differ")
        files = [word for word in words[1:] if word.endswith(".py")]
        return lambda given: given or (Path(files[0]).read_bytes() if files else b"")
    if name == "lrzip" and shutil.which(name) is None:
        recorder.mapped(name, "LZMA: sizes differ")
        _lrzip(words[1:])
        return lambda given: b""
    return None


def _lrzip(words: Sequence[str]) -> None:
    """`lrzip [-d] [-o OUT] IN`: compress a file, or the reverse."""
    unpack = "-d" in words
    out, files, skip = "", [], False
    for at, word in enumerate(words):
        if skip:
            skip = False
        elif word in ("-o", "-L", "-p", "-w", "-S", "-O"):
            skip = True
            out = words[at + 1] if word == "-o" and at + 1 < len(words) else out
        elif not word.startswith("-"):
            files.append(word)
    source = Path(files[-1])
    data = source.read_bytes()
    target = Path(out) if out else (source.with_suffix("") if unpack else source.with_name(source.name + ".lrz"))
    target.write_bytes(lzma.decompress(data) if unpack else lzma.compress(data))
