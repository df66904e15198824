"""CLM005: the claimed compressor and level against the code and the log's size tags."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from audits.claims.stated import asserted
from verifier.engine.context import Context
from verifier.evidence import Location, excerpt
from verifier.ledger.claims import claimed_runs
from verifier.rule import Confidence, Decision, Finding, Level, Outcome, Rule
from verifier.submission.logs.model import SizeKind, SizeLine
from verifier.submission.python_tree import ParsedTree
from verifier.submission.readme import Statement
from verifier.submission.script import ScriptFile
from verifier.submission.submission import Submission

_PULL = "https://github.com/openai/parameter-golf/pull/"
NAMES = {
    "lzma": "lzma",
    "xz": "lzma",
    "zlib": "zlib",
    "zstd": "zstd",
    "zstandard": "zstd",
    "brotli": "brotli",
    "gzip": "gzip",
    "bz2": "bz2",
}
_CALLS = {"compress", "ZstdCompressor", "compressobj", "LZMACompressor", "Compressor"}
_LEVELS = {
    "lzma": "preset",
    "zlib": "level",
    "gzip": "compresslevel",
    "bz2": "compresslevel",
    "brotli": "quality",
    "zstd": "level",
}
_POSITION = {"lzma": -1, "zlib": 1, "gzip": 1, "bz2": 1, "brotli": -1, "zstd": 0}
"""Position of the level among the arguments; -1: keyword only in practice."""
_DEFAULTS = {"lzma": 6, "zlib": 6, "gzip": 9, "bz2": 9, "brotli": 11, "zstd": 3}
_TAG = re.compile("|".join(NAMES), re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Compression:
    """A call that compresses. `level` is `None` when it is not a literal."""

    name: str
    level: int | None
    source: Location


def check(context: Context) -> Decision:
    submission = context.submission
    claims = [claim for claim in asserted(submission, "compressor") if claim.form != "table"]
    if not claims:
        return Decision.not_applicable("README and JSON name no compressor of the model")
    if submission.program.main is None:
        return Decision.not_available("the folder has no script")
    tags = [line for run in claimed_runs(submission) for line in run.sizes if line.kind in (SizeKind.TOTAL, SizeKind.MODEL)]
    logged = {NAMES[found[0].lower()]: line for line in tags if (found := _TAG.search(line.tag))}
    if all(claim.value in logged for claim in claims):
        return Decision.passed(f"the logs' size lines name the claimed compressor: {', '.join(sorted(logged))}")
    if any(script.opaque or script.syntax_error for script in submission.program.members):
        return Decision.not_available("the script can't be read as a program, so what it compresses with is unknown")
    calls = [call for script in submission.program.members for call in find_compressions(script)]
    if not calls and not logged:
        return Decision.not_available("neither the script nor the logs show which compressor is used")
    available = {call.name for call in calls} | set(logged) | _mentioned(submission)
    findings: list[Finding] = []
    for claim in claims:
        name, _, level = claim.value.partition(":")
        if name not in available:
            if not any(one.value.partition(":")[0] in logged for one in claims):
                findings.append(_other_compressor(claim, name, calls, logged))
        elif level:
            findings += _other_level(claim, name, int(level), calls)
    if findings:
        return Decision.of(findings)
    return Decision.passed(f"the claimed compressor is the one used: {', '.join(sorted({claim.value for claim in claims}))}")


def find_compressions(script: ScriptFile) -> Iterator[Compression]:
    """Calls of compressors in the effective text of a script, with literal levels."""
    layer, text = script.effective
    tree, _ = script.parsed(layer, text)
    if tree is None:
        return
    aliases = _aliases(tree)
    for node in tree.of(ast.Call):
        if not isinstance(node.func, ast.Attribute) or node.func.attr not in _CALLS:
            continue
        module = node.func.value
        name = aliases.get(module.id) if isinstance(module, ast.Name) else None
        if name is not None:
            at = Location(script.path, node.lineno, layer=layer, excerpt=excerpt(tree.lines[node.lineno - 1][:400]))
            yield Compression(name, _level(node, name), at)


def _aliases(tree: ParsedTree) -> dict[str, str]:
    return {
        alias.asname or alias.name: NAMES[alias.name]
        for node in tree.of(ast.Import)
        for alias in node.names
        if alias.name in NAMES
    }


def _level(call: ast.Call, name: str) -> int | None:
    value = next((keyword.value for keyword in call.keywords if keyword.arg == _LEVELS[name]), None)
    position = _POSITION[name]
    if value is None and 0 <= position < len(call.args):
        value = call.args[position]
    if value is None:
        return None if any(keyword.arg in (None, "filters") for keyword in call.keywords) else _DEFAULTS[name]
    if isinstance(value, ast.BinOp) and isinstance(value.op, ast.BitOr):
        value = value.left if isinstance(value.left, ast.Constant) else value.right
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, int) else None


def _mentioned(submission: Submission) -> set[str]:
    """Compressors that any script of the folder imports: enough to doubt an accusation."""
    scripts = (*submission.program.members, *submission.program.others)
    found = {NAMES[name] for script in scripts for name, _ in script.imports if name in NAMES}
    for script in scripts:
        found |= {
            NAMES[part] for layer in script.layers for part in re.split(r"[^a-z0-9]+", layer.codec.lower()) if part in NAMES
        }
    return found


def _other_compressor(claim: Statement, name: str, calls: list[Compression], logged: dict[str, SizeLine]) -> Finding:
    """Proven when title or JSON name it while code and log agree on another one; a sentence further down may speak of a trial."""
    used = ", ".join(sorted({*(call.name for call in calls), *logged}))
    places = [line.source for line in logged.values()][:1] + [call.source for call in calls][:1]
    proven = bool(logged) and bool(calls) and claim.form in ("heading", "json")
    return Finding(
        Outcome.FAIL if proven else Outcome.REVIEW,
        f'{name} is claimed ("{claim.sentence[:80]}"), but script and logs compress with {used}',
        (claim.source, *places),
        Confidence.HIGH if proven else Confidence.MEDIUM,
        remediation="name the compressor that is used",
    )


def _other_level(claim: Statement, name: str, level: int, calls: list[Compression]) -> Iterator[Finding]:
    same = [call for call in calls if call.name == name]
    if not same or any(call.level is None or call.level == level for call in same):
        return
    shown = ", ".join(sorted({str(call.level) for call in same}))
    yield Finding(
        Outcome.FAIL,
        f'{name} at level {level} is claimed ("{claim.sentence[:80]}"), but the script compresses at level {shown}',
        (claim.source, *(call.source for call in same[:2])),
        remediation="state the level that is used",
    )


COMPRESSOR_MISMATCH = Rule(
    code="CLM005",
    name="compressor-mismatch",
    level=Level.WARNING,
    summary="the claimed compressor or its level differs from the code",
    why=(
        "Compressor and level decide how many bytes fit under the cap. Others who copy the claim get another artifact size, and a "
        "level that never ran shows that the text was not written from this code."
    ),
    example=(
        "violation: README 'LZMA-9'; the script calls `lzma.compress(blob, preset=6)`\n"
        "legal: README 'zstd-22'; the script calls `zstandard.ZstdCompressor(level=22)`"
    ),
    settles="the line that compressed the artifact that was counted",
    sources=(_PULL + "1405",),
    check=check,
)

RULES = (COMPRESSOR_MISMATCH,)
