"""Parsing hostile Python text: bounded before the parser sees it, every failure a `Problem`.

The parser of CPython guards its own stack, but a few megabytes of `1,1,1,...` still become gigabytes of nodes. The text is
therefore measured first: nesting of brackets and blocks, and characters outside of strings and comments.
"""

from __future__ import annotations

import ast
import codecs
import io
import re
import tokenize
import warnings
from dataclasses import dataclass

from verifier.evidence import Location, Problem, excerpt
from verifier.limits import MIB, Limits

PARSED_CHARACTERS = MIB
"""Characters outside of strings and comments that are parsed; the longest real script of about 2,200 has 0.4 million."""

_STRING_BODY = r'"""(?:[^"\\]++|\\[\s\S]|"(?!""))*+(?:"""|\Z)|"(?:[^"\\\n]++|\\[\s\S])*+(?:"|$)'
_SKIPPED = re.compile(
    rf"(?:{_STRING_BODY}|{_STRING_BODY.replace(chr(34), chr(39))}|#[^\n]*+)|[(\[{{]|[)\]}}]|^[ \t]++",
    re.MULTILINE,
)
_NEWLINE = re.compile(r"\r\n|\r|\n")
_READABLE_ENCODINGS = ("utf-8", "utf-8-sig", "ascii", "iso8859-1", "iso8859-15", "cp1252")


@dataclass(frozen=True, slots=True)
class Shape:
    """What a text would cost to parse: deepest nesting, and characters that are neither in a string nor in a comment."""

    depth: int
    code_characters: int


@dataclass(frozen=True, slots=True, eq=False)
class ParsedTree:
    """A syntax tree with all its nodes in the order of a depth-first walk, and each node's parent by identity."""

    module: ast.Module
    nodes: tuple[ast.AST, ...]
    parents: dict[int, ast.AST]

    def functions_around(self, node: ast.AST) -> list[ast.AST]:
        """The functions and lambdas that contain a node, outermost first."""
        around: list[ast.AST] = []
        current = self.parents.get(id(node))
        while current is not None:
            if isinstance(current, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                around.append(current)
            current = self.parents.get(id(current))
        return around[::-1]


def index_tree(module: ast.Module) -> ParsedTree:
    """Walk a tree once, without recursion; operators and contexts (`Load`, `Add`) are left out."""
    nodes: list[ast.AST] = []
    parents: dict[int, ast.AST] = {}
    pending: list[ast.AST] = [module]
    while pending:
        node = pending.pop()
        nodes.append(node)
        children: list[ast.AST] = []
        for value in node.__dict__.values():
            if type(value) is list:
                children += [item for item in value if isinstance(item, ast.AST) and item._fields]
            elif isinstance(value, ast.AST) and value._fields:
                children.append(value)
        for child in children:
            parents[id(child)] = node
        pending += children[::-1]
    return ParsedTree(module, tuple(nodes), parents)


def measure_shape(text: str) -> Shape:
    """One linear pass. Quotes nested in f-strings may blur the result a little; it is a guard, not a parser."""
    depth = deepest = skipped = blocks = 0
    indents: list[int] = []
    for match in _SKIPPED.finditer(text):
        token = match.group()
        first = token[0]
        if first in "([{":
            depth += 1
            deepest = max(deepest, depth)
        elif first in ")]}":
            depth = max(0, depth - 1)
        elif first in " \t":
            if depth == 0:
                width = len(token.expandtabs(8))
                while indents and indents[-1] >= width:
                    indents.pop()
                indents.append(width)
                blocks = max(blocks, len(indents))
            skipped += len(token)
        else:
            skipped += len(token)
    return Shape(max(deepest, blocks), len(text) - skipped)


def parse_python(path: str, text: str, limits: Limits, layer: int = 0) -> tuple[ParsedTree | None, Problem | None]:
    """The syntax tree, or the reason why there is none.

    `syntax-error` means that Python itself refuses the text; `too-deep` and `too-large` that it was not attempted.
    """
    shape = measure_shape(text)
    whole = Location(path, None, layer=layer)
    if shape.depth > limits.ast_depth:
        return None, Problem(
            whole, "too-deep", f"nesting of {shape.depth} levels, more than the {limits.ast_depth} that are parsed"
        )
    if shape.code_characters > PARSED_CHARACTERS:
        return None, Problem(whole, "too-large", f"{shape.code_characters:,} characters of code, more than are parsed")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes and the like are the submission's, not ours to print
            return index_tree(ast.parse(text, path)), None
    except SyntaxError as failure:
        lines = source_lines(text)
        line = failure.lineno if failure.lineno and failure.lineno <= len(lines) else None
        shown = excerpt(lines[line - 1]) if line else ""
        return None, Problem(Location(path, line, layer=layer, excerpt=shown), "syntax-error", failure.msg or "invalid syntax")
    except ValueError as failure:  # null bytes, lone surrogates
        return None, Problem(whole, "syntax-error", str(failure)[:200])
    except (RecursionError, MemoryError):
        return None, Problem(whole, "too-deep", "nested too deeply for the parser")


def source_lines(text: str) -> list[str]:
    """Lines as Python counts them (form feeds and Unicode separators do not end a line)."""
    return _NEWLINE.split(text)


def decode_source(path: str, data: bytes) -> tuple[str, Problem | None]:
    """The text of a Python file: UTF-8 unless its first two lines declare another encoding.

    Unusual declared encodings (`utf-7`, ...) could hide code, so they are not followed: the problem is then `layer-opaque`.
    """
    try:
        name, _ = tokenize.detect_encoding(io.BytesIO(data[:4096]).readline)
        encoding = codecs.lookup(name).name
    except (SyntaxError, LookupError, ValueError):
        encoding = "utf-8"
    if encoding not in _READABLE_ENCODINGS:
        problem = Problem(Location(path, 1), "layer-opaque", f"the file declares the encoding {encoding}, which is not read")
        return data.decode("latin-1"), problem
    try:
        return data.decode("utf-8-sig" if encoding == "utf-8" else encoding), None
    except UnicodeDecodeError as failure:
        line = data.count(b"\n", 0, failure.start) + 1
        problem = Problem(Location(path, line), "undecodable", f"byte {failure.start} is not {encoding}")
        return data.decode("utf-8", "replace"), problem
