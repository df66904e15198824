"""Counters that evaluations log, and targets that are numbered by their own token."""

from __future__ import annotations

from fixtures.program.scoring_script import LOOP, PER_TOKEN, RUN, case, setting
from tests.program.judge import judge, result_of
from verifier.report.model import RuleResult

HEAD, CUT, SHIFT, SCORE, COUNT = LOOP.splitlines(keepends=True)
ROUNDS = 60_568
"""Windows of 1,024 targets in the stream."""
COUNTED = (
    "        rounds = (len(tokens) - 1) // args.train_seq_len\n        for at in range(rounds):\n"
    "            if args.most > 0 and count >= args.most:\n                break\n"
    "            start = at * args.train_seq_len\n"
    + CUT
    + SHIFT
    + SCORE
    + COUNT
    + '            if at > 0 and at % {every} == 0:\n                print(f"final scoring at:{shown}/{{rounds}} nats:{{nats / count:.4f}}")\n'
)
ANCHOR = "Total submission size int8+zlib"
MOST = setting('most = int(os.environ.get("MOST_TOKENS", 0))')


def counted(
    lines: int, world: int = 1, every: str = "500", shown: str = "{at}", first: int = 500, ratio: float = 2.4376
) -> RuleResult:
    printed = [f"final scoring at:{first + number * 500}/{ROUNDS} nats:2.0411" for number in range(lines)]
    built = case(
        "Counted",
        MOST,
        (LOOP, COUNTED.format(every=every, shown=shown)),
        world_size=world,
        bytes_per_token=ratio,
        log_lines=tuple((ANCHOR, line) for line in reversed(printed)),
    )
    return result_of(judge(built, "EVA001"), "EVA001")


def test_a_counter_that_stops_far_before_its_total_is_for_a_human() -> None:
    answer = counted(15)
    assert answer.outcome.value == "review"
    assert "of 60,568" in answer.reason


def test_a_counter_that_comes_to_its_end_is_not_asked_about() -> None:
    assert "counter" not in counted(121).reason


def test_figures_of_the_whole_set_outweigh_a_counter() -> None:
    assert "counter" not in counted(15, ratio=151_080_891 / 62_021_632).reason


def test_processes_that_may_count_their_own_share_are_not_asked_about() -> None:
    assert "counter" not in counted(15, world=8).reason


def test_a_number_that_does_not_count_rounds_is_not_asked_about() -> None:
    assert "counter" not in counted(15, shown="{at * 16}").reason
    assert "counter" not in counted(15, every="args.most").reason


def test_another_loop_s_counter_says_nothing_about_the_score() -> None:
    other = f'    for at in range({ROUNDS}):\n        if at % 500 == 0:\n            print(f"warming at:{{at}}/{ROUNDS}")\n'
    printed = ((ANCHOR, f"warming at:500/{ROUNDS}"),)
    built = case("Warming", (RUN, other + RUN), world_size=1, bytes_per_token=2.4376, log_lines=printed)
    assert "counter" not in result_of(judge(built, "EVA001"), "EVA001").reason


OWN_NUMBER = """\
        whole = len(tokens)
        windows = [at for at in range(0, whole, 512)]
        for at in windows:
            end = min(at + args.train_seq_len, whole)
            chunk = tokens[at:end][None]
            losses = model(chunk, chunk).view(-1)
            skip = {first} if at == 0 else max(end - at - 512, 0)
            if end - at - skip <= 0:
                continue
            part = losses[skip : end - at]
            nats += part.sum().item()
            count += end - at - skip
"""


def windows(first: str) -> RuleResult:
    built = case("OwnNumber", *PER_TOKEN, (LOOP, OWN_NUMBER.format(first=first)))
    return result_of(judge(built, "EVA002"), "EVA002")


def test_the_first_token_is_no_target_where_each_token_is_its_own() -> None:
    assert windows("1").outcome.value == "pass"


def test_a_gap_after_the_first_token_is_one() -> None:
    assert windows("2").outcome.value == "fail"
