"""`verifier ci`: audit what a pull request changes, from git objects, without a checkout."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from verifier.cli.audit import add_judging_options, exit_code, finish, make_plan, write_report
from verifier.cli.errors import EXIT_NOTHING, UsageFailure
from verifier.cli.output import add_output_options, check_targets, parse_targets, progress_bar
from verifier.engine.audit import audit_source
from verifier.git.pull_request import first_commit_day, pull_request
from verifier.git.repository import GitError
from verifier.report.formats import FORMATS
from verifier.report.github import render_summary
from verifier.report.model import Report, SubmissionReport
from verifier.submission.git_source import GitTreeSource

EXAMPLE = "verifier ci --base origin/main --head HEAD --format github"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--base", default="origin/main", metavar="REF", help="what the pull request is compared with (default: %(default)s)"
    )
    parser.add_argument("--head", default="HEAD", metavar="REF", help="the pull request's commit (default: %(default)s)")
    parser.add_argument(
        "--repository", type=Path, default=Path(), metavar="DIR", help="a clone of the contest's repository (default: .)"
    )
    add_judging_options(parser)
    add_output_options(parser, FORMATS)


def run(args: argparse.Namespace) -> int:
    targets = parse_targets(args, FORMATS)
    check_targets(targets)
    plan = make_plan(args)
    try:
        change = pull_request(args.repository, args.base, args.head)
    except GitError as failure:
        raise UsageFailure(f"nothing was audited: {failure}") from failure
    if not change.records:
        raise UsageFailure(
            f"the change {change.base[:12]}..{change.head[:12]} touches no record folder: nothing to audit",
            "a submission adds one folder below records/",
            EXIT_NOTHING,
        )
    reports: list[SubmissionReport] = []
    with progress_bar(args, len(change.records)) as bar:
        task = bar.add_task("auditing", total=len(change.records))
        for folder in change.records:
            source = GitTreeSource(args.repository, change.head, folder)
            day = first_commit_day(args.repository, change.head, folder)
            reports.append(audit_source(source, plan, pull_request=change, first_commit=day))
            bar.advance(task)
    report = finish(reports, plan)
    write_report(report, targets, args, problems_only=True)
    _write_job_summary(report)
    return exit_code(report, args.fail_on)


def _write_job_summary(report: Report) -> None:
    """The page that Actions shows under the job, where it says it wants one."""
    file = os.environ.get("GITHUB_STEP_SUMMARY")
    if not file:
        return
    try:
        with Path(file).open("a", encoding="utf-8") as out:
            out.write(render_summary(report))
    except OSError as failure:
        print(f"verifier: the job summary could not be written: {failure.strerror}", file=sys.stderr)
