"""SIZ001 to SIZ003: bytes in logs, scripts and claims, each violation beside its legal twin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest

from audits.size.cap import OVER_CAP
from audits.size.claims import CLAIM_MISMATCH
from audits.size.code_bytes import CODE_MISMATCH
from tests.builders import context, empty_submission
from tests.submission.packing import PROGRAM, packed_script
from verifier.engine.context import Context
from verifier.evidence import Fact, Location, Number
from verifier.ledger.sizes import CodeCounting, size_accounts, size_bars
from verifier.limits import DEFAULT_LIMITS
from verifier.rule import Decision, Outcome, Rule
from verifier.submission.logs.model import EmbeddedSource, LogFile, Metric, Run, SizeKind, SizeLine, StepPoint
from verifier.submission.metadata import Metadata, SeedClaim
from verifier.submission.script_reader import read_program

PLAIN = PROGRAM + "# padding\n" * 4_000
VARIED = PROGRAM + "".join(f"value_{n} = {n * 7919 % 10007}  # setting {n}\n" for n in range(3_000))
CAP = 16_000_000
WORDS = {
    SizeKind.TOTAL: "Total submission size",
    SizeKind.MODEL: "Serialized model",
    SizeKind.RAW_MODEL: "Serialized model",
    SizeKind.CODE: "Code size",
}


@dataclass(frozen=True)
class Seed:
    seed: int
    model: int | None
    code: int | None
    total: int | None
    compressed: int | None = None
    exact: bool = True
    claimed: int | None = None


def run_of(one: Seed) -> Run:
    path = f"train_seed{one.seed}.log"
    sizes: list[SizeLine] = []

    def line(kind: SizeKind, tag: str, count: int | None, number: int, exact: bool = True) -> None:
        if count is not None:
            sizes.append(SizeLine(kind, tag, count, exact, Location(path, number, excerpt=f"{WORDS[kind]} {tag}: {count} bytes")))

    line(SizeKind.RAW_MODEL, "", 105_000_000, 90)
    line(SizeKind.CODE, "(uncompressed)" if one.compressed is not None else "", one.code, 91)
    line(SizeKind.CODE, "(compressed)", one.compressed, 92)
    line(SizeKind.MODEL, "int6+lzma", one.model, 93)
    line(SizeKind.TOTAL, "int6+lzma", one.total, 94, one.exact)
    metric = Metric("final", Number.parse("1.83"), Number.parse("1.0810"), None, None, False, Location(path, 99))
    steps = tuple(StepPoint(n, 6, 3.0, n * 100.0, 100.0, None, n) for n in range(1, 7))
    return Run(path, 0, 1, 99, one.seed, Location(path, 1), "line", one.seed, steps=steps, metrics=(metric,), sizes=tuple(sizes))


def fact(name: str, value: float | int, seed: int | None = None, printed: str | None = None) -> Fact:
    return Fact(name, value, "bytes", Location("submission.json", 8), seed, printed or str(value))


def folder(
    seeds: Sequence[Seed],
    files: dict[str, str] | None = None,
    embedded: str | None = None,
    stated: dict[str, Fact] | None = None,
) -> Context:
    texts = files if files is not None else {"train_gpt.py": PLAIN}
    program = read_program([(path, text.encode()) for path, text in texts.items()], (), DEFAULT_LIMITS)
    claims = tuple(
        SeedClaim(
            one.seed,
            Location("submission.json", 5),
            artifact_bytes=fact("artifact_bytes", one.claimed, one.seed) if one.claimed is not None else None,
        )
        for one in seeds
    )
    stated = stated or {}
    own = Metadata(
        "submission.json",
        True,
        True,
        val_bpb=stated.get("val_bpb"),
        bytes_total=stated.get("bytes_total"),
        bytes_total_mean=stated.get("bytes_total_mean"),
        bytes_code=stated.get("bytes_code"),
        bytes_model=stated.get("bytes_model"),
        seeds=tuple(one.seed for one in seeds),
        seed_claims=claims,
    )
    logs = tuple(
        LogFile(
            f"train_seed{one.seed}.log",
            "0" * 64,
            "utf-8",
            (run_of(one),),
            EmbeddedSource(1, 80, embedded) if embedded else None,
            None,
        )
        for one in seeds
    )
    return replace(context(), submission=replace(empty_submission(), metadata=(own,), logs=logs, program=program))


def decide(rule: Rule, ctx: Context) -> Decision:
    decision = rule.decide(ctx)
    assert decision.reason
    return decision


SIZE = len(PLAIN)


@pytest.mark.parametrize(
    ("seeds", "files", "outcome", "words"),
    [
        ([Seed(42, 15_900_000, SIZE, 15_900_000 + SIZE)], None, Outcome.PASS, "15,940,280"),
        ([Seed(42, 15_900_000, SIZE, 15_900_000 + SIZE), Seed(1337, 15_990_000, SIZE, 15_990_000 + SIZE)], None, Outcome.FAIL, "seed 1337"),
        ([Seed(42, CAP - SIZE, SIZE, CAP)], None, Outcome.PASS, "16,000,000"),
        ([Seed(42, CAP - SIZE + 1, SIZE, CAP + 1)], None, Outcome.FAIL, "1 above"),
        # repackaging explains the log's total
        ([Seed(42, 15_971_463, SIZE, 15_971_463 + SIZE)], {"train_gpt.py": packed_script(PLAIN)}, Outcome.INFO, "SIZ002"),
        ([Seed(42, 15_971_463, 86_046, 16_057_509, claimed=15_971_463 + len(packed_script(PLAIN)))], {"train_gpt.py": packed_script(PLAIN)}, Outcome.INFO, "SIZ002"),
        # other code than the run's, and nobody states the smaller total
        ([Seed(42, 15_971_463, 86_046, 16_057_509)], {"train_gpt.py": packed_script(PLAIN)}, Outcome.REVIEW, "other code"),
        # the log counts compressed code and says so: accepted practice
        ([Seed(42, 15_975_000, SIZE, 15_985_000, compressed=10_000)], None, Outcome.INFO, "accepted"),
        # the total counts plain code while a compressed count is printed, too
        ([Seed(42, 15_975_000, SIZE, 15_975_000 + SIZE, compressed=10_000)], None, Outcome.REVIEW, "compressed code that it also prints"),
        # the script grew after the run
        ([Seed(42, 15_975_000, 20_000, 15_995_000)], None, Outcome.REVIEW, "above the cap"),
        # rounded totals
        ([Seed(42, None, None, 16_020_000, exact=False)], None, Outcome.REVIEW, "rounded"),
        ([Seed(42, None, None, 16_200_000, exact=False)], None, Outcome.FAIL, "16,200,000"),
        ([Seed(42, None, SIZE, None)], None, Outcome.NOT_AVAILABLE, "no log"),
    ],
)  # fmt: skip
def test_cap(seeds: list[Seed], files: dict[str, str] | None, outcome: Outcome, words: str) -> None:
    decision = decide(OVER_CAP, folder(seeds, files))
    assert decision.outcome is outcome
    texts = [decision.reason, *(finding.message for finding in decision.findings)]
    assert any(words in text for text in texts), texts


def test_unlabelled_compressed_code_is_recognised_by_its_size() -> None:
    code = len(VARIED) // 4
    ctx = folder([Seed(42, 15_950_000, code, 15_950_000 + code)], {"train_gpt.py": VARIED})
    assert size_accounts(ctx.submission)[0].counting is CodeCounting.COMPRESSED
    assert decide(OVER_CAP, ctx).outcome is Outcome.INFO
    assert decide(CODE_MISMATCH, ctx).outcome is Outcome.INFO


def test_a_log_of_another_run_proves_nothing_about_the_claim() -> None:
    seeds = [Seed(42, 15_990_000, SIZE, 15_990_000 + SIZE)]
    score = Fact("val_bpb", 1.0810, "bpb", Location("submission.json", 3), None, "1.0810")
    assert decide(OVER_CAP, folder(seeds, stated={"val_bpb": score})).outcome is Outcome.FAIL
    other = replace(score, value=1.1234, printed="1.1234")
    decision = decide(OVER_CAP, folder(seeds, stated={"val_bpb": other}))
    assert decision.outcome is Outcome.REVIEW
    assert "does not show the claimed score" in decision.reason


def test_two_totals_in_one_log_are_for_a_human() -> None:
    ctx = folder([Seed(42, 15_990_000, SIZE, 15_990_000 + SIZE)])
    log = ctx.submission.logs[0]
    second = SizeLine(
        SizeKind.TOTAL, "int6+zstd", 15_200_000, True, Location(log.path, 60, excerpt="Total submission size int6+zstd")
    )
    run = replace(log.runs[0], sizes=(second, *log.runs[0].sizes))
    ctx = replace(ctx, submission=replace(ctx.submission, logs=(replace(log, runs=(run,)),)))
    assert decide(OVER_CAP, ctx).outcome is Outcome.REVIEW


def test_a_starter_does_not_hide_the_file_that_it_starts() -> None:
    files = {"train_gpt.py": "exec(open(__file__.replace('train_gpt.py', 'inner.py')).read())\n", "inner.py": PLAIN}
    decision = decide(OVER_CAP, folder([Seed(42, 15_980_000, SIZE, 15_980_000 + SIZE)], files))
    assert decision.outcome is Outcome.REVIEW
    assert "only starts a file" in decision.reason


def test_sizes_and_score_of_a_seed_may_stand_in_two_logs() -> None:
    ctx = folder([Seed(42, 15_990_000, SIZE, 15_990_000 + SIZE)])
    training = ctx.submission.logs[0]
    evaluation = replace(run_of(Seed(42, None, None, None)), path="ttt/seed42.log", sizes=())
    untold = replace(training.runs[0], metrics=())
    logs = (replace(training, runs=(untold,)), LogFile("ttt/seed42.log", "1" * 64, "utf-8", (evaluation,), None, None))
    ctx = replace(ctx, submission=replace(ctx.submission, logs=logs))
    assert [account.claimed for account in size_accounts(ctx.submission)] == [True]


def test_a_claimed_compressed_form_that_is_not_shipped_is_for_a_human() -> None:
    ctx = folder([Seed(42, 15_970_000, SIZE, 15_970_000 + SIZE, claimed=15_980_000)])
    decision = decide(OVER_CAP, ctx)
    assert decision.outcome is Outcome.REVIEW
    assert "10,000 bytes of code" in decision.reason


def test_a_run_that_nobody_claims_does_not_fail() -> None:
    ctx = folder([Seed(42, 15_900_000, SIZE, 15_900_000 + SIZE)])
    over = run_of(Seed(7, 15_990_000, SIZE, 15_990_000 + SIZE))
    log = LogFile(over.path, "1" * 64, "utf-8", (over,), None, None)
    ctx = replace(ctx, submission=replace(ctx.submission, logs=(*ctx.submission.logs, log)))
    decision = decide(OVER_CAP, ctx)
    assert decision.outcome is Outcome.INFO
    assert "not claimed" in decision.reason


def test_the_submission_says_itself_that_it_is_over() -> None:
    ctx = folder([], stated={"bytes_total": fact("bytes_total", 16_102_053)})
    decision = decide(OVER_CAP, ctx)
    assert decision.outcome is Outcome.FAIL
    assert [str(place) for place in decision.findings[0].locations] == ["submission.json:8"]
    assert decide(OVER_CAP, folder([], stated={"bytes_total": fact("bytes_total", 15_102_053)})).outcome is Outcome.NOT_AVAILABLE


@pytest.mark.parametrize(
    ("code", "files", "outcome", "words"),
    [
        (SIZE, None, Outcome.PASS, "committed script"),
        (SIZE - 100, None, Outcome.FAIL, "used other code"),
        (SIZE, {"train_gpt.py": packed_script(PLAIN)}, Outcome.INFO, "unpacks to the counted text"),
        (SIZE - 91, {"train_gpt.py": packed_script(PLAIN)}, Outcome.FAIL, "used other code"),
        (SIZE, {"train_gpt.py": PROGRAM * 40, "train_gpt_human.py": PLAIN}, Outcome.INFO, "train_gpt_human.py"),
        (SIZE + 20, {"train_gpt.py": "import helper\n" + PLAIN, "helper.py": "x = 1\n"}, Outcome.INFO, "2 files"),
        (SIZE, {"train_gpt.py": PLAIN.replace("\n", "\r\n")}, Outcome.PASS, "committed script"),
        (None, None, Outcome.NOT_AVAILABLE, "no log"),
    ],
)
def test_code_bytes(code: int | None, files: dict[str, str] | None, outcome: Outcome, words: str) -> None:
    total = 15_000_000 + code if code is not None else 15_000_000
    decision = decide(CODE_MISMATCH, folder([Seed(42, 15_000_000, code, total)], files))
    assert decision.outcome is outcome
    assert words in decision.reason


def test_source_printed_by_the_log() -> None:
    seeds = [Seed(42, 15_000_000, SIZE, 15_000_000 + SIZE)]
    assert decide(CODE_MISMATCH, folder(seeds, embedded=PLAIN)).outcome is Outcome.PASS
    other = PLAIN.replace("iterations = int", "iterations = 2 * int")
    same = decide(CODE_MISMATCH, folder(seeds, embedded=other + "extra = 1\nmore = 2\n"))
    assert same.outcome is Outcome.INFO
    assert "3 lines only in the log, 1 only in the file" in same.reason
    assert decide(CODE_MISMATCH, folder(seeds, {"train_gpt.py": packed_script(PLAIN)}, embedded=PLAIN)).outcome is Outcome.INFO


def test_no_script_no_comparison() -> None:
    ctx = folder([Seed(42, 15_000_000, SIZE, 15_000_000 + SIZE)], {"prepare.py": "x = 1\n"})
    assert decide(CODE_MISMATCH, ctx).outcome is Outcome.NOT_AVAILABLE


TWO = [Seed(42, 15_900_000, SIZE, 15_900_000 + SIZE), Seed(7, 15_910_000, SIZE, 15_910_000 + SIZE)]


@pytest.mark.parametrize(
    ("stated", "outcome", "words"),
    [
        ({"bytes_total": 15_900_000 + SIZE}, Outcome.PASS, "agree"),
        ({"bytes_total": 15_910_000 + SIZE}, Outcome.PASS, "agree"),
        ({"bytes_total": 15_905_000 + SIZE}, Outcome.PASS, "agree"),  # the mean
        ({"bytes_total": 15_900_000}, Outcome.FAIL, "the model alone"),
        ({"bytes_total": 15_999_000}, Outcome.FAIL, "nearest is the log's total"),
        ({"bytes_total_mean": 15_905_000 + SIZE}, Outcome.PASS, "agree"),
        ({"bytes_total_mean": 15_910_000 + SIZE}, Outcome.FAIL, "nearest is the mean of the logged totals"),  # one seed's
        ({"bytes_code": SIZE}, Outcome.PASS, "agree"),
        ({"bytes_code": SIZE + 1}, Outcome.FAIL, "nearest is the log's code size"),
        ({"bytes_model": 15_910_000}, Outcome.PASS, "agree"),
        ({"bytes_model": 15_920_000}, Outcome.FAIL, "the model"),
        ({"bytes_total": 8}, Outcome.NOT_APPLICABLE, "states a size"),
        ({}, Outcome.NOT_APPLICABLE, "states a size"),
    ],
)
def test_size_claims(stated: dict[str, int], outcome: Outcome, words: str) -> None:
    decision = decide(CLAIM_MISMATCH, folder(TWO, stated={name: fact(name, value) for name, value in stated.items()}))
    assert decision.outcome is outcome
    assert words in decision.reason


def test_rounded_claims_have_room() -> None:
    rounded = fact("bytes_total", 15_940_000, printed="15.94")
    assert decide(CLAIM_MISMATCH, folder(TWO, stated={"bytes_total": rounded})).outcome is Outcome.PASS
    mebibytes = fact("bytes_total", 15_200_000, printed="15.20")
    assert decide(CLAIM_MISMATCH, folder(TWO, stated={"bytes_total": mebibytes})).outcome is Outcome.PASS
    assert decide(CLAIM_MISMATCH, folder(TWO, stated={"bytes_total": fact("bytes_total", 15_200_000)})).outcome is Outcome.FAIL


def test_a_seed_is_compared_with_its_own_log() -> None:
    seeds = [replace(TWO[0], claimed=TWO[1].total), replace(TWO[1], claimed=TWO[1].total)]
    decision = decide(CLAIM_MISMATCH, folder(seeds))
    assert decision.outcome is Outcome.FAIL
    assert len(decision.findings) == 1
    assert "seed 42" in decision.reason


def test_claims_with_the_committed_packed_script() -> None:
    packed = packed_script(PLAIN)
    model = 15_971_463
    seeds = [Seed(42, model, 86_046, model + 86_046, claimed=model + len(packed))]
    assert decide(CLAIM_MISMATCH, folder(seeds, {"train_gpt.py": packed})).outcome is Outcome.PASS


def test_bars_show_both_countings() -> None:
    packed = packed_script(PLAIN)
    ctx = folder([Seed(42, 15_971_463, 86_046, 16_057_509)], {"train_gpt.py": packed})
    bars = size_bars(ctx.submission)
    assert [(bar.counting, bar.code, bar.model, bar.total, bar.claimed) for bar in bars] == [
        ("log", 86_046, 15_971_463, 16_057_509, True),
        ("model + committed script", len(packed), 15_971_463, 15_971_463 + len(packed), True),
    ]
    assert all(bar.total == (bar.code or 0) + (bar.model or 0) for bar in bars)


@pytest.mark.parametrize(
    ("row", "outcome"),
    [
        ("| 42 | 1.14423 | 16,215,286 | no (over 16MB) |", Outcome.REVIEW),
        ("| 42 | 1.14423 | 16,215,286 | yes |", Outcome.FAIL),
    ],
)
def test_a_seed_that_its_own_row_calls_invalid_is_for_a_human(row: str, outcome: Outcome) -> None:
    ctx = folder([])
    stated = Fact("artifact_bytes", 16_215_286, "bytes", Location("README.md", 18, excerpt=row), 42, "16,215,286")
    claim = SeedClaim(42, Location("README.md", 18), artifact_bytes=stated)
    own = replace(ctx.submission.metadata[0], seed_claims=(claim,), seeds=(42,))
    ctx = replace(ctx, submission=replace(ctx.submission, metadata=(own,)), memo={})
    assert decide(OVER_CAP, ctx).outcome is outcome
