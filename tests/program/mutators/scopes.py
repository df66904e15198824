"""What a piece of a program binds, reads and may do: the questions every rewrite asks before it moves anything."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from random import Random

type Function = ast.FunctionDef | ast.AsyncFunctionDef
type Keep = frozenset[str]

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
SCOPES = (*FUNCTIONS, ast.ClassDef, ast.Lambda)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
UNMOVABLE = (
    *SCOPES,
    ast.GeneratorExp,  # runs later than where it is written
    ast.NamedExpr,
    ast.Await,
    ast.Yield,
    ast.YieldFrom,
    ast.Return,
    ast.Break,
    ast.Continue,
    ast.Delete,
    ast.Global,
    ast.Nonlocal,
    ast.Import,
    ast.ImportFrom,
)
FRAME_BOUND = frozenset({"super", "locals", "globals", "vars", "dir", "eval", "exec", "__class__"})
"""Names whose meaning depends on the function they stand in."""


@dataclass(frozen=True, slots=True)
class Uses:
    """Names that a statement or expression reads and writes in its own scope (those of a comprehension are its own)."""

    reads: frozenset[str]
    writes: frozenset[str]


def uses_of(*nodes: ast.AST) -> Uses:
    reads: set[str] = set()
    writes: set[str] = set()
    for node in nodes:
        _collect(node, reads, writes)
    return Uses(frozenset(reads), frozenset(writes))


def _collect(node: ast.AST, reads: set[str], writes: set[str]) -> None:
    if isinstance(node, COMPREHENSIONS):
        inner_reads: set[str] = set()
        inner_writes: set[str] = set()
        for child in ast.iter_child_nodes(node):
            _collect(child, inner_reads, inner_writes)
        _collect(node.generators[0].iter, reads, writes)
        reads |= inner_reads - inner_writes
    elif isinstance(node, ast.Name):
        (reads if isinstance(node.ctx, ast.Load) else writes).add(node.id)
    else:
        if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            reads.add(node.target.id)
        for child in ast.iter_child_nodes(node):
            _collect(child, reads, writes)


def arguments_of(function: Function | ast.Lambda) -> list[ast.arg]:
    spec = function.args
    rest = [extra for extra in (spec.vararg, spec.kwarg) if extra is not None]
    return [*spec.posonlyargs, *spec.args, *spec.kwonlyargs, *rest]


def bindings(node: ast.AST) -> Iterator[str]:
    """Names that this one node binds (not its children)."""
    match node:
        case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
            yield name
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name) | ast.arg(arg=name):
            yield name
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            yield from (alias.asname or alias.name.split(".")[0] for alias in names if alias.name != "*")
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            yield name
        case ast.MatchMapping(rest=str(name)):
            yield name
        case _:
            pass


def walk_scope(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Every node of a scope; nested functions, classes and lambdas are given but not entered."""
    todo = list(body)
    while todo:
        node = todo.pop()
        yield node
        if not isinstance(node, SCOPES):
            todo.extend(ast.iter_child_nodes(node))


def locals_of(function: Function) -> set[str]:
    """Parameters and every name bound in the body, comprehension targets included; those declared global or nonlocal are not."""
    names = {argument.arg for argument in arguments_of(function)}
    outer: set[str] = set()
    for node in walk_scope(function.body):
        names.update(bindings(node))
        if isinstance(node, ast.Global | ast.Nonlocal):
            outer.update(node.names)
    return names - outer


def captured_in(function: Function) -> set[str]:
    """Names that nested functions, lambdas, classes and generator expressions mention: they see later changes."""
    names: set[str] = set()
    for node in walk_scope(function.body):
        if isinstance(node, (*SCOPES, ast.GeneratorExp)):
            for inner in ast.walk(node):
                if isinstance(inner, ast.Name):
                    names.add(inner.id)
                elif isinstance(inner, ast.Nonlocal | ast.Global):
                    names.update(inner.names)
    return names


def rebound_elsewhere(tree: ast.AST) -> set[str]:
    """Names declared global or nonlocal: any call may change what they stand for."""
    return {name for node in ast.walk(tree) if isinstance(node, ast.Global | ast.Nonlocal) for name in node.names}


def movable(statement: ast.stmt) -> bool:
    """Whether a statement may run in another function: nothing in it is bound to its frame, its class or the flow around it."""
    for node in ast.walk(statement):
        if isinstance(node, UNMOVABLE):
            return False
        if isinstance(node, ast.Name) and node.id in FRAME_BOUND:
            return False
        name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
        if name.startswith("__") and not name.endswith("__"):
            return False  # mangled with the class around it
    return True


def compiled_elsewhere(function: Function) -> bool:
    """Functions that another compiler reads (`triton.jit`, `torch.jit.script`) allow less than Python does."""
    return any("jit" in ast.unparse(decorator) for decorator in function.decorator_list)


def functions_at_top(tree: ast.Module) -> Iterator[tuple[int, Function]]:
    """(index of the top-level statement, function): module functions and methods of module classes that may be rewritten."""
    for index, statement in enumerate(tree.body):
        inside = statement.body if isinstance(statement, ast.ClassDef) else [statement]
        for function in inside:
            if isinstance(function, FUNCTIONS) and not compiled_elsewhere(function):
                yield index, function


def blocks_of(function: Function) -> Iterator[list[ast.stmt]]:
    """Every statement list of a function's own scope, except those in `try`."""
    todo: list[list[ast.stmt]] = [function.body]
    while todo:
        block = todo.pop()
        yield block
        for statement in block:
            if isinstance(statement, ast.If | ast.For | ast.While):
                todo += [statement.body, statement.orelse]
            elif isinstance(statement, ast.With):
                todo.append(statement.body)


class Fresh:
    """Identifiers that the program does not have."""

    def __init__(self, tree: ast.AST, rng: Random) -> None:
        self._rng = rng
        self._taken = {name for node in ast.walk(tree) for name in _mentioned(node)}

    def name(self, stem: str = "n") -> str:
        while True:
            name = f"{stem}{self._rng.randrange(10_000)}"
            if name not in self._taken:
                self._taken.add(name)
                return name


def _mentioned(node: ast.AST) -> Iterator[str]:
    yield from bindings(node)
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            yield name
        case ast.keyword(arg=str(name)):
            yield name
        case ast.Constant(value=str(text)) if len(text) < 200:
            yield text
        case _:
            pass
