"""Logarithms that a script takes outside of torch, whatever their base: kept in nats, in order, with their place."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from verifier.execution.child.logarithms import install
from verifier.execution.child.recorder import Recorder
from verifier.execution.observations import Observations, read_observations

KEPT = ((math, ("log", "log2", "log10")), (np, ("log", "log2", "log10", "log1p", "logaddexp")))


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Recorder, Path]]:
    for module, names in KEPT:
        for name in names:
            monkeypatch.setattr(module, name, getattr(module, name))
    recorder = Recorder(tmp_path)
    yield recorder, tmp_path
    recorder.close()


def observed(script: tuple[Recorder, Path]) -> Observations:
    recorder, folder = script
    recorder.close()
    return read_observations(folder)


def test_single_numbers_of_one_place_are_kept_together(script: tuple[Recorder, Path]) -> None:
    held = install(script[0])
    values = [math.log(p) for p in (0.5, 0.25)]
    bits = [math.log2(p) for p in (0.5, 0.25)]
    math.log(8, 2)
    math.log(5)
    held.write()
    seen = observed(script)
    assert values == [math.log(0.5), math.log(0.25)]
    assert bits == [-1.0, -2.0]
    assert np.allclose(seen.logs[:4], [-0.69314718, -1.38629436] * 2)
    assert [event.whole("count") for event in seen.of("logs")][:2] == [2, 2]
    assert seen.of("logs")[0].text("site").startswith("test_logarithms.py:")


@pytest.mark.parametrize(
    "take", [np.log, np.log2, np.log10, lambda p: np.log1p(p - 1), lambda p: np.logaddexp(np.log(p / 2), np.log(p / 2))]
)
def test_arrays_of_any_base_are_kept_in_nats(script: tuple[Recorder, Path], take: object) -> None:
    name = getattr(take, "__name__", "")
    install(script[0])
    p = np.array([0.5, 0.1, 0.9])
    (getattr(np, name) if hasattr(np, name) else take)(p)  # type: ignore[operator]
    assert np.allclose(observed(script).logs[-3:], [-0.69314718, -2.30258509, -0.10536052])


def test_what_else_numpy_offers_stays(script: tuple[Recorder, Path]) -> None:
    install(script[0])
    assert np.isclose(np.logaddexp.reduce(np.array([0.0, 0.0, 0.0])), math.log(3.0))
    assert np.log.nin == 1


def test_infinities_are_not_kept(script: tuple[Recorder, Path]) -> None:
    install(script[0])
    with np.errstate(divide="ignore"):
        np.log(np.array([0.0, 0.5]))
    assert len(observed(script).logs) == 0
