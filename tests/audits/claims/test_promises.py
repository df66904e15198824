"""CLM002: what a denial denies, and which order a promise of "score-first" promises."""

from __future__ import annotations

import pytest

from audits.claims import RULES
from fixtures.program.editing import edited
from fixtures.record import Record, files_of
from fixtures.script import TRAIN_GPT
from tests.program.judge import CHALLENGE, MemorySource
from verifier.engine.context import Context
from verifier.rule import Decision, Outcome
from verifier.submission.load import load_submission

RULE = next(rule for rule in RULES if rule.code == "CLM002")
_PLAIN_EVALUATION = TRAIN_GPT[TRAIN_GPT.index("def evaluate(") : TRAIN_GPT.index("def evaluate_score_first(")]
_SLOT = """\
def evaluate(args, model, tokens, base, leading):
    nats, count, n_bytes = 0.0, 0, 0
    for start in range(0, len(tokens) - 1, args.train_seq_len):
        chunk = tokens[start : start + args.train_seq_len + 1]
        x, y = chunk[:-1], chunk[1:]
        with torch.no_grad():
            hidden, _ = model.mix(model.embed(x[None]))
        shift = torch.zeros(1, 1, hidden.shape[-1], requires_grad=True)
        learner = torch.optim.AdamW([shift], lr=0.004)
        for turn in range(6):
            learner.zero_grad()
            F.cross_entropy(F.linear(hidden + shift, model.embed.weight)[0].float(), y).backward()
            learner.step()
        with torch.no_grad():
            nats += F.cross_entropy(F.linear(hidden + shift, model.embed.weight)[0].float(), y, reduction="sum").item()
        count += y.numel()
        n_bytes += (base[y] + leading[y]).sum().item()
    return nats / count, nats / (math.log(2) * n_bytes)


"""
_EPOCHS = """\
def evaluate(args, model, tokens, base, leading):
    nats, count, n_bytes = 0.0, 0, 0
    learner = torch.optim.AdamW(model.parameters(), lr=0.0004)
    for epoch in range(12):
        for start in range(0, len(tokens) - 1, args.train_seq_len):
            chunk = tokens[start : start + args.train_seq_len + 1]
            x, y = chunk[:-1][None], chunk[1:][None]
            learner.zero_grad()
            (model(x, y) / y.numel()).backward()
            learner.step()
    with torch.no_grad():
        for start in range(0, len(tokens) - 1, args.train_seq_len):
            chunk = tokens[start : start + args.train_seq_len + 1]
            x, y = chunk[:-1][None], chunk[1:][None]
            nats += model(x, y).item()
            count += y.numel()
            n_bytes += (base[y] + leading[y]).sum().item()
    return nats / count, nats / (math.log(2) * n_bytes)


"""
_TITLE = "# Small GRU + SLOT"


def decide(evaluation: str, *bullets: str, title: str = _TITLE, claim: dict[str, object] | None = None) -> Decision:
    notes = "## Notes\n\n" + "\n".join(f"- {bullet}" for bullet in bullets)
    record = Record(script=edited((_PLAIN_EVALUATION, evaluation)), readme={"title": title, "notes": notes}, claim=claim or {})
    source = MemorySource(f"records/{record.path}", files_of(record))
    return RULE.decide(Context(load_submission(source), CHALLENGE))


def cited(decision: Decision) -> str:
    return " | ".join(location.excerpt for finding in decision.findings for location in finding.locations)


class TestDenials:
    def test_an_offset_beside_the_weights_does_not_refute_a_denial_of_ttt(self) -> None:
        decision = decide(_SLOT, "**No TTT**: no parameter of the network is updated")
        assert decision.outcome is Outcome.NOT_AVAILABLE, decision.reason

    def test_epochs_over_the_weights_do(self) -> None:
        decision = decide(_EPOCHS, "**No TTT**: no parameter of the network is updated", title="# Small GRU")
        assert decision.outcome is Outcome.FAIL
        assert "No TTT" in cited(decision)

    @pytest.mark.parametrize(("title", "outcome"), [(_TITLE, Outcome.NOT_AVAILABLE), ("# Small GRU", Outcome.REVIEW)])
    def test_an_offset_that_nobody_tells_of_is_adaptation(self, title: str, outcome: Outcome) -> None:
        assert decide(_SLOT, "No eval-time adaptation", title=title).outcome is outcome


class TestOffsets:
    @pytest.mark.parametrize(
        "promise",
        [
            "**SLOT is score-first**: each chunk before its shift",
            "SLOT (score-first), six steps",
            "SLOT fits its shift on already-scored tokens only",
            "Delta is fitted on already-evaluated tokens only",
        ],
    )
    def test_a_promised_order_of_slot_is_refuted(self, promise: str) -> None:
        decision = decide(_SLOT, promise, "No TTT")
        assert decision.outcome is Outcome.FAIL, decision.reason
        assert "SLT001 finds the opposite" in decision.reason
        assert promise.replace("*", "")[:20] in cited(decision).replace("*", "")
        assert "learner.step()" in cited(decision)

    @pytest.mark.parametrize(
        "text",
        [
            "SLOT: a shift of the hidden states, six steps",
            "SLOT + score-first TTT",
            "SLOT score-first TTT",
            "SLOT is not fitted on already-scored tokens",
        ],
    )
    def test_other_words_promise_no_order_of_slot(self, text: str) -> None:
        assert decide(_SLOT, text).outcome is Outcome.NOT_APPLICABLE

    @pytest.mark.parametrize(
        ("fact", "outcome"), [((), Outcome.REVIEW), (("The delta adapts on already-scored tokens only",), Outcome.FAIL)]
    )
    def test_score_first_may_be_said_of_the_hidden_states(self, fact: tuple[str, ...], outcome: Outcome) -> None:
        decision = decide(_SLOT, "Score-first SLOT", "SLOT is score-first: hidden states under `no_grad` come first", *fact)
        assert decision.outcome is outcome, decision.reason

    def test_a_promise_that_the_code_keeps(self) -> None:
        assert decide(_PLAIN_EVALUATION, "SLOT is score-first").outcome is Outcome.PASS


class TestFreeText:
    @pytest.mark.parametrize(
        ("claim", "outcome"),
        [
            ({"compliance": {"score_first_ttt": True}}, Outcome.FAIL),
            ({"blurb": "Score-first TTT (12 epochs, AdamW) on top of a small GRU with tied embeddings."}, Outcome.FAIL),
            ({"blurb": "Two-phase TTT: 12-epoch AdamW repairs the rounding, then score-first streaming."}, Outcome.REVIEW),
            (
                {
                    "blurb": "Two-phase TTT: 12-epoch AdamW repairs the rounding, then score-first streaming.",
                    "compliance": {"score_first_ttt": True},
                },
                Outcome.FAIL,
            ),
        ],
        ids=["flag", "one-phase", "tells-of-the-epochs", "tells-but-flags"],
    )
    def test_a_text_that_tells_of_the_epochs_denies_nothing(self, claim: dict[str, object], outcome: Outcome) -> None:
        decision = decide(_EPOCHS, "Notes are short", title="# Small GRU", claim=claim)
        assert decision.outcome is outcome, decision.reason

    def test_the_readme_may_tell_of_them(self) -> None:
        claim: dict[str, object] = {"blurb": "A small GRU with score-first TTT streaming at the end."}
        told = "TTT phase 1 (12 epochs): AdamW on all weights"
        assert decide(_EPOCHS, told, title="# Small GRU", claim=claim).outcome is Outcome.REVIEW
