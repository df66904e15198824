"""Functions put behind a class, and code that is never reached."""

from __future__ import annotations

import ast
from random import Random

from tests.program.mutators.scopes import Fresh, Keep, blocks_of, functions_at_top

UNUSED_FUNCTIONS = (
    "def {f}(model, val_tokens, optimizer):\n"
    "    for x, y in val_tokens:\n        loss = model(x, y)\n        loss.backward()\n        optimizer.step()\n    return model",
    "def {f}(table, tokens, probability):\n"
    "    key = hash((tokens[-2], tokens[-1])) % 4194304\n"
    "    table[key] = table.get(key, 0) + 1\n    return max(probability, table[key] / (1 + len(table)))",
    "def {f}(first, second):\n    best = []\n    for a, b in zip(first, second):\n        best.append(min(a, b))\n    return sum(best)",
    "def {f}(n):\n    if n < 2:\n        return n\n    return {f}(n - 1) + {f}(n - 2)",
)
"""Never called. The first three would break rules if they were."""
UNREACHED = (
    "if False:\n    {x} = min(1, 2)\n    print({x})",
    "while False:\n    {x} = [0]\n    {x}.append(1)\n    break",
    "{x} = (3, 5, 7)",
)


def box(tree: ast.Module, rng: Random, keep: Keep) -> int:
    """`def f` becomes a static method of a class, and `f` another name for it."""
    fresh = Fresh(tree, rng)
    body: list[ast.stmt] = []
    edits = 0
    for statement in tree.body:
        body.append(statement)
        if isinstance(statement, ast.FunctionDef) and _boxable(statement) and rng.random() < 0.6:
            name = fresh.name("Box")
            shell = ast.parse(f"class {name}:\n    pass\n{statement.name} = {name}.{statement.name}").body
            assert isinstance(shell[0], ast.ClassDef)
            statement.decorator_list = [ast.Name("staticmethod", ast.Load())]
            shell[0].body = [statement]
            body[-1:] = shell
            edits += 1
    tree.body = body
    return edits


def _boxable(function: ast.FunctionDef) -> bool:
    """Defaults are evaluated among the names of the class, and `__x` means another name there."""
    spec = function.args
    defaults = [default for default in (*spec.defaults, *spec.kw_defaults) if default is not None]
    mangled = any(
        text.startswith("__") and not text.endswith("__")
        for node in ast.walk(function)
        for text in (getattr(node, "id", ""), getattr(node, "attr", ""), getattr(node, "name", ""), getattr(node, "arg", ""))
        if isinstance(text, str)
    )
    return not function.decorator_list and all(isinstance(default, ast.Constant) for default in defaults) and not mangled


def add_decoys(tree: ast.Module, rng: Random, keep: Keep) -> int:
    """Functions that are never called, blocks that are never entered, values that are never read."""
    fresh = Fresh(tree, rng)
    edits = 0
    for _, function in functions_at_top(tree):
        for block in blocks_of(function):
            if rng.random() < 0.3:
                first = 1 if _is_docstring(block[:1]) else 0
                at = rng.randrange(first, len(block)) if len(block) > first else None
                if at is not None:
                    block[at:at] = ast.parse(rng.choice(UNREACHED).format(x=fresh.name("aux"))).body
                    edits += 1
    definitions = [i for i, s in enumerate(tree.body) if isinstance(s, ast.FunctionDef | ast.ClassDef)]
    for index in sorted(rng.sample(definitions, min(3, len(definitions))), reverse=True):
        tree.body[index:index] = ast.parse(rng.choice(UNUSED_FUNCTIONS).format(f=fresh.name("extra"))).body
        edits += 1
    return edits


def _is_docstring(block: list[ast.stmt]) -> bool:
    return bool(block) and isinstance(block[0], ast.Expr) and isinstance(block[0].value, ast.Constant)
