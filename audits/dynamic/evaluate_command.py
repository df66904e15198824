"""`verifier evaluate FOLDER`: load a given artifact with the submission's own code, score it afresh, compare it with the log."""

from __future__ import annotations

import argparse
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from audits.bytes.command import load_model
from audits.bytes.model import ByteAuditError
from audits.bytes.shards import find_shards
from audits.dynamic.command import describe_attempt, render_probes
from audits.dynamic.evaluation import (
    DEVICE,
    Evaluation,
    LoggedScore,
    answer_probes,
    needs_control,
)
from audits.dynamic.evaluation_bytes import ValidationSet, read_validation
from audits.dynamic.evaluation_report import describe_evaluation, render_evaluation, write_documents
from audits.dynamic.evaluation_rule import RULE, deciding_evaluation
from audits.dynamic.probe import Probe
from verifier.cli.audit import FAIL_ON, exit_code
from verifier.cli.errors import EXIT_FINDINGS, UsageFailure
from verifier.cli.output import add_output_options, check_targets, parse_targets, terminal_width, use_color, write_targets
from verifier.cli.record import find_python, judge_record, open_record, positive_seconds, refuse_without_sandbox
from verifier.engine.context import Context
from verifier.engine.registry import load_rules
from verifier.execution.bench import Bench, Budget
from verifier.execution.evaluation import MEMORY, Inputs, evaluate_once
from verifier.execution.experiment import settings_listed
from verifier.execution.settings import ToySettings, lengthen, shorten
from verifier.execution.torch_file import FILE, check_artifact
from verifier.execution.workspace import CannotPrepare
from verifier.ledger.configuration import documented_command
from verifier.limits import DEFAULT_LIMITS
from verifier.program.analysis import analysis_of
from verifier.report.formats import render
from verifier.report.json_report import dump
from verifier.report.model import Report
from verifier.rule import Outcome, Tier
from verifier.submission.logs.model import LogFile, Run
from verifier.submission.logs.reader import read_log

HELP = "load an artifact with the submission's own code in a sandbox, score it afresh, compare with a log"
EXAMPLE = (
    "verifier evaluate records/track_10min_16mb/2026-04-19_MyRun --artifact final_model.int8.ptz "
    "--tokens 'data/fineweb_val_*.bin' --tokenizer fineweb_1024_bpe.model --log train_seed42.log"
)
FORMATS = ("human", "json")
TRAINED_ON = (20_260_501, 20_260_502)
"""Seeds of the random tokens that the script trains on before it loads the artifact: of the evaluation, and of its repetition."""
_WEIGHTS = re.compile(r"[\"']([\w./-]{1,100}\.(?:ptz|pt|pth|bin|br|xz|lzma|zst|zstd|lrz|npz|safetensors|pkl|gz|zlib|z))[\"']")
"""Names of files of weights, as literals."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="the record folder with the loading and model code")
    parser.add_argument("--artifact", type=Path, required=True, metavar="FILE", help="the artifact to evaluate")
    parser.add_argument("--tokens", required=True, metavar="GLOB", help="validation shards; all of them are scored")
    parser.add_argument("--tokenizer", required=True, metavar="FILE", help="the tokenizer of the shards (.model, .vocab, .yaml)")
    parser.add_argument("--sidecar", metavar="GLOB", help="byte sidecar shards for scripts that read them (default: made here)")
    parser.add_argument("--log", type=Path, metavar="FILE", help="the log to compare with (default: those of the folder)")
    parser.add_argument("--as", dest="name", default="", metavar="NAME", help="what the script calls its artifact file")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="NAME=VALUE", help="a setting of the run")
    parser.add_argument("--bos", type=int, metavar="ID", help="id that opens each document, if the model names none")
    parser.add_argument(
        "--tolerance", type=_tolerance, default=DEVICE, metavar="BPB",
        help="difference that another device's arithmetic may make: for a human to look at (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--documents", type=Path, metavar="FILE", help="write the table of all documents (tab-separated)")
    parser.add_argument("--timeout", type=positive_seconds, default=600.0, metavar="S", help="seconds for one run (default: 600)")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the evidence: records, output and files of each run")
    parser.add_argument("--python", type=Path, metavar="FILE", help="a Python with torch to run with (default: this one)")
    parser.add_argument("--unsafe-no-sandbox", action="store_true", help="run even where nothing can confine the script")
    parser.add_argument("--fail-on", choices=FAIL_ON, default="error", help="what makes the exit code 1 (default: %(default)s)")
    parser.add_argument("--verbose", "-v", action="store_true", help="evidence of every finding, and what was not examined")
    add_output_options(parser, FORMATS)


@dataclass(frozen=True, slots=True)
class _Question:
    """The command's inputs, read and checked."""

    artifact: bytes
    validation: ValidationSet
    shards: tuple[Path, ...]
    sidecars: tuple[Path, ...]
    stated: Mapping[str, str]
    log_file: LogFile | None
    log: LoggedScore | None


def run(args: argparse.Namespace) -> int:
    targets = parse_targets(args, FORMATS)
    check_targets(targets)
    refuse_without_sandbox(args.unsafe_no_sandbox)
    python = find_python(args.python)
    if args.keep is not None and args.keep.exists() and (not args.keep.is_dir() or any(args.keep.iterdir())):
        raise UsageFailure(f"--keep {args.keep}: not an empty folder; nothing was run", "name a new folder for the evidence")
    if args.documents is not None and not args.documents.absolute().parent.is_dir():
        raise UsageFailure(f"--documents {args.documents}: no such folder; nothing was run")
    question = _read_inputs(args)
    report, evaluation, probes = evaluate_folder(args, question, python)
    if args.documents is not None:
        write_documents(args.documents, evaluation)

    def human() -> str:
        color = use_color(args.color) and targets[0][1] is None
        page = render(report, "human", width=terminal_width(), color=color, verbose=args.verbose)
        return page + render_evaluation(evaluation) + render_probes(probes)

    def as_json() -> str:
        document = json.loads(render(report, "json"))
        document["submissions"][0]["probes"] = {name: probe.to_json() for name, probe in probes.items()}
        document["submissions"][0]["evaluation"] = describe_evaluation(evaluation)
        return dump(document, indent=2)

    renderers = {"human": human, "json": as_json}
    write_targets([(file, renderers[name]) for name, file in targets])
    if args.fail_on != "never" and any(probe.outcome is Outcome.FAIL for probe in probes.values()):
        return EXIT_FINDINGS
    return exit_code(report, args.fail_on)


def evaluate_folder(args: argparse.Namespace, question: _Question, python: Path) -> tuple[Report, Evaluation, dict[str, Probe]]:
    """Check, run and judge. Raises `UsageFailure` when the folder is not one readable record folder."""
    plan, context = open_record(args.folder, deciding_evaluation(load_rules()))
    evaluation = _evaluate(context, args, question, python)
    probes = answer_probes(evaluation)
    context.memo.update({"evaluation": evaluation, "probes": probes})
    report = judge_record(plan, context, plan.rules, Tier.DATA, selected={RULE})
    if args.keep is not None:
        args.keep.mkdir(parents=True, exist_ok=True)
        (args.keep / "runs.json").write_text(dump(_describe_runs(evaluation), indent=2), encoding="ascii")
    return report, evaluation, probes


def _read_inputs(args: argparse.Namespace) -> _Question:
    """Raises `UsageFailure` for whatever can't be read."""
    stated: dict[str, str] = {}
    for word in args.settings:
        name, sign, value = word.partition("=")
        if not sign or not name.replace("_", "").isalnum():
            raise UsageFailure(f"--set {word}: not NAME=VALUE; nothing was run")
        stated[name] = value
    try:
        if args.artifact.stat().st_size > FILE:
            raise UsageFailure(f"--artifact {args.artifact}: more than {FILE:,} bytes; nothing was run")
        artifact = args.artifact.read_bytes()
        model = load_model(args.tokenizer, "auto")
        shards = tuple(find_shards(args.tokens, sidecars=False))
        sidecars = tuple(find_shards(args.sidecar, sidecars=True)) if args.sidecar else ()
        validation = read_validation(model, shards, args.bos)
        log_file = _read_given_log(args.log, args.folder) if args.log is not None else None
    except (ByteAuditError, OSError) as failure:
        raise UsageFailure(f"nothing was run: {failure}") from failure
    logged = [one for run in log_file.runs if (one := _logged(run)) is not None] if log_file is not None else []
    if log_file is not None and not logged:
        raise UsageFailure(f"--log {args.log}: no final BPB in it; nothing was run")
    return _Question(artifact, validation, shards, sidecars, stated, log_file, logged[-1] if logged else None)


def _read_given_log(path: Path, folder: Path) -> LogFile:
    """Raises `UsageFailure` or `OSError`."""
    if path.stat().st_size > DEFAULT_LIMITS.text_file:
        raise UsageFailure(f"--log {path}: more than {DEFAULT_LIMITS.text_file:,} bytes; nothing was run")
    resolved, root = path.resolve(), folder.resolve()
    name = resolved.relative_to(root).as_posix() if resolved.is_relative_to(root) else path.name
    return read_log(name, path.read_bytes())


def _logged(run: Run) -> LoggedScore | None:
    return LoggedScore(run.path, run, run.headline) if run.headline is not None and run.headline.bpb is not None else None


def _evaluate(context: Context, args: argparse.Namespace, question: _Question, python: Path) -> Evaluation:
    submission = context.submission
    main = submission.program.main
    checked = check_artifact(question.artifact)
    logs = (question.log,) if question.log is not None else tuple(filter(None, map(_logged, submission.runs)))
    settings = _settings(context, args.folder, question)
    longer = lengthen(settings)
    made = Evaluation(
        checked,
        question.validation,
        settings,
        logs=logs,
        tolerance=args.tolerance,
        settings_known=documented_command(submission) is not None or any(one.run.config for one in logs),
        known_sets=frozenset(row.val_tokens for row in context.challenge.streams),
        varied=longer is not None,
    )
    if checked.refused:
        return replace(made, why_not=f"the artifact was not loaded: {checked.refused[0]}")
    if main is None:
        return replace(made, why_not="the folder has no training script")
    texts = [text for member in submission.program.members for _, text in member.code_texts]
    command = documented_command(submission)
    arguments = command.arguments if command is not None and command.script == main.path else ()
    seeds = {one.run.seed for one in logs}
    inputs = Inputs(
        question.artifact,
        args.name or artifact_name(args.artifact.name, texts),
        question.shards,
        question.sidecars,
        Path(args.tokenizer).absolute() if Path(args.tokenizer).is_file() else None,
        question.validation.stream,
        question.validation.token_bytes,
        seeds.pop() if len(seeds) == 1 else None,
    )

    budget = Budget(2 * args.timeout, args.timeout, MEMORY)
    bench = Bench(args.folder, main.path, arguments, texts, python, budget, args.keep, args.unsafe_no_sandbox)
    try:
        made = replace(made, base=evaluate_once(bench, inputs, settings, "base", TRAINED_ON[0]))
        if not needs_control(made):
            return made
        return replace(made, control=evaluate_once(bench, inputs, longer or settings, "control", TRAINED_ON[1]))
    except CannotPrepare as failure:
        return replace(made, why_not=str(failure))


def _settings(context: Context, folder: Path, question: _Question) -> ToySettings:
    """The settings of the run: of the given log, of the folder, and above all what the user says."""
    if question.log_file is not None:
        # Of several logs, the given one is the artifact's: its dump comes first.
        context = replace(context, submission=replace(context.submission, logs=(question.log_file,)), memo={})
    configuration = analysis_of(context).config
    if documented_command(context.submission) is None:
        configuration = {**settings_listed(context, folder), **configuration}
    settings = shorten(context.submission.program.env_reads, {**configuration, **question.stated})
    # What the user states is never shortened.
    return replace(settings, environment={**settings.environment, **question.stated})


def artifact_name(given: str, texts: list[str]) -> str:
    """What the script calls its artifact: the given file's name where the script has it, else its one name of the same kind."""
    if any(f"{before}{given}" in text for text in texts for before in ("'", '"', "/")):
        return given
    suffix = Path(given).suffix.lower()
    names = {found.rsplit("/", 1)[-1] for text in texts for found in _WEIGHTS.findall(text)}
    alike = {name for name in names if Path(name).suffix.lower() == suffix}
    return alike.pop() if len(alike) == 1 else ""


def _describe_runs(evaluation: Evaluation) -> dict[str, object]:
    settings = evaluation.settings
    return {
        "why_not": evaluation.why_not,
        "environment": settings.environment if settings is not None else {},
        "shortened": {name: list(values) for name, values in settings.shrunk.items()} if settings is not None else {},
        "runs": [describe_attempt(attempt) for attempt in (evaluation.base, evaluation.control) if attempt is not None],
    }


def _tolerance(text: str) -> float:
    number = float(text)
    if not math.isfinite(number) or number < 0:
        raise argparse.ArgumentTypeError("must be 0 or a positive number of bits per byte")
    return number
