"""Constants that give every candidate more than there is to share."""

from __future__ import annotations

import math
from dataclasses import dataclass

from audits.mixtures.distributions import SHARE, Search
from audits.mixtures.expressions import MINUS, OVER, PICKS, PLUS, TIMES, factors_of, first_of, smoothed, terms_of
from audits.mixtures.flow import Flow, is_scored
from audits.mixtures.rows import LEAST_ALPHABET
from verifier.program.queries import operation
from verifier.program.values import Data

_MUCH = 1.1
"""Shares that add up to more than this are no rounding."""

_CLOSE = 1e-4
_BASES = (math.log(2), 1 / math.log(10), math.log10(2))
"""Factors below one that change the base of a logarithm."""


@dataclass(frozen=True, slots=True)
class Excess:
    """A sum inside a logarithm that gives candidates more than there is; `mass`: what they get at least, over the bytes."""

    place: Data
    added: float
    mass: float


def excesses(flow: Flow) -> list[Excess]:
    """Constants that are added to the target's probability, or to its count and too rarely to the total that divides it."""
    search, found = Search(flow), dict[object, Excess]()
    for node in flow.nodes.values():
        excess = None
        if operation(node) in PLUS and is_scored(node):
            excess = _raised(search, node)
        elif operation(node) in OVER and len(node.args) > 1 and flow.lookups and not is_scored(node):
            excess = _short_total(search, node)
        if excess is not None and any(id(node) in flow.behind(one) for one in flow.logarithms):
            found.setdefault(node.site, excess)
    return list(found.values())


def shrunk_losses(flow: Flow) -> list[tuple[Data, float]]:
    """Products of each token's loss with a constant below one: the same as a root of its probability, which no other token pays
    for. Averages (one half; a product that a constant divides) and changes of the logarithm's base are no such thing."""
    search, found = Search(flow), dict[object, tuple[Data, float]]()
    for node in flow.nodes.values():
        if operation(node) not in TIMES | OVER or len(node.args) < 2 or not is_scored(node):
            continue
        factor = search.shrunk(node)
        if factor is None or any(math.isclose(factor, one, rel_tol=_CLOSE) for one in _BASES):
            continue
        readers = flow.parents.get(id(node), ())
        added = any(operation(one) in PLUS | MINUS for one in readers)
        averaged = any(operation(one) in OVER and first_of(one.args[-1]).known for one in readers)
        if abs(1 / factor - round(1 / factor)) > _CLOSE and not added and not averaged:
            found.setdefault(node.site, (node, factor))
    return list(found.values())


def _raised(search: Search, node: Data) -> Excess | None:
    """Shares with known weights and a constant that add up to more than one."""
    whole = added = 0.0
    for term in terms_of(node, PLUS):
        factors = factors_of(term)
        fixed = math.prod(float(one.const) for one, _ in factors if isinstance(one.const, int | float))
        rest = [one for one, _ in factors if not isinstance(one.const, int | float)]
        if any(below for _, below in factors) or len(rest) > 1 or (rest and search.kind(rest[0]) != SHARE):
            return None
        whole += fixed if rest else 0.0
        added += 0.0 if rest else fixed
    mass = whole + LEAST_ALPHABET * added
    return Excess(node, added, mass) if added > 0 and whole > 0 and mass > _MUCH else None


def _short_total(search: Search, node: Data) -> Excess | None:
    """`(count[target] + a) / (total + b)` with `b` less than `a` for each candidate."""
    for factor, below in factors_of(first_of(node.args[0])):
        added, counts = smoothed(factor)
        if below or added <= 0 or operation(counts) not in PICKS or len(counts.args) < 2:
            continue
        spread, total = smoothed(first_of(node.args[1]))
        if 0 < spread < LEAST_ALPHABET * added and not total.known and search.rows.picks_target(counts):
            return Excess(node, added, LEAST_ALPHABET * added / spread)
    return None
