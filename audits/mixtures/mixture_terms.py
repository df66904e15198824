"""Mixtures as sums: a logarithm of the sum of what several experts give to one token, each term with its factors."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from audits.mixtures.expressions import BOUNDS, MINUS, OVER, PICKS, PLUS, TIMES, TINY, bare, first_of, same_value, terms_of
from audits.mixtures.flow import Flow, data_in, from_validation, is_scored
from verifier.program.queries import iterations_of, operation
from verifier.program.values import Data

_LOGARITHMS = frozenset({"log", "log2", "log10"})
_EXPONENTIALS = frozenset({"exp", "exp2"})
_LEAST = frozenset({"min", "minimum", "fmin", "clamp_max"})
SQUASHES = frozenset({"sigmoid", "tanh", "expit", "relu", "sqrt", "pow", "**", "abs", "round", "floor"})
_COMPARES = frozenset({"<", "<=", ">", ">=", "lt", "le", "gt", "ge", "less", "greater", "less_equal", "greater_equal"})
_CONNECTS = frozenset(
    {"and", "or", "not", "&", "|", "~", "logical_and", "logical_or", "logical_not", "join", "bool", "any", "all"}
)
_CONVERTS = frozenset({"float", "double", "item", "float32", "float64", "half", "join", "ifexp", "to", "neg", "append", "extend"})
NUMBERS = (
    PLUS
    | MINUS
    | TIMES
    | OVER
    | BOUNDS
    | _LOGARITHMS
    | _EXPONENTIALS
    | _LEAST
    | SQUASHES
    | _COMPARES
    | _CONVERTS
    | {"log1p", "expm1", "where"}
)
"""What computes a number for one token from numbers for that token."""
_MOST = 4000


@dataclass(frozen=True, slots=True)
class Mixture:
    """A logarithm of a sum with a model's probability of the target (made of `own`) in one term, and in another that of an expert."""

    logarithm: Data
    terms: tuple[tuple[Data, ...], ...]
    own: tuple[Data, ...]
    experts: tuple[Data, ...]
    divided: bool
    """Whether a term is divided by something of the text as a whole, as by a sum over the alphabet."""


def mixtures_behind(flow: Flow) -> list[Mixture]:
    """The mixtures behind the headline, in the order of their lines."""
    return [mixture for node in flow.logarithms if (mixture := _mixture_of(flow, node)) is not None]


def _mixture_of(flow: Flow, logarithm: Data) -> Mixture | None:
    terms = [_factors(term) for term in _summed(logarithm)]
    if len(terms) < 2:
        return None
    # What is taken out of every term, as the greatest of them is, weighs nothing.
    shared = [one for one in terms[0] if all(any(same_value(one, other, 0) for other in term) for term in terms[1:])]
    terms = [tuple(one for one in term if not any(same_value(one, each, 0) for each in shared)) for term in terms]
    own = tuple(leaf for term in terms for factor in term for leaf in [probability_in(factor)] if leaf is not None)
    if not own:
        return None
    experts = tuple(
        factor
        for term in terms
        if not any(probability_in(one) is not None and is_any(own[:1], probability_in(one)) for one in term)
        for factor in term
        if is_text(factor) and not is_any(own, *leaves_behind(flow, factor)[0])
    )
    divided = any(_is_divided(flow, term) for term in _summed(logarithm))
    return Mixture(logarithm, tuple(terms), own, experts, divided) if experts else None


def _is_divided(flow: Flow, term: Data) -> bool:
    """Whether a product, a power or a running product is divided by something that depends on the text: a count over its total is not
    meant."""
    for node in flow.walk([term], lambda one: parts_of(one) if operation(one) in TIMES | OVER | MINUS | _EXPONENTIALS else ()):
        under = first_of(node.args[1]) if operation(node) in OVER | MINUS and len(node.args) > 1 else None
        if under is not None and is_text(under) and not is_scored(under):
            over = bare(first_of(node.args[0]))
            if operation(node) in MINUS or operation(over) in TIMES | _EXPONENTIALS | {"join"}:
                return True
    return False


def _summed(logarithm: Data) -> list[Data]:
    """The terms of the sum that a logarithm is taken of; of `logaddexp(a, b)` its arguments stand for their exponentials."""
    how = operation(logarithm)
    if how in ("logaddexp", "logaddexp2"):
        return [_exp_of(one) for value in logarithm.args[:2] for one in data_in(value)[:1]]
    if how == "logsumexp" and logarithm.args:
        stack = bare(first_of(logarithm.args[0]))
        if operation(stack) not in ("stack", "cat") or not stack.args:
            return []
        return [_exp_of(one) for one in data_in(stack.args[0])]
    if how not in _LOGARITHMS or not logarithm.args:
        return []
    total = unbound(first_of(logarithm.args[0]))
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
            pending += [_exp_of(first_of(value)) for value in power.args[:2]]
        elif operation(power) in _LOGARITHMS and power.args:
            pending.append(first_of(power.args[0]))
        else:
            found.append(_exp_of(power))
    return tuple(found)


def _exp_of(node: Data) -> Data:
    return Data("exp", (node,), node.labels, node.site)


def unbound(node: Data) -> Data:
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


def probability_in(factor: Data) -> Data | None:
    """The score of one token that a factor is the probability of: `exp(-nll)`, bounded or not, or the picked probability itself."""
    factor = unbound(factor)
    if operation(factor) in _EXPONENTIALS and factor.args:
        inner = first_of(factor.args[0])
        for _ in range(12):
            inner = unbound(inner)
            if operation(inner) != "neg" or not inner.args:
                break
            inner = first_of(inner.args[0])
        return inner if is_scored(inner) and operation(inner) not in NUMBERS - {"join"} else None
    return factor if is_scored(factor) and operation(factor) in PICKS | {"squeeze"} else None


def leaves_behind(flow: Flow, node: Data) -> tuple[list[Data], list[Data]]:
    """The scores of single tokens that a number is computed from, and everything else that it ends at."""
    scored: list[Data] = []
    others: list[Data] = []

    def below(one: Data) -> Iterable[Data]:
        if one.known:
            return ()
        if operation(one) in NUMBERS or (bare(one) is not one and operation(one) != "index"):
            chosen = data_in(one.chosen) if one.chosen is not None else []
            return [*(each for value in one.args for each in data_in(value)), *tested_in(chosen)]
        (scored if is_scored(one) else others).append(one)
        return ()

    if len(flow.walk([node], below)) > _MOST:
        return [], []
    return scored, others


def is_any(known: Iterable[Data], *nodes: Data | None) -> bool:
    """Whether some node is the score of the same token: the same value, or read from the same place in the same iteration."""
    return any(
        one is node or (same_value(one, node, 0) and iterations_of(one.labels) == iterations_of(node.labels))
        for one in known
        for node in nodes
        if node is not None
    )


def is_text(node: Data) -> bool:
    return not node.known and (from_validation(node) or is_scored(node))


def near(node: Data) -> list[Data]:
    """What a number was computed or copied from, for the same token."""
    return parts_of(node) if operation(node) in NUMBERS or (bare(node) is not node and operation(node) != "index") else []


def parts_of(node: Data) -> list[Data]:
    return [one for value in node.args for one in data_in(value)]


def tested_in(conditions: Iterable[Data]) -> list[Data]:
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
