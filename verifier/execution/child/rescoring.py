# mypy: disable-error-code="import-not-found, misc"
"""The verifier's own scorer: minus the log-softmax of the logits at the target, in double precision, whatever loss the script makes of them.

It sees the logits where the script hands them to a cross entropy or a log-softmax. The script's own losses are compared with it, not used.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from verifier.execution.child.callers import site
from verifier.execution.child.scoring import Observer

ROWS = 4_096
"""Rows scored at once: bounds the memory of the double-precision copies."""
CLOSE = 1e-3
"""Nats per target up to which a script's loss and ours are one loss in two precisions."""


class Rescorer(Observer):
    """Records our losses in place of the script's. Distributions are not digested: there is no second run to compare them with."""

    def _record(self, rows: Any, targets: Any, losses: Any, result: Any, plain: bool) -> int | None:
        grad = bool(result.requires_grad)
        count = int(targets.numel())
        stated = losses.detach().float()
        own = stated if grad else score(rows, targets)
        # Targets that the script ignores have a loss of 0.
        if not grad and bool((((own - stated).abs() > CLOSE) & (stated != 0)).any()):
            self._recorder.event("other-loss", site=site(), plain=plain)
        start = self._recorder.scores(
            targets.to(torch.int32).numpy(), own.numpy(), np.zeros(count, dtype=np.uint64),
            grad=grad, width=int(rows.shape[-1]), plain=True, site=site(),
        )  # fmt: skip
        if start is not None and grad:
            self._updates.formed(start, count)
        return start


def score(rows: Any, targets: Any) -> Any:
    """Nats of each target. A target outside the alphabet (one that is to be ignored) scores 0."""
    parts = []
    with torch.no_grad():
        for at in range(0, targets.numel(), ROWS):
            logits = rows[at : at + ROWS].detach().double()
            picked = targets[at : at + ROWS].detach().long()
            inside = (picked >= 0) & (picked < logits.shape[-1])
            chosen = logits.gather(-1, picked.clamp(0, logits.shape[-1] - 1).unsqueeze(-1)).squeeze(-1)
            nats = torch.logsumexp(logits, dim=-1) - chosen
            parts.append(torch.where(inside, nats, torch.zeros_like(nats)).float())
    return torch.cat(parts) if parts else torch.zeros(0)
