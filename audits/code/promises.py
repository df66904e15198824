"""CLM008 and CLM010: what is claimed of the method against the live program."""

from __future__ import annotations

from audits.unexamined import needs_program_analysis
from verifier.rule import Level, Rule

_PULL = "https://github.com/openai/parameter-golf/pull/"

INELIGIBLE_METRIC = Rule(
    code="CLM008",
    name="ineligible-metric",
    level=Level.ERROR,
    summary="the headline metric is one that the rules do not allow as the score",
    why="A log can hold several scores. A two-pass or oracle score may be printed, but it must not be the claim.",
    example="violation: the claim quotes `ngram_two_pass_exact`\nlegal: the claim quotes the score-first pass, the other is a diagnostic",
    settles="which code path produced the quoted number",
    sources=(_PULL + "1242",),
    check=needs_program_analysis,
)
TECHNIQUE_NOT_LIVE = Rule(
    code="CLM010",
    name="technique-not-live",
    level=Level.WARNING,
    summary="README or JSON claim a technique that has no live code path in the run",
    why="Others build on what they read. A technique that never ran must not be credited with the score.",
    example="violation: weights are averaged into swa_state and never loaded back\nlegal: model.load_state_dict(swa_state) before export",
    settles="the lines that apply the technique under the configuration of the run",
    sources=(_PULL + "1242", _PULL + "1405"),
    check=needs_program_analysis,
)

RULES = (INELIGIBLE_METRIC, TECHNIQUE_NOT_LIVE)
