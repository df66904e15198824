"""Who is calling: the submission, or a library on its behalf."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import FrameType

HERE = str(Path(__file__).parent)
STDLIB = str(Path(os.__file__).parent)


def is_library(path: str) -> bool:
    """Whether code of this file is an installed library, the standard library or this package."""
    return path.startswith((STDLIB, HERE, "<frozen")) or "site-packages" in path or "dist-packages" in path


def submission_frame() -> FrameType | None:
    """The innermost frame that is the submission's own (packed scripts run from `<string>`)."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if not is_library(frame.f_code.co_filename):
            return frame
        frame = frame.f_back
    return None


def called_by_submission() -> bool:
    """Whether the code that called us directly (past frames of this package) is the submission's own."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(HERE):
        frame = frame.f_back
    return frame is not None and not is_library(frame.f_code.co_filename)


def site() -> str:
    """Place in the submission as `file:line function`."""
    frame = submission_frame()
    if frame is None:
        return ""
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno} {frame.f_code.co_name}"
