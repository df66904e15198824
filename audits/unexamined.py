"""What rules answer that need more than reading: `not-available`, so nothing passes unexamined."""

from __future__ import annotations

from verifier.engine.context import Context
from verifier.rule import Decision


def needs_execution(context: Context) -> Decision:
    """The answer needs a run or an evaluation of the artifact."""
    return Decision.not_available("needs an execution; this command only reads")
