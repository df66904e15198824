"""A toy size that a script refuses gets larger: the model wider, else the vocabulary that of the run. Nothing else is tried again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from tests.execution.records import Script
from verifier.execution.bench import Attempt, Bench
from verifier.execution.experiment import Laboratory
from verifier.execution.launch import Ending
from verifier.execution.settings import ToySettings
from verifier.execution.toy_data import ToyData
from verifier.sandbox.policy import Reason
from verifier.submission.submission import Submission

ENDED = Ending(Reason.FINISHED, 0, 1.0, 0, "namespaces", "", "")


@dataclass
class Stub:
    """Ends runs with an error of the script at some widths; `missing` is an operator that these runs lacked."""

    folder: Path
    refused: tuple[str, ...]
    missing: str = ""
    made: list[tuple[str, str]] = field(default_factory=list)

    def affords(self, seconds: float) -> bool:
        return True

    def run(self, name: str, data: ToyData, environment: Mapping[str, str]) -> Attempt:
        width = environment.get("MODEL_DIM", environment.get("VOCAB_SIZE", ""))
        assert environment.get("VOCAB_SIZE", "512") == str(data.tokenizer.size)
        self.made.append((name, width))
        script = Script.on()
        if self.missing and width in self.refused:
            script.event("not-supported", operator=self.missing)
        script.end(width not in self.refused, "AssertionError", "divisible by 3")
        return Attempt(name, ENDED, script.write(self.folder / name), "data")


def laboratory(bench: Stub) -> Laboratory:
    settings = ToySettings({"MODEL_DIM": "128"}, {"MODEL_DIM": ("768", "128")}, 512)
    documented = ToySettings({"MODEL_DIM": "128", "A": "1"}, {"MODEL_DIM": ("768", "128")}, 512)
    return Laboratory(cast(Submission, None), cast(Bench, cast(Any, bench)), settings, documented, case_controls=False)


def test_a_width_that_is_refused_is_replaced_in_all_settings(tmp_path: Path) -> None:
    made = laboratory(Stub(tmp_path, ("128",)))
    attempt = made.first_run()
    assert attempt.completed
    assert attempt.name == "base-wider"
    assert made.settings.environment["MODEL_DIM"] == "384"
    assert made.documented is not None
    assert made.documented.environment == {"MODEL_DIM": "384", "A": "1"}


@pytest.mark.parametrize(("refused", "missing", "runs"), [((), "", 1), (("128",), "fla", 1), (("128", "384"), "", 2)])
def test_the_settings_stay_where_width_is_not_the_cause(
    tmp_path: Path, refused: tuple[str, ...], missing: str, runs: int
) -> None:
    bench = Stub(tmp_path, refused, missing)
    made = laboratory(bench)
    assert made.first_run().name == "base"
    assert len(bench.made) == runs
    assert made.settings.environment["MODEL_DIM"] == "128"


def test_a_vocabulary_that_is_refused_is_replaced_by_the_run_s(tmp_path: Path) -> None:
    settings = ToySettings({"VOCAB_SIZE": "512"}, {"VOCAB_SIZE": ("998", "512")}, 512)
    bench = Stub(tmp_path, ("512",))
    made = Laboratory(cast(Submission, None), cast(Bench, cast(Any, bench)), settings, None, case_controls=False)
    assert made.first_run().name == "base-vocabulary"
    assert (made.settings.environment, made.settings.vocabulary) == ({"VOCAB_SIZE": "998"}, 998)
    assert not made.any_vocabulary
