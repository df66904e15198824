"""What the logs show of the run decides where settings are not known."""

from __future__ import annotations

import ast

import pytest

from verifier.program.witness import LogLine, witness_branches

SCRIPT = """\
use_extra = args.extra_enabled and stage == 2
log0(f"evaluation starts with stride={args.stride}"
     f"{f' extra_rate={args.extra_rate}' if use_extra else ''}")
if use_extra:
    adapt(model)
if args.average_enabled:
    log0("averaging the weights of the last steps")
"""


def witnessed(*lines: str) -> dict[str, bool]:
    logged = [LogLine("train.log", number, text) for number, text in enumerate(lines, 1)]
    found = witness_branches([("train_gpt.py", 0, ast.parse(SCRIPT))], logged)
    return {name: switch.on for name, switch in found.switches.items()}


def test_a_conditional_part_of_a_logged_text_tells_the_switch() -> None:
    assert witnessed("evaluation starts with stride=64 extra_rate=0.1") == {"use_extra": True, "extra_enabled": True}


def test_a_logged_text_without_its_conditional_part_tells_what_is_tested_itself() -> None:
    # `a and b` was false: which of both is not known.
    assert witnessed("evaluation starts with stride=64") == {"use_extra": False}


@pytest.mark.parametrize("lines", [(), ("some other text",), ("evaluation of something",)])
def test_other_lines_tell_nothing(lines: tuple[str, ...]) -> None:
    assert witnessed(*lines) == {}


def test_lines_that_contradict_each_other_tell_nothing() -> None:
    assert witnessed("evaluation starts with stride=64", "evaluation starts with stride=64 extra_rate=0.1") == {}


def test_the_print_of_a_branch_tells_its_condition() -> None:
    assert witnessed("averaging the weights of the last steps") == {"average_enabled": True}


def test_the_conditions_that_test_a_switch_are_known() -> None:
    line = LogLine("train.log", 7, "evaluation starts with stride=64 extra_rate=0.1")
    switch = witness_branches([("train_gpt.py", 0, ast.parse(SCRIPT))], [line]).switches["extra_enabled"]
    assert [site.line for site in switch.tests] == [4]
    assert str(switch.line.location) == "train.log:7"
