"""Shrinking large powers of two in a copy of a script, for one question: what do its hash tables do when they are full?

A table of 4,194,304 buckets that 62 million tokens fill holds some fifteen entries a bucket; the same table over a few
thousand toy tokens never sees two keys meet. So the literals that size tables and chunks are replaced, by position in the
text and by nothing else, so that the toy tokens load them no more than the real ones load the real tables. What is found
in such a copy is found in a transformed script, and every replacement is named with it.

Literals stay where they can't size a table: in comparisons, in products with something computed (packed keys, units) and behind a
division, and where nothing is done with the name that they are bound to but to compare it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from verifier.submission.script import EnvRead, Program

SMALLEST, LARGEST = 1 << 15, 1 << 30
"""Powers of two from the first up to below the second are taken for sizes; larger ones are moduli of hashes."""
REAL_TOKENS = 62_021_846
"""Tokens of the largest validation set of the contest (sp1024): the load that a real table has at the end."""
FLOOR = 512
"""No literal becomes smaller, nor than twice the vocabulary (so that packed keys stay apart): several chunks long."""
TEXT = 4_000_000
READERS = ("get", "getenv")
"""Calls by which scripts read settings; their defaults are settings, not literals."""


@dataclass(frozen=True, slots=True)
class Replacement:
    """One number that was replaced. `line` counts in the unpacked text of `path`; 0: a setting, whose name `what` is."""

    path: str
    line: int
    what: str
    old: int
    new: int

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}" if self.line else f"setting {self.what}"
        return f"{place} {self.old} -> {self.new}"


@dataclass(frozen=True, slots=True)
class Transformed:
    """`texts` are whole files by path (the packed ones unpacked), `settings` values of the environment that replace others."""

    texts: dict[str, str]
    settings: dict[str, str]
    replacements: tuple[Replacement, ...]


def shrink_literals(program: Program, environment: Mapping[str, str], tokens: int, vocabulary: int) -> Transformed:
    """The program with its large powers of two shrunk for `tokens` validation tokens of a `vocabulary`. No replacement: nothing to
    ask."""
    floor = max(FLOOR, 2 * vocabulary)
    texts: dict[str, str] = {}
    replacements: list[Replacement] = []
    trees: list[tuple[str, str, ast.Module]] = []
    for member in program.members:
        text = member.effective[1]
        # A lone carriage return ends a line for the parser and for nobody else.
        if not member.path.endswith(".py") or len(text) > TEXT or "\r" in text.replace("\r\n", ""):
            continue
        try:
            trees.append((member.path, text, ast.parse(text)))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
    sizing = _used_names(tree for _, _, tree in trees)
    for path, text, tree in trees:
        found = list(_literals(tree, sizing))
        if found:
            texts[path] = _replace(text, [(node, shrunk(value, tokens, floor)) for node, value in found])
            replacements += [Replacement(path, node.lineno, "", value, shrunk(value, tokens, floor)) for node, value in found]
    settings, changed = _settings(program.env_reads, environment, sizing, tokens, floor)
    return Transformed(texts, settings, (*replacements, *changed))


def shrunk(value: int, tokens: int, floor: int) -> int:
    """The power of two that `tokens` toy tokens load as the real set loads `value`, or less."""
    wanted = max(floor, value * tokens // REAL_TOKENS)
    return min(value, 1 << (wanted - 1).bit_length())


def is_size(value: int) -> bool:
    return SMALLEST <= value < LARGEST and value & (value - 1) == 0


def _settings(
    reads: Iterable[EnvRead], environment: Mapping[str, str], sizing: frozenset[str], tokens: int, floor: int
) -> tuple[dict[str, str], list[Replacement]]:
    """Settings that are large powers of two, set or by default."""
    settings: dict[str, str] = {}
    changed: list[Replacement] = []
    for read in reads:
        text = (environment.get(read.name) or read.default or "").replace("_", "").strip()
        target = read.target.rsplit(".", 1)[-1]
        if read.name in settings or not text.isdecimal() or len(text) > 12 or (target and target not in sizing):
            continue
        value = int(text)
        if is_size(value):
            settings[read.name] = str(shrunk(value, tokens, floor))
            changed.append(Replacement(read.source.path, 0, read.name, value, shrunk(value, tokens, floor)))
    return settings, changed


def _literals(tree: ast.Module, sizing: frozenset[str]) -> Iterable[tuple[ast.expr, int]]:
    """Outermost constant expressions that are large powers of two, where they may size something."""
    stack: list[tuple[ast.AST, ast.AST | None, str]] = [(tree, None, "")]
    while stack:
        node, parent, bound = stack.pop()
        if isinstance(node, ast.expr):
            value = _constant(node)
            if value is not None:
                if is_size(value) and (not bound or bound in sizing) and _may_size(node, parent):
                    yield node, value
                continue
        if _reads_setting(node):
            continue
        names = _bindings(node)
        stack += [(child, node, names.get(id(child), "")) for child in ast.iter_child_nodes(node)]


def _constant(node: ast.expr) -> int | None:
    """Value of a literal, a shift, a power or a product of literals."""
    if isinstance(node, ast.Constant):
        return node.value if type(node.value) is int else None
    if not isinstance(node, ast.BinOp):
        return None
    left, right = _constant(node.left), _constant(node.right)
    if left is None or right is None or not (0 <= left <= LARGEST and 0 <= right <= LARGEST):
        return None
    if isinstance(node.op, ast.Mult):
        return left * right
    if isinstance(node.op, ast.LShift) and right < 64:
        return left << right
    if isinstance(node.op, ast.Pow) and right < 64 and left <= 1024:
        return int(left**right)
    return None


def _may_size(node: ast.expr, parent: ast.AST | None) -> bool:
    if isinstance(parent, ast.Compare):
        return False
    if isinstance(parent, ast.BinOp):
        divides = isinstance(parent.op, ast.Div | ast.FloorDiv) and parent.right is node
        return not divides and not isinstance(parent.op, ast.Mult | ast.LShift | ast.RShift | ast.Pow)
    return True


def _reads_setting(node: ast.AST) -> bool:
    """`os.environ.get("NAME", 4194304)` and its like, with a name as the first argument."""
    if not isinstance(node, ast.Call) or len(node.args) < 2:
        return False
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    first = node.args[0]
    setting = isinstance(first, ast.Constant) and isinstance(first.value, str) and first.value.isupper()
    return setting and (name in READERS or "env" in name.lower())


def _bindings(node: ast.AST) -> dict[int, str]:
    """The name that each direct child value of a statement or a signature is bound to."""
    if isinstance(node, ast.Assign) and len(node.targets) == 1:
        return {id(node.value): _terminal(node.targets[0])}
    if isinstance(node, ast.AnnAssign) and node.value is not None:
        return {id(node.value): _terminal(node.target)}
    if isinstance(node, ast.arguments):
        ordered = [*node.posonlyargs, *node.args]
        pairs = list(zip(ordered[len(ordered) - len(node.defaults) :], node.defaults, strict=True))
        pairs += [(arg, value) for arg, value in zip(node.kwonlyargs, node.kw_defaults, strict=True) if value is not None]
        return {id(value): arg.arg for arg, value in pairs}
    return {}


def _terminal(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _used_names(trees: Iterable[ast.Module]) -> frozenset[str]:
    """Names that are read somewhere else than in a comparison."""
    return frozenset(
        _terminal(child)
        for tree in trees
        for node in ast.walk(tree)
        if not isinstance(node, ast.Compare)
        for child in ast.iter_child_nodes(node)
        if isinstance(child, ast.Name | ast.Attribute) and isinstance(child.ctx, ast.Load)
    )


def _replace(text: str, found: Iterable[tuple[ast.expr, int]]) -> str:
    """The text with each expression's bytes replaced by a number; lines stay where they are."""
    lines = [line + b"\n" for line in text.encode().split(b"\n")]
    lines[-1] = lines[-1][:-1]
    for node, value in sorted(found, key=lambda one: (one[0].lineno, one[0].col_offset), reverse=True):
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        first, last = node.lineno - 1, node.end_lineno - 1
        head, tail = lines[first][: node.col_offset] + str(value).encode(), lines[last][node.end_col_offset :]
        # An expression over several lines leaves their ends behind.
        lines[first : last + 1] = [head + b"\\\n", *[b"\\\n"] * (last - first - 1), tail] if last > first else [head + tail]
    return b"".join(lines).decode()
