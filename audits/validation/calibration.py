"""VAL004: quantization or pruning statistics that come from validation tokens."""

from __future__ import annotations

from audits.validation.flow import Construction, constructions
from verifier.engine.context import Context
from verifier.program.analysis import Analysis, analysis_of
from verifier.program.events import Trace
from verifier.program.otherwise import Otherwise, documented_otherwise
from verifier.program.queries import UNTRAINED, has_source, trains
from verifier.rule import Decision, Finding, Level, Outcome, Rule

_PULL = "https://github.com/openai/parameter-golf/pull/"


def check(context: Context) -> Decision:
    analysis = analysis_of(context)
    if not analysis.available:
        return Decision.not_available(analysis.why_not)
    found = _calibrations(analysis.run)
    if found:
        ways = (way for way in documented_otherwise(context) if not _calibrations(way.trace))
        way = next((way for way in ways if any(has_source(loss.tokens, "val") for loss in way.trace.of("loss"))), None)
        return Decision.of([_finding(found, analysis, way)])
    if gap := analysis.gap():
        return Decision.not_available(gap)
    if not trains(analysis.run):
        return Decision.not_available(UNTRAINED)
    return Decision.passed("no weights that are loaded or shipped depend on validation tokens other than by gradient steps")


def _calibrations(trace: Trace) -> list[Construction]:
    """Weights constructed with validation tokens that are shipped, or that score."""
    scored = [event.index for event in trace.of("loss") if has_source(event.tokens, "val")]
    return [
        each for each in constructions(trace, "val") if not scored or each.used.kind == "save" or each.used.index < scored[-1]
    ]


def _finding(found: list[Construction], analysis: Analysis, way: Otherwise | None) -> Finding:
    """`way` is a documented way to run the script in which nothing of this happens, where no log tells which one was used."""
    first = found[0]
    sure = "a pass over validation tokens feeds the statistics with which the weights are quantized, pruned or rescaled before scoring"
    unsure = (
        "a pass over validation tokens may feed the statistics with which the weights are quantized; what it keeps, or the setting that"
        " decides, is not certain"
    )
    message, places = (
        (sure if first.certain else unsure),
        [analysis.location(site) for site in (first.collected, first.used.site)],
    )
    if way is not None:
        message += (
            f"; the README documents {way.text}, with which the script scores without it, and no log shows which way the run went"
        )
        places.append(way.source)
    return Finding(
        Outcome.FAIL if first.certain and way is None else Outcome.REVIEW,
        message,
        tuple(dict.fromkeys(places)),
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
