"""What the logs show of the run decides where settings are not known."""

from __future__ import annotations

import ast

import pytest

from verifier.program.witness import LogLine, witness_branches
from verifier.submission.python_tree import index_tree

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
    found = witness_branches([("train_gpt.py", 0, index_tree(ast.parse(SCRIPT)))], logged)
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
    switch = witness_branches([("train_gpt.py", 0, index_tree(ast.parse(SCRIPT)))], [line]).switches["extra_enabled"]
    assert [site.line for site in switch.tests] == [4]
    assert str(switch.line.location) == "train.log:7"


def decided(script: str, *lines: str) -> dict[int, bool]:
    """The lines of the conditions that these log lines decide, with the value that they had."""
    logged = [LogLine("train.log", number, text) for number, text in enumerate(lines, 1)]
    found = witness_branches([("train_gpt.py", 0, index_tree(ast.parse(script)))], logged)
    return {site.line: truth for site, truth in found.ran.items()}


@pytest.mark.parametrize(
    ("script", "line"),
    [
        # One line of a log tells that the condition held once: the loop went on until then.
        (
            "for epoch in range(20):\n if epoch > 0 and elapsed() > 60:\n  log('stopped before epoch', epoch)\n  break\n learn()",
            2,
        ),
        ("while True:\n left = clock()\n if left < 5:\n  log('out of time for another pass')\n  break\n learn()", 3),
        ("for part in parts:\n if part.last:\n  log('the last part is scored only')\n  break\n learn(part)", 2),
        # Called twice: once with the words, once without.
        ("def score(adapt):\n if adapt:\n  log('adapting to each chunk')\nscore(False)\nscore(True)", 2),
        # Off at first, then on.
        ("state.on = False\ntrain()\nstate.on = True\ndef act():\n if state.on:\n  log('averaging is switched on')", 5),
    ],
)
def test_a_line_of_a_log_tells_of_one_time_only(script: str, line: int) -> None:
    said = ("stopped before epoch 7", "out of time for another pass", "the last part is scored only", "adapting to each chunk")
    assert line not in decided(script, *said, "averaging is switched on")


@pytest.mark.parametrize(
    "script",
    [
        "for epoch in range(20):\n if args.adapt:\n  log('adapting to each chunk')\n  learn()",
        "def score(args, adapt):\n if args.adapt:\n  log('adapting to each chunk')\nscore(args, False)\nscore(args, True)",
        "def score(adapt):\n if adapt:\n  log('adapting to each chunk')\nscore(flag)",
        "for i in range(9):\n def go(adapt):\n  if adapt:\n   log('adapting to each chunk')",
    ],
)
def test_a_condition_that_stays_is_decided(script: str) -> None:
    assert list(decided(script, "adapting to each chunk").values()) == [True]


SKIPPING = """\
if only_scores:
    log("nothing is trained, the weights come from a file")
    log(f"rate_of_decay: {args.decay}")
else:
    train()
"""


def test_a_branch_that_would_have_said_more_did_not_run() -> None:
    assert decided(SKIPPING, "rate_of_decay: 0.5") == {}
    assert decided(SKIPPING, "nothing is trained, the weights come from a file", "rate_of_decay: 0.5") == {1: True}


def test_a_run_that_went_there_need_not_have_said_all_that_comes_after() -> None:
    script = "if on:\n log('adapting to each chunk')\n learn()\n log('adapted to everything at last')"
    assert decided(script, "adapting to each chunk") == {1: True}
    logged = [LogLine("train.log", 1, "adapted to everything at last"), LogLine("train.log", 2, "start of it all")]
    script += "\nlog('start of it all')"
    found = witness_branches([("train_gpt.py", 0, index_tree(ast.parse(script)))], logged)
    assert (found.ran, found.silent) == ({}, frozenset())  # it says too little for a proof, and too much for silence


def test_what_is_printed_by_other_means_or_at_times_need_not_be_there() -> None:
    script = "if on:\n print('for the terminal only')\n log('adapting to each chunk')\n if slow:\n  log('this takes a while')"
    assert decided(script, "adapting to each chunk") == {1: True}
