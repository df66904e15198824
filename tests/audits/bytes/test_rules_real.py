"""The rules about bytes on real bundles and models. Needs CONTEST_VERIFIER_DATA."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import sentencepiece

from audits.bytes.drift import DriftClass, compare_table
from audits.bytes.losses import PROBES, describe_normalization, pass_through
from audits.bytes.normalizer import normalize
from audits.bytes.rule_metadata import METADATA_DRIFT
from audits.bytes.rule_normalization import LOSSY
from audits.bytes.sentencepiece_model import parse_model
from audits.bytes.shipped import open_table, open_tokenizer
from audits.denominator.tokenizer_files import SUPERSEDED_TOKENIZER
from audits.denominator.transformed import TRANSFORMED_BYTES
from fixtures.record import Record, files_of
from verifier.challenge.load import load_challenge
from verifier.engine.context import Context
from verifier.rule import Outcome
from verifier.submission.disk_source import DiskSource
from verifier.submission.load import load_submission

DATA = Path(os.environ.get("CONTEST_VERIFIER_DATA", "/nonexistent"))
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="CONTEST_VERIFIER_DATA is not set")
MODELS = {
    "fineweb_1024_bpe.model": False,
    "fineweb_4096_bpe.model": False,
    "fineweb_8192_bpe.model": False,
    "fineweb_8192_bpe_casefold_refined_v2.model": True,
    "fineweb_8192_bpe_lossless_caps_caseops_v1_reserved.model": False,
    "gravity_beta_1.0.model": False,
}
"""Whether the vocabulary is one of lower-cased text."""


def context(below: Path, record: Record, files: dict[str, bytes]) -> Context:
    for name, data in {**files_of(record), **files}.items():
        (below / name).parent.mkdir(parents=True, exist_ok=True)
        (below / name).write_bytes(data)
    submission = load_submission(DiskSource(below, "records/track_10min_16mb/2026-04-30_Real"))
    return Context(submission, load_challenge())


def test_the_withdrawn_bundle_is_wrong_in_two_classes() -> None:
    model = open_tokenizer((DATA / "scylla_998/candidate.vocab").read_bytes(), "tokenmonster")
    drift = compare_table(open_table((DATA / "scylla_998/candidate.meta.npz").read_bytes(), "candidate.meta.npz"), model)
    found = {one.kind: (len(one.ids), one.low, one.high) for one in drift.classes}
    assert found == {DriftClass.BYTE_TOKENS: (27, 2, 2), DriftClass.OPEN_MARKS: (35, 1, 1)}
    assert [one.label for one in drift.classes[-1].worst[:3]] == ["D", "DC", "DW"]
    corrected = compare_table(open_table((DATA / "scylla_998/correct_meta.npz").read_bytes(), "correct_meta.npz"), model)
    assert [one.kind for one in corrected.classes] == [DriftClass.OPEN_MARKS]


def test_the_byte_native_bundle_has_no_drift() -> None:
    model = open_tokenizer((DATA / "scylla_1254/scylla.yaml").read_bytes(), "tokenmonster-yaml")
    drift = compare_table(open_table((DATA / "scylla_1254/scylla.meta.npz").read_bytes(), "scylla.meta.npz"), model)
    assert (drift.classes, drift.size_mismatch, drift.lossless) == ((), "", True)


def test_a_run_on_the_withdrawn_bundle(tmp_path: Path) -> None:
    record = Record(
        name="2026-04-30_Real",
        dataset="fineweb10B_scylla",
        tokenizer_path="./candidate.vocab",
        val_tokens=61_999_104,
        bytes_per_token=2.567144,
    )
    files = {name: (DATA / "scylla_998" / name).read_bytes() for name in ("candidate.vocab", "candidate.meta.npz")}
    built = context(tmp_path, record, files)
    decision = METADATA_DRIFT.decide(built)
    assert decision.outcome is Outcome.FAIL
    for words in ("27 of 27 byte tokens +2", "35 of 35 open delete marks +1", "too many bytes", "+5.35% against"):
        assert words in decision.reason
    cited = {location.path for location in decision.findings[0].locations}
    assert {"candidate.meta.npz", "candidate.vocab", "train_seed42.log"} <= cited
    assert SUPERSEDED_TOKENIZER.decide(built).outcome is Outcome.FAIL
    assert LOSSY.decide(built).outcome is Outcome.REVIEW


def test_a_run_on_the_byte_native_bundle(tmp_path: Path) -> None:
    record = Record(
        name="2026-04-30_Real",
        dataset="fineweb10B_scylla",
        tokenizer_path="./scylla.yaml",
        val_tokens=64_893_341,
        bytes_per_token=151_080_891 / 64_893_341,
    )
    files = {name: (DATA / "scylla_1254" / name).read_bytes() for name in ("scylla.yaml", "scylla.meta.npz")}
    built = context(tmp_path, record, files)
    assert [rule.decide(built).outcome for rule in (METADATA_DRIFT, LOSSY, SUPERSEDED_TOKENIZER, TRANSFORMED_BYTES)] == [
        Outcome.PASS
    ] * 4


@pytest.mark.parametrize("name", list(MODELS))
def test_the_normalizer_writes_what_the_library_writes(name: str) -> None:
    data = (DATA / "tokenizers" / name).read_bytes()
    model = parse_model(data)
    library = sentencepiece.SentencePieceProcessor(model_proto=data)
    with (DATA / "text/fineweb_val_200docs.jsonl").open(encoding="utf-8") as handle:
        texts = [json.loads(line)["text"][:2000] for _, line in zip(range(20), handle, strict=False)]
    texts += ["|".join(map(chr, range(first, first + 64))) for first in range(0x20, 0x3020, 64)] + [text for _, text, _ in PROBES]
    for text in texts:
        expected = library.normalize(text).replace("\u2581", " ")
        if model.flag("add_dummy_prefix"):
            expected = expected.removeprefix(" ")
        assert normalize(model, text) == expected, text[:40]


@pytest.mark.parametrize("name", list(MODELS))
def test_no_real_model_but_the_folded_one_is_doubted(name: str) -> None:
    found = describe_normalization(open_tokenizer((DATA / "tokenizers" / name).read_bytes(), "sentencepiece"))
    assert found.beyond_baseline == ()
    assert found.no_capitals is MODELS[name]


def test_the_examples_are_those_of_the_published_tokenizer() -> None:
    model = open_tokenizer((DATA / "tokenizers/fineweb_1024_bpe.model").read_bytes(), "sentencepiece")
    for _, before, after in PROBES:
        assert pass_through(model, before) == after
