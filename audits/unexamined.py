"""Rules that this version declares but cannot decide: they answer `not-available`, so nothing passes unexamined."""

from __future__ import annotations

from verifier.engine.context import Context
from verifier.rule import Decision


def needs_program_analysis(context: Context) -> Decision:
    """The answer depends on what the script does, not on what the folder says about it."""
    return Decision.not_available("the script's data flow is not analysed by this version; read the script by hand for this rule")


def needs_byte_audit(context: Context) -> Decision:
    """The answer depends on the tokenizer's own bytes."""
    return Decision.not_available(
        "the tokenizer's byte table is not recomputed by this command; a strict byte audit would settle it"
    )


def needs_execution(context: Context) -> Decision:
    """The answer needs a run or an evaluation of the artifact."""
    return Decision.not_available("needs an execution; this command only reads")
