"""Probabilities that are formed from counts: which table, which key, is the realized target in it, is it one of a distribution."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from audits.mixtures.cuts import same_cuts
from audits.mixtures.flow import COPIES, Flow, Lookup, data_in, from_validation, is_scored, meeting
from verifier.program.events import Event
from verifier.program.queries import events_behind, operation, scores_of
from verifier.program.values import Data, Seq, Value

_QUOTIENTS = frozenset({"/", "//", "div", "divide", "true_divide", "div_"})
_FOLDS = frozenset({"%", "&", "remainder", "bitwise_and", "mod", "fmod", "crc32", "adler32", "hash"})
"""Operations that fold a key into a bounded table, so that different keys meet."""
_JOINS = frozenset({"cat", "concat", "concatenate", "stack", "hstack", "column_stack"})
_SUMS = frozenset({"sum", "nansum", "einsum"})
_BYTES = 256
"""The smallest alphabet that scores this text: its bytes."""
_DEEP, _LONG = 40, 400
"""How deep and how long a key's formula may be to be compared with another."""


@dataclass(frozen=True, slots=True)
class CountRatio:
    """`taken` counts under a key with the target divided by counts of its context, inside a logarithm that is scored.

    `folded` when the key is folded into a bounded table. `over_alphabet` when the lookup is made for every candidate and the
    target's one is picked afterwards. `summed` when the context's count is the sum of the same table over every candidate. `doubt`:
    what keeps it from being certain that the one is divided by the other.
    """

    taken: Lookup
    context: Lookup
    quotient: Data
    logarithm: Data
    folded: bool
    over_alphabet: bool
    summed: bool
    doubt: str = ""


@dataclass(frozen=True, slots=True)
class FoldedLookup:
    """A read of a bounded table under a key of context and target, and where what it gives meets the score of that target."""

    lookup: Lookup
    score: Data


def target_nodes(flow: Flow, events: tuple[Event, ...] | None = None) -> frozenset[int]:
    """What holds the targets of the scored losses (or of some of them): from the loss back to the cut that made them out of the
    stream. The stream itself holds the contexts too and is left out."""
    chosen = scores_behind(flow) if events is None else events
    asked = ("targets", *(event.index for event in chosen))
    held = flow.memo.get(asked)
    if not isinstance(held, frozenset):
        held = flow.memo[asked] = _target_nodes(flow, chosen)
    return held


def _target_nodes(flow: Flow, events: tuple[Event, ...]) -> frozenset[int]:
    cuts: list[Data] = []

    def back(node: Data) -> tuple[Data, ...]:
        cut = (
            operation(node) in ("index", "element", "narrow")
            and _selects(node)
            and not any(one.filled for one in data_in(node.args[0]))
        )
        if cut:
            cuts.append(node)
        return () if cut else tuple(one for one in flow.handed_on(node) if from_validation(one))

    aims = [node for event in events if len(event.values) > 2 for node in data_in(event.values[2])]
    found = flow.walk(aims, back)
    return frozenset(id(node) for node in (*found, *same_cuts(flow, cuts)) if flow.is_token(node))


def _selects(node: Data) -> bool:
    """Whether an index leaves something out: `y[:, None]` and the only row `y[0]` do not."""
    places = [place for value in node.args[1:] for place in data_in(value)]
    bounds = [bound for place in places for bound in (place.args if place.op == "slice" else (place,))]
    return any(not (isinstance(bound, Data) and bound.known and not bound.const) for bound in bounds)


def scores_behind(flow: Flow) -> tuple[Event, ...]:
    """The losses behind the headline."""
    return tuple(dict.fromkeys(score for report in flow.reports for score in scores_of(report, flow.trace)))[:24]


def count_ratios(flow: Flow) -> tuple[CountRatio, ...]:
    """Every place of the script once, in the order of the lines. Two rules ask."""
    held = flow.memo.get("count ratios")
    if not isinstance(held, tuple):
        held = flow.memo["count ratios"] = _count_ratios(flow)
    return held


def _count_ratios(flow: Flow) -> tuple[CountRatio, ...]:
    targets = target_nodes(flow)
    found: dict[tuple[object, ...], CountRatio] = {}
    quotients = [(node, node, "") for node in flow.nodes.values() if operation(node) in _QUOTIENTS and len(node.args) >= 2]
    quotients += _put_elsewhere(flow)
    reading = _reading(flow, [quotient for quotient, _, _ in quotients])
    for quotient, holder, doubt in quotients:
        over = _lookups_behind(flow, quotient, 0, reading)
        under = _lookups_behind(flow, quotient, 1, reading) if over else []
        if not under:
            continue
        own = {id(lookup.result) for lookup in under}
        for taken in over:
            if id(taken.result) in own:
                continue
            context = _context_of(flow, quotient, taken, under, targets)
            if context is None:
                continue
            logarithm = _logarithm_over(flow, holder)
            if logarithm is not None:
                place = (taken.site, context.site, quotient.site, logarithm.site)
                folded, spread = _is_folded(flow, taken, context), _same_tokens(flow, taken, context)
                summed = is_sum_of_candidates(flow, taken, context, data_in(quotient.args[1]), targets)
                found.setdefault(place, CountRatio(taken, context, quotient, logarithm, folded, spread, summed, doubt))
    return tuple(sorted(found.values(), key=lambda ratio: (ratio.taken.site, ratio.quotient.site or ("", 0, 0))))


def _put_elsewhere(flow: Flow) -> list[tuple[Data, Data, str]]:
    """What a call of two arrays puts into a third one (`np.divide(a, b, out=c)`), as if it were their quotient; and the third."""
    found: list[tuple[Data, Data, str]] = []
    for holder in flow.nodes.values():
        for _, value, site in holder.filled:
            if isinstance(value, Seq) and value.kind == "tuple" and len(value.items) > 1 and all(map(data_in, value.items[:2])):
                pair = Data("/", tuple(value.items[:2]), holder.labels, site)
                found.append((pair, holder, "whether what is put into the array is the quotient of the two counts"))
    return found[:_LONG]


def _reading(flow: Flow, quotients: list[Data]) -> frozenset[int]:
    """What a lookup's result is handed on to, of all that quotients are made of: most have no lookup and need no walk of their own."""
    start = [node for quotient in quotients for value in quotient.args[:2] for node in data_in(value)] if flow.lookups else []
    readers: dict[int, list[Data]] = {}
    for node in flow.walk(start, flow.handed_on):
        for one in flow.handed_on(node):
            readers.setdefault(id(one), []).append(node)
    found = flow.walk([lookup.result for lookup in flow.lookups], lambda node: readers.get(id(node), ()))
    return frozenset(id(node) for node in found)


def _lookups_behind(flow: Flow, quotient: Data, side: int, reading: frozenset[int]) -> list[Lookup]:
    start = data_in(quotient.args[side])
    if not any(id(node) in reading for node in start):
        return []
    behind = {id(node) for node in flow.walk(start, flow.handed_on)}
    return [lookup for lookup in flow.lookups if id(lookup.result) in behind]


def _context_of(flow: Flow, quotient: Data, taken: Lookup, under: list[Lookup], targets: frozenset[int]) -> Lookup | None:
    """The lookup of the context's own count: its key has the same tokens without the target."""
    tokens = flow.ingredients(taken.key)
    if not tokens:
        return None
    aimed = _has_target(flow, taken, targets)
    sums = [one for one in under if is_sum_of_candidates(flow, taken, one, data_in(quotient.args[1]), targets)]
    for context in (*sums, *under):
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


def is_sum_of_candidates(flow: Flow, taken: Lookup, context: Lookup, within: Iterable[Data], targets: frozenset[int]) -> bool:
    """Whether a value is the sum, over every candidate, of the same table under the same key: what makes counts shares."""
    tables = {id(node) for node in data_in(taken.table)}
    if not any(id(node) in tables for node in data_in(context.table)):
        return False
    named = _formula(flow, taken.key, targets)
    if named is None or named != _formula(flow, context.key, targets) or not _every_candidate(flow, context.key):
        return False
    return any(operation(node) in _SUMS and id(context.result) in flow.behind(node) for node in flow.walk(within, flow.handed_on))


def _every_candidate(flow: Flow, key: Value) -> bool:
    """Whether a key is made for a whole alphabet: at least one of bytes, from zero on."""
    ranges = [node for node in flow.walk(data_in(key), flow.handed_on) if operation(node) == "arange"]
    for node in ranges:
        bounds = [
            one.const for value in node.args for one in data_in(value) if isinstance(one.const, int) and one.const is not True
        ]
        if len(bounds) > 1 or any(bound < _BYTES for bound in bounds):
            return False
    return bool(ranges)


def _formula(flow: Flow, key: Value, targets: frozenset[int]) -> object | None:
    """How a key is computed, with targets and candidates under one name and every other token under another. None when it is too
    long to compare."""
    steps = 0

    def told(value: Value, depth: int) -> object:
        nonlocal steps
        steps += 1
        if depth > _DEEP or steps > _LONG:
            raise _TooLongError
        if isinstance(value, Seq):
            return tuple(told(one, depth + 1) for one in value.items)
        if not isinstance(value, Data):
            return type(value).__name__
        if value.known:
            return value.const
        if flow.is_token(value):
            return "candidate" if any(id(one) in targets for one in flow.origin(value)) else "context"
        if operation(value) == "arange":
            return "candidate"
        if operation(value) in COPIES and value.args:
            return told(value.args[0], depth + 1)
        return (operation(value), *(told(one, depth + 1) for one in value.args))

    try:
        return told(key, 0)
    except _TooLongError:
        return None


class _TooLongError(Exception):
    """A formula has more steps than are compared."""


def folded_lookups(flow: Flow) -> list[FoldedLookup]:
    """Reads under a key that folds a score's own target together with its context, whose value enters that score without being
    divided by the sum over all candidates."""
    found: dict[object, FoldedLookup] = {}
    for lookup in flow.lookups:
        mixing = [node for node in flow.walk(data_in(lookup.key), flow.arithmetic) if operation(node) in _FOLDS]
        if not mixing or is_scored(lookup.result):
            continue
        # A learned table of the model speaks through the layers above it: only a value for each token counts there.
        learned = operation(lookup.result) == "embedding" or any(label[0] == "model" for label in lookup.result.labels)
        score = meeting(flow, lookup.result) or (None if learned else _logarithm_over(flow, lookup.result))
        if score is None:
            continue
        targets = target_nodes(flow, scores_of_node(flow, score))
        tokens = flow.ingredients(lookup.key).items()
        own = {key for key, token in tokens if any(id(one) in targets for one in flow.origin(token))}
        whole = {key for key, token in tokens if key in own and _is_window(flow, token, targets)}
        if not any(folded & own and (folded - own or folded & whole) for folded in (_tokens_in(flow, node) for node in mixing)):
            continue
        if not any(is_sum_of_candidates(flow, lookup, one, [score], targets) for one in flow.lookups):
            found.setdefault(lookup.site, FoldedLookup(lookup, score))
    return list(found.values())


def _tokens_in(flow: Flow, node: Data) -> set[int]:
    return {id(one) for one in flow.walk([node], flow.arithmetic) if flow.is_token(one)}


def _is_window(flow: Flow, token: Data, targets: frozenset[int]) -> bool:
    """Whether tokens were put together of which some are the target and some are not."""
    for node in flow.origin(token):
        if operation(node) in _JOINS and node.args:
            parts = [
                any(id(one) in targets for one in flow.origin(part)) for part in data_in(node.args[0]) if flow.is_token(part)
            ]
            if any(parts) and not all(parts):
                return True
    return False


def scores_of_node(flow: Flow, node: Data) -> tuple[Event, ...]:
    """The losses that flow into a node."""
    return events_behind(node.labels, flow.trace, "score")
