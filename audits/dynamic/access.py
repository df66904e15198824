"""Files and network: what the run reached for, and when."""

from __future__ import annotations

from audits.dynamic.order import artifact_reload
from audits.dynamic.probe import Probe, not_completed
from verifier.execution.experiment import Experiment
from verifier.rule import Measured, Outcome

NAME = "files-and-network"
NOT_SEEN = "files that C++ code opens by itself, and what a branch that the toy settings do not take would open"


def probe_access(experiment: Experiment) -> Probe:
    """Runs that did not complete are looked at too: an attempt to reach the network often is why."""
    attempt = experiment.base
    if attempt is None or attempt.run is None:
        return not_completed(NAME, attempt, experiment, NOT_SEEN)
    run = attempt.run
    network = run.observations.of("network")
    reload = artifact_reload(run)
    after = [event for event in run.observations.of("file") if reload is not None and event.number > reload.number]
    training = [event for event in after if event.text("mode") == "r" and "_train_" in event.text("path").rsplit("/", 1)[-1]]
    facts: dict[str, float | int | str | bool | None] = {
        "files": len({event.text("path") for event in run.observations.of("file")}), "network_attempts": len(network),
        "train_shards_after_artifact": len(training), "processes": len(run.observations.of("process")),
    }  # fmt: skip
    sites = tuple(dict.fromkeys(event.text("site") for event in (*network, *training)))[:5]
    if network:
        target = network[0].text("target")[:120]
        summary = f"{len(network)} attempts to reach the network ({network[0].text('what')} {target}); there is none here"
        return Probe(NAME, Outcome.REVIEW, summary, NOT_SEEN, Measured(len(network), "attempts"), sites=sites, facts=facts)
    if training:
        summary = f"training shards were opened {len(training)} times after the artifact was read back"
        return Probe(NAME, Outcome.REVIEW, summary, NOT_SEEN, Measured(len(training), "files"), sites=sites, facts=facts)
    if not attempt.completed:
        return not_completed(NAME, attempt, experiment, NOT_SEEN)
    summary = f"{facts['files']} files, no attempt to reach the network, no training shard after the artifact was read back"
    return Probe(NAME, Outcome.PASS, summary, NOT_SEEN, facts=facts)
