"""A hard stop for one folder: the last line of defence against input that makes a reader spin."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class DeadlineExceeded(BaseException):
    """Not an `Exception`: no reader or rule may swallow it."""


_WAITING = 5
"""Wall time that may pass for each second of processor time: a busy machine must not change an answer."""


@contextmanager
def hard_deadline(seconds: float) -> Iterator[None]:
    """Raise `DeadlineExceeded` in this block after `seconds` of processor time, or five times as much wall time.

    Works in the main thread on POSIX (regular expressions and loops in C check for signals); elsewhere only the readers' own
    budgets apply.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def stop(signum: int, frame: FrameType | None) -> None:
        raise DeadlineExceeded(
            f"more than {seconds:g} s of work" if signum == signal.SIGPROF else f"more than {_WAITING * seconds:g} s"
        )

    timers = ((signal.ITIMER_PROF, signal.SIGPROF, seconds), (signal.ITIMER_REAL, signal.SIGALRM, _WAITING * seconds))
    previous = [signal.signal(number, stop) for _, number, _ in timers]
    for timer, _, limit in timers:
        signal.setitimer(timer, limit)
    try:
        yield
    finally:
        for (timer, number, _), handler in zip(timers, previous, strict=True):
            signal.setitimer(timer, 0)
            signal.signal(number, handler)
