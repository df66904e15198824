"""submission.json in the shapes that occur, and in those that should not hurt."""

from __future__ import annotations

import datetime
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifier.limits import Limits
from verifier.submission.json_reader import JsonKind, read_json
from verifier.submission.metadata import Metadata, read_metadata

PATH = "submission.json"


def read(text: str) -> Metadata:
    return read_metadata(PATH, text.encode())


def kinds(metadata: Metadata) -> list[str]:
    return [problem.kind for problem in metadata.problems]


def test_values_keep_line_and_printed_digits() -> None:
    metadata = read('{\n  "author": "Ada",\n  "val_bpb": 1.08100,\n  "bytes_total": 15978870\n}\n')
    assert metadata.strict
    assert metadata.val_bpb is not None
    assert (metadata.val_bpb.value, metadata.val_bpb.printed, metadata.val_bpb.source.line) == (1.081, "1.08100", 3)
    assert metadata.val_bpb.source.excerpt == '"val_bpb": 1.08100,'
    assert metadata.bytes_total is not None
    assert metadata.bytes_total.value == 15_978_870
    assert metadata.author is not None
    assert metadata.author.value == "Ada"


@pytest.mark.parametrize(
    "text",
    [
        '{"seed_results": {"42": {"val_bpb": 1.1, "artifact_bytes": 15900000}, "1337": {"val_bpb": 1.2}}}',
        '{"seed_results": [{"seed": 42, "val_bpb": 1.1, "artifact_bytes": 15900000}, {"seed": 1337, "val_bpb": 1.2}]}',
        '{"seed_42": {"val_bpb": 1.1, "bytes_total": 15900000}, "seed_1337": {"val_bpb": 1.2}}',
        '{"seeds": [42, 1337], "val_bpb_seeds": [1.1, 1.2], "artifact_bytes": {"42": 15900000}}',
        '{"val_bpb": {"42": "1.1", "1337": "1.2"}, "artifact_bytes": {"42": "15.9MB"}}',
        '{"val_bpb_per_seed": {"seed_42": 1.1, "seed_1337": 1.2}, "artifact_mb_by_seed": {"seed_42": 15.9}}',
        '{"results": {"seeds": {"42": {"bpb": 1.1, "total_bytes": 15900000}, "1337": {"bpb": 1.2}}}}',
    ],
)
def test_seed_shapes_say_the_same(text: str) -> None:
    claims = {claim.seed: claim for claim in read(text).seed_claims}
    assert set(claims) == {42, 1337}
    assert [claims[seed].val_bpb.value for seed in (42, 1337)] == [1.1, 1.2]  # type: ignore[union-attr]
    size = claims[42].artifact_bytes
    assert size is not None
    assert size.value == 15_900_000


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ('"val_bpb": 1.0973', 1.0973),
        ('"mean_val_bpb": 1.0973', 1.0973),
        ('"val_bpb": null, "val_bpb_mean": 1.0973', 1.0973),
        ('"val_bpb": "1.0973"', 1.0973),
        ('"val_bpb": {"mean": 1.0973, "seed_42": 1.1}', 1.0973),
        ('"results": {"val_bpb": 1.0973}', 1.0973),
        ('"val_bpb": "TBD"', None),
        ('"val_bpb": 0.0', None),
        ('"pre_quant_val_bpb": 1.0973', None),
        ('"baseline_val_bpb": 1.0973', None),
        ('"superseded_results": {"val_bpb": 1.0973}', None),
    ],
)
def test_headline_score(member: str, value: float | None) -> None:
    score = read("{" + member + "}").val_bpb
    assert (score.value if score else None) == value


def test_an_unfilled_template_is_a_problem_not_a_score() -> None:
    metadata = read('{"val_bpb": "<fill after runs>"}')
    assert metadata.val_bpb is None
    assert kinds(metadata) == ["unusable-value"]


@pytest.mark.parametrize(
    ("key", "value", "seconds"),
    [
        ("train_time_ms", "590103", 590.103),
        ("training_time_seconds", "600", 600.0),
        ("training_time_minutes", "10", 600.0),
        ("train_time", '"~588s"', 588.0),
        ("training_time_hours", "1.5", 5400.0),
    ],
)
def test_time_units(key: str, value: str, seconds: float) -> None:
    fact = read(f'{{"{key}": {value}}}').train_seconds
    assert fact is not None
    assert fact.value == pytest.approx(seconds)


def test_the_arm_with_the_claimed_mean_is_the_submission() -> None:
    metadata = read(
        '{"val_bpb": 1.15, "seed_results": {"control": {"seed_1": 1.3, "seed_2": 1.4}, "ours": {"seed_1": 1.1, "seed_2": 1.2}}}'
    )
    assert [claim.val_bpb.value for claim in metadata.seed_claims if claim.val_bpb] == [1.1, 1.2]


def test_a_named_metric_is_the_score_only_when_its_mean_is_claimed() -> None:
    seeds = '"seeds": {"1": {"sliding_bpb": 1.1, "ttt_bpb": 1.0}, "2": {"sliding_bpb": 1.2, "ttt_bpb": 1.1}}'
    quoted = read('{"val_bpb": 1.05, ' + seeds + "}")
    assert [claim.val_bpb.value for claim in quoted.seed_claims if claim.val_bpb] == [1.0, 1.1]
    other = read('{"val_bpb": 1.3, ' + seeds + "}")
    assert [claim.val_bpb for claim in other.seed_claims] == [None, None]


def test_decoys_are_kept_apart() -> None:
    metadata = read('{"superseded_seed_results": {"42": {"val_bpb": 1.5}}, "comparison_baseline_bpb": 1.2, "val_bpb": 1.1}')
    assert metadata.seed_claims == ()
    assert {fact.value for fact in metadata.decoys} == {1.5, 1.2}


def test_texts_flags_and_day() -> None:
    metadata = read('{"blurb": "No TTT.", "compliance": {"no_slot": true}, "date": "2026-04-08T00:00:00Z"}')
    assert [(fact.name, fact.value) for fact in metadata.texts] == [("blurb", "No TTT.")]
    assert [(fact.name, fact.value) for fact in metadata.flags] == [("compliance.no_slot", True)]
    assert metadata.day == datetime.date(2026, 4, 8)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b'\xef\xbb\xbf{"val_bpb": 1.1}', "bom"),
        (b'{"val_bpb": 1.1}\n{"val_bpb": 1.2}', "extra-data"),
        (b'cat > submission.json <<EOF\n{"val_bpb": 1.1}\nEOF\n', "leading-text"),
        (b'json\n{"val_bpb": 1.1}', "leading-text"),
        (b'{"name": "x"\n "val_bpb": 1.1}', "missing-comma"),
        (b'{"val_bpb": 1.1,}', "trailing-comma"),
        (b'{"val_bpb": 1.1, "date": "2026-03-28', "unterminated-string"),
        (b'{"val_bpb": 1.1, "a": {"b": 2}', "invalid-json"),
        (b'{"val_bpb": 1.5, "val_bpb": 1.1}', "duplicate-key"),
        (b'{"val_loss": NaN, "val_bpb": 1.1}', "not-finite"),
        (b'{"val_bpb": 1.1, "a": "\xff"}', "undecodable"),
        (b'{"val_bpb": 1.1, "a": "one\ntwo"}', "control-character"),
    ],
)
def test_broken_files_are_read_and_reported(data: bytes, kind: str) -> None:
    metadata = read_metadata(PATH, data)
    assert metadata.val_bpb is not None
    assert metadata.val_bpb.value == 1.1
    assert not metadata.strict
    assert kind in kinds(metadata)


@pytest.mark.parametrize("data", [b"", b"not json at all", b"[1, 2]", b'"text"', b"\x00\x01"])
def test_no_object_is_said(data: bytes) -> None:
    metadata = read_metadata(PATH, data)
    assert not metadata.parsed
    assert metadata.problems


def test_limits_end_reading_with_a_problem() -> None:
    small = Limits(json_items=10, json_depth=3, json_file=1000)
    assert "json-limit" in [p.kind for p in read_json(PATH, b"[" + b"1," * 50 + b"1]", small).problems]
    assert "too-deep" in [p.kind for p in read_json(PATH, b'{"a":' * 9 + b"1" + b"}" * 9, small).problems]
    assert "too-large" in [p.kind for p in read_json(PATH, b" " * 2000, small).problems]


@pytest.mark.parametrize(
    "data", [b"[" * 100_000, b'{"a":' * 50_000, b'{"a":"' + b"\n" * 100_000, b'{"a":' + b"9" * 100_000 + b"}"]
)
def test_hostile_nesting_and_length(data: bytes) -> None:
    assert read_metadata(PATH, data).problems


def test_lone_surrogates_can_be_printed() -> None:
    document = read_json(PATH, b'{"a": "\\ud83d\\ude00 \\ud800"}')
    assert document.root is not None
    value = document.root.get("a")
    assert value is not None
    assert value.text == "\N{GRINNING FACE} \N{REPLACEMENT CHARACTER}"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), _JSON, max_size=5))
def test_valid_json_is_read_as_json_does(value: dict[str, object]) -> None:
    document = read_json(PATH, json.dumps(value).encode())
    assert document.strict
    assert document.root is not None
    assert [key for key, _ in document.root.members] == list(value)
    for key, member in document.root.members:
        if isinstance(value[key], str):
            assert member.kind is JsonKind.STRING
            assert member.text == value[key]


@given(st.binary(max_size=300) | st.text(alphabet='{}[]",:\\ntrue1.e-', max_size=200).map(str.encode))
def test_any_bytes_end_in_metadata(data: bytes) -> None:
    metadata = read_metadata(PATH, data)
    assert metadata == read_metadata(PATH, data)
    assert metadata.parsed or metadata.problems
