"""CAU: a prediction may depend on earlier tokens only, and on no other document where documents are isolated."""

from __future__ import annotations

from audits.unexamined import needs_execution, needs_program_analysis
from verifier.rule import Level, Rule, Tier

_PULL = "https://github.com/openai/parameter-golf/pull/"

CROSS_DOCUMENT = Rule(
    code="CAU001",
    name="cross-document-state",
    level=Level.ERROR,
    summary="the scorer isolates documents, or says so, and state still crosses the boundary",
    why="Under per-document evaluation the last token of the previous document is not part of the context. A gate that mixes in "
    "the previous token without a mask at the document start reads it all the same.",
    example="violation: x = x + gate * shift(x)\nlegal: x = x + gate * shift(x) * (tokens != BOS)",
    settles="whether the shifted input is masked at the first token of a document",
    sources=(_PULL + "1797", _PULL + "1851"),
    check=needs_program_analysis,
)
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

RULES = (CROSS_DOCUMENT, NON_CAUSAL)
