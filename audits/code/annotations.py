"""COD001: return annotations against the return statements."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from audits.code.sources import Function, functions_in, name_of, place, program_sources, why_not
from verifier.engine.context import Context
from verifier.program.analysis import ProgramText
from verifier.rule import Decision, Finding, Level, Outcome, Rule

_PULL = "https://github.com/openai/parameter-golf/pull/"
MAXIMUM = 12
"""Findings printed for one script."""

_PLAIN = {
    "int": "int",
    "float": "float",
    "str": "str",
    "bytes": "bytes",
    "bool": "bool",
    "dict": "dict",
    "Dict": "dict",
    "list": "list",
    "List": "list",
    "set": "set",
    "Set": "set",
    "tuple": "tuple",
    "Tuple": "tuple",
    "Tensor": "Tensor",
    "ndarray": "ndarray",
    "Path": "Path",
    "None": "None",
}
"""Annotations whose values can be told from others by the look of the returned expression."""
_TRANSPARENT = frozenset(
    {"staticmethod", "classmethod", "property", "no_grad", "inference_mode", "compile", "cache", "lru_cache"}
)
"""Decorators that hand on what the function returns."""
_HOLDS = {
    "float": frozenset({"float", "int", "bool"}),
    "int": frozenset({"int", "bool"}),
}
"""What else a numeric annotation takes."""


def check(context: Context) -> Decision:
    sources = program_sources(context)
    if not sources:
        return Decision.not_available(why_not(context.submission) or "the script does not parse")
    findings = [finding for source in sources for function in functions_in(source) for finding in _judge(source, function)]
    if findings:
        return Decision.of(findings[:MAXIMUM])
    annotated = sum(function.returns is not None for source in sources for function in functions_in(source))
    reason = why_not(context.submission)
    if reason:
        return Decision.not_available(reason)
    return Decision.passed(f"none of the {annotated} annotated functions returns what its annotation excludes")


def _judge(source: ProgramText, function: Function) -> Iterator[Finding]:
    """At most one finding a function: the first return that can't be what the annotation says."""
    if function.returns is None or not _returns_directly(source, function):
        return
    wanted = _alternatives(function.returns)
    if wanted is None:
        return
    for node in source.parsed.own(function):
        if isinstance(node, ast.Return) and (given := _contradiction(node.value, wanted)):
            spelled = ast.unparse(function.returns)
            yield Finding(
                Outcome.FAIL,
                f"{function.name} is annotated `-> {spelled}` and returns {given}",
                (place(source, function), place(source, node)),
                remediation="annotate what is returned",
            )
            return


def _returns_directly(source: ProgramText, function: Function) -> bool:
    """Not a generator or coroutine, whose annotation speaks of something else, and no stub."""
    if isinstance(function, ast.AsyncFunctionDef) or any(_name(one) not in _TRANSPARENT for one in function.decorator_list):
        return False
    return not any(isinstance(node, ast.Yield | ast.YieldFrom) for node in source.parsed.own(function))


def _name(decorator: ast.expr) -> str:
    return name_of(decorator.func if isinstance(decorator, ast.Call) else decorator)


def _alternatives(annotation: ast.expr) -> list[tuple[str, int | None]] | None:
    """The kinds that an annotation allows, with the length of a fixed tuple; `None` when one of them is not known."""
    pending, found = [annotation], list[tuple[str, int | None]]()
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            try:
                pending.append(ast.parse(node.value[:200], mode="eval").body)
            except (SyntaxError, ValueError):
                return None
        elif isinstance(node, ast.Constant) and node.value is None:
            found.append(("None", None))
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            pending += [node.left, node.right]
        elif isinstance(node, ast.Subscript) and name_of(node.value) in ("Optional", "Union"):
            pending += node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
            if name_of(node.value) == "Optional":
                found.append(("None", None))
        else:
            kind = _PLAIN.get(name_of(node.value if isinstance(node, ast.Subscript) else node))
            if kind is None:
                return None
            found.append((kind, _length(node) if kind == "tuple" else None))
    return found


def _length(node: ast.expr) -> int | None:
    """Items of `tuple[A, B]`; `None` for `tuple`, `tuple[A, ...]` and unpacked forms."""
    if not isinstance(node, ast.Subscript):
        return None
    items = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    if any(isinstance(item, ast.Starred) or (isinstance(item, ast.Constant) and item.value is ...) for item in items):
        return None
    return len(items)


def _contradiction(value: ast.expr | None, wanted: list[tuple[str, int | None]]) -> str:
    """What is returned, in words, when no alternative allows it; empty when one does or the expression does not show it."""
    kind, length = _shape(value)
    if not kind:
        return ""
    for allowed, size in wanted:
        fits = size is None or length is None or size == length
        if fits and (kind == allowed or kind in _HOLDS.get(allowed, ())):
            return ""
    if kind == "tuple":
        return f"a tuple of {length}" if length is not None else "a tuple"
    if kind == "None":
        return "None" if value is not None else "without a value"
    return f"a {kind}"


def _shape(value: ast.expr | None) -> tuple[str, int | None]:
    """The kind of value that an expression certainly has."""
    match value:
        case None:
            return "None", None
        case ast.Constant(value=constant):
            return "None" if constant is None else "" if constant is ... else type(constant).__name__, None
        case ast.Tuple(elts=items):
            return "tuple", None if any(isinstance(item, ast.Starred) for item in items) else len(items)
        case ast.List() | ast.ListComp():
            return "list", None
        case ast.Dict() | ast.DictComp():
            return "dict", None
        case ast.Set() | ast.SetComp():
            return "set", None
        case ast.JoinedStr():
            return "str", None
        case ast.Call(func=ast.Name(id="int" | "float" | "str" | "bytes" | "bool" | "dict" | "list" | "tuple" | "set" as called)):
            return called, None
        case _:
            return "", None


ANNOTATION_MISMATCH = Rule(
    code="COD001",
    name="annotation-mismatch",
    level=Level.NOTE,
    summary="a function's return annotation contradicts what it returns",
    why="Reviewers who follow the data through a script of two thousand lines trust its annotations. One that says `None` hides that "
    "the function hands back the trained model.",
    example="violation: `def train_model(...) -> None:` ... `return base_model, compiled_model`\n"
    "legal: `def train_model(...) -> tuple[nn.Module, nn.Module]:` with the same return",
    settles="the return statements of the function",
    sources=(_PULL + "1471",),
    check=check,
)
