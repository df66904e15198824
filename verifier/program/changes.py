"""What the steps of optimizers change."""

from __future__ import annotations

from collections.abc import Iterable

from verifier.program.events import Event
from verifier.program.queries import has_source, slice_of
from verifier.program.values import Data, Instance


def changes_adapters_only(step: Event, trained: frozenset[tuple[str, int]]) -> bool:
    """Whether a step changes single tensors beside those that training made, and no model as a whole (a copy of it may be that)."""
    changed = changed_by([step])
    return bool(trained) and not trained & changed and not any(kind == "model" for kind, _ in changed)


def changed_by(steps: Iterable[Event]) -> frozenset[tuple[str, int]]:
    """What optimizers change: single parameters, and models as a whole."""
    found: set[tuple[str, int]] = set()
    for step in steps:
        for value in step.values:
            if isinstance(value, Instance) and value.is_module:
                found.add(("model", value.top.serial))
            elif isinstance(value, Data):
                found.add(("tensor", id(value)))
                if value.op in ("parameters", "call:builtins.list", "element") or not has_source(step.tokens, "val"):
                    found |= {("model", part.top.serial) for part in _owners(value)}
    return frozenset(found)


def _owners(value: Data) -> list[Instance]:
    if value.owner is not None:
        return [value.owner]
    return [
        one for node in slice_of(value, 40) for one in (*node.args, node.owner) if isinstance(one, Instance) and one.is_module
    ]
