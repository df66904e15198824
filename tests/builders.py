"""Small objects for tests: an empty submission, a context, a rule."""

from __future__ import annotations

from collections.abc import Callable

from verifier.challenge.load import load_challenge
from verifier.engine.context import Context
from verifier.rule import Decision, Level, Outcome, Rule, Tier
from verifier.submission.script import Program
from verifier.submission.submission import Submission, Track


def empty_submission(track: Track | None = Track.TEN_MINUTES) -> Submission:
    return Submission(
        path="records/track_10min_16mb/2026-04-30_Empty",
        track=track,
        files=(),
        metadata=(),
        readmes=(),
        logs=(),
        program=Program(main=None, main_reason="", members=(), others=(), missing_imports=()),
        binaries=(),
        first_commit=None,
        problems=(),
    )


def context(track: Track | None = Track.TEN_MINUTES) -> Context:
    return Context(empty_submission(track), load_challenge())


def rule(
    code: str,
    check: Callable[[Context], Decision],
    *,
    level: Level = Level.ERROR,
    tier: Tier = Tier.STATIC,
    at_most: Outcome = Outcome.FAIL,
    record_track_only: bool = False,
) -> Rule:
    return Rule(
        code=code,
        name="a-rule",
        level=level,
        summary="finds something",
        why="because",
        example="violation: this\nlegal: that",
        settles="a look",
        sources=("https://github.com/openai/parameter-golf#readme",),
        check=check,
        tier=tier,
        at_most=at_most,
        record_track_only=record_track_only,
    )
