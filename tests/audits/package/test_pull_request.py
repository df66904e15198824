"""PKG002 and PKG003 on the changes of a pull request."""

from __future__ import annotations

from pathlib import Path

import pytest

from audits.package.pull_request import FILES_OUTSIDE, SEVERAL_RECORDS
from tests.audits.package.folders import LABEL, clean, decide
from verifier.engine.context import PullRequest
from verifier.rule import Decision, Outcome, Rule

OTHER = "records/track_10min_16mb/2026-03-17_Base"


def _decide(rule: Rule, folder: Path, *changed: tuple[str, str], records: tuple[str, ...] = (LABEL,)) -> Decision:
    own = tuple(("A", f"{LABEL}/{name}") for name in clean())
    return decide(rule, folder, clean(), change=PullRequest("base", "head", tuple(sorted((*own, *changed))), records))


@pytest.mark.parametrize("rule", [FILES_OUTSIDE, SEVERAL_RECORDS])
def test_without_a_pull_request_the_rules_do_not_apply(tmp_path: Path, rule: Rule) -> None:
    decision = decide(rule, tmp_path, clean())
    assert (decision.outcome, decision.reason) == (Outcome.NOT_APPLICABLE, "not a pull request")


@pytest.mark.parametrize("rule", [FILES_OUTSIDE, SEVERAL_RECORDS])
def test_one_new_folder_and_nothing_else_passes(tmp_path: Path, rule: Rule) -> None:
    assert _decide(rule, tmp_path).outcome is Outcome.PASS


@pytest.mark.parametrize(
    "change",
    [
        ("M", "train_gpt.py"),
        ("A", "notes/experiments.md"),
        ("D", "records/track_10min_16mb/2026-03-17_Base/README.md"),
        ("A", "records/track_10min_16mb/loose.py"),
        ("M", "records/track_10min_16mb/2026-04-30_Clean_notes.md"),
    ],
)
def test_any_other_change_fails_and_is_named(tmp_path: Path, change: tuple[str, str]) -> None:
    decision = _decide(FILES_OUTSIDE, tmp_path, change)
    assert decision.outcome is Outcome.FAIL
    (finding,) = decision.findings
    assert change[1] in finding.message
    assert change[1] in finding.locations[0].excerpt
    assert finding.measured is not None
    assert finding.measured.value == 1


def test_locations_lead_from_the_folder_to_the_file(tmp_path: Path) -> None:
    (finding,) = _decide(FILES_OUTSIDE, tmp_path, ("M", "train_gpt.py")).findings
    assert finding.locations[0].path == "../../../train_gpt.py"


def test_many_changes_are_counted_and_the_first_are_shown(tmp_path: Path) -> None:
    (finding,) = _decide(FILES_OUTSIDE, tmp_path, *(("A", f"notes/{number:03}.md") for number in range(300))).findings
    assert "300 files" in finding.message
    assert "295 more" in finding.message
    assert len(finding.locations) == 20


def test_a_second_record_fails_and_says_what_happens_to_it(tmp_path: Path) -> None:
    decision = _decide(SEVERAL_RECORDS, tmp_path, ("M", f"{OTHER}/README.md"), ("D", f"{OTHER}/x.log"), records=(OTHER, LABEL))
    assert decision.outcome is Outcome.FAIL
    (finding,) = decision.findings
    assert f"{OTHER} (1 changed, 1 deleted)" in finding.message
    assert [location.path for location in finding.locations] == [".", "../2026-03-17_Base"]


def test_files_of_a_second_record_are_not_also_outside(tmp_path: Path) -> None:
    decision = _decide(FILES_OUTSIDE, tmp_path, ("M", f"{OTHER}/README.md"), records=(OTHER, LABEL))
    assert decision.outcome is Outcome.PASS
