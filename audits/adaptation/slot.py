"""SLT001: per-sample optimization on the targets that are scored."""

from __future__ import annotations

from audits.adaptation.findings import chain, findings_of, review_scores
from audits.adaptation.headline import cleared, unanswered
from audits.adaptation.offsets import may_fit_context_only
from audits.adaptation.order import EARLIER, Adaptation, Use, adaptations_of, loss_behind
from audits.adaptation.own_targets import ValueFlow, reads_own_targets
from verifier.engine.context import Context
from verifier.program.analysis import analysis_of
from verifier.program.values import Site
from verifier.rule import Confidence, Decision, Finding, Level, Outcome, Rule

_REMEDY = "Fit nothing on the targets of the sample that is scored."


def check(context: Context) -> Decision:
    missing = unanswered(context)
    if missing is not None:
        return missing
    for adaptation in adaptations_of(context):
        findings = _findings(adaptation, context)
        if findings:
            return Decision.of(findings)
    # Closed-form fits, without an optimizer.
    message = "what is scored is computed from the targets that it is scored on"
    flow = ValueFlow()
    closed = review_scores(context, lambda score, _: reads_own_targets(score, flow), message, _REMEDY)
    if closed:
        return Decision.of(closed)
    return cleared(context, "no offset behind the headline is optimized on validation targets")


def _findings(adaptation: Adaptation, context: Context) -> tuple[Finding, ...]:
    analysis = analysis_of(context)
    same: list[Use] = []
    apart: dict[Site, Use] = {}
    for use in (*adaptation.uses, *adaptation.descents):
        if use.offset:
            loss = loss_behind(use.update, adaptation.trace)
            if use.relation == EARLIER or may_fit_context_only(analysis, use.update, loss):
                apart.setdefault(use.update.site, use)
            else:
                same.append(use)
    if same:
        return findings_of(
            same, adaptation, context, "an offset is optimized on validation targets whose loss is then reported", _REMEDY
        )
    return tuple(
        Finding(
            Outcome.REVIEW,
            "an offset is optimized on validation text, it seems only on what was scored before; there is no ruling on that",
            chain(analysis, adaptation.trace, use.update, use.score, use.report),
            Confidence.MEDIUM,
            remediation=_REMEDY,
        )
        for use in apart.values()
    )


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
    "legal, for want of a ruling to the contrary: the delta is fitted on targets that were scored before and used on later ones only "
    "(the answer is `review`)",
    settles="whether any target enters both the fit of the offset and the loss scored with it",
    sources=("https://github.com/openai/parameter-golf/issues/1336", "https://github.com/openai/parameter-golf/issues/677"),
    check=check,
)
