"""What the chosen Python finds on this machine: torch, and GPUs."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from verifier.cli.errors import UsageFailure

_ASK = """
import json, sys
import torch
gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
print(json.dumps({"torch": torch.__version__, "python": sys.version.split()[0], "gpus": gpus}))
"""
_SECONDS = 180.0


@dataclass(frozen=True, slots=True)
class Machine:
    """`gpus` are the names of the devices that torch can use."""

    torch: str
    python: str
    gpus: tuple[str, ...]

    def named(self, processes: int) -> str:
        """The part of it that a run on `processes` processes uses, in words."""
        return f"{processes} x {self.gpus[0]}" if self.gpus else "CPU"


def inspect_machine(python: Path) -> Machine:
    """Raises `UsageFailure` without a torch that starts."""
    try:
        done = subprocess.run([str(python), "-c", _ASK], capture_output=True, text=True, timeout=_SECONDS, check=False, cwd="/")
        told = json.loads(done.stdout.strip().splitlines()[-1])
        return Machine(str(told["torch"]), str(told["python"]), tuple(map(str, told["gpus"])))
    except (OSError, subprocess.TimeoutExpired, ValueError, IndexError, KeyError, TypeError) as failure:
        said = done.stderr.strip().splitlines()[-1:] if isinstance(failure, IndexError | ValueError) else [str(failure)]
        raise UsageFailure(
            f"--python {python} has no torch that starts ({''.join(said)[:200]}); nothing was run",
            "name a Python that has it: --python FILE (uv sync --extra train makes one)",
        ) from failure
