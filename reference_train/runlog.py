"""The log of one seed, in the dialect of the challenge's records: one label per metric, settings first."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version

from reference_train.config import Config
from reference_train.evaluate import EvalResult


class RunLog:
    """Collects lines; `echo` shows each one as it comes."""

    def __init__(self, echo: Callable[[str], None] | None = None) -> None:
        self.lines: list[str] = []
        self._echo = echo

    def __call__(self, line: str) -> None:
        self.lines.append(line)
        if self._echo is not None:
            self._echo(line)

    @property
    def text(self) -> str:
        return "\n".join(self.lines) + "\n"

    def settings(self, cfg: Config, world: int) -> None:
        values = asdict(cfg) | {"world_size": world, "data_path": cfg.shown_data_path}
        self("Hyperparameters:")
        for name in sorted(values):
            value = values[name]
            shown = ",".join(map(str, value)) if isinstance(value, tuple) else value
            self(f"  {name}: {shown}")
        packages = " ".join(f"{name}={version(name)}" for name in ("torch", "numpy", "brotli", "zstandard"))
        self(f"versions: python={platform.python_version()} {packages}")

    def metric(self, label: str, result: EvalResult, seconds: float, extra: str = "") -> None:
        score = f"val_loss:{result.val_loss:.8f} val_bpb:{result.val_bpb:.8f}"
        self(f"{label} {score}{extra} eval_time:{seconds * 1000:.0f}ms")
