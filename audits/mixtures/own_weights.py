"""Weights and gates of a mixture that are computed from the score of the very token that is mixed: how likely a model held the answer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from audits.mixtures.counts import target_nodes
from audits.mixtures.expressions import BOUNDS, MINUS, OVER, PICKS, PLUS, TIMES, TINY, bare, first_of, same_value, terms_of
from audits.mixtures.flow import Flow, data_in, from_validation, is_scored
from verifier.program.queries import iterations_of, operation
from verifier.program.values import Data

_LOGARITHMS = frozenset({"log", "log2", "log10"})
_EXPONENTIALS = frozenset({"exp", "exp2"})
_LEAST = frozenset({"min", "minimum", "fmin", "clamp_max"})
_SQUASHES = frozenset({"sigmoid", "tanh", "expit", "relu", "sqrt", "pow", "**", "abs", "round", "floor"})
_COMPARES = frozenset({"<", "<=", ">", ">=", "lt", "le", "gt", "ge", "less", "greater", "less_equal", "greater_equal"})
_CONNECTS = frozenset(
    {"and", "or", "not", "&", "|", "~", "logical_and", "logical_or", "logical_not", "join", "bool", "any", "all"}
)
_CONVERTS = frozenset({"float", "double", "item", "float32", "float64", "half", "join", "ifexp", "to", "neg", "append", "extend"})
_NUMBERS = (
    PLUS
    | MINUS
    | TIMES
    | OVER
    | BOUNDS
    | _LOGARITHMS
    | _EXPONENTIALS
    | _LEAST
    | _SQUASHES
    | _COMPARES
    | _CONVERTS
    | {"log1p", "expm1", "where"}
)
"""What computes a number for one token from numbers for that token."""
_MOST = 4000


@dataclass(frozen=True, slots=True)
class OwnWeight:
    """`place` is where the token's own score becomes a weight or a condition, `mixture` the logarithm of the sum that is scored.
    `gate`: the condition decides whether the mixture is scored or the model alone."""

    place: Data
    mixture: Data
    gate: bool


@dataclass(frozen=True, slots=True)
class _Mixture:
    """A logarithm of a sum with a model's probability of the target (made of `own`) in one term, and in another that of an expert."""

    logarithm: Data
    terms: tuple[tuple[Data, ...], ...]
    own: tuple[Data, ...]
    experts: tuple[Data, ...]


def own_weights(flow: Flow) -> list[OwnWeight]:
    """Each mixture at most once, by the line of its logarithm."""
    found: dict[object, OwnWeight] = {}
    mixtures = [mixture for node in flow.logarithms if (mixture := _mixture(flow, node)) is not None]
    for mixture in mixtures:
        weight = _weight(flow, mixture)
        if weight is not None:
            found.setdefault(mixture.logarithm.site, OwnWeight(weight, mixture.logarithm, gate=False))
    for node in flow.nodes.values():
        for condition, sides in _choices(node):
            for mixture in mixtures if len(sides) == 2 else ():
                gate = _gate(flow, mixture, condition, sides)
                if gate is not None:
                    found.setdefault(mixture.logarithm.site, OwnWeight(gate, mixture.logarithm, gate=True))
    return list(found.values())


def _mixture(flow: Flow, logarithm: Data) -> _Mixture | None:
    terms = [_factors(term) for term in _summed(logarithm)]
    if len(terms) < 2:
        return None
    # What is taken out of every term, as the greatest of them is, weighs nothing.
    shared = [one for one in terms[0] if all(any(same_value(one, other, 0) for other in term) for term in terms[1:])]
    terms = [tuple(one for one in term if not any(same_value(one, each, 0) for each in shared)) for term in terms]
    own = tuple(leaf for term in terms for factor in term for leaf in [_probability(factor)] if leaf is not None)
    if not own:
        return None
    experts = tuple(
        factor
        for term in terms
        if not any(_probability(one) is not None and _is_any(own[:1], _probability(one)) for one in term)
        for factor in term
        if _is_text(flow, factor) and not _is_any(own, *_leaves(flow, factor)[0])
    )
    return _Mixture(logarithm, tuple(terms), own, experts) if experts else None


def _summed(logarithm: Data) -> list[Data]:
    """The terms of the sum that a logarithm is taken of; of `logaddexp(a, b)` its arguments stand for their exponentials."""
    how = operation(logarithm)
    if how in ("logaddexp", "logaddexp2"):
        return [Data("exp", (one,)) for value in logarithm.args[:2] for one in data_in(value)[:1]]
    if how == "logsumexp" and logarithm.args:
        stack = bare(first_of(logarithm.args[0]))
        if operation(stack) not in ("stack", "cat") or not stack.args:
            return []
        return [Data("exp", (one,)) for one in data_in(stack.args[0])]
    if how not in _LOGARITHMS or not logarithm.args:
        return []
    total = _unbound(first_of(logarithm.args[0]))
    return terms_of(total, PLUS) if operation(total) in PLUS else []


def _factors(term: Data) -> tuple[Data, ...]:
    """The factors of a term, those that divide it included; `exp(a + log(b))` is `exp(a) * b`."""
    found: list[Data] = []
    pending = [term]
    while pending and len(found) < 24:
        node = pending.pop()
        plain = bare(node)
        how = operation(plain)
        if how in TIMES | OVER and len(plain.args) > 1:
            pending += [first_of(value) for value in plain.args[:2]]
            continue
        power = bare(first_of(plain.args[0])) if how in _EXPONENTIALS and plain.args else None
        if power is None:
            found.append(plain)
        elif operation(power) in PLUS | MINUS and len(power.args) > 1:
            pending += [Data("exp", (first_of(value),)) for value in power.args[:2]]
        elif operation(power) in _LOGARITHMS and power.args:
            pending.append(first_of(power.args[0]))
        else:
            found.append(Data("exp", (power,)))
    return tuple(found)


def _unbound(node: Data) -> Data:
    """A number without bounds (`if p < 1e-30: p = 1e-30` is one) and copies."""
    for _ in range(12):
        node = bare(node)
        if operation(node) not in BOUNDS | _LEAST | {"join"} or not node.args:
            break
        values = [one for value in node.args[:2] for one in data_in(value)]
        open_ones = [one for one in values if not one.known]
        least = all(isinstance(one.const, int | float) and one.const <= TINY for one in values if one.known)
        if len(open_ones) != 1 or (node.op == "join" and (len(values) < 2 or not least)):
            break
        node = open_ones[0]
    return node


def _probability(factor: Data) -> Data | None:
    """The score of one token that a factor is the probability of: `exp(-nll)`, bounded or not, or the picked probability itself."""
    factor = _unbound(factor)
    if operation(factor) in _EXPONENTIALS and factor.args:
        inner = first_of(factor.args[0])
        for _ in range(12):
            inner = _unbound(inner)
            if operation(inner) != "neg" or not inner.args:
                break
            inner = first_of(inner.args[0])
        return inner if is_scored(inner) and operation(inner) not in _NUMBERS - {"join"} else None
    return factor if is_scored(factor) and operation(factor) in PICKS | {"squeeze"} else None


def _leaves(flow: Flow, node: Data) -> tuple[list[Data], list[Data]]:
    """The scores of single tokens that a number is computed from, and everything else that it ends at."""
    scored: list[Data] = []
    others: list[Data] = []

    def below(one: Data) -> Iterable[Data]:
        if one.known:
            return ()
        if operation(one) in _NUMBERS or (bare(one) is not one and operation(one) != "index"):
            chosen = data_in(one.chosen) if one.chosen is not None else []
            return [*(each for value in one.args for each in data_in(value)), *_tested(chosen)]
        (scored if is_scored(one) else others).append(one)
        return ()

    if len(flow.walk([node], below)) > _MOST:
        return [], []
    return scored, others


def _is_any(known: Iterable[Data], *nodes: Data | None) -> bool:
    """Whether some node is the score of the same token: the same value, or read from the same place in the same iteration."""
    return any(
        one is node or (same_value(one, node, 0) and iterations_of(one.labels) == iterations_of(node.labels))
        for one in known
        for node in nodes
        if node is not None
    )


def _is_text(flow: Flow, node: Data) -> bool:
    return not node.known and (from_validation(node) or is_scored(node))


def _weight(flow: Flow, mixture: _Mixture) -> Data | None:
    """A factor beside an expert's probability that is computed from the model's own score of the target."""
    for term in mixture.terms:
        if not any(any(one is each for each in mixture.experts) for one in term):
            continue
        for factor in term:
            scored, others = _leaves(flow, factor)
            # Anything else that was scored may be what takes the token out again (a running sum less its own share).
            if not scored or not all(_is_any(mixture.own, leaf) for leaf in scored) or _probability(factor) is not None:
                continue
            pure = not any(_is_text(flow, one) for one in others)
            if pure or operation(_unbound(factor)) in _SQUASHES:
                return factor
    return None


def _choices(node: Data) -> list[tuple[Data, list[Data]]]:
    """Conditions under which a value is one of two, with these."""
    if operation(node) == "where" and len(node.args) == 3:
        return [(one, [first_of(value) for value in node.args[1:]]) for one in data_in(node.args[0])[:1]]
    if node.op == "join" and node.chosen is not None:
        return [(one, [first_of(value) for value in node.args]) for one in data_in(node.chosen)[:1]]
    return []


def _tested(conditions: Iterable[Data]) -> list[Data]:
    """What is compared in conditions, joined or denied."""
    found: list[Data] = []
    pending = list(conditions)
    while pending and len(found) < 24:
        node = pending.pop()
        if operation(node) in _COMPARES:
            found.append(node)
        elif operation(node) in _CONNECTS or bare(node) is not node:
            pending += [one for value in node.args for one in data_in(value)]
    return found


def _gate(flow: Flow, mixture: _Mixture, condition: Data, sides: list[Data]) -> Data | None:
    """A comparison of the target's own score, or of what an expert gives it, by which the mixture or the bare score is chosen."""
    mixed = [_holds(flow, side, mixture.logarithm) for side in sides]
    if mixed[0] == mixed[1] or not _is_bare(sides[mixed.index(False)], mixture.own):
        return None
    targets = target_nodes(flow)
    for test in _tested([condition]):
        scored, others = _leaves(flow, test)
        if scored and all(_is_any(mixture.own, leaf) for leaf in scored) and not any(_is_text(flow, one) for one in others):
            return test
        if not scored and any(_of_target(flow, test, expert, targets) for expert in mixture.experts):
            return test
    return None


def _of_target(flow: Flow, test: Data, expert: Data, targets: frozenset[int]) -> bool:
    """Whether a test compares with a number what is looked up at the target and enters the expert's probability."""
    sides = [data_in(value) for value in test.args[:2]]
    looked = [one for side, other in (sides, sides[::-1]) if all(each.known for each in other) for one in side]
    near = {id(one) for one in flow.walk([expert], _near)}
    for part in flow.walk(looked, _near):
        keys = [key for value in part.args[1:] for key in data_in(value)] if operation(part) in PICKS | {"get"} else []
        if id(part) in near and any(id(each) in targets for key in keys for each in flow.origin(key)):
            return True
    return False


def _near(node: Data) -> list[Data]:
    """What a number was computed or copied from, for the same token."""
    return _opened(node) if operation(node) in _NUMBERS or (bare(node) is not node and operation(node) != "index") else []


def _opened(node: Data) -> list[Data]:
    return [one for value in node.args for one in data_in(value)]


def _holds(flow: Flow, side: Data, logarithm: Data) -> bool:
    """Whether a mixture is part of what is chosen, computed for this token."""
    return any(one is logarithm for one in flow.walk([side], lambda one: _opened(one) if operation(one) in _NUMBERS else ()))


def _is_bare(side: Data, own: tuple[Data, ...]) -> bool:
    """Whether a side is the model's score of the token, with nothing taken off for the expert; alone or added to a running total."""
    terms = terms_of(side, PLUS | MINUS)
    bare_ones = [term for term in terms if _is_any(own, _stripped(term))]
    rest = [term for term in terms if not any(term is one for one in bare_ones)]
    return bool(bare_ones) and all(one.op == "join" or one.const in (0, 0.0) for one in rest)


def _stripped(term: Data) -> Data:
    for _ in range(12):
        term = bare(term)
        if operation(term) != "neg" or not term.args:
            break
        term = first_of(term.args[0])
    return term
