"""What the probes prove about rules: CAU002 and NRM001, and the two rules of adaptation that an execution can decide too."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from audits.dynamic.access import probe_access
from audits.dynamic.accounting import probe_bpb
from audits.dynamic.canary import probe_canary
from audits.dynamic.coverage import probe_coverage
from audits.dynamic.order import ARTIFACT, ORDER, probe_artifact_updates, probe_order
from audits.dynamic.perturbation import NAME as PREFIX
from audits.dynamic.perturbation import probe_prefix
from audits.dynamic.plain_mean import probe_mean
from audits.dynamic.probe import Probe
from audits.dynamic.settings import probe_documented
from audits.dynamic.size import probe_size
from audits.dynamic.target_swap import FULL, PLAIN, probe_full_swap, probe_swap
from audits.dynamic.together import Check, join, widen
from verifier.engine.context import Context
from verifier.evidence import Location, excerpt
from verifier.execution.experiment import Experiment
from verifier.rule import Confidence, Decision, Finding, Outcome, Rule, Tier

MEMO = "probes"
MIXTURES = ("NGR001", "NGR002", "MIX001", "MIX002", "PPM001", "SLT001")
"""Rules by which the program can show what a transformed copy shows: that no distribution stands behind the score."""
PROBES: tuple[Callable[[Experiment], Probe], ...] = (
    probe_canary, probe_prefix, probe_swap, probe_full_swap, probe_order, probe_artifact_updates, probe_coverage, probe_mean, probe_bpb, probe_size,
    probe_access, probe_documented,
)  # fmt: skip
TOY = "at toy size, on one CPU process, under the settings of the run"


def answer_probes(experiment: Experiment) -> dict[str, Probe]:
    """All probes by name."""
    answers = {answer.name: answer for answer in (probe(experiment) for probe in PROBES)}
    prefix = answers[PREFIX]
    for name in (ORDER, ARTIFACT):
        # Such a step may have been taken on a copy that is thrown away, or on a loss that leaves the target out: then a human looks.
        if answers[name].outcome is Outcome.FAIL and prefix.outcome is not Outcome.FAIL:
            reason = f"{answers[name].summary}; whether that reaches the scores is not shown: {prefix.summary}"
            answers[name] = replace(answers[name], outcome=Outcome.REVIEW, summary=reason)
    return answers


def deciding(rules: Iterable[Rule], context: Context | None = None) -> tuple[Rule, ...]:
    """The same rules; those that an execution can decide ask the probes and count as dynamic. With the context of runs that were
    made, also those on which they have something to add to what the program says."""
    rules = tuple(rules)
    added: dict[str, Decision] = {}
    if context is not None:
        added = widen(rules, context, _probes(context), lambda probe: _follow(context, probe, f"{probe.summary} ({TOY})"))
    checks = {**CHECKS, "NRM001": lambda context: decide_normalization(context, rules)}
    return tuple(_dynamic(rule, checks.get(rule.code), added.get(rule.code)) for rule in rules)


def _dynamic(rule: Rule, check: Check | None, decision: Decision | None) -> Rule:
    if check is not None:
        if rule.tier is Tier.DYNAMIC:  # nothing but an execution says anything
            return replace(rule, check=check)
        return replace(rule, check=lambda context: join(check(context), rule.check(context)), tier=Tier.DYNAMIC)
    if decision is not None:
        return replace(rule, check=lambda context: decision, tier=Tier.DYNAMIC)
    return rule


def decide_causality(context: Context) -> Decision:
    prefix = _probes(context)[PREFIX]
    return _follow(context, prefix, f"{prefix.summary} ({TOY})")


def decide_normalization(context: Context, rules: Iterable[Rule]) -> Decision:
    """`rules`: what the program shows of mixtures. A copy whose numbers were changed proves nothing alone."""
    probes = _probes(context)
    canary, prefix, order = probes["noise-canary"], probes[PREFIX], probes[ORDER]
    swaps = (probes[PLAIN], probes[FULL])
    doubted = [probe for probe in (*swaps, canary) if probe.outcome in (Outcome.FAIL, Outcome.REVIEW)]
    if doubted:
        explained = [probe for probe in (order, prefix) if probe.outcome in (Outcome.FAIL, Outcome.REVIEW)]
        if explained:
            return Decision.not_available(
                f"{doubted[0].summary}; {explained[0].name} explains that already ({explained[0].summary}), so the sum of the "
                "probabilities can't be judged apart from it"
            )
        worst = next((probe for probe in doubted if probe.outcome is Outcome.FAIL), doubted[0])
        if worst.outcome is Outcome.FAIL and worst.name == FULL and not _mixes(context, rules):
            worst = replace(worst, outcome=Outcome.REVIEW)
        seen = "; ".join(f"{probe.name}: {probe.summary}" for probe in (worst, *(one for one in doubted if one is not worst)))
        seem = "" if worst.outcome is Outcome.FAIL else "seem to "
        return _follow(context, worst, f"the probabilities that the scores imply {seem}sum to another number than one: {seen}")
    if canary.outcome is Outcome.PASS and prefix.outcome is Outcome.PASS:
        if _plain_cross_entropies(context):
            return Decision.passed(
                "the printed loss is the mean of cross entropies over the whole vocabulary, their distributions do not depend on the target or on what "
                f"follows it, and nothing is gained on random tokens ({TOY})"
            )
        if swaps[0].outcome is Outcome.PASS and swaps[1].outcome in (Outcome.PASS, Outcome.NOT_APPLICABLE):
            reasons = "; ".join(probe.summary for probe in swaps)
            return Decision.passed(f"{reasons}; nothing is gained on random tokens ({TOY})")
        open_question = next(probe for probe in swaps if probe.outcome not in (Outcome.PASS, Outcome.NOT_APPLICABLE))
        return Decision.not_available(
            f"some counted losses are no plain cross entropies over the whole vocabulary, and {open_question.name}: {open_question.summary}"
        )
    missing = canary if canary.outcome is not Outcome.PASS else prefix
    return Decision.not_available(f"{missing.name}: {missing.summary}")


def _mixes(context: Context, rules: Iterable[Rule]) -> bool:
    """Whether the program itself is accused of a mixture that is none."""
    return any(rule.check(context).outcome in (Outcome.FAIL, Outcome.REVIEW) for rule in rules if rule.code in MIXTURES)


def decide_adaptation(context: Context) -> Decision:
    """TTT001: steps after the artifact was written (those before it are TTT002's)."""
    probes = _probes(context)
    order, artifact = probes[ORDER], probes[ARTIFACT]
    if order.outcome in (Outcome.FAIL, Outcome.REVIEW) and order.facts.get("trained_after_artifact") == 0:
        return Decision.not_applicable(f"every such step came before the artifact was written: {artifact.summary}")
    return _with_effect(context, order)


def decide_prequant(context: Context) -> Decision:
    return _with_effect(context, _probes(context)[ARTIFACT])


def _with_effect(context: Context, probe: Probe) -> Decision:
    prefix = _probes(context)[PREFIX]
    if probe.outcome is Outcome.FAIL:
        return _follow(context, probe, f"{probe.summary}; {prefix.summary}")
    if probe.outcome is Outcome.PASS and prefix.outcome is not Outcome.PASS:
        # Learning without an optimizer is not seen here: only scores that stay put show that there was none.
        return Decision.not_available(f"{probe.summary}; but prefix-perturbation: {prefix.summary}")
    return _follow(context, probe, f"{probe.summary} ({TOY})")


def _follow(context: Context, probe: Probe, reason: str) -> Decision:
    """The probe's outcome as the rule's."""
    if probe.outcome in (Outcome.FAIL, Outcome.REVIEW):
        finding = Finding(
            probe.outcome,
            reason,
            places(context, probe.sites),
            Confidence.HIGH if probe.outcome is Outcome.FAIL else Confidence.MEDIUM,
            probe.measured,
            probe.limit,
        )
        return Decision(probe.outcome, reason, (finding,))
    return Decision(probe.outcome, reason if probe.outcome is Outcome.PASS else reason.removesuffix(f" ({TOY})"))


def places(context: Context, sites: Iterable[str]) -> tuple[Location, ...]:
    """Sites of a run (`file:line function`) as places in the submission; the script as a whole where none is known."""
    program = context.submission.program
    main = program.body or program.main
    assert main is not None
    found: list[Location] = []
    for site in sites:
        name, _, rest = site.partition(":")
        line = rest.partition(" ")[0]
        # Code of a packed script runs under a name in angle brackets, or in a transformed copy under the file's own.
        member = next((one for one in program.members if one.path.rsplit("/", 1)[-1] == name), main)
        layer, text = 0, member.text
        if name.startswith("<") or (line.isdecimal() and int(line) > len(text.splitlines())):
            layer, text = member.effective
        lines = text.splitlines()
        number = int(line) if line.isdecimal() and 0 < int(line) <= len(lines) else None
        shown = lines[number - 1][:2000] if number is not None else ""
        found.append(Location(member.path, number, None, layer, excerpt(shown)))
    return tuple(found) or (Location(main.path),)


def _plain_cross_entropies(context: Context) -> bool:
    experiment = _experiment(context)
    run = experiment.base.run if experiment.base is not None else None
    if run is None or run.final is None or run.final.how == "logarithms":
        return False
    counted = {int(number) for number in run.formed[run.final.indices]}
    spans = [span for span in run.observations.spans if span.number in counted]
    size = run.data.tokenizer.size
    return bool(spans) and all(span.plain and span.width >= size for span in spans)


def _probes(context: Context) -> Mapping[str, Probe]:
    held = context.memo.get(MEMO)
    if not isinstance(held, dict):
        held = context.memo[MEMO] = answer_probes(_experiment(context))
    return held


def _experiment(context: Context) -> Experiment:
    held = context.memo.get("experiment")
    return held if isinstance(held, Experiment) else Experiment(why_not="nothing was run")


CHECKS: dict[str, Check] = {
    "CAU002": decide_causality,
    "TTT001": decide_adaptation,
    "TTT002": decide_prequant,
}
