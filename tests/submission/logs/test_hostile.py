"""Damaged and hostile logs: a clear outcome in bounded time, whatever the bytes are."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.submission.logs.samples import classic
from verifier.engine.deadline import hard_deadline
from verifier.limits import Limits
from verifier.submission.logs.patterns import NUMBER, read_duration, read_int, read_number
from verifier.submission.logs.reader import read_log


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_encodings(codec: str) -> None:
    log = read_log("train.log", classic().encode(codec))
    assert log.problems == ()
    assert log.runs[0].seed == 42
    assert log.runs[0].headline is not None


@pytest.mark.parametrize("end", ["\r\n", "\r", "\n"])
def test_line_numbers_count_universal_newlines(end: str) -> None:
    log = read_log("train.log", classic().replace("\n", end).encode())
    at = classic().split("\n").index("seed:42") + 1
    assert log.runs[0].seed_source is not None
    assert log.runs[0].seed_source.line == at


def test_progress_bars_and_terminal_codes() -> None:
    bar = "".join(f"\rttt {done}% chunk {done}/100 bpb=1.{done:02d}" for done in range(100))
    text = classic(tail=bar + "\n\x1b[32mlegal_ttt val_loss:1.9 val_bpb:1.1 eval_time:2000ms\x1b[0m")
    run = read_log("train.log", text.encode()).runs[0]
    assert run.headline is not None
    assert run.headline.label == "legal_ttt"


def test_damaged_text_is_reported() -> None:
    log = read_log("train.log", classic().encode() + b"\xff\xfe\x00\x00 seed\n")
    assert {problem.kind for problem in log.problems} == {"undecodable"}
    assert log.runs[0].headline is not None


def test_limits_are_problems() -> None:
    limits = Limits(text_file=10_000, line_length=200, log_lines=50)
    assert [problem.kind for problem in read_log("a.log", b"x" * 20_000, limits).problems] == ["too-large"]
    assert read_log("a.log", b"x" * 20_000, limits).runs == ()
    assert [problem.kind for problem in read_log("a.log", b"x" * 5_000, limits).problems] == ["truncated"]
    assert [problem.kind for problem in read_log("a.log", b"\n" * 5_000, limits).problems] == ["truncated"]


@pytest.mark.parametrize(
    "line",
    [
        "a" * 2_000_000,
        " " * 2_000_000 + "seed:1",
        "[rank0]: " * 200_000,
        "bpb" * 700_000,
        "val_loss:" * 200_000,
        "1," * 1_000_000,
        "step:1/2 " + "train_loss:" * 150_000,
        "total " * 300_000 + ": 1",
        "time=" * 400_000,
        "gptq calib " + "in 1 " * 300_000,
        '"' * 1_000_000,
        "key:value " * 200_000,
        "\x1b[" * 500_000,
        "(" * 1_000_000,
        "(bpb " * 300_000,
    ],
    ids=lambda line: line[:12],
)
def test_huge_lines_are_bounded(line: str) -> None:
    with hard_deadline(20):
        read_log("train.log", line.encode())


def test_many_awkward_lines_are_bounded() -> None:
    text = "\n".join(["(bpb " * 700 + "loss", "total" * 700 + "=", "ttt in " + "1" * 3_000, "step:" + "9" * 3_000] * 120)
    with hard_deadline(20):
        read_log("train.log", text.encode())


def test_a_megabyte_is_read_whole() -> None:
    lines = [
        f"step:{step}/20000 train_loss:{2.0 + step / 1e6:.4f} train_time:{step * 95}ms step_avg:95.00ms" for step in range(14_000)
    ]
    text = classic() + "\n".join(lines)
    assert len(text) > 1_000_000
    read = read_log("train.log", text.encode())
    assert sum(len(run.steps) for run in read.runs) >= 14_000


@pytest.mark.parametrize(
    "text",
    [
        "final val_loss:nan val_bpb:nan\n",
        "final val_loss:1e999 val_bpb:-inf\n",
        "final val_loss:1..2 val_bpb:1.2.3\n",
        "seed:99999999999999999999\n",
        "step:99999999999/1 train_loss:1\n",
        "Total submission size: 99999999999999999999999 bytes\n",
        "stopping_early: train_time:ms step:\n",
        "gptq:reserving nans\n",
        "",
        "\n",
        "\ufeff",
    ],
)
def test_nonsense_numbers_are_left_out(text: str) -> None:
    for run in read_log("train.log", text.encode()).runs:
        assert run.headline is None
        assert run.seed is None
        assert run.sizes == ()


@settings(max_examples=150)
@given(st.binary(max_size=2_000))
def test_any_bytes_are_read(data: bytes) -> None:
    first = read_log("train.log", data)
    assert first == read_log("train.log", data)


_PIECES = st.sampled_from(
    ["step:", "1/2", " train_loss:", "val_bpb:", "1.05", "nan", "seed:", "  seed: ", "gptq:", "calibrated", " in ", "3.5s", "\n", "\r", " ", "ttt", "[", "(", "Total submission size:", " bytes", "=" * 60, "import x", "def f(", "class A"]
)  # fmt: skip


@settings(max_examples=150)
@given(st.lists(_PIECES, max_size=60))
def test_any_mix_of_log_words_is_read(pieces: list[str]) -> None:
    log = read_log("train.log", "".join(pieces).encode())
    total = "".join(pieces).replace("\r", "\n").count("\n") + 1
    for run in log.runs:
        assert all(metric.source.line is None or 1 <= metric.source.line <= total for metric in run.metrics)


@given(st.floats(min_value=0.0001, max_value=99999, allow_nan=False), st.integers(min_value=0, max_value=8))
def test_printed_numbers_come_back(value: float, decimals: int) -> None:
    printed = f"{value:.{decimals}f}"
    number = read_number(printed)
    assert number is not None
    assert number.decimals == decimals
    assert number.agrees(value)


@given(st.integers(min_value=0, max_value=10**15 - 1))
def test_counts_with_separators_come_back(value: int) -> None:
    assert read_int(f"{value:,}") == value


@given(st.integers(min_value=0, max_value=10**7), st.sampled_from(["ms", "s", "m"]))
def test_durations_come_back(value: int, unit: str) -> None:
    scale = {"ms": 0.001, "s": 1.0, "m": 60.0}[unit]
    assert read_duration(f"phase:done elapsed={value}{unit}") == pytest.approx(value * scale)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("GPTQ:collected 66 Hessians in 10.6s", 10.6),
        ("warmup done (101.6s)", 101.6),
        ("ttt:total_time:1176751ms", 1176.751),
        ("quantized in 6 layers", None),
        ("collected 12 of 30 (40%)", None),
        ("rate=3.5s/it", None),
        ("wall_ms:5000", 5.0),
    ],
)
def test_what_is_a_duration(text: str, seconds: float | None) -> None:
    found = read_duration(text)
    assert found == (None if seconds is None else pytest.approx(seconds))


def test_the_number_pattern_is_anchored_to_digits() -> None:
    assert NUMBER.startswith("(?:")
