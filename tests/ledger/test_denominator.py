"""Bytes per token: golden streams, known mistakes, and what must not be accused."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ledger.build import CASEOPS, CHALLENGE, SP1024, metric, number, run, submission
from verifier.evidence import Location
from verifier.ledger.denominator import (
    Denominator,
    Stream,
    Tokens,
    implied_ratio,
    measure_pair,
    measure_run,
    read_tokens,
    recognise_family,
    summarise_bytes,
)

LN2 = math.log(2)


def measured(loss: str, bpb: str, tokens: int | None, family: str | None = None) -> Denominator:
    count = Tokens(tokens, Location("train.log", 5)) if tokens is not None else None
    found = measure_pair(metric(bpb, loss), count, family, CHALLENGE)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("loss", "bpb", "tokens", "family", "stream"),
    [
        ("1.88276292", "1.11508120", 62_021_632, "sp1024", Stream.FULL),
        ("2.79517119", "1.08209788", 40_540_160, "sp8192", Stream.FULL),
        ("2.33730724", "1.06805820", 47_851_520, "caseops-sp8192", Stream.FULL),
        # four digits widen the tolerance
        ("1.8828", "1.1151", 62_021_632, "sp1024", Stream.FULL),
        # without a token count the ratio alone, with and without a tokenizer
        ("2.79517119", "1.08209788", None, "sp8192", Stream.FULL),
        ("2.79517119", "1.08209788", None, None, Stream.FULL),
        # a short export
        ("2.60000000", "1.26666667", 50_905_088, "sp2048", Stream.SHORT),
        # a leading space counted twice, with and without a count
        ("1.99226049", "1.00245252", None, "sp1024", Stream.MISCOUNT),
        ("3.06766480", "1.00896035", None, "sp8192", Stream.MISCOUNT),
        ("1.99226049", "1.00245252", 62_021_632, "sp1024", Stream.MISCOUNT),
        # the marker counted as three bytes
        ("1.93737833", "0.85995891", 62_021_632, "sp1024", Stream.MISCOUNT),
        # tokens of transformed text over a flat table
        ("2.33156225", "0.97791756", 47_851_520, "caseops-sp8192", Stream.MISCOUNT),
        # the first 10,000 documents
        ("2.28060000", "1.06107000", 9_662_464, "caseops-sp8192", Stream.SUBSET),
        # other documents
        ("2.74410000", "1.00000000", 49_999_872, "casefold-sp10240", Stream.FOREIGN),
        # a table that belongs to another vocabulary
        ("2.55661691", "0.87170361", 45_514_752, "sp4096", Stream.OFF),
        # nothing known
        ("3.00000000", "1.00000000", None, None, Stream.UNKNOWN),
        # loss per byte
        ("0.75000000", "1.08202128", 40_540_160, "sp8192", Stream.MIXTURE),
    ],
)
def test_streams_are_recognised(loss: str, bpb: str, tokens: int | None, family: str | None, stream: Stream) -> None:
    assert measured(loss, bpb, tokens, family).stream is stream


def test_a_prefix_is_named_by_its_ratio() -> None:
    ratio = 2.40792
    found = measured("2.00000000", f"{2 / (LN2 * ratio):.8f}", 62_021_632)
    assert found.stream is Stream.PREFIX
    assert found.cause == "the first 1,048,576 tokens"


def test_four_digits_are_too_few_to_name_a_prefix() -> None:
    ratio = 2.40792
    assert measured("2.0000", f"{2 / (LN2 * ratio):.4f}", 62_021_632).stream is not Stream.PREFIX


def test_the_corrected_score() -> None:
    found = measured("1.93737833", "0.85995891", 62_021_632, "sp1024")
    assert found.corrected_bpb == pytest.approx(1.1474, abs=1e-4)
    assert found.total == pytest.approx(201.59e6, rel=1e-3)
    caseops = measured("2.33156225", "0.97791756", 47_851_520, "caseops-sp8192")
    assert caseops.cause == "transformed-text"
    assert caseops.corrected_bpb == pytest.approx(1.0654, abs=1e-4)


def test_a_mixture_that_repeats_the_networks_loss_is_not_accused() -> None:
    network = metric("1.07757000", "2.78300000", "quantized_sliding_window", line=90)
    ratio = network.loss.value / (LN2 * network.bpb.value) if network.loss and network.bpb else 0
    network = metric(f"{2.783 / (LN2 * 3.726631):.8f}", "2.78300000", "quantized_sliding_window", line=90)
    mixture = metric("0.99000000", "2.78300000", "final_score", line=95)
    one = run(42, network, mixture, tokens=40_540_160, tokenizer="fineweb_8192_bpe.model")
    found = measure_run(submission(one), one, one.metrics[-1], CHALLENGE)
    assert ratio
    assert found is not None
    assert found.stream is Stream.MIXTURE
    assert found.corrected_bpb is None


def test_the_same_pair_without_a_sound_line_is_off() -> None:
    one = run(42, metric("0.99000000", "2.78300000", "final_score"), tokens=40_540_160, tokenizer="fineweb_8192_bpe.model")
    found = measure_run(submission(one), one, one.metrics[-1], CHALLENGE)
    assert found is not None
    assert found.stream is Stream.OFF


@pytest.mark.parametrize(
    ("path", "family"),
    [
        (SP1024, "sp1024"),
        (CASEOPS, "caseops-sp8192"),
        ("data\\tokenizers\\fineweb_8192_bpe.model", "sp8192"),
        ("./data/datasets/fineweb10B_sp4096", "sp4096"),
        ("fineweb_8192nb_bpe.model", "sp8192nb"),
        ("fineweb_10240_casefold_bpe.model", "casefold-sp10240"),
        ("/x/fineweb_8192_bpe_casefold_refined_v2.model", "casefold-sp8192"),
        ("./data/tokenizers/scylla/candidate.vocab", "tokenmonster"),
        ("/tmp/fineweb10B_tm0054", "tokenmonster"),
        ("fineweb_pure_byte_260.json", "bytes"),
        ("gravity_beta_1.0.model", "gravity"),
        ("tok.model", None),
        ("", None),
    ],
)
def test_families_are_read_from_paths(path: str, family: str | None) -> None:
    assert recognise_family(path) == family


@pytest.mark.parametrize("text", ["", "many", "nan", "-5", "1.5", "0", "1" * 80])
def test_a_token_count_that_is_none_is_none(text: str) -> None:
    one = run(1, metric("1.1"))
    assert one.val_tokens is not None
    broken = run(1, metric("1.1"), val_tokens=type(one.val_tokens)(text, one.val_tokens.source))
    assert read_tokens(broken) is None


def test_zero_and_negative_pairs_have_no_ratio() -> None:
    assert implied_ratio(number("0"), number("1.0")) is None
    assert implied_ratio(number("1.0"), number("-1.0")) is None


def test_the_report_shows_a_correction_only_where_one_is_due() -> None:
    fine = summarise_bytes(measured("1.88276292", "1.11508120", 62_021_632, "sp1024"), None)
    wrong = summarise_bytes(measured("1.93737833", "0.85995891", 62_021_632, "sp1024"), "t.model")
    assert fine is not None
    assert wrong is not None
    assert (fine.corrected_bpb, fine.tokenizer) == (None, "sp1024")
    assert wrong.corrected_bpb is not None
    assert wrong.tokenizer == "t.model"
    assert summarise_bytes(None, None) is None


@given(
    loss=st.floats(0.5, 4.0),
    tokens=st.integers(20_000_000, 150_000_000),
    digits=st.integers(4, 8),
)
def test_honest_prints_of_any_lossless_tokenizer_are_full(loss: float, tokens: int, digits: int) -> None:
    """Whatever the tokenizer and the printed digits: loss x tokens / (ln 2 x val_bytes) is never accused."""
    bpb = loss * tokens / (LN2 * CHALLENGE.val_bytes)
    found = measured(f"{loss:.{digits}f}", f"{bpb:.{digits}f}", tokens)
    assert found.stream in (Stream.FULL, Stream.SHORT)


@given(loss=st.floats(1.5, 3.0), factor=st.floats(1.01, 1.5), tokens=st.integers(50_000_001, 62_000_000))
def test_a_denominator_that_is_too_large_is_never_full(loss: float, factor: float, tokens: int) -> None:
    bpb = loss * tokens / (LN2 * CHALLENGE.val_bytes * factor)
    found = measured(f"{loss:.8f}", f"{bpb:.8f}", tokens)
    assert found.stream not in (Stream.FULL, Stream.SHORT)
    assert found.deviation == pytest.approx(factor - 1, rel=1e-3)


@given(st.text(max_size=200))
def test_any_path_is_read_in_peace(path: str) -> None:
    recognise_family(path)
