"""The recording side, in this process and without replacing anything: needs torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch: Any = pytest.importorskip("torch")
F: Any = torch.nn.functional

from verifier.execution.child.attention import attend  # noqa: E402
from verifier.execution.child.recorder import Recorder  # noqa: E402
from verifier.execution.child.scoring import Observer, digest_rows  # noqa: E402
from verifier.execution.child.updates import Updates  # noqa: E402
from verifier.execution.observations import Observations, read_observations  # noqa: E402

LOGITS = torch.randn(6, 11, generator=torch.Generator().manual_seed(1))
TARGETS = torch.tensor([3, 1, 4, 1, 5, 9])
EXPECTED = F.cross_entropy(LOGITS, TARGETS, reduction="none").numpy()


def observe(folder: Path, script: Callable[[], object]) -> Observations:
    recorder = Recorder(folder)
    updates = Updates(recorder)
    with Observer(recorder, updates):
        script()
    recorder.close()
    return read_observations(folder)


def sliced() -> object:
    nll = F.cross_entropy(LOGITS, TARGETS, reduction="none").reshape(2, 3)
    return nll[1, 1:].to(torch.float64).sum()


def masked() -> object:
    mask = torch.tensor([0.0, 0, 0, 0, 1, 1])
    return (F.cross_entropy(LOGITS, TARGETS, reduction="none") * mask).sum()


def joined() -> object:
    nll = F.cross_entropy(LOGITS, TARGETS, reduction="none")
    return torch.cat([nll[4:5], nll[5:]]).mean()


def numbers() -> object:
    nll = F.cross_entropy(LOGITS, TARGETS, reduction="none")
    return [nll[4].item(), float(nll[5])]


def gathered() -> object:
    picked = F.log_softmax(LOGITS, dim=-1).gather(-1, TARGETS.unsqueeze(-1)).squeeze(-1)
    return (-picked)[4:].sum()


@pytest.mark.parametrize("script", [sliced, masked, joined, numbers, gathered])
def test_what_a_script_adds_up_is_what_is_counted(tmp_path: Path, script: Callable[[], object]) -> None:
    seen = observe(tmp_path, script)
    assert np.allclose(seen.losses, EXPECTED, atol=1e-6)
    assert seen.targets.tolist() == TARGETS.tolist()
    assert sorted(seen.counted.tolist()) == [4, 5]


def test_a_mean_without_a_gradient_counts_every_target(tmp_path: Path) -> None:
    seen = observe(tmp_path, lambda: F.cross_entropy(LOGITS, TARGETS))
    assert seen.counted.tolist() == list(range(6))
    assert seen.spans[0].plain


def test_ignored_targets_are_not_counted(tmp_path: Path) -> None:
    targets = TARGETS.clone()
    targets[:2] = -100
    assert observe(tmp_path, lambda: F.cross_entropy(LOGITS, targets)).counted.tolist() == [2, 3, 4, 5]


def test_smoothed_and_weighted_losses_are_not_plain(tmp_path: Path) -> None:
    def script() -> None:
        F.cross_entropy(LOGITS, TARGETS, label_smoothing=0.1)
        F.cross_entropy(LOGITS, TARGETS, torch.ones(11))

    assert [span.plain for span in observe(tmp_path, script).spans] == [False, False]


def test_a_step_knows_the_losses_behind_it(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.zeros(11))
    recorder = Recorder(tmp_path)
    updates = Updates(recorder)
    with Observer(recorder, updates):
        F.cross_entropy(LOGITS, TARGETS)
        F.cross_entropy(LOGITS + weight, TARGETS).backward()
        updates.step("SGD")
        updates.step("SGD")
    recorder.close()
    seen = read_observations(tmp_path)
    assert [event.entries["ranges"] for event in seen.of("update")] == [[[6, 6]], []]


def test_equal_rows_have_equal_digests_and_one_bit_shows() -> None:
    rows = LOGITS.clone()
    before = digest_rows(rows)
    assert (digest_rows(LOGITS) == before).all()
    rows[2, 7] = float(np.nextafter(np.float32(rows[2, 7].item()), np.float32(9)))
    assert (digest_rows(rows) == before).tolist() == [True, True, False, True, True, True]


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("window", [(-1, -1), (3, 0), (2, 2)])
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_attention_is_that_of_the_definition(causal: bool, window: tuple[int, int], kv_heads: int) -> None:
    draw = torch.Generator().manual_seed(2)
    q = torch.randn(2, 9, 4, 8, generator=draw)
    k, v = (torch.randn(2, 9, kv_heads, 8, generator=draw) for _ in range(2))
    got = attend(q, k, v, causal=causal, scale=None, window=window)
    for batch in range(2):
        for head in range(4):
            shared = head * kv_heads // 4
            scores = q[batch, :, head] @ k[batch, :, shared].T / 8**0.5
            for row in range(9):
                for column in range(9):
                    late = causal and column > row
                    far = 0 <= window[0] < row - column or 0 <= window[1] < column - row
                    if late or far:
                        scores[row, column] = -torch.inf
            assert torch.allclose(got[batch, :, head], scores.softmax(-1) @ v[batch, :, shared], atol=1e-5)
