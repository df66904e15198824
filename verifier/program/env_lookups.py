"""Where a script looks into its environment, and under which names: aliases, minified constants, literal loops."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

from verifier.submission.python_tree import ParsedTree

_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef, ast.Module)
_DISTRIBUTED = frozenset(("RANK", "LOCAL_RANK", "WORLD_SIZE"))


@dataclass(frozen=True, slots=True)
class Lookup:
    """One place that reads the environment: the name's expression and the default's, as written there."""

    node: ast.expr
    name: ast.expr
    default: ast.expr | None
    kind: str | None = None
    """Known for helper calls; else read from what surrounds the lookup."""


@dataclass(frozen=True, slots=True)
class Helper:
    """A function that looks up variables named by its parameters. Positions count without `self`/`cls`."""

    names: tuple[tuple[int, str], ...]
    default: tuple[int, str] | None
    cast: tuple[int, str] | None
    kind: str | None
    """`None`: decided by the cast argument or the default's type at the call."""
    own_default: ast.expr | None
    prefix: str = ""


@dataclass(slots=True)
class Environment:
    tree: ParsedTree
    constants: dict[str, ast.expr] = field(default_factory=dict)
    local_constants: dict[int, dict[str, ast.expr]] = field(default_factory=dict)
    mappings: set[str] = field(default_factory=set)
    """Names bound to `os.environ`."""
    getters: set[str] = field(default_factory=set)
    """Names bound to `os.environ.get` or `os.getenv`."""
    os_names: set[str] = field(default_factory=lambda: {"os"})
    helpers: dict[str, Helper] = field(default_factory=dict)
    candidates: tuple[ast.AST, ...] = ()
    """The nodes that can be a lookup at all: calls, subscripts and comparisons."""


def index_environment(environment: Environment) -> None:
    """Parents, constants, and the names under which the environment is known."""
    environment.candidates = tuple(environment.tree.of(ast.Call, ast.Subscript, ast.Compare))
    assigned: dict[tuple[int, str], int] = {}
    for node in environment.tree.of(ast.Import, ast.ImportFrom, ast.Name):
        if isinstance(node, ast.Import):
            environment.os_names.update(alias.asname for alias in node.names if alias.name == "os" and alias.asname)
        elif isinstance(node, ast.ImportFrom) and node.module == "os":
            for alias in node.names:
                known = {"environ": environment.mappings, "getenv": environment.getters}.get(alias.name)
                if known is not None:
                    known.add(alias.asname or alias.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            scope = _scope_of(environment, node)
            assigned[id(scope), node.id] = assigned.get((id(scope), node.id), 0) + 1
    for _ in range(2):  # an alias of an alias
        for made in environment.tree.of(ast.Assign):
            if not isinstance(made.targets[0], ast.Name) or len(made.targets) != 1:
                continue
            name, scope = made.targets[0].id, _scope_of(environment, made)
            if _is_environment(environment, made.value):
                environment.mappings.add(name)
            elif is_getter(environment, made.value):
                environment.getters.add(name)
            elif assigned[id(scope), name] == 1 and literal_text(made.value) is not None:
                inside = isinstance(scope, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                table = environment.local_constants.setdefault(id(scope), {}) if inside else environment.constants
                table[name] = made.value


def _scope_of(environment: Environment, node: ast.AST) -> ast.AST:
    current = environment.tree.parents.get(id(node), environment.tree.module)
    while not isinstance(current, _SCOPES):
        current = environment.tree.parents.get(id(current), environment.tree.module)
    return current


def _is_environment(environment: Environment, node: ast.expr) -> bool:
    if isinstance(node, ast.Name):
        return node.id in environment.mappings
    if isinstance(node, ast.Call):  # dict(os.environ), os.environ.copy()
        if isinstance(node.func, ast.Name) and node.func.id == "dict" and len(node.args) == 1:
            return _is_environment(environment, node.args[0])
        return isinstance(node.func, ast.Attribute) and node.func.attr == "copy" and _is_environment(environment, node.func.value)
    return isinstance(node, ast.Attribute) and node.attr in ("environ", "environb") and _is_os(environment, node.value)


def _is_os(environment: Environment, node: ast.expr) -> bool:
    if isinstance(node, ast.Name):
        return node.id in environment.os_names
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "__import__"
        and bool(node.args)
        and isinstance(node.args[0], ast.Constant)
        and node.args[0].value == "os"
    )


def is_getter(environment: Environment, node: ast.expr) -> bool:
    if isinstance(node, ast.Name):
        return node.id in environment.getters
    if not isinstance(node, ast.Attribute):
        return False
    if node.attr in ("get", "pop", "setdefault"):
        return _is_environment(environment, node.value)
    return node.attr == "getenv" and _is_os(environment, node.value)


def direct_lookup(environment: Environment, node: ast.AST) -> Lookup | None:
    """`os.environ.get(name, default)`, `os.environ[name]`, `name in os.environ`."""
    if isinstance(node, ast.Call) and is_getter(environment, node.func) and node.args:
        default = node.args[1] if len(node.args) > 1 else next((k.value for k in node.keywords if k.arg == "default"), None)
        return Lookup(node, node.args[0], default)
    if isinstance(node, ast.Call) and is_getter(environment, node.func):
        key = next((word.value for word in node.keywords if word.arg == "key"), None)
        default = next((word.value for word in node.keywords if word.arg == "default"), None)
        return Lookup(node, key, default) if key is not None else None
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load) and _is_environment(environment, node.value):
        return Lookup(node, node.slice, None)
    if (
        isinstance(node, ast.Compare)
        and isinstance(node.ops[0], ast.In | ast.NotIn)
        and _is_environment(environment, node.comparators[0])
    ):
        if isinstance(node.left, ast.Constant) and node.left.value in _DISTRIBUTED:
            return None  # detection of torchrun, not a parameter
        return Lookup(node, node.left, None, kind="other")
    return None


def constant_text(environment: Environment, node: ast.expr, around: ast.AST) -> str | None:
    resolved = resolve_constant(environment, node, around)
    if isinstance(resolved, ast.Constant):
        if isinstance(resolved.value, str):
            return resolved.value
        if isinstance(resolved.value, bytes):
            return resolved.value.decode("latin-1")
    return None


def resolve_constant(environment: Environment, node: ast.expr, around: ast.AST) -> ast.expr:
    """A name that is assigned one literal stands for it: the function's own constants first, then the module's and classes'."""
    if not isinstance(node, ast.Name):
        return node
    scope: ast.AST | None = _scope_of(environment, around)
    while scope is not None and not isinstance(scope, ast.Module):
        if node.id in environment.local_constants.get(id(scope), {}):
            return environment.local_constants[id(scope)][node.id]
        if isinstance(scope, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            bound = [argument.arg for argument in (*scope.args.args, *scope.args.kwonlyargs, *scope.args.posonlyargs)]
            if node.id in bound:
                return node
        scope = _scope_of(environment, scope)
    return environment.constants.get(node.id, node)


def literal_text(node: ast.expr) -> str | None:
    """The text of a literal; arithmetic on numbers is worked out (`2 * 1024`)."""
    if isinstance(node, ast.Constant):
        if node.value is None or node.value is Ellipsis:
            return None
        return node.value if isinstance(node.value, str) else str(node.value)
    if isinstance(node, ast.List | ast.Tuple | ast.Set | ast.Dict):
        return (
            "" if isinstance(node, ast.Dict) else ",".join(text for item in node.elts if (text := literal_text(item)) is not None)
        )
    number = literal_number(node)
    return None if number is None else str(number)


def literal_number(node: ast.expr) -> int | float | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = literal_number(node.operand)
        return None if inner is None else -inner
    if not isinstance(node, ast.BinOp):
        return None
    left, right = literal_number(node.left), literal_number(node.right)
    if left is None or right is None or max(abs(left), abs(right)) > 1e15:
        return None
    try:
        match node.op:
            case ast.Add():
                return left + right
            case ast.Sub():
                return left - right
            case ast.Mult():
                return left * right
            case ast.Div():
                return left / right
            case ast.FloorDiv():
                return left // right
            case ast.Pow() if abs(right) <= 64:
                power = left**right
                return power if isinstance(power, int | float) else None
    except (ZeroDivisionError, OverflowError):
        return None
    return None


def variables_read(environment: Environment, lookup: Lookup) -> list[tuple[str, ast.expr | None]]:
    """The variable's name and default; several when the lookup runs over a literal list."""
    text = constant_text(environment, lookup.name, lookup.node)
    if text is not None:
        return [(text, lookup.default)] if text else []
    if isinstance(lookup.name, ast.Name):
        return _loop_names(environment, lookup.name.id, lookup.default, lookup.node)
    return []


def _loop_names(
    environment: Environment, variable: str, default: ast.expr | None, around: ast.AST
) -> list[tuple[str, ast.expr | None]]:
    """`for key in ("A", "B")`, also `for key, default in (("A", 1), ...)` and `{...}.items()`."""
    if isinstance(default, ast.Call) and len(default.args) == 1 and isinstance(default.func, ast.Name):
        default = default.args[0]  # str(default)
    current: ast.AST | None = around
    while current is not None:
        generators: list[tuple[ast.expr, ast.expr]] = []
        if isinstance(current, ast.For):
            generators = [(current.target, current.iter)]
        elif isinstance(current, ast.ListComp | ast.GeneratorExp | ast.SetComp | ast.DictComp):
            generators = [(generator.target, generator.iter) for generator in current.generators]
        for target, iterable in generators:
            targets = target.elts if isinstance(target, ast.Tuple) else [target]
            names = [element.id if isinstance(element, ast.Name) else "" for element in targets]
            if variable not in names:
                continue
            column = names.index(variable)
            other = names.index(default.id) if isinstance(default, ast.Name) and default.id in names else None
            rows = _literal_rows(environment, iterable, around)
            return [
                (key.value, row[other] if other is not None and other < len(row) else default)
                for row in rows
                if column < len(row) and isinstance(key := row[column], ast.Constant) and isinstance(key.value, str)
            ]
        current = environment.tree.parents.get(id(current))
    return []


def _literal_rows(environment: Environment, iterable: ast.expr, around: ast.AST) -> list[list[ast.expr]]:
    """The items of a literal list as rows; a mapping's rows are its pairs."""
    if isinstance(iterable, ast.Call) and isinstance(iterable.func, ast.Attribute) and iterable.func.attr in ("items", "keys"):
        iterable = iterable.func.value
    resolved = resolve_constant(environment, iterable, around)
    if isinstance(resolved, ast.Dict):
        return [[key, value] for key, value in zip(resolved.keys, resolved.values, strict=True) if key is not None]
    if isinstance(resolved, ast.List | ast.Tuple | ast.Set):
        return [list(item.elts) if isinstance(item, ast.Tuple) else [item] for item in resolved.elts]
    return []
