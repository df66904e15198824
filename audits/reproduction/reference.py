"""The reference trainer as another program: what it can be told, its presets as data, one run of it.

It is never imported: its settings are asked for on its command line, its presets are files, a run is a process.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import signal
import subprocess
import threading
import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verifier.cli.errors import UsageFailure
from verifier.execution.rerun import STAMPS, Rerun, read_stamps
from verifier.execution.stamps import stamp_lines

PACKAGE = "reference_train"
SCRIPT = "train_gpt.py"
TINY = "tiny-"
_SETTING = re.compile(r"([A-Z][A-Z0-9_]{1,60}) \(default (.{0,200})\)")
_PASSED_ON = ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "TMPDIR", "OMP_NUM_THREADS")
"""Variables of this process that a run sees. Others could be settings of the trainer by accident."""


@dataclass(frozen=True, slots=True)
class Catalog:
    """`settings`: names with their defaults as text; `presets`: full systems with their values, those they extend included."""

    settings: Mapping[str, str]
    presets: Mapping[str, Mapping[str, str]]

    def value(self, preset: str, name: str) -> str:
        return self.presets[preset].get(name, self.settings.get(name, ""))


def read_catalog(python: Path) -> Catalog:
    """Raises `UsageFailure` where the trainer isn't there or doesn't start."""
    root = _root()
    done = subprocess.run(
        [str(python), "-m", PACKAGE, "--list-settings"], env=_environment(root), capture_output=True, text=True, timeout=120, check=False
    )  # fmt: skip
    settings = read_settings(done.stdout)
    if done.returncode or not settings:
        reason = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), f"code {done.returncode}")
        raise UsageFailure(
            f"the reference trainer does not start under {python}: {reason.strip()[:200]}; nothing was run",
            "name a Python with the trainer's packages: --python FILE (uv sync --extra train)",
        )
    return Catalog(settings, read_presets(root / PACKAGE / "presets"))


def read_settings(listing: str) -> dict[str, str]:
    """Names and defaults from what `--list-settings` prints."""
    lines = (_SETTING.fullmatch(line.strip()) for line in listing.splitlines())
    return {found[1]: _as_text(found[2]) for found in lines if found}


def read_presets(folder: Path) -> dict[str, dict[str, str]]:
    """The full systems among the preset files of a folder; their tiny forms and shared parts are no systems of their own."""
    names = sorted(path.stem for path in folder.glob("[!_]*.toml") if not path.stem.startswith("tiny"))
    return {name: _read_preset(folder, name) for name in names}


def _read_preset(folder: Path, name: str) -> dict[str, str]:
    own: dict[str, Any] = tomllib.loads((folder / f"{name}.toml").read_text(encoding="utf-8"))
    merged: dict[str, str] = {}
    for parent in own.pop("extends", ()):
        merged |= _read_preset(folder, parent)
    for key in ("description", "forbidden", "parity_quirks"):
        own.pop(key, None)
    return merged | {key.upper(): _spell(value) for key, value in own.items()}


def _spell(value: object) -> str:
    """A value in the spelling of the challenge's variables."""
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return str(value)


def _as_text(default: str) -> str:
    """A printed default (`True`, `(3, 4)`, `'zlib'`) in the same spelling."""
    text = default.strip("()").replace(" ", "").rstrip(",") if default.startswith("(") else default.strip("'\"")
    return {"True": "1", "False": "0"}.get(text, text)


@dataclass(frozen=True, slots=True)
class Order:
    """One run to make: a preset with settings on top, on `processes` processes, one seed."""

    preset: str
    overrides: Mapping[str, str]
    processes: int
    seed: int | None


def run_reference(order: Order, python: Path, seconds: float, kept: Path, note: Callable[[str], None] | None) -> Rerun:
    """Run the trainer for at most `seconds`; its record folder becomes `kept`. `note` gets each line as it comes."""
    root = _root()
    start = (
        ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(order.processes)) if order.processes > 1 else ()
    )
    settings = [f"{name}={value}" for name, value in sorted(order.overrides.items())]
    seed = ("--seeds", str(order.seed)) if order.seed is not None else ()
    # A first process with a pipe for output, never a terminal: its progress goes nowhere, its log lines come here.
    command = [str(python), "-u", *start, "-m", PACKAGE, "--preset", order.preset, "--record-dir", str(kept), *seed, *settings]
    errors = kept / "stderr.txt"
    started = time.monotonic()
    with errors.open("wb") as err:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=err, env=_environment(root), start_new_session=True,
            cwd=kept,
        )  # fmt: skip
        overdue = threading.Event()

        def end() -> None:
            overdue.set()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

        timer = threading.Timer(seconds, end)
        timer.start()
        try:
            assert process.stdout is not None
            with process.stdout as stream, (kept / STAMPS).open("w", encoding="ascii") as out:
                stamp_lines(iter(lambda: stream.readline(65_536), b""), out, started, note)
            code = process.wait()
        finally:
            timer.cancel()
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    took = time.monotonic() - started
    last = next((line for line in reversed(errors.read_text(errors="replace").splitlines()) if line.strip()), "")
    failure = "" if code == 0 else f"it ended with code {code}: {last.strip()[:300]}"
    if overdue.is_set():
        failure = f"more than {seconds:g} s of wall time"
    lines = read_stamps(kept / STAMPS)
    left = {path.relative_to(kept).as_posix(): path.stat().st_size for path in sorted(kept.rglob("*")) if path.is_file()}
    facts = {"preset": order.preset, "settings": dict(order.overrides), "processes": order.processes, "command": command[1:]}
    stage = "end" if not failure else "started" if lines else "nothing printed"
    return Rerun(order.seed, not failure, failure, stage, took, left.get(SCRIPT, 0), True, lines, left, facts)


def _root() -> Path:
    """The folder that holds the trainer's package. Looking for it runs nothing of it."""
    spec = importlib.util.find_spec(PACKAGE)
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    if not places:
        raise UsageFailure("the reference trainer is not installed; nothing was run", "use --runner own")
    return Path(places[0]).resolve().parent


def _environment(root: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {**kept, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
