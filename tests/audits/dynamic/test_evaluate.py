"""`verifier evaluate`: what it makes of fresh scores and logs; with torch, whole evaluations of artifacts that our own scripts made."""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import os
import pickle
import sys
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from audits.dynamic import evaluate_command as command
from audits.dynamic.evaluation import COVERAGE, LOG, SCORES, Evaluation, LoggedScore, answer_probes
from audits.dynamic.evaluation_bytes import ValidationSet
from fixtures.probes.evaluate import SETTINGS, make_script, write_folder
from tests.execution.records import TOKENIZER, Script
from verifier.cli.errors import UsageFailure
from verifier.evidence import Location
from verifier.execution.bench import Attempt, Bench, Budget
from verifier.execution.evaluation import FreshRun
from verifier.execution.launch import Ending
from verifier.execution.settings import LAUNCH, lengthen, shorten
from verifier.execution.torch_file import ArtifactFile
from verifier.execution.toy_data import make_data, write_data
from verifier.execution.toy_tokenizer import BOS, make_tokenizer
from verifier.rule import Outcome
from verifier.sandbox.policy import Reason, SandboxPolicy
from verifier.sandbox.tiers import choose_tier
from verifier.submission.logs.reader import read_log
from verifier.submission.script import EnvRead

ENDED = Ending(Reason.FINISHED, 0, 1.0, 0, "namespaces", "", "")
WHOLE = range(1, 4097)
FILE = ArtifactFile(10, ("zlib", "torch-zip"), True, 20, 4)


def call(*words: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args(words))


def log(text: str, name: str = "train.log") -> LoggedScore:
    run = read_log(name, text.encode()).runs[-1]
    assert run.headline is not None
    return LoggedScore(name, run, run.headline)


def line(bpb: float, digits: int = 8, tokens: str = "val_loader:shards pattern=./val tokens:4096") -> LoggedScore:
    return log(f"{tokens}\nfinal_roundtrip_exact val_loss:{7.05:.8f} val_bpb:{bpb:.{digits}f}\n")


@dataclass
class Told:
    """A run told by hand: losses formed before and after the artifact is in its place."""

    folder: Path
    count: int = 0

    def attempt(
        self,
        *,
        shift: float = 0.0,
        replaced: bool = True,
        after: bool = True,
        scored: range = WHOLE,
        factor: float = 1.0,
        ok: bool = True,
        adapts: bool = False,
    ) -> Attempt:
        script = Script.on()
        if not after:
            script.score(scored, shift=shift)
        else:
            script.score(WHOLE, shift=shift + 1, count=False)
        if replaced:
            script.event("replaced", path="final_model.ptz", own=9, given=10)
        for start in range(scored.start, scored.stop if after else scored.start, 512):
            chunk = script.score(range(start, min(start + 512, scored.stop)), shift=shift)
            if adapts:
                script.update(chunk)
        script.print_mean(scored, factor=factor)
        script.end(ok, "" if ok else "RuntimeError", "" if ok else "size mismatch")
        self.count += 1
        run = script.write(self.folder / str(self.count))
        fresh = FreshRun(run.observations, run.data, TOKENIZER.count_bytes(run.data.val), (512,))
        return Attempt("base", ENDED, fresh, "end")


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(tmp_path / "records")


def validation() -> ValidationSet:
    stream = Script.on().data.val
    return ValidationSet(stream, TOKENIZER.count_bytes(stream), np.insert(np.flatnonzero(stream == BOS), 0, 0), "the formula")


def evaluation(base: Attempt, *logs: LoggedScore, control: Attempt | None = None, tolerance: float = 3e-4) -> Evaluation:
    return Evaluation(FILE, validation(), None, base, control, logs, tolerance)


def score_of(attempt: Attempt) -> float:
    score = evaluation(attempt).score
    assert score is not None
    return score.bpb


class TestLogAgreement:
    def test_the_same_score_passes(self, told: Told) -> None:
        base = told.attempt()
        answers = answer_probes(evaluation(base, line(score_of(base))))
        assert {probe.outcome for probe in answers.values()} == {Outcome.PASS}
        assert answers[LOG].facts["same_printed_digits"] is True

    @pytest.mark.parametrize("edit", [0.001, -0.001])
    def test_an_edited_log_fails_where_the_score_is_the_artifact_s(self, told: Told, edit: float) -> None:
        base = told.attempt()
        answer = answer_probes(evaluation(base, line(score_of(base) + edit), control=told.attempt()))[LOG]
        assert answer.outcome is Outcome.FAIL
        assert f"{-edit:+.6f}" in answer.summary

    def test_the_printed_digits_decide(self, told: Told) -> None:
        base = told.attempt()
        rounded = round(score_of(base), 2)
        assert abs(rounded - score_of(base)) > 1e-4
        assert answer_probes(evaluation(base, line(rounded, digits=2)))[LOG].outcome is Outcome.PASS
        assert answer_probes(evaluation(base, line(rounded, digits=4), control=told.attempt()))[LOG].outcome is Outcome.FAIL

    def test_a_score_that_depends_on_the_training_is_not_held_against_the_log(self, told: Told) -> None:
        base = told.attempt()
        logged = line(score_of(base) + 0.01)
        answer = answer_probes(evaluation(base, logged, control=told.attempt(shift=0.001)))[LOG]
        assert answer.outcome is Outcome.NOT_AVAILABLE
        assert "depend on more than the artifact" in answer.summary
        assert answer_probes(evaluation(base, logged))[LOG].outcome is Outcome.NOT_AVAILABLE

    def test_what_another_device_may_do_is_for_a_human(self, told: Told) -> None:
        base, control = told.attempt(), told.attempt()
        logged = line(score_of(base) + 1e-4)
        assert answer_probes(evaluation(base, logged, control=control))[LOG].outcome is Outcome.REVIEW
        assert answer_probes(evaluation(base, logged, control=control, tolerance=0.0))[LOG].outcome is Outcome.FAIL

    def test_settings_that_nobody_states_prove_nothing(self, told: Told) -> None:
        base, control = told.attempt(), told.attempt()
        made = replace(evaluation(base, line(score_of(base) + 0.01), control=control), settings_known=False)
        assert answer_probes(made)[LOG].outcome is Outcome.REVIEW

    @pytest.mark.parametrize(
        ("tokens", "known", "outcome"),
        [
            ("val_loader:shards pattern=./val tokens:4097", 0, Outcome.FAIL),
            ("val_loader:shards pattern=./val tokens:3968", 0, Outcome.FAIL),  # a last row that is not full
            ("val_loader:shards pattern=./val tokens:62021846", 0, Outcome.REVIEW),
            ("", 0, Outcome.REVIEW),
            ("", 4096, Outcome.FAIL),
        ],
    )
    def test_a_log_of_another_validation_set_proves_nothing(self, told: Told, tokens: str, known: int, outcome: Outcome) -> None:
        base, control = told.attempt(), told.attempt()
        made = evaluation(base, line(score_of(base) + 0.01, tokens=tokens), control=control)
        answer = answer_probes(replace(made, known_sets=frozenset({known})))[LOG]
        assert answer.outcome is outcome

    def test_half_of_the_targets_prove_nothing(self, told: Told) -> None:
        base, control = told.attempt(scored=range(1, 2049)), told.attempt(scored=range(1, 2049))
        answer = answer_probes(evaluation(base, line(score_of(base) + 0.01), control=control))[LOG]
        assert answer.outcome is Outcome.REVIEW
        assert "only 2048 of 4096" in answer.summary

    def test_a_training_whose_length_nobody_varied_is_for_a_human(self, told: Told) -> None:
        base, control = told.attempt(), told.attempt()
        made = replace(evaluation(base, line(score_of(base) + 0.01), control=control), varied=False)
        assert answer_probes(made)[LOG].outcome is Outcome.REVIEW

    def test_an_evaluation_that_adapts_on_other_ranks_is_for_a_human(self, told: Told) -> None:
        base, control = told.attempt(adapts=True), told.attempt(adapts=True)
        text = f"val_tokens: 4,096\nfinal_roundtrip_exact val_loss:{7.05:.8f} val_bpb:{score_of(base) + 0.01:.8f}\n"
        assert answer_probes(evaluation(base, log(text), control=control))[LOG].outcome is Outcome.REVIEW
        alone = log(f"world_size:1 grad_accum_steps:8\n{text}")
        assert answer_probes(evaluation(base, alone, control=control))[LOG].outcome is Outcome.FAIL

    def test_one_of_several_logs_is_enough(self, told: Told) -> None:
        base = told.attempt()
        assert answer_probes(evaluation(base, line(3.0), line(score_of(base))))[LOG].outcome is Outcome.PASS
        assert answer_probes(evaluation(base, line(3.0), line(5.0), control=told.attempt()))[LOG].outcome is Outcome.REVIEW

    def test_bytes_that_the_script_counts_wrong_are_told_from_the_artifact(self, told: Told) -> None:
        base = told.attempt(factor=1.3)
        answers = answer_probes(evaluation(base, line(score_of(base) / 1.3), control=told.attempt(factor=1.3)))
        assert answers[SCORES].outcome is Outcome.REVIEW
        assert answers[LOG].outcome is Outcome.FAIL
        assert "not the artifact" in answers[LOG].summary


class TestWhatWasNotScored:
    @pytest.mark.parametrize(
        ("how", "words"),
        [
            ({"replaced": False}, "never read its artifact back"),
            ({"after": False}, "formed before the artifact"),
            ({"ok": False}, "size mismatch"),
        ],
    )
    def test_no_score_no_verdict(self, told: Told, how: dict[str, bool], words: str) -> None:
        answers = answer_probes(evaluation(told.attempt(**how), line(4.0)))  # type: ignore[arg-type]
        assert {answers[name].outcome for name in (SCORES, COVERAGE, LOG)} == {Outcome.NOT_AVAILABLE}
        assert words in answers[LOG].summary

    def test_half_of_the_targets_shows_in_the_coverage(self, told: Told) -> None:
        base = told.attempt(scored=range(1, 2049))
        answers = answer_probes(evaluation(base, line(score_of(base))))
        assert answers[COVERAGE].outcome is Outcome.INFO
        assert answers[COVERAGE].facts["missing"] == 2048


def test_documents_add_up_to_the_score(told: Told) -> None:
    made = evaluation(told.attempt())
    documents, score = made.documents, made.score
    assert documents is not None
    assert score is not None
    assert documents.targets.sum() == score.targets == 4096
    assert documents.bytes.sum() == score.bytes
    assert documents.nats.sum() == pytest.approx(score.nats)
    assert documents.mean_bpb == pytest.approx(np.nanmean(documents.nats / np.log(2) / documents.bytes), rel=0.2)


def test_only_the_training_is_shortened() -> None:
    def reads(**defaults: str) -> list[EnvRead]:
        return [EnvRead(name, default, "int", name.lower(), Location("train_gpt.py", 1)) for name, default in defaults.items()]

    script = reads(
        ITERATIONS="20000", TRAIN_SEQ_LEN="1024", TRAIN_BATCH_TOKENS="524288", MODEL_DIM="512", EVAL_STRIDE="64", TTT_EPOCHS="3"
    )
    made = shorten(script, {"MODEL_DIM": "768", "TRAIN_SEQ_LEN": "2048", "TTT_EPOCHS": "4", "PATH": "x"})
    assert set(made.shrunk) == {"ITERATIONS", "TRAIN_BATCH_TOKENS"}
    assert made.environment["TRAIN_BATCH_TOKENS"] == str(8 * 2048)
    assert (made.environment["MODEL_DIM"], made.environment["TTT_EPOCHS"]) == ("768", "4")
    assert not {"EVAL_STRIDE", "PATH"} & set(made.environment)
    assert "ITERATIONS" not in shorten(reads(ITERATIONS="1"), {}).shrunk


def test_what_starts_in_the_training_has_started() -> None:
    def asked(begins: str, last: str = "20000") -> dict[str, str]:
        found = {"ITERATIONS": last, "EMA_START_STEP": begins}
        reads = [EnvRead(name, value, "int", name.lower(), Location("train_gpt.py", 1)) for name, value in found.items()]
        return shorten(reads, {}).environment

    assert asked("4500")["EMA_START_STEP"] == "1"
    assert "EMA_START_STEP" not in asked("0")
    assert "EMA_START_STEP" not in asked("30000"), "the run never came to it"


def test_the_repetition_trains_longer() -> None:
    reads = [EnvRead("ITERATIONS", "20000", "int", "iterations", Location("train_gpt.py", 1))]
    longer = lengthen(shorten(reads, {}))
    assert longer is not None
    assert int(longer.environment["ITERATIONS"]) > int(shorten(reads, {}).environment["ITERATIONS"])
    assert lengthen(shorten([], {})) is None


def test_what_the_script_calls_its_artifact() -> None:
    text = make_script("half")
    assert command.artifact_name("final_model.ptz", [text]) == "final_model.ptz"
    assert command.artifact_name("seed_42.ptz", [text]) == "final_model.ptz"
    assert command.artifact_name("seed_42.bin", [text]) == ""
    assert command.artifact_name("seed_42.ptz", ['open("a.ptz")', 'open("b.ptz")']) == ""


def lay_out(path: Path) -> tuple[str, ...]:
    """A validation set and its tokenizer as the command's options name them."""
    write_data(make_data(make_tokenizer(512), 7), path / "data", ("set",), sidecar=False)
    tokens, tokenizer = path / "data/datasets/set/fineweb_val_*.bin", path / "data/tokenizers/fineweb_512_bpe.model"
    return "--tokens", str(tokens), "--tokenizer", str(tokenizer), "--format", "json", "--python", sys.executable


def test_a_hostile_artifact_is_refused_and_nothing_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Hostile:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "called"),)

    monkeypatch.setattr(command, "refuse_without_sandbox", lambda unsafe: None)
    monkeypatch.setattr(command, "evaluate_once", lambda *args, **kwargs: pytest.fail("it was run"))
    artifact = tmp_path / "final_model.ptz"
    artifact.write_bytes(zlib.compress(pickle.dumps({"weights": Hostile()})))
    assert call(str(write_folder(tmp_path, "half")), "--artifact", str(artifact), *lay_out(tmp_path)) == 1
    submission = json.loads(capsys.readouterr().out)["submissions"][0]
    assert submission["probes"]["artifact-file"]["outcome"] == "fail"
    assert "mkdir" in submission["probes"]["artifact-file"]["summary"]
    assert submission["rules"]["EVA003"]["outcome"] == "not-available"
    assert not (tmp_path / "called").exists()


def test_unusable_inputs_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(command, "refuse_without_sandbox", lambda unsafe: None)
    folder, options = str(write_folder(tmp_path, "half")), lay_out(tmp_path)
    artifact = tmp_path / "a.ptz"
    with pytest.raises(UsageFailure, match="nothing was run"):
        call(folder, "--artifact", str(artifact), *options)
    artifact.write_bytes(b"x")
    empty = tmp_path / "empty.log"
    empty.write_text("nothing\n")
    for words in (
        ("--log", str(empty)),
        ("--set", "NAME"),
        ("--log", str(tmp_path / "none")),
        ("--tokens", str(tmp_path / "*.bin")),
    ):
        with pytest.raises(UsageFailure, match="nothing was run"):
            call(folder, "--artifact", str(artifact), *options, *words)


needs_runs = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None or not choose_tier(SandboxPolicy()).available,
    reason="needs torch and a sandbox that works here",
)


@dataclass(frozen=True)
class Trained:
    """What a run of a script left: the artifact and what it printed."""

    artifact: Path
    log: Path
    options: tuple[str, ...]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The int8 script, trained for a few steps."""
    path = tmp_path_factory.mktemp("trained", numbered=True)
    folder = write_folder(path, "int8")
    bench = Bench(folder, "train_gpt.py", (), [make_script("int8")], Path(sys.executable), Budget(), path / "kept", False)
    attempt = bench.run("train", make_data(make_tokenizer(512), 7), {**SETTINGS, **LAUNCH})
    assert not attempt.failure
    return Trained(path / "kept/train/files/final_model.ptz", path / "kept/train/output.txt", lay_out(path))


@needs_runs
def test_an_artifact_gives_its_log_s_digits_again(trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Through the packed twin of the script that made it."""
    folder, table = write_folder(tmp_path, "packed"), tmp_path / "documents.tsv"
    words = ("--artifact", str(trained.artifact), "--log", str(trained.log), "--documents", str(table))
    assert call(str(folder), *words, *trained.options) == 0
    submission = json.loads(capsys.readouterr().out)["submissions"][0]
    assert {name: probe["outcome"] for name, probe in submission["probes"].items()} == dict.fromkeys(submission["probes"], "pass")
    assert submission["rules"]["EVA003"]["outcome"] == "pass"
    assert submission["verdict"] == "eligible"
    facts = submission["probes"][LOG]["facts"]
    assert facts["same_printed_digits"]
    assert facts["logged_bpb"] in trained.log.read_text()
    assert len(table.read_text().splitlines()) == submission["evaluation"]["documents"]["count"] + 1


@needs_runs
def test_one_changed_tensor_is_found(trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch: Any = pytest.importorskip("torch")
    state = torch.load(io.BytesIO(zlib.decompress(trained.artifact.read_bytes())), weights_only=True)
    state["scale"]["emb.weight"] = state["scale"]["emb.weight"] * 1.5
    out = io.BytesIO()
    torch.save(state, out)
    changed = tmp_path / "seed_1337.ptz"
    changed.write_bytes(zlib.compress(out.getvalue()))
    folder = write_folder(tmp_path, "int8")
    assert call(str(folder), "--artifact", str(changed), "--log", str(trained.log), *trained.options) == 1
    submission = json.loads(capsys.readouterr().out)["submissions"][0]
    assert submission["rules"]["EVA003"]["outcome"] == "fail"
    assert submission["verdict"] == "ineligible"
    finding = submission["findings"][0]
    assert finding["rule"] == "EVA003"
    assert "val_bpb" in finding["locations"][0]["excerpt"]


@needs_runs
def test_a_format_that_only_the_script_knows(trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw = np.random.default_rng(1)
    weights = (draw.standard_normal(512 * 32 + 2 * (3 * 32 * 32 + 32 * 32)) * 0.02).astype(np.float16)
    artifact = tmp_path / "final_model.ptz"
    artifact.write_bytes(b"OWN1" + zlib.compress(weights.tobytes()))
    assert call(str(write_folder(tmp_path, "own-format")), "--artifact", str(artifact), *trained.options) == 0
    submission = json.loads(capsys.readouterr().out)["submissions"][0]
    outcomes = {name: probe["outcome"] for name, probe in submission["probes"].items()}
    assert outcomes == {"artifact-file": "info", SCORES: "pass", COVERAGE: "pass", LOG: "not-available"}
    assert submission["verdict"] == "undetermined"
    assert submission["evaluation"]["score"]["targets"] == 4096
