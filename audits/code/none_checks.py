"""COD003: a value that was just tested for None is used as if it could not be None."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from audits.code.sources import Block, blocks_of, dotted, place, program_sources, why_not
from verifier.engine.context import Context
from verifier.program.analysis import ProgramText
from verifier.rule import Decision, Finding, Level, Outcome, Rule

_PULL = "https://github.com/openai/parameter-golf/pull/"
_LEAVES = frozenset({"exit", "_exit", "quit", "abort", "fail", "die"})
_HARMLESS = frozenset({"print", "log", "log0", "warn", "warning", "info", "debug", "write", "flush", "format"})
"""Calls that only write text. Any other call in the None branch may set the value behind our back."""
MAXIMUM = 12


def check(context: Context) -> Decision:
    sources = program_sources(context)
    if not sources:
        return Decision.not_available(why_not(context.submission) or "the script does not parse")
    findings = [finding for source in sources for block in blocks_of(source.parsed) for finding in _judge(source, block)]
    if findings:
        return Decision.of(findings[:MAXIMUM])
    reason = why_not(context.submission)
    return Decision.not_available(reason) if reason else Decision.passed("every test for None guards the uses that follow it")


def _judge(source: ProgramText, block: Block) -> Iterator[Finding]:
    for position, statement in enumerate(block):
        tested = _tested_for_none(statement)
        if tested is None or not isinstance(statement, ast.If):
            continue
        name, when_none = tested
        none_branch = statement.body if when_none else statement.orelse
        other_branch = statement.orelse if when_none else statement.body
        if _leaves(none_branch) or _may_set(none_branch, name) or _may_set(other_branch, name):
            continue
        use = _first_use(block[position + 1 :], name)
        if use is None:
            continue
        branch = "the None branch falls through" if none_branch else "there is no branch for None"
        yield Finding(
            Outcome.FAIL,
            f"{name} is tested for None ({branch}) and dereferenced right after: `{ast.unparse(use)[:80]}` fails when it is None",
            (place(source, statement), place(source, use)),
            remediation="return in the None branch, or put the use behind the test",
        )


def _tested_for_none(statement: ast.stmt) -> tuple[str, bool] | None:
    """The name in `if x is None:` (true) or `if x is not None:` (false), also negated, without further conditions."""
    if not isinstance(statement, ast.If):
        return None
    test, negated = statement.test, False
    while isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        test, negated = test.operand, not negated
    if not isinstance(test, ast.Compare) or len(test.ops) != 1 or not isinstance(test.ops[0], ast.Is | ast.IsNot):
        return None
    if not isinstance(test.comparators[0], ast.Constant) or test.comparators[0].value is not None:
        return None
    name = dotted(test.left)
    return (name, isinstance(test.ops[0], ast.Is) is not negated) if name else None


def _leaves(branch: Block) -> bool:
    """Whether control can't run past the branch. Any leaving statement counts, conditional ones too: the author saw the case."""
    for statement in branch:
        for node in ast.walk(statement):
            if isinstance(node, ast.Return | ast.Raise | ast.Continue | ast.Break | ast.Assert):
                return True
            if isinstance(node, ast.Call) and _called(node) in _LEAVES:
                return True
    return False


def _called(call: ast.Call) -> str:
    return (call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")).lstrip("_")


def _may_set(branch: Block, name: str) -> bool:
    """Whether the branch binds the name (or a part of its path), or calls something that could."""
    owner = name.rsplit(".", 1)[0]
    for statement in branch:
        for node in ast.walk(statement):
            if (
                isinstance(node, ast.Name | ast.Attribute)
                and not isinstance(node.ctx, ast.Load)
                and dotted(node) in (name, owner)
            ):
                return True
            if isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef):
                return True
            if isinstance(node, ast.Call) and _called(node) not in _HARMLESS and not _builtin_value(node):
                return True
    return False


def _builtin_value(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Name) and call.func.id in ("len", "str", "int", "float", "repr", "max", "min", "round")


def _first_use(following: Block, name: str) -> ast.expr | None:
    """The first attribute, item or call on the name that is evaluated whatever happens: in the plain part of the statements
    that follow, before anything binds the name again or tests it."""
    for statement in following:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Try | ast.Match | ast.Assert):
            return None
        plain = _always_evaluated(statement)
        for part in plain:
            found = _dereference(part, name)
            if found is not None:
                return found
            if _tests(part, name):
                return None
        if _binds(statement, name) or isinstance(statement, ast.Return | ast.Raise | ast.Continue | ast.Break):
            return None
        if isinstance(statement, ast.If | ast.For | ast.While | ast.With) and _leaves(statement.body):
            return None  # what follows may be reached in the other case only
    return None


def _always_evaluated(statement: ast.stmt) -> list[ast.expr]:
    match statement:
        case ast.If(test=test) | ast.While(test=test):
            return [test]
        case ast.For(iter=iterated):
            return [iterated]
        case ast.With(items=items):
            return [item.context_expr for item in items]
        case ast.Assign(value=value) | ast.AugAssign(value=value) | ast.Expr(value=value):
            return [value]
        case ast.AnnAssign(value=value) | ast.Return(value=value) if value is not None:
            return [value]
    return []


def _dereference(part: ast.expr, name: str) -> ast.expr | None:
    """A use of the name as an object, outside of anything that is evaluated conditionally or later."""
    pending: list[ast.AST] = [part]
    while pending:
        node = pending.pop(0)
        match node:
            case ast.Attribute(value=inner) | ast.Subscript(value=inner) if dotted(inner) == name:
                return node
            case ast.Call(func=called) if dotted(called) == name:
                return node
            case ast.IfExp(test=test):
                pending.append(test)
            case ast.BoolOp(values=values):
                pending.append(values[0])
            case ast.Lambda() | ast.GeneratorExp():
                continue
            case ast.ListComp(generators=generators) | ast.SetComp(generators=generators) | ast.DictComp(generators=generators):
                pending.append(generators[0].iter)
            case _:
                pending += list(ast.iter_child_nodes(node))
    return None


def _tests(part: ast.expr, name: str) -> bool:
    """Whether the expression looks at the name's truth or identity itself: the author guards from here on."""
    return any(isinstance(node, ast.Name | ast.Attribute) and dotted(node) == name for node in ast.walk(part))


def _binds(statement: ast.stmt, name: str) -> bool:
    owner = name.rsplit(".", 1)[0]
    return any(
        isinstance(node, ast.Name | ast.Attribute) and not isinstance(node.ctx, ast.Load) and dotted(node) in (name, owner)
        for node in ast.walk(statement)
    )


NONE_DEREFERENCE = Rule(
    code="COD003",
    name="none-dereference",
    level=Level.WARNING,
    summary="a value checked for None is dereferenced right after without a guard",
    why="The script crashes in exactly the case that it checks for, so the check promises a fallback that does not exist.",
    example="violation: `if hparams is None: print(message)`, next line `if hparams.is_main_process:`\n"
    "legal: `if hparams is None: print(message); return`",
    settles="whether the None branch leaves the function",
    sources=(_PULL + "1471",),
    check=check,
)
