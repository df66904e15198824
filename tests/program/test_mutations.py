"""A rule judges what a script does: the same program in other words gets the same outcome.

CONTEST_VERIFIER_MUTATIONS=N applies the first N seeds to every case instead of the few of a normal run.
"""

from __future__ import annotations

import ast
import os
import zlib
from collections import Counter

import pytest

from fixtures.program import ProgramCase
from fixtures.program_cases import PROGRAM_CASES
from fixtures.record import Record, files_of
from tests.program.judge import CHALLENGE, MemorySource, judge, result_of
from tests.program.mutate import MUTATIONS, mutate_record, plan
from verifier.engine.context import Context
from verifier.limits import DEFAULT_LIMITS
from verifier.program.analysis import analysis_of
from verifier.rule import Outcome
from verifier.submission.load import load_submission

WANTED = int(os.environ.get("CONTEST_VERIFIER_MUTATIONS", "0"))
ABOUT_THE_TEXT = frozenset({"CLM010", "COD001", "COD002", "COD003", "COD004", "COD005"})
"""Rules about names or about what stands next to each other in one function: a rewritten text rightly changes what they find."""

COMPUTED = frozenset({"EVA002", "EVA004", "BYT001"})
"""Rules that compute the windows of an evaluation loop or a byte table from its form: what is rewritten may be out of their reach,
never otherwise."""


def can_be_rewritten(case: ProgramCase) -> bool:
    """Some cases are about scripts that no one can parse."""
    try:
        ast.parse(case.record.script)
    except (SyntaxError, ValueError):
        return False
    return case.rule not in ABOUT_THE_TEXT


CASES = tuple(filter(can_be_rewritten, PROGRAM_CASES))


def seeds_of(case: ProgramCase) -> tuple[int, ...]:
    """One single rewrite, which one depends on the case, and one sequence; all of the first N when N is set."""
    start = zlib.crc32(f"{case.rule}-{case.slug}".encode())
    return tuple(range(WANTED)) or (start % len(MUTATIONS), len(MUTATIONS) + start % 1000)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.rule}-{case.slug}")
def test_the_outcome_does_not_depend_on_the_wording(case: ProgramCase) -> None:
    changed = {}
    for seed in seeds_of(case):
        answer = result_of(judge(mutate_record(case.record, seed), case.rule), case.rule)
        out_of_reach = case.rule in COMPUTED and answer.outcome is Outcome.NOT_AVAILABLE
        if answer.outcome.value != case.expected and not out_of_reach:
            changed[f"seed {seed}: {'+'.join(plan(seed))}"] = f"{answer.outcome.value}: {answer.reason}"
    assert changed == {}, f"expected {case.expected}"


def events_of(record: Record) -> Counter[tuple[object, ...]]:
    """What the trace tells apart from names and places."""
    submission = load_submission(MemorySource(f"records/{record.path}", files_of(record)), DEFAULT_LIMITS, None)
    trace = analysis_of(Context(submission, CHALLENGE)).run
    assert not trace.incomplete
    return Counter(
        (event.kind, event.certain, event.grad, bool(event.loops), frozenset(label[0] for label in event.labels))
        for event in trace.events
    )


@pytest.mark.parametrize("seed", [*range(len(MUTATIONS)), 11, 12, 13])
def test_the_clean_script_does_the_same_in_other_words(seed: int) -> None:
    assert events_of(mutate_record(Record(), seed)) == events_of(Record())
