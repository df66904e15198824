"""`verifier doctor`: the report and the exit codes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from verifier.cli.main import main
from verifier.sandbox import conformance, tiers
from verifier.sandbox.conformance import AttemptResult, Conformance, Containment
from verifier.sandbox.policy import Tier
from verifier.sandbox.tiers import TierState


def pretend(monkeypatch: pytest.MonkeyPatch, working: set[Tier], outcome: Containment) -> list[Tier]:
    """Let only these tiers work, and every attempt come out like this. The tiers in which attempts are made."""
    tried = []

    def try_escapes(tier: Tier, after_each: object) -> Conformance:
        tried.append(tier)
        return Conformance(tier, (AttemptResult("dns", "network", "resolve a name", outcome, "a line", 0.1),))

    monkeypatch.setattr(tiers, "examine_tier", lambda tier: TierState(tier, tier in working, "why", ("weak spot",)))
    monkeypatch.setattr(conformance, "try_escapes", try_escapes)
    return tried


def test_tiers_are_listed_with_their_weaknesses(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    tried = pretend(monkeypatch, {Tier.LANDLOCK}, Containment.CONTAINED)
    assert main(["doctor"]) == 0
    page = capsys.readouterr().out
    assert "no         bubblewrap     sandbox tier: why" in page
    assert "have       landlock       sandbox tier: why" in page
    assert page.count("but weak spot") == 1
    assert tried == []


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("--sandbox", [Tier.NAMESPACES, Tier.LANDLOCK]),
        ("--sandbox=best", [Tier.NAMESPACES]),
        ("--sandbox=landlock", [Tier.LANDLOCK]),
    ],
)
def test_attempts_are_made_in_the_tiers_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], word: str, expected: list[Tier]
) -> None:
    tried = pretend(monkeypatch, {Tier.NAMESPACES, Tier.LANDLOCK}, Containment.CONTAINED)
    assert main(["doctor", word, "--format", "json"]) == 0
    assert tried == expected
    found = json.loads(capsys.readouterr().out)["sandbox"]
    attempt = found[expected[0].value]["conformance"]["attempts"]["dns"]
    assert (attempt["outcome"], attempt["line"]) == ("contained", "a line")
    assert "conformance" not in found["bubblewrap"]


def test_what_is_not_contained_decides_the_exit_code(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pretend(monkeypatch, {Tier.NAMESPACES}, Containment.NOT_CONTAINED)
    assert main(["doctor", "--sandbox"]) == 1
    page = capsys.readouterr().out
    assert "not contained   dns" in page
    assert "1 attempts: 1 not contained" in page


def test_a_tier_that_is_not_there_is_not_passed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    tried = pretend(monkeypatch, set(), Containment.CONTAINED)
    assert main(["doctor", "--sandbox"]) == 3
    assert tried == []
    assert "nothing was tried" in capsys.readouterr().err


def test_other_commands_do_not_load_the_sandbox() -> None:
    program = "import sys, verifier, verifier.cli.main; print([name for name in sys.modules if 'sandbox' in name])"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
