"""Choices between several scores of the same tokens."""

from __future__ import annotations

from dataclasses import dataclass

from audits.mixtures.flow import Flow, data_in, operation
from verifier.program.events import Event
from verifier.program.queries import events_behind
from verifier.program.values import Data, Value, labels_of

_LEAST = frozenset({"minimum", "fmin", "min", "amin", "min_"})
_MOST = frozenset({"maximum", "fmax", "max", "amax"})
_SINGLE = frozenset({"mean", "sum", "item", "float"})
"""Steps after which a value no longer stands for one token."""


@dataclass(frozen=True, slots=True)
class Choice:
    event: Event
    how: str
    scores: tuple[Event, ...]


def chosen_scores(flow: Flow) -> list[Choice]:
    """Elementwise minima (of losses), maxima (of probabilities) and choices by comparison over different losses of the same tokens,
    behind the headline."""
    found: dict[object, Choice] = {}
    for node in flow.nodes.values():
        how = operation(node)
        if how not in _LEAST | _MOST | {"where"} or not node.op.startswith(("call:torch.", "call:numpy.", ".")):
            continue
        sides = [_scores(flow, value) for value in node.args if not _single(value)]
        if how in ("min", "max", "amin", "amax", "min_"):
            sides = _stacked(flow, node)
        if how == "where":
            sides = sides[1:] if len(node.args) == 3 and _scores(flow, node.args[0]) else []
        distinct = [side for side in sides if side]
        if len(distinct) < 2 or any(set(distinct[0]) == set(side) for side in distinct[1:]):
            continue
        event = next((one for one in flow.trace.of("select") if one.site == node.site), None)
        if event is not None:
            scores = tuple(dict.fromkeys(score for side in distinct for score in side))
            found.setdefault(node.site, Choice(event, how, scores))
    return list(found.values())


def _scores(flow: Flow, value: Value) -> tuple[Event, ...]:
    return events_behind(labels_of(value), flow.trace, "score")


def _single(value: Value) -> bool:
    return any(operation(node) in _SINGLE for node in data_in(value))


def _stacked(flow: Flow, node: Data) -> list[tuple[Event, ...]]:
    """The members of a stack whose least or greatest is taken."""
    if not node.args or not isinstance(node.args[0], Data) or operation(node.args[0]) not in ("stack", "cat", "array"):
        return []
    return [_scores(flow, one) for value in node.args[0].args[:1] for one in data_in(value) if not _single(one)]
