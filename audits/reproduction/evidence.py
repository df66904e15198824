"""The folder of evidence: made for one set of inputs, resumed only for the same, each run in it whole or absent."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from verifier.cli.errors import UsageFailure
from verifier.cli.output import write_atomically
from verifier.execution.rerun import BadRun, Rerun, load_run, write_run

MANIFEST, RUNS, LOCK = "manifest.json", "runs", ".lock"
KIND = "contest-verifier reproduction"
PARTIAL = ".partial"


class Evidence:
    """A folder of evidence that is open for writing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def finished(self, seed: int | None) -> Rerun | None:
        """The complete run of a seed that is here, `None` when it has to be made (again)."""
        try:
            kept = load_run(self._place(seed))
        except BadRun:
            return None
        return kept if kept.completed else None

    def make(self, seed: int | None, run: Callable[[Path], Rerun]) -> Rerun:
        """Make a run in a folder beside its place and move it there when it has ended, however it has."""
        place = self._place(seed)
        partial = place.with_name(place.name + PARTIAL)
        for stale in (partial, place):
            shutil.rmtree(stale, ignore_errors=True)
        partial.mkdir(parents=True)
        made = run(partial)
        write_run(made, partial)
        partial.rename(place)
        return made

    def write(self, name: str, text: str) -> None:
        write_atomically(self.folder / name, text)

    def _place(self, seed: int | None) -> Path:
        return self.folder / RUNS / (f"seed-{seed}" if seed is not None else "seed-default")


@contextmanager
def open_evidence(folder: Path, inputs: Mapping[str, object]) -> Iterator[Evidence]:
    """Open or make the folder for `inputs` (JSON values). Raises `UsageFailure` for a folder that is not ours, was made from
    other inputs, or is in use."""
    manifest = folder / MANIFEST
    if folder.exists() and not folder.is_dir():
        raise UsageFailure(f"--evidence {folder}: not a folder; nothing was run", "name a new folder for the evidence")
    if folder.is_dir() and any(path.name != LOCK for path in folder.iterdir()):
        _refuse_foreign(manifest, inputs)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK).open("w")
    except OSError as failure:
        raise UsageFailure(f"--evidence {folder} can't be written: {failure.strerror}; nothing was run") from failure
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as failure:
            raise UsageFailure(f"--evidence {folder} is in use by another process; nothing was run") from failure
        if not manifest.exists():
            write_atomically(manifest, json.dumps({"kind": KIND, "schema": 1, "inputs": inputs}, indent=2, sort_keys=True) + "\n")
        yield Evidence(folder)


def _refuse_foreign(manifest: Path, inputs: Mapping[str, object]) -> None:
    hint = "name a new folder for the evidence"
    try:
        held = json.loads(manifest.read_text(encoding="utf-8"))
        if held["kind"] != KIND or not isinstance(held["inputs"], dict):
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError) as failure:
        raise UsageFailure(
            f"--evidence {manifest.parent}: not empty, and no evidence of this command; nothing was run", hint
        ) from failure
    given = json.loads(json.dumps(dict(inputs)))
    changed = sorted(name for name in {*held["inputs"], *given} if held["inputs"].get(name) != given.get(name))
    if changed:
        told = "; ".join(
            f"{name}: {_short(held['inputs'].get(name))} there, {_short(given.get(name))} now" for name in changed[:4]
        )
        raise UsageFailure(f"--evidence {manifest.parent} was made from other inputs ({told}); nothing was run", hint)


def _short(value: object) -> str:
    text = json.dumps(value, sort_keys=True)
    return text if len(text) <= 60 else f"{hashlib.sha256(text.encode()).hexdigest()[:12]}..."


def digest_folder(folder: Path) -> str:
    """One digest over the names and contents of all files of a folder, in path order."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            total.update(f"{path.relative_to(folder).as_posix()}\0{content}\n".encode("utf-8", "surrogateescape"))
    return total.hexdigest()


def describe_data(data: Path | None) -> list[list[object]] | None:
    """Names and bytes of the shards: their contents take too long to hash before each start."""
    if data is None:
        return None
    files = [data] if data.is_file() else sorted(path for path in data.iterdir() if path.is_file())
    return [[path.name, path.stat().st_size] for path in files]
