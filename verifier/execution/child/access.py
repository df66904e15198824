"""Files opened and network attempts, by Python's audit hook. What C++ code opens by itself (SentencePiece) is not seen."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from verifier.execution.child.callers import is_library, site, submission_frame
from verifier.execution.child.guard import Guard
from verifier.execution.child.recorder import Recorder

NETWORK = frozenset(
    {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "urllib.Request", "http.client.connect"}
)

OPENED = 5_000
"""Files recorded at most."""


def install(recorder: Recorder, own: Path, guard: Guard) -> None:
    """`own` is the folder of the record itself; `guard` hears of every event first and may refuse it."""
    seen: set[tuple[str, str, str]] = set()
    ignored = (str(own), "/proc/", "/sys/", "/dev/", "/etc/")
    busy = [False]
    count = [0]

    def hook(event: str, args: tuple[Any, ...]) -> None:
        guard.audit(event, args)
        if event not in NETWORK and event != "open":
            return
        if busy[0]:
            return
        busy[0] = True
        try:
            if event == "open":
                _opened(*args)
            else:
                recorder.event(
                    "network", what=event, target=str(args[1:] if event.startswith("socket.c") else args)[:300], site=site()
                )
        finally:
            busy[0] = False

    def _opened(path: Any, mode: Any, flags: Any) -> None:
        if not isinstance(path, str | bytes) and not hasattr(path, "__fspath__"):
            return
        text = path.decode("utf-8", "replace") if isinstance(path, bytes) else str(path)
        if text.startswith(ignored) or is_library(text) or text.endswith((".pyc", ".so")) or submission_frame() is None:
            return
        writes = (isinstance(mode, str) and any(letter in mode for letter in "wax+")) or (
            isinstance(flags, int) and flags & 3 != 0
        )
        where = site()
        key = (text, "w" if writes else "r", where)
        # Each reading is kept (the phase matters), repeated appends to a log are not.
        if (writes and key in seen) or count[0] >= OPENED:
            return
        seen.add(key)
        count[0] += 1
        recorder.event("file", path=text[:400], mode=key[1], by="open", site=where)

    sys.addaudithook(hook)
