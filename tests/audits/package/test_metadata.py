"""PKG005: what a parser refuses, what is absent, what is in the wrong unit."""

from __future__ import annotations

from pathlib import Path

import pytest

from audits.package.metadata import METADATA_INVALID
from tests.audits.package.folders import clean, decide, with_json
from verifier.limits import Limits
from verifier.rule import Outcome


def test_a_complete_file_passes(tmp_path: Path) -> None:
    assert decide(METADATA_INVALID, tmp_path, clean()).outcome is Outcome.PASS


def test_aliases_count(tmp_path: Path) -> None:
    files = with_json(val_bpb=None, mean_val_bpb=1.0390, bytes_total=None, artifact_bytes=15_900_000, author=None)
    assert decide(METADATA_INVALID, tmp_path, files).outcome is Outcome.PASS


@pytest.mark.parametrize(
    "text",
    [
        b'{"author": "A", "val_bpb": 1.1, "bytes_total": 15900000,}',
        b'{"author": "A" "val_bpb": 1.1, "bytes_total": 15900000}',
        b'json\n{"author": "A", "val_bpb": 1.1, "bytes_total": 15900000}',
        b'{"author": "A", "val_bpb": 1.1, "bytes_total": 15900000}\n{"author": "A"}',
        b"cat > submission.json <<EOF\n",
        b"",
    ],
)
def test_what_a_strict_parser_refuses_fails_with_its_line(tmp_path: Path, text: bytes) -> None:
    decision = decide(METADATA_INVALID, tmp_path, clean() | {"submission.json": text})
    assert decision.outcome is Outcome.FAIL
    assert decision.findings[0].locations[0].path == "submission.json"


@pytest.mark.parametrize(
    "text",
    [
        b'\xef\xbb\xbf{"author": "A", "val_bpb": 1.1, "bytes_total": 15900000}',
        b'{"author": "A", "val_bpb": 1.1, "val_bpb": 1.1, "bytes_total": 15900000}',
        b'{"author": "A", "val_bpb": 1.1, "bytes_total": 15900000, "x": NaN}',
    ],
)
def test_what_parsers_disagree_on_is_for_a_human(tmp_path: Path, text: bytes) -> None:
    assert decide(METADATA_INVALID, tmp_path, clean() | {"submission.json": text}).outcome is Outcome.REVIEW


@pytest.mark.parametrize("value", ["TBD", 0, -1.0])
def test_an_unusable_score_fails_at_its_line(tmp_path: Path, value: object) -> None:
    decision = decide(METADATA_INVALID, tmp_path, with_json(val_bpb=value, seed_results=None, val_bpb_std=None))
    assert decision.outcome is Outcome.FAIL
    (finding,) = decision.findings
    assert "no usable val_bpb" in finding.message
    assert "val_bpb" in finding.locations[0].excerpt


def test_a_score_under_the_name_of_the_loss_is_pointed_out(tmp_path: Path) -> None:
    files = with_json(val_bpb=None, val_loss=1.1428, seed_results=None)
    decision = decide(METADATA_INVALID, tmp_path, files)
    assert decision.outcome is Outcome.FAIL
    assert "looks like bits per byte" in decision.reason
    assert "val_loss" in decision.findings[0].locations[0].excerpt


def test_no_author_and_no_size(tmp_path: Path) -> None:
    files = with_json(author=None, github_id=None, bytes_total=None, bytes_code=None, seed_results=None)
    messages = [finding.message for finding in decide(METADATA_INVALID, tmp_path, files).findings]
    assert any("names no author" in message for message in messages)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"bytes_total": 15.9}, "so few bytes"),
        ({"val_bpb": 9.3}, "above 8 bits"),
        ({"val_loss": 1.0390, "val_bpb": 1.0390}, "can't agree"),
        ({"eval_time_seconds": 41_000_000}, "milliseconds"),
    ],
)
def test_a_number_in_a_wrong_unit_is_for_a_human(tmp_path: Path, changes: dict[str, object], word: str) -> None:
    decision = decide(METADATA_INVALID, tmp_path, with_json(**changes))
    assert decision.outcome is Outcome.REVIEW
    assert word in decision.reason


def test_sizes_of_tiny_models_and_long_runs_are_no_mistakes(tmp_path: Path) -> None:
    files = with_json(bytes_total=450_000, training_time_seconds=206_285)
    assert decide(METADATA_INVALID, tmp_path, files).outcome is Outcome.PASS


def test_a_file_beyond_the_limits_is_not_judged(tmp_path: Path) -> None:
    assert decide(METADATA_INVALID, tmp_path, clean(), Limits(json_file=50)).outcome is Outcome.NOT_AVAILABLE
    assert decide(METADATA_INVALID, tmp_path, clean(), Limits(json_items=3)).outcome is Outcome.NOT_AVAILABLE


def test_no_file_is_another_rules_business(tmp_path: Path) -> None:
    files = clean()
    del files["submission.json"]
    assert decide(METADATA_INVALID, tmp_path, files).outcome is Outcome.NOT_AVAILABLE
