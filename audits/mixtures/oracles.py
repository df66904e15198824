"""Choices between several scores of the same tokens."""

from __future__ import annotations

from dataclasses import dataclass

from audits.mixtures.expressions import bare, first_of, same_value
from audits.mixtures.flow import ELEMENTWISE, LOGARITHMS, Flow, data_in, is_scored
from verifier.program.events import Event
from verifier.program.queries import events_behind, operation
from verifier.program.values import Data, Seq, Value, labels_of

_LEAST = frozenset({"minimum", "fmin", "min", "amin", "min_"})
_MOST = frozenset({"maximum", "fmax", "max", "amax"})
_SINGLE = frozenset({"mean", "sum", "item", "float"})
"""Steps after which a value no longer stands for one token."""
_COMPARES = frozenset({"<", ">", "<=", ">=", "lt", "gt", "le", "ge", "less", "greater", "less_equal", "greater_equal"})
_DENIES = frozenset({"~", "not", "logical_not"})
_RECTIFIES = frozenset({"relu", "relu_", "clamp", "clamp_", "clamp_min", "clip", "maximum", "minimum", "threshold", "abs"})
_RANKS = frozenset({"sort", "topk", "kthvalue", "argmin", "argmax", "argsort", "msort", "sorted", "nanmin", "aminmax", "cummin"})
_STACKS = frozenset({"stack", "cat", "concatenate", "array", "vstack", "hstack"})
_EACH = ELEMENTWISE | {
    "tolist",
    "gather",
    "take_along_dim",
    "take_along_axis",
    "attr:values",
    "attr:indices",
    "relu",
    "sort",
    "topk",
}
"""Steps after which a value still stands for one token."""
_MEETS = frozenset({"*", "mul", "multiply", "where", "index", "masked_fill", "ifexp", "gather", "take_along_dim", "lerp", "mul_"})


@dataclass(frozen=True, slots=True)
class Choice:
    """`doubt`: what keeps it from being certain that the better score is kept. `event` is a loss where nothing else was recorded."""

    event: Event
    node: Data
    how: str
    scores: tuple[Event, ...]
    doubt: str = ""


def chosen_scores(flow: Flow) -> list[Choice]:
    """Elementwise minima (of losses), maxima (of probabilities) and choices by comparison over different losses of the same tokens,
    behind the headline; without any, what may come to the same."""
    found: dict[object, Choice] = {}
    for node in flow.nodes.values():
        how = operation(node)
        plain = node.op in ("call:builtins.min", "call:builtins.max")
        if how not in _LEAST | _MOST | {"where"} or not (plain or node.op.startswith(("call:torch.", "call:numpy.", "."))):
            continue
        sides = [_scores(flow, value) for value in node.args if not _single(value)]
        if plain:
            sides = [_each_score(flow, value) for value in node.args]
        elif how in ("min", "max", "amin", "amax", "min_"):
            sides = [_scores(flow, one) for one in _stacked(node) if not _single(one)]
        doubt: str | None = ""
        if how == "where":
            sides = sides[1:] if len(node.args) == 3 and _scores(flow, node.args[0]) else []
            doubt = _doubt_of_where(flow, node) if sides else None
        distinct = [side for side in sides if side]
        if len(distinct) < 2 or any(set(distinct[0]) == set(side) for side in distinct[1:]):
            continue
        scores = tuple(dict.fromkeys(score for side in distinct for score in side))
        event = next((one for one in flow.trace.of("select") if one.site == node.site), scores[0] if plain else None)
        if event is not None and doubt is not None and not _only_shifts(flow, node):
            found.setdefault(node.site, Choice(event, node, how, scores, doubt))
    return list(found.values()) or _compared_scores(flow)


def _doubt_of_where(flow: Flow, node: Data) -> str | None:
    """Empty when the very scores that a `where` chooses from are compared; None when its condition does not hold the losses of these
    tokens (they were shifted to later ones, or summed up over earlier chunks)."""
    condition, *branches = (data_in(value) for value in node.args)
    for mask in condition:
        mask = bare(mask)
        for _ in range(4):
            if operation(mask) in _DENIES and mask.args:
                mask = bare(first_of(mask.args[0]))
        if operation(mask) not in _COMPARES or len(mask.args) < 2:
            continue
        compared = [data_in(value) for value in mask.args[:2]]
        if all(len(side) == 1 for side in (*compared, *branches)):
            (one,), (two,), (three,), (four,) = (*compared, *branches)
            pairs = [(one, three, two, four), (one, four, two, three)]
            if any(same_value(bare(a), bare(b), 0) and same_value(bare(c), bare(d), 0) for a, b, c, d in pairs):
                return ""
    chosen = {id(score.values[0]) for branch in branches for value in branch for score in _scores(flow, value)}
    seen = flow.walk(condition, lambda one: [] if id(one) in chosen else _unmoved(one))
    return "whether the better of the two is what is kept" if any(id(one) in chosen for one in seen) else None


def _unmoved(node: Data) -> list[Data]:
    """What a value is computed from at the same token, or over all tokens of the same chunk."""
    how = operation(node)
    inputs = [one for value in node.args for one in data_in(value)]
    if how == "index":
        return [one for one in inputs if not _moves(one, node)]
    return inputs if how in _EACH or how in _SINGLE else []


def _only_shifts(flow: Flow, node: Data) -> bool:
    """Whether a greatest value is only taken out of exponentials and added back after the logarithm of their sum."""
    if operation(node) not in _MOST:
        return False
    readers = flow.parents.get(id(node), [])
    taken = [one for one in readers if operation(one) in ("-", "sub") and any(each is node for each in data_in(one.args[1]))]
    added = [
        one
        for one in readers
        if operation(one) in ("+", "add") and any(operation(each) in LOGARITHMS for each in flow.inputs(one))
    ]
    powers = all(any(operation(each) == "exp" for each in flow.parents.get(id(one), ())) for one in taken)
    return bool(taken) and bool(added) and powers and len(taken) + len(added) == len(readers)


def _compared_scores(flow: Flow) -> list[Choice]:
    """Comparisons, ranks and rectified differences of different losses of the same tokens that meet a loss token by token."""
    found: dict[object, Choice] = {}
    for node in flow.nodes.values():
        sides = _sides(flow, node) if is_scored(node) else []
        if len(sides) < 2 or any(not side for side in sides) or all(set(sides[0]) == set(side) for side in sides[1:]):
            continue
        if operation(node) in _COMPARES and not _weighs_tokens(flow, node):
            continue
        scores = tuple(dict.fromkeys(score for side in sides for score in side))
        doubt = "whether the better of the two is what is kept"
        found.setdefault(node.site, Choice(scores[0], node, operation(node), scores, doubt))
    return list(found.values())


def _sides(flow: Flow, node: Data) -> list[tuple[Event, ...]]:
    """The losses of single tokens on either side of what ranks them."""
    how = operation(node)
    if how in _COMPARES and len(node.args) == 2:
        return [_each_score(flow, value) for value in node.args]
    if how in _RANKS:
        return [_each_score(flow, one) for one in _stacked(node)]
    if how in _RECTIFIES:
        differences = [one for value in node.args[:2] for one in data_in(value) if operation(one) in ("-", "sub", "subtract")]
        return [_each_score(flow, value) for one in differences[:1] for value in one.args[:2]]
    return []


def _weighs_tokens(flow: Flow, mask: Data) -> bool:
    """Whether a comparison chooses or weighs the losses of the very tokens that were compared: a shift in between makes it a
    choice by what came before."""
    pending, seen = [mask], {id(mask)}
    while pending:
        current = pending.pop()
        for parent in flow.parents.get(id(current), ()):
            if id(parent) in seen or operation(parent) not in _EACH or (operation(parent) == "index" and _moves(current, parent)):
                continue
            seen.add(id(parent))
            others = [one for value in parent.args for one in data_in(value) if one is not current]
            if operation(parent) in _MEETS and any(_each_score(flow, one) for one in others):
                return True
            pending.append(parent)
    return False


def _moves(node: Data, reader: Data) -> bool:
    """Whether a part of a node that starts or ends elsewhere is read."""
    if not any(one is node for one in data_in(reader.args[0])):
        return False
    places = [place for value in reader.args[1:] for place in data_in(value) if place.op == "slice"]
    return any(bound.known and bool(bound.const) for place in places for value in place.args[:2] for bound in data_in(value))


def _each_score(flow: Flow, value: Value) -> tuple[Event, ...]:
    """The losses that a value is one of for each token: they were not summed on the way."""
    made = {id(score.values[0]): score for score in _scores(flow, value)}
    each = flow.walk(data_in(value), lambda node: flow.inputs(node) if id(node) not in made and _keeps(node) else ())
    return tuple(dict.fromkeys(made[id(node)] for node in each if id(node) in made and not _is_reduced(node)))


def _keeps(node: Data) -> bool:
    return operation(node) in _EACH and operation(node) != "item"


def _is_reduced(node: Data) -> bool:
    """Whether a loss is one number for many tokens, as it is unless `reduction` says otherwise."""
    if operation(node) not in ("cross_entropy", "nll_loss"):
        return False
    how = node.argument("reduction")
    return not (isinstance(how, Data) and how.const == "none")


def _scores(flow: Flow, value: Value) -> tuple[Event, ...]:
    return events_behind(labels_of(value), flow.trace, "score")


def _single(value: Value) -> bool:
    return any(operation(node) in _SINGLE for node in data_in(value))


def _stacked(node: Data) -> list[Data]:
    """The members of a stack (or a list) of which some are taken by rank."""
    base = node.args[0] if node.args else None
    if isinstance(base, Data) and operation(base) in _STACKS and base.args:
        base = base.args[0]
        return data_in(base)
    return data_in(base) if isinstance(base, Seq) and base.kind in ("list", "tuple") else []
