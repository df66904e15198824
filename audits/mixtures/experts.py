"""What is mixed: log-probabilities that are none, bonuses that nobody pays for."""

from __future__ import annotations

from dataclasses import dataclass

from audits.mixtures.counts import target_nodes
from audits.mixtures.flow import ELEMENTWISE, LOGARITHMS, Flow, data_in, from_validation, is_scored, meeting
from verifier.program.queries import operation
from verifier.program.values import Data, Seq

_STACKS = frozenset({"stack", "cat", "concatenate", "array", "vstack", "hstack"})
_LINEAR = frozenset(
    {
        "neg",
        "+",
        "-",
        "*",
        "unsqueeze",
        "squeeze",
        "to",
        "float",
        "double",
        "exp",
        "sum",
        "clamp",
        "view",
        "reshape",
        "clip",
        "astype",
    }
)
"""Steps between a stack of experts and the logarithm of their sum."""


@dataclass(frozen=True, slots=True)
class StrangeExpert:
    value: Data
    stack: Data
    logarithm: Data


@dataclass(frozen=True, slots=True)
class UnpaidBonus:
    hit: Data
    meets: Data


def strange_experts(flow: Flow) -> list[StrangeExpert]:
    """Members of a stack of log-probabilities under a logarithm of their sum that no target enters but the model does."""
    targets = target_nodes(flow)
    found: dict[object, StrangeExpert] = {}
    for logarithm in flow.logarithms:
        for stack in flow.walk([logarithm], lambda node, top=logarithm: _linear(flow, node, top)):  # type: ignore[misc]
            items = stack.args[0].items if operation(stack) in _STACKS and stack.args and isinstance(stack.args[0], Seq) else []
            members = [node for item in items for node in data_in(item)]
            if len(members) < 2 or not any(_aimed(flow, node, targets) for node in members):
                continue
            for member in members:
                if (
                    from_validation(member)
                    and not is_scored(member)
                    and _from_model(member)
                    and not _aimed(flow, member, targets)
                ):
                    found.setdefault(member.site, StrangeExpert(member, stack, logarithm))
    return list(found.values())


def _linear(flow: Flow, node: Data, top: Data) -> tuple[Data, ...]:
    return flow.inputs(node) if node is top or operation(node) in _LINEAR else ()


def _aimed(flow: Flow, node: Data, targets: frozenset[int]) -> bool:
    return is_scored(node) or bool(flow.behind(node) & targets)


def _from_model(node: Data) -> bool:
    return any(label[0] == "model" for label in node.labels)


def unpaid_bonuses(flow: Flow) -> list[UnpaidBonus]:
    """Comparisons of the target with something predicted that are added to the score while no normalizer is."""
    targets = target_nodes(flow)
    found: dict[object, UnpaidBonus] = {}
    for hit in flow.nodes.values():
        if operation(hit) not in ("==", "eq", "equal") or is_scored(hit) or len(hit.args) < 2:
            continue
        sides = [data_in(value) for value in hit.args[:2]]
        aims = [any(id(one) in targets for node in side for one in flow.origin(node)) for side in sides]
        if aims[0] == aims[1]:
            continue
        other = sides[1] if aims[0] else sides[0]
        if not other or not all(from_validation(node) and not flow.is_token(node) for node in other):
            continue
        meets = meeting(flow, hit)
        if (
            meets is not None
            and operation(meets) in ("+", "-", "add", "sub", "where", "add_", "sub_")
            and not _normalized(flow, meets)
        ):
            found.setdefault(hit.site, UnpaidBonus(hit, meets))
    return list(found.values())


def _normalized(flow: Flow, meets: Data) -> bool:
    """Whether a logarithm or a softmax of something that the model says about the hint is part of the sum."""
    for node in flow.walk([meets], lambda one: flow.inputs(one) if operation(one) in ELEMENTWISE else ()):
        if operation(node) in LOGARITHMS and (is_scored(node) or _from_model(node)):
            return True
    around = [one for parent in flow.parents.get(id(meets), ()) for one in flow.inputs(parent)]
    return any(
        operation(node) in LOGARITHMS and (is_scored(node) or _from_model(node))
        for node in flow.walk(around, lambda one: flow.inputs(one) if operation(one) in ELEMENTWISE else ())
    )
