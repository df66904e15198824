"""`verifier doctor`: what this machine can do."""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from verifier.cli.errors import EXIT_OK
from verifier.cli.output import add_output_options, check_targets, parse_targets, write_targets
from verifier.engine.registry import load_rules
from verifier.rule import Tier

EXAMPLE = "verifier doctor"
FORMATS = ("human", "json")
OPTIONAL = {
    "torch": "the reference trainer (extra `train`)",
    "flash_attn": "FlashAttention in the reference trainer (extra `gpu`)",
    "sentencepiece": "cross-checks of the SentencePiece decoder in the tests",
    "tokenmonster": "cross-check of the TokenMonster decoder (its server binary is never started from here)",
}
PROGRAMS = {"git": "`verifier ci` and auditing commits", "nvidia-smi": "GPU"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_output_options(parser, FORMATS)


def _package(name: str) -> str | None:
    """The version of an installed package, without importing it."""
    if find_spec(name) is None:
        return None
    try:
        return version(name.replace("_", "-"))
    except PackageNotFoundError:
        return "?"


def examine() -> dict[str, object]:
    """What is there, as plain data."""
    rules = load_rules()
    return {
        "python": platform.python_version(),
        "platform": f"{sys.platform} {platform.machine()}",
        "rules": {tier.value: sum(rule.tier is tier for rule in rules) for tier in Tier},
        "packages": {name: _package(name) for name in OPTIONAL},
        "programs": {name: shutil.which(name) is not None for name in PROGRAMS},
    }


def _render(found: dict[str, object]) -> str:
    lines = [f"python     {found['python']} on {found['platform']}"]
    rules, packages, programs = found["rules"], found["packages"], found["programs"]
    assert isinstance(rules, dict)
    assert isinstance(packages, dict)
    assert isinstance(programs, dict)
    lines.append("rules      " + ", ".join(f"{count} {tier}" for tier, count in rules.items()))
    lines += [f"{'have' if there else 'no':<10} {name:<14} {PROGRAMS[name]}" for name, there in programs.items()]
    lines += [f"{there or 'no':<10} {name:<14} {OPTIONAL[name]}" for name, there in packages.items()]
    lines.append("dynamic rules are not run by any command of this version: they are reported as not examined")
    return "\n".join(lines) + "\n"


def run(args: argparse.Namespace) -> int:
    targets = parse_targets(args, FORMATS)
    check_targets(targets)
    found = examine()
    renderers = {"human": lambda: _render(found), "json": lambda: json.dumps(found, indent=2) + "\n"}
    write_targets([(file, renderers[name]) for name, file in targets])
    return EXIT_OK
