"""MIX and PPM: what is scored must be one distribution over the alphabet, fixed before the target is known."""

from __future__ import annotations

from audits.unexamined import needs_execution, needs_program_analysis
from verifier.rule import Level, Rule, Tier

_PULL = "https://github.com/openai/parameter-golf/pull/"
_CONDITIONS = "https://github.com/openai/parameter-golf/issues/1017"

UNNORMALIZED = Rule(
    code="MIX001",
    name="unnormalized-mixture",
    level=Level.ERROR,
    summary="the scored quantity is not a distribution over the whole token alphabet fixed before the target is known",
    why="A code length needs probabilities that sum to at most one over everything that could have come next. Mixing a bonus "
    "into the realized token alone adds mass that no other token pays for.",
    example="violation: p = lam * p_model[target] + (1 - lam) * (count[ctx, target] + a) / (total[ctx] + a)\n"
    "legal: p = lam * p_model + (1 - lam) * (count[ctx] + a) / (total[ctx] + a * V); loss = -log(p[target])",
    settles="the sum of the implied probabilities over the alphabet at some positions",
    sources=(_CONDITIONS, _PULL + "886", _PULL + "1026", _PULL + "1185"),
    check=needs_program_analysis,
)
ORACLE = Rule(
    code="MIX002",
    name="oracle-selection",
    level=Level.ERROR,
    summary="the better of several scorers is chosen per token with knowledge of the true token",
    why="Taking the smaller loss per token means asking the answer which model to trust.",
    example="violation: loss = torch.minimum(loss_a, loss_b)\nlegal: p = w * p_a + (1 - w) * p_b with w from earlier tokens",
    settles="what the selection depends on",
    sources=(_PULL + "659",),
    check=needs_program_analysis,
)
BYTE_MIXTURE = Rule(
    code="PPM001",
    name="byte-mixture-unnormalized",
    level=Level.ERROR,
    summary="a byte-level mixer scores the realized byte string of the realized token, not a distribution over tokens",
    why="Spreading the token's log-probability over its bytes and mixing byte by byte uses the realized tokenization as side "
    "information: other byte strings and other segmentations never receive their share of the mass.",
    example="violation: for b in bytes_of(target): p = lam * ppm(b | history) + (1 - lam) * p_token ** (1 / n)\n"
    "legal: a byte model with a normalized distribution over the 256 bytes at each position, scored alone",
    settles="whether the per-token probabilities that the mixer implies sum to one over all tokens",
    sources=(_PULL + "1835", _PULL + "1991", _PULL + "2083", _PULL + "2098"),
    check=needs_program_analysis,
)
NOT_NORMALIZED = Rule(
    code="NRM001",
    name="distribution-not-normalized",
    level=Level.ERROR,
    tier=Tier.DYNAMIC,
    summary="an execution shows that the probabilities implied by the scorer do not sum to one over the alphabet",
    why="This is the direct test of the condition that MIX001 and NGR001 infer from the code.",
    example="violation: replacing the target by each alternative gives probabilities that sum to 125\nlegal: they sum to 1 within rounding",
    settles="a target-swap probe at several positions with realistic table load",
    sources=(_CONDITIONS,),
    check=needs_execution,
)

RULES = (UNNORMALIZED, ORACLE, BYTE_MIXTURE, NOT_NORMALIZED)
