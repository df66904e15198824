"""The documented command, where its settings are not the run's: the same questions under them.

Legality is judged on the run that made the logs. What the command as documented would do is for a human, whatever it is.
"""

from __future__ import annotations

from audits.dynamic.canary import probe_canary
from audits.dynamic.order import probe_order
from audits.dynamic.perturbation import probe_prefix
from audits.dynamic.probe import Probe, not_completed
from verifier.execution.experiment import Experiment
from verifier.rule import Outcome

NAME = "documented-settings"
NOT_SEEN = "target swaps and other seeds under these settings; whatever the other probes can't see"


def probe_documented(experiment: Experiment) -> Probe:
    pair = experiment.documented
    if pair is None:
        if experiment.base is None or not experiment.base.completed:
            return not_completed(NAME, experiment.base, experiment, NOT_SEEN)
        why = next((reason for reason in experiment.left_out if "documented" in reason), "")
        if why:
            return Probe(NAME, Outcome.NOT_AVAILABLE, why, NOT_SEEN, stage="not run")
        summary = "the documented command sets what the run used, as far as the logs tell"
        return Probe(NAME, Outcome.NOT_APPLICABLE, summary, NOT_SEEN)
    under = Experiment(
        experiment.settings, experiment.script, pair.changed_from, pair.base, pair.twin, pair.again, experiment.why_not
    )
    answers = [probe(under) for probe in (probe_prefix, probe_order, probe_canary)]
    accused = [answer for answer in answers if answer.outcome in (Outcome.FAIL, Outcome.REVIEW)]
    if accused:
        summary = "; ".join(f"{answer.name}: {answer.summary}" for answer in accused)
        return Probe(
            NAME, Outcome.REVIEW, f"under the settings of the documented command: {summary}", NOT_SEEN, sites=accused[0].sites
        )
    missing = next((answer for answer in answers if answer.outcome is not Outcome.PASS), None)
    if missing is not None:
        return Probe(NAME, Outcome.NOT_AVAILABLE, f"{missing.name}: {missing.summary}", NOT_SEEN, stage=missing.stage)
    return Probe(NAME, Outcome.PASS, "; ".join(answer.summary for answer in answers), NOT_SEEN)
