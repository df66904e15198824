"""The runs behind the probes: one on random tokens, its twin with another future, a repetition where they differ, copies with one
target swapped, and other seeds, places and settings as far as the time goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from verifier.engine.context import Context
from verifier.execution.bench import Attempt as Attempt
from verifier.execution.bench import Bench, Branching
from verifier.execution.bench import Budget as Budget
from verifier.execution.bench import keep_evidence as keep_evidence
from verifier.execution.bench import stage_of as stage_of
from verifier.execution.passes import Pass, Run
from verifier.execution.settings import ToySettings, keep_vocabulary, listed_settings, shrink, widen
from verifier.execution.toy_data import VAL_TOKENS, ToyData, make_data, swap_token
from verifier.execution.toy_tokenizer import BOS, SMALLEST, ToyTokenizer, make_tokenizer
from verifier.execution.transform import Replacement, shrink_literals
from verifier.execution.workspace import CannotPrepare
from verifier.ledger.claims import headline_runs
from verifier.ledger.configuration import documented_command
from verifier.limits import DEFAULT_LIMITS
from verifier.program.analysis import analysis_of
from verifier.submission.submission import Submission

SEED = 20_260_501
CHANGED_FROM = VAL_TOKENS * 5 // 8 + 37
"""First validation token of the twin that differs; in the middle of a window and of a chunk."""

FEW_TOKENS, FEW_PIECES = 2_049, 64
"""Validation tokens and vocabulary of the runs that are repeated for each alternative."""
PLACES = (0.93, 0.86, 0.71)
"""Where along the stream a target is swapped: late, where tables are full and little is left to do."""
LARGEST = 32_768
"""Pieces of a toy tokenizer at most."""
SWAP_SHARE = 0.35
"""Of the time left that the copies of one process may take."""
OTHER_SEEDS = ((SEED + 1, 0.31, 1), (SEED + 2, 0.83, 3))
"""Seed, place of the change along the stream, and how many single tokens change there."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs that share everything but validation tokens from `changed_from` on; `again` repeats `base` where they differ.
    `label` says what is special about them."""

    label: str
    changed_from: int
    base: Attempt | None = None
    twin: Attempt | None = None
    again: Attempt | None = None

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        return tuple(attempt for attempt in (self.base, self.twin, self.again) if attempt is not None)


@dataclass(frozen=True, slots=True)
class Swap:
    """A run (`trunk`) whose process was copied once for each of `orders` (position, value): the copy's target there is
    another one. `check` is a run from the start on a shard with the first order in it: it must be that copy's run.
    `replacements`: what was replaced in the script, empty when it ran as it is."""

    orders: tuple[tuple[int, int], ...]
    check: Attempt
    trunk: Attempt | None = None
    replacements: tuple[Replacement, ...] = ()

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        return (self.check,) if self.trunk is None else (self.check, self.trunk)

    @property
    def checked(self) -> Run | None:
        """The copy that `check` must agree with."""
        return self.trunk.branches[0] if self.trunk is not None and self.trunk.branches else None


@dataclass(frozen=True, slots=True)
class Experiment:
    """All runs of a folder. `base` and `twin` share everything but the validation tokens from `changed_from` on; `again`
    repeats `base` where the two differ. `why_not` says why nothing was run, `left_out` what was not run for want of time or cause."""

    settings: ToySettings | None = None
    script: str = ""
    changed_from: int = CHANGED_FROM
    base: Attempt | None = None
    twin: Attempt | None = None
    again: Attempt | None = None
    why_not: str = ""
    swap: Swap | None = None
    transformed: Swap | None = None
    replacements: tuple[Replacement, ...] = ()
    """What a transformed run replaces, whether it was made or not."""
    others: tuple[Comparison, ...] = ()
    documented: Comparison | None = None
    """Under the settings of the documented command, where they are others than the run's."""
    left_out: tuple[str, ...] = ()
    own_tables: bool = False
    """Whether the script ran only with the run's own vocabulary: it brings tables of its tokenizer, and the toy one has others."""

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        made = [attempt for attempt in (self.base, self.twin, self.again) if attempt is not None]
        for part in (self.transformed, self.swap, *self.others, self.documented):
            made += part.attempts if part is not None else ()
        return tuple(made)


def experiment_on(context: Context, folder: Path, python: Path, budget: Budget, keep: Path | None, *, unsafe: bool) -> Experiment:
    """Run the submission in `folder` (the folder that `context` was read from) and read what it left."""
    laboratory = laboratory_of(context, folder, python, budget, keep, unsafe=unsafe)
    if laboratory is None:
        return Experiment(why_not="the folder has no training script")
    try:
        return laboratory.experiment()
    except CannotPrepare as failure:
        return Experiment(laboratory.settings, laboratory.bench.script, why_not=str(failure))


def laboratory_of(
    context: Context, folder: Path, python: Path, budget: Budget, keep: Path | None, *, unsafe: bool
) -> Laboratory | None:
    """What runs the submission in `folder`, `None` without a training script."""
    program = context.submission.program
    main = program.main
    if main is None:
        return None
    command = documented_command(context.submission)
    settings, documented = settings_of_run(context, folder)
    texts = [text for member in program.members for _, text in member.code_texts]
    arguments = command.arguments if command is not None and command.script == main.path else ()
    bench = Bench(folder, main.path, arguments, texts, python, budget, keep, unsafe, claimed_label(context.submission))
    case_controls = any("\\ue001" in text.lower() or "\ue001" in text for text in texts)
    return Laboratory(context.submission, bench, settings, documented, case_controls)


def claimed_label(submission: Submission) -> str:
    """Label of the logged metric that explains the claimed BPB, empty when none does."""
    headlines = [one for one in headline_runs(submission) if one.explained and one.metric is not None]
    return headlines[0].metric.label if headlines and headlines[0].metric is not None else ""


def settings_of_run(context: Context, folder: Path) -> tuple[ToySettings, ToySettings | None]:
    """Toy settings of the run that made the logs, and of the documented command where those are others."""
    analysis = analysis_of(context)
    program = context.submission.program
    reads = program.env_reads
    texts = [text for member in program.members for _, text in member.code_texts]
    if documented_command(context.submission) is None:
        return shrink(reads, {**settings_listed(context, folder), **analysis.config}, texts), None
    run, documented = shrink(reads, analysis.config, texts), shrink(reads, analysis.documented_config, texts)
    names = {read.name: read.default for read in reads}
    differ = any(
        run.environment.get(name, default) != documented.environment.get(name, default) for name, default in names.items()
    )
    return run, documented if differ and is_makeable(documented.vocabulary) else None


def is_makeable(vocabulary: int) -> bool:
    """Whether a toy tokenizer of that size can be made, with its byte pieces."""
    return SMALLEST <= vocabulary <= LARGEST


@dataclass(slots=True)
class Laboratory:
    """Decides which runs are made of one submission, in the order of what they can prove."""

    submission: Submission
    bench: Bench
    settings: ToySettings
    documented: ToySettings | None
    """Those of the documented command, where they are others."""
    case_controls: bool
    any_vocabulary: bool = True
    """Whether the script runs with fewer pieces than the run had."""

    def first_run(self) -> Attempt:
        """One run at toy size. A script that fails at that size gets a wider model, or the run's own vocabulary; what it ends with is then
        `settings`. Raises `CannotPrepare`."""
        base = self.bench.run("base", make_data(self._tokenizer(), SEED), self.settings.environment)
        if not base.raised:
            return base
        for name, enlarge in (("base-wider", widen), ("base-vocabulary", keep_vocabulary)):
            larger = enlarge(self.settings)
            if larger is None or not is_makeable(larger.vocabulary) or not self.bench.affords(2 * base.ending.seconds):
                continue
            tokenizer = make_tokenizer(larger.vocabulary, case_controls=self.case_controls)
            again = self.bench.run(name, make_data(tokenizer, SEED), larger.environment)
            if again.completed:
                self.settings = larger
                self.documented = (enlarge(self.documented) or self.documented) if self.documented is not None else None
                self.any_vocabulary = enlarge is not keep_vocabulary
                return again
        return base

    def experiment(self) -> Experiment:
        """Raises `CannotPrepare`."""
        base = self.first_run()
        documented = self.documented
        first = Comparison("", CHANGED_FROM, base)
        first = self._compare(first, self.settings.environment, self._tokenizer(), ("base", "twin", "again"))
        few, small = self._small()
        transformed = shrink_literals(self.submission.program, small, FEW_TOKENS, few.size)
        made = Experiment(
            self.settings, self.bench.script, base=first.base, twin=first.twin, again=first.again,
            replacements=transformed.replacements, own_tables=not self.any_vocabulary,
        )  # fmt: skip
        if first.base is None or not first.base.completed or first.twin is None or not first.twin.completed:
            return made
        assert first.base.run is not None
        left_out: list[str] = []
        after = branching_point(first.base.run)
        seconds = max(first.base.ending.seconds, first.twin.ending.seconds)
        if first.again is not None:
            left_out.append("target swap, other seeds and places: scores moved with the future, which decides already")
        elif after is None:
            left_out.append("target swap: the final pass could not be told apart")
        else:
            if transformed.replacements:
                settings = {**small, **transformed.settings}
                made = replace(made, transformed=self._swap("full", few, settings, after, seconds, transformed.texts))
                if made.transformed is not None:
                    made = replace(made, transformed=replace(made.transformed, replacements=transformed.replacements))
                else:
                    left_out.append("target swap at realistic load: the time was used up")
            made = replace(made, swap=self._swap("swap", few, small, after, seconds, {}))
            if made.swap is None:
                left_out.append("target swap: the time was used up")
            made = replace(made, others=self._other_seeds(few, small, seconds, left_out))
        if documented is not None:
            if self.bench.affords(2.2 * seconds):
                again = self._compare(
                    Comparison("settings of the documented command", CHANGED_FROM), documented.environment,
                    make_tokenizer(documented.vocabulary, case_controls=self.case_controls),
                    ("documented-base", "documented-twin", "documented-again"),
                )  # fmt: skip
                made = replace(made, documented=again)
            else:
                left_out.append("the settings of the documented command, which differ from the run's: the time was used up")
        return replace(made, left_out=tuple(left_out))

    def _tokenizer(self) -> ToyTokenizer:
        if not is_makeable(self.settings.vocabulary):
            raise CannotPrepare(f"a vocabulary of {self.settings.vocabulary} pieces can't be made here")
        return make_tokenizer(self.settings.vocabulary, case_controls=self.case_controls)

    def _compare(
        self, pair: Comparison, environment: Mapping[str, str], tokenizer: ToyTokenizer, names: tuple[str, str, str]
    ) -> Comparison:
        data, changed = make_data(tokenizer, SEED), make_data(tokenizer, SEED, changed_from=CHANGED_FROM)
        return self._pair(pair, environment, data, changed, names)

    def _pair(
        self, pair: Comparison, environment: Mapping[str, str], data: ToyData, changed: ToyData, names: tuple[str, str, str]
    ) -> Comparison:
        """The runs of a comparison, but for a first one that was made already."""
        base = pair.base if pair.base is not None else self.bench.run(names[0], data, environment)
        pair = replace(pair, base=base)
        if not base.completed or not self.bench.affords(0.5 * base.ending.seconds):
            return pair
        twin = self.bench.run(names[1], changed, environment)
        pair = replace(pair, twin=twin)
        if not twin.completed or same_prefix(base.run, twin.run, pair.changed_from):
            return pair
        if not self.bench.affords(0.5 * base.ending.seconds):
            return pair
        return replace(pair, again=self.bench.run(names[2], data, environment))

    def _small(self) -> tuple[ToyTokenizer, dict[str, str]]:
        """A vocabulary of a few pieces where the script's settings allow it, and settings to go with a short stream."""
        environment = dict(self.settings.environment)
        for name in ("VAL_BATCH_SIZE", "VAL_BATCH_TOKENS"):
            if name in environment:
                environment[name] = str(FEW_TOKENS - 1)
        if "VOCAB_SIZE" not in environment or not self.any_vocabulary:
            return make_tokenizer(self.settings.vocabulary, case_controls=self.case_controls), environment
        environment["VOCAB_SIZE"] = str(FEW_PIECES)
        return make_tokenizer(FEW_PIECES, case_controls=self.case_controls, byte_pieces=False), environment

    def _swap(
        self, name: str, tokenizer: ToyTokenizer, environment: Mapping[str, str], after: Mapping[str, object], seconds: float,
        texts: Mapping[str, str],
    ) -> Swap | None:  # fmt: skip
        """`None` when the time does not suffice. `seconds`: of a run without copies."""
        if not self.bench.affords(2.5 * seconds):
            return None
        data = make_data(tokenizer, SEED, val_tokens=FEW_TOKENS)
        places = swap_places(data)
        orders = tuple((place, value) for place in places for value in alternatives(data, place))
        changed = swap_token(data, *orders[0])
        check = self.bench.run(f"{name}-check", changed, environment, replaced=texts)
        swap = Swap(orders, check)
        if check.run is None or not check.completed or check.run.final is None:
            return swap
        points = scoring_points(check.run, places)
        for late in (points, {}):
            seconds = check.ending.seconds
            limit = min(SWAP_SHARE * self.bench.left, self.bench.left - 1.2 * seconds, self.bench.budget.single - 1.2 * seconds)
            if limit < 1 or not self.bench.affords(1.2 * seconds):
                break
            branching = Branching(after, late, orders, limit)
            swap = replace(swap, trunk=self.bench.run(name, data, environment, replaced=texts, branching=branching))
            if swap.checked is None or same_scores(swap.checked, check.run):
                break
            # What the script had derived from the token before it was scored was not swapped: copy earlier.
            name = f"{name}-early"
        return swap

    def _other_seeds(
        self, tokenizer: ToyTokenizer, environment: Mapping[str, str], seconds: float, left_out: list[str]
    ) -> tuple[Comparison, ...]:
        made: list[Comparison] = []
        for seed, share, tokens in OTHER_SEEDS:
            place = int(FEW_TOKENS * share) + 11
            label = f"seed {seed}, {tokens} token{'s' if tokens > 1 else ''} changed from {place} on"
            if not self.bench.affords(2.2 * seconds):
                left_out.append(f"prefix perturbation with {label}: the time was used up")
                continue
            data = make_data(tokenizer, seed, val_tokens=FEW_TOKENS)
            changed = make_data(tokenizer, seed, val_tokens=FEW_TOKENS, changed_from=place, changed=tokens)
            place = changed.changed_from or place
            names = (f"seed-{seed}-base", f"seed-{seed}-twin", f"seed-{seed}-again")
            made.append(self._pair(Comparison(label, place), environment, data, changed, names))
        return tuple(made)


def swap_places(data: ToyData) -> list[int]:
    """Positions with no document border near them."""
    places = []
    for share in PLACES:
        place = int(len(data.val) * share) + 5
        while (data.val[place - 6 : place + 6] == BOS).any():
            place += 1
        places.append(place)
    return places


def alternatives(data: ToyData, place: int) -> list[int]:
    """All ids but the one that is there; what toy texts use first, words before the token that begins documents."""
    used = set(data.tokenizer.alphabet.tolist()) - {BOS}
    return sorted(
        (value for value in range(data.tokenizer.size) if value != data.val[place]), key=lambda value: value not in used
    )


def branching_point(run: Run) -> dict[str, object] | None:
    """The event after which a copy of the process only has to evaluate: the last reading of a file that the run had written
    (its artifact) before the final pass, else the last update before it. `None` without a final pass."""
    if run.final is None:
        return None
    start = int(run.formed[run.final.indices].min())
    written: set[str] = set()
    readings: list[str] = []
    updates, latest = 0, ("update", 0)
    for event in run.observations.events:
        if event.number >= start:
            break
        name = event.text("path").rsplit("/", 1)[-1]
        if event.kind == "update":
            updates += 1
            latest = ("update", updates)
        elif event.kind == "file" and event.text("mode") == "w":
            written.add(name)
        elif event.kind == "file" and event.text("mode") == "r":
            readings.append(name)
            if name in written and not name.endswith((".txt", ".log", ".py", ".json")):
                latest = (name, readings.count(name))
    which, count = latest
    if not count:
        return None
    return {"kind": "update", "count": count} if which == "update" else {"kind": "file", "name": which, "count": count}


def scoring_points(run: Run, places: list[int]) -> dict[int, int]:
    """For each place the event before the one in which the loss was formed that it is counted with (or that a mixture that is
    counted was computed from): a copy made there has little left to do."""
    points: dict[int, int] = {}
    if run.final is None:
        return points
    for place in places:
        at = np.flatnonzero(run.final.positions == place)
        if not len(at):
            continue
        latest = int(run.final.numbers[at[0]])
        for span in run.observations.spans:
            held = run.positions[span.start : span.start + span.count]
            if span.number <= latest and not span.mixed and bool((held == place).any()):
                points[place] = span.number - 1
    return points


def same_scores(one: Run | None, two: Run | None) -> bool:
    """Whether both runs count the same losses for the same positions, to the last bit."""
    if one is None or two is None or one.final is None or two.final is None:
        return False
    return np.array_equal(one.final.positions, two.final.positions) and np.array_equal(one.final.losses, two.final.losses)


def settings_listed(context: Context, folder: Path) -> dict[str, str]:
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
