"""The tier that tests run in: the best that works here, or none, and then they are skipped."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from verifier.sandbox.policy import SandboxPolicy, SandboxResult, Tier
from verifier.sandbox.run import run_in_tier
from verifier.sandbox.tiers import choose_tier, python

type RunPython = Callable[[str, SandboxPolicy], SandboxResult]


@pytest.fixture(scope="session")
def tier() -> Tier:
    state = choose_tier(SandboxPolicy())
    if not state.available:
        pytest.skip(state.reason)
    return state.tier


@pytest.fixture
def run_python(tier: Tier) -> RunPython:
    """Run a program in that tier."""
    return lambda program, policy: run_in_tier((python(), "-I", "-S", "-c", program), policy, tier)
