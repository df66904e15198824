"""The shipped data are consistent, and a broken file is refused with its place."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from verifier.challenge.load import DATA, ChallengeError, load_challenge


@pytest.fixture
def constants() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((DATA / "parameter_golf.json").read_text())
    return loaded


def write(folder: Path, constants: object, leaderboard: object | None = None) -> Path:
    rows = leaderboard if leaderboard is not None else json.loads((DATA / "leaderboard.json").read_text())
    (folder / "leaderboard.json").write_text(json.dumps(rows))
    file = folder / "challenge.json"
    file.write_text(json.dumps(constants))
    return file


def test_the_shipped_constants() -> None:
    challenge = load_challenge()
    assert challenge.name == "parameter-golf"
    assert (challenge.artifact_cap, challenge.train_budget, challenge.eval_budget) == (16_000_000, 600.0, 600.0)
    assert (challenge.margin_nats, challenge.margin_level, challenge.val_bytes) == (0.005, 0.01, 151_080_891)


def test_every_full_stream_has_the_size_of_the_text() -> None:
    challenge = load_challenge()
    for stream in challenge.streams:
        deviation = abs(stream.total_bytes / challenge.val_bytes - 1)
        if stream.status == "canonical":
            assert deviation < 5e-4, stream
        elif stream.status == "short-export":
            assert deviation < 3e-3, stream
        else:
            assert deviation > 3e-3, stream


def test_the_leaderboard_is_ordered_by_day_and_one_row_fell() -> None:
    rows = load_challenge().leaderboard
    assert [row.day for row in rows] == sorted(row.day for row in rows)
    assert len(rows) == 45
    assert [(row.printed, row.withdrawn) for row in rows if row.withdrawn] == [("1.1574", "2026-03-19")]
    exact = {row.pr: row for row in rows if row.bpb_seeds}
    assert exact[1019].bpb == pytest.approx(1.11473509, abs=1e-8)
    assert len(exact[1394].bpb_seeds) == 5


def test_a_leaderboard_of_ones_own(tmp_path: Path) -> None:
    row: dict[str, object] = {
        "day": "2026-04-01",
        "pr": None,
        "name": "one",
        "printed": "1.1",
        "bpb": 1.1,
        "val_loss": None,
        "bpb_seeds": [],
        "loss_seeds": [],
    }
    file = tmp_path / "own.json"
    file.write_text(json.dumps({"schema": 1, "rows": [row]}))
    assert [entry.bpb for entry in load_challenge(leaderboard=file).leaderboard] == [1.1]


def drop(key: str) -> Callable[[dict[str, Any]], None]:
    return lambda constants: constants.pop(key) and None


def put(key: str, value: object) -> Callable[[dict[str, Any]], None]:
    return lambda constants: constants.update({key: value})


@pytest.mark.parametrize(
    ("breakage", "message"),
    [
        (drop("val_bytes"), "val_bytes: is missing"),
        (put("val_byte", 1), "unknown key val_byte"),
        (put("schema", 2), "this version reads schema 1"),
        (put("artifact_cap", -1), "artifact_cap: must be a positive whole number"),
        (put("artifact_cap", True), "artifact_cap: must be a positive whole number"),
        (put("margin_nats", "0.005"), "margin_nats: must be a positive number"),
        (put("ruleset", "May"), "ruleset: must be a day"),
        (put("streams", {}), "streams: must be a list"),
        (put("streams", [3]), r"streams\[0\]: must be an object"),
        (put("withdrawn_bundles", {"abc": "x"}), "not a lower-case sha256"),
        (put("published_tokenizers", [1]), "must be a list of texts"),
        (put("leaderboard", "nowhere.json"), "nowhere.json: can't be read"),
    ],
)
def test_a_broken_file_is_refused_with_its_place(
    tmp_path: Path, constants: dict[str, Any], breakage: Callable[[dict[str, Any]], None], message: str
) -> None:
    breakage(constants)
    with pytest.raises(ChallengeError, match=message):
        load_challenge(write(tmp_path, constants))


def test_a_stream_whose_total_contradicts_its_ratio_is_refused(tmp_path: Path, constants: dict[str, Any]) -> None:
    constants["streams"][0]["total_bytes"] = 170_000_000
    with pytest.raises(ChallengeError, match=r"streams\[0\]: total_bytes: is not val_tokens x bytes_per_token"):
        load_challenge(write(tmp_path, constants))


@pytest.mark.parametrize("text", ["", "{", '{"schema": NaN}', '{"schema": 1, "schema": 1}', "[" * 100_000])
def test_text_that_is_no_json_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "challenge.json"
    file.write_text(text)
    with pytest.raises(ChallengeError, match=r"challenge\.json"):
        load_challenge(file)


def test_a_row_whose_mean_contradicts_its_seeds_is_refused(tmp_path: Path, constants: dict[str, Any]) -> None:
    rows = json.loads((DATA / "leaderboard.json").read_text())
    rows["rows"][-1]["bpb"] = 1.05
    with pytest.raises(ChallengeError, match="is not the mean of bpb_seeds"):
        load_challenge(write(tmp_path, constants, rows))
