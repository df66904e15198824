"""What a fresh evaluation shows: probes for the artifact's file, the scores, their coverage and the log; and EVA003 from them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from audits.dynamic.evaluation_bytes import ValidationSet
from audits.dynamic.probe import CAPTURE_INCOMPLETE, Probe
from verifier.evidence import Number
from verifier.execution.bench import Attempt
from verifier.execution.evaluation import FreshRun, same_losses
from verifier.execution.passes import Pass
from verifier.execution.settings import ToySettings
from verifier.execution.torch_file import ArtifactFile
from verifier.rule import Measured, Outcome
from verifier.submission.logs.model import Metric, Run

FILE, SCORES, COVERAGE, LOG = "artifact-file", "fresh-evaluation", "token-coverage", "log-agreement"
SINGLE = 2e-6
"""Relative difference between a mean that a script takes in single precision and ours in double."""
DEVICE = 3e-4
"""BPB by which the arithmetic of another device may move a mean: bfloat16 products are summed in another order there."""
AMPLIFIED = 10
"""Times as much where the evaluation goes on learning from what it scored."""
NOT_SEEN_FILE = "formats of a submission's own: only its own code reads them, in the sandbox"
NOT_SEEN = (
    "what several ranks do, kernels of the GPU (their place takes torch's arithmetic on a CPU), and a script that hands our scorer other logits than it "
    "would use: both share a process"
)


@dataclass(frozen=True, slots=True)
class LoggedScore:
    """The final line of a log. `run` is the run of that log, `name` the log's name in reports."""

    name: str
    run: Run
    metric: Metric

    @property
    def bpb(self) -> Number:
        assert self.metric.bpb is not None
        return self.metric.bpb


@dataclass(frozen=True, slots=True, eq=False)
class Documents:
    """One entry per document with a scored target: index, first token, targets, bytes, bits per byte."""

    index: NDArray[np.int64]
    start: NDArray[np.int64]
    targets: NDArray[np.int64]
    bytes: NDArray[np.int64]
    nats: NDArray[np.float64]

    @property
    def bpb(self) -> NDArray[np.float64]:
        """NaN for a document without bytes."""
        with np.errstate(divide="ignore", invalid="ignore"):
            bits: NDArray[np.float64] = np.where(self.bytes > 0, self.nats / math.log(2) / self.bytes, np.nan)
        return bits

    @property
    def mean_bpb(self) -> float:
        """Each document weighs the same: not the score, which weighs each byte the same."""
        known = self.bpb[np.isfinite(self.bpb)]
        return float(known.mean()) if len(known) else math.nan


@dataclass(frozen=True, slots=True)
class Score:
    """The verifier's own sums over one pass: each target once (the first score of one that was counted twice). `as_counted` is the
    BPB of all counted losses, over the bytes of as many targets."""

    targets: int
    nats: float
    bytes: int
    missing: int
    twice: int
    not_located: int
    as_counted: float

    @property
    def loss(self) -> float:
        """Nats per token."""
        return self.nats / self.targets

    @property
    def bpb(self) -> float:
        return self.nats / math.log(2) / self.bytes

    @property
    def text(self) -> str:
        """As reports print it."""
        again = f" ({self.as_counted:.8f} with the {self.twice} targets that are counted more than once)" if self.twice else ""
        return f"{self.bpb:.8f}{again}"


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Everything that one call of the command did. `control` is the repetition on other training tokens, and more of them, made where the scores
    differ from the log; `why_not` says why nothing was run; `logs` are the lines that the fresh score is compared with."""

    file: ArtifactFile
    validation: ValidationSet | None = None
    settings: ToySettings | None = None
    base: Attempt | None = None
    control: Attempt | None = None
    logs: tuple[LoggedScore, ...] = ()
    tolerance: float = DEVICE
    why_not: str = ""
    settings_known: bool = True
    """Whether a log's dump or a documented command says under which settings the artifact was scored."""
    known_sets: frozenset[int] = frozenset()
    """Numbers of targets of the contest's validation sets."""
    varied: bool = True
    """Whether the repetition trained for another number of steps as well."""

    @cached_property
    def run(self) -> FreshRun | None:
        return _fresh_run(self.base)

    @cached_property
    def scored(self) -> Pass | None:
        return self.run.fresh if self.run is not None else None

    @cached_property
    def score(self) -> Score | None:
        """Our sums; `None` where the losses behind the printed number are not known."""
        if self.scored is None or self.validation is None:
            return None
        positions, losses = self.scored.positions, self.scored.losses
        known = positions >= 0
        unique, first = np.unique(positions[known], return_index=True)
        if not len(unique):
            return None
        times = positions[known]
        token_bytes = self.validation.token_bytes
        counted, total = int(token_bytes[times].sum()), int(token_bytes[unique].sum())
        if total <= 0:
            return None
        return Score(
            targets=len(unique),
            nats=float(losses[known][first].sum()),
            bytes=total,
            missing=len(self.validation.stream) - 1 - len(unique),
            twice=len(times) - len(unique),
            not_located=int((~known).sum()),
            as_counted=float(losses[known].sum()) / math.log(2) / counted,
        )

    @cached_property
    def documents(self) -> Documents | None:
        if self.scored is None or self.validation is None:
            return None
        known = self.scored.positions >= 0
        unique, first = np.unique(self.scored.positions[known], return_index=True)
        nats = self.scored.losses[known][first]
        starts = self.validation.starts
        # A document's boundary token is predicted from the document before it, and belongs to its own document.
        of = np.searchsorted(starts, unique, side="right") - 1
        count = len(starts)
        targets = np.bincount(of, minlength=count)
        total = np.bincount(of, weights=self.validation.token_bytes[unique], minlength=count).astype(np.int64)
        held = np.flatnonzero(targets)
        sums = np.bincount(of, weights=nats, minlength=count)
        return Documents(held, starts[held], targets[held].astype(np.int64), total[held], sums[held])

    @cached_property
    def _mixed(self) -> bool:
        """Whether counted losses were computed from others."""
        if self.scored is None or self.run is None:
            return False
        formed = set(self.scored.numbers.tolist())
        return any(span.mixed and span.number in formed for span in self.run.observations.spans)

    @cached_property
    def stateful(self) -> str:
        """What scores depend on besides the model as it was loaded; empty where nothing is known of it."""
        if self.scored is None or self.run is None or self.run.loaded is None:
            return ""
        if any(event.number > self.run.loaded for event in self.run.observations.of("update")):
            return "the evaluation adapts the model"
        return "the evaluation mixes in what it counts" if self._mixed or self.scored.how == "logarithms" else ""

    @property
    def trusted(self) -> tuple[str, ...]:
        """What the result rests on besides the verifier's own code."""
        if self.scored is None:
            return ()
        trusted = ["the submission's own loading, dequantization and model code", "the settings that it was run under"]
        if self.scored.how == "logarithms":
            return (*trusted, "logarithms that the script took outside of torch: they were added up, not scored again")
        if self._mixed:
            return (
                *trusted,
                "losses that the script computed from the model's (a mixture): they were added up, not scored again",
            )
        return (*trusted, "the logits that reached a cross entropy or log-softmax in the script's process")


def probe_file(evaluation: Evaluation) -> Probe:
    file = evaluation.file
    facts: dict[str, float | int | str | bool | None] = {
        "layers": " > ".join(file.layers), "bytes": file.size, "unpacked": file.unpacked, "members": file.members,
        "globals": ", ".join(file.globals)[:2000],
    }  # fmt: skip
    size = Measured(file.size, "bytes")
    if file.refused:
        return Probe(FILE, Outcome.FAIL, f"not loaded: {'; '.join(file.refused)[:400]}", NOT_SEEN_FILE, size, facts=facts)
    if not file.known:
        summary = f"{' > '.join(file.layers)}: a format that only the script knows; it was loaded in the sandbox alone"
        return Probe(FILE, Outcome.INFO, summary, NOT_SEEN_FILE, size, facts=facts)
    named = f", imports only what tensors need ({len(file.globals)} names)" if file.globals else ""
    return Probe(
        FILE, Outcome.PASS, f"{' > '.join(file.layers)}, {file.unpacked} bytes unpacked{named}", NOT_SEEN_FILE, size, facts=facts
    )


def probe_scores(evaluation: Evaluation) -> Probe:
    run, missing = evaluation.run, why_no_score(evaluation)
    if missing:
        stage = evaluation.base.stage if evaluation.base is not None else "not run"
        return Probe(SCORES, Outcome.NOT_AVAILABLE, missing, NOT_SEEN, stage=stage)
    score, printed = evaluation.score, run.printed if run is not None else None
    assert score is not None
    assert printed is not None
    assert run is not None
    assert evaluation.scored is not None
    line, bpb = printed.metric, printed.metric.bpb
    facts: dict[str, float | int | str | bool | None] = {
        "loss": score.loss, "bpb": score.bpb, "targets": score.targets, "bytes": score.bytes, "rebuilt_from": evaluation.scored.how,
        "script_loss": line.loss.text if line.loss is not None else None, "script_bpb": bpb.text if bpb is not None else None,
        "other_losses": len(run.observations.of("other-loss")),
    }  # fmt: skip
    measured = Measured(score.bpb, "bpb")
    if bpb is None:
        return Probe(SCORES, Outcome.INFO, f"{score.bpb:.8f} BPB; the script prints no BPB", NOT_SEEN, measured, facts=facts)
    limit = Measured(bpb.value, "bpb")
    if agrees(bpb, score.bpb) or agrees(bpb, score.as_counted):
        return Probe(
            SCORES,
            Outcome.PASS,
            f"{score.text} BPB by our scorer, the script prints {bpb.text}",
            NOT_SEEN,
            measured,
            limit,
            facts=facts,
        )
    summary = f"{score.bpb:.8f} BPB by our scorer and the true bytes, the script prints {bpb.text}"
    return Probe(SCORES, Outcome.REVIEW, summary, NOT_SEEN, measured, limit, facts=facts)


def probe_coverage(evaluation: Evaluation) -> Probe:
    score = evaluation.score
    if score is None:
        return Probe(COVERAGE, Outcome.NOT_AVAILABLE, why_no_score(evaluation) or CAPTURE_INCOMPLETE, NOT_SEEN)
    total = score.targets + score.missing
    facts: dict[str, float | int | str | bool | None] = {
        "targets": total, "missing": score.missing, "counted_twice": score.twice, "not_located": score.not_located,
    }  # fmt: skip
    share, whole = Measured(score.targets / total, "of all targets"), Measured(1.0, "of all targets")
    summary = f"{score.targets} of {total} targets are counted, {score.twice} of them more than once"
    if score.not_located:
        summary += f"; {score.not_located} counted losses are not of this validation set"
        return Probe(COVERAGE, Outcome.REVIEW, summary, NOT_SEEN, share, whole, facts=facts)
    outcome = Outcome.INFO if score.missing or score.twice else Outcome.PASS
    return Probe(COVERAGE, outcome, summary, NOT_SEEN, share, whole, facts=facts)


def probe_log(evaluation: Evaluation) -> Probe:
    """The log's printed BPB against ours; nothing is said where the score depends on more than the artifact."""
    score, logs = evaluation.score, evaluation.logs
    if score is None:
        return Probe(LOG, Outcome.NOT_AVAILABLE, why_no_score(evaluation), NOT_SEEN)
    if not logs:
        summary = f"{score.bpb:.8f} BPB, and no log with a final BPB to compare it with"
        return Probe(LOG, Outcome.NOT_AVAILABLE, summary, NOT_SEEN, Measured(score.bpb, "bpb"))
    nearest = min(logs, key=lambda one: abs(one.bpb.value - score.bpb))
    difference = score.bpb - nearest.bpb.value
    measured, limit = Measured(score.bpb, "bpb"), Measured(nearest.bpb.value, "bpb")
    printed = evaluation.run.printed if evaluation.run is not None else None
    again = printed.metric.bpb if printed is not None else None
    digits = again is not None and nearest.bpb.agrees(again)
    facts: dict[str, float | int | str | bool | None] = {
        "log": nearest.name, "logged_bpb": nearest.bpb.text, "difference": difference, "same_printed_digits": digits,
        "tolerance": evaluation.tolerance,
    }  # fmt: skip

    def answer(outcome: Outcome, summary: str) -> Probe:
        return Probe(LOG, outcome, summary, NOT_SEEN, measured, limit, facts=facts)

    if agrees(nearest.bpb, score.bpb) or agrees(nearest.bpb, score.as_counted):
        own = again.text if again is not None else "none"
        same = (
            f"; the script prints the log's digits again ({own})"
            if digits
            else f"; the script's own last digits are others ({own})"
        )
        return answer(Outcome.PASS, f"{nearest.name} states {nearest.bpb.text} BPB, a fresh evaluation gives {score.text}{same}")
    summary = f"{nearest.name} states {nearest.bpb.text} BPB, a fresh evaluation gives {score.bpb:.8f} ({difference:+.6f})"
    if digits:
        summary += (
            f"; the script itself prints {again.text if again is not None else ''} again: it is its arithmetic that differs from the true bytes "
            "or the plain loss, not the artifact"
        )
    if score.not_located:
        return answer(Outcome.REVIEW, f"{summary}; {score.not_located} counted losses are not of this validation set")
    depends = why_not_the_artifact(evaluation)
    if depends:
        return answer(Outcome.NOT_AVAILABLE, f"{summary}; {depends}")
    if len(logs) > 1:
        return answer(
            Outcome.REVIEW, f"{summary}; none of {len(logs)} logs agrees, and which one is this artifact's is not known (--log)"
        )
    doubt = "" if digits else _doubt(evaluation, nearest, abs(difference))
    if doubt:
        return answer(Outcome.REVIEW, f"{summary}: {doubt}")
    if abs(difference) <= evaluation.tolerance:
        return answer(Outcome.REVIEW, f"{summary}: within the tolerance of {evaluation.tolerance:g}")
    return answer(Outcome.FAIL, summary)


def _doubt(evaluation: Evaluation, logged: LoggedScore, difference: float) -> str:
    """What else than another artifact may explain a difference; empty when nothing known does."""
    if difference <= evaluation.tolerance:
        return f"within the tolerance of {evaluation.tolerance:g}, little enough to be another device's arithmetic"
    if not evaluation.settings_known:
        return "no log and no documented command says under which settings the artifact was scored"
    world = logged.run.world_size.text if logged.run.world_size is not None else "8"
    other = _another_set(evaluation, logged)
    if other:
        return other
    if not evaluation.varied:
        return "the script has no setting for the length of its training: whether the score depends on it is not known"
    if evaluation.stateful and world != "1":
        return f"{evaluation.stateful}, and the log's {world} ranks may have done so in another order than one"
    if evaluation.stateful and difference <= AMPLIFIED * evaluation.tolerance:
        return f"{evaluation.stateful}, which amplifies the rounding of another device"
    return ""


def _another_set(evaluation: Evaluation, logged: LoggedScore) -> str:
    """Why the log's score may be of other targets than the fresh one; empty when it is of the same."""
    score, run = evaluation.score, evaluation.run
    assert score is not None
    assert run is not None
    total = score.targets + score.missing
    printed = logged.run.val_tokens.text.replace(",", "") if logged.run.val_tokens is not None else ""
    # Scripts drop what does not fill a last row: before they print the number, or after it.
    if score.missing >= run.row_lengths[0]:
        return f"only {score.targets} of {total} targets are counted, and the log's score may be of others"
    if not printed.isdecimal():
        same = total in evaluation.known_sets
        return "" if same else f"the log does not say how many tokens it scored, and {total} is no set of the contest"
    stated = int(printed)
    # Some print the stream's tokens, the first of which is no target.
    if -1 <= total - stated < run.row_lengths[0]:
        return ""
    return f"the log scored {stated} tokens and the given ones are {total}: another validation set"


def answer_probes(evaluation: Evaluation) -> dict[str, Probe]:
    """All probes by name."""
    answers = (probe_file(evaluation), probe_scores(evaluation), probe_coverage(evaluation), probe_log(evaluation))
    return {answer.name: answer for answer in answers}


def needs_control(evaluation: Evaluation) -> bool:
    """Whether the scores differ from the log, so that a repetition has to show whose they are."""
    score = evaluation.score
    if score is None or not evaluation.logs:
        return False
    return not any(agrees(one.bpb, score.bpb) or agrees(one.bpb, score.as_counted) for one in evaluation.logs)


def agrees(printed: Number, value: float) -> bool:
    """Whether `printed` may be a print of `value`: to its digits, and to the precision that scripts sum in."""
    return abs(printed.value - value) <= printed.half_unit + SINGLE * abs(value)


def why_no_score(evaluation: Evaluation) -> str:
    """Why there is no score of this artifact; empty when there is one."""
    base, run = evaluation.base, evaluation.run
    if evaluation.why_not or base is None:
        return evaluation.why_not or "nothing was run"
    held = base.run if isinstance(base.run, FreshRun) else None
    loaded = held is not None and held.loaded is not None
    if not base.completed:
        after = ", with the artifact in its place (other settings than the artifact's? --set NAME=VALUE)" if loaded else ""
        return f"the run did not complete{after}: {base.failure}"
    if not loaded:
        return "the script never read its artifact back from a file that was recognised (--as NAME says what it calls it)"
    assert run is not None
    if len(run.replaced) > 1:
        return (
            f"the script reads back several files that may be the artifact ({', '.join(run.replaced[:4])}): --as NAME says which"
        )
    if run.printed is None:
        return "the script printed no final loss or BPB that can be read"
    if run.final is None:
        return CAPTURE_INCOMPLETE
    if run.fresh is None:
        return "the printed number comes from losses that were formed before the artifact was read back"
    return "" if evaluation.score is not None else "no counted loss lies in this validation set"


def why_not_the_artifact(evaluation: Evaluation) -> str:
    """Why the score can't be taken for the artifact's alone; empty when the repetition shows that it can."""
    control = evaluation.control
    if control is None:
        return "the repetition on other training tokens was not made (time was used up), so the score may depend on more than the artifact"
    again = _fresh_run(control)
    if again is None or again.fresh is None or evaluation.scored is None or evaluation.run is None:
        return f"the repetition on other training tokens gave no score: {control.failure or CAPTURE_INCOMPLETE}"
    if not same_losses(evaluation.scored, again.fresh):
        return "a repetition on other training tokens gives other scores: they depend on more than the artifact"
    return ""


def _fresh_run(attempt: Attempt | None) -> FreshRun | None:
    run = attempt.run if attempt is not None and attempt.completed else None
    return run if isinstance(run, FreshRun) else None
