"""The runs behind the probes: one on random tokens, its twin with another future, and a repetition where they differ."""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from verifier.engine.context import Context
from verifier.execution.launch import OWN, RECORD, Ending, launch
from verifier.execution.observations import BadRecord, read_observations
from verifier.execution.passes import Pass, Run
from verifier.execution.settings import ToySettings, listed_settings, shrink
from verifier.execution.toy_data import VAL_TOKENS, make_data
from verifier.execution.toy_tokenizer import SMALLEST, make_tokenizer
from verifier.execution.workspace import CannotPrepare, leftover_bytes, prepare
from verifier.ledger.configuration import documented_command
from verifier.limits import DEFAULT_LIMITS
from verifier.program.analysis import analysis_of

SEED = 20_260_501
CHANGED_FROM = VAL_TOKENS * 5 // 8 + 37
"""First validation token of the twin that differs; in the middle of a window and of a chunk."""


@dataclass(frozen=True, slots=True)
class Budget:
    """Seconds of wall time: `total` for all runs of a folder, `single` for one run."""

    total: float = 600.0
    single: float = 300.0


@dataclass(frozen=True, slots=True)
class Attempt:
    """One run. `run` is `None` when it left no readable record; `stage` says how far it came."""

    name: str
    ending: Ending
    run: Run | None
    stage: str
    left: dict[str, int] = field(default_factory=dict)

    @property
    def completed(self) -> bool:
        return self.run is not None and self.run.observations.completed and not self.run.observations.limited

    @property
    def failure(self) -> str:
        """One line: why there is no complete run; empty when there is one."""
        if self.completed:
            return ""
        if not self.ending.started:
            return f"the sandbox could not run it: {self.ending.detail}"
        if self.run is not None:
            missing = [event.text("operator") for event in self.run.observations.of("not-supported")]
            if missing:
                return f"not-supported: {', '.join(missing[:5])}"
            if self.run.observations.limited:
                return f"more happened than is recorded: {', '.join(self.run.observations.limited)[:200]}"
            end = self.run.observations.end
            if end is not None:
                message = " ".join(end.text("message").split())[:300]
                if end.text("stage") == "start":
                    return f"the Python that runs the script has no torch ({message}): name another one"
                return f"{end.text('error')}: {message} ({end.text('where')})"
        return self.ending.detail or f"it ended with code {self.ending.exit_code} and left no record of its end"


@dataclass(frozen=True, slots=True)
class Experiment:
    """All runs of a folder. `base` and `twin` share everything but the validation tokens from `changed_from` on; `again`
    repeats `base` where the two differ. `why_not` says why nothing was run."""

    settings: ToySettings | None = None
    script: str = ""
    changed_from: int = CHANGED_FROM
    base: Attempt | None = None
    twin: Attempt | None = None
    again: Attempt | None = None
    why_not: str = ""

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        return tuple(attempt for attempt in (self.base, self.twin, self.again) if attempt is not None)


def experiment_on(context: Context, folder: Path, python: Path, budget: Budget, keep: Path | None, *, unsafe: bool) -> Experiment:
    """Run the submission in `folder` (the folder that `context` was read from) and read what it left."""
    program = context.submission.program
    main = program.main
    if main is None:
        return Experiment(why_not="the folder has no training script")
    configuration = analysis_of(context).config
    command = documented_command(context.submission)
    if command is None:
        configuration = {**_listed(context, folder), **configuration}
    settings = shrink(program.env_reads, configuration)
    texts = [text for member in program.members for _, text in member.code_texts]
    if settings.vocabulary < SMALLEST or settings.vocabulary > 32_768:
        return Experiment(settings, main.path, why_not=f"a vocabulary of {settings.vocabulary} pieces can't be made here")
    tokenizer = make_tokenizer(
        settings.vocabulary, case_controls=any("\\ue001" in text.lower() or "\ue001" in text for text in texts)
    )
    arguments = command.arguments if command is not None and command.script == main.path else ()
    started = time.monotonic()

    def attempt(name: str, changed_from: int | None) -> Attempt:
        left = budget.total - (time.monotonic() - started)
        data = make_data(tokenizer, SEED, changed_from=changed_from)
        # Not below /tmp: a tier with a root of its own replaces that folder.
        place = Path("/var/tmp") if Path("/var/tmp").is_dir() else None
        scratch = Path(tempfile.mkdtemp(prefix="verifier-probe-", dir=place))
        try:
            workspace, results = scratch / "workspace", scratch / "results"
            workspace.mkdir()
            results.mkdir()
            laid = prepare(folder, main.path, arguments, data, texts, workspace, settings.environment)
            ending = launch(laid.inputs, results, laid.environment, python, max(1.0, min(budget.single, left)), unsafe=unsafe)
            try:
                run = Run(read_observations(results / RECORD), data)
                run.observations.spans  # noqa: B018  (checks that the record fits together)
            except BadRecord:
                run = None
            if keep is not None:
                _keep(results, keep / name, ending)
            return Attempt(name, ending, run, _stage(run), leftover_bytes(results))
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    try:
        base = attempt("base", None)
        made = Experiment(settings, main.path, base=base)
        if not base.completed or budget.total - (time.monotonic() - started) < 0.5 * base.ending.seconds:
            return made
        twin = attempt("twin", CHANGED_FROM)
        made = Experiment(settings, main.path, base=base, twin=twin)
        if not twin.completed or same_prefix(base.run, twin.run, CHANGED_FROM):
            return made
        again = attempt("again", None)
        return Experiment(settings, main.path, base=base, twin=twin, again=again)
    except CannotPrepare as failure:
        return Experiment(settings, main.path, why_not=str(failure))


def _listed(context: Context, folder: Path) -> dict[str, str]:
    """Settings that the README lists without a command."""
    found: dict[str, str] = {}
    for readme in context.submission.readmes[:1]:
        path = folder / readme.path
        if path.is_file() and not path.is_symlink() and path.stat().st_size <= DEFAULT_LIMITS.text_file:
            found = listed_settings(path.read_text(encoding="utf-8", errors="replace"))
    return found


def same_prefix(base: Run | None, twin: Run | None, changed_from: int) -> bool:
    """Whether all first scores before the change are the same bits in both: then no repetition is needed."""
    if base is None or twin is None:
        return False
    one, two = (score_table(run, run.final or run.first_scores) for run in (base, twin))
    return all(two.get(position) == score for position, score in one.items() if position < changed_from)


def score_table(run: Run, scored: Pass) -> dict[int, tuple[bytes, int]]:
    """First score of each position: the loss' bits and the digest of its distribution."""
    table: dict[int, tuple[bytes, int]] = {}
    rows = run.observations.rows
    for at, position in enumerate(scored.positions.tolist()):
        if position >= 0 and position not in table:
            table[position] = (scored.losses[at].tobytes(), int(rows[scored.indices[at]]))
    return table


def _stage(run: Run | None) -> str:
    """How far a run came, by what it did last."""
    if run is None:
        return "nothing recorded"
    stages = {"start": "import", "file": "data", "update": "training", "scores": "scoring", "end": "end"}
    stage = "start"
    for event in run.observations.events:
        if event.kind == "end" and event.entries.get("ok") is True:
            return "end"
        if event.kind in stages and event.kind != "end":
            stage = stages[event.kind]
    return stage


def _keep(results: Path, target: Path, ending: Ending) -> None:
    """Copy the evidence of a run: the record, the streams, what the script wrote."""
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(results.rglob("*")):
        relative = path.relative_to(results)
        if path.is_file() and not path.is_symlink() and relative.parts[0] not in {"data", *(OWN - {RECORD})}:
            (target / relative).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target / relative)
    (target / "output.txt").write_text(ending.output, encoding="utf-8", errors="replace")
