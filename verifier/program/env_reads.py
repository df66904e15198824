"""Which environment variables a script reads, with the default and the type that it gives them.

All idioms of real scripts: `os.environ.get`, `os.environ[...]`, `os.getenv` under any alias, conversion chains, comma lists,
nested fallbacks, helper functions and lambdas (`env_int("X", 3)`), names and defaults that are constants of a minified script.
`bool(os.environ.get("X"))` and `if os.environ.get("X"):` are kept apart as `bool-trap`: there "0" means true.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import replace

from verifier.evidence import Location, excerpt
from verifier.program.env_kinds import assigned_name, kind_by_name, kind_of_cast, kind_of_default, surrounding_kind
from verifier.program.env_lookups import (
    Environment,
    Helper,
    Lookup,
    constant_text,
    direct_lookup,
    index_environment,
    literal_text,
    resolve_constant,
    variables_read,
)
from verifier.submission.python_tree import ParsedTree
from verifier.submission.script import EnvRead

_ROUNDS = 3


def env_reads(path: str, layer: int, tree: ParsedTree, lines: Sequence[str]) -> tuple[EnvRead, ...]:
    """Every read of an environment variable whose name is known, in the order of the text."""
    environment = Environment(tree)
    index_environment(environment)
    for _ in range(_ROUNDS):
        if not _find_helpers(environment):
            break
    reads: list[tuple[int, int, EnvRead]] = []
    for lookup in _lookups(environment):
        for name, given in variables_read(environment, lookup):
            kind, default = _describe(environment, replace(lookup, default=given))
            line = lookup.node.lineno
            shown = lines[line - 1] if line <= len(lines) else ""
            shown = shown[max(0, lookup.node.col_offset - 80) : lookup.node.col_offset + 400] if len(shown) > 400 else shown
            where = Location(path, line, layer=layer, excerpt=excerpt(shown))
            reads.append(
                (line, lookup.node.col_offset, EnvRead(name, default, kind, assigned_name(environment, lookup.node), where))
            )
    reads.sort(key=lambda entry: entry[:2])
    return tuple(dict.fromkeys(read for _, _, read in reads))


def _lookups(environment: Environment) -> Iterator[Lookup]:
    for node in environment.candidates:
        direct = direct_lookup(environment, node)
        if direct is not None:
            yield direct
        elif isinstance(node, ast.Call):
            yield from _helper_lookups(environment, node)


def _helper_lookups(environment: Environment, node: ast.Call) -> Iterator[Lookup]:
    called = node.func.id if isinstance(node.func, ast.Name) else node.func.attr if isinstance(node.func, ast.Attribute) else ""
    helper = environment.helpers.get(called)
    if helper is None:
        return
    default = _argument(node, helper.default) if helper.default else None
    default = default if default is not None else helper.own_default
    kind = helper.kind
    if kind is None:
        cast = _argument(node, helper.cast) if helper.cast else None
        kind = kind_of_cast(cast) if cast is not None else kind_of_default(default)
    for parameter in helper.names:
        name = _argument(node, parameter)
        if name is not None:
            if helper.prefix:
                text = constant_text(environment, name, node)
                name = ast.copy_location(ast.Constant(helper.prefix + text), name) if text is not None else name
            yield Lookup(node, name, default, kind=kind)


def _argument(node: ast.Call, parameter: tuple[int, str] | None) -> ast.expr | None:
    if parameter is None:
        return None
    position, name = parameter
    if position < len(node.args):
        given = node.args[position]
        return None if isinstance(given, ast.Starred) else given
    return next((word.value for word in node.keywords if word.arg == name), None)


def _find_helpers(environment: Environment) -> bool:
    """Learn functions and lambdas whose lookups are named by a parameter; true when a new one was found."""
    before = len(environment.helpers)
    candidates: dict[int, ast.AST] = {}
    for lookup in _lookups(environment):
        if not isinstance(lookup.name, ast.Constant):
            candidates.update((id(function), function) for function in environment.tree.functions_around(lookup.node))
    for function in candidates.values():
        name = ""
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            name = function.name
        elif isinstance(function, ast.Lambda):
            parent = environment.tree.parents.get(id(function))
            if isinstance(parent, ast.Assign) and isinstance(parent.targets[0], ast.Name):
                name = parent.targets[0].id
        if not name or name in environment.helpers:
            continue
        assert isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        helper = _as_helper(environment, name, function)
        if helper is not None:
            environment.helpers[name] = helper
    return len(environment.helpers) > before


def _as_helper(
    environment: Environment, name: str, function: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
) -> Helper | None:
    parameters = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]
    if parameters and parameters[0] in ("self", "cls"):
        parameters = parameters[1:]
    by_name = {parameter: position for position, parameter in enumerate(parameters)}
    by_name.update({argument.arg: 1_000 for argument in function.args.kwonlyargs})
    if not by_name:
        return None
    names: dict[str, None] = {}
    found: list[Lookup] = []
    prefix = ""
    for inner in ast.walk(function):
        direct = direct_lookup(environment, inner)
        candidates = [direct] if direct else list(_helper_lookups(environment, inner)) if isinstance(inner, ast.Call) else []
        for lookup in candidates:
            parameter, prefix_ = _named_parameter(lookup.name, by_name)
            if parameter:
                names[parameter] = None
                prefix = prefix_
                found.append(lookup)
    if not found:
        return None
    default = _default_parameter(function, found, by_name, set(names))
    cast = next((parameter for parameter in by_name if _is_called(function, parameter)), None)
    kind = None if cast else _helper_kind(environment, name, function, found)
    own = _own_default(function, default)
    return Helper(
        tuple((by_name[parameter], parameter) for parameter in names),
        (by_name[default], default) if default else None,
        (by_name[cast], cast) if cast else None,
        kind,
        own
        if own is not None
        else next((found_.default for found_ in found if found_.default is not None and not default), None),
        prefix,
    )


def _named_parameter(node: ast.expr, parameters: dict[str, int]) -> tuple[str, str]:
    """The parameter that names the variable, and a literal prefix (`f"TTT_{name}"`)."""
    if isinstance(node, ast.Name) and node.id in parameters:
        return node.id, ""
    if isinstance(node, ast.JoinedStr) and len(node.values) == 2:
        head, tail = node.values
        if (
            isinstance(head, ast.Constant)
            and isinstance(head.value, str)
            and isinstance(tail, ast.FormattedValue)
            and isinstance(tail.value, ast.Name)
            and tail.value.id in parameters
        ):
            return tail.value.id, head.value
    return "", ""


def _default_parameter(
    function: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda,
    found: list[Lookup],
    parameters: dict[str, int],
    names: set[str],
) -> str | None:
    """The parameter that supplies the default: inside the lookup, or returned when the variable is unset."""
    for lookup in found:
        if lookup.default is not None:
            for inner in ast.walk(lookup.default):
                if isinstance(inner, ast.Name) and inner.id in parameters and inner.id not in names:
                    return inner.id
    for inner in ast.walk(function):
        value = inner.value if isinstance(inner, ast.Return) else inner.body if isinstance(inner, ast.IfExp) else None
        candidates = [value, inner.orelse] if isinstance(inner, ast.IfExp) else [value]
        for candidate in candidates:
            if isinstance(candidate, ast.Name) and candidate.id in parameters and candidate.id not in names:
                return candidate.id
    return next(
        (parameter for parameter in parameters if parameter in ("default", "d", "fallback") and parameter not in names), None
    )


def _own_default(function: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, parameter: str | None) -> ast.expr | None:
    if parameter is None:
        return None
    arguments = [*function.args.posonlyargs, *function.args.args]
    for argument, default in zip(reversed(arguments), reversed(function.args.defaults), strict=False):
        if argument.arg == parameter:
            return default
    for argument, keyword in zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True):
        if argument.arg == parameter:
            return keyword
    return None


def _is_called(function: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, parameter: str) -> bool:
    return any(
        isinstance(inner, ast.Call) and isinstance(inner.func, ast.Name) and inner.func.id == parameter
        for inner in ast.walk(function)
    )


def _helper_kind(
    environment: Environment, name: str, function: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, found: list[Lookup]
) -> str | None:
    """What a helper returns: by its annotation, by the conversion around the lookup or its variable, by its name."""
    returns = getattr(function, "returns", None)
    if isinstance(returns, ast.Name) and returns.id in ("int", "float", "bool", "str"):
        return returns.id
    if isinstance(returns, ast.Subscript):
        return "list"
    kinds = [lookup.kind or surrounding_kind(environment, lookup.node)[0] for lookup in found]
    variables = {target for lookup in found if (target := assigned_name(environment, lookup.node))}
    for inner in ast.walk(function):
        if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Load) and inner.id in variables:
            kinds.append(surrounding_kind(environment, inner)[0])
    for kind in ("list", "float", "int", "bool"):
        if kind in kinds:
            return kind
    named = kind_by_name(name)
    if named != "other":
        return named
    # A bare `if value:` beside the conversion is a test for "unset", not a boolean.
    return None if any(_calls_type(inner) for inner in ast.walk(function)) else "str"


def _calls_type(node: ast.AST) -> bool:
    """`type(default)(value)`."""
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Call) and getattr(node.func.func, "id", "") == "type"


def _describe(environment: Environment, lookup: Lookup) -> tuple[str, str | None]:
    """Kind and default of a lookup."""
    kind, fallback = surrounding_kind(environment, lookup.node)
    if lookup.kind is not None and (lookup.kind != "str" or kind in ("str", "bool-trap")):
        kind = lookup.kind
    default = lookup.default if lookup.default is not None else fallback
    return kind, _default_text(environment, default, lookup.node, 0)


def _default_text(environment: Environment, node: ast.expr | None, around: ast.AST, depth: int) -> str | None:
    if node is None or depth > 8:
        return None
    node = resolve_constant(environment, node, around)
    inner = direct_lookup(environment, node)
    if inner is not None:  # get(A, get(B, d)): with neither set, d holds
        return _default_text(environment, inner.default, around, depth + 1)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("str", "int", "float", "repr"):
        return _default_text(environment, node.args[0], around, depth + 1) if len(node.args) == 1 else None
    if isinstance(node, ast.Call):
        helper = next(iter(_helper_lookups(environment, node)), None)
        return _default_text(environment, helper.default, around, depth + 1) if helper is not None else None
    if isinstance(node, ast.IfExp):  # "1" if default else "0" of a helper
        return None
    return literal_text(node)
