"""What the probes make of runs told by hand: a violation next to its legal twin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from audits.dynamic.access import probe_access
from audits.dynamic.accounting import probe_bpb
from audits.dynamic.canary import probe_canary
from audits.dynamic.coverage import probe_coverage
from audits.dynamic.order import probe_artifact_updates, probe_order
from audits.dynamic.perturbation import probe_prefix
from audits.dynamic.plain_mean import probe_mean
from audits.dynamic.probe import Probe
from audits.dynamic.rules import PROBES
from audits.dynamic.settings import probe_documented
from audits.dynamic.size import probe_size
from tests.execution.records import Script
from verifier.execution.experiment import CHANGED_FROM, Attempt, Comparison, Experiment
from verifier.execution.launch import Ending
from verifier.rule import Outcome
from verifier.sandbox.policy import Reason

WHOLE = range(1, 4097)
ENDED = Ending(Reason.FINISHED, 0, 1.0, 0, "namespaces", "", "")


type Attempts = Callable[..., Attempt]


@pytest.fixture
def attempts(tmp_path: Path) -> Attempts:
    def attempt(name: str, script: Script, ok: bool = True) -> Attempt:
        script.end(ok, "" if ok else "RuntimeError", "" if ok else "boom")
        return Attempt(name, ENDED, script.write(tmp_path / name), "end" if ok else "training", {"train_gpt.py": 10})

    return attempt


def scored(changed_from: int | None = None, shift: float = 0.0) -> Script:
    script = Script.on(changed_from)
    for start in range(1, 4097, 512):
        script.score(range(start, start + 512), shift=shift)
    script.print_mean(WHOLE)
    return script


def alone(attempt: Attempt) -> Experiment:
    return Experiment(script="train_gpt.py", base=attempt)


class TestNoiseCanary:
    def test_a_loss_above_the_entropy_passes(self, attempts: Attempts) -> None:
        assert probe_canary(alone(attempts("a", scored()))).outcome is Outcome.PASS

    def test_a_gain_on_random_tokens_fails(self, attempts: Attempts) -> None:
        answer = probe_canary(alone(attempts("a", scored(shift=-0.9))))
        assert answer.outcome is Outcome.FAIL
        assert answer.measured is not None
        assert answer.measured.value < 6.2
        assert answer.sites == ()

    def test_a_gain_within_chance_passes(self, attempts: Attempts) -> None:
        # 7.05 nats on average; ln K is 6.2324: 4 nats in all are below the line of 20.7.
        answer = probe_canary(alone(attempts("a", scored(shift=-(7.0500 - 6.2324) - 0.001))))
        assert answer.outcome is Outcome.PASS

    def test_a_printed_number_whose_parts_were_not_seen(self, attempts: Attempts) -> None:
        script = Script.on()
        script.score(WHOLE)
        total = script.data.tokenizer.count_bytes(script.data.val).sum()
        script.print(4.0, 4.0 / 0.6931471805599453 * 4096 / total)
        assert probe_canary(alone(attempts("a", script))).outcome is Outcome.FAIL
        # Nearer to the entropy a human has to look; within chance it proves nothing.
        for name, loss, outcome in (("b", 6.21, Outcome.REVIEW), ("c", 6.231, Outcome.NOT_AVAILABLE)):
            script = Script.on()
            script.score(WHOLE)
            script.print(loss, loss / 0.6931471805599453 * 4096 / total)
            assert probe_canary(alone(attempts(name, script))).outcome is outcome

    def test_a_number_in_another_unit_is_not_taken_for_nats(self, attempts: Attempts) -> None:
        script = Script.on()
        script.score(WHOLE)
        script.print(4.0, 4.0)
        script.events[-1]["text"] = "final_roundtrip_exact val_loss:4.0 val_bpb:9.9"
        assert probe_canary(alone(attempts("a", script))).outcome is Outcome.NOT_AVAILABLE


class TestPrefixPerturbation:
    def test_scores_that_stay_pass(self, attempts: Attempts) -> None:
        made = Experiment(base=attempts("a", scored()), twin=attempts("b", scored(CHANGED_FROM)))
        assert probe_prefix(made).outcome is Outcome.PASS

    def test_scores_that_move_fail_when_the_run_repeats_itself(self, attempts: Attempts) -> None:
        made = Experiment(
            base=attempts("a", scored()), twin=attempts("b", scored(CHANGED_FROM, 0.001)), again=attempts("c", scored())
        )
        answer = probe_prefix(made)
        assert answer.outcome is Outcome.FAIL
        assert answer.sites == ("train_gpt.py:9 forward",)

    def test_a_difference_as_small_as_rounding_is_for_a_human(self, attempts: Attempts) -> None:
        made = Experiment(
            base=attempts("a", scored()), twin=attempts("b", scored(CHANGED_FROM, 2e-6)), again=attempts("c", scored())
        )
        answer = probe_prefix(made)
        assert answer.outcome is Outcome.REVIEW
        assert "summation" in answer.summary

    def test_scores_that_move_by_themselves_prove_nothing(self, attempts: Attempts) -> None:
        made = Experiment(
            base=attempts("a", scored()),
            twin=attempts("b", scored(CHANGED_FROM, 0.001)),
            again=attempts("c", scored(shift=0.002)),
        )
        assert probe_prefix(made).outcome is Outcome.NOT_AVAILABLE

    def test_what_is_mixed_after_the_cross_entropy_counts(self, attempts: Attempts) -> None:
        """Two passes: a table built from the whole stream, read when the scores are mixed."""

        def mixed(changed_from: int | None, shift: float) -> Script:
            script = Script.on(changed_from)
            script.score(WHOLE, count=False)
            script.logarithms([-5.0 - shift - position % 7 / 50 for position in WHOLE])
            loss = -sum(script.logs) / len(script.logs)
            total = script.data.tokenizer.count_bytes(script.data.val).sum()
            script.print(loss, loss / 0.6931471805599453 * len(WHOLE) / total)
            return script

        answer = probe_prefix(
            Experiment(
                base=attempts("a", mixed(None, 0)),
                twin=attempts("b", mixed(CHANGED_FROM, 0.3)),
                again=attempts("c", mixed(None, 0)),
            )
        )
        assert answer.outcome is Outcome.FAIL
        assert answer.sites == ("train_gpt.py:30 mix",)
        legal = Experiment(base=attempts("d", mixed(None, 0)), twin=attempts("e", mixed(CHANGED_FROM, 0)))
        assert probe_prefix(legal).outcome is Outcome.PASS

    def test_other_seeds_and_places_can_only_add(self, attempts: Attempts) -> None:
        first = Experiment(base=attempts("a", scored()), twin=attempts("b", scored(CHANGED_FROM)))
        still = Comparison("seed 2", CHANGED_FROM, attempts("c", scored()), attempts("d", scored(CHANGED_FROM)))
        answer = probe_prefix(replace(first, others=(still,), left_out=("prefix perturbation with seed 3: no time",)))
        assert answer.outcome is Outcome.PASS
        assert "seed 2: 2597 scores" in answer.summary
        assert "left out: prefix perturbation with seed 3" in answer.summary
        moving = Comparison(
            "seed 3", CHANGED_FROM, attempts("e", scored()), attempts("f", scored(CHANGED_FROM, 0.001)), attempts("g", scored())
        )
        answer = probe_prefix(replace(first, others=(still, moving)))
        assert answer.outcome is Outcome.FAIL
        assert "seed 3" in answer.summary
        broken = Comparison("seed 4", CHANGED_FROM, attempts("h", scored(), ok=False))
        assert probe_prefix(replace(first, others=(broken,))).outcome is Outcome.PASS

    def test_the_documented_command_s_settings_are_for_a_human(self, attempts: Attempts) -> None:
        base = attempts("a", scored())
        moving = Comparison(
            "documented",
            CHANGED_FROM,
            attempts("e", scored()),
            attempts("f", scored(CHANGED_FROM, 0.001)),
            attempts("g", scored()),
        )
        still = Comparison("documented", CHANGED_FROM, attempts("h", scored()), attempts("i", scored(CHANGED_FROM)))
        assert probe_documented(Experiment(base=base, documented=moving)).outcome is Outcome.REVIEW
        assert probe_documented(Experiment(base=base, documented=still)).outcome is Outcome.PASS
        assert probe_documented(Experiment(base=base)).outcome is Outcome.NOT_APPLICABLE
        left_out = Experiment(base=base, left_out=("the settings of the documented command: no time",))
        assert probe_documented(left_out).outcome is Outcome.NOT_AVAILABLE

    def test_another_order_than_the_stream_s_is_for_a_human(self, attempts: Attempts) -> None:
        def backwards(changed_from: int | None, shift: float) -> Script:
            script = Script.on(changed_from)
            script.score(range(2049, 4097))
            script.score(range(1, 2049), shift=shift)
            script.print_mean(WHOLE)
            return script

        made = Experiment(
            base=attempts("a", backwards(None, 0)),
            twin=attempts("b", backwards(CHANGED_FROM, 0.001)),
            again=attempts("c", backwards(None, 0)),
        )
        answer = probe_prefix(made)
        assert answer.outcome is Outcome.REVIEW
        assert "another order" in answer.summary

    def test_a_change_that_was_never_reached_proves_nothing(self, attempts: Attempts) -> None:
        def half(changed_from: int | None) -> Script:
            script = Script.on(changed_from)
            script.score(range(1, 2049))
            script.print_mean(range(1, 2049))
            return script

        made = Experiment(base=attempts("a", half(None)), twin=attempts("b", half(CHANGED_FROM)))
        assert probe_prefix(made).outcome is Outcome.NOT_AVAILABLE


class TestOrder:
    def test_training_on_a_chunk_after_its_score_passes(self, attempts: Attempts) -> None:
        script = Script.on()
        for start in range(1, 4097, 512):
            chunk = range(start, start + 512)
            script.score(chunk)
            script.update(script.score(chunk, grad=True, count=False))
        script.print_mean(WHOLE)
        answer = probe_order(alone(attempts("a", script)))
        assert answer.outcome is Outcome.PASS
        assert answer.facts["updates_on_validation_tokens"] == 8

    def test_training_before_the_score_fails(self, attempts: Attempts) -> None:
        script = Script.on()
        script.update(script.score(WHOLE, grad=True, count=False))
        script.score(WHOLE)
        script.print_mean(WHOLE)
        answer = probe_order(alone(attempts("a", script)))
        assert answer.outcome is Outcome.FAIL
        assert answer.measured is not None
        assert answer.measured.value == len(WHOLE)
        assert answer.sites == ("train_gpt.py:20 adapt",)

    def test_the_artifact_divides_early_from_late(self, attempts: Attempts) -> None:
        def script(early: bool) -> Script:
            made = Script.on()
            if early:
                made.update(made.score(WHOLE, grad=True, count=False))
            made.event("file", path="final_model.ptz", mode="w", by="open", site="")
            made.event("file", path="final_model.ptz", mode="r", by="open", site="")
            if not early:
                made.update(made.score(WHOLE, grad=True, count=False))
                # Read again for another evaluation: what came between is still after the artifact.
                made.event("file", path="final_model.ptz", mode="r", by="open", site="")
            made.score(WHOLE)
            made.print_mean(WHOLE)
            return made

        assert probe_artifact_updates(alone(attempts("a", script(True)))).outcome is Outcome.FAIL
        late = alone(attempts("b", script(False)))
        assert probe_artifact_updates(late).outcome is Outcome.PASS
        assert probe_order(late).facts["trained_after_artifact"] == len(WHOLE)


class TestCoverageAndBytes:
    def test_every_target_once(self, attempts: Attempts) -> None:
        assert probe_coverage(alone(attempts("a", scored()))).outcome is Outcome.PASS

    def test_half_of_the_targets(self, attempts: Attempts) -> None:
        script = Script.on()
        script.score(range(1, 2049))
        script.print_mean(range(1, 2049))
        answer = probe_coverage(alone(attempts("a", script)))
        assert answer.outcome is Outcome.REVIEW
        assert answer.facts["missing"] == 2048

    def test_true_and_inflated_bytes(self, attempts: Attempts) -> None:
        assert probe_bpb(alone(attempts("a", scored()))).outcome is Outcome.PASS
        script = Script.on()
        script.score(WHOLE)
        script.print_mean(WHOLE, factor=1.3)
        made = alone(attempts("b", script))
        assert probe_bpb(replace(made, own_tables=True)).outcome is Outcome.NOT_AVAILABLE
        answer = probe_bpb(made)
        # The table of another tokenizer would look the same.
        assert answer.outcome is Outcome.REVIEW
        assert answer.facts["ratio"] == pytest.approx(1.3, rel=1e-4)


class TestPlainMean:
    def test_the_mean_of_all_targets_passes(self, attempts: Attempts) -> None:
        assert probe_mean(alone(attempts("a", scored()))).outcome is Outcome.PASS

    def printed(self, factor: float, *, half: bool = False, twice: bool = False, left: bool = False) -> Script:
        """Each target added up once, and `factor` times their mean printed."""
        script = Script.on()
        script.score(WHOLE, half=half)
        if twice:
            script.score(WHOLE)
        if left:
            script.event("to-numpy", ranges=[[0, 4096]], site="train_gpt.py:30 mix")
        script.print(factor * float(np.mean(script.losses)), 4.0)
        return script

    def test_another_number_than_the_mean_is_for_a_human(self, attempts: Attempts) -> None:
        answer = probe_mean(alone(attempts("a", self.printed(0.998))))
        assert answer.outcome is Outcome.REVIEW
        assert answer.measured is not None
        assert answer.limit is not None
        assert answer.measured.value == pytest.approx(0.998 * answer.limit.value, rel=1e-6)
        assert answer.sites == ("train_gpt.py:9 forward",)

    def test_what_precision_may_do_accuses_nobody(self, attempts: Attempts) -> None:
        assert probe_mean(alone(attempts("a", self.printed(0.99995)))).outcome is Outcome.INFO
        assert probe_mean(alone(attempts("b", self.printed(0.998, half=True)))).outcome is Outcome.INFO
        assert probe_mean(alone(attempts("c", self.printed(0.99, half=True)))).outcome is Outcome.REVIEW

    def test_an_incomplete_capture_says_nothing(self, attempts: Attempts) -> None:
        for name, script in (("a", self.printed(0.9, twice=True)), ("b", self.printed(0.9, left=True))):
            assert probe_mean(alone(attempts(name, script))).outcome is Outcome.NOT_AVAILABLE
        for logs, outcome in ([-1.0] * 20, Outcome.NOT_AVAILABLE), ([0.6931471805599453] * 20, Outcome.REVIEW):
            script = Script.on()
            script.score(WHOLE)
            script.logarithms(logs)
            script.print(0.9 * float(np.mean(script.losses)), 4.0)
            assert probe_mean(alone(attempts(f"logs{outcome}", script))).outcome is outcome
        script = Script.on()
        script.score(range(1, 2049))
        script.print(0.9 * float(np.mean(script.losses)), 4.0)
        assert probe_mean(alone(attempts("c", script))).outcome is Outcome.NOT_AVAILABLE
        # A mean of half of the targets is explained, and no mean of all.
        script = Script.on()
        script.score(range(1, 2049))
        script.print_mean(range(1, 2049))
        assert probe_mean(alone(attempts("d", script))).outcome is Outcome.NOT_AVAILABLE


class TestSize:
    def answer(self, attempts: Attempts, total: int, left: dict[str, int]) -> Probe:
        script = Script.on()
        script.event("file", path="./final.ptz", mode="w", by="open", site="")
        script.event("line", stream="out", text=f"Total submission size: {total} bytes")
        script.event("file", path="./final.ptz", mode="r", by="open", site="")
        script.score(WHOLE)
        script.print_mean(WHOLE)
        attempt = replace(attempts(f"a{total}-{len(left)}", script), left={"train_gpt.py": 3000, "README.md": 10, **left})
        return probe_size(alone(attempt))

    def test_model_and_script_are_counted(self, attempts: Attempts) -> None:
        assert self.answer(attempts, 23_000, {"final.ptz": 20_000}).outcome is Outcome.PASS
        # A compressed script, or one that is packed.
        assert self.answer(attempts, 21_500, {"final.ptz": 20_000}).outcome is Outcome.INFO

    def test_a_total_without_the_script(self, attempts: Attempts) -> None:
        answer = self.answer(attempts, 20_000, {"final.ptz": 20_000, "final.pt": 90_000})
        assert answer.outcome is Outcome.REVIEW
        assert answer.facts["left_out"] == "code"

    def test_a_total_below_the_model(self, attempts: Attempts) -> None:
        answer = self.answer(attempts, 13_000, {"final.ptz": 20_000, "final.pt": 90_000})
        assert answer.outcome is Outcome.REVIEW
        assert answer.facts["left_out"] == "model"
        # The total may speak of another file than the one that is read back.
        assert self.answer(attempts, 13_000, {"final.ptz": 20_000, "small.xz": 11_000}).outcome is Outcome.INFO


class TestAccess:
    def test_network_attempts_are_for_a_human(self, attempts: Attempts) -> None:
        script = scored()
        script.event("network", what="socket.getaddrinfo", target="huggingface.co", site="train_gpt.py:4 main")
        assert probe_access(alone(attempts("a", script))).outcome is Outcome.REVIEW
        assert probe_access(alone(attempts("b", scored()))).outcome is Outcome.PASS


@pytest.mark.parametrize("probe", PROBES)
def test_a_run_that_did_not_complete_is_never_a_pass(probe: Callable[[Experiment], Probe], attempts: Attempts) -> None:
    script = Script.on()
    script.event("file", path="x", mode="w", by="open", site="")
    script.score(WHOLE)
    script.print_mean(WHOLE)
    answer = probe(alone(attempts("a", script, ok=False)))
    assert answer.outcome is Outcome.NOT_AVAILABLE
    assert "boom" in answer.summary or "not made" in answer.summary
    assert answer.stage == "training"


@pytest.mark.parametrize("probe", [probe_order, probe_prefix, probe_canary])
def test_a_record_that_ran_into_its_limits_is_never_a_pass(probe: Callable[[Experiment], Probe], attempts: Attempts) -> None:
    script = scored()
    script.event("limit", what="events")
    answer = probe(alone(attempts("a", script)))
    assert answer.outcome is Outcome.NOT_AVAILABLE
    assert "more happened" in answer.summary


@pytest.mark.parametrize("probe", PROBES)
def test_nothing_run_is_not_available(probe: Callable[[Experiment], Probe]) -> None:
    answer = probe(Experiment(why_not="the folder has no training script"))
    assert answer.outcome is Outcome.NOT_AVAILABLE
    assert "no training script" in answer.summary
    assert answer.not_seen
