"""`verifier ci` over real git repositories made on the spot."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from fixtures.cases import CASES
from fixtures.record import Record, files_of
from verifier.cli.main import main

OVER_CAP = next(case for case in CASES if case.rule == "SIZ001").violation


class Clone:
    """A repository with one commit on `main` and helpers to grow it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        self.git("init", "-q", "-b", "main")
        self.write({"README.md": b"# contest\n"})
        self.commit("start")

    def git(self, *words: str) -> str:
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
        done = subprocess.run(["git", *identity, *words], cwd=self.path, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def write(self, files: dict[str, bytes]) -> None:
        for path, data in files.items():
            target = self.path / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)

    def record(self, record: Record) -> None:
        self.write({f"records/{record.path}/{path}": data for path, data in files_of(record).items()})

    def commit(self, message: str) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path / "clone")


def ci(clone: Clone, *words: str) -> int:
    return main(["ci", "--repository", str(clone.path), "--base", "main", *words])


def outcomes(text: str) -> dict[str, str]:
    (submission,) = json.loads(text)["submissions"]
    return {code: one["outcome"] for code, one in submission["rules"].items()}


def test_a_pull_request_with_one_clean_folder_passes_the_pull_request_rules(
    clone: Clone, capsys: pytest.CaptureFixture[str]
) -> None:
    clone.git("checkout", "-q", "-b", "topic")
    clone.record(Record())
    clone.commit("a record")
    assert ci(clone, "--head", "topic", "--format", "json") == 0
    found = outcomes(capsys.readouterr().out)
    assert (found["PKG002"], found["PKG003"]) == ("pass", "pass")


def test_files_outside_the_record_fail(clone: Clone, capsys: pytest.CaptureFixture[str]) -> None:
    clone.git("checkout", "-q", "-b", "topic")
    clone.record(Record())
    clone.write({"train_gpt.py": b"print('changed')\n"})
    clone.commit("a record and more")
    assert ci(clone, "--head", "topic", "--format", "json") == 1
    assert outcomes(capsys.readouterr().out)["PKG002"] == "fail"


def test_several_records_fail(clone: Clone, capsys: pytest.CaptureFixture[str]) -> None:
    clone.git("checkout", "-q", "-b", "topic")
    clone.record(Record())
    clone.record(Record(name="2026-04-30_Second"))
    clone.commit("two records")
    assert ci(clone, "--head", "topic", "--format", "json") == 1
    submissions = json.loads(capsys.readouterr().out)["submissions"]
    assert {one["rules"]["PKG003"]["outcome"] for one in submissions} == {"fail"}


def test_a_merged_head_is_still_audited(clone: Clone, capsys: pytest.CaptureFixture[str]) -> None:
    clone.git("checkout", "-q", "-b", "topic")
    clone.record(OVER_CAP)
    clone.commit("a record")
    clone.git("checkout", "-q", "main")
    clone.git("merge", "-q", "--no-ff", "-m", "merge", "topic")
    assert ci(clone, "--head", "topic", "--format", "json") == 1
    assert outcomes(capsys.readouterr().out)["SIZ001"] == "fail"


def test_only_the_head_is_read_not_the_work_tree(clone: Clone, capsys: pytest.CaptureFixture[str]) -> None:
    clone.git("checkout", "-q", "-b", "topic")
    clone.record(Record())
    clone.commit("a record")
    (clone.path / "records" / Record().path / "README.md").unlink()
    assert ci(clone, "--head", "topic", "--format", "json") == 0
    assert outcomes(capsys.readouterr().out)["PKG001"] == "pass"


def test_no_record_is_nothing_to_audit(clone: Clone, capsys: pytest.CaptureFixture[str]) -> None:
    clone.git("checkout", "-q", "-b", "topic")
    clone.write({"notes.md": b"text\n"})
    clone.commit("notes")
    assert ci(clone, "--head", "topic") == 3
    assert "nothing to audit" in capsys.readouterr().err


def test_a_shallow_clone_says_how_to_get_the_history(clone: Clone, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clone.git("checkout", "-q", "-b", "topic")
    clone.record(Record())
    clone.commit("a record")
    shallow = tmp_path / "shallow"
    subprocess.run(["git", "clone", "-q", "--depth", "1", "--branch", "topic", f"file://{clone.path}", str(shallow)], check=True)
    assert main(["ci", "--repository", str(shallow), "--base", "main", "--head", "HEAD"]) == 2
    captured = capsys.readouterr().err
    assert "nothing was audited" in captured
    assert "fetch" in captured


def test_the_job_summary_is_written_and_annotations_cannot_be_forged(
    clone: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    clone.git("checkout", "-q", "-b", "topic")
    clone.record(OVER_CAP.but(claim={"name": "x\n::error file=a.py::forged"}))
    clone.commit("a record")
    assert ci(clone, "--head", "topic", "--format", "github") == 1
    out = capsys.readouterr().out
    assert "::error" in out
    assert "SIZ001" in out
    assert not [line for line in out.splitlines() if line.startswith("::error file=a.py")]
    assert "SIZ001" in summary.read_text(encoding="utf-8")
