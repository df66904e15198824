"""Gates that look at the token being predicted: tables of token properties, tests of its number."""

from __future__ import annotations

from dataclasses import dataclass

from audits.mixtures.counts import scores_behind, scores_of_node, target_nodes
from audits.mixtures.flow import ELEMENTWISE, Flow, Lookup, data_in, from_validation, is_scored, meeting
from audits.mixtures.rows import WIDE
from verifier.program.queries import operation
from verifier.program.values import Data, Value

_SCALES = frozenset({"*", "/", "mul", "div", "multiply", "divide", "true_divide", "**", "pow", "mul_", "div_"})
_DIVIDES = frozenset({"/", "div", "divide", "true_divide"})
_TESTS = frozenset(
    {">", "<", ">=", "<=", "==", "!=", "~", "&", "|", "not", "and", "or", "logical_and", "logical_or", "logical_not"}
)
_TESTED = frozenset({"<", "<=", ">", ">=", "==", "!=", "lt", "le", "gt", "ge", "eq", "ne", "%", "remainder", "fmod"})
_COUNTS = frozenset(
    {
        "bincount",
        "histc",
        "histogram",
        "histogram2d",
        "unique",
        "scatter_add",
        "scatter_add_",
        "index_put_",
        "index_add",
        "index_add_",
    }
)
_NORMALIZES = frozenset({"softmax", "log_softmax", "normalize"})
_TOTALS = frozenset({"logsumexp", "sum", "softmax", "log_softmax"})
_LOGARITHMS = frozenset({"log", "log2", "log10", "log1p"})


@dataclass(frozen=True, slots=True)
class TargetGate:
    """Where a property of the target is read (`place`, with the lookup if it comes from a table) and where it meets the target's
    score. `doubt`: what keeps it from being certain that it is a property, and that it matters."""

    place: Data
    lookup: Lookup | None
    meets: Data
    doubt: str = ""


def target_gates(flow: Flow) -> list[TargetGate]:
    """Gates by a table before those by the number of the token itself."""
    return [*_gated_lookups(flow), *_heated_predictions(flow), *_gated_numbers(flow)]


def _gated_lookups(flow: Flow) -> list[TargetGate]:
    targets = target_nodes(flow)
    found: dict[object, TargetGate] = {}
    for lookup in flow.lookups:
        if is_scored(lookup.result) or not _is_table(lookup) or not _at_target(flow, lookup.key, targets):
            continue
        meets = meeting(flow, lookup.result)
        if meets is None or not _adds(flow, meets, lookup.result):
            continue
        if not _at_target(flow, lookup.key, target_nodes(flow, scores_of_node(flow, meets))):  # the target of an earlier loss
            continue
        if (doubt := _why_not_a_gate(flow, lookup, meets)) is not None:
            found.setdefault(lookup.site, TargetGate(lookup.result, lookup, meets, doubt))
    return list(found.values())


def _heated_predictions(flow: Flow) -> list[TargetGate]:
    """Tables (and numbers) read at the very target of a loss that scale or shift what predicts it, as a temperature does."""
    found: dict[object, TargetGate] = {}
    read = {id(lookup.result): lookup for lookup in flow.lookups if _is_table(lookup)}
    for event in scores_behind(flow):
        if len(event.values) < 3 or not isinstance(event.values[0], Data):
            continue
        near = flow.walk(data_in(event.values[1]), lambda node: _valued(flow, node))
        targets = target_nodes(flow, (event,))
        for node in near:
            lookup = read.get(id(node))
            key = lookup.key if lookup is not None else _tested(node)
            if key is None or not _at_target(flow, key, targets) or (lookup is not None and _holds_shares(flow, lookup)):
                continue
            certain = lookup is not None and any(_scales(flow, one, node) for one in near)
            doubt = "" if certain else "whether it changes one token's logit more than another's"
            found.setdefault(node.site, TargetGate(node, lookup, event.values[0], doubt))
    return list(found.values())


def _scales(flow: Flow, product: Data, gate: Data) -> bool:
    """Whether a gate is a factor of what a model says."""
    if operation(product) not in _SCALES or len(product.args) < 2:
        return False
    sides = [data_in(value) for value in product.args[:2]]
    return any(
        any(_from_model(node) for node in mine) and any(id(gate) in flow.behind(node) and not _from_model(node) for node in other)
        for mine, other in (sides, reversed(sides))
    )


def _gated_numbers(flow: Flow) -> list[TargetGate]:
    """Tests of the target's own number (`y < 256`) that are added to its score."""
    targets = target_nodes(flow)
    found: dict[object, TargetGate] = {}
    for node in flow.nodes.values():
        key = _tested(node)
        if key is None or is_scored(node) or not _at_target(flow, key, targets):
            continue
        meets = meeting(flow, node)
        if meets is None or operation(meets) not in ("+", "-", "add", "sub"):
            continue
        if _at_target(flow, key, target_nodes(flow, scores_of_node(flow, meets))):
            found.setdefault(node.site, TargetGate(node, None, meets, "whether other tokens pay for what is added here"))
    return list(found.values())


def _tested(node: Data) -> Data | None:
    """What is compared with a number, or taken modulo one."""
    if operation(node) not in _TESTED or len(node.args) < 2:
        return None
    sides = [data_in(value) for value in node.args[:2]]
    if len(sides[0]) != 1 or len(sides[1]) != 1 or not (sides[0][0].known or sides[1][0].known):
        return None
    return sides[1][0] if sides[0][0].known else sides[0][0]


def _is_table(lookup: Lookup) -> bool:
    tables = data_in(lookup.table)
    return bool(tables) and not any(from_validation(node) or _from_model(node) for node in tables)


def _from_model(node: Data) -> bool:
    return any(label[0] == "model" for label in node.labels)


def _at_target(flow: Flow, key: Value, targets: frozenset[int]) -> bool:
    """Whether a key is the target at its own place: a slice or a shift of it (`y[:-1]`) is of other tokens."""

    def back(node: Data) -> tuple[Data, ...]:
        if id(node) in targets or _is_cut(node):
            return ()
        return tuple(one for one in flow.handed_on(node) if from_validation(one))

    tokens = [one for one in data_in(key) if flow.is_token(one)]
    return any(id(node) in targets for node in flow.walk(tokens, back))


def _is_cut(node: Data) -> bool:
    """Whether a slice starts or ends at a known place."""
    places = [place for value in node.args[1:] for place in data_in(value)] if operation(node) == "index" else []
    bounds = [bound for place in places if place.op == "slice" for value in place.args[:2] for bound in data_in(value)]
    return any(bound.known and bool(bound.const) for bound in bounds)


def _valued(flow: Flow, node: Data) -> tuple[Data, ...]:
    """What a number was computed from, element by element; what only chooses elements for a breakdown is left out."""
    if operation(node) not in ELEMENTWISE and operation(node) not in WIDE:
        return ()
    return tuple(data_in(node.args[0])) if operation(node) == "index" and node.args else flow.inputs(node)


def _adds(flow: Flow, meets: Data, gate: Data) -> bool:
    """Whether the gate changes what is added to a score or mixed with a probability. A mask that only leaves targets out, and a
    division by bytes, are other matters."""
    how = operation(meets)
    if how in ("+", "-", "add", "sub"):
        return True
    if how == "where":
        chosen = [node for value in meets.args[1:] for node in data_in(value)]
        return sum(is_scored(node) for node in chosen) > 1
    if how in ("*", "mul", "multiply"):
        return any(id(meets) in flow.behind(one) for one in flow.logarithms)
    return False


def _why_not_a_gate(flow: Flow, lookup: Lookup, meets: Data) -> str | None:
    """Empty when a property of the target decides; None when the table holds the shares of a distribution, which the target is
    looked up in as in any other; else what is to be settled."""
    if _normalized_over(flow, lookup, meets):
        return None
    mixed = operation(meets) in ("+", "add") and _within_logarithm(flow, meets)
    if _holds_shares(flow, lookup):
        return None if mixed else "whether the product or sum of the two experts is divided by its total over the alphabet"
    return "whether the quotients of all tokens sum to one" if mixed and _is_divided(flow, lookup, meets) else ""


def _holds_shares(flow: Flow, lookup: Lookup) -> bool:
    """Whether a table is made of counts or normalized. A comparison of such numbers (`counts < 100`) is a property again."""
    made = flow.walk(data_in(lookup.table), lambda node: _computed(flow, node))
    return any(operation(node) in _COUNTS or _is_normalized(flow, node) for node in made)


def _is_normalized(flow: Flow, node: Data) -> bool:
    """Whether something is divided by a total."""
    if operation(node) not in _DIVIDES or len(node.args) < 2:
        return operation(node) in _NORMALIZES
    under = flow.walk(data_in(node.args[1]), lambda one: _computed(flow, one))
    return any(operation(one) in _TOTALS | _COUNTS for one in under)


def _is_divided(flow: Flow, lookup: Lookup, meets: Data) -> bool:
    """Whether what a table gives is divided by a number that is not fixed, on its way to the score."""
    above = [
        node
        for quotient in flow.walk([meets], lambda one: _computed(flow, one))
        if operation(quotient) in _DIVIDES and len(quotient.args) > 1 and not any(one.known for one in data_in(quotient.args[1]))
        for node in data_in(quotient.args[0])
    ]
    return any(one is lookup.result for one in flow.walk(above, lambda each: _computed(flow, each)))


def _computed(flow: Flow, node: Data) -> tuple[Data, ...]:
    return flow.inputs(node) if operation(node) in ELEMENTWISE - _TESTS else ()


def _normalized_over(flow: Flow, lookup: Lookup, meets: Data) -> bool:
    """Whether a sum over the alphabet that holds the whole table (not its entry) is part of the score."""
    tables = {id(node) for node in data_in(lookup.table)}
    above = flow.walk([meets], lambda node: [one for one in flow.parents.get(id(node), ()) if operation(one) in ELEMENTWISE])
    near = flow.walk(above, lambda node: flow.inputs(node) if operation(node) in ELEMENTWISE else ())
    for node in near:
        if operation(node) in _TOTALS and _from_model(node):
            inside = flow.walk([node], lambda one: () if one is lookup.result else flow.inputs(one))
            if any(id(one) in tables for one in inside):
                return True
    return False


def _within_logarithm(flow: Flow, node: Data) -> bool:
    """Whether a sum is one of probabilities: its logarithm is taken next."""
    pending, seen = [node], {id(node)}
    while pending:
        for parent in flow.parents.get(id(pending.pop()), ()):
            if operation(parent) in _LOGARITHMS:
                return True
            if id(parent) not in seen and operation(parent) in ELEMENTWISE - {"exp"}:
                seen.add(id(parent))
                pending.append(parent)
    return False
