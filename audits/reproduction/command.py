"""`verifier reproduce FOLDER`: run a record again, measure it from outside, compare with its logs."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from audits.reproduction.compare import Judgement, Pair, compare
from audits.reproduction.evidence import Evidence, open_evidence
from audits.reproduction.job import (
    FULL_SECONDS,
    TOY_SECONDS,
    Job,
    describe_inputs,
    logged_seeds,
    make_conditions,
    prepare_job,
    run_seed,
)
from audits.reproduction.page import Reproduction, to_json, to_page, to_text
from audits.reproduction.phases import measure_phases
from audits.reproduction.rules import MEMO, deciding
from verifier.cli.audit import FAIL_ON, exit_code
from verifier.cli.errors import EXIT_FINDINGS, UsageFailure
from verifier.cli.output import add_output_options, check_targets, parse_targets, terminal_width, use_color, write_targets
from verifier.cli.record import judge_record, open_record, positive_seconds
from verifier.engine.audit import Plan
from verifier.engine.context import Context
from verifier.engine.registry import load_rules
from verifier.execution.workspace import CannotPrepare
from verifier.ledger.claims import headline_runs
from verifier.ledger.record import seed_values
from verifier.ledger.timeline import Budget
from verifier.report.formats import render
from verifier.report.json_report import dump
from verifier.report.model import Report
from verifier.rule import Tier

HELP = "run a record again, by its own script or the reference trainer, and compare with its logs"
EXAMPLE = "verifier reproduce records/track_10min_16mb/2026-04-19_MyRun --toy --evidence again"
FORMATS = ("human", "json")
PAGE, DATA = "reproduction.html", "reproduction.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="one record folder")
    parser.add_argument(
        "--runner", choices=("own", "reference"), default="own",
        help="the record's own script in a sandbox, or the reference trainer with the preset of its system (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--preset", default="", help="preset of the reference trainer (default: the one that the record's settings are)"
    )
    parser.add_argument(
        "--toy", action="store_true", help="on a CPU, in minutes: says nothing about BPB, only that and how it runs"
    )
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="the folder with the record's token shards; not for --toy")
    parser.add_argument("--tokenizer", type=Path, metavar="FILE", help="its tokenizer (.model, or .npz table); not for --toy")
    parser.add_argument(
        "--seed", type=int, action="append", default=[], metavar="N",
        help="seed to run; repeatable (default: the seeds of the logs; with --toy the first of them)",
    )  # fmt: skip
    parser.add_argument("--nproc", type=_count, metavar="N", help="processes under torchrun (default: all GPUs; with --toy one)")
    parser.add_argument(
        "--timeout",
        type=positive_seconds,
        metavar="S",
        help=f"seconds for one run (default: {FULL_SECONDS:g}, --toy {TOY_SECONDS:g})",
    )
    parser.add_argument(
        "--evidence",
        type=Path,
        metavar="FOLDER",
        help="new folder, or that of an earlier call to go on with (default: reproduce-NAME)",
    )
    parser.add_argument("--python", type=Path, metavar="FILE", help="a Python with torch (default: this one)")
    parser.add_argument(
        "--unsafe-no-sandbox", action="store_true",
        help="run the record's script with your own rights where nothing can confine it (or not on several GPUs)",
    )  # fmt: skip
    parser.add_argument("--fail-on", choices=FAIL_ON, default="error", help="what makes the exit code 1 (default: %(default)s)")
    parser.add_argument("--verbose", "-v", action="store_true", help="evidence of every finding, and what was not examined")
    add_output_options(parser, FORMATS)


def run(args: argparse.Namespace) -> int:
    targets = parse_targets(args, FORMATS)
    check_targets(targets)
    folder: Path = args.folder
    plan, context = open_record(folder, deciding(load_rules()))
    job = prepare_job(args, context)
    name = folder.resolve().name
    place: Path = args.evidence or Path(f"reproduce-{name}")
    chosen = list(dict.fromkeys(args.seed)) or logged_seeds(context, first_only=job.toy)
    with open_evidence(place, describe_inputs(job, args)) as evidence:
        try:
            found = reproduce(job, evidence, name, chosen, args)
        except CannotPrepare as failure:
            raise UsageFailure(f"{folder} can't be run: {failure}; nothing was run") from failure
        except KeyboardInterrupt:
            raise UsageFailure("interrupted: seeds that had ended are kept", f"the same call goes on in {place}", 130) from None
        evidence.write(DATA, dump(to_json(found), indent=2) + "\n")
        evidence.write(PAGE, to_page(found))
    report = decide(plan, context, found)

    def human() -> str:
        color = use_color(args.color) and targets[0][1] is None
        return render(report, "human", width=terminal_width(), color=color, verbose=args.verbose) + to_text(found, str(place))

    renderers: dict[str, Callable[[], str]] = {"human": human, "json": lambda: render_json(report, found)}
    write_targets([(file, renderers[form]) for form, file in targets])
    if args.fail_on != "never" and contradicts(found):
        return EXIT_FINDINGS
    return exit_code(report, args.fail_on)


def reproduce(job: Job, evidence: Evidence, name: str, seeds: list[int | None], args: argparse.Namespace) -> Reproduction:
    """Make the runs that are not there yet and compare all of them with the logs."""
    submission = job.context.submission
    logged = {headline.run.seed: headline for headline in headline_runs(submission)}
    pairs: list[Pair] = []
    kept: list[int | None] = []
    for number, seed in enumerate(seeds):
        rerun = evidence.finished(seed)
        if rerun is None:
            with _progress(args, f"seed {'of the script' if seed is None else seed} ({number + 1}/{len(seeds)})") as note:
                rerun = evidence.make(seed, lambda place: run_seed(job, seed, place, note))  # noqa: B023
        else:
            kept.append(seed)
        headline = logged.get(seed)
        metric = headline.metric if headline is not None else None
        phases = measure_phases(rerun, metric.label if metric is not None else None)
        pairs.append(Pair(seed, headline.run if headline is not None else None, metric, rerun, phases))
    conditions = make_conditions(job)
    others = [value.bpb for value in seed_values(submission)]
    lines = compare(pairs, others, conditions)
    challenge = job.context.challenge
    budgets = ((Budget.TRAIN, challenge.train_budget), (Budget.EVAL, challenge.eval_budget))
    return Reproduction(name, args.runner, conditions, job.mapped, tuple(pairs), lines, tuple(kept), budgets)


def decide(plan: Plan, context: Context, found: Reproduction) -> Report:
    """The report over the rules that a re-run can speak to."""
    context.memo[MEMO] = found
    return judge_record(plan, context, plan.rules, Tier.DYNAMIC)


def contradicts(found: Reproduction) -> bool:
    """Whether the record's own script, at full size on hardware like that of the logs, ends with another score."""
    usable = found.conditions.own_script and not found.conditions.why_no_score
    return usable and any(line.subject == "final BPB" and line.judgement is Judgement.DIFFERS for line in found.lines)


def render_json(report: Report, found: Reproduction) -> str:
    """The JSON report with `reproduction` in its one submission, and each comparison as a probe."""
    document = json.loads(render(report, "json"))
    outcomes = {Judgement.AGREES: "pass", Judgement.DIFFERS: "review", Judgement.NOT_COMPARABLE: "not-available"}
    submission = document["submissions"][0]
    submission["probes"] = {
        line.subject if line.seed is None else f"{line.subject} (seed {line.seed})": {
            "outcome": outcomes[line.judgement],
            "summary": line.reason,
            "measured": None if line.measured is None else {"value": line.measured, "unit": line.unit},
            "limit": None if line.logged is None else {"value": line.logged, "unit": line.unit},
        }
        for line in found.lines
    }
    submission["reproduction"] = to_json(found)
    return dump(document, indent=2)


@contextmanager
def _progress(args: argparse.Namespace, title: str) -> Iterator[Callable[[str], None]]:
    """A spinner with the clock and the last line of the run, on a terminal only. Yields where lines go."""
    wanted = sys.stderr.isatty() and not args.no_progress and not args.quiet
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), TextColumn("{task.fields[line]}"))
    with Progress(*columns, console=Console(stderr=True), disable=not wanted, transient=True) as bar:
        task = bar.add_task(title, line="", total=None)

        def note(text: str) -> None:
            bar.update(task, line=escape("".join(char for char in text if char.isprintable())[:70]))

        yield note


def _count(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 64:
        raise argparse.ArgumentTypeError("must be a number of processes, 1 to 64")
    return number
