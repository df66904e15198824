"""Second passes: tokens that were scored by a first pass are scored again with what it learned."""

from __future__ import annotations

from audits.adaptation.order import EARLIER, WHOLE, Adaptation, Use, relation_of
from verifier.program.queries import has_source


def is_second_pass(adaptation: Adaptation, use: Use) -> bool:
    """Whether the update belongs to a pass that scored its chunks first, and the headline comes from a later pass."""
    if use.relation != WHOLE:
        return False
    update = use.update
    for event in adaptation.trace.events[: update.index]:
        if event.kind != "loss" or event.grad or not has_source(event.tokens, "val"):
            continue
        together = set(event.loops) & set(update.loops)
        if together and relation_of(event, update) != EARLIER and any(("loop", *one) in event.tokens for one in together):
            return True
    return False
