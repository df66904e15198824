"""SLT001: per-sample optimization on the targets that are scored."""

from __future__ import annotations

from audits.unexamined import needs_program_analysis
from verifier.rule import Level, Rule

RULE = Rule(
    code="SLT001",
    name="slot",
    level=Level.ERROR,
    summary="a delta, logit bias or hidden offset is optimized at eval time on the very targets whose loss is reported",
    why="The offset carries information about the targets into their own prediction. A decoder does not have the targets, so the "
    "loss is no code length. (Community reading of the conditions; no maintainer's ruling is known.)",
    example="violation:\n"
    "    delta = torch.zeros(1, 1, d, requires_grad=True)\n"
    "    for _ in range(8): (loss(model.head(h + delta), y)).backward(); opt.step()\n"
    "    total += loss(model.head(h + delta), y)          # same y\n"
    "legal: the delta is fitted on targets that were scored before and used on later ones only (still a review)",
    settles="whether any target enters both the fit of the offset and the loss scored with it",
    sources=("https://github.com/openai/parameter-golf/issues/1336", "https://github.com/openai/parameter-golf/issues/677"),
    check=needs_program_analysis,
)
