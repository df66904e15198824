"""BYT005: what the tokenizer pipeline changes in the text before it is counted."""

from __future__ import annotations

import ast
from pathlib import PurePosixPath

from audits.bytes.losses import Change, Normalization, describe_normalization
from audits.bytes.model import ByteAuditError, TokenModel
from audits.bytes.shipped import Opened, open_tokenizers
from verifier.engine.context import Context
from verifier.evidence import Location, excerpt
from verifier.ledger.claims import claimed_runs
from verifier.ledger.denominator import run_family
from verifier.rule import Confidence, Decision, Finding, Level, Outcome, Rule
from verifier.submission.script import ScriptFile

SHOWN = 4
"""Examples in one message."""
_TEXT_NAMES = frozenset({"content", "doc", "document", "line", "raw", "raw_text", "s", "t", "text"})
_FOLDS = frozenset({"lower", "casefold", "upper", "swapcase"})
_TRAINS = ("SentencePieceTrainer", "tokenmonster.new", "BpeTrainer")
_WRITES = ("tofile(", "write(", "write_bytes(", "memmap(")
_SHARD_MAGIC = "20240520"


def check(context: Context) -> Decision:
    tokenizers = _used(context, open_tokenizers(context))
    findings: list[Finding] = []
    sound: list[str] = []
    unread: list[str] = []
    caseops = False
    for tokenizer in tokenizers:
        try:
            if tokenizer.item is None:
                raise ByteAuditError(tokenizer.problem)
            normalization = describe_normalization(tokenizer.item)
        except ByteAuditError as failure:
            unread.append(f"{tokenizer.path} can't be read: {failure}")
            continue
        caseops = caseops or tokenizer.item.kind == "caseops"
        finding = _judge(tokenizer, normalization)
        if finding is not None:
            findings.append(finding)
        else:
            sound.append(_describe(tokenizer, normalization))
    family = _family(context)
    if family is not None and family[0].startswith("casefold") and not any("capital" in one.message for one in findings):
        findings.append(
            _question(
                f"the run's tokenizer or data is called {family[0]}: text that is case-folded first, e.g. {'The NASA Launch'!r} ->"
                f" {'the nasa launch'!r}, which no decoder undoes",
                family[1],
            )
        )
    if not caseops:
        for script in context.submission.program.others:
            findings += _folding(script)
    if findings:
        return Decision.of(findings)
    if sound:
        return Decision.passed("; ".join(sound))
    if unread:
        return Decision.not_available("; ".join(unread))
    if family is None:
        return Decision.not_available("neither the folder nor its logs show which tokenizer was used")
    if family[0] in context.challenge.published_tokenizers:
        return Decision.passed(f"{family[0]} is published with the shards: its normalization is the baseline's own")
    return Decision.not_available(
        f"the run uses {family[0]}, whose files are not in the folder: what it changes in text is unknown"
    )


def _family(context: Context) -> tuple[str, Location] | None:
    named = [run_family(context.submission, run) for run in claimed_runs(context.submission)]
    return next((found for found in named if found is not None), None)


def _used(context: Context, tokenizers: tuple[Opened[TokenModel], ...]) -> tuple[Opened[TokenModel], ...]:
    """The tokenizers whose file names a run or a command mentions; all of them when none does."""
    texts = [run.tokenizer_path.text for run in claimed_runs(context.submission) if run.tokenizer_path is not None]
    texts += [
        setting.value for readme in context.submission.readmes for command in readme.commands for setting in command.settings
    ]
    names = {PurePosixPath(text.replace("\\", "/")).name for text in texts}
    return tuple(one for one in tokenizers if PurePosixPath(one.path).name in names) or tokenizers


def _judge(tokenizer: Opened[TokenModel], normalization: Normalization) -> Finding | None:
    beyond = normalization.beyond_baseline
    if normalization.no_capitals:
        return _question(
            f"{tokenizer.path}: not one piece of text holds a capital letter, and no mark stands for one: the text was lower-cased"
            f" before it was tokenized ({'The NASA Launch'!r} -> {'the nasa launch'!r}), which no decoder undoes",
            Location(tokenizer.path),
        )
    if beyond:
        return _question(
            f"{tokenizer.path} (normalization: {normalization.name}) changes text that the contest's own tokenizers leave or change"
            f" otherwise, and decoding does not undo it: {_examples(beyond)}",
            Location(tokenizer.path),
        )
    return None


def _question(message: str, *places: Location) -> Finding:
    return Finding(
        Outcome.REVIEW,
        message,
        places,
        Confidence.MEDIUM,
        remediation="Score the original text: use an invertible transform, or show that each document decodes to its source.",
    )


def _examples(changes: tuple[Change, ...]) -> str:
    more = len(changes) - SHOWN
    return "; ".join(str(change) for change in changes[:SHOWN]) + (f"; and {more} more" if more > 0 else "")


def _describe(tokenizer: Opened[TokenModel], normalization: Normalization) -> str:
    if normalization.invertible:
        return f"{tokenizer.path} (normalization: {normalization.name}) gives back every example as it was"
    return (
        f"{tokenizer.path} (normalization: {normalization.name}) changes nothing that the contest's own tokenizers do not change,"
        f" e.g. {normalization.changes[0]}"
    )


def _folding(script: ScriptFile) -> list[Finding]:
    """Case folding or Unicode normalization of whole texts in a script that trains a tokenizer or writes shards. At most one
    finding a script; scripts that only read shards fold words for their own purposes."""
    writes = _SHARD_MAGIC in script.text and any(word in script.text for word in _WRITES)
    if not writes and not any(word in script.text for word in _TRAINS):
        return []
    parsed, _ = script.parsed(0, script.text)
    if parsed is None:
        return []
    for node in ast.walk(parsed.module):
        what = _folds_text(node)
        if what is not None and isinstance(node, ast.Call):
            at = Location(script.path, node.lineno, node.end_lineno, 0, excerpt(parsed.lines[node.lineno - 1]))
            return [_question(f"{script.path} prepares data or a tokenizer and {what} the text first", at)]
    return []


def _folds_text(node: ast.AST) -> str | None:
    """What a call does to a whole text, in words; `None` for anything else."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return None
    name = node.func.attr
    if name in _FOLDS and not node.args and _is_text(node.func.value):
        return "changes the case of"
    if name == "normalize" and len(node.args) == 2 and isinstance(node.args[0], ast.Constant) and _is_text(node.args[1]):
        return f"applies {node.args[0].value!s} to"
    return None


def _is_text(node: ast.expr) -> bool:
    """A name or key that stands for a document, or a call on one."""
    if isinstance(node, ast.Name):
        return node.id in _TEXT_NAMES
    if isinstance(node, ast.Subscript):
        return isinstance(node.slice, ast.Constant) and node.slice.value in _TEXT_NAMES
    if isinstance(node, ast.Call):
        return any(_is_text(argument) for argument in node.args) or (
            isinstance(node.func, ast.Attribute) and _is_text(node.func.value)
        )
    return False


LOSSY = Rule(
    code="BYT005",
    name="lossy-normalization",
    level=Level.WARNING,
    at_most=Outcome.REVIEW,
    summary="the tokenizer pipeline is not invertible to the source bytes",
    why="A model that need not tell upper from lower case predicts an easier text than the one it is scored on. The published "
    "tokenizers' own normalization (nmt_nfkc) is shared by all submissions and not held against any.",
    example="violation: text.lower() before encoding: 'The NASA Launch' is scored as 'the nasa launch'\n"
    "legal: a case transform with control symbols that can be inverted; nmt_nfkc as in the published models",
    settles="decode(encode(text)) == text on the validation documents, beyond the baseline's own normalization",
    sources=("https://github.com/openai/parameter-golf/issues/1604",),
    check=check,
)
