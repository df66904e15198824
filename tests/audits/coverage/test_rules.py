"""EVA001 and VAL003: how much was scored, and whether training could have seen it."""

from __future__ import annotations

import dataclasses
import math

import pytest

from audits.coverage import RULES
from tests.ledger.build import CASEOPS, context, metric, run, submission
from verifier.evidence import Location
from verifier.rule import Decision, Outcome
from verifier.submission.logs.model import Metric, Run, Value
from verifier.submission.submission import Submission

LN2 = math.log(2)


def decide(code: str, built: Submission) -> Decision:
    return next(rule for rule in RULES if rule.code == code).decide(context(built))


def pair(bpb: float, ratio: float, label: str = "quantized_ttt_phased") -> Metric:
    return metric(f"{bpb:.8f}", f"{bpb * LN2 * ratio:.8f}", label)


def caseops(tokens: int | None = 47_851_520, ratio: float = 3.157152, docs: str | None = None, shards: str | None = None) -> Run:
    one = run(42, pair(1.0612, ratio), tokens=tokens, tokenizer=CASEOPS)
    return dataclasses.replace(
        one,
        val_docs=Value(docs, Location(one.path, 8, excerpt=f"total_docs:{docs}")) if docs else None,
        train_shards=Value(shards, Location(one.path, 9, excerpt=f"train_shards: {shards}")) if shards else None,
    )


def test_the_whole_set_passes() -> None:
    assert decide("EVA001", submission(caseops(docs="50000"))).outcome is Outcome.PASS
    assert decide("EVA001", submission(caseops(docs="49999"))).outcome is Outcome.PASS


def test_the_first_ten_thousand_documents() -> None:
    decision = decide("EVA001", submission(caseops(9_662_464, 3.1008, "10000")))
    assert decision.outcome is Outcome.FAIL
    assert {finding.locations[0].line for finding in decision.findings} == {8, 100}
    assert decide("EVA001", submission(caseops(9_662_464, 3.1008))).outcome is Outcome.FAIL


def test_a_document_count_beside_a_full_token_count_is_for_a_human() -> None:
    assert decide("EVA001", submission(caseops(docs="41597"))).outcome is Outcome.REVIEW


@pytest.mark.parametrize(("ratio", "outcome"), [(3.157152, Outcome.REVIEW), (3.1702, Outcome.FAIL)])
def test_a_document_count_beside_the_whole_sets_bytes_per_token_is_for_a_human(ratio: float, outcome: Outcome) -> None:
    decision = decide("EVA001", submission(caseops(None, ratio, "38412")))
    assert decision.outcome is outcome
    assert any("38,412 of 50,000" in finding.message for finding in decision.findings)
    whole = [finding for finding in decision.findings if "whole set's bytes per token" in finding.message]
    assert [finding.locations[1].line for finding in whole] == ([100] if outcome is Outcome.REVIEW else [])


@pytest.mark.parametrize(("ratio", "whole"), [(3.1208, "47.9 million"), (3.4702, "43.8 million")])
def test_the_whole_set_that_a_part_is_compared_with_has_its_vocabulary(ratio: float, whole: str) -> None:
    decision = decide("EVA001", submission(caseops(262_144, ratio)))
    assert decision.outcome is Outcome.FAIL
    assert whole in decision.reason


def test_fewer_tokens_than_the_tokenizer_has() -> None:
    assert decide("EVA001", submission(run(42, pair(1.2, 2.44), tokens=10_100_000))).outcome is Outcome.FAIL
    # another vocabulary may need fewer tokens for the whole text
    coarse = run(42, pair(1.08, 151_080_891 / 36_000_000), tokens=36_000_000, tokenizer="fineweb_9000_bpe.model")
    assert decide("EVA001", submission(coarse)).outcome is Outcome.PASS


def test_a_prefix_ratio_under_a_full_token_count() -> None:
    assert decide("EVA001", submission(run(42, pair(1.2, 2.40792)))).outcome is Outcome.FAIL


def with_excerpt(text: str) -> Submission:
    mixed = metric("1.00030700", None, "ppm_mix")
    mixed = dataclasses.replace(mixed, source=dataclasses.replace(mixed.source, excerpt=text))
    one = run(42, mixed, tokens=40_548_352, tokenizer="fineweb_8192_bpe.model")
    return submission(dataclasses.replace(one, metrics=(dataclasses.replace(mixed),)))


@pytest.mark.parametrize(
    ("line", "outcome"),
    [
        ("ppm_mix bytes=10982035 mix_bpb=1.000307", Outcome.REVIEW),
        ("ppm_mix subset=3000000 tokens mix_bpb=1.000307", Outcome.FAIL),
        ("ppm_mix bytes=151080891 mix_bpb=1.000307", Outcome.PASS),
        ("ppm_mix mix_bpb=1.000307", Outcome.NOT_AVAILABLE),
    ],
)
def test_counts_on_the_headlines_line(line: str, outcome: Outcome) -> None:
    assert decide("EVA001", with_excerpt(line)).outcome is outcome


def test_a_subset_setting_is_for_a_human() -> None:
    one = run(42, pair(1.08, 3.726631), tokens=40_540_160, tokenizer="fineweb_8192_bpe.model")
    partial = dataclasses.replace(one, config={"ppm_subset_tokens": Value("3000000", Location(one.path, 7))})
    whole = dataclasses.replace(one, config={"ppm_subset_tokens": Value("40540160", Location(one.path, 7))})
    assert decide("EVA001", submission(partial)).outcome is Outcome.REVIEW
    assert decide("EVA001", submission(whole)).outcome is Outcome.PASS


def test_without_logs_the_coverage_is_unknown() -> None:
    assert decide("EVA001", submission()).outcome is Outcome.NOT_AVAILABLE
    assert decide("VAL003", submission()).outcome is Outcome.NOT_AVAILABLE


@pytest.mark.parametrize("shards", ["1499", "1502", "1499/1502"])
def test_the_fingerprint_of_the_overlapping_preparation(shards: str) -> None:
    decision = decide("VAL003", submission(caseops(shards=shards)))
    assert decision.outcome is Outcome.REVIEW
    assert decision.findings[0].locations[0].line == 9


def test_the_same_shards_scored_on_the_documents_that_were_held_out() -> None:
    assert decide("VAL003", submission(caseops(9_662_464, 3.1008, shards="1499"))).outcome is not Outcome.REVIEW


def test_other_shard_counts_pass_and_none_is_not_available() -> None:
    assert decide("VAL003", submission(caseops(shards="80"))).outcome is Outcome.INFO
    published = dataclasses.replace(run(42, pair(1.1, 2.435924)), train_shards=Value("80", Location("train_seed42.log", 9)))
    assert decide("VAL003", submission(published)).outcome is Outcome.PASS
    assert decide("VAL003", submission(caseops())).outcome is Outcome.NOT_AVAILABLE


def test_less_text_than_the_set_without_a_known_reason_is_for_a_human() -> None:
    assert decide("EVA001", submission(run(42, pair(1.2, 2.40535)))).outcome is Outcome.REVIEW
    assert decide("EVA001", submission(run(42, pair(1.2, 2.6)))).outcome is Outcome.NOT_AVAILABLE


def test_figures_near_the_whole_sets_are_no_proof_without_a_script() -> None:
    assert decide("EVA001", submission(run(42, pair(1.2, 2.43593)))).outcome is Outcome.PASS
    assert decide("EVA001", submission(run(42, pair(1.2, 2.4376)))).outcome is Outcome.NOT_AVAILABLE


def test_a_count_on_the_line_and_a_subset_setting_prove_each_other() -> None:
    built = with_excerpt("ppm_mix bytes=10982035 mix_bpb=1.000307")
    (one,) = built.runs
    limited = dataclasses.replace(one, config={"ppm_subset_tokens": Value("3000000", Location(one.path, 7))})
    assert decide("EVA001", submission(limited)).outcome is Outcome.FAIL


def test_no_shards_at_all_is_no_evidence() -> None:
    assert decide("VAL003", submission(caseops(shards="0"))).outcome is Outcome.NOT_AVAILABLE


def test_an_evaluation_log_is_judged_by_the_training_log_of_its_seed() -> None:
    evaluation = dataclasses.replace(caseops(), path="eval_seed42.log")
    training = dataclasses.replace(caseops(shards="1499"), metrics=())
    assert decide("VAL003", submission(evaluation)).outcome is Outcome.NOT_AVAILABLE
    assert decide("VAL003", submission(evaluation, training)).outcome is Outcome.REVIEW
