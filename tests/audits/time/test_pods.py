"""TIM004 and TIM005: the pod of each seed, each violation beside its legal twin."""

from __future__ import annotations

import pytest

from audits.time import RULES
from audits.time.pods import HARDWARE_NOT_RECORD, THROTTLED_SEED
from tests.audits.time.build import decide
from tests.submission.logs.samples import classic
from verifier.rule import Outcome

ROW = "|   0  {gpu}          On  |   00000000:8D:00.0 Off |                    0 |\n"


def test_one_slow_seed_stands_out() -> None:
    decision = decide(THROTTLED_SEED, classic(42, steps=6_289), classic(1337, steps=3_933), classic(2024, steps=6_298))
    assert decision.outcome is Outcome.FAIL
    (finding,) = decision.findings
    assert "seed 1337" in finding.message
    assert finding.locations[0].path == "train_1.log"


def test_pods_of_normal_spread_pass() -> None:
    assert (
        decide(THROTTLED_SEED, classic(42, steps=6_289), classic(1337, steps=6_190), classic(2024, steps=6_298)).outcome
        is Outcome.PASS
    )


def test_of_two_seeds_nobody_knows_which_is_off() -> None:
    decision = decide(THROTTLED_SEED, classic(42, steps=6_289), classic(1337, steps=5_200))
    assert decision.outcome is Outcome.REVIEW
    assert len(decision.findings) == 1
    assert decide(THROTTLED_SEED, classic(42)).outcome is Outcome.NOT_AVAILABLE


def test_a_moderate_difference_is_for_the_reviewer() -> None:
    decision = decide(THROTTLED_SEED, classic(42, steps=6_289), classic(1337, steps=5_850), classic(2024, steps=6_298))
    assert decision.outcome is Outcome.REVIEW


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        (classic(world_size=1), Outcome.FAIL),
        (ROW.format(gpu="NVIDIA A100-SXM4-80GB") + classic(), Outcome.FAIL),
        (ROW.format(gpu="NVIDIA H100 PCIe") + classic(), Outcome.FAIL),
        (ROW.format(gpu="NVIDIA H200") + classic(), Outcome.FAIL),
        (ROW.format(gpu="NVIDIA H100 80GB HBM3") + classic(), Outcome.PASS),
        (classic(), Outcome.INFO),
        ("legal_ttt val_loss:1.9 val_bpb:1.1\n", Outcome.NOT_AVAILABLE),
    ],
)
def test_hardware(text: str, outcome: Outcome) -> None:
    assert decide(HARDWARE_NOT_RECORD, text).outcome is outcome


def test_the_pages_are_complete() -> None:
    assert [rule.code for rule in RULES] == ["TIM001", "TIM002", "TIM003", "TIM004", "TIM005"]
    for rule in RULES:
        assert "violation:" in rule.example
        assert "legal:" in rule.example
        assert all(source.startswith("https://github.com/openai/parameter-golf") for source in rule.sources)
        assert rule.record_track_only is (rule.code != "TIM004")
