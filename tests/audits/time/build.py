"""Contexts with nothing but logs."""

from __future__ import annotations

from dataclasses import replace

from tests.builders import empty_submission
from verifier.challenge.load import load_challenge
from verifier.engine.context import Context
from verifier.rule import Decision, Rule
from verifier.submission.logs.reader import read_logs
from verifier.submission.submission import Track


def decide(rule: Rule, *logs: str, track: Track = Track.TEN_MINUTES) -> Decision:
    """The rule's answer for a folder that holds these logs."""
    files = [(f"train_{number}.log", text.encode()) for number, text in enumerate(logs)]
    return rule.decide(Context(replace(empty_submission(track), logs=read_logs(files)), load_challenge()))
