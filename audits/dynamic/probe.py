"""What a probe answers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from verifier.execution.experiment import Attempt, Experiment
from verifier.execution.passes import Pass, Run
from verifier.rule import Measured, Outcome


@dataclass(frozen=True, slots=True)
class Probe:
    """One probe's answer. `not_seen` says what it can't show, whatever its outcome; `stage` how far the runs came when it could
    not answer; `sites` are the places in the script that it speaks of (`file:line function`)."""

    name: str
    outcome: Outcome
    summary: str
    not_seen: str
    measured: Measured | None = None
    limit: Measured | None = None
    stage: str = ""
    sites: tuple[str, ...] = ()
    facts: dict[str, float | int | str | bool | None] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        return {
            "outcome": self.outcome.value,
            "summary": self.summary,
            "measured": None if self.measured is None else {"value": self.measured.value, "unit": self.measured.unit},
            "limit": None if self.limit is None else {"value": self.limit.value, "unit": self.limit.unit},
            "not_seen": self.not_seen,
            "stage": self.stage or None,
            "sites": list(self.sites),
            "facts": self.facts,
        }


def not_completed(name: str, attempt: Attempt | None, experiment: Experiment, not_seen: str) -> Probe:
    """The answer of a probe whose run did not end well."""
    if attempt is None:
        why = (
            experiment.why_not or "the run that it needs was not made (an earlier one did not complete, or the time was used up)"
        )
        return Probe(name, Outcome.NOT_AVAILABLE, why, not_seen, stage="not run")
    return Probe(name, Outcome.NOT_AVAILABLE, f"the run did not complete: {attempt.failure}", not_seen, stage=attempt.stage)


CAPTURE_INCOMPLETE = "capture incomplete: the printed final loss does not follow from the losses that were seen being formed"


def sites_of(run: Run, scored: Pass, places: Iterable[int]) -> tuple[str, ...]:
    """Where the losses at these positions were formed (three places at most)."""
    numbers = {int(number) for place in places for number in scored.numbers[scored.positions == place]}
    events = run.observations.of("scores", "logs")
    return tuple(dict.fromkeys(event.text("site") for event in events if event.number in numbers and event.text("site")))[:3]
