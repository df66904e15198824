"""PKG006: one finding a leak, with every place, and never the secret itself."""

from __future__ import annotations

from pathlib import Path

from audits.package.leaked_paths import LEAKED_PATH
from tests.audits.package.folders import clean, decide
from verifier.limits import Limits
from verifier.rule import Outcome


def test_shared_machines_and_relative_paths_pass(tmp_path: Path) -> None:
    files = clean() | {"run.sh": b"cd /workspace/golf && DATA_PATH=/root/data ./train /tmp/x /home/ubuntu/x /content/x\n"}
    assert decide(LEAKED_PATH, tmp_path, files).outcome is Outcome.PASS


def test_a_home_directory_in_several_files_is_one_finding(tmp_path: Path) -> None:
    files = clean() | {"run.sh": b"#!/bin/sh\ncd /home/jdoe42/golf\n", "notes.md": b"see /home/jdoe42/golf\n"}
    decision = decide(LEAKED_PATH, tmp_path, files)
    assert decision.outcome is Outcome.FAIL
    (finding,) = decision.findings
    assert finding.message == "the personal path /home/jdoe42 in 2 files"
    assert [(location.path, location.line) for location in finding.locations] == [("notes.md", 1), ("run.sh", 2)]


def test_a_token_is_reported_masked(tmp_path: Path) -> None:
    secret = "hf_" + "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1dE4f"
    decision = decide(LEAKED_PATH, tmp_path, clean() | {"run.sh": f"export HF_TOKEN={secret}\n".encode()})
    assert decision.outcome is Outcome.FAIL
    assert secret[8:] not in repr(decision)
    assert "revoke" in decision.findings[0].remediation


def test_files_that_could_not_be_read_leave_the_answer_open(tmp_path: Path) -> None:
    assert decide(LEAKED_PATH, tmp_path, clean(), Limits(text_file=100)).outcome is Outcome.NOT_AVAILABLE
