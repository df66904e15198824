"""Records written by hand: what a run would have left."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from verifier.execution.observations import read_observations
from verifier.execution.passes import Run
from verifier.execution.toy_data import ToyData, make_data
from verifier.execution.toy_tokenizer import make_tokenizer

TOKENIZER = make_tokenizer(512)


@dataclass(slots=True)
class Script:
    """A run told step by step. Losses are 7 nats plus a little that depends on the position, distributions likewise."""

    data: ToyData
    events: list[dict[str, object]] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    counted: list[int] = field(default_factory=list)
    logs: list[float] = field(default_factory=list)

    @classmethod
    def on(cls, changed_from: int | None = None) -> Script:
        return cls(make_data(TOKENIZER, 11, changed_from=changed_from))

    def event(self, kind: str, **entries: object) -> None:
        self.events.append({"n": len(self.events), "kind": kind, **entries})

    def score(
        self,
        positions: range,
        *,
        grad: bool = False,
        count: bool = True,
        shift: float = 0.0,
        width: int = 512,
        half: bool = False,
    ) -> tuple[int, int]:
        """Form (and count) losses for these positions; returns their range in the record."""
        start = len(self.losses)
        values = [float(np.float32(7 + shift + (position * 37 % 101) / 1000)) for position in positions]
        self.targets += self.data.val[positions.start : positions.stop].tolist()
        self.losses += values
        self.rows += [int(value * 1e6) for value in values]
        entries: dict[str, object] = {"half": True} if half else {}
        self.event(
            "scores", start=start, count=len(values), grad=grad, width=width, plain=True, site="train_gpt.py:9 forward", **entries
        )
        if count:
            self.event("counted", start=len(self.counted), count=len(values), how="sum", site="train_gpt.py:12 evaluate")
            self.counted += range(start, start + len(values))
        return start, len(values)

    def logarithms(self, values: list[float], site: str = "train_gpt.py:30 mix") -> None:
        self.event("logs", start=len(self.logs), count=len(values), site=site)
        self.logs += values

    def update(self, *ranges: tuple[int, int]) -> None:
        self.event("update", optimizer="SGD", ranges=[list(one) for one in ranges], site="train_gpt.py:20 adapt")

    def print(self, loss: float, bpb: float) -> None:
        self.event("line", stream="out", text=f"final_roundtrip_exact val_loss:{loss:.8f} val_bpb:{bpb:.8f}")

    def print_mean(self, positions: range, factor: float = 1.0) -> None:
        """Print loss and BPB of what was counted; `factor`: bytes counted for each true one."""
        loss = float(np.mean([self.losses[index] for index in self.counted[-len(positions) :]]))
        total = self.data.tokenizer.count_bytes(self.data.val)[positions.start : positions.stop].sum() * factor
        self.print(loss, loss / np.log(2) * len(positions) / total)

    def end(self, ok: bool = True, error: str = "", message: str = "") -> None:
        self.event("end", ok=ok, error=error, message=message, where="train_gpt.py:3 main")

    def write(self, folder: Path) -> Run:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in self.events), encoding="ascii")
        arrays: dict[str, NDArray[np.generic]] = {
            "targets.i32": np.array(self.targets, dtype="<i4"),
            "losses.f32": np.array(self.losses, dtype="<f4"),
            "rows.u64": np.array(self.rows, dtype="<u8"),
            "counted.i64": np.array(self.counted, dtype="<i8"),
            "logs.f64": np.array(self.logs, dtype="<f8"),
        }
        for name, values in arrays.items():
            (folder / name).write_bytes(values.tobytes())
        return Run(read_observations(folder), self.data)
