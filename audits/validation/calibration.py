"""VAL004: quantization or pruning statistics that come from validation tokens."""

from __future__ import annotations

from audits.validation.flow import Construction, constructions
from verifier.engine.context import Context
from verifier.program.analysis import Analysis, analysis_of
from verifier.program.queries import has_source
from verifier.rule import Decision, Finding, Level, Outcome, Rule

_PULL = "https://github.com/openai/parameter-golf/pull/"


def check(context: Context) -> Decision:
    analysis = analysis_of(context)
    if not analysis.available:
        return Decision.not_available(analysis.why_not)
    trace = analysis.run
    scored = [event.index for event in trace.of("loss") if has_source(event.tokens, "val")]
    found = [
        each for each in constructions(trace, "val") if not scored or each.used.kind == "save" or each.used.index < scored[-1]
    ]
    if found:
        return Decision.of([_finding(found, analysis)])
    if gap := analysis.gap():
        return Decision.not_available(gap)
    return Decision.passed("no weights that are loaded or shipped depend on validation tokens other than by gradient steps")


def _finding(found: list[Construction], analysis: Analysis) -> Finding:
    first = found[0]
    return Finding(
        Outcome.FAIL if first.certain else Outcome.REVIEW,
        "a pass over validation tokens feeds the statistics with which the weights are quantized, pruned or rescaled before scoring"
        if first.certain
        else "a pass over validation tokens may feed the statistics with which the weights are quantized; what it keeps, or the setting that"
        " decides, is not certain",
        tuple(dict.fromkeys(analysis.location(site) for site in (first.collected, first.used.site))),
        remediation="Calibrate on training batches inside the training budget, or on text sampled from the model.",
    )


CALIBRATED_ON_VALIDATION = Rule(
    code="VAL004",
    name="calibrated-on-validation",
    level=Level.ERROR,
    summary="quantization or any calibration uses validation tokens that are not yet scored",
    why="Hessians and clip ranges fitted to the exam text move the weights towards it before it is scored.",
    example="violation: hessians = collect(model, val_loader)\nlegal: hessians = collect(model, train_loader) inside the training "
    "budget, or text sampled from the model itself",
    settles="which loader feeds the calibration pass, and whether the setting that enables it was on",
    sources=(_PULL + "728",),
    check=check,
)
