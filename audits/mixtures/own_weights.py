"""Weights and gates of a mixture that are computed from the score of the very token that is mixed: how likely a model held the answer."""

from __future__ import annotations

from dataclasses import dataclass

from audits.mixtures.counts import target_nodes
from audits.mixtures.expressions import MINUS, PICKS, PLUS, bare, first_of, terms_of
from audits.mixtures.flow import Flow, data_in
from audits.mixtures.mixture_terms import (
    NUMBERS,
    SQUASHES,
    Mixture,
    is_any,
    is_text,
    leaves_behind,
    mixtures_behind,
    near,
    probability_in,
    tested_in,
    unbound,
)
from verifier.program.queries import operation
from verifier.program.values import Data

_MOST = 400
"""Steps from a mixture to a choice, at most."""


@dataclass(frozen=True, slots=True)
class OwnWeight:
    """`place` is where the token's own score becomes a weight or a condition, `mixture` the logarithm of the sum that is scored.
    `gate`: the condition decides whether the mixture is scored or the model alone."""

    place: Data
    mixture: Data
    gate: bool


def own_weights(flow: Flow) -> list[OwnWeight]:
    """Each mixture at most once, by the line of its logarithm."""
    found: dict[object, OwnWeight] = {}
    mixtures = mixtures_behind(flow)
    for mixture in mixtures:
        weight = _weight(flow, mixture)
        if weight is not None:
            found.setdefault(mixture.logarithm.site, OwnWeight(weight, mixture.logarithm, gate=False))
    for mixture in mixtures:
        gate = _gate_over(flow, mixture)
        if gate is not None:
            found.setdefault(mixture.logarithm.site, OwnWeight(gate, mixture.logarithm, gate=True))
    return list(found.values())


def _weight(flow: Flow, mixture: Mixture) -> Data | None:
    """A factor beside an expert's probability that is computed from the model's own score of the target."""
    for term in mixture.terms:
        if not any(any(one is each for each in mixture.experts) for one in term):
            continue
        for factor in term:
            scored, others = leaves_behind(flow, factor)
            # Anything else that was scored may be what takes the token out again (a running sum less its own share).
            if not scored or not all(is_any(mixture.own, leaf) for leaf in scored) or probability_in(factor) is not None:
                continue
            pure = not any(is_text(one) for one in others)
            if pure or operation(unbound(factor)) in SQUASHES:
                return factor
    return None


def _gate_over(flow: Flow, mixture: Mixture) -> Data | None:
    """The condition by which the mixture or the bare score is chosen, on the way from the mixture to a sum over tokens."""
    pending, above = [mixture.logarithm], {id(mixture.logarithm)}
    while pending and len(above) < _MOST:
        for parent in flow.parents.get(id(pending.pop()), ()):
            if id(parent) not in above and (operation(parent) in NUMBERS or bare(parent) is not parent):
                above.add(id(parent))
                pending.append(parent)
                for condition, sides in _choices(parent):
                    others = [side for side in sides if id(side) not in above]
                    if len(others) == 1 and _is_bare(others[0], mixture.own) and (gate := _tested_gate(flow, mixture, condition)):
                        return gate
    return None


def _choices(node: Data) -> list[tuple[Data, list[Data]]]:
    """Conditions under which a value is one of two, with these."""
    if operation(node) == "where" and len(node.args) == 3:
        return [(one, [first_of(value) for value in node.args[1:]]) for one in data_in(node.args[0])[:1]]
    if node.op == "join" and node.chosen is not None and len(node.args) == 2:
        return [(one, [first_of(value) for value in node.args]) for one in data_in(node.chosen)[:1]]
    return []


def _tested_gate(flow: Flow, mixture: Mixture, condition: Data) -> Data | None:
    """A comparison, within a condition, of the target's own score or of what an expert gives it."""
    targets = target_nodes(flow)
    for test in tested_in([condition]):
        scored, others = leaves_behind(flow, test)
        if scored and all(is_any(mixture.own, leaf) for leaf in scored) and not any(is_text(one) for one in others):
            return test
        if not scored and any(_of_target(flow, test, expert, targets) for expert in mixture.experts):
            return test
    return None


def _of_target(flow: Flow, test: Data, expert: Data, targets: frozenset[int]) -> bool:
    """Whether a test compares with a number what is looked up at the target and enters the expert's probability."""
    sides = [data_in(value) for value in test.args[:2]]
    looked = [one for side, other in (sides, sides[::-1]) if all(each.known for each in other) for one in side]
    inside = {id(one) for one in flow.walk([expert], near)}
    for part in flow.walk(looked, near):
        keys = [key for value in part.args[1:] for key in data_in(value)] if operation(part) in PICKS | {"get"} else []
        if id(part) in inside and any(id(each) in targets for key in keys for each in flow.origin(key)):
            return True
    return False


def _is_bare(side: Data, own: tuple[Data, ...]) -> bool:
    """Whether a side is the model's score of the token, with nothing taken off for the expert; alone or added to a running total."""
    terms = terms_of(side, PLUS | MINUS)
    bare_ones = [term for term in terms if is_any(own, _stripped(term))]
    rest = [term for term in terms if not any(term is one for one in bare_ones)]
    return bool(bare_ones) and all(one.op == "join" or one.const in (0, 0.0) for one in rest)


def _stripped(term: Data) -> Data:
    for _ in range(12):
        term = bare(term)
        if operation(term) != "neg" or not term.args:
            break
        term = first_of(term.args[0])
    return term
