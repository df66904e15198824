"""COD005: the dtypes of what FlashAttention is called with."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from enum import StrEnum

from audits.code.sources import Function, dotted, place, program_sources, why_not
from verifier.engine.context import Context
from verifier.program.analysis import ProgramText
from verifier.rule import Confidence, Decision, Finding, Level, Outcome, Rule

_PULL = "https://github.com/openai/parameter-golf/pull/"
_FULL_WORDS = frozenset({"float32", "float64", "float", "double"})
_LOW_WORDS = frozenset({"bfloat16", "float16", "half"})
_KEEPS = frozenset(
    [
        "transpose",
        "reshape",
        "view",
        "contiguous",
        "permute",
        "unsqueeze",
        "squeeze",
        "expand",
        "flatten",
        "repeat_interleave",
        "chunk",
        "split",
        "clone",
        "narrow",
        "detach",
        "mul",
        "add",
        "sub",
        "div",
        "index_select",
        "repeat",
        "movedim",
        "unflatten",
        "requires_grad_",
        "clamp",
    ]
)
"""Methods whose result has the dtype of the tensor that they are called on."""


class Width(StrEnum):
    """What is known of a tensor's dtype inside one function."""

    LOW = "bf16 or fp16"
    FULL = "fp32"
    OPEN = "open"
    """That of the input: the model's weights and autocast decide."""


def check(context: Context) -> Decision:
    reason = why_not(context.submission)
    sources = program_sources(context)
    if reason or not sources:
        return Decision.not_available(reason or "the script does not parse")
    calls = [(source, function, call) for source in sources for function, call in _flash_calls(source)]
    if not calls:
        return Decision.not_applicable("the script does not call FlashAttention")
    findings = [finding for source, function, call in calls for finding in _judge(source, function, call)]
    if not findings and not _lowers_anything(sources):
        source, _, call = calls[0]
        findings = [
            Finding(
                Outcome.FAIL,
                "FlashAttention is called, and nothing in the program casts to bf16 or fp16: neither autocast nor the weights",
                (place(source, call),),
                remediation="run the model under torch.autocast, or cast q, k and v at the call",
            )
        ]
    if findings:
        return Decision.of(findings)
    return Decision.passed(f"no argument of the {len(calls)} FlashAttention calls is cast to fp32 on its way there")


def _flash_calls(source: ProgramText) -> Iterator[tuple[Function, ast.Call]]:
    """Calls of what was imported from a `flash_attn` package, each with the function that holds it."""
    names, modules = set[str](), set[str]()
    for node in source.parsed.of(ast.Import, ast.ImportFrom):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("flash_attn"):
            names.update(alias.asname or alias.name for alias in node.names if "attn" in alias.name)
        elif isinstance(node, ast.Import):
            modules.update(alias.asname or alias.name for alias in node.names if alias.name.startswith("flash_attn"))
    for call in source.parsed.of(ast.Call) if names or modules else ():
        if dotted(call.func) in names or dotted(call.func).rpartition(".")[0] in modules:
            holder = source.parsed.functions_around(call)
            if holder and isinstance(holder[-1], ast.FunctionDef | ast.AsyncFunctionDef):
                yield holder[-1], call


def _judge(source: ProgramText, function: Function, call: ast.Call) -> Iterator[Finding]:
    given = [*call.args[:3], *(word.value for word in call.keywords if word.arg in ("q", "k", "v"))]
    known: dict[str, tuple[Width, ast.AST | None]] = {}
    if not _follow(function.body, known, call):
        return
    for argument in given:
        width, cast = _width(argument, known)
        if width is Width.FULL and cast is not None:
            yield Finding(
                Outcome.FAIL,
                f"`{ast.unparse(argument)[:60]}` is fp32 when it reaches `{dotted(call.func)}`, which takes bf16 and fp16 only",
                (place(source, cast), place(source, call)),
                Confidence.MEDIUM,
                remediation="cast back to the dtype of the values before the call",
            )
            return


def _follow(block: Sequence[ast.stmt], known: dict[str, tuple[Width, ast.AST | None]], until: ast.Call) -> bool:
    """Run the assignments of a function in order up to the statement that holds the call; true when it was reached. Where a
    condition decides, nothing is known afterwards of what it assigns."""
    for statement in block:
        holds = any(node is until for node in ast.walk(statement))
        if isinstance(statement, ast.If):
            if holds:
                return _follow(statement.body, known, until) or _follow(statement.orelse, known, until)
            _forget(statement, known)
        elif isinstance(statement, ast.With | ast.Try):
            if _follow(statement.body, known, until):
                return True
        elif holds:
            return True
        elif isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            _assign(statement.targets[0], statement.value, known)
        else:
            _forget(statement, known)
    return False


def _assign(target: ast.expr, value: ast.expr, known: dict[str, tuple[Width, ast.AST | None]]) -> None:
    if isinstance(target, ast.Name):
        known[target.id] = _width(value, known)
    elif isinstance(target, ast.Tuple):
        pairs = value.elts if isinstance(value, ast.Tuple) and len(value.elts) == len(target.elts) else None
        widths = [_width(item, known) for item in pairs] if pairs else [(Width.OPEN, None)] * len(target.elts)
        for item, width in zip(target.elts, widths, strict=True):
            if isinstance(item, ast.Name):
                known[item.id] = width


def _forget(statement: ast.stmt, known: dict[str, tuple[Width, ast.AST | None]]) -> None:
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            known[node.id] = (Width.OPEN, None)


def _width(node: ast.expr, known: dict[str, tuple[Width, ast.AST | None]]) -> tuple[Width, ast.AST | None]:
    """The dtype of an expression and, where it is fp32, the cast that made it so."""
    match node:
        case ast.Name(id=name):
            return known.get(name, (Width.OPEN, None))
        case ast.Subscript(value=inner):
            return _width(inner, known)
        case ast.Call(func=ast.Attribute(value=inner, attr=method)) if method in ("to", "type", *_FULL_WORDS, *_LOW_WORDS):
            wanted = [method] if method not in ("to", "type") else [_dtype_word(part) for part in _arguments(node)]
            if any(word in _FULL_WORDS for word in wanted):
                return Width.FULL, node
            if any(word in _LOW_WORDS for word in wanted):
                return Width.LOW, None
            return (Width.OPEN, None) if any(word == "?" for word in wanted) else _width(inner, known)
        case ast.Call(func=ast.Attribute(value=inner, attr=method)) if method in _KEEPS and dotted(inner) not in ("torch", "F"):
            return _width(inner, known)
        case ast.Call(func=called, args=[first, *_]) if dotted(called).rsplit(".", 1)[-1] in ("rms_norm", "normalize"):
            return _width(first, known)
        case ast.BinOp(left=left, right=right):
            one, other = _width(left, known), _width(right, known)
            # Promotion: fp32 wins over bf16. A scalar or an unknown factor can't lower it.
            return one if one[0] is Width.FULL else other
    return Width.OPEN, None


def _arguments(call: ast.Call) -> list[ast.expr]:
    return [*call.args, *(word.value for word in call.keywords)]


def _dtype_word(node: ast.expr) -> str:
    """`float32` of `torch.float32`; `?` where another value decides (`x.dtype`, a name); empty for devices and flags."""
    if isinstance(node, ast.Attribute):
        return node.attr if isinstance(node.value, ast.Name) and node.value.id in ("torch", "t", "th") else "?"
    if isinstance(node, ast.Name):
        return "float" if node.id == "float" else "?"
    return ""


def _lowers_anything(sources: Sequence[ProgramText]) -> bool:
    """Whether bf16, fp16 or autocast occurs at all, in code or as the text of a dtype."""
    for source in sources:
        for node in source.parsed.of(ast.Attribute, ast.Name, ast.Constant):
            word = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) < 40:
                word = node.value
            if word in _LOW_WORDS or word in ("autocast", "bf16", "fp16", "amp"):
                return True
    return False


DTYPE_HAZARD = Rule(
    code="COD005",
    name="dtype-hazard",
    level=Level.WARNING,
    summary="tensors can reach FlashAttention in fp32",
    why="FlashAttention takes fp16 and bf16 only. A cast for rotary embeddings or norms that is not undone fails at the call, or "
    "silently takes the slow fallback on another machine, and the step time no longer reproduces.",
    example="violation: `q = apply_rotary(q.float(), cos, sin)`, then `flash_attn_func(q.float(), k, v)`\n"
    "legal: `q = q.float() * gain; q = q.to(v.dtype)`, then `flash_attn_func(q, k, v)`",
    settles="the dtypes at the call under the autocast in force",
    sources=(_PULL + "1738",),
    check=check,
)
