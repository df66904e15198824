"""Target swap: the probabilities of all alternatives at one position must sum to 1.

One process is copied once for each token of the alphabet, just before its final evaluation; in each copy the target at position
P is that token. The loss that is counted at P gives the token's probability, in the same words as the submission's score.
Their sum is 1 for a scorer that forms one distribution from the tokens before P. Above 1, no distribution stands behind
the score: a table that is asked for the realized token alone, a blend that is not normalized.

At toy size tables are empty and keys never meet. So the same is done in a copy of the script whose large powers of two are
shrunk (see `verifier/execution/transform.py`), and everything that rests on it says so.
"""

from __future__ import annotations

import math

import numpy as np

from audits.dynamic.probe import CAPTURE_INCOMPLETE, Probe, not_completed, sites_of
from verifier.execution.experiment import Experiment, Swap, same_scores, score_table
from verifier.execution.passes import Pass, Run
from verifier.rule import Measured, Outcome

PLAIN, FULL = "target-swap", "target-swap-transformed"
NOT_SEEN = "positions other than the swapped ones; tables whose keys do not meet at this size"
NOT_SEEN_FULL = (
    "the script as it is: this is a transformed copy, with large powers of two shrunk so that its tables are as full as real ones"
)
SURE, EXACT = 0.03, 1e-3
"""Above 1 by more than the first is no rounding of any precision that losses are kept in; within the second it is 1."""


def probe_swap(experiment: Experiment) -> Probe:
    return _answer(PLAIN, experiment, experiment.swap, NOT_SEEN, "")


def probe_full_swap(experiment: Experiment) -> Probe:
    if not experiment.replacements:
        if experiment.base is None or not experiment.base.completed:
            return not_completed(FULL, experiment.base, experiment, NOT_SEEN_FULL)
        summary = "the script sizes nothing by a large power of two: there is no table to fill"
        return Probe(FULL, Outcome.NOT_APPLICABLE, summary, NOT_SEEN_FULL)
    named = ", ".join(str(replacement) for replacement in experiment.replacements[:6])
    more = len(experiment.replacements) - 6
    label = f" [transformed: {named}{f' and {more} more' if more > 0 else ''}]"
    return _answer(FULL, experiment, experiment.transformed, NOT_SEEN_FULL, label)


def _answer(name: str, experiment: Experiment, swap: Swap | None, not_seen: str, label: str) -> Probe:
    if swap is None:
        if experiment.base is None or not experiment.base.completed:
            return not_completed(name, experiment.base, experiment, not_seen)
        why = next((reason for reason in experiment.left_out if reason.startswith("target swap")), "it was not made")
        return Probe(name, Outcome.NOT_AVAILABLE, why + label, not_seen, stage="not run")
    failed = next((attempt for attempt in swap.attempts if attempt.run is None or not attempt.completed), None)
    if failed is not None:
        answer = not_completed(name, failed, experiment, not_seen)
        return Probe(name, answer.outcome, answer.summary + label, not_seen, stage=answer.stage)
    if swap.check.run is None or swap.check.run.final is None:
        return Probe(name, Outcome.NOT_AVAILABLE, f"{CAPTURE_INCOMPLETE} (small vocabulary){label}", not_seen, stage="end")
    trunk = swap.trunk.run if swap.trunk is not None else None
    if trunk is None or swap.checked is None or trunk.final is None:
        return Probe(
            name, Outcome.NOT_AVAILABLE, f"no copy could be made in the time there was{label}", not_seen, stage="not run"
        )
    if not same_scores(swap.checked, swap.check.run):
        doubt = f"a copy with a swapped token does not score as a run from the start on that token does{label}"
        return Probe(name, Outcome.NOT_AVAILABLE, doubt, not_seen, stage="end")
    sums = {place: sum_over(swap, trunk, trunk.final, place) for place in dict.fromkeys(place for place, _ in swap.orders)}
    return judge(name, sums, trunk.data.tokenizer.size, not_seen, label, sites_of(trunk, trunk.final, sums))


def judge(
    name: str, sums: dict[int, tuple[float, int, int]], size: int, not_seen: str, label: str, sites: tuple[str, ...]
) -> Probe:
    """`sums`: for each position the sum over the alternatives that were seen, their number, and how many of the copies moved
    a score before the position."""
    seen = {place: entry for place, entry in sums.items() if entry[1] > 1}
    if not seen:
        return Probe(name, Outcome.NOT_AVAILABLE, f"no alternative could be scored{label}", not_seen, stage="scoring")
    facts: dict[str, float | int | str | bool | None] = {}
    for place, (total, count, moved) in seen.items():
        facts |= {f"sum_at_{place}": total, f"alternatives_at_{place}": count, f"prefix_moved_at_{place}": moved}
    if label:
        facts["transformed"] = label.strip()
    worst = max(seen, key=lambda place: seen[place][0])
    total, count, _ = seen[worst]
    measured, limit = Measured(total, "probability"), Measured(1.0, "probability")
    listed = ", ".join(f"{entry[0]:.6g} at {place} ({entry[1]} of {size} tokens)" for place, entry in seen.items())
    if total > 1 + EXACT:
        summary = f"the probabilities of {count} alternatives for the target at {worst} sum to {total:.6g} ({listed}){label}"
        outcome = Outcome.FAIL if total > 1 + SURE else Outcome.REVIEW
        return Probe(name, outcome, summary, not_seen, measured, limit, sites=sites, facts=facts)
    moved = sum(entry[2] for entry in seen.values())
    if moved:
        summary = f"scores before the swapped target moved in {moved} of {sum(entry[1] for entry in seen.values())} copies ({listed}){label}"
        return Probe(name, Outcome.REVIEW, summary, not_seen, measured, limit, sites=sites, facts=facts)
    whole = {place: entry for place, entry in seen.items() if entry[1] == size}
    # Ids that the alphabet has and a score can't be asked for (a document's first token) leave a gap that proves nothing.
    few = {place: entry for place, entry in seen.items() if size - entry[1] <= max(1, size // 16)}
    if not few:
        summary = f"only some alternatives were scored in the time there was ({listed}){label}"
        return Probe(name, Outcome.NOT_AVAILABLE, summary, not_seen, measured, limit, stage="scoring", facts=facts)
    least = min((entry[0] for entry in whole.values()), default=1.0)
    if least < 1 - SURE:
        summary = f"the probabilities of all alternatives sum to {least:.6g}, which wastes some ({listed}){label}"
        return Probe(name, Outcome.REVIEW, summary, not_seen, Measured(least, "probability"), limit, sites=sites, facts=facts)
    if not whole and min(entry[0] for entry in few.values()) < 1 - EXACT:
        summary = f"what the alternatives that were not scored would add to the sums is not known ({listed}){label}"
        return Probe(name, Outcome.NOT_AVAILABLE, summary, not_seen, measured, limit, stage="scoring", facts=facts)
    summary = f"the probabilities of all alternatives sum to 1 ({listed}){label}"
    return Probe(name, Outcome.PASS, summary, not_seen, measured, limit, facts=facts)


def sum_over(swap: Swap, trunk: Run, scored: Pass, place: int) -> tuple[float, int, int]:
    """Sum of the probabilities at `place`, over how many tokens, and in how many copies a score before it moved."""
    own = loss_at(scored, place)
    total, count, moved = (math.exp(-own), 1, 0) if own is not None else (0.0, 0, 0)
    table = {position: score for position, score in score_table(trunk, scored).items() if position < place}
    branches = swap.trunk.branches if swap.trunk is not None else ()
    for (position, _), branch in zip(swap.orders, branches, strict=False):
        if position != place or branch is None or branch.final is None:
            continue
        loss = loss_at(branch.final, place)
        if loss is None:
            continue
        total += math.exp(-loss)
        count += 1
        other = score_table(branch, branch.final)
        moved += any(other.get(earlier) != score for earlier, score in table.items())
    return total, count, moved


def loss_at(scored: Pass, place: int) -> float | None:
    """The first loss that is counted for a position."""
    found = np.flatnonzero(scored.positions == place)
    return float(scored.losses[found[0]]) if len(found) else None
