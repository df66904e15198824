"""What commands that run one record folder share: opening it, the interpreter and the sandbox, the report."""

from __future__ import annotations

import argparse
import math
from collections.abc import Collection, Sequence
from pathlib import Path

from verifier.challenge.load import load_challenge
from verifier.cli.audit import finish
from verifier.cli.errors import EXIT_NOTHING, EXIT_USAGE, UsageFailure
from verifier.engine.audit import Plan
from verifier.engine.context import Context
from verifier.engine.run import decide_record_claim, decide_verdict, run_rules
from verifier.execution.launch import default_python
from verifier.ledger.claims import is_record_claim
from verifier.ledger.record import attempt_record
from verifier.report.assemble import assemble
from verifier.report.model import Report
from verifier.rule import Rule, Tier
from verifier.sandbox.policy import SandboxPolicy
from verifier.sandbox.tiers import choose_tier
from verifier.submission.discover import discover
from verifier.submission.load import load_submission
from verifier.submission.source import Unreadable


def open_record(folder: Path, rules: Sequence[Rule]) -> tuple[Plan, Context]:
    """Raises `UsageFailure` when `folder` is not one readable record folder."""
    try:
        sources = discover(folder)
        if len(sources) != 1 or not folder.is_dir():
            raise UsageFailure(
                f"{folder} holds {len(sources)} record folders, or is an archive; nothing was run",
                "name one record folder on disk",
                EXIT_NOTHING if not sources else EXIT_USAGE,
            )
        plan = Plan(rules, load_challenge())
        submission = load_submission(sources[0], plan.limits)
    except Unreadable as failure:
        raise UsageFailure(f"{folder} can't be read: {failure}; nothing was run") from failure
    main = submission.program.main
    if main is not None and not (folder / main.path).is_file():
        raise UsageFailure(f"{folder} is not the record folder itself; nothing was run", f"name {sources[0].label}")
    return plan, Context(submission, plan.challenge, plan.options)


def judge_record(
    plan: Plan, context: Context, rules: Sequence[Rule], tier: Tier, selected: Collection[str] | None = None
) -> Report:
    """The report of the rules of one tier; the verdict is about those that were `selected`."""
    answers = run_rules(context, rules, selected=selected, tiers=(tier,), seconds=plan.limits.seconds_per_folder)
    counted = [result for result in answers.results if selected is None or result.code in selected]
    verdict = decide_verdict(counted, (tier,))
    claim = decide_record_claim(answers.results, verdict, is_record_claim(context.submission))
    attempt = attempt_record(context.submission, plan.challenge, None, None)
    return finish([assemble(context, answers, verdict, claim, attempt)], plan)


def find_python(given: Path | None) -> Path:
    """The interpreter that scripts are run with. Raises `UsageFailure` when there is no such file."""
    python = given or default_python()
    if not python.is_file():
        raise UsageFailure(f"--python {python}: no such file; nothing was run")
    return python.absolute()


def refuse_without_sandbox(unsafe: bool) -> None:
    """Raises `UsageFailure` where no tier can confine a command, unless the user asked for that."""
    state = choose_tier(SandboxPolicy())
    if not state.available and not unsafe:
        raise UsageFailure(
            f"nothing was run: this machine can't confine the script ({state.reason})",
            "run on a machine with bubblewrap, user namespaces or Landlock; --unsafe-no-sandbox runs it with your own rights",
        )


def positive_seconds(text: str) -> float:
    """The value of an option. Raises what `argparse` reports."""
    number = float(text)
    if not math.isfinite(number) or number <= 0:
        raise argparse.ArgumentTypeError("must be a positive number of seconds")
    return number
