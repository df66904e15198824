"""COD004: messages and docstrings that name another method than the code beside them uses."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from audits.code.sources import Function, dotted, functions_in, name_of, place, program_sources, why_not
from verifier.engine.context import Context
from verifier.program.analysis import ProgramText
from verifier.rule import Confidence, Decision, Finding, Level, Outcome, Rule

_PULL = "https://github.com/openai/parameter-golf/pull/"
MAXIMUM = 8
DEPTH = 4
"""Calls followed below the function that holds the message."""
_WRITERS = frozenset(
    {"print", "log", "log0", "logger", "info", "write", "debug", "warning", "rank0_print", "printf", "master_print"}
)


CLIP_SEARCH = re.compile(r"\bclip[-_ ]?search\b|\bpercentile[-_ ]search\b", re.IGNORECASE)
_OTHERWISE = re.compile(
    r"instead|rather|replac|unlike|without|\bnot?\b|\bnever\b|\bvs\b|\bversus\b|\bthan\b|previous|formerly|\bor\b|\bif\b",
    re.IGNORECASE,
)
"""Words that make a sentence speak of what is not done, or of a choice."""
_SEARCHES = re.compile(r"clip_(?:cand|ratio|frac|factor|grid)|candidate|best_|mse|argmin", re.IGNORECASE)
_LOOPED = re.compile(r"quantile|percentile|pct|kthvalue", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Message:
    """Literal text that the program writes, or a docstring; `function` is `None` at module level."""

    text: str
    node: ast.AST
    source: ProgramText
    function: Function | None
    written: bool


@dataclass(frozen=True, slots=True)
class Compressor:
    """The words that name a compressor in a message, and the library objects that compress with it."""

    name: str
    words: re.Pattern[str]
    objects: frozenset[str]


def _compressor(name: str, words: str, *objects: str) -> Compressor:
    return Compressor(name, re.compile(rf"(?<![A-Za-z])(?:{words})(?![A-Za-z])", re.IGNORECASE), frozenset(objects))


COMPRESSORS = (
    _compressor("zlib", "zlib", "zlib.compress", "zlib.compressobj", "gzip.compress", "gzip.open", "gzip.GzipFile"),
    _compressor("lzma", "lzma|xz", "lzma.compress", "lzma.LZMACompressor", "lzma.open", "lzma.LZMAFile"),
    _compressor("brotli", "brotli", "brotli.compress", "brotli.Compressor"),
    _compressor(
        "zstd", "zstd|zstandard", *(f"{m}.{c}" for m in ("zstandard", "zstd", "pyzstd") for c in ("ZstdCompressor", "compress"))
    ),
    _compressor("bz2", "bz2|bzip2", "bz2.compress", "bz2.BZ2Compressor", "bz2.open"),
)

_OBJECTS = {name: compressor for compressor in COMPRESSORS for name in compressor.objects}
_MODULES = frozenset(name.split(".")[0] for name in _OBJECTS)
_COMPRESSING = frozenset(name.rsplit(".", 1)[-1] for name in _OBJECTS)


def check(context: Context) -> Decision:
    reason = why_not(context.submission)
    sources = program_sources(context)
    if reason or not sources:
        return Decision.not_available(reason or "the script does not parse")
    messages = [message for source in sources for message in _messages(source)]
    findings = [*_other_compressor(sources, messages), *_other_clipping(sources, messages)]
    if findings:
        return Decision.of(findings[:MAXIMUM])
    return Decision.passed(
        f"{len(messages)} messages and docstrings read; none names a compressor or a clipping method other than the one in the code"
    )


def _messages(source: ProgramText) -> Iterator[Message]:
    scopes: list[tuple[Function | None, list[ast.AST]]] = [(None, source.parsed.own(source.parsed.module))]
    scopes += [(function, source.parsed.own(function)) for function in functions_in(source)]
    for function, nodes in scopes:
        if function is not None and (text := ast.get_docstring(function)):
            yield Message(text, function.body[0], source, function, False)
        for node in nodes:
            if isinstance(node, ast.Call) and _is_writer(node):
                text = " ".join(_literals(argument) for argument in node.args)
                if text.strip():
                    yield Message(text, node, source, function, True)


def _is_writer(call: ast.Call) -> bool:
    name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
    return name.lstrip("_") in _WRITERS


def _literals(node: ast.expr) -> str:
    """The fixed text of an argument; what is formatted into it leaves a gap."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "\x00".join(part.value for part in node.values if isinstance(part, ast.Constant) and isinstance(part.value, str))
    if isinstance(node, ast.BinOp):
        return f"{_literals(node.left)} {_literals(node.right)}"
    return ""


def _other_compressor(sources: Sequence[ProgramText], messages: Sequence[Message]) -> Iterator[Finding]:
    """A size or score that is printed under the name of a compressor that the program never calls, while it calls another."""
    uses = [found for source in sources for found in _compressing(source)]
    called = {compressor.name for compressor, _, _ in uses}
    if not called or any(_picks_by_name(source) for source in sources):
        return
    for named in COMPRESSORS:
        if named.name in called:
            continue
        wrong = [
            message
            for message in messages
            if message.written and named.words.search(message.text) and not _OTHERWISE.search(message.text)
        ]
        if not wrong:
            continue
        other, source, node = uses[0]
        yield Finding(
            Outcome.FAIL,
            f"{len(wrong)} log messages name {named.name}, which the program never calls; it compresses with {', '.join(sorted(called))}"
            if len(wrong) > 1
            else f"a log message names {named.name}, which the program never calls; it compresses with {', '.join(sorted(called))}",
            (*(place(message.source, message.node) for message in wrong[:4]), place(source, node)),
            remediation=f"print the name of what is used ({other.name})",
        )


def _compressing(source: ProgramText) -> Iterator[tuple[Compressor, ProgramText, ast.AST]]:
    """Every reference to an object that compresses, under the name it was imported as."""
    aliases = _imported(source)
    for node in source.parsed.of(ast.Attribute, ast.Name):
        if not isinstance(node.ctx, ast.Load) or (isinstance(node, ast.Attribute) and node.attr not in _COMPRESSING):
            continue
        head, _, rest = dotted(node).partition(".")
        full = aliases.get(head, head) + (f".{rest}" if rest else "")
        compressor = _OBJECTS.get(full)
        if compressor is not None:
            yield compressor, source, node


def _imported(source: ProgramText) -> Mapping[str, str]:
    """Local name -> dotted name of what was imported under it."""
    names: dict[str, str] = {}
    for node in source.parsed.of(ast.Import, ast.ImportFrom):
        if isinstance(node, ast.Import):
            names.update((alias.asname or alias.name.split(".")[0], alias.name) for alias in node.names)
        elif node.module:
            names.update((alias.asname or alias.name, f"{node.module}.{alias.name}") for alias in node.names)
    return names


def _picks_by_name(source: ProgramText) -> bool:
    """A module that is imported by a computed name, or called as a program, may be any compressor."""
    for node in source.parsed.of(ast.Call):
        if dotted(node.func).rsplit(".", 1)[-1] not in ("import_module", "__import__"):
            continue
        module = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
        if module is None or module in _MODULES:
            return True
    return False


def _other_clipping(sources: Sequence[ProgramText], messages: Sequence[Message]) -> Iterator[Finding]:
    """ "clip-search" in a message whose function, and everything that it calls, clips at k standard deviations and searches
    nothing."""
    functions: dict[str, list[tuple[ProgramText, Function]]] = {}
    for source in sources:
        for function in functions_in(source):
            functions.setdefault(function.name, []).append((source, function))
    for message in messages:
        named = CLIP_SEARCH.search(message.text)
        if named is None or message.function is None or _OTHERWISE.search(_sentence(message.text, named.start())):
            continue
        below = _reached(message.source, message.function, functions)
        nodes = [(source, node) for source, function in below for node in source.parsed.own(function)]
        deviation = next(((source, node) for source, node in nodes if _takes_deviation(node)), None)
        if deviation is not None and not any(_searches(node) for _, node in nodes):
            yield Finding(
                Outcome.FAIL,
                f'"{named.group()}" in {"a log message" if message.written else "the docstring"} of {message.function.name}, '
                "whose code clips at a multiple of the standard deviation and searches nothing",
                (place(message.source, message.node), place(deviation[0], deviation[1])),
                Confidence.MEDIUM,
                remediation="name the method that the code uses",
            )


def _sentence(text: str, position: int) -> str:
    start = max(text.rfind(". ", 0, position), text.rfind("\n", 0, position)) + 1
    end = min((found for mark in (". ", "\n") if (found := text.find(mark, position)) >= 0), default=len(text))
    return text[start:end]


def _reached(
    source: ProgramText, function: Function, functions: Mapping[str, list[tuple[ProgramText, Function]]]
) -> list[tuple[ProgramText, Function]]:
    """The function and what it calls by name, a few levels down."""
    found, seen = [(source, function)], {id(function)}
    level = found[:]
    for _ in range(DEPTH):
        names = {
            dotted(node.func).rsplit(".", 1)[-1]
            for text, one in level
            for node in text.parsed.inside(one)
            if isinstance(node, ast.Call)
        }
        level = [pair for name in sorted(names) for pair in functions.get(name, ()) if id(pair[1]) not in seen]
        seen.update(id(one) for _, one in level)
        found += level
    return found


def _takes_deviation(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "std"


def _searches(node: ast.AST) -> bool:
    """Anything that looks like trying clip values: a loop that takes quantiles, or names of candidates and their errors."""
    if isinstance(node, ast.For | ast.While | ast.ListComp | ast.GeneratorExp):
        return any(_LOOPED.search(name_of(inner)) for inner in ast.walk(node))
    return _SEARCHES.search(name_of(node)) is not None


MESSAGE_CONTRADICTS_CODE = Rule(
    code="COD004",
    name="message-contradicts-code",
    level=Level.NOTE,
    summary="a log message or docstring names another method than the code uses",
    why="Logs are evidence. A label that was inherited from another script makes a reviewer, and every tool that reads the log, "
    "believe in a compressor or a clipping method that was not used.",
    example="violation: `log('... fallback to clip-search')` where the fallback clips at k standard deviations\n"
    "violation: `log(f'Serialized model int8+zlib: {n}')` in a script that only calls brotli.compress\n"
    "legal: the message names what the code calls",
    settles="the code on the path of the message",
    sources=(_PULL + "1471",),
    check=check,
)
