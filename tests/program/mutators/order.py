"""The order of independent statements and functions, and which branch of a condition is written first."""

from __future__ import annotations

import ast
from collections.abc import Callable
from random import Random

from tests.program.mutators.scopes import Keep, bindings, blocks_of, functions_at_top, movable, uses_of

PURE = frozenset({"int", "float", "bool", "str", "len", "abs", "min", "max", "round", "os.environ.get", "os.getenv"})
"""Calls that change nothing and depend on their arguments (or an environment that stays)."""


def reorder(tree: ast.Module, rng: Random, keep: Keep) -> int:
    """Swap neighbours: assignments of names that don't touch each other, and plain functions of the module."""
    pure = PURE - {name for node in ast.walk(tree) for name in bindings(node) if name != "os"}
    edits = 0
    for _, function in functions_at_top(tree):
        for block in blocks_of(function):
            edits += _swap(block, rng, lambda one, other: _independent(one, other, pure))
    for owner in tree.body:
        if isinstance(owner, ast.ClassDef):
            edits += _swap(owner.body, rng, lambda one, other: _independent(one, other, pure))
    return edits + _swap(tree.body, rng, lambda one, other: _plain_functions(one, other))


def _swap(block: list[ast.stmt], rng: Random, may: Callable[[ast.stmt, ast.stmt], bool]) -> int:
    edits = 0
    for index in range(len(block) - 1):
        if may(block[index], block[index + 1]) and rng.random() < 0.6:
            block[index : index + 2] = [block[index + 1], block[index]]
            edits += 1
    return edits


def _independent(one: ast.stmt, other: ast.stmt, pure: frozenset[str]) -> bool:
    if not (_names_only(one, pure) and _names_only(other, pure)):
        return False
    first, second = uses_of(one), uses_of(other)
    return not (first.writes & (second.reads | second.writes) or second.writes & first.reads)


def _names_only(statement: ast.stmt, pure: frozenset[str]) -> bool:
    """`name = expression` without any effect but the binding."""
    if not isinstance(statement, ast.Assign) or not all(isinstance(target, ast.Name) for target in statement.targets):
        return False
    calls = [node for node in ast.walk(statement) if isinstance(node, ast.Call)]
    return movable(statement) and all(ast.unparse(call.func) in pure for call in calls)


def _plain_functions(one: ast.stmt, other: ast.stmt) -> bool:
    def plain(statement: ast.stmt) -> bool:
        if not isinstance(statement, ast.FunctionDef) or statement.decorator_list:
            return False
        spec = statement.args
        return (
            not spec.defaults
            and not any(spec.kw_defaults)
            and not any(isinstance(n, ast.arg) and n.annotation for n in ast.walk(spec))
        )

    return (
        isinstance(one, ast.FunctionDef)
        and isinstance(other, ast.FunctionDef)
        and plain(one)
        and plain(other)
        and one.returns is None
        and other.returns is None
        and one.name != other.name
    )


def swap_branches(tree: ast.Module, rng: Random, keep: Keep) -> int:
    """`if c: a else: b` becomes `if not c: b else: a`; the same for conditional expressions."""
    edits = 0
    for node in ast.walk(tree):
        if rng.random() < 0.3:
            continue
        if isinstance(node, ast.If) and not _guards_main(node):
            node.test, node.body, node.orelse = _negated(node.test), node.orelse or [ast.Pass()], node.body
            edits += 1
        elif isinstance(node, ast.IfExp):
            node.test, node.body, node.orelse = _negated(node.test), node.orelse, node.body
            edits += 1
    return edits


def _negated(test: ast.expr) -> ast.expr:
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return test.operand
    return ast.UnaryOp(ast.Not(), test)


def _guards_main(node: ast.If) -> bool:
    return "__name__" in ast.unparse(node.test)
