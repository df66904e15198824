"""The whole suite in the best tier, and proof that it notices when there is no sandbox."""

from __future__ import annotations

from verifier.sandbox.conformance import ATTEMPTS, Containment, try_escapes
from verifier.sandbox.policy import Tier

HARMLESS_UNCONFINED = {
    "tcp-connect": "tcp server",
    "udp-send": "udp server",
    "abstract-socket": "abstract server",
    "local-socket": "unix server",
    "host-tmp": "left in",
    "symlink-out": "changed",
    "hard-link": "",
}


def test_nothing_gets_out_of_the_best_tier(tier: Tier) -> None:
    suite = try_escapes(tier)
    assert {result.name: result.line for result in suite.results if result.outcome is Containment.NOT_CONTAINED} == {}
    assert suite.contained
    assert [result.name for result in suite.results] == [attempt.name for attempt in ATTEMPTS]


def test_the_suite_is_broad_and_its_names_unique() -> None:
    assert len({attempt.name for attempt in ATTEMPTS}) == len(ATTEMPTS) >= 50
    assert len({attempt.topic for attempt in ATTEMPTS}) >= 8


def test_without_a_sandbox_the_same_attempts_succeed(tier: Tier) -> None:
    suite = try_escapes(Tier.UNSAFE, [attempt for attempt in ATTEMPTS if attempt.name in HARMLESS_UNCONFINED])
    assert not suite.contained
    for result in suite.results:
        assert result.outcome is Containment.NOT_CONTAINED, result
        assert HARMLESS_UNCONFINED[result.name] in result.line
