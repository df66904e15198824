"""NGR: n-gram tables and gates whose use depends on the token being predicted."""

from __future__ import annotations

from dataclasses import replace

from audits.mixtures.counts import count_ratios, folded_lookups
from audits.mixtures.flow import Flow
from audits.mixtures.gates import target_gates
from audits.mixtures.judging import accuse, judge
from audits.mixtures.own_weights import own_weights
from audits.mixtures.peeking import peeking_loops
from verifier.engine.context import Context
from verifier.program.analysis import Analysis
from verifier.rule import Decision, Finding, Level, Rule

_PULL = "https://github.com/openai/parameter-golf/pull/"


def check_key(context: Context) -> Decision:
    return judge(
        context,
        _target_keys,
        "no count of a table whose key holds the realized target enters a logarithm behind the headline metric",
    )


def _target_keys(context: Context, analysis: Analysis, flow: Flow) -> list[Finding]:
    found: list[Finding] = []
    fix = "Look up a row over the whole alphabet by the context alone, normalize it, mix the two distributions, then pick the target."
    for ratio in count_ratios(flow):
        if not ratio.folded or ratio.over_alphabet or ratio.summed:
            continue
        key = next((node.site for node in flow.key_path(ratio.taken.key)), None)
        message = (
            "counts under a folded key of context and realized target are divided by the context's own count, mixed with the "
            "model's probability of that one token, and the logarithm is the score: no other token's share is formed"
        )
        sites = (key, ratio.taken.site, ratio.context.site, ratio.quotient.site, ratio.logarithm.site)
        events = (*ratio.taken.events, *flow.reports[:1])
        found.append(accuse(analysis, flow, message, sites, events, fix, ratio.doubt))
    if found:
        return found[:6]
    for folded in folded_lookups(flow):
        message = "a value under a folded key of context and realized target enters the score of that target"
        doubt = "whether the values of all candidates are summed and divided by that sum"
        key = next((node.site for node in flow.key_path(folded.lookup.key)), None)
        places = (key, folded.lookup.site, folded.score.site)
        found.append(accuse(analysis, flow, message, places, (*folded.lookup.events, *flow.reports[:1]), fix, doubt))
    return found[:6]


def check_gate(context: Context) -> Decision:
    return judge(
        context,
        _target_gates,
        "no property of the realized target decides whether or how much an expert or boost enters the score",
    )


def _target_gates(context: Context, analysis: Analysis, flow: Flow) -> list[Finding]:
    fix = "Let only tokens before the target decide where an expert may speak, e.g. whether the previous token ends a word."
    found: list[Finding] = []
    for gate in target_gates(flow):
        message = "a property of the realized target decides how much of a boost or expert enters its own score"
        if gate.doubt:
            message = "a value that is read at the realized target enters its own score"
        events = (*(gate.lookup.events if gate.lookup is not None else ()), *flow.reports[:1])
        found.append(accuse(analysis, flow, message, (gate.place.site, gate.meets.site), events, fix, gate.doubt))
    for own in own_weights(flow):
        message = (
            "the weight of an expert is computed from the score of the very token that is predicted: how much of the expert enters "
            "is decided with the answer at hand, and no other token's share is formed with that weight"
        )
        if own.gate:
            message = (
                "whether an expert is mixed in is decided by the score, or the expert's probability, of the very token that is "
                "predicted: for other tokens another mixture would be formed"
            )
        found.append(accuse(analysis, flow, message, (own.place.site, own.mixture.site), flow.reports[:1], fix))
    for loop in peeking_loops(context, analysis, flow):
        message = (
            f"`{loop.function}` writes what it proposes for a position (`{loop.output}`) only when the token at that very position has a "
            "property; the proposal enters that token's score"
        )
        finding = accuse(analysis, flow, message, (), flow.reports[:1], fix, loop.doubt)
        found.append(replace(finding, locations=(*loop.places, *finding.locations)))
    return found[:6]


TARGET_KEY = Rule(
    code="NGR001",
    name="ngram-target-key",
    level=Level.ERROR,
    summary="a hashed count table is looked up with a key that contains the realized target",
    why="Only the realized token's probability is ever formed; the others are never computed nor renormalized. Hash collisions "
    "lift every candidate, so the implied probabilities can sum to far more than one and the score is not a code length.",
    example="violation:\n"
    "    key = (ctx_hash ^ (target * PRIME)) & MASK\n"
    "    p = 0.6 * p_model[target] + 0.4 * full[key] / ctx[ctx_hash]\n"
    "legal:\n"
    "    counts = table[ctx_hash]                 # a row over the whole alphabet\n"
    "    p = 0.6 * p_model + 0.4 * counts / counts.sum()",
    settles="the expression of the table key, and whether the mixture is renormalized over the alphabet",
    sources=(_PULL + "779", _PULL + "913"),
    check=check_key,
)
TARGET_GATE = Rule(
    code="NGR002",
    name="target-dependent-gate",
    level=Level.ERROR,
    summary="whether or how much an expert or boost fires depends on properties of the token being predicted",
    why="A gate that looks at the answer (is the target a word start? did the model give it little? has the table counted it?) tells the "
    "predictor something the decoder cannot know: with every candidate's own gate the shares no longer sum to one.",
    example="violation: gate = is_word_start[target]; logp += gate * boost\n"
    "violation: a = min(1, nll[target] / 5); p = (1 - a) * p_model[target] + a * p_ngram[target]\n"
    "legal: gate = is_word_end[previous_token]; logp = log_softmax(logits + gate * boost)\n"
    "legal: a = entropy(p_model) / 5, or a weight by how often the context was counted",
    settles="the inputs of the gate or weight: only tokens before the target, and whole distributions, may enter",
    sources=(_PULL + "2018", _PULL + "2041", _PULL + "2118", _PULL + "738", _PULL + "1026"),
    check=check_gate,
)

RULES = (TARGET_KEY, TARGET_GATE)
