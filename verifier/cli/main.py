"""The `verifier` command: parsing, dispatch, exit codes."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points, version

from verifier.cli import audit, ci, doctor, rules
from verifier.cli.errors import EXIT_INTERNAL, EXIT_USAGE, UsageFailure
from verifier.engine.audit import relax_collector

COMMANDS_GROUP = "verifier.commands"
"""Entry-point group for further commands: name -> module with HELP, EXAMPLE, add_arguments(parser) and run(args) -> int."""


@dataclass(frozen=True, slots=True)
class Command:
    name: str
    help: str
    example: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


def commands(wanted: str | None) -> tuple[Command, ...]:
    """Our own commands and, unless one of them is `wanted`, those that other packages register (loading them takes time)."""
    own = (
        Command("audit", "audit record folders", audit.EXAMPLE, audit.add_arguments, audit.run),
        Command("ci", "audit what a pull request changes", ci.EXAMPLE, ci.add_arguments, ci.run),
        Command("rules", "list the rules", "verifier rules --select TIM", rules.add_rules_arguments, rules.run_rules_command),
        Command(
            "explain", "print one rule's page", "verifier explain TIM003", rules.add_explain_arguments, rules.run_explain_command
        ),
        Command("doctor", "what this machine can do", doctor.EXAMPLE, doctor.add_arguments, doctor.run),
    )
    if wanted in {command.name for command in own}:
        return own
    plugged = []
    for entry in sorted(entry_points(group=COMMANDS_GROUP), key=lambda entry: entry.name):
        module = entry.load()
        plugged.append(Command(entry.name, module.HELP, module.EXAMPLE, module.add_arguments, module.run))
    return (*own, *plugged)


def build_parser(wanted: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="verifier",
        description="Audit submissions to model-training contests. Reads only: nothing of a submission is executed by `audit`.",
        epilog="exit codes: 0 nothing crossed the line of --fail-on, 1 something did, 2 nothing was audited (usage or input), "
        "3 nothing to audit, 4 the verifier itself failed",
    )
    parser.add_argument("--version", action="version", version=f"verifier {version('contest-verifier')}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in commands(wanted):
        sub = subparsers.add_parser(
            command.name,
            help=command.help,
            description=command.help[0].upper() + command.help[1:] + ".",
            epilog=f"example: {command.example}",
        )
        command.add_arguments(sub)
        sub.set_defaults(run=command.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code: 2 for usage, 4 for a bug of the verifier."""
    relax_collector()
    words = list(sys.argv[1:] if argv is None else argv)
    args = build_parser(next((word for word in words if not word.startswith("-")), None)).parse_args(words)
    try:
        return int(args.run(args))
    except UsageFailure as failure:
        print(f"verifier: {failure}", file=sys.stderr)
        if failure.hint:
            print(f"  {failure.hint}", file=sys.stderr)
        return failure.code
    except BrokenPipeError:
        # The reader of our output went away (`| head`): nothing is wrong with the audit, but nobody got all of it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_USAGE
    except KeyboardInterrupt:
        print("verifier: interrupted; nothing was written", file=sys.stderr)
        return 130
    except Exception:
        traceback.print_exc()
        print("verifier: this is a bug of the verifier, not of the submission; nothing was decided", file=sys.stderr)
        return EXIT_INTERNAL
