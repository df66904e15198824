"""MIX and PPM: what is scored must be one distribution over the alphabet, fixed before the target is known."""

from __future__ import annotations

from dataclasses import replace

from audits.mixtures.byte_mixtures import native_mixtures, spelled_mixtures, spread_scores
from audits.mixtures.counts import count_ratios
from audits.mixtures.distributions import unfollowed_score
from audits.mixtures.excesses import excesses, shrunk_losses
from audits.mixtures.experts import strange_experts, unpaid_bonuses
from audits.mixtures.flow import Flow
from audits.mixtures.judging import accuse, judge
from audits.mixtures.ngram import TARGET_KEY
from audits.mixtures.oracles import chosen_scores
from audits.unexamined import needs_execution
from verifier.engine.context import Context
from verifier.program.analysis import Analysis
from verifier.rule import Decision, Finding, Level, Outcome, Rule, Tier

_PULL = "https://github.com/openai/parameter-golf/pull/"
_CONDITIONS = "https://github.com/openai/parameter-golf/issues/1017"


def check_normalization(context: Context) -> Decision:
    decision = judge(
        context,
        _unnormalized,
        "no mixture behind the headline metric that lacks a normalization over the alphabet was found",
        unfollowed_score,
    )
    if decision.outcome is Outcome.PASS and TARGET_KEY.decide(context).outcome is Outcome.FAIL:
        return Decision.not_applicable("counts under a key with the target stand in the mixture: see NGR001")
    return decision


def _unnormalized(context: Context, analysis: Analysis, flow: Flow) -> list[Finding]:
    found: list[Finding] = []
    for ratio in count_ratios(flow):
        if not ratio.over_alphabet or ratio.summed:
            continue
        message = (
            "the counts of all candidates are taken from a table in which they meet those of other contexts, and divided by the "
            "context's count from another table: the shares of the candidates need not sum to one"
        )
        places = (ratio.taken.site, ratio.context.site, ratio.quotient.site, ratio.logarithm.site)
        fix = "Divide by the sum of the candidates' own counts."
        found.append(accuse(analysis, flow, message, places, (*ratio.taken.events, *flow.reports[:1]), fix, ratio.doubt))
    for expert in strange_experts(flow):
        message = (
            "one of the mixed log-probabilities does not depend on the target although it depends on the model (an entropy, a "
            "confidence): it is the same for every token, so the mixture's shares do not sum to one"
        )
        sites = (expert.value.site, expert.stack.site, expert.logarithm.site)
        fix = "Mix only distributions; let a confidence set their weights."
        found.append(accuse(analysis, flow, message, sites, flow.reports[:1], fix))
    for bonus in unpaid_bonuses(flow):
        message = (
            "the score is lowered where the target equals a hint, and no term takes the same mass from the other tokens "
            "(no logarithm of a normalizer that holds the model's probability of the hint)"
        )
        fix = "Add log(1 + p(hint) * (exp(beta) - 1)) wherever the bonus beta may apply."
        found.append(accuse(analysis, flow, message, (bonus.hit.site, bonus.meets.site), flow.reports[:1], fix))
    for excess in () if found else excesses(flow):
        message = f"every candidate's probability or count is raised by {excess.added:g}, which nothing is taken for elsewhere"
        doubt = f"how many candidates there are (256 would get {excess.mass:.3g} times what they share)"
        fix = "Add the constant once for each candidate to the total that divides, or mix with a distribution."
        found.append(accuse(analysis, flow, message, (excess.place.site,), flow.reports[:1], fix, doubt))
    for product, factor in () if found else shrunk_losses(flow):
        message = f"the loss of each token is multiplied by {factor:g}: powers of probabilities do not sum to one"
        doubt = "whether the factor changes the unit of the loss or the score"
        fix = "Divide the logits by a temperature instead, before the softmax."
        found.append(accuse(analysis, flow, message, (product.site,), flow.reports[:1], fix, doubt))
    return found[:6]


def check_oracle(context: Context) -> Decision:
    return judge(context, _oracles, "no choice among scores of the same tokens reaches the headline metric")


def _oracles(context: Context, analysis: Analysis, flow: Flow) -> list[Finding]:
    found: list[Finding] = []
    for choice in chosen_scores(flow):
        message = f"`{choice.how}` keeps, token by token, the better of several scores of the true token"
        if choice.doubt:
            message = f"`{choice.how}` of several scores of the true token decides, token by token, what is scored"
        sites = (choice.node.site, *(score.site for score in choice.scores[:3]))
        fix = "Mix the scorers with weights that earlier tokens decide."
        found.append(accuse(analysis, flow, message, sites, (choice.event, *flow.reports[:1]), fix, choice.doubt))
    return found[:6]


def check_bytes(context: Context) -> Decision:
    return judge(
        context,
        _byte_mixtures,
        "no token probability behind the headline metric is mixed with what a byte model gives to the bytes of that token",
    )


def _byte_mixtures(context: Context, analysis: Analysis, flow: Flow) -> list[Finding]:
    fix = "Score tokens with a distribution over tokens, or bytes with one over bytes; a realized token's probability is neither."
    found: list[Finding] = []
    for spread in spread_scores(flow):
        message = (
            "the log-probability of the realized token is spread over its bytes and mixed with another expert before the "
            "logarithm: only the realized byte string is scored"
        )
        sites = (spread.length.site, spread.quotient.site, spread.logarithm.site)
        found.append(accuse(analysis, flow, message, sites, flow.reports[:1], fix))
    for spelled in spelled_mixtures(flow):
        message = (
            "the probability that a byte model gives to the byte string of the realized token is mixed with the model's probability of "
            "that one token: no other token's string, and no other spelling, is given its share"
        )
        sites = (spelled.piece.site, spelled.key.site, spelled.logarithm.site)
        found.append(accuse(analysis, flow, message, sites, flow.reports[:1], fix, spelled.doubt))
    for native in native_mixtures(context, analysis, flow):
        message = (
            f"the C function `{native.call.function.name}` spreads each target's loss over the bytes of that target and takes the "
            "logarithm of a mixture with it: only the realized byte string is scored"
        )
        finding = accuse(analysis, flow, message, (native.call.site,), flow.reports[:1], fix)
        found.append(replace(finding, locations=(native.call.source.location(native.line), *finding.locations)))
    return found[:6]


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
    check=check_normalization,
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
    check=check_oracle,
)
BYTE_MIXTURE = Rule(
    code="PPM001",
    name="byte-mixture-unnormalized",
    level=Level.ERROR,
    summary="a byte-level mixer scores the realized byte string of the realized token, not a distribution over tokens",
    why="Spreading the token's log-probability over its bytes and mixing byte by byte, or mixing it with the probability of its byte "
    "string, uses the realized tokenization as side information: other byte strings and other segmentations never receive their share "
    "of the mass, and the strings of all tokens (`a`, `ab`, `abc`) have shares that need not sum to one.",
    example="violation: for b in bytes_of(target): p = lam * ppm(b | history) + (1 - lam) * p_token ** (1 / n)\n"
    "violation: p = lam * p_token[target] + (1 - lam) * prod(ppm(b | history) for b in bytes_of(target))\n"
    "legal: q[v] = prod(ppm(b | history) for b in bytes_of(v)) for every token v; p = lam * p_token + (1 - lam) * q / q.sum()\n"
    "legal: a byte model with a normalized distribution over the 256 bytes at each position, scored alone",
    settles="whether the per-token probabilities that the mixer implies sum to one over all tokens",
    sources=(_PULL + "1835", _PULL + "1991", _PULL + "2083", _PULL + "2098", _PULL + "1873"),
    check=check_bytes,
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
