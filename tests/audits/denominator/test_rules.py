"""BYT003, BYT004, BYT006, BYT008, VAL006: violations and their legal twins."""

from __future__ import annotations

import dataclasses
import math

import pytest

from audits.denominator import RULES
from fixtures.byte_cases import byte_table, vocabulary
from tests.ledger.build import CASEOPS, CHALLENGE, SP1024, context, metadata, metric, run, submission
from verifier.evidence import Location
from verifier.rule import Decision, Outcome
from verifier.submission.binaries import BinaryFile
from verifier.submission.logs.model import Metric, Run, Value
from verifier.submission.script import Program, ScriptFile
from verifier.submission.submission import FileEntry, Submission

LN2 = math.log(2)
MARK_FREE = [bytes([value]) for value in range(0x21, 0x41)]
SP8192 = "./data/tokenizers/fineweb_8192_bpe.model"


def decide(code: str, built: Submission) -> Decision:
    return next(rule for rule in RULES if rule.code == code).decide(context(built))


def pair(bpb: float, ratio: float, label: str = "final_exact", line: int = 100) -> Metric:
    return metric(f"{bpb:.8f}", f"{bpb * LN2 * ratio:.8f}", label, line)


def outcomes(built: Submission) -> dict[str, Outcome]:
    return {rule.code: rule.decide(context(built)).outcome for rule in RULES}


def sound() -> Submission:
    return submission(*(run(seed, pair(1.1147 + seed * 1e-6, 2.435924)) for seed in (42, 314, 999)))


def test_a_sound_record_passes() -> None:
    found = outcomes(sound())
    assert found == {
        "BYT003": Outcome.PASS,
        "BYT004": Outcome.PASS,
        "BYT006": Outcome.NOT_APPLICABLE,
        "BYT008": Outcome.PASS,
        "VAL006": Outcome.PASS,
    }


def test_without_logs_nothing_is_known() -> None:
    found = outcomes(submission())
    assert [found[code] for code in ("BYT003", "BYT004", "VAL006", "BYT008")] == [Outcome.NOT_AVAILABLE] * 4


@pytest.mark.parametrize("tokens", [62_021_632, None])
def test_a_leading_space_counted_twice(tokens: int | None) -> None:
    built = submission(run(42, pair(1.0085, 2.8672), tokens=tokens))
    decision = decide("BYT004", built)
    assert decision.outcome is Outcome.FAIL
    assert "leading space" in decision.reason
    assert "1.1870 BPB" in decision.reason or "1.1871 BPB" in decision.reason
    assert decision.findings[0].locations[0] == built.runs[0].metrics[0].source
    assert decide("VAL006", built).outcome is Outcome.PASS


def test_a_wrong_ratio_without_a_token_count_is_for_a_human() -> None:
    built = submission(run(42, pair(1.0085, 2.7), tokens=None))
    assert decide("BYT004", built).outcome is Outcome.REVIEW


def test_an_unknown_tokenizer_without_a_token_count_is_not_judged() -> None:
    built = submission(run(42, pair(1.0085, 2.7), tokens=None, tokenizer=None))
    assert decide("BYT004", built).outcome is Outcome.NOT_AVAILABLE
    assert decide("VAL006", built).outcome is Outcome.NOT_AVAILABLE


def test_a_claim_that_is_already_corrected_is_a_fact() -> None:
    wrong = pair(0.97791756, 3.43969)
    built = submission(run(42, wrong, tokens=47_851_520, tokenizer=CASEOPS), claims=metadata(1.0654))
    decision = decide("BYT004", built)
    assert decision.outcome is Outcome.INFO
    assert "already is the corrected score" in decision.reason
    unclaimed = submission(run(42, wrong, tokens=47_851_520, tokenizer=CASEOPS), claims=metadata(0.9779))
    assert decide("BYT004", unclaimed).outcome is Outcome.FAIL


def test_transformed_bytes_and_the_sidecar() -> None:
    flat = submission(run(42, pair(0.9779, 3.43969), tokens=47_851_520, tokenizer=SP8192))
    sidecar = submission(run(42, pair(1.0655, 3.157152), tokens=47_851_520, tokenizer=CASEOPS))
    assert decide("BYT003", flat).outcome is Outcome.FAIL
    decision = decide("BYT003", sidecar)
    assert decision.outcome is Outcome.PASS
    assert "bytes of the original" in decision.reason


CASEOPS_9000 = "./tokenizers/fineweb_9000_bpe_caseops.model"
TRANSFORMED = 164_594_398
"""Bytes of the case-transformed validation text, whatever the vocabulary."""


def test_transformed_bytes_of_a_vocabulary_without_a_known_ratio() -> None:
    flat = submission(run(42, pair(0.9779, TRANSFORMED / 47_000_064), tokens=47_000_064, tokenizer=CASEOPS_9000))
    decision = decide("BYT003", flat)
    assert decision.outcome is Outcome.FAIL
    assert "1.0654 BPB" in decision.reason
    sidecar = submission(run(42, pair(1.0655, 151_080_891 / 47_000_064), tokens=47_000_064, tokenizer=CASEOPS_9000))
    assert decide("BYT003", sidecar).outcome is Outcome.PASS
    # The same total says nothing about a tokenizer of plain text.
    plain = submission(run(42, pair(0.9779, TRANSFORMED / 41_000_000), tokens=41_000_000, tokenizer="./own_7000.model"))
    assert decide("BYT003", plain).outcome is not Outcome.FAIL


def test_a_claimed_line_that_counts_controls_beside_one_that_does_not() -> None:
    sound_line = pair(1.1012, 3.157152, "quantized_sliding_window", 90)
    mixer = pair(0.97949, 3.43969, "quantized_cond_mixer", 95)
    runs = [run(seed, sound_line, mixer, tokens=47_851_520, tokenizer=CASEOPS) for seed in (42, 314)]
    assert decide("BYT003", submission(*runs, claims=metadata(0.97949))).outcome is Outcome.FAIL
    corrected = decide("BYT003", submission(*runs, claims=metadata(1.06713)))
    assert corrected.outcome is Outcome.INFO
    assert "already is the corrected score" in corrected.reason
    other = decide("BYT003", submission(*runs, claims=metadata(1.1012)))
    assert other.outcome is Outcome.INFO
    assert "another number" in other.reason


def test_a_tenth_more_bytes_than_the_other_lines_over_a_part_of_the_text() -> None:
    sound_line = pair(1.1015, 3.1008, "diagnostic quantized", 90)
    mixer = pair(1.0152, 3.39005, "quantized_cond_mixer", 95)
    built = submission(run(42, sound_line, mixer, tokens=9_662_464, tokenizer=CASEOPS), claims=metadata(1.0152))
    decision = decide("BYT003", built)
    assert decision.outcome is Outcome.REVIEW
    assert "+9.33%" in decision.reason
    plain = submission(run(42, sound_line, mixer, tokens=9_662_464, tokenizer=SP8192), claims=metadata(1.0152))
    assert decide("BYT003", plain).outcome is not Outcome.REVIEW


def test_transformed_tokens_without_a_sidecar_in_the_code() -> None:
    def built(code: str) -> Submission:
        script = ScriptFile("train_gpt.py", len(code), "0" * 64, code, (), None, (), ())
        program = Program(script, "train_gpt.py", (script,), (), ())
        odd = run(42, pair(1.01, 3.3), tokens=47_851_520, tokenizer=CASEOPS)
        return dataclasses.replace(submission(odd), program=program)

    assert decide("BYT003", built("base_bytes = build_tables(sp)")).outcome is Outcome.REVIEW
    assert decide("BYT003", built("sidecar = load_validation_bytes(pattern)")).outcome is Outcome.NOT_AVAILABLE


def test_transformed_tokens_of_other_documents_are_not_shown_to_be_divided_by_the_original() -> None:
    lowered = "./data/tokenizers/fineweb_10240_casefold_bpe.model"
    foreign = submission(run(42, pair(1.07044135, 3.9589), tokens=49_999_872, tokenizer=lowered))
    assert decide("BYT003", foreign).outcome is Outcome.NOT_AVAILABLE
    own = submission(run(42, pair(1.07044135, 151_080_891 / 45_000_064), tokens=45_000_064, tokenizer=lowered))
    assert decide("BYT003", own).outcome is Outcome.PASS


def test_a_mixture_line_is_recognised_and_not_judged() -> None:
    network = pair(1.0776, 3.726631, "quantized", 90)
    mixture = dataclasses.replace(metric("0.99100000", network.loss.text if network.loss else None, "score", 95))
    built = submission(run(42, network, mixture, tokens=40_540_160, tokenizer=SP8192))
    decision = decide("BYT004", built)
    assert decision.outcome is Outcome.INFO
    assert "not judged" in decision.reason
    assert decide("VAL006", built).outcome is Outcome.PASS


def test_a_short_export_is_a_fact() -> None:
    built = submission(run(42, pair(1.2, 2.961320), tokens=50_905_088, tokenizer="fineweb_2048_bpe.model"))
    assert decide("BYT004", built).outcome is Outcome.INFO
    assert decide("VAL006", built).outcome is Outcome.PASS


def test_other_documents() -> None:
    foreign = submission(run(42, pair(1.04, 3.958901), tokens=49_999_872, tokenizer="fineweb_10240_casefold_bpe.model"))
    assert decide("VAL006", foreign).outcome is Outcome.FAIL
    assert decide("BYT004", foreign).outcome is Outcome.FAIL


def test_the_export_before_the_launch_is_for_a_human() -> None:
    early = submission(run(42, pair(1.2, 2.442309), tokens=63_779_840))
    assert decide("VAL006", early).outcome is Outcome.REVIEW
    assert decide("BYT004", early).outcome is Outcome.REVIEW


def test_a_small_part_of_the_text_is_said_to_be_one() -> None:
    decision = decide("BYT004", submission(run(42, pair(1.39, 2.4071), tokens=999_425)))
    assert decision.outcome is Outcome.FAIL
    assert "only a part of the validation set" in decision.reason


def test_an_unknown_stream_is_for_a_human_and_a_known_count_is_the_contests() -> None:
    unknown = submission(run(42, pair(1.1, 1.2846), tokens=144_967_680, tokenizer="gravity_beta_1.0.model"))
    assert decide("VAL006", unknown).outcome is Outcome.REVIEW
    assert decide("BYT004", unknown).outcome is Outcome.FAIL
    wrong_table = submission(run(42, pair(0.8717, 4.2313), tokens=45_514_752, tokenizer="fineweb_4096_bpe.model"))
    assert decide("VAL006", wrong_table).outcome is Outcome.PASS
    assert decide("BYT004", wrong_table).outcome is Outcome.FAIL


def test_metadata_that_overcounts_says_nothing_about_the_documents() -> None:
    built = submission(run(42, pair(1.0777, 2.5806), tokens=62_363_648, tokenizer="scylla/candidate.vocab"))
    assert decide("BYT004", built).outcome is Outcome.FAIL
    assert decide("VAL006", built).outcome is Outcome.NOT_AVAILABLE


def with_files(built: Submission, *names: str, sha256: str = "a" * 64, kind: str = "sentencepiece", **more: object) -> Submission:
    return dataclasses.replace(
        built,
        files=tuple(FileEntry(name, "file", 10, sha256, False) for name in names),
        binaries=tuple(BinaryFile(name, kind, 10, sha256, **more) for name in names),  # type: ignore[arg-type]
    )


def test_a_withdrawn_bundle_by_its_hash() -> None:
    digest, what = next(iter(CHALLENGE.withdrawn_bundles.items()))
    decision = decide("BYT006", with_files(sound(), "candidate.vocab", sha256=digest, kind="tokenmonster"))
    assert decision.outcome is Outcome.FAIL
    assert what in decision.reason
    assert decision.findings[0].locations == (Location("candidate.vocab"),)


def test_a_bundle_of_another_content_passes() -> None:
    assert decide("BYT006", with_files(sound(), "own.vocab", kind="tokenmonster")).outcome is Outcome.PASS


def test_metadata_of_a_withdrawn_shape_is_for_a_human() -> None:
    shape = (
        ("base_bytes.npy", "<i2", (998,)),
        ("has_leading_space.npy", "|b1", (998,)),
        ("is_boundary_token.npy", "|b1", (998,)),
    )
    other = tuple((name, dtype, (1254,)) for name, dtype, _ in shape)
    assert decide("BYT006", with_files(sound(), "m.npz", kind="npz", arrays=shape)).outcome is Outcome.REVIEW
    assert decide("BYT006", with_files(sound(), "m.meta.npz", kind="npz", arrays=other)).outcome is Outcome.PASS


def test_metadata_of_a_withdrawn_shape_that_counts_every_token_right() -> None:
    stored = [first + second for first in MARK_FREE for second in MARK_FREE][:998]
    arrays = tuple((name, "int16", (998,)) for name in ("base_bytes", "has_leading_space", "is_boundary_token"))

    def built(lengths: list[int]) -> Submission:
        vocab = vocabulary(stored, capcode=0, normalization=0)
        files = (
            BinaryFile("own.vocab", "tokenmonster", len(vocab), "1" * 64, 998, content=vocab),
            BinaryFile("own.meta.npz", "npz", 10, "2" * 64, None, arrays, byte_table(lengths)),
        )
        return dataclasses.replace(sound(), binaries=files)

    assert decide("BYT006", built([len(text) for text in stored])).outcome is Outcome.PASS
    assert decide("BYT006", built([3] * 998)).outcome is Outcome.REVIEW


def test_an_unshipped_tokenmonster_vocabulary_is_known_by_its_token_count() -> None:
    def scored(tokens: int) -> Submission:
        return submission(run(42, pair(1.08, 2.33), tokens=tokens, tokenizer="./scylla/candidate.vocab"))

    decision = decide("BYT006", scored(61_999_104))
    assert decision.outcome is Outcome.REVIEW
    assert "has the same name" in decision.reason
    assert decide("BYT006", scored(64_893_341)).outcome is Outcome.NOT_APPLICABLE


def custom(seed: int = 42) -> Run:
    path = "tokenizers/fineweb_6000_bpe.model"
    return run(seed, pair(1.08, 151_080_891 / 42_000_000), tokens=42_000_000, tokenizer=path)


def test_a_custom_tokenizer_must_be_shipped() -> None:
    missing = submission(custom())
    decision = decide("BYT008", missing)
    assert decision.outcome is Outcome.FAIL
    assert decision.findings[0].locations[0].line == 4
    assert decide("BYT008", with_files(missing, "tokenizers/fineweb_6000_bpe.model")).outcome is Outcome.PASS
    rebuilt = dataclasses.replace(missing, files=(FileEntry("prepare_shards.py", "file", 10, None, False),))
    assert decide("BYT008", rebuilt).outcome is Outcome.REVIEW
    # a lossless tokenizer of any size gives the full text
    assert decide("BYT004", missing).outcome is Outcome.PASS


def test_what_does_not_count_as_a_shipped_tokenizer() -> None:
    missing = submission(custom())

    def listed(name: str, size: int) -> Submission:
        return dataclasses.replace(missing, files=(FileEntry(name, "file", size, None, False),))

    assert decide("BYT008", listed("fineweb_6000_bpe.model", 130)).outcome is Outcome.FAIL
    assert decide("BYT008", listed("tokenizer_specs.json", 4_000)).outcome is Outcome.FAIL
    assert decide("BYT008", listed("own.meta.npz", 4_000)).outcome is Outcome.FAIL
    assert decide("BYT008", listed("fineweb_6000_bpe.vocab", 90_000)).outcome is Outcome.PASS


def test_a_shipped_model_of_another_size_is_for_a_human() -> None:
    missing = submission(custom())
    other = with_files(missing, "fineweb_1024_bpe.model", vocab_size=1024)
    decision = decide("BYT008", other)
    assert decision.outcome is Outcome.REVIEW
    assert "1024 entries" in decision.reason
    assert decide("BYT008", with_files(missing, "renamed.model", vocab_size=6000)).outcome is Outcome.PASS


def test_a_script_that_downloads_the_tokenizer_is_for_a_human() -> None:
    code = "from huggingface_hub import snapshot_download\nsnapshot_download('someone/own-tokenizer')\n"
    script = ScriptFile("train_gpt.py", len(code), "0" * 64, code, (), None, (), ())
    built = dataclasses.replace(submission(custom()), program=Program(script, "train_gpt.py", (script,), (), ()))
    decision = decide("BYT008", built)
    assert decision.outcome is Outcome.REVIEW
    assert ("train_gpt.py", 2) in [(location.path, location.line) for location in decision.findings[0].locations]


def test_the_more_specific_of_two_paths_names_the_tokenizer() -> None:
    one = run(42, pair(1.0655, 3.157152), tokens=None, tokenizer=CASEOPS)
    one = dataclasses.replace(one, data_path=Value("./data/datasets/fineweb10B_sp8192", Location(one.path, 6)))
    assert decide("BYT008", submission(one)).outcome is Outcome.FAIL
    assert decide("BYT004", submission(one)).outcome is Outcome.PASS


def test_a_json_without_a_number_is_no_claim() -> None:
    built = submission(run(42, pair(1.0085, 2.8672), tokenizer=SP1024), claims=metadata(None))
    assert decide("BYT004", built).outcome is Outcome.FAIL


def test_a_headline_without_a_loss_is_measured_on_the_same_run() -> None:
    bare = metric("0.95000000", None, "ngram_mix", 95)
    sound_run = submission(run(42, pair(1.0776, 3.726631, "quantized", 90), bare, tokens=40_540_160, tokenizer=SP8192))
    wrong_run = submission(run(42, pair(1.0776, 4.3864, "quantized", 90), bare, tokens=40_540_160, tokenizer=SP8192))
    assert decide("BYT004", sound_run).outcome is Outcome.PASS
    assert decide("BYT004", wrong_run).outcome is Outcome.REVIEW


def test_a_line_that_contradicts_its_own_run_is_for_a_human() -> None:
    built = submission(
        run(42, pair(1.0776, 3.726631, "quantized", 90), pair(0.99, 4.1, "final"), tokens=40_540_160, tokenizer=SP8192)
    )
    decision = decide("BYT004", built)
    assert decision.outcome is Outcome.REVIEW
    assert "Other lines of this run imply another size" in decision.reason
    assert decide("VAL006", built).outcome is Outcome.PASS


def test_seeds_with_one_fault_make_one_statement() -> None:
    decision = decide("BYT004", submission(*(run(seed, pair(1.0085, 2.8672)) for seed in (42, 314, 999))))
    assert len(decision.findings) == 1
    assert {location.path for location in decision.findings[0].locations} == {f"train_seed{seed}.log" for seed in (42, 314, 999)}


def test_ratios_that_drift_within_a_run_prove_no_byte_table_wrong() -> None:
    step = metric("1.2160", "2.0256", "step", 50, step=59_000)
    drifting = submission(run(42, step, metric("1.2353", "2.0784", "final", 95)))
    assert decide("BYT004", drifting).outcome is Outcome.REVIEW
