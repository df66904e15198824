"""Our t distribution against the well-known library's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import stdtr, stdtrit

from verifier.ledger.student_t import cumulative, quantile


@given(st.floats(0.5, 500), st.floats(-60, 60))
def test_cumulative(degrees: float, t: float) -> None:
    assert cumulative(degrees, t) == pytest.approx(float(stdtr(degrees, t)), rel=1e-9, abs=1e-14)


@given(st.floats(1, 200), st.floats(1e-4, 1 - 1e-4))
def test_quantile(degrees: float, probability: float) -> None:
    assert quantile(degrees, probability) == pytest.approx(float(stdtrit(degrees, probability)), rel=1e-7, abs=1e-9)


@pytest.mark.parametrize("probability", [0.0, 1.0, -1.0])
def test_a_quantile_outside_the_open_interval_is_refused(probability: float) -> None:
    with pytest.raises(ValueError, match="between"):
        quantile(3, probability)
