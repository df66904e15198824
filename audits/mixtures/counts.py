"""Probabilities that are formed from counts: which table, which key, is the realized target in it, is it one of a distribution."""

from __future__ import annotations

from dataclasses import dataclass

from audits.mixtures.flow import Flow, Lookup, data_in, from_validation, operation
from verifier.program.events import Event
from verifier.program.queries import scores_of
from verifier.program.values import Data

_QUOTIENTS = frozenset({"/", "//", "div", "divide", "true_divide", "div_"})
_FOLDS = frozenset({"%", "&", "remainder", "bitwise_and", "mod", "fmod", "crc32", "adler32", "hash"})
"""Operations that fold a key into a bounded table, so that different keys meet."""


@dataclass(frozen=True, slots=True)
class CountRatio:
    """`taken` counts under a key with the target divided by counts of its context, inside a logarithm that is scored.

    `folded` when the key is folded into a bounded table. `over_alphabet` when the lookup is made for every candidate and the
    target's one is picked afterwards.
    """

    taken: Lookup
    context: Lookup
    quotient: Data
    logarithm: Data
    folded: bool
    over_alphabet: bool


def target_nodes(flow: Flow) -> frozenset[int]:
    """What holds the targets of the scored losses: from the loss back to the cut that made them out of the stream. The stream
    itself holds the contexts too and is left out."""

    def back(node: Data) -> tuple[Data, ...]:
        cut = (
            operation(node) in ("index", "element", "narrow")
            and _selects(node)
            and not any(one.filled for one in data_in(node.args[0]))
        )
        return () if cut else tuple(one for one in flow.handed_on(node) if from_validation(one))

    aims = [node for event in _scores(flow) if len(event.values) > 2 for node in data_in(event.values[2])]
    return frozenset(id(node) for node in flow.walk(aims, back) if flow.is_token(node))


def _selects(node: Data) -> bool:
    """Whether an index leaves something out: `y[:, None]` and the only row `y[0]` do not."""
    places = [place for value in node.args[1:] for place in data_in(value)]
    bounds = [bound for place in places for bound in (place.args if place.op == "slice" else (place,))]
    return any(not (isinstance(bound, Data) and bound.known and not bound.const) for bound in bounds)


def _scores(flow: Flow) -> tuple[Event, ...]:
    return tuple(dict.fromkeys(score for report in flow.reports for score in scores_of(report, flow.trace)))[:24]


def count_ratios(flow: Flow) -> tuple[CountRatio, ...]:
    """Every place of the script once, in the order of the lines."""
    targets = target_nodes(flow)
    found: dict[tuple[object, ...], CountRatio] = {}
    quotients = [node for node in flow.nodes.values() if operation(node) in _QUOTIENTS and len(node.args) >= 2]
    for quotient in quotients:
        over = _lookups_behind(flow, quotient, 0)
        under = _lookups_behind(flow, quotient, 1) if over else []
        if not under:
            continue
        own = {id(lookup.result) for lookup in under}
        for taken in over:
            if id(taken.result) in own:
                continue
            context = _context_of(flow, quotient, taken, under, targets)
            if context is None:
                continue
            logarithm = _logarithm_over(flow, quotient)
            if logarithm is not None:
                place = (taken.site, context.site, quotient.site, logarithm.site)
                found.setdefault(
                    place,
                    CountRatio(
                        taken, context, quotient, logarithm, _is_folded(flow, taken, context), _same_tokens(flow, taken, context)
                    ),
                )
    return tuple(sorted(found.values(), key=lambda ratio: (ratio.taken.site, ratio.quotient.site or ("", 0, 0))))


def _lookups_behind(flow: Flow, quotient: Data, side: int) -> list[Lookup]:
    if not flow.lookups:
        return []
    behind = {id(node) for node in flow.walk(data_in(quotient.args[side]), flow.handed_on)}
    return [lookup for lookup in flow.lookups if id(lookup.result) in behind]


def _context_of(flow: Flow, quotient: Data, taken: Lookup, under: list[Lookup], targets: frozenset[int]) -> Lookup | None:
    """The lookup of the context's own count: its key has the same tokens without the target."""
    tokens = flow.ingredients(taken.key)
    if not tokens:
        return None
    aimed = _has_target(flow, taken, targets)
    for context in under:
        fewer = flow.ingredients(context.key)
        if fewer and (fewer.keys() < tokens.keys() or (aimed and not _has_target(flow, context, targets))):
            return context
        if fewer and fewer.keys() == tokens.keys() and _over_alphabet(flow, taken) and _picks_target(flow, quotient, taken):
            return context
    return None


def _has_target(flow: Flow, lookup: Lookup, targets: frozenset[int]) -> bool:
    return any(id(one) in targets for token in flow.ingredients(lookup.key).values() for one in flow.origin(token))


def _same_tokens(flow: Flow, taken: Lookup, context: Lookup) -> bool:
    return flow.ingredients(taken.key).keys() == flow.ingredients(context.key).keys()


def _over_alphabet(flow: Flow, lookup: Lookup) -> bool:
    """Whether the key is made for every candidate and folded, so that candidates of different contexts meet."""
    return any(
        operation(node) in _FOLDS and any(operation(one) == "arange" for one in flow.walk([node], flow.handed_on))
        for node in flow.walk(data_in(lookup.key), flow.arithmetic)
    )


def _picks_target(flow: Flow, quotient: Data, taken: Lookup) -> bool:
    """Whether a further token chooses among the candidates' counts on the way to the quotient."""
    for node in flow.walk(data_in(quotient.args[0]), flow.handed_on):
        if (
            operation(node) in ("gather", "index", "take_along_dim", "index_select")
            and node is not taken.result
            and len(node.args) > 1
        ):
            picks = [key for value in node.args[1:] for key in data_in(value)]
            known = flow.ingredients(taken.key)
            aimed = any(flow.is_token(key) and id(key) not in known for key in picks)
            if aimed and any(one is taken.result for one in flow.walk([node], flow.handed_on)):
                return True
    return False


def _is_folded(flow: Flow, taken: Lookup, context: Lookup) -> bool:
    """Whether target and context are folded together: a table with a row for each context keeps them apart."""
    fewer = flow.ingredients(context.key).keys()
    own = {key for key, token in flow.ingredients(taken.key).items() if key not in fewer}
    for node in flow.walk(data_in(taken.key), flow.arithmetic):
        if operation(node) in _FOLDS:
            folded = {id(one) for one in flow.walk([node], flow.arithmetic)}
            if folded & own and folded - own:
                return True
    return False


def _logarithm_over(flow: Flow, node: Data) -> Data | None:
    return next((one for one in flow.logarithms if id(node) in flow.behind(one)), None)
