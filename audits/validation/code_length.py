"""EVA: the headline must be the mean code length of every target, once, by the artifact that is shipped."""

from __future__ import annotations

from audits.unexamined import needs_execution, needs_program_analysis
from verifier.rule import Level, Rule, Tier

_PULL = "https://github.com/openai/parameter-golf/pull/"
_README = "https://github.com/openai/parameter-golf#readme"

TAIL_DROPPED = Rule(
    code="EVA002",
    name="tail-dropped",
    level=Level.WARNING,
    summary="the last partial window of the validation set is not scored",
    why="A few hundred targets do not move the score, but two submissions then average over different texts.",
    example="violation: n = len(tokens) // seq_len * seq_len\nlegal: the last window is padded or shorter and scored",
    settles="the number of scored targets against the number of tokens",
    sources=(_PULL + "50", _PULL + "124"),
    check=needs_program_analysis,
)
FRESH_EVALUATION = Rule(
    code="EVA003",
    name="fresh-eval-mismatch",
    level=Level.ERROR,
    tier=Tier.DATA,
    summary="an independent evaluation of the artifact differs from the logged BPB by more than the tolerance",
    why="The strongest check of a score is to measure it again.",
    example="violation: logged 1.0810, measured 1.1205\nlegal: logged 1.0810, measured 1.0810",
    settles="an evaluation of the committed artifact over the full validation set",
    sources=(_README,),
    check=needs_execution,
)
SCORED_TWICE = Rule(
    code="EVA004",
    name="targets-scored-twice",
    level=Level.NOTE,
    summary="some targets are scored more than once, so sum and count are not those of one pass",
    why="Overlapping tail windows count their targets again. The effect is small, and it should be known.",
    example="violation: windows start at range(0, n, stride) and the last ones are all clipped to the same end\n"
    "legal: each window scores only targets that no earlier window scored",
    settles="the number of scored targets against the number of distinct ones",
    sources=(_PULL + "1242", _PULL + "1405"),
    check=needs_program_analysis,
)
NOT_A_CODE_LENGTH = Rule(
    code="EVA005",
    name="not-a-code-length",
    level=Level.ERROR,
    summary="the headline loss is not the plain mean negative log-likelihood of every target",
    why="Weighted, smoothed or partial losses are numbers, but not bits per byte.",
    example="violation: loss = (nll * weight).sum() / weight.sum(); bytes still count every target\n"
    "legal: loss = nll.sum() / nll.numel(); bpb = nll.sum() / (ln 2 * bytes.sum())",
    settles="how the reported number is accumulated",
    sources=(_README, "https://github.com/openai/parameter-golf/issues/1017"),
    check=needs_program_analysis,
)

RULES = (TAIL_DROPPED, FRESH_EVALUATION, SCORED_TWICE, NOT_A_CODE_LENGTH)
