"""From probes to rules: what may pass, what must not be called by another rule's name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from audits.dynamic.probe import Probe
from audits.dynamic.rules import MEMO, deciding
from fixtures.probes import make_script, write_folder
from verifier.challenge.load import load_challenge
from verifier.engine.context import Context
from verifier.engine.registry import load_rules
from verifier.rule import Decision, Outcome, Tier
from verifier.submission.discover import discover
from verifier.submission.load import load_submission

NAMES = (
    "noise-canary",
    "prefix-perturbation",
    "target-swap",
    "target-swap-transformed",
    "score-before-update",
    "updates-before-artifact",
)
RULES = {rule.code: rule for rule in deciding(load_rules())}


def decide(tmp_path: Path, code: str, kind: str = "plain", **outcomes: Outcome) -> Decision:
    """The rule's answer; probes not named pass. Names with `_` for `-`."""
    context = Context(load_submission(discover(write_folder(tmp_path, kind))[0]), load_challenge())
    probes = {
        name: Probe(name, outcomes.get(name.replace("-", "_"), Outcome.PASS), f"about {name}", "", sites=("train_gpt.py:3 main",))
        for name in NAMES
    }
    context.memo[MEMO] = probes
    return RULES[code].decide(context)


def test_four_rules_are_decided_by_the_probes() -> None:
    assert {code for code, rule in RULES.items() if rule.tier is Tier.DYNAMIC} == {"CAU002", "NRM001", "TTT001", "TTT002"}


@pytest.mark.parametrize("outcome", [Outcome.PASS, Outcome.FAIL, Outcome.REVIEW, Outcome.NOT_AVAILABLE])
def test_causality_follows_the_perturbation(tmp_path: Path, outcome: Outcome) -> None:
    decision = decide(tmp_path, "CAU002", prefix_perturbation=outcome)
    assert decision.outcome is outcome
    if outcome is Outcome.FAIL:
        assert decision.findings[0].locations[0].line == 3
        assert decision.findings[0].locations[0].excerpt == make_script("plain").splitlines()[2]


def test_a_gain_that_adaptation_explains_is_not_called_unnormalized(tmp_path: Path) -> None:
    decision = decide(tmp_path, "NRM001", noise_canary=Outcome.FAIL, score_before_update=Outcome.FAIL)
    assert decision.outcome is Outcome.NOT_AVAILABLE
    assert "score-before-update" in decision.reason


def test_a_gain_that_nothing_explains_is(tmp_path: Path) -> None:
    assert decide(tmp_path, "NRM001", noise_canary=Outcome.FAIL).outcome is Outcome.FAIL


@pytest.mark.parametrize(("swap", "kind"), [("target_swap", "plain"), ("target_swap_transformed", "ngram")])
def test_sums_above_one_fail_unless_the_future_explains_them(tmp_path: Path, swap: str, kind: str) -> None:
    decision = decide(tmp_path, "NRM001", kind, **{swap: Outcome.FAIL})
    assert decision.outcome is Outcome.FAIL
    assert f"about {swap.replace('_', '-')}" in decision.reason
    assert decide(tmp_path, "NRM001", **{swap: Outcome.FAIL}, prefix_perturbation=Outcome.FAIL).outcome is Outcome.NOT_AVAILABLE


def test_a_changed_copy_alone_is_for_a_human(tmp_path: Path) -> None:
    assert decide(tmp_path, "NRM001", target_swap_transformed=Outcome.FAIL).outcome is Outcome.REVIEW


def test_normalization_needs_losses_that_were_seen(tmp_path: Path) -> None:
    # No run: the losses are not known to be cross entropies, so that the sums have to speak.
    assert decide(tmp_path, "NRM001").outcome is Outcome.PASS
    assert decide(tmp_path, "NRM001", target_swap=Outcome.NOT_AVAILABLE).outcome is Outcome.NOT_AVAILABLE
    assert decide(tmp_path, "NRM001", target_swap_transformed=Outcome.NOT_AVAILABLE).outcome is Outcome.NOT_AVAILABLE
    assert decide(tmp_path, "NRM001", prefix_perturbation=Outcome.NOT_AVAILABLE).outcome is Outcome.NOT_AVAILABLE


@pytest.mark.parametrize(("code", "probe"), [("TTT001", "score_before_update"), ("TTT002", "updates_before_artifact")])
class TestAdaptation:
    def test_steps_that_reach_the_scores_fail(self, tmp_path: Path, code: str, probe: str) -> None:
        decision = decide(tmp_path, code, **{probe: Outcome.FAIL}, prefix_perturbation=Outcome.FAIL)
        assert decision.outcome is Outcome.FAIL

    def test_no_steps_pass_only_where_the_scores_stay(self, tmp_path: Path, code: str, probe: str) -> None:
        assert decide(tmp_path, code).outcome is Outcome.PASS
        assert decide(tmp_path, code, prefix_perturbation=Outcome.FAIL).outcome is Outcome.NOT_AVAILABLE


def test_places_in_a_packed_script_lie_in_its_layer(tmp_path: Path) -> None:
    context = Context(load_submission(discover(write_folder(tmp_path, "packed"))[0]), load_challenge())
    # Line 30 of a file of two lines: a transformed copy, which runs unpacked.
    for site, line in (("<string>:3 main", 3), ("train_gpt.py:30 main", 30)):
        context.memo.clear()
        probe = Probe("prefix-perturbation", Outcome.FAIL, "moved", "", sites=(site,))
        context.memo[MEMO] = {name: replace(probe, name=name) for name in NAMES}
        location = RULES["CAU002"].decide(context).findings[0].locations[0]
        assert (location.layer, location.line) == (1, line)
        assert location.excerpt == make_script("score-first").splitlines()[line - 1].strip()


def test_nothing_run_decides_nothing(tmp_path: Path) -> None:
    context = Context(load_submission(discover(write_folder(tmp_path, "plain"))[0]), load_challenge())
    assert {RULES[code].decide(context).outcome for code in ("CAU002", "NRM001", "TTT001", "TTT002")} == {Outcome.NOT_AVAILABLE}
