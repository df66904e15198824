"""A hard stop for one folder: the last line of defence against input that makes a reader spin."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class DeadlineExceeded(BaseException):
    """Not an `Exception`: no reader or rule may swallow it."""


@contextmanager
def hard_deadline(seconds: float) -> Iterator[None]:
    """Raise `DeadlineExceeded` in this block after `seconds` of wall time.

    Works in the main thread on POSIX (regular expressions and loops in C check for signals); elsewhere only the readers' own
    budgets apply.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def stop(signum: int, frame: FrameType | None) -> None:
        raise DeadlineExceeded(f"more than {seconds:g} s")

    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
