"""Compound expressions taken apart into temporaries, in the order in which Python evaluates them."""

from __future__ import annotations

import ast
from random import Random

from tests.program.mutators.scopes import FRAME_BOUND, Fresh, Keep, blocks_of, functions_at_top, rebound_elsewhere

KEPT_WHOLE = (ast.NamedExpr, ast.Await, ast.Yield, ast.YieldFrom)


def split(tree: ast.Module, rng: Random, keep: Keep) -> int:
    """`x = f(g(a), b * c)` becomes `t = g(a); u = b * c; x = f(t, u)`."""
    fresh = Fresh(tree, rng)
    shared = rebound_elsewhere(tree)
    edits = 0
    for _, function in functions_at_top(tree):
        for block in blocks_of(function):
            index = 0
            while index < len(block):
                made = _taken_apart(block[index], fresh, shared) if rng.random() < 0.6 else []
                block[index:index] = made
                edits += len(made)
                index += len(made) + 1
    return edits


def _taken_apart(statement: ast.stmt, fresh: Fresh, shared: set[str]) -> list[ast.stmt]:
    """The temporaries to put before the statement, which is changed to use them."""
    made: list[ast.stmt] = []
    if any(isinstance(node, ast.Name) and node.id in shared for node in ast.walk(statement)):
        return made
    match statement:
        case ast.Assign(value=value) | ast.Expr(value=value):
            _hoist_parts(value, fresh, made)
        case ast.AugAssign(target=ast.Name()):
            statement.value = _hoisted(statement.value, fresh, made)
        case ast.Return(value=ast.expr() as value):
            statement.value = _hoisted(value, fresh, made)
        case ast.If(test=value):
            statement.test = _hoisted(value, fresh, made)
        case ast.For(iter=value):
            statement.iter = _hoisted(value, fresh, made)
        case _:
            pass
    return made


def _hoist_parts(value: ast.expr, fresh: Fresh, made: list[ast.stmt]) -> None:
    if _bound_here(value):
        return
    match value:
        case ast.Call(func=callee, args=arguments, keywords=keywords) if _is_chain(callee):
            if any(isinstance(a, ast.Starred) for a in arguments) or any(k.arg is None for k in keywords):
                return
            value.args = [_hoisted(argument, fresh, made) for argument in arguments]
            for keyword in keywords:
                keyword.value = _hoisted(keyword.value, fresh, made)
        case ast.BinOp():
            value.left = _hoisted(value.left, fresh, made)
            value.right = _hoisted(value.right, fresh, made)
        case ast.Compare(ops=[_], comparators=[right]):
            value.left = _hoisted(value.left, fresh, made)
            value.comparators = [_hoisted(right, fresh, made)]
        case _:
            pass


def _hoisted(value: ast.expr, fresh: Fresh, made: list[ast.stmt]) -> ast.expr:
    """A name that holds the value from now on, or the value itself where there is nothing to gain."""
    if isinstance(value, ast.Name | ast.Constant | ast.Lambda | ast.GeneratorExp | ast.JoinedStr) or _bound_here(value):
        return value
    name = fresh.name("tmp")
    made.append(ast.Assign([ast.Name(name, ast.Store())], value))
    return ast.Name(name, ast.Load())


def _bound_here(value: ast.expr) -> bool:
    return any(
        isinstance(node, KEPT_WHOLE) or (isinstance(node, ast.Name) and node.id in FRAME_BOUND) for node in ast.walk(value)
    )


def _is_chain(callee: ast.expr) -> bool:
    """`name`, `a.b.c`: looked up without a call."""
    while isinstance(callee, ast.Attribute):
        callee = callee.value
    return isinstance(callee, ast.Name)
