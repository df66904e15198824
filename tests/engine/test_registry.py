"""The installed rules are complete, unique and selectable."""

from __future__ import annotations

import pytest

from tests.builders import rule
from verifier.engine.registry import RegistryError, load_rules, order_rules, select_rules
from verifier.rule import Decision, Level, Outcome, Tier

FAMILIES = {
    "TTT": 5,
    "SLT": 1,
    "NGR": 2,
    "MIX": 2,
    "PPM": 1,
    "VAL": 6,
    "EVA": 5,
    "CAU": 2,
    "NRM": 1,
    "TIM": 5,
    "SIZ": 4,
    "SIG": 6,
    "BYT": 8,
    "CLM": 10,
    "PKG": 8,
    "NET": 1,
    "COD": 5,
}
CATALOGUE = [f"{family}{number:03}" for family, count in FAMILIES.items() for number in range(1, count + 1)]


def test_every_rule_of_the_catalogue_is_registered_once() -> None:
    assert [one.code for one in load_rules()] == sorted(CATALOGUE)


def test_every_page_is_written() -> None:
    for one in load_rules():
        assert one.summary, one.code
        assert len(one.why) > 30, one.code
        assert "legal" in one.example.lower() or one.at_most is Outcome.INFO, one.code
        assert one.settles, one.code
        assert all(source.startswith("https://github.com/") for source in one.sources), one.code
        assert one.sources, one.code


def test_levels_tiers_and_caps_are_those_of_the_catalogue() -> None:
    rules = {one.code: one for one in load_rules()}
    assert {code for code, one in rules.items() if one.level is Level.RECORD} == {"TIM005", "SIG001", "SIG003", "SIG004"}
    assert {code for code, one in rules.items() if one.tier is Tier.DATA} == {"BYT007", "EVA003"}
    assert {code for code, one in rules.items() if one.tier is Tier.DYNAMIC} == {"CAU002", "NRM001"}
    assert {code for code, one in rules.items() if one.at_most is Outcome.REVIEW} == {"SIZ004", "SIG005", "BYT005", "CLM009"}
    assert {code for code, one in rules.items() if one.at_most is Outcome.INFO} == {"TTT005", "PKG007"}


def test_a_code_registered_twice_is_refused() -> None:
    one = rule("AAA001", lambda _: Decision.passed("x"))
    with pytest.raises(RegistryError, match="twice"):
        order_rules([one, one])
    with pytest.raises(RegistryError, match="three capitals"):
        order_rules([rule("A1", lambda _: Decision.passed("x"))])


def test_selection_by_code_prefix_and_name() -> None:
    rules = load_rules()
    assert [one.code for one in select_rules(rules, ["TIM"], ["TIM004"])] == ["TIM001", "TIM002", "TIM003", "TIM005"]
    assert [one.code for one in select_rules(rules, ["prequant-ttt"], [])] == ["TTT002"]
    with pytest.raises(RegistryError, match="no rule is called 'XYZ'"):
        select_rules(rules, ["XYZ"], [])
