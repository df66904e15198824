"""VAL001: training steps on validation tokens, by the program's data flow and by the data that a run was pointed at."""

from __future__ import annotations

import ast
import re

from audits.validation.flow import is_artifact
from verifier.engine.context import Context
from verifier.evidence import Location
from verifier.ledger.claims import claimed_runs
from verifier.ledger.configuration import documented_commands
from verifier.program.analysis import Analysis, analysis_of
from verifier.program.changes import changed_by
from verifier.program.events import Event, Trace
from verifier.program.queries import events_behind, has_source, headline_reports, is_matched, scores_of, slice_of, trains
from verifier.program.values import Data, Seq, Value, labels_of
from verifier.rule import Confidence, Decision, Finding, Level, Outcome, Rule
from verifier.submission.submission import Submission

_PULL = "https://github.com/openai/parameter-golf/pull/"
_README = "https://github.com/openai/parameter-golf#readme"
_VAL_ONLY = re.compile(r"(?<![a-z])val(?:idation)?[-_ ]?only(?![a-z])", re.IGNORECASE)
_SETTING = re.compile(r"train\w*(?:files?|pattern|glob|data|path|shards?)", re.IGNORECASE)
_VAL_SHARDS = re.compile(r"(?:^|[/_])(?:val|valid|validation)[_*]", re.IGNORECASE)
_TRAINED = re.compile(
    r"\btrain(?:ed|s|ing)?\s+(?:\w{4,12}ly\s+|only\s+)?(?:on|over)\s+(?:the\s+)?(?:public\s+|published\s+|same\s+)?"
    r"(?:`?fineweb_val|val(?:idation)?\s+(?:shards?|split|set|data|tokens?))|\bval(?:idation)?[- ]only\s+(?:train|strateg|variant)",
    re.IGNORECASE,
)
_TESTS = frozenset({"startswith", "match", "search", "fullmatch", "fnmatch", "filter"})
_SAID_OTHERWISE = re.compile(
    r"\b(?:not?|never|without|non|instead|unlike|score[d-]|already|test-time|TTT|can't|cannot)\b", re.IGNORECASE
)


def check(context: Context) -> Decision:
    findings = _by_data_path(context.submission)
    analysis = analysis_of(context)
    if analysis.available:
        findings += _by_data_flow(analysis)
    if findings:
        return Decision.of(findings)
    if not analysis.available:
        return Decision.not_available(analysis.why_not)
    trace = analysis.run
    if gap := analysis.gap():
        return Decision.not_available(gap)
    if not trains(trace):
        return Decision.not_available("no training step on named training shards was found in the script")
    return Decision.passed("every training step behind the weights that are shipped reads training shards")


def _by_data_path(submission: Submission) -> list[Finding]:
    """Runs whose training data is named as validation data. The name alone asks for a look; with the author's words it is proven."""
    named = _named(submission)
    said = _said(submission)
    if not named and not said:
        return []
    proven = bool(named) and bool(said)
    message = (
        "training reads a data set that is named as validation data, and the submission says that it trains on it"
        if proven
        else "the training data of the run is named as validation data"
        if named
        else "the submission says that it trains on validation data"
    )
    return [
        Finding(
            Outcome.FAIL if proven else Outcome.REVIEW,
            message,
            tuple(dict.fromkeys((*named[:3], *said[:3]))),
            Confidence.HIGH if proven else Confidence.MEDIUM,
            remediation="Train on the training split only.",
        )
    ]


def _named(submission: Submission) -> list[Location]:
    places = []
    for run in claimed_runs(submission):
        for value in (run.train_shards, run.data_path):
            if value is not None and _VAL_ONLY.search(f"{value.text} {value.source.excerpt}"):
                places.append(value.source)
                break
    for command in documented_commands(submission):
        for setting in command.settings:
            points_at_validation = _SETTING.fullmatch(setting.name) and _VAL_SHARDS.search(setting.value)
            if points_at_validation or (setting.name.upper().startswith("DATA") and _VAL_ONLY.search(setting.value)):
                places.append(setting.source)
    return places


def _said(submission: Submission) -> list[Location]:
    places = []
    for metadata in submission.metadata:
        for text in metadata.texts:
            for sentence in re.split(r"(?<=[.!?;])\s", str(text.value)[:4000]):
                match = _TRAINED.search(sentence[:600])
                if match is not None and not _SAID_OTHERWISE.search(sentence[:600]):
                    places.append(text.source)
    for readme in submission.readmes:
        for statement in readme.statements:
            match = _TRAINED.search(statement.sentence)
            if match is not None and not _SAID_OTHERWISE.search(statement.sentence):
                places.append(statement.source)
    return places


def _by_data_flow(analysis: Analysis) -> list[Finding]:
    trace = analysis.run
    steps = [step for step in trace.of("update") if any(label[0] == "score" for label in step.labels)]
    mixes: dict[int, bool] = {}  # by the number of a loss: many steps follow from one
    trained = changed_by([step for step in steps if not has_source(step.tokens, "val") and has_source(step.tokens, "train")])
    for step in steps:
        by_name = has_source(step.tokens, "val")
        if not by_name and not (has_source(step.tokens, "shards") and _reads_all_shards(analysis)):
            continue
        if (
            has_source(step.tokens, "train")
            and by_name
            and not any(_mixes(loss, mixes) for loss in events_behind(step.labels, trace, "score"))
        ):
            continue
        if by_name and trained and not trained & changed_by([step]):
            # Adapters and offsets of the evaluation, not the weights that training made.
            continue
        used = _shipped(trace, step) or (_scored(trace, step) if not by_name or has_source(step.tokens, "train") else None)
        if used is not None:
            return [_flow_finding(analysis, step, used, by_name)]
    return []


def _mixes(loss: Event, known: dict[int, bool]) -> bool:
    """Whether training and validation tokens are joined into the batch of a loss (and not merely read by the same code)."""
    if loss.index not in known:
        known[loss.index] = any(_joins_both(node) for value in loss.values[1:] for node in slice_of(value, 2000))
    return known[loss.index]


def _joins_both(node: Data) -> bool:
    kinds = [{kind for kind in ("val", "train") if has_source(labels_of(one), kind)} for one in _joined(node)]
    return {"val"} in kinds and {"train"} in kinds


def _joined(node: Data) -> list[Value]:
    if node.op not in (
        "call:torch.cat",
        "call:torch.concat",
        "call:torch.hstack",
        "call:numpy.concatenate",
        "+",
    ):
        return []
    return [part for one in node.args for part in (one.items if isinstance(one, Seq) else [one])]


def _shipped(trace: Trace, step: Event) -> Event | None:
    """The save of weights that this step changed."""
    label = ("upd", step.index)
    return next((event for event in trace.events[step.index :] if is_artifact(event) and label in event.labels), None)


def _scored(trace: Trace, step: Event) -> Event | None:
    """The report of a validation loss of weights that this step changed."""
    label = ("upd", step.index)
    return next(
        (
            event
            for event in trace.of("report")
            if event.index > step.index
            and any(
                label in score.labels and has_source(score.tokens, "val") and not score.grad for score in scores_of(event, trace)
            )
        ),
        None,
    )


def _reads_all_shards(analysis: Analysis) -> bool:
    """Whether a pattern that names neither split is used unfiltered: no text of the program picks one split by name."""
    for text in analysis.trees:
        for node in text.parsed.nodes:
            tested: list[ast.expr] = []
            if isinstance(node, ast.Compare):
                tested = [node.left, *node.comparators]
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _TESTS:
                tested = list(node.args)
            for one in tested:
                if isinstance(one, ast.Constant) and isinstance(one.value, str) and re.search("train|val", one.value):
                    return False
    return True


def _flow_finding(analysis: Analysis, step: Event, used: Event, by_name: bool) -> Finding:
    trace = analysis.run
    losses = [trace.events[int(label[1])] for label in step.labels if label[0] == "score" and int(label[1]) < len(trace.events)]
    wanted = "val" if by_name else "shards"
    loss = next((event for event in losses if has_source(event.tokens, wanted)), None)
    read = next((event for event in trace.of("read") if has_source(event.labels | event.tokens, wanted)), None)
    certain = step.certain and used.certain
    beside = is_matched(trace, analysis.submission) and not any(
        ("upd", step.index) in score.labels
        for report in headline_reports(trace, analysis.submission)
        for score in scores_of(report, trace)
    )
    chain = [event for event in (read, loss, step, used) if event is not None]
    what = "validation tokens" if by_name else "shards of a pattern that matches the validation split too"
    return Finding(
        Outcome.FAIL if certain and not beside else Outcome.REVIEW,
        f"a training step on {what} changes the weights that are {'shipped' if used.kind == 'save' else 'scored'}"
        + ("; the claimed score was formed before it" if beside else "")
        + ("" if certain else "; a setting whose value is not known decides whether it runs"),
        tuple(dict.fromkeys(analysis.location(event.site) for event in chain)),
        remediation="Train on the training split only.",
    )


TRAIN_ON_VALIDATION = Rule(
    code="VAL001",
    name="train-on-validation",
    level=Level.ERROR,
    summary="validation tokens reach a training step whose result is used",
    why="The validation set is the exam. Weights fitted to it score what they remember.",
    example="violation: train_files = glob('fineweb_*_*.bin')      # also matches fineweb_val_*\n"
    "legal: train_files = glob('fineweb_train_*.bin'); a compile warm-up on a throw-away copy of the weights",
    settles="the resolved training glob, and which loader feeds each optimizer step",
    sources=(_README, _PULL + "44", _PULL + "64", _PULL + "179"),
    check=check,
)
