"""`verifier doctor`: what this machine can do, and whether its sandbox holds."""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import TYPE_CHECKING

from verifier.cli.errors import EXIT_FINDINGS, EXIT_NOTHING, EXIT_OK, UsageFailure
from verifier.cli.output import add_output_options, check_targets, parse_targets, progress_bar, write_targets
from verifier.engine.registry import load_rules
from verifier.rule import Tier

if TYPE_CHECKING:
    from verifier.sandbox.conformance import Conformance
    from verifier.sandbox.tiers import TierState

EXAMPLE = "verifier doctor --sandbox"
FORMATS = ("human", "json")
OPTIONAL = {
    "torch": "the reference trainer (extra `train`)",
    "flash_attn": "FlashAttention in the reference trainer (extra `gpu`)",
    "sentencepiece": "cross-checks of the SentencePiece decoder in the tests",
    "tokenmonster": "cross-check of the TokenMonster decoder (its server binary is never started from here)",
}
PROGRAMS = {"git": "`verifier ci` and auditing commits", "bwrap": "the strongest sandbox tier", "nvidia-smi": "GPU"}
WHICH = ("all", "best", "bubblewrap", "namespaces", "landlock")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--sandbox",
        nargs="?",
        const="all",
        choices=WHICH,
        metavar="TIER",
        help="try to break out of the sandbox and to use up what it bounds, in each tier that works here, or in the best, or in one "
        f"({', '.join(WHICH)}); about 15 s each. Exit code 1: something was not contained, 3: no such tier works here",
    )
    add_output_options(parser, FORMATS)


def _package(name: str) -> str | None:
    """The version of an installed package, without importing it."""
    if find_spec(name) is None:
        return None
    try:
        return version(name.replace("_", "-"))
    except PackageNotFoundError:
        return "?"


def examine(tiers: Sequence[TierState], tried: Sequence[Conformance]) -> dict[str, object]:
    """What is there, as plain data."""
    rules = load_rules()
    suites = {
        suite.tier.value: {
            "contained": suite.contained,
            "attempts": {
                result.name: {
                    "topic": result.topic,
                    "title": result.title,
                    "outcome": result.outcome.value,
                    "line": result.line,
                    "seconds": round(result.seconds, 2),
                }
                for result in suite.results
            },
        }
        for suite in tried
    }
    return {
        "python": platform.python_version(),
        "platform": f"{sys.platform} {platform.machine()}",
        "rules": {tier.value: sum(rule.tier is tier for rule in rules) for tier in Tier},
        "packages": {name: _package(name) for name in OPTIONAL},
        "programs": {name: shutil.which(name) is not None for name in PROGRAMS},
        "sandbox": {
            state.tier.value: {
                "available": state.available,
                "reason": state.reason,
                "weaknesses": list(state.weaknesses) if state.available else [],
                **({"conformance": suites[state.tier.value]} if state.tier.value in suites else {}),
            }
            for state in tiers
        },
    }


def _render(found: dict[str, object], tiers: Sequence[TierState], tried: Sequence[Conformance]) -> str:
    lines = [f"python     {found['python']} on {found['platform']}"]
    rules, packages, programs = found["rules"], found["packages"], found["programs"]
    assert isinstance(rules, dict)
    assert isinstance(packages, dict)
    assert isinstance(programs, dict)
    lines.append("rules      " + ", ".join(f"{count} {tier}" for tier, count in rules.items()))
    lines += [f"{'have' if there else 'no':<10} {name:<14} {PROGRAMS[name]}" for name, there in programs.items()]
    lines += [f"{there or 'no':<10} {name:<14} {OPTIONAL[name]}" for name, there in packages.items()]
    for state in tiers:
        lines.append(f"{'have' if state.available else 'no':<10} {state.tier:<14} sandbox tier: {state.reason}")
        lines += [f"{'':<25} but {weakness}" for weakness in state.weaknesses if state.available]
    lines.append("dynamic rules are not run by any command of this version: they are reported as not examined")
    for suite in tried:
        lines += ["", *_render_suite(suite)]
    return "\n".join(lines) + "\n"


def _render_suite(suite: Conformance) -> list[str]:
    """One line per attempt, grouped by topic in the order in which they were tried."""
    lines, topic = [f"tier {suite.tier}"], ""
    for result in suite.results:
        if result.topic != topic:
            topic = result.topic
            lines.append(f"  {topic}")
        lines += [f"    {result.outcome:<15} {result.name:<23} {result.title}", f"    {'':<15} {'':<23} {result.line}"]
    held = [result.outcome for result in suite.results]
    counts = ", ".join(f"{held.count(outcome)} {outcome}" for outcome in dict.fromkeys(held))
    return [*lines, f"  {len(held)} attempts: {counts}"]


def _examine_tiers() -> list[TierState]:
    """All tiers that could isolate; none on systems for which there is no sandbox at all."""
    if sys.platform != "linux":
        return []
    # Only this command needs the sandbox; the others start without loading it.
    from verifier.sandbox.policy import Tier as SandboxTier
    from verifier.sandbox.tiers import examine_tier

    return [examine_tier(tier) for tier in SandboxTier if tier is not SandboxTier.UNSAFE]


def _try_tiers(args: argparse.Namespace, tiers: Sequence[TierState]) -> list[Conformance]:
    """Run the conformance suite in the tiers that were asked for and work here."""
    from verifier.sandbox.conformance import ATTEMPTS, try_escapes

    working = [state.tier for state in tiers if state.available]
    wanted = working[:1] if args.sandbox == "best" else [tier for tier in working if args.sandbox in ("all", tier.value)]
    suites = []
    with progress_bar(args, len(wanted) * len(ATTEMPTS)) as bar:
        task = bar.add_task("attempts", total=len(wanted) * len(ATTEMPTS))
        for tier in wanted:
            suites.append(try_escapes(tier, after_each=lambda result: bar.advance(task)))
    return suites


def run(args: argparse.Namespace) -> int:
    targets = parse_targets(args, FORMATS)
    check_targets(targets)
    tiers = _examine_tiers()
    tried = _try_tiers(args, tiers) if args.sandbox else []
    found = examine(tiers, tried)
    renderers = {"human": lambda: _render(found, tiers, tried), "json": lambda: json.dumps(found, indent=2) + "\n"}
    write_targets([(file, renderers[name]) for name, file in targets])
    if args.sandbox and not tried:
        reasons = "; ".join(f"{state.tier}: {state.reason}" for state in tiers if not state.available) or "they need Linux"
        raise UsageFailure(f"nothing was tried: no such sandbox tier works here ({reasons})", "install bubblewrap", EXIT_NOTHING)
    return EXIT_OK if all(suite.contained for suite in tried) else EXIT_FINDINGS
