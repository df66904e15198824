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
from functools import cached_property
from typing import Any, overload

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
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_SCOPES = (*_FUNCTIONS, ast.ClassDef)
_READABLE_ENCODINGS = ("utf-8", "utf-8-sig", "ascii", "iso8859-1", "iso8859-15", "cp1252")


@dataclass(frozen=True, slots=True)
class Shape:
    """What a text would cost to parse: deepest nesting, and characters that are neither in a string nor in a comment."""

    depth: int
    code_characters: int


_BRANCHES: dict[type, bool | None] = {
    **{kind: bool(kind._fields) for kind in vars(ast).values() if isinstance(kind, type) and issubclass(kind, ast.AST)},
    list: None,
}
"""Class of a field's value -> whether it is walked into; `None` for lists, whose items are asked one by one."""


_LEAVES = frozenset({ast.Name, ast.Constant, ast.alias, ast.Global, ast.Nonlocal})
"""Nodes that hold no others: more than half of a tree."""


@dataclass(frozen=True, eq=False)
class ParsedTree:
    """The syntax tree of `text` with its nodes in the order of a depth-first walk, and each node's parent by identity. Nodes
    without fields are left out: operators, contexts (`Load`), and `pass`, `break` and `continue`.

    The rules ask a tree hundreds of times for its calls or for what is inside a function. Both answers are prepared on the first
    question: a walk of the whole tree for each would cost more than everything else that is done with a script.
    """

    text: str
    module: ast.Module
    nodes: tuple[ast.AST, ...]
    parents: dict[int, ast.AST]

    @cached_property
    def lines(self) -> tuple[str, ...]:
        return tuple(source_lines(self.text))

    @overload
    def of[A: ast.AST](self, one: type[A], /) -> list[A]: ...

    @overload
    def of[A: ast.AST, B: ast.AST](self, one: type[A], two: type[B], /) -> list[A | B]: ...

    @overload
    def of[A: ast.AST, B: ast.AST, C: ast.AST](self, one: type[A], two: type[B], three: type[C], /) -> list[A | B | C]: ...

    @overload
    def of(self, *kinds: type[ast.AST]) -> list[ast.AST]: ...

    def of(self, *kinds: type[ast.AST]) -> list[Any]:
        """The nodes of these classes, in the order of the walk."""
        numbers = [number for kind in kinds for number in self._by_kind.get(kind, ())]
        if len(kinds) > 1:
            numbers.sort()
        return [self.nodes[number] for number in numbers]

    def calls_of(self, name: str) -> list[ast.Call]:
        """The calls of a function or method by the last part of its name, in the order of the walk."""
        return self._calls.get(name, [])

    def inside(self, node: ast.AST) -> tuple[ast.AST, ...]:
        """A node and all that is below it, in the order of the walk."""
        first = self._numbers.get(id(node))
        return self.nodes[first : self._ends[first]] if first is not None else (node,)

    def own(self, scope: ast.AST) -> list[ast.AST]:
        """The nodes of a function's or module's body without those of functions, lambdas and classes inside it."""
        known = self._own.get(id(scope))
        if known is None:
            known = self._own[id(scope)] = self._walk_own(scope)
        return known

    def functions_around(self, node: ast.AST) -> list[ast.AST]:
        """The functions and lambdas that contain a node, outermost first."""
        around: list[ast.AST] = []
        current = self.parents.get(id(node))
        while current is not None:
            if isinstance(current, _FUNCTIONS):
                around.append(current)
            current = self.parents.get(id(current))
        return around[::-1]

    def depth(self, node: ast.AST) -> int:
        """How many nodes contain a node."""
        return self._depths[self._numbers[id(node)]]

    def _walk_own(self, scope: ast.AST) -> list[ast.AST]:
        body = [statement for statement in getattr(scope, "body", []) if id(statement) in self._numbers]
        found: list[ast.AST] = []
        number = self._numbers[id(body[0])] if body else 0
        end = self._ends[self._numbers[id(body[-1])]] if body else 0
        while number < end:
            node = self.nodes[number]
            found.append(node)
            number = self._ends[number] if isinstance(node, _SCOPES) else number + 1
        return found

    @cached_property
    def _own(self) -> dict[int, list[ast.AST]]:
        return {}

    @cached_property
    def _calls(self) -> dict[str, list[ast.Call]]:
        found: dict[str, list[ast.Call]] = {}
        for call in self.of(ast.Call):
            name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
            found.setdefault(name, []).append(call)
        return found

    @cached_property
    def _numbers(self) -> dict[int, int]:
        return {id(node): number for number, node in enumerate(self.nodes)}

    @cached_property
    def _ends(self) -> list[int]:
        """By node number: the number after its last descendant. Descendants follow their node without a gap."""
        ends = list(range(1, len(self.nodes) + 1))
        for number in range(len(self.nodes) - 1, 0, -1):
            above = self._numbers[id(self.parents[id(self.nodes[number])])]
            ends[above] = max(ends[above], ends[number])
        return ends

    @cached_property
    def _depths(self) -> list[int]:
        depths = [0]
        for node in self.nodes[1:]:
            depths.append(depths[self._numbers[id(self.parents[id(node)])]] + 1)
        return depths

    @cached_property
    def _by_kind(self) -> dict[type, list[int]]:
        found: dict[type, list[int]] = {}
        for number, node in enumerate(self.nodes):
            found.setdefault(type(node), []).append(number)
        return found


def index_tree(module: ast.Module, text: str = "") -> ParsedTree:
    """Walk a tree once, without recursion."""
    nodes: list[ast.AST] = []
    parents: dict[int, ast.AST] = {}
    pending: list[ast.AST] = [module]
    while pending:
        node = pending.pop()
        nodes.append(node)
        children = child_nodes(node)
        for child in children:
            parents[id(child)] = node
        pending += children[::-1]
    return ParsedTree(text, module, tuple(nodes), parents)


def child_nodes(node: ast.AST) -> list[ast.AST]:
    """The nodes right below one that have fields themselves, in the order of the text; several times as fast as the library's."""
    children: list[ast.AST] = []
    if type(node) in _LEAVES:
        return children
    branches = _BRANCHES.get
    for value in node.__dict__.values():
        walked = branches(type(value), False)
        if walked:
            children.append(value)
        elif walked is None:
            children += [item for item in value if branches(type(item), False)]
    return children


def nodes_below(node: ast.AST) -> list[ast.AST]:
    """A node and all that is below it that have fields, breadth first: for parts of a tree that nobody has indexed."""
    found = [node]
    for one in found:  # grows
        found += child_nodes(one)
    return found


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
            return index_tree(ast.parse(text, path), text), None
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
