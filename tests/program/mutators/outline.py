"""Blocks moved into helper functions, and helper functions moved into their callers."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from random import Random

from tests.program.mutators.scopes import (
    Fresh,
    Function,
    Keep,
    arguments_of,
    bindings,
    blocks_of,
    captured_in,
    functions_at_top,
    locals_of,
    movable,
    rebound_elsewhere,
    uses_of,
    walk_scope,
)

LONGEST = 5
"""Statements moved at once."""


def outline(tree: ast.Module, rng: Random, keep: Keep) -> int:
    """Turn runs of straight-line statements into calls of new module functions."""
    fresh = Fresh(tree, rng)
    made: list[tuple[int, ast.FunctionDef]] = []
    for index, function in functions_at_top(tree):
        if any(isinstance(node, ast.Delete) for node in walk_scope(function.body)):
            continue
        own, captured = locals_of(function), captured_in(function)
        for block, known in _blocks_with_known(function):
            run = _pick_run(block, rng)
            if run is None or rng.random() < 0.4:
                continue
            start, stop = run
            moved = block[start:stop]
            inputs, outputs = _interface(moved, own)
            known_here = known.union(*map(_surely_bound, block[:start]))
            if not inputs <= known_here or not outputs <= own or outputs & captured or inputs & rebound_elsewhere(function):
                continue
            helper, call = _helper(fresh.name("part"), moved, sorted(inputs), sorted(outputs))
            block[start:stop] = [call]
            made.append((index, helper))
    for index, helper in sorted(made, key=lambda pair: -pair[0]):
        tree.body.insert(index, helper)
    return len(made)


def _blocks_with_known(function: Function) -> Iterator[tuple[list[ast.stmt], set[str]]]:
    """(block, names that are bound whenever the block starts). Blocks in `try` are left out."""
    todo = [(function.body, {argument.arg for argument in arguments_of(function)})]
    while todo:
        block, known = todo.pop()
        yield block, known
        known = set(known)
        for statement in block:
            match statement:
                case ast.If() | ast.While():
                    todo += [(statement.body, set(known)), (statement.orelse, set(known))]
                case ast.For(target=target):
                    todo.append((statement.body, known | uses_of(target).writes))
                case ast.With(items=items):
                    bound = {name for item in items if item.optional_vars for name in uses_of(item.optional_vars).writes}
                    todo.append((statement.body, known | bound))
                case _:
                    known |= _surely_bound(statement)


def _surely_bound(statement: ast.stmt) -> set[str]:
    """Names that are bound once a plain statement has run."""
    match statement:
        case ast.Assign(targets=targets):
            return set(uses_of(*targets).writes)
        case ast.AugAssign(target=target) | ast.AnnAssign(target=target, value=ast.expr()):
            return set(uses_of(target).writes)
        case ast.Import() | ast.ImportFrom() | ast.FunctionDef() | ast.ClassDef():
            return set(bindings(statement))
        case _:
            return set()


def _pick_run(block: list[ast.stmt], rng: Random) -> tuple[int, int] | None:
    """A random stretch of plain statements; a docstring is no statement to move."""
    plain = [
        isinstance(statement, ast.Assign | ast.AugAssign | ast.Expr)
        and movable(statement)
        and not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
        for statement in block
    ]
    starts = [index for index, good in enumerate(plain) if good]
    if not starts:
        return None
    start = stop = rng.choice(starts)
    while stop < len(block) and plain[stop] and stop - start < LONGEST:
        stop += 1
    return start, stop


def _interface(run: list[ast.stmt], own: set[str]) -> tuple[set[str], set[str]]:
    """Locals that the run reads before it writes them, and those that it writes."""
    inputs: set[str] = set()
    written: set[str] = set()
    for statement in run:
        uses = uses_of(statement)
        inputs |= (uses.reads & own) - written
        written |= uses.writes
    return inputs, written


def _helper(name: str, run: list[ast.stmt], inputs: list[str], outputs: list[str]) -> tuple[ast.FunctionDef, ast.stmt]:
    call = f"{name}({', '.join(inputs)})"
    shell = ast.parse(f"def {name}({', '.join(inputs)}):\n    return {', '.join(outputs) or 'None'}").body[0]
    assert isinstance(shell, ast.FunctionDef)
    shell.body = [*run, *(shell.body if outputs else [])]
    text = f"{', '.join(outputs)} = {call}" if outputs else call
    return shell, ast.parse(text).body[0]


def inline(tree: ast.Module, rng: Random, keep: Keep) -> int:
    """Replace `x = helper(a, b)` by the helper's body with locals of its own."""
    fresh = Fresh(tree, rng)
    bound = [name for node in ast.walk(tree) for name in bindings(node)]
    helpers = {f.name: f for f in tree.body if isinstance(f, ast.FunctionDef) and bound.count(f.name) == 1 and _inlinable(f)}
    edits = 0
    for _, caller in functions_at_top(tree):
        hidden = locals_of(caller)
        for block in blocks_of(caller):
            for index in reversed(range(len(block))):
                found = _helper_call(block[index], helpers)
                if found is None or found[0] is caller or rng.random() < 0.3:
                    continue
                helper, call = found
                free = uses_of(*helper.body).reads - locals_of(helper)
                if free & hidden:
                    continue
                block[index : index + 1] = _expanded(block[index], helper, call, fresh)
                edits += 1
    return edits


def _inlinable(function: ast.FunctionDef) -> bool:
    spec = function.args
    if function.decorator_list or spec.vararg or spec.kwarg or spec.kwonlyargs or spec.defaults:
        return False
    *front, last = function.body
    tail: list[ast.stmt] = [ast.Expr(last.value)] if isinstance(last, ast.Return) and last.value else [last]
    declared = any(isinstance(node, ast.AnnAssign) for node in ast.walk(function))
    return not declared and all(movable(statement) for statement in [*front, *tail])


def _helper_call(statement: ast.stmt, helpers: dict[str, ast.FunctionDef]) -> tuple[ast.FunctionDef, ast.Call] | None:
    match statement:
        case (
            ast.Assign(value=ast.Call(func=ast.Name(id=name)) as call) | ast.Expr(value=ast.Call(func=ast.Name(id=name)) as call)
        ):
            helper = helpers.get(name)
            plain = helper is not None and not call.keywords and not any(isinstance(a, ast.Starred) for a in call.args)
            if helper is not None and plain and len(call.args) == len(arguments_of(helper)):
                return helper, call
        case _:
            pass
    return None


def _expanded(statement: ast.stmt, helper: ast.FunctionDef, call: ast.Call, fresh: Fresh) -> list[ast.stmt]:
    new = {name: fresh.name("in") for name in sorted(locals_of(helper))}
    body = copy.deepcopy(helper.body)
    for node in (inner for part in body for inner in ast.walk(part)):
        if isinstance(node, ast.Name):
            node.id = new.get(node.id, node.id)
    parameters = [new[argument.arg] for argument in arguments_of(helper)]
    given: list[ast.stmt] = []
    for name, value in zip(parameters, call.args, strict=True):
        given.append(ast.Assign([ast.Name(name, ast.Store())], value))
    result: ast.expr = ast.Constant(None)
    if isinstance(body[-1], ast.Return):
        last = body.pop()
        assert isinstance(last, ast.Return)
        result = last.value or result
    end = ast.Assign(statement.targets, result) if isinstance(statement, ast.Assign) else ast.Expr(result)
    return [*given, *body, end]
