"""`verifier bytes`: the strict byte audit as a command."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from audits.bytes.accounting import ByteTable
from audits.bytes.caseops import CaseOpsModel, is_caseops
from audits.bytes.drift import compare_table, fits
from audits.bytes.losses import describe_normalization
from audits.bytes.metadata import load_metadata
from audits.bytes.model import ByteAuditError, TokenModel
from audits.bytes.raw_bytes import RawByteModel
from audits.bytes.render import render
from audits.bytes.result import StrictResult
from audits.bytes.rule_strict import STRICT_DRIFT, judge
from audits.bytes.sentencepiece_model import SentencePieceModel
from audits.bytes.shards import find_shards, open_shards
from audits.bytes.strict import CANONICAL, SOURCE_TEXT, TokenSet, audit
from audits.bytes.tokenmonster_vocab import TokenMonsterModel
from verifier.challenge.load import load_challenge
from verifier.cli.errors import EXIT_FINDINGS, EXIT_NOTHING, EXIT_OK, UsageFailure
from verifier.cli.output import add_output_options, check_targets, parse_targets, write_targets
from verifier.rule import Outcome

HELP = "strict byte audit of a tokenizer over a validation set"
EXAMPLE = (
    "verifier bytes --tokenizer scylla.yaml --meta scylla.meta.npz "
    "--tokens 'data/fineweb_val_*.bin' --docs docs_val.jsonl --strict"
)
FORMATS = ("human", "json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options and those that every command has."""
    parser.add_argument("--tokenizer", required=True, metavar="FILE", help=".model, .vocab, .yaml, or the word byte260")
    parser.add_argument("--tokens", required=True, metavar="GLOB", help="token shards; all of them are audited")
    parser.add_argument("--meta", type=Path, metavar="FILE", help="byte metadata (npz) that the submission counts with")
    parser.add_argument("--constant", type=int, metavar="N", help="audit a count of N bytes for every token")
    parser.add_argument("--sidecar", metavar="GLOB", help="byte sidecar shards, one entry per token")
    parser.add_argument("--docs", type=Path, metavar="JSONL", help='source documents, one {"text": ...} a line')
    parser.add_argument("--docs-limit", type=int, metavar="N", help="use the first N source documents only")
    parser.add_argument("--source-tokens", metavar="GLOB", help="token shards of the canonical stream (SP1024)")
    parser.add_argument("--source-tokenizer", metavar="FILE", help="tokenizer of --source-tokens")
    parser.add_argument(
        "--truth", choices=(SOURCE_TEXT, CANONICAL), help="which source decides (default: the text, if it is given)"
    )
    parser.add_argument("--bos", type=int, metavar="ID", help="id that opens each document, if the model names none")
    parser.add_argument(
        "--transform", choices=("auto", "none", "caseops"), default="auto", help="transform in front of the tokenizer"
    )
    parser.add_argument("--strict", action="store_true", help="exit 1 unless everything is exact")
    parser.add_argument("--differences", type=int, default=5, metavar="N", help="differing documents to show (default 5)")
    add_output_options(parser, FORMATS)


def run(args: argparse.Namespace) -> int:
    """Run the audit; returns the exit code. Raises `UsageFailure` when the inputs can't be audited."""
    targets = parse_targets(args, FORMATS)
    check_targets(targets)
    try:
        result, decision = _audit(args)
    except (ByteAuditError, OSError) as failure:
        raise UsageFailure(f"nothing was audited: {failure}") from failure
    renderers = {
        "human": lambda: render(result) + f"{STRICT_DRIFT.code} {STRICT_DRIFT.name}: {decision[0].value}\n",
        "json": lambda: json.dumps({**result.to_json(), "rules": _rules(*decision)}, indent=2, ensure_ascii=True) + "\n",
    }
    write_targets([(file, renderers[name]) for name, file in targets])
    if result.tokens == 0:
        return EXIT_NOTHING
    return EXIT_FINDINGS if args.strict and not result.exact else EXIT_OK


def load_model(name: str, transform: str) -> TokenModel:
    """The tokenizer that a file name stands for. Raises `ByteAuditError` for a kind that is not known, or `OSError`."""
    if name == "byte260":
        return RawByteModel()
    path = Path(name)
    suffix = path.suffix.lower()
    if suffix in (".vocab", ".yaml", ".yml"):
        return TokenMonsterModel.load(path)
    if suffix != ".model":
        raise ByteAuditError(f"{path.name}: expected .model, .vocab, .yaml or byte260")
    model = SentencePieceModel.load(path)
    if transform == "caseops" and not is_caseops(model):
        raise ByteAuditError(f"{path.name} does not reserve the case controls U+E001 to U+E004")
    return CaseOpsModel(model) if transform == "caseops" or (transform == "auto" and is_caseops(model)) else model


def _rules(outcome: Outcome, reason: str) -> dict[str, object]:
    """The `rules` object of the report, as in `verifier audit`."""
    return {STRICT_DRIFT.code: {"name": STRICT_DRIFT.name, "outcome": outcome.value, "reason": reason}}


def _audit(args: argparse.Namespace) -> tuple[StrictResult, tuple[Outcome, str]]:
    """The result, and what it proves about BYT007."""
    if args.meta is not None and args.constant is not None:
        raise ByteAuditError("--meta and --constant are two counts: give one")
    if (args.source_tokens is None) != (args.source_tokenizer is None):
        raise ByteAuditError("--source-tokens and --source-tokenizer go together")
    for name, least in (("constant", 0), ("docs_limit", 0), ("bos", 0), ("differences", 0)):
        value = getattr(args, name)
        if value is not None and value < least:
            raise ByteAuditError(f"--{name.replace('_', '-')} is {value}, less than {least}")
    model = load_model(args.tokenizer, args.transform)
    table = ByteTable.from_model(model)
    bos = args.bos
    if args.meta is not None:
        table = load_metadata(args.meta).table
        # A table with exactly one id more than the vocabulary makes room for a synthetic boundary token.
        if bos is None and model.bos_id is None and table.size == model.size + 1:
            bos = model.size
    elif args.constant is not None:
        table = ByteTable.constant(max(model.size, (bos or 0) + 1), args.constant)
    tokens = TokenSet.open(model, find_shards(args.tokens, sidecars=False), bos)
    canonical = None
    if args.source_tokens is not None:
        source = load_model(args.source_tokenizer, "auto")
        canonical = TokenSet.open(source, find_shards(args.source_tokens, sidecars=False), None)
        if (canonical.bos is None) != (tokens.bos is None):
            raise ByteAuditError("only one of the two token sets has a boundary token: documents cannot be matched")
    with _progress(tokens.tokens, not args.no_progress and not args.quiet) as advance:
        result = audit(
            tokens,
            table=table,
            sidecar=open_shards(find_shards(args.sidecar, sidecars=True)) if args.sidecar else None,
            docs=args.docs,
            docs_limit=args.docs_limit,
            canonical=canonical,
            judge=args.truth,
            shown=args.differences,
            progress=advance,
        )
    drift = compare_table(table, model) if args.meta is not None and table is not None and fits(table, model) else None
    result = replace(result, normalization=describe_normalization(model), table_drift=drift)
    return result, judge(model, result, load_challenge().val_bytes)


@contextmanager
def _progress(total: int, wanted: bool) -> Iterator[Callable[[int], None]]:
    """A bar on standard error where that is a terminal."""
    if not wanted or not sys.stderr.isatty():
        yield lambda done: None
        return
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("tokens", total=total)
        yield lambda done: bar.update(task, completed=done)
