"""EVA001 and the script: a loop that leaves a part of the text out is for a human, one that goes to its end is not accused."""

from __future__ import annotations

import pytest

from fixtures.program.scoring_script import EVALUATE, LOOP, RUN, VAL, case, setting
from tests.program.judge import judge, result_of
from verifier.report.model import RuleResult

HEAD, CUT, SHIFT, SCORE, COUNT = LOOP.splitlines(keepends=True)
BODY = CUT + SHIFT + SCORE + COUNT
NEAR = {"bytes_per_token": 2.4376}
"""Near the figures of the whole set, which are the default: those of a good sample."""
PIECES = '''\
def pieces(tokens, size):
    """Inputs and targets of consecutive stretches of text."""
    for start in range(0, len(tokens) - 1, size):
        stretch = tokens[start : start + size + 1]
        yield stretch[:-1][None], stretch[1:][None]


'''
IMPORT = ("import zlib\n", "import random\nimport zlib\nfrom itertools import islice, takewhile\n")


def judged(*changes: tuple[str, str], rule: str = "EVA001", exact: bool = False) -> RuleResult:
    return result_of(judge(case("Parts", IMPORT, *changes, **({} if exact else NEAR)), rule), rule)


def loop(head: str, before: str = "", within: str = "", after: str = "") -> tuple[str, str]:
    """Another loop: its first lines, what comes before it, before the score and after it."""
    return LOOP, before + (head or HEAD) + CUT + SHIFT + within + SCORE + COUNT + after


def over(source: str, within: str = "", before: str = "", target: str = "x, y") -> tuple[tuple[str, str], ...]:
    """A loop over the pieces of a generator."""
    made = before + f"        for {target} in {source}:\n" + within + SCORE + COUNT
    return (EVALUATE, PIECES + EVALUATE), (LOOP, made)


ROWS_OF_SOME = """\
        rows = (len(tokens) - 1) // 1024
        inputs = tokens[: rows * 1024].view(-1, 1024)[:500]
        targets = tokens[1 : rows * 1024 + 1].view(-1, 1024)[:500]
        for first in range(0, len(inputs), 16):
            x, y = inputs[first : first + 16], targets[first : first + 16]
            nats += model(x, y).item()
            count += y.numel()
"""
STARTS = "        starts = list(range(0, len(tokens) - 1, args.train_seq_len))\n"
OVER_STARTS = "        for start in {}:\n"
LEFT_OUT = {
    "some-rows": ((LOOP, ROWS_OF_SOME),),
    "narrowed": ((RUN, "    part = val.narrow(0, 0, len(val) // 10)\n" + RUN.replace("model, val,", "model, part,")),),
    "one-part-of-ten": ((RUN, "    part = val.chunk(10)[0]\n" + RUN.replace("model, val,", "model, part,")),),
    "some-of-the-file": (("offset=1024)", "offset=1024, count=1_000_000)"),),
    "as-long-as": (loop("        for start in takewhile(lambda at: at < 1_000_000, range(0, len(tokens) - 1, args.train_seq_len)):\n"),),
    "as-many-as-were-kept": (loop("", "        kept = []\n", "            kept.append(start)\n            if len(kept) > 500:\n                break\n"),),
    "capped-by-name": (loop("", "        number, most = 0, min(500, len(tokens))\n", "            number += 1\n            if number > most:\n                break\n"),),
    "number-then-break": over("enumerate(pieces(tokens, 2048))", "            if number >= 500:\n                break\n", target="number, (x, y)"),
    "islice": over("islice(pieces(tokens, 2048), 500)"),
    "every-tenth": over("enumerate(pieces(tokens, 2048))", "            if number % 10:\n                continue\n", target="number, (x, y)"),
    "by-the-clock": over("pieces(tokens, 2048)", "            if time.perf_counter() - began > 60:\n                break\n", "        began = time.perf_counter()\n"),
    "by-a-flag": over("pieces(tokens, 2048)", "            late = time.perf_counter() - began > 60\n            if late:\n                break\n", "        began = time.perf_counter()\n"),
    "zipped-with-a-range": over("zip(range(500), pieces(tokens, 2048))", target="_, (x, y)"),
    "in-the-generator": ((EVALUATE, PIECES.replace("        stretch =", "        if start >= 1_000_000:\n            return\n        stretch =") + EVALUATE), over("pieces(tokens, 2048)")[1]),
    "yields-some": ((EVALUATE, PIECES.replace("        yield", "        if start // size % 10 == 0:\n            yield") + EVALUATE), over("pieces(tokens, 2048)")[1]),
    "by-chance": over("pieces(tokens, 2048)", "            if random.random() < 0.9:\n                continue\n"),
    "first-starts": (loop(OVER_STARTS.format("starts[:500]"), STARTS),),
    "first-starts-by-name": (loop(OVER_STARTS.format("chosen"), STARTS + "        chosen = starts[: min(len(starts), 500)]\n"),),
    "a-share-of-the-starts": (loop(OVER_STARTS.format("starts[: len(starts) // 10]"), STARTS),),
    "every-tenth-start": (loop(OVER_STARTS.format("starts[::10]"), STARTS),),
    "chosen-starts": (loop(OVER_STARTS.format("random.sample(starts, 500)"), STARTS),),
    "listed-starts": (loop(OVER_STARTS.format("[at for at in starts if at < 1_000_000]"), STARTS),),
    "a-share-of-the-range": (loop("        for start in range(0, int(0.1 * len(tokens)), args.train_seq_len):\n"),),
    "a-share-of-the-stream": ((RUN, "    part = val[: len(val) // 10]\n" + RUN.replace("model, val,", "model, part,")),),
    "the-end-of-the-stream": ((RUN, "    part = val[-1_000_001:]\n" + RUN.replace("model, val,", "model, part,")),),
    "scored-below": (loop("", "        number = 0\n", "            number += 1\n            if number > 500:\n                continue\n"),),
    "counted-down": (loop("", "        left = 500\n", "            left -= 1\n            if left <= 0:\n                break\n"),),
    "a-parameter": (
        (EVALUATE, EVALUATE.replace("leading)", "leading, most=500)")),
        loop("", "        number = 0\n", "            number += 1\n            if number > most:\n                break\n"),
    ),
    "a-setting": (
        setting('most = int(os.environ.get("MOST", "500"))'),
        loop("", "        number = 0\n", "            if args.most > 0 and number >= args.most:\n                break\n            number += 1\n"),
    ),
    "while": (
        (
            LOOP,
            "        start = 0\n        while start < 1_000_000:\n" + BODY + "            start += args.train_seq_len\n",
        ),
    ),
    "returns": (loop("", "", "            if start > 1_000_000:\n                return nats / count, nats / (math.log(2) * count * 2.4)\n"),),
    "gradients-switched-off": (
        ("    with torch.no_grad():\n" + LOOP, "    torch.set_grad_enabled(False)\n    tokens = tokens[:1_000_001]\n    if True:\n" + LOOP),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LEFT_OUT)
def test_a_part_of_the_text_is_for_a_human(name: str) -> None:
    answer = judged(*LEFT_OUT[name])
    assert answer.outcome.value == "review", answer.reason


BY_HAND = """\
        start = 0
        while True:
            if start >= len(tokens) - 1:
                break
            size = min(args.train_seq_len, len(tokens) - 1 - start)
            if size < 1:
                break
            chunk = tokens[start : start + size + 1]
            x, y = chunk[:-1][None], chunk[1:][None]
            nats += model(x, y).item()
            count += y.numel()
            start += size
"""
DOCUMENTS = """\
        places = (tokens == 1).nonzero().flatten().tolist()
        spans = [(at, to) for at, to in zip(places, places[1:] + [len(tokens)]) if to - at > 1]
        for number, (at, to) in enumerate(spans):
            if to - at < 2:
                continue
            chunk = tokens[at:to]
            if chunk.numel() < 2:
                continue
            x, y = chunk[:-1][None], chunk[1:][None]
            nats += model(x, y).item()
            count += y.numel()
            if number % 100 == 0:
                print("at", number)
"""
SLIDING = """\
        total, size, stride = len(tokens) - 1, args.train_seq_len, 256
        starts = [at for at in range(0, total, stride) if min(at + size, total) - at >= stride or at == 0]
        rank, world = int(os.environ.get("RANK", 0)), 1
        for first in range(0, len(starts), 16):
            for start in starts[first : first + 16]:
                end = min(start + size, total)
                length = end - start
                if length < 1:
                    break
                chunk = tokens[start : end + 1]
                x, y = chunk[:-1][None], chunk[1:][None]
                nats += model(x, y).item()
                count += y.numel()
"""
SHARED_OUT = """\
        rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        starts = list(range(0, len(tokens) - 1, args.train_seq_len))
        for number in range(rank, len(starts), world):
            start = starts[number]
            if number % world != rank:
                continue
            chunk = tokens[start : start + args.train_seq_len + 1]
            x, y = chunk[:-1][None], chunk[1:][None]
            loss = model(x, y)
            dist.all_reduce(loss)
            nats += loss.item()
            count += world * y.numel()
"""
OWN_PART = """\
        rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        share = (len(tokens) - 1) // world
        tokens = tokens[rank * share : (rank + 1) * share + 1]
"""
QUEUE = """\
        waiting = list(range(0, len(tokens) - 1, args.train_seq_len))
        while waiting:
            rows, waiting = waiting[:16], waiting[16:]
            for start in rows:
                chunk = tokens[start : start + args.train_seq_len + 1]
                x, y = chunk[:-1][None], chunk[1:][None]
                nats += model(x, y).item()
                count += y.numel()
"""
NEXT = """\
        source = iter(pieces(tokens, 2048))
        while True:
            try:
                x, y = next(source)
            except StopIteration:
                break
            nats += model(x, y).item()
            count += y.numel()
"""
ROWS = """\
        rows = (len(tokens) - 1) // args.train_seq_len
        inputs = tokens[: rows * args.train_seq_len].view(-1, args.train_seq_len)
        targets = tokens[1 : rows * args.train_seq_len + 1].view(-1, args.train_seq_len)
        for first in range(0, rows, 16):
            x, y = inputs[first : first + 16], targets[first : first + 16]
            nats += model(x, y).item()
            count += y.numel()
"""
HALVES = """\
    half = len(val) // 2
    one, first = evaluate(args, model, val[: half + 1], base, leading)
    other, second = evaluate(args, model, val[half:], base, leading)
    val_loss, val_bpb = (one + other) / 2, (first + second) / 2
"""
PHASES = """\
        starts = list(range(0, len(tokens) - 1, args.train_seq_len))
        for part in (starts[: len(starts) // 2], starts[len(starts) // 2 :]):
            for start in part:
                chunk = tokens[start : start + args.train_seq_len + 1]
                x, y = chunk[:-1][None], chunk[1:][None]
                nats += model(x, y).item()
                count += y.numel()
"""
WHOLE = {
    "rows": ((LOOP, ROWS),),
    "both-halves": ((RUN, HALVES),),
    "phases": ((LOOP, PHASES),),
    "all-documents": ((LOOP, DOCUMENTS.replace("enumerate(spans)", "enumerate(spans[:50_000])")),),
    "no-limit-given": (
        (EVALUATE, EVALUATE.replace("leading)", "leading, most=None)")),
        loop("", "", "            if most is not None and start >= most:\n                break\n"),
    ),
    "unchanged": (),
    "used-up": ((LOOP, BY_HAND),),
    "documents": ((LOOP, DOCUMENTS),),
    "sliding": ((LOOP, SLIDING),),
    "shared-out": ((LOOP, SHARED_OUT),),
    "own-part": ((LOOP, OWN_PART + LOOP),),
    "queue": ((LOOP, QUEUE),),
    "short-ones": over("pieces(tokens, 2048)", "            if y.numel() < 1 or x is None:\n                continue\n"),
    "numbered": over("enumerate(pieces(tokens, 2048))", "            if number % 100 == 0:\n                print(number)\n", target="number, (x, y)"),
    "quick-look-before": (
        (
            RUN,
            "    for number, start in enumerate(range(0, len(val) - 1, 2048)):\n        if number >= 50:\n            break\n"
            "        with torch.no_grad():\n            quick = model(val[start : start + 2048][None], val[start + 1 : start + 2049][None])\n" + RUN,
        ),
    ),
    "no-limit": (
        setting('most = int(os.environ.get("MOST", "0"))'),
        loop("", "        number = 0\n", "            if args.most > 0 and number >= args.most:\n                break\n            number += 1\n"),
    ),
    "no-list-limit": (
        setting('most = int(os.environ.get("MOST", "0"))'),
        loop(OVER_STARTS.format("starts"), STARTS + "        if args.most:\n            starts = starts[: args.most]\n"),
    ),
    "more-than-there-are": (loop("", "        number = 0\n", "            if number >= 999_999:\n                break\n            number += 1\n"),),
    "after-the-score": (
        loop("", "        began = time.perf_counter()\n", "", "            if time.perf_counter() - began > 60:\n                continue\n            print(count)\n"),
    ),
    "whole-sequences": ((VAL, VAL + "\n    usable = (len(val) - 1) // 1024 * 1024\n    val = val[: usable + 1]"),),
    "until-none-is-left": ((EVALUATE, PIECES + EVALUATE), (LOOP, NEXT)),
    "every-one": over("islice(pieces(tokens, 2048), 0, None)"),
}  # fmt: skip


@pytest.mark.parametrize("name", WHOLE)
def test_the_whole_text_passes(name: str) -> None:
    answer = judged(*WHOLE[name])
    assert answer.outcome.value == "pass", answer.reason


FLAG = "            if number > 500:\n                going = False\n            if not going:\n                continue\n"
UNKNOWN = {
    "a-function": over("pieces(tokens, 2048)", "            if enough(count):\n                break\n"),
    "an-exception": over("pieces(tokens, 2048)", "            try:\n                check(x)\n            except RuntimeError:\n                break\n"),
    "a-flag": (loop("", "        number, going = 0, True\n", "            number += 1\n" + FLAG),),
    "bits": (loop("", "", "            if (start >> 11) & 7:\n                continue\n"),),
    "rounds-that-take-the-next": (
        (EVALUATE, PIECES + EVALUATE),
        (LOOP, "        source = pieces(tokens, 2048)\n        for _ in range(500):\n            x, y = next(source)\n" + SCORE + COUNT),
    ),
    "rounds-that-look-up": (loop("        for number in range(500):\n            start = starts[number]\n", STARTS),),
    "shortened-before": (loop(OVER_STARTS.format("starts"), STARTS + "        del starts[500:]\n"),),
    "a-mask": ((RUN, "    part = val[torch.arange(len(val)) < 1_000_000]\n" + RUN.replace("model, val,", "model, part,")),),
    "too-much-to-follow": (
        loop(
            "",
            "".join(f"        a{number} = " + " + ".join(["b"] + [f"a{other}" for other in range(number)]) + "\n" for number in range(40)),
            "            if a39 > 5:\n                break\n",
        ),
    ),
    "a-default-of-its-own-name": (
        (EVALUATE, "most = int(os.environ[\"MOST\"])\n\n\n" + EVALUATE.replace("leading)", "leading, most=most)")),
        loop("", "", "            if start > most:\n                break\n"),
    ),
    "gaps": (loop("        for start in range(0, len(tokens) - 1, 10 * args.train_seq_len):\n"),),
}  # fmt: skip


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_decides_is_not_known(name: str) -> None:
    answer = judged(*UNKNOWN[name])
    assert answer.outcome.value == "not-available", answer.reason


def test_the_whole_sets_figures_settle_what_the_script_does_not_show() -> None:
    assert judged(*UNKNOWN["a-function"], exact=True).outcome.value == "pass"


def test_a_condition_that_is_passed_over_is_no_proof_of_windows() -> None:
    assert judged(*UNKNOWN["bits"], rule="EVA002").outcome.value != "pass"
    hidden = loop("", "", "            if enough(x):\n                continue\n")
    assert judged(hidden, rule="EVA002").outcome.value == "not-available"


def test_the_whole_sets_figures_to_the_digit_speak_against_a_limit_but_not_against_a_share() -> None:
    assert judged(*LEFT_OUT["by-the-clock"], exact=True).outcome.value == "pass"
    assert judged(*LEFT_OUT["number-then-break"], exact=True).outcome.value == "not-available"
    assert judged(*LEFT_OUT["every-tenth"], exact=True).outcome.value == "review"


@pytest.mark.parametrize("rule", ["EVA002", "EVA004"])
def test_a_limit_does_not_show_on_a_short_stream(rule: str) -> None:
    assert judged(*LEFT_OUT["first-starts"], rule=rule).outcome.value == "not-available"
    assert judged(loop(OVER_STARTS.format("starts"), STARTS), rule=rule).outcome.value == "pass"


QUICK = (
    ('log(f"final_int8_zlib_roundtrip val_loss:', 'log(f"look loss:'),
    ('log(f"final_int8_zlib_roundtrip_exact val_loss:', 'log(f"look again loss:'),
    ('log(f"legal_ttt_exact val_loss:', 'log(f"after learning loss:'),
    (RUN, RUN.replace("model, val,", "model, val[:1_000_001],")),
)
"""The script prints another evaluation than that of the headline."""


@pytest.mark.parametrize(
    ("extra", "expected"), [({}, "review"), ({"eval.py": b"print('final_int8_zlib_roundtrip_exact')\n"}, "not-available")]
)
def test_an_evaluation_that_is_not_the_headlines_is_not_accused(extra: dict[str, bytes], expected: str) -> None:
    unprinted = case("Elsewhere", *QUICK, extra=extra, **NEAR)
    assert result_of(judge(unprinted, "EVA001"), "EVA001").outcome.value == expected
    windows = {result_of(judge(unprinted, rule), rule).outcome.value for rule in ("EVA002", "EVA004")}
    assert not extra or windows == {"not-available"}
