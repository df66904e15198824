"""Losses that are computed from losses: mixtures in torch and on their way to numpy. Needs torch."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch: Any = pytest.importorskip("torch")
F: Any = torch.nn.functional

from verifier.execution.child.recorder import Recorder  # noqa: E402
from verifier.execution.child.scoring import Observer  # noqa: E402
from verifier.execution.child.updates import Updates  # noqa: E402
from verifier.execution.observations import Observations, read_observations  # noqa: E402

LOGITS = torch.randn(6, 11, generator=torch.Generator().manual_seed(1))
TARGETS = torch.tensor([3, 1, 4, 1, 5, 9])
TABLE = torch.rand(6, generator=torch.Generator().manual_seed(2))
ROWS = torch.rand(6, 11, generator=torch.Generator().manual_seed(3)).softmax(-1)
MODEL = LOGITS.log_softmax(-1)
CHOSEN = MODEL.gather(1, TARGETS.unsqueeze(1)).squeeze(1)
MIXED = -torch.log(0.5 * CHOSEN.exp() + 0.5 * TABLE)
WHOLE = -torch.log(0.5 * MODEL.exp() + 0.5 * ROWS).gather(1, TARGETS.unsqueeze(1)).squeeze(1)


def observe(folder: Path, script: Callable[[], object]) -> Observations:
    recorder = Recorder(folder)
    with Observer(recorder, Updates(recorder)), torch.no_grad():
        script()
    recorder.close()
    return read_observations(folder)


def realized() -> object:
    p = F.log_softmax(LOGITS, dim=-1).gather(1, TARGETS.unsqueeze(1)).squeeze(1).exp()
    mixed = torch.where(TABLE > -1, 0.5 * p + 0.5 * TABLE, p)
    return (-torch.log(mixed.clamp(min=1e-12)))[4:].double().sum()


def from_losses() -> object:
    p = torch.exp(-F.cross_entropy(LOGITS, TARGETS, reduction="none").reshape(2, 3))
    return torch.log(p[1, 1:] * 0.5 + 0.5 * TABLE[4:]).sum()


def rows_in_logs() -> object:
    logp = F.log_softmax(LOGITS, dim=-1)
    mixed = torch.logaddexp(logp + math.log(0.5), torch.log(ROWS) + math.log(0.5))
    return (-mixed.gather(1, TARGETS.unsqueeze(1)).squeeze(1))[4:].sum()


def rows_in_probabilities() -> object:
    mixed = 0.5 * F.softmax(LOGITS, dim=-1) + 0.5 * ROWS
    return (-mixed[torch.arange(6), TARGETS].log())[4:].sum()


@pytest.mark.parametrize(
    ("script", "expected"), [(realized, MIXED), (from_losses, MIXED), (rows_in_logs, WHOLE), (rows_in_probabilities, WHOLE)]
)
def test_mixtures_count_with_the_targets_they_are_of(tmp_path: Path, script: Callable[[], object], expected: Any) -> None:
    seen = observe(tmp_path, script)
    assert np.allclose(seen.losses[seen.counted], expected[4:].numpy(), atol=1e-5)
    assert seen.targets[seen.counted].tolist() == TARGETS[4:].tolist()
    assert not any(span.plain for span in seen.spans if span.start <= seen.counted[0] < span.start + span.count)


def test_a_picked_log_probability_is_a_plain_loss(tmp_path: Path) -> None:
    seen = observe(tmp_path, lambda: (-F.log_softmax(LOGITS, dim=-1)[torch.arange(6), TARGETS]).mean())
    assert np.allclose(seen.losses, -CHOSEN.numpy(), atol=1e-6)
    assert seen.counted.tolist() == list(range(6))
    assert seen.spans[0].plain
    assert seen.spans[0].width == 11


def test_losses_put_into_a_buffer_are_followed(tmp_path: Path) -> None:
    def script() -> object:
        buffer = torch.zeros(4)
        buffer[1:3] = F.cross_entropy(LOGITS, TARGETS, reduction="none")[3:5]
        return buffer[1:].sum()

    assert observe(tmp_path, script).counted.tolist() == [3, 4]


def test_what_leaves_torch_is_named(tmp_path: Path) -> None:
    def script() -> object:
        nll = F.cross_entropy(LOGITS, TARGETS, reduction="none")
        return torch.exp(-nll[3:]).cpu().numpy(), nll[1:2].numpy()

    events = observe(tmp_path, script).of("to-numpy")
    assert [event.entries["ranges"] for event in events] == [[[3, 3]], [[1, 1]]]


def test_gradients_are_no_scores(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.zeros(11))

    def script() -> object:
        with torch.enable_grad():
            nll = F.cross_entropy(LOGITS + weight, TARGETS, reduction="none")
            return (nll * 0.5 + 1).mean()

    assert observe(tmp_path, script).counted.tolist() == []
