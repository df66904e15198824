"""The evidence folder: bound to its inputs, resumed run by run."""

from __future__ import annotations

from pathlib import Path

import pytest

from audits.reproduction.evidence import Evidence, digest_folder, open_evidence
from tests.audits.reproduction.samples import log_text, rerun
from verifier.cli.errors import UsageFailure
from verifier.execution.rerun import Rerun

INPUTS: dict[str, object] = {"record": "abc", "toy": True, "data": [["a.bin", 4]]}


def test_a_finished_run_is_kept_and_read_back(tmp_path: Path) -> None:
    made = rerun(log_text())
    with open_evidence(tmp_path / "new", INPUTS) as evidence:
        assert evidence.finished(42) is None
        evidence.make(42, lambda place: made)
    with open_evidence(tmp_path / "new", INPUTS) as evidence:
        kept = evidence.finished(42)
        assert kept is not None
        assert (kept.lines, kept.left, kept.seconds) == (made.lines, made.left, made.seconds)
        assert evidence.finished(7) is None


def test_what_was_interrupted_or_failed_starts_over(tmp_path: Path) -> None:
    def interrupted(place: Path) -> Rerun:
        (place / "half").touch()
        raise KeyboardInterrupt

    with open_evidence(tmp_path, INPUTS) as evidence:
        with pytest.raises(KeyboardInterrupt):
            evidence.make(1, interrupted)
        assert evidence.finished(1) is None
        evidence.make(1, lambda place: rerun(log_text(), 1, failure="it crashed"))
        assert evidence.finished(1) is None
        evidence.make(1, lambda place: rerun(log_text(), 1))
        assert evidence.finished(1) is not None
        assert not [path for path in tmp_path.rglob("*") if path.name == "half" or "partial" in path.name]


def test_other_inputs_are_refused_and_named(tmp_path: Path) -> None:
    with open_evidence(tmp_path, INPUTS):
        pass
    with (
        pytest.raises(UsageFailure, match=r"other inputs \(toy: true there, false now\)"),
        open_evidence(tmp_path, {**INPUTS, "toy": False}),
    ):
        pass


def test_a_folder_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UsageFailure, match="no evidence of this command"), open_evidence(tmp_path, INPUTS):
        pass
    (tmp_path / "manifest.json").write_text('{"kind": "other"}')
    with pytest.raises(UsageFailure, match="no evidence of this command"), open_evidence(tmp_path, INPUTS):
        pass
    with pytest.raises(UsageFailure, match="not a folder"), open_evidence(tmp_path / "thesis.txt", INPUTS):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest.json", "thesis.txt"]


def test_two_calls_do_not_share_a_folder(tmp_path: Path) -> None:
    with (
        open_evidence(tmp_path, INPUTS),
        pytest.raises(UsageFailure, match="in use"),
        open_evidence(tmp_path, INPUTS),
    ):
        pass


def test_a_damaged_run_is_made_again(tmp_path: Path) -> None:
    with open_evidence(tmp_path, INPUTS) as evidence:
        evidence.make(1, lambda place: rerun(log_text(), 1))
        for text in ("", "[]", '{"seed": 1}'):
            (tmp_path / "runs" / "seed-1" / "run.json").write_text(text)
            assert Evidence(tmp_path).finished(1) is None


def test_the_digest_follows_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    first = digest_folder(tmp_path)
    (tmp_path / "a").write_text("2")
    second = digest_folder(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert len({first, second, digest_folder(tmp_path)}) == 3
