"""TIM003, the program's side: training batches that are read after the last training step and shape the shipped weights."""

from __future__ import annotations

from dataclasses import dataclass

from audits.validation.flow import constructions
from verifier.engine.context import Context
from verifier.evidence import Location
from verifier.program.analysis import analysis_of
from verifier.program.queries import trains


@dataclass(frozen=True, slots=True)
class LateData:
    """What the script says about calibration. `places`: the line that collects and the line that uses it, empty when there is
    none. `complete` when the script was followed from its training to its end, so that an empty answer means something."""

    places: tuple[Location, ...]
    certain: bool
    complete: bool


def late_training_data(context: Context) -> LateData:
    analysis = analysis_of(context)
    if not analysis.available:
        return LateData((), False, False)
    trace = analysis.run
    complete = trains(trace) and not analysis.gap()
    for found in constructions(trace, "train"):
        if found.trained:
            places = tuple(dict.fromkeys(analysis.location(site) for site in (found.collected, found.used.site)))
            return LateData(places, found.certain, complete)
    return LateData((), False, complete)
