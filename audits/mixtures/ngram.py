"""NGR: n-gram tables whose use depends on the token being predicted."""

from __future__ import annotations

from audits.unexamined import needs_program_analysis
from verifier.rule import Level, Rule

_PULL = "https://github.com/openai/parameter-golf/pull/"

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
    check=needs_program_analysis,
)
TARGET_GATE = Rule(
    code="NGR002",
    name="target-dependent-gate",
    level=Level.ERROR,
    summary="whether or how much an expert or boost fires depends on properties of the token being predicted",
    why="A gate that looks at the answer (is the target a word start?) tells the predictor something the decoder cannot know.",
    example="violation: gate = is_word_start[target]; logp += gate * boost\n"
    "legal: gate = is_word_end[previous_token]; logp = log_softmax(logits + gate * boost)",
    settles="the inputs of the gate: only tokens before the target may enter",
    sources=(_PULL + "2018", _PULL + "2041", _PULL + "2118"),
    check=needs_program_analysis,
)

RULES = (TARGET_KEY, TARGET_GATE)
