"""The hard stop ends work and waiting alike, and leaves no timer behind."""

from __future__ import annotations

import itertools
import signal
import time

import pytest

from verifier.engine.deadline import DeadlineExceeded, hard_deadline


def test_endless_work_is_stopped() -> None:
    with pytest.raises(DeadlineExceeded), hard_deadline(0.05):
        next(number for number in itertools.count() if number < 0)


def test_endless_waiting_is_stopped() -> None:
    with pytest.raises(DeadlineExceeded, match=r"more than 0\.25 s$"), hard_deadline(0.05):
        time.sleep(60)


def test_nothing_is_left_behind() -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGALRM, signal.SIGPROF)]
    with hard_deadline(5):
        pass
    assert [signal.getsignal(number) for number in (signal.SIGALRM, signal.SIGPROF)] == handlers
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)
