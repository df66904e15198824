"""`verifier probe FOLDER`: run the submission's own script, unmodified, at toy size, and look at what it does."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from audits.dynamic.probe import Probe
from audits.dynamic.rules import MEMO, answer_probes, deciding
from verifier.cli.audit import FAIL_ON, exit_code
from verifier.cli.errors import EXIT_FINDINGS, UsageFailure
from verifier.cli.output import add_output_options, check_targets, parse_targets, terminal_width, use_color, write_targets
from verifier.cli.record import find_python, judge_record, open_record, positive_seconds, refuse_without_sandbox
from verifier.engine.registry import load_rules
from verifier.execution.experiment import Attempt, Budget, Experiment, experiment_on
from verifier.report.formats import render
from verifier.report.json_report import dump
from verifier.report.model import Report
from verifier.report.text import encodable
from verifier.rule import Outcome, Tier

HELP = "run a submission's own script in a sandbox at toy size and observe it"
EXAMPLE = "verifier probe records/track_10min_16mb/2026-04-19_MyRun --keep evidence"
FORMATS = ("human", "json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="one record folder")
    parser.add_argument(
        "--budget", type=positive_seconds, default=600.0, metavar="S", help="seconds for all runs of the folder (default: 600)"
    )
    parser.add_argument("--timeout", type=positive_seconds, default=300.0, metavar="S", help="seconds for one run (default: 300)")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the evidence: records, output and files of each run")
    parser.add_argument(
        "--python", type=Path, metavar="FILE", help="a Python with torch to run the script with (default: this one)"
    )
    parser.add_argument(
        "--unsafe-no-sandbox",
        action="store_true",
        help="run even where nothing can confine it: for scripts that are trusted anyway",
    )
    parser.add_argument("--fail-on", choices=FAIL_ON, default="error", help="what makes the exit code 1 (default: %(default)s)")
    parser.add_argument("--verbose", "-v", action="store_true", help="evidence of every finding, and what was not examined")
    add_output_options(parser, FORMATS)


def run(args: argparse.Namespace) -> int:
    targets = parse_targets(args, FORMATS)
    check_targets(targets)
    refuse_without_sandbox(args.unsafe_no_sandbox)
    python = find_python(args.python)
    if args.keep is not None and args.keep.exists() and (not args.keep.is_dir() or any(args.keep.iterdir())):
        raise UsageFailure(f"--keep {args.keep}: not an empty folder; nothing was run", "name a new folder for the evidence")
    report, probes = probe_folder(
        args.folder, python, Budget(args.budget, args.timeout), args.keep, unsafe=args.unsafe_no_sandbox
    )

    def human() -> str:
        color = use_color(args.color) and targets[0][1] is None
        return render(report, "human", width=terminal_width(), color=color, verbose=args.verbose) + render_probes(probes)

    renderers = {"human": human, "json": lambda: render_json(report, probes)}
    write_targets([(file, renderers[name]) for name, file in targets])
    if args.fail_on != "never" and any(probe.outcome is Outcome.FAIL for probe in probes.values()):
        return EXIT_FINDINGS
    return exit_code(report, args.fail_on)


def probe_folder(
    folder: Path, python: Path, budget: Budget, keep: Path | None, *, unsafe: bool
) -> tuple[Report, dict[str, Probe]]:
    """Run, answer the probes and the rules that they decide. Raises `UsageFailure` when `folder` is not one readable record folder."""
    plan, context = open_record(folder, deciding(load_rules()))
    experiment = experiment_on(context, folder, python, budget, keep, unsafe=unsafe)
    probes = answer_probes(experiment)
    context.memo.update({"experiment": experiment, MEMO: probes})
    report = judge_record(plan, context, deciding(load_rules(), context), Tier.DYNAMIC)
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        (keep / "runs.json").write_text(dump(describe_runs(experiment), indent=2), encoding="ascii")
    return report, probes


def describe_runs(experiment: Experiment) -> dict[str, object]:
    """How each run ended, and under which settings."""
    settings = experiment.settings
    return {
        "script": experiment.script,
        "why_not": experiment.why_not,
        "environment": settings.environment if settings is not None else {},
        "shrunk": {name: list(values) for name, values in settings.shrunk.items()} if settings is not None else {},
        "left_out": list(experiment.left_out),
        "replaced": [str(replacement) for replacement in experiment.replacements],
        "runs": [describe_attempt(attempt) for attempt in experiment.attempts],
    }


def describe_attempt(attempt: Attempt) -> dict[str, object]:
    """How one run ended."""
    return {
        "name": attempt.name, "completed": attempt.completed, "stage": attempt.stage, "failure": attempt.failure,
        "seconds": round(attempt.ending.seconds, 1), "peak_memory": attempt.ending.peak_memory, "tier": attempt.ending.tier,
        "weaknesses": list(attempt.ending.weaknesses),
        "mapped": [
            f"{event.text('what')}: {event.text('equivalent')}" for event in (attempt.run.observations.of("mapped") if attempt.run else ())
        ],
    }  # fmt: skip


def render_json(report: Report, probes: dict[str, Probe]) -> str:
    """The JSON report with `probes` in its one submission."""
    document = json.loads(render(report, "json"))
    document["submissions"][0]["probes"] = {name: probe.to_json() for name, probe in probes.items()}
    return dump(document, indent=2)


def render_probes(probes: dict[str, Probe]) -> str:
    """The probes as lines of text. Summaries hold words of the submission: control characters are shown, not sent."""
    lines = ["", "probes"]
    for name, probe in probes.items():
        stage = f" [stage reached: {probe.stage}]" if probe.stage else ""
        text = "".join(char if char.isprintable() else "?" for char in encodable(probe.summary))
        lines.append(f"  {probe.outcome.value:<14} {name}: {text}{stage}")
        lines.append(f"  {'':<14} not seen: {probe.not_seen}")
    return "\n".join(lines) + "\n"
