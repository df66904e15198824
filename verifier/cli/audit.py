"""`verifier audit PATH...`"""

from __future__ import annotations

import argparse
import datetime
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

from verifier.challenge.load import ChallengeError, load_challenge
from verifier.cli.errors import EXIT_FINDINGS, EXIT_INTERNAL, EXIT_NOTHING, EXIT_OK, EXIT_USAGE, UsageFailure
from verifier.cli.output import (
    add_output_options,
    check_targets,
    parse_targets,
    progress_bar,
    terminal_width,
    use_color,
    write_targets,
)
from verifier.engine.audit import Plan, audit_source, unread_report
from verifier.engine.context import Options
from verifier.engine.registry import RegistryError, load_rules, select_rules
from verifier.evidence import Location, Problem
from verifier.report.formats import FORMATS, render
from verifier.report.model import RecordClaim, Report, SubmissionReport, Verdict
from verifier.rule import Level, Outcome
from verifier.submission.discover import discover
from verifier.submission.source import FileSource, Unreadable

EXAMPLE = "verifier audit records/track_10min_16mb/2026-04-19_MyRun --output html=report.html"
FAIL_ON = ("error", "undetermined", "record", "warning", "never")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "paths", metavar="PATH", nargs="+", type=Path, help="a record folder, a checkout with records/, or an archive of one"
    )
    parser.add_argument(
        "--jobs",
        "-j",
        type=_positive,
        default=None,
        metavar="N",
        help="folders audited at once (default: 1 for one, else all cores)",
    )
    parser.add_argument("--strict-inputs", action="store_true", help="exit 2 when any input could not be read")
    add_judging_options(parser)
    add_output_options(parser, FORMATS)


def add_judging_options(parser: argparse.ArgumentParser) -> None:
    """Options of every command that judges submissions."""
    parser.add_argument(
        "--select", metavar="RULE", action="append", default=[], help="only these rules: code, prefix (TIM) or name; repeatable"
    )
    parser.add_argument("--ignore", metavar="RULE", action="append", default=[], help="without these rules; repeatable")
    parser.add_argument("--as-of", type=_day, metavar="YYYY-MM-DD", help="compare with the leaderboard of that day")
    parser.add_argument("--challenge", type=Path, metavar="FILE", help="constants of another contest or date")
    parser.add_argument("--sota", type=float, metavar="BPB", help="compare with this score instead of the leaderboard's")
    parser.add_argument("--leaderboard", type=Path, metavar="FILE", help="another leaderboard history")
    parser.add_argument(
        "--tokenizer-dir", type=Path, metavar="DIR", help="published tokenizers, by file name (BYT007, with --data)"
    )
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="validation shards, DIR/[datasets/]NAME/*_val_*.bin: runs BYT007"
    )
    parser.add_argument("--fail-on", choices=FAIL_ON, default="error", help="what makes the exit code 1 (default: %(default)s)")
    parser.add_argument(
        "--verbose", "-v", action="store_true", help="evidence of every finding, passes and what was not examined"
    )


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _day(text: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(text)
    except ValueError as failure:
        raise argparse.ArgumentTypeError(f"{text!r} is no date of the form YYYY-MM-DD") from failure


def make_plan(args: argparse.Namespace) -> Plan:
    """The rules and constants that the options name. Raises `UsageFailure`."""
    rules = load_rules()
    if not rules:
        raise UsageFailure("no rules are installed: nothing was audited", "install the package that registers `verifier.audits`")
    try:
        selected = None
        if args.select or args.ignore:
            selected = frozenset(rule.code for rule in select_rules(rules, args.select, args.ignore))
        challenge = load_challenge(args.challenge, args.leaderboard)
    except (RegistryError, ChallengeError) as failure:
        raise UsageFailure(f"{failure}; nothing was audited") from failure
    options = Options(as_of=args.as_of, sota=args.sota, tokenizer_dir=args.tokenizer_dir, data_dir=args.data)
    return Plan(rules, challenge, options, selected)


def run(args: argparse.Namespace) -> int:
    targets = parse_targets(args, FORMATS)
    check_targets(targets)
    plan = make_plan(args)
    sources: list[FileSource] = []
    reports: list[SubmissionReport] = []
    empty: list[Path] = []
    for path in args.paths:
        try:
            found = discover(path, plan.limits)
        except Unreadable as failure:
            reports.append(unread_report(path.as_posix(), Problem(Location("."), failure.kind, str(failure)), plan))
            continue
        if not found:
            empty.append(path)
        sources.extend(found)
    unread = len(reports)
    if not sources:
        if unread:
            reasons = "; ".join(f"{one.path}: {one.problems[0].message}" for one in reports)
            raise UsageFailure(
                f"nothing was audited: {reasons}", "name a record folder, a checkout with records/, or a .zip or .tar.gz of one"
            )
        raise UsageFailure(
            f"nothing to audit in {', '.join(map(str, empty))}: no folder there has a README, submission JSON, log or training script",
            "name a record folder such as records/track_10min_16mb/2026-04-19_MyRun",
            EXIT_NOTHING,
        )
    for path in empty:
        print(f"verifier: {path} holds no record folder", file=sys.stderr)
    with progress_bar(args, len(sources)) as bar:
        task = bar.add_task("auditing", total=len(sources))
        for audited in _audit_all(sources, plan, args.jobs):
            reports.append(audited)
            bar.advance(task)
    report = finish(reports, plan)
    write_report(report, targets, args)
    if args.strict_inputs and not all(one.read for one in reports):
        return EXIT_USAGE
    return exit_code(report, args.fail_on)


def _audit_all(sources: Sequence[FileSource], plan: Plan, jobs: int | None) -> Iterator[SubmissionReport]:
    """Audit every source, in worker processes when there are several. A worker that dies costs one folder, not the batch."""
    if len(sources) == 1 or jobs == 1:
        yield from (audit_source(source, plan) for source in sources)
        return
    broken: list[FileSource] = []
    with _pool(jobs) as pool:
        waiting = {pool.submit(partial(audit_source, plan=plan), source): source for source in sources}
        for future in as_completed(waiting):
            try:
                yield future.result()
            except BrokenProcessPool:
                broken.append(waiting[future])
    # One bad folder takes the pool and its neighbours with it: each of them gets a process of its own.
    for source in broken:
        with _pool(1) as pool:
            try:
                yield pool.submit(partial(audit_source, plan=plan), source).result()
            except BrokenProcessPool:
                yield unread_report(
                    source.label, Problem(Location("."), "crashed", "the process that read this folder died"), plan
                )


def _pool(jobs: int | None) -> Executor:
    # Not fork: the parent may hold threads (progress bar).
    return ProcessPoolExecutor(max_workers=jobs, mp_context=get_context("forkserver" if sys.platform != "win32" else "spawn"))


def finish(reports: Sequence[SubmissionReport], plan: Plan) -> Report:
    """One report over all submissions, in path order."""
    return Report(
        tool_version=version("contest-verifier"),
        challenge=plan.challenge.name,
        ruleset=plan.challenge.ruleset,
        artifact_cap=plan.challenge.artifact_cap,
        train_budget=plan.challenge.train_budget,
        eval_budget=plan.challenge.eval_budget,
        submissions=tuple(sorted(reports, key=lambda report: report.path)),
        rules=tuple(plan.rules),
    )


def write_report(
    report: Report, targets: Sequence[tuple[str, Path | None]], args: argparse.Namespace, *, problems_only: bool = False
) -> None:
    """Render and write every target. `problems_only`: SARIF without passes, for uploads (see `render`)."""

    def renderer(name: str, file: Path | None) -> Callable[[], str]:
        color = file is None and use_color(args.color)
        return partial(
            render, report, name, width=terminal_width(), color=color, verbose=args.verbose, problems_only=problems_only
        )

    write_targets([(file, renderer(name, file)) for name, file in targets])


def exit_code(report: Report, fail_on: str) -> int:
    """The exit code for the line of `--fail-on`. Formats never change it."""
    submissions = report.submissions
    crossed = {
        "error": any(one.verdict is Verdict.INELIGIBLE for one in submissions),
        "undetermined": any(one.verdict is not Verdict.ELIGIBLE for one in submissions),
        "record": any(one.record_claim is RecordClaim.UNSUPPORTED for one in submissions),
        "warning": any(
            result.outcome is Outcome.FAIL and result.level is not Level.NOTE for one in submissions for result in one.rules
        ),
        "never": False,
    }
    if crossed[fail_on]:
        return EXIT_FINDINGS
    broken_rule = any(result.outcome is Outcome.ERROR for one in submissions for result in one.rules)
    broken_reader = any(problem.kind == "reader-error" for one in submissions for problem in one.problems)
    if broken_rule or broken_reader:
        return EXIT_INTERNAL
    return EXIT_OK
