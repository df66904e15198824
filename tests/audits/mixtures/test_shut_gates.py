"""Proposals that peek at the target: where the gate is shut for good they reach no score, and nobody is accused of them."""

from __future__ import annotations

from fixtures.program import mixtures
from fixtures.program.mixtures_base import record, script
from tests.program.judge import judge, result_of

CHANNELS = """
whole = np.zeros(len(stream), dtype=np.int64)
whole[1:] = stream[:-1]
likely = np.where(whole > 7, 0.5, 0.0)
{before}
first = likely >= 0.25
second = share >= {least}
gains = np.stack([np.where(first, likely, -np.inf), np.where(second, share, -np.inf)], axis=1)
pick = np.argmax(gains, axis=1)
some = np.max(gains, axis=1) > -np.inf
hints = np.stack([whole, best], axis=1)
strengths = np.array([1.5, {strength}])
chosen, force = np.zeros(len(stream), dtype=np.int64), np.zeros(len(stream))
rows = np.arange(len(stream))
chosen[some] = hints[rows[some], pick[some]]
force[some] = strengths[pick[some]]
print(f"proposals first_gate={{int(first.sum())}} second_gate={{int(second.sum())}}")
"""
SCORE = """
hint = torch.from_numpy(chosen[start + 1 : start + 1 + y.numel()])
strength = torch.from_numpy(force[start + 1 : start + 1 + y.numel()])
at_hint = logp.gather(1, hint[:, None]).squeeze(1).exp()
nll = nll + torch.log1p(at_hint * (strength.exp() - 1)) - strength * (hint == y).float()
"""


def outcome(least: str = "0.25", strength: str = "1.5", before: str = "", printed: str = "") -> str:
    setup = mixtures._GATE_C_SETUP + CHANNELS.format(least=least, strength=strength, before=before)
    text = script(SCORE, setup, mixtures._BUILD, imports="import ctypes\nimport subprocess\n")
    built = record("Channels", text, {"propose.c": mixtures._GATE_C.replace("GATE", "!fresh")})
    if printed:
        built = built.but(log_lines=(("Serialized model int8+zlib", printed),))
    return result_of(judge(built, "NGR002"), "NGR002").outcome.value


def test_a_proposal_that_the_target_s_kind_decides_fails_through_a_choice_of_candidates() -> None:
    assert outcome() == "fail"


def test_a_candidate_whose_gate_asks_for_more_than_certainty_is_never_picked() -> None:
    assert outcome(least="99.0") == "pass"


def test_a_gate_that_every_claimed_log_counts_as_never_open_is_for_a_human() -> None:
    assert outcome(printed="proposals first_gate=41 second_gate=0") == "review"
    assert outcome(printed="proposals first_gate=0 second_gate=41") == "fail"


def test_an_array_that_is_cleared_before_it_is_read_is_for_a_human() -> None:
    assert outcome(before="share.fill(0.0)") == "review"
    assert outcome(before="share.fill(0.5)") == "fail"


def test_counts_may_ask_for_more_than_one() -> None:
    assert outcome(least="2", before="share = (share * 8).astype(np.int64)") == "fail"
