"""Which branches the logs prove to have run: a print statement whose words stand in a log was executed.

The settings of a run are not always known (a shell script set them, the dump is missing). What the log shows decides then: legality
is judged on the run that produced the logs. The other way round, a branch that prints and left no trace in any log is doubtful.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from verifier.program.values import Site

_LEAST = 10
"""Letters that a printed text must have to be told from others."""


@dataclass(frozen=True, slots=True)
class Witness:
    """`ran` are conditions that a log line decides, with the value they had; `silent` are conditions whose branch prints and of
    which no log has a trace."""

    ran: dict[Site, bool]
    silent: frozenset[Site]


type _Words = tuple[str, ...]


def witness_branches(trees: Sequence[tuple[str, int, ast.Module]], lines: Sequence[str]) -> Witness:
    """Compare what the branches of the program print with the lines of its logs."""
    ran: dict[Site, bool] = {}
    silent: set[Site] = set()
    if not lines:
        return Witness(ran, frozenset())
    seen: dict[_Words, bool] = {}

    def logged(words: _Words) -> bool:
        if words not in seen:
            seen[words] = any(_stands_in(words, line) for line in lines)
        return seen[words]

    for path, layer, module in trees:
        count: dict[_Words, int] = {}
        for words, _ in _prints(module.body):
            count[words] = count.get(words, 0) + 1
        printers = {callee for words, callee in _prints(module.body) if logged(words)}
        for node in _conditions(module):
            site = Site(path, layer, node.lineno)
            taken = _verdict(node.body, count, logged)
            other = _verdict(node.orelse, count, logged)
            if taken != other and (taken or other):
                ran[site] = taken
            elif not taken and not other and _should_show(node.body, count, printers):
                silent.add(site)
    return Witness(ran, frozenset(silent))


def _conditions(module: ast.Module) -> Iterator[ast.If]:
    pending: list[ast.AST] = [module]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If):
            yield node
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case):
                pending.append(child)


def _verdict(body: Sequence[ast.stmt], count: dict[_Words, int], logged: Callable[[_Words], bool]) -> bool:
    """Whether a print inside this block, of a text that is printed nowhere else, stands in a log."""
    inside: dict[_Words, int] = {}
    for words, _ in _prints(body):
        inside[words] = inside.get(words, 0) + 1
    return any(inside[words] == count.get(words) and logged(words) for words in inside)


def _should_show(body: Sequence[ast.stmt], count: dict[_Words, int], printers: set[str]) -> bool:
    """Whether this block always prints, with a function whose other texts did reach a log."""
    for statement in body:
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
            found = _printed(statement.value)
            if found is not None and found[1] in printers and count.get(found[0]) == 1:
                return True
    return False


def _prints(body: Sequence[ast.stmt]) -> Iterator[tuple[_Words, str]]:
    """Every print or log call below these statements with the fixed words of its text and the name that is called."""
    pending: list[ast.AST] = list(body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Call):
            found = _printed(node)
            if found is not None:
                yield found
        elif isinstance(node, ast.stmt | ast.ExceptHandler | ast.match_case):
            pending += ast.iter_child_nodes(node)


def _printed(call: ast.Call) -> tuple[_Words, str] | None:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else call.func.id if isinstance(call.func, ast.Name) else ""
    lowered = name.lower()
    if (
        not (lowered.startswith(("print", "log", "info", "write", "emit", "say")) or lowered.endswith(("log", "print")))
        or not call.args
    ):
        return None
    pieces = _fixed_pieces(call.args[0])
    words = tuple(piece for piece in pieces if any(character.isalpha() for character in piece))
    return (words, name) if sum(character.isalpha() for word in words for character in word) >= _LEAST else None


def _fixed_pieces(node: ast.expr) -> list[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value.strip()] if len(node.value) < 2000 else []
    if isinstance(node, ast.JoinedStr):
        return [piece.value.strip() for piece in node.values if isinstance(piece, ast.Constant) and isinstance(piece.value, str)]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return [*_fixed_pieces(node.left), *_fixed_pieces(node.right)]
    return []


def _stands_in(words: _Words, line: str) -> bool:
    position = 0
    for word in words:
        found = line.find(word, position)
        if found < 0:
            return False
        position = found + len(word)
    return True
