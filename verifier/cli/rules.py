"""`verifier rules` and `verifier explain`."""

from __future__ import annotations

import argparse
import json

from verifier.cli.errors import EXIT_OK, UsageFailure
from verifier.cli.output import add_output_options, check_targets, parse_targets, write_targets
from verifier.engine.registry import RegistryError, load_rules, select_rules
from verifier.report.rule_pages import render_catalogue, render_page, render_table
from verifier.rule import Rule

LIST_FORMATS = ("human", "json", "markdown")
PAGE_FORMATS = ("human", "json")


def add_rules_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--select", metavar="RULE", action="append", default=[], help="a code, a prefix such as TIM, or a name")
    add_output_options(parser, LIST_FORMATS)


def add_explain_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("rule", metavar="CODE", help="a code such as TIM003, or a name such as prequant-ttt")
    add_output_options(parser, PAGE_FORMATS)


def _as_data(rule: Rule) -> dict[str, object]:
    return {
        "code": rule.code,
        "name": rule.name,
        "level": rule.level.value,
        "tier": rule.tier.value,
        "at_most": rule.at_most.value,
        "record_track_only": rule.record_track_only,
        "summary": rule.summary,
        "why": rule.why,
        "example": rule.example,
        "settles": rule.settles,
        "sources": list(rule.sources),
    }


def _dump(data: object) -> str:
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def run_rules_command(args: argparse.Namespace) -> int:
    targets = parse_targets(args, LIST_FORMATS)
    check_targets(targets)
    try:
        rules = select_rules(load_rules(), args.select, ())
    except RegistryError as failure:
        raise UsageFailure(str(failure)) from failure
    renderers = {
        "human": lambda: render_table(rules),
        "json": lambda: _dump([_as_data(rule) for rule in rules]),
        "markdown": lambda: render_catalogue(rules),
    }
    write_targets([(file, renderers[name]) for name, file in targets])
    return EXIT_OK


def run_explain_command(args: argparse.Namespace) -> int:
    targets = parse_targets(args, PAGE_FORMATS)
    check_targets(targets)
    wanted = args.rule
    for rule in load_rules():
        if wanted.upper() == rule.code or wanted == rule.name:
            page = rule
            break
    else:
        raise UsageFailure(f"no rule is called {wanted!r}", "`verifier rules` lists them")
    renderers = {"human": lambda: render_page(page), "json": lambda: _dump(_as_data(page))}
    write_targets([(file, renderers[name]) for name, file in targets])
    return EXIT_OK
