"""Prefix perturbation: what is scored before a token may not depend on it.

Two runs from the same start, on validation sets that differ from token P on (and in every token from there). Scores of targets
before P, and the distribution from which P itself is scored, must be the same bits. Where they are not, the first run is
repeated: only if it repeats itself exactly is the difference the future's doing.
"""

from __future__ import annotations

from dataclasses import replace

from audits.dynamic.probe import CAPTURE_INCOMPLETE, Probe, not_completed, sites_of
from verifier.execution.experiment import Comparison, Experiment, score_table
from verifier.execution.passes import Pass, Run
from verifier.rule import Measured, Outcome

NAME = "prefix-perturbation"
NOT_SEEN = (
    "effects too small for the precision at this size, dependence on the future within code that the toy settings do not reach, "
    "state that crosses ranks; other places and seeds than those named"
)

ROUNDING = 1e-5
"""Nats per target below which a difference is not proven to be more than another order of summation."""


def probe_prefix(experiment: Experiment) -> Probe:
    """The pair of runs at full toy size decides first; pairs of other seeds and places can only add to it."""
    first = judge(Comparison("", experiment.changed_from, experiment.base, experiment.twin, experiment.again), experiment)
    if first.outcome is not Outcome.PASS:
        return first
    more: list[str] = []
    for pair in experiment.others:
        answer = judge(pair, experiment)
        if answer.outcome in (Outcome.FAIL, Outcome.REVIEW):
            return replace(answer, summary=f"{answer.summary} ({pair.label}; {first.summary})")
        what = f"{answer.facts.get('compared')} scores" if answer.outcome is Outcome.PASS else f"not known ({answer.summary})"
        more.append(f"{pair.label}: {what}")
    more += [f"left out: {reason}" for reason in experiment.left_out if reason.startswith("prefix perturbation")]
    facts = {**first.facts, "other_pairs": len(experiment.others)}
    return replace(first, summary="; ".join([first.summary, *more]), facts=facts)


def judge(pair: Comparison, experiment: Experiment) -> Probe:
    for attempt in (pair.base, pair.twin):
        if attempt is None or attempt.run is None or not attempt.completed:
            return not_completed(NAME, attempt, experiment, NOT_SEEN)
    base, twin = pair.base, pair.twin
    assert base is not None
    assert twin is not None
    assert base.run is not None
    assert twin.run is not None
    first, second = base.run.final, twin.run.final
    captured = first is not None and second is not None
    one, two = (first or base.run.first_scores), (second or twin.run.first_scores)
    place = pair.changed_from
    moved, compared, late = compare(base.run, one, twin.run, two, place)
    facts: dict[str, float | int | str | bool | None] = {
        "changed_from": place, "compared": compared, "moved": len(moved), "scored_after_the_change": late, "captured": captured,
    }  # fmt: skip
    if compared < 100:
        summary = f"only {compared} scores before the change can be compared"
        return Probe(NAME, Outcome.NOT_AVAILABLE, summary, NOT_SEEN, stage="scoring", facts=facts)
    count = Measured(len(moved), "targets")
    if moved:
        again = pair.again
        if again is None or again.run is None or not again.completed:
            return not_completed(NAME, again, experiment, NOT_SEEN)
        repeat = again.run.final if captured else again.run.first_scores
        if repeat is None or score_table(again.run, repeat) != score_table(base.run, one):
            summary = "two runs on the same data do not give the same scores: nothing can be said about a third"
            return Probe(NAME, Outcome.NOT_AVAILABLE, summary, NOT_SEEN, stage="end", facts=facts)
        summary = (
            f"{len(moved)} of {compared} scores before the change at token {place} moved (first: target {moved[0]}) when only later tokens "
            "were other ones; a repetition on the same data is bit-identical"
        )
        if not captured:
            summary += f"; which of these scores are counted is not known ({CAPTURE_INCOMPLETE})"
        elif late == len(moved):
            summary += "; all of them are scored after changed tokens were: another order than the stream's"
        largest = _largest_change(one, two, moved, place)
        facts["largest_change"] = largest
        summary += f"; by up to {largest:.2g} nats"
        if largest < ROUNDING:
            summary += ": too little to rule out another order of summation"
        proven = captured and late < len(moved) and largest >= ROUNDING
        return Probe(
            NAME, Outcome.FAIL if proven else Outcome.REVIEW, summary, NOT_SEEN, count, Measured(0, "targets"),
            sites=sites_of(base.run, one, moved[:1]), facts=facts,
        )  # fmt: skip
    if not captured:
        summary = f"{CAPTURE_INCOMPLETE}; the {compared} losses that were seen before the change did not move"
        return Probe(NAME, Outcome.NOT_AVAILABLE, summary, NOT_SEEN, count, stage="end", facts=facts)
    if not (one.positions > place).any():
        summary = f"no target after the change at token {place} was scored: the {compared} scores before it prove nothing"
        return Probe(NAME, Outcome.NOT_AVAILABLE, summary, NOT_SEEN, count, stage="end", facts=facts)
    with_what = (
        "the model's distributions (not those of the mixture)"
        if one.how == "logarithms" or base.run.mixed[one.indices].any()
        else "their distributions"
    )
    summary = f"all {compared} scores before the change at token {place} are bit-identical, with {with_what}"
    return Probe(NAME, Outcome.PASS, summary, NOT_SEEN, count, Measured(0, "targets"), facts=facts)


def compare(base: Run, one: Pass, twin: Run, two: Pass, place: int) -> tuple[list[int], int, int]:
    """Targets whose score moved, how many were compared, and how many of the moved were scored after the first changed token was.

    For the changed token itself only the distribution is compared.
    """
    table, other = score_table(base, one), score_table(twin, two)
    formed = _first_formed(one)
    change_scored = min((at for position, at in formed.items() if position >= place), default=1 << 62)
    moved: list[int] = []
    compared = 0
    for position in sorted(table):
        if position > place or position not in other:
            continue
        compared += 1
        same = table[position][1] == other[position][1] if position == place else table[position] == other[position]
        if not same:
            moved.append(position)
    late = sum(formed[position] > change_scored for position in moved)
    return moved, compared, late


def _largest_change(one: Pass, two: Pass, moved: list[int], place: int) -> float:
    """Nats, over the moved targets' first counted losses before the change (that of the changed token is another token's)."""
    first, second = _first_losses(one), _first_losses(two)
    return max((abs(first[position] - second[position]) for position in moved if position < place), default=0.0)


def _first_losses(scored: Pass) -> dict[int, float]:
    losses: dict[int, float] = {}
    for position, loss in zip(scored.positions.tolist(), scored.losses.tolist(), strict=True):
        losses.setdefault(position, loss)
    return losses


def _first_formed(scored: Pass) -> dict[int, int]:
    formed: dict[int, int] = {}
    for number, position in zip(scored.numbers.tolist(), scored.positions.tolist(), strict=True):
        if position >= 0:
            formed.setdefault(position, number)
    return formed
