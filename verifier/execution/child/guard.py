# mypy: disable-error-code="import-not-found, misc"
"""What the script does to the recorder: noted, and refused where that is possible.

Nothing here is a wall. The script shares the process and can undo it; the files are signed, the sandbox confines it, and a number
that does not follow from recorded losses counts for nothing.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import torch.nn.functional as F

from verifier.execution.child.callers import HERE, STDLIB, is_library, site, submission_frame
from verifier.execution.child.recorder import Recorder

PATHS = frozenset(
    {"open", "os.remove", "os.rename", "os.truncate", "os.link", "os.symlink", "os.chmod", "os.mkdir", "os.rmdir", "os.listdir",
     "os.scandir", "os.chdir", "os.utime", "shutil.rmtree", "shutil.move", "shutil.copyfile"}
)  # fmt: skip
"""Audit events whose arguments name files."""
LOOKS = frozenset(
    {"sys._getframe", "sys._current_frames", "gc.get_objects", "gc.get_referrers", "gc.get_referents", "sys.settrace"}
)
"""Audit events of looking around in the process, which a training script has no use for."""
ENDS = frozenset({"os.exec", "os.posix_spawn", "os.forkpty", "os.kill", "os.killpg", "os.system"})
NOTED = 200
"""Notes at most."""
HOOKED = 3
"""Frames from a question down to the code that raised the audit event: the question, `Guard.audit`, the hook."""


class Guard:
    """`own` are names in the working folder that are the recorder's."""

    def __init__(self, recorder: Recorder, own: frozenset[str], still: Callable[[], bool]) -> None:
        self._recorder = recorder
        self._own = own
        self._still = still
        self._noted: set[tuple[str, str]] = set()
        self._busy = False
        self._hooks = _hooks()

    def note(self, what: str) -> None:
        """Write once for each place what was done."""
        key = (what, site())
        if key not in self._noted and len(self._noted) < NOTED:
            self._noted.add(key)
            self._recorder.event("tampering", what=what[:300], site=key[1])

    def check(self) -> None:
        """Whether what records is still in place."""
        if not self._still() and not _inside_call():
            self.note("the recorder was taken off torch's calls")
        for holder, name, value in self._hooks:
            if getattr(holder, name, None) is not value:
                self.note(f"{getattr(holder, '__name__', '?')}.{name} was replaced, through which losses are seen")

    def audit(self, event: str, args: tuple[Any, ...]) -> None:
        """Hook of Python's audit events."""
        if self._busy or not (event in PATHS or event in LOOKS or event in ENDS or event == "import"):
            return
        self._busy = True
        try:
            if event in PATHS:
                touched = next((name for arg in args[:2] if (name := self._own_name(arg))), "")
                if touched and _by_submission() and not _quotes_source():
                    self.note(f"{event} of {touched}, which is the recorder's")
                    raise PermissionError(13, "not the script's", touched)
            elif event == "import":
                if str(args[0]).split(".")[0] == "verifier" and _by_submission():
                    self.note(f"import of {str(args[0])[:100]}")
            elif event in LOOKS:
                if _direct():
                    self.note(f"{event}: looks at what runs it")
            elif _by_submission():
                self._recorder.event("process", name=event, site=site())
        finally:
            self._busy = False

    def _own_name(self, arg: Any) -> str:
        """The recorder's name that a path leads to, empty if none; the process's own descriptors and memory count as such."""
        if isinstance(arg, bytes):
            arg = arg.decode("utf-8", "replace")
        elif hasattr(arg, "__fspath__"):
            arg = os.fspath(arg)
        if not isinstance(arg, str) or len(arg) > 4096:
            return ""
        if arg.startswith(("/proc/", "/dev/fd")) and ("/fd" in arg or arg.endswith(("/mem", "/environ", "/maps", "/cmdline"))):
            return arg
        if self._own.isdisjoint(arg.split("/")) and os.getcwd() == self._start:
            return ""
        parts = os.path.realpath(arg).split("/")
        return next((name for name in parts if name in self._own), "")

    _start = os.getcwd()


def watch_forks(recorder: Recorder) -> None:
    """A copy of the process that the script makes records nothing: two writers would spoil the record."""
    mine = [False]

    def before() -> None:
        mine[0] = sys._getframe(1).f_code.co_filename.startswith(HERE)
        if not mine[0]:
            recorder.event("process", name="os.fork", site=site())

    def in_copy() -> None:
        if not mine[0]:
            recorder.silence()

    os.register_at_fork(before=before, after_in_child=in_copy)


def leave(recorder: Recorder, real: Callable[[int], Any]) -> None:
    """`os._exit` by the script: the record says so."""
    module: Any = os

    def exit_now(code: int) -> None:
        if submission_frame() is not None:
            recorder.event(
                "end", ok=False, error="os._exit", message=f"the script ended its process itself, code {code}", where=site()
            )
            recorder.close()
        real(code)

    module._exit = exit_now


def hide(plan: Path, code: Path, own: frozenset[str]) -> None:
    """Take this package out of what a script sees of its process: modules, search path, environment, and the copy of its files.

    A script that asks for it finds nothing and runs as it would elsewhere.
    """
    for name in [name for name in sys.modules if name.split(".")[0] == "verifier"]:
        del sys.modules[name]
    for name in ("PYTHONPATH", "PYTHONHASHSEED", "PYTHONDONTWRITEBYTECODE"):
        os.environ.pop(name, None)
    # Only the copy in the working folder goes.
    if code.name in own and code.parent == plan.parent:
        sys.path[:] = [entry for entry in sys.path if Path(entry).name != code.name]
        shutil.rmtree(code, ignore_errors=True)
        plan.unlink(missing_ok=True)


def _hooks() -> list[tuple[Any, str, Any]]:
    places = (
        (F, "cross_entropy"), (F, "log_softmax"), (F, "nll_loss"), (torch, "log_softmax"), (torch.Tensor, "backward"),
        (torch.autograd, "backward"), (torch.autograd, "grad"), (torch.Tensor, "log_softmax"), (torch.nn.CrossEntropyLoss, "forward"),
    )  # fmt: skip
    return [(holder, name, getattr(holder, name)) for holder, name in places]


def _inside_call() -> bool:
    """Whether a torch call that the recorder passed on is under way: its own calls are not passed to the recorder again."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_name == "__torch_function__" and frame.f_code.co_filename.startswith(HERE):
            return True
        frame = frame.f_back
    return False


def _by_submission() -> bool:
    """Whether the innermost code that is not the standard library's is not ours."""
    frame: FrameType | None = sys._getframe(HOOKED)
    while frame is not None:
        path = frame.f_code.co_filename
        if path.startswith(HERE):
            return False
        if not path.startswith((STDLIB, "<frozen")) or "site-packages" in path:
            return submission_frame() is not None
        frame = frame.f_back
    return False


def _quotes_source() -> bool:
    """Whether a file is opened to show its lines in a traceback: that of a failure may lead through the recorder."""
    frame: FrameType | None = sys._getframe(HOOKED)
    for _ in range(4):
        if frame is None:
            return False
        if frame.f_code.co_filename.endswith("/linecache.py"):
            return True
        frame = frame.f_back
    return False


def _direct() -> bool:
    """Whether the submission itself asked, or `inspect` for it."""
    frame: FrameType | None = sys._getframe(HOOKED)
    if frame is not None and frame.f_code.co_filename.endswith("/inspect.py"):
        frame = frame.f_back
    return frame is not None and not is_library(frame.f_code.co_filename)
