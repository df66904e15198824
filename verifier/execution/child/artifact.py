"""Putting a given artifact in the place of the one that the script has just written, at the moment it reads it back.

Python announces each opening of a file before it happens. When the announced file is the artifact, the given one is moved to its
path first: the script then loads it with its own code, whatever its format. Nothing is opened under the artifact's name, so the
record of opened files stays the script's own.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from verifier.execution.child.recorder import Recorder

TEXTS = (".txt", ".log", ".py", ".json", ".jsonl", ".md", ".csv", ".tsv", ".yaml", ".yml", ".model", ".vocab")
"""Files that a script writes and reads but that hold no weights."""
SIGNATURE = 2
"""First bytes that tell containers and compressors apart."""


class Replacement:
    """`given` is the artifact's file, which is taken away: the script finds it in no other place. `name` is what the script calls
    it: empty where that is not known, and then each file of the run's own that begins like the given one stands for it."""

    def __init__(self, recorder: Recorder, given: Path, name: str, stage: Path) -> None:
        self._recorder = recorder
        self._given = given.read_bytes()
        given.unlink()
        self._name = name
        self._stage = stage.absolute()
        self._root = Path.cwd()
        self._before = {path.name for path in self._root.rglob("*") if path.is_file()}
        self._count = 0
        self._busy = False

    def install(self) -> None:
        sys.addaudithook(self._hook)

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        if self._busy or event not in ("open", "subprocess.Popen"):
            return
        self._busy = True
        try:
            if event == "open":
                path, mode, flags = args
                if _reads(mode, flags) and (isinstance(path, str | bytes) or hasattr(path, "__fspath__")):
                    self._opened(Path(os.fsdecode(path)))
            elif self._name:
                # A program that unpacks: it reads what is there, and can't read what it has yet to write.
                for word in args[1] if isinstance(args[1], list | tuple) else str(args[1]).split():
                    self._opened(Path(os.fsdecode(word)))
        except (OSError, ValueError, TypeError) as failure:
            self._recorder.event("not-replaced", message=str(failure)[:200])
        finally:
            self._busy = False

    def _opened(self, path: Path) -> None:
        if self._name and path.name != self._name:
            return
        if not self._name and (path.name in self._before or path.suffix.lower() in TEXTS):
            return
        target = path.resolve()
        if not target.is_relative_to(self._root) or target.is_relative_to(self._stage) or not target.is_file():
            return
        held = target.read_bytes()
        if held == self._given or (not self._name and held[:SIGNATURE] != self._given[:SIGNATURE]):
            return
        staged = self._stage / "replacement"
        staged.write_bytes(self._given)
        os.replace(staged, target)
        self._count += 1
        self._recorder.event("replaced", path=str(path)[:400], own=len(held), given=len(self._given))


def _reads(mode: Any, flags: Any) -> bool:
    if isinstance(mode, str):
        return not any(letter in mode for letter in "wax+")
    return isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR) == 0
