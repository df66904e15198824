"""A fresh evaluation: the submission's own script loads a given artifact and scores a given validation stream, in the sandbox.

The script is run as it is. Its training is cut to next to nothing by its own settings; when it reads back the artifact that it has
just written, the given one is there in its place. What it scores afterwards is scored again by us, from the same logits.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from verifier.execution.bench import Attempt, Bench, keep_evidence, scratch_folders, stage_of
from verifier.execution.evaluation_rows import RowLocator
from verifier.execution.launch import ARTIFACT, PLAN, RECORD, launch
from verifier.execution.observations import BadRecord, read_observations
from verifier.execution.passes import Pass, Run
from verifier.execution.seal import is_sealed, new_key
from verifier.execution.settings import ToySettings
from verifier.execution.toy_data import HEADER_INTS, Stream, ToyData, write_shard
from verifier.execution.toy_tokenizer import SMALLEST, make_tokenizer
from verifier.execution.workspace import Workspace, dataset_names, leftover_bytes, local_path, make_orders, submitted_files
from verifier.limits import MIB

TRAIN_TOKENS = 131_072
MEMORY = 8192 * MIB
COPIES = 384 * MIB
"""Bytes of data files laid out under several names."""
RETRIED = "ZeroDivisionError"
"""What a script raises that takes a remainder by `VAL_LOSS_EVERY`."""
NEVER = "1000000"


@dataclass(frozen=True, slots=True)
class Inputs:
    """What is evaluated. `shards` and `sidecars` are files of the validation set in order, `tokenizer` the tokenizer's file (`None` for
    raw bytes), `name` what the script calls its artifact (empty: not known). `stream` are the tokens of `shards`, `token_bytes` the true
    bytes of each of them."""

    artifact: bytes
    name: str
    shards: tuple[Path, ...]
    sidecars: tuple[Path, ...]
    tokenizer: Path | None
    stream: Stream
    token_bytes: NDArray[np.int64]
    seed: int | None = None


@dataclass(frozen=True, eq=False)
class FreshRun(Run):
    """A run on a real stream: rows are located as a whole, bytes are the verifier's own truth."""

    token_bytes: NDArray[np.int64]
    row_lengths: tuple[int, ...]

    @cached_property
    def positions(self) -> NDArray[np.int64]:
        """Position of each loss; losses formed before the artifact was there are not looked for."""
        locator = RowLocator(self.data.val, self.row_lengths)
        found = np.full(len(self.observations.losses), -1, dtype=np.int64)
        loaded = self.loaded
        for span in self.observations.spans:
            if loaded is not None and span.number > loaded:
                part = slice(span.start, span.start + span.count)
                found[part] = locator.locate(self.observations.targets[part])
        return found

    @cached_property
    def bytes(self) -> NDArray[np.int64]:
        return self.token_bytes

    @cached_property
    def loaded(self) -> int | None:
        """Number of the last event in which the artifact was put in place."""
        events = self.observations.of("replaced")
        return events[-1].number if events else None

    @cached_property
    def replaced(self) -> tuple[str, ...]:
        """Names of the files that the artifact was put in the place of."""
        return tuple(dict.fromkeys(event.text("path").rsplit("/", 1)[-1] for event in self.observations.of("replaced")))

    @cached_property
    def fresh(self) -> Pass | None:
        """The losses behind the printed number, if all of them were formed with the artifact in place."""
        scored = self.final
        if scored is None or self.loaded is None or int(scored.numbers.min()) <= self.loaded:
            return None
        return scored


def evaluate_once(bench: Bench, inputs: Inputs, settings: ToySettings, name: str, train_seed: int) -> Attempt:
    """One run on the bench. `train_seed` chooses the random tokens that the script trains on before it loads the artifact: a score
    that depends on them is no score of the artifact. Raises `CannotPrepare`."""
    with scratch_folders() as (workspace, results):
        laid = _lay_out(bench, inputs, settings, workspace, train_seed)
        seconds = max(1.0, min(bench.budget.single, bench.left))
        ending = launch(
            laid.inputs, results, laid.environment, bench.python, seconds, unsafe=bench.unsafe, memory=bench.budget.memory
        )
        run = _read(results, inputs, laid.environment)
        if bench.keep is not None:
            keep_evidence(results, bench.keep / name, ending)
        sealed = is_sealed(results / RECORD, laid.key)
        attempt = Attempt(name, ending, run, stage_of(run), leftover_bytes(results), sealed=sealed)
    if settings.environment.get("VAL_LOSS_EVERY") == "0" and attempt.failure.startswith(RETRIED) and bench.left > 1:
        again = replace(settings, environment={**settings.environment, "VAL_LOSS_EVERY": NEVER})
        return evaluate_once(bench, inputs, again, f"{name}-again", train_seed)
    return attempt


def _lay_out(bench: Bench, inputs: Inputs, settings: ToySettings, scratch: Path, train_seed: int) -> Workspace:
    """The working folder: the contest's layout with the real validation set, random tokens to train on, the artifact apart."""
    train = scratch / "train.bin"
    _write_random_shard(train, inputs.stream, train_seed, settings)
    plan, artifact, record = scratch / PLAN, scratch / ARTIFACT, scratch / RECORD
    key = new_key()
    given = {"file": ARTIFACT, "name": inputs.name}
    plan.write_text(
        json.dumps({**make_orders(bench.script, bench.arguments, bench.texts, key), "artifact": given}), encoding="utf-8"
    )
    artifact.write_bytes(inputs.artifact)
    record.mkdir()
    (record / ".keep").touch()
    laid = [(PLAN, plan), (ARTIFACT, artifact), (RECORD, record), *submitted_files(bench.folder)]
    sidecars = inputs.sidecars
    if not sidecars and any("val_bytes" in text for text in bench.texts):
        sidecars = _write_sidecars(scratch, inputs)
    size = sum(path.stat().st_size for path in (*inputs.shards, *sidecars, train, train))
    names = dataset_names(settings.vocabulary, bench.texts)[: max(1, COPIES // size)]
    for dataset in names:
        at = f"data/datasets/{dataset}"
        laid += [(f"{at}/fineweb_val_{number:06d}.bin", shard) for number, shard in enumerate(inputs.shards)]
        laid += [(f"{at}/fineweb_val_bytes_{number:06d}.bin", shard) for number, shard in enumerate(sidecars)]
        laid += [(f"{at}/fineweb_train_{number:06d}.bin", train) for number in range(2)]
    environment = {
        "DATA_PATH": f"./data/datasets/{names[0]}",
        "DATA_DIR": "./data",
        "RUN_ID": "evaluate",
        "SEED": str(inputs.seed if inputs.seed is not None else 1337),
        "HF_HUB_OFFLINE": "1",
    }
    if inputs.tokenizer is not None:
        environment["TOKENIZER_PATH"] = f"./data/tokenizers/{inputs.tokenizer.name}"
        laid.append((f"data/tokenizers/{inputs.tokenizer.name}", inputs.tokenizer))
    stated = {name: local_path(value) for name, value in settings.environment.items()}
    return Workspace(tuple(laid), {**stated, **environment}, key)


def _write_random_shard(path: Path, stream: Stream, seed: int, settings: ToySettings) -> None:
    """Independent draws from the tokens that the validation stream uses: all of them are in the model's vocabulary."""
    batch = settings.environment.get("TRAIN_BATCH_TOKENS", "")
    count = max(TRAIN_TOKENS, 4 * int(batch) if batch.isdecimal() and len(batch) < 9 else 0)
    alphabet = np.unique(stream)
    write_shard(path, alphabet[np.random.default_rng(seed).integers(0, len(alphabet), size=count)])


def _write_sidecars(scratch: Path, inputs: Inputs) -> tuple[Path, ...]:
    """The bytes of each token, one file per shard, for a script that wants them as files."""
    written = []
    at = 0
    for number, shard in enumerate(inputs.shards):
        count = (shard.stat().st_size - 4 * HEADER_INTS) // 2
        path = scratch / f"bytes-{number}.bin"
        write_shard(path, inputs.token_bytes[at : at + count])
        written.append(path)
        at += count
    return tuple(written)


def _read(results: Path, inputs: Inputs, environment: Mapping[str, str]) -> FreshRun | None:
    lengths = [environment.get(name, "") for name in ("EVAL_SEQ_LEN", "SEQ_LEN", "VAL_SEQ_LEN", "TRAIN_SEQ_LEN")]
    usable = tuple(int(length) for length in lengths if length.isdecimal() and len(length) < 9)
    # The data's own tokenizer is never asked: `FreshRun` has the bytes.
    data = ToyData(make_tokenizer(SMALLEST), inputs.stream[:0], inputs.stream)
    try:
        run = FreshRun(read_observations(results / RECORD), data, inputs.token_bytes, (*usable, 1024, 2048, 4096, 512))
        run.observations.spans  # noqa: B018  (checks that the record fits together)
    except BadRecord:
        return None
    return run


def same_losses(one: Pass, two: Pass) -> bool:
    """Whether two passes gave every position the same loss, to the last bit."""
    return (
        len(one.losses) == len(two.losses)
        and bool((one.positions == two.positions).all())
        and one.losses.tobytes() == two.losses.tobytes()
    )
