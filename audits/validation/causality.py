"""CAU002: a prediction may depend on earlier tokens only."""

from __future__ import annotations

from audits.unexamined import needs_execution
from verifier.rule import Level, Rule, Tier

NON_CAUSAL = Rule(
    code="CAU002",
    name="non-causal-dependence",
    level=Level.ERROR,
    tier=Tier.DYNAMIC,
    summary="an execution shows that a prediction changes when tokens after it change",
    why="This is the direct test of strict causal dependence.",
    example="violation: changing token 5,000 moves the scores of 3,900 earlier positions\nlegal: all earlier scores stay bit-identical",
    settles="a prefix-perturbation probe at several positions and seeds",
    sources=("https://github.com/openai/parameter-golf/issues/1017",),
    check=needs_execution,
)
