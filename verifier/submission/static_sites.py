"""Where a script can execute text: the places that tracing it has to account for."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field

from verifier.submission.python_tree import ParsedTree

EXECUTORS = frozenset(("exec", "eval"))
RUNNERS = {
    "builtins.exec": "exec",
    "builtins.eval": "eval",
    "runpy.run_path": "runpy",
}
PROCESSES = ("subprocess.", "os.exec", "os.spawn", "os.system", "os.popen", "os.posix_spawn")
OPAQUE_CALLS = {
    "marshal.loads": "a marshalled code object",
    "marshal.load": "a marshalled code object",
    "types.FunctionType": "a function built from a code object",
    "types.CodeType": "a code object built by hand",
    "runpy.run_module": "a module started by name",
}
_REFLECTION = ("__subclasses__", "__builtins__", "__globals__")
"""Ways to reach `exec` without naming it; no training script of some 2,200 uses them."""


@dataclass(slots=True)
class Sites:
    """Nodes that can execute text, by identity, and the functions around them."""

    nodes: dict[int, ast.expr] = field(default_factory=dict)
    functions: dict[int, list[ast.AST]] = field(default_factory=dict)
    """Site id -> functions that contain it, outermost first."""
    names: set[str] = field(default_factory=set)
    """Functions that contain a site, or call one that does."""
    harmless: set[int] = field(default_factory=set)
    """Those of `nodes` that unpack text or start a process, but execute nothing in this one."""
    callers: dict[int, ast.Name] = field(default_factory=dict)
    """Mentions of such functions: each call of them may execute another text."""


def find_sites(tree: ParsedTree, *, decoders: bool, processes: bool) -> Sites:
    """Every mention of something that can execute text; on request also of what unpacks text or starts a process."""
    sites = Sites()
    bound = _module_names(tree.module)
    aliases = _aliases(tree)
    for node in tree.of(ast.Name, ast.Attribute, ast.Subscript, ast.Call):
        executes = _is_site(node, bound, aliases)
        if executes or (decoders and _is_decoder(node)) or (processes and _is_process(node)):
            assert isinstance(node, ast.expr)
            if not executes:
                sites.harmless.add(id(node))
            sites.nodes[id(node)] = node
            sites.functions[id(node)] = functions = tree.functions_around(node)
            sites.names.update(name for function in functions if (name := getattr(function, "name", None)))
    if sites.names:
        _close_over_callers(tree, sites.names)
        for name in tree.of(ast.Name):
            if isinstance(name.ctx, ast.Load) and name.id in sites.names:
                sites.callers[id(name)] = name
                sites.functions[id(name)] = tree.functions_around(name)
    return sites


def _module_names(tree: ast.Module) -> set[str]:
    """Names that the module itself defines: a function called `eval` is not the builtin."""
    names: set[str] = set()
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(statement.name)
        elif isinstance(statement, ast.ImportFrom) and statement.module != "builtins":
            names.update(alias.asname or alias.name for alias in statement.names)
    return names


def _aliases(tree: ParsedTree) -> dict[str, str]:
    """Names under which modules and functions that matter here are known: imports, and plain renamings of `exec`."""
    aliases: dict[str, str] = {}
    for node in tree.of(ast.Import, ast.ImportFrom, ast.Assign):
        if isinstance(node, ast.Import):
            for name in node.names:
                if name.name.split(".")[0] in ("builtins", "runpy", "marshal", "types", "importlib"):
                    aliases[name.asname or name.name.split(".")[0]] = name.name if name.asname else name.name.split(".")[0]
        elif isinstance(node, ast.ImportFrom) and node.module in ("builtins", "runpy", "marshal", "types"):
            for name in node.names:
                aliases[name.asname or name.name] = f"{node.module}.{name.name}"
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Name) and node.value.id in EXECUTORS:
            aliases.update((target.id, f"builtins.{node.value.id}") for target in node.targets if isinstance(target, ast.Name))
    return aliases


def _is_site(node: ast.AST, bound: set[str], aliases: Mapping[str, str]) -> bool:
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        known = aliases.get(node.id, "")
        if known in RUNNERS or known in OPAQUE_CALLS:
            return True
        return node.id in EXECUTORS and node.id not in bound
    if isinstance(node, ast.Attribute):
        if node.attr in ("exec_module", "load_module", *_REFLECTION):
            return True
        if isinstance(node.value, ast.Name):
            module = "builtins" if node.value.id == "__builtins__" else aliases.get(node.value.id, "")
            return f"{module}.{node.attr}" in RUNNERS or f"{module}.{node.attr}" in OPAQUE_CALLS
        return False
    if isinstance(node, ast.Subscript):  # __builtins__["exec"], vars(builtins)[...]
        return _is_builtins(node.value, aliases)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "getattr" and node.args:
        return _is_builtins(node.args[0], aliases)
    return False


def _is_builtins(node: ast.expr, aliases: Mapping[str, str]) -> bool:
    while isinstance(node, ast.Attribute) and node.attr == "__dict__":
        node = node.value
    if isinstance(node, ast.Call) and node.args and isinstance(node.func, ast.Name) and node.func.id in ("vars", "__import__"):
        named = node.args[0]
        return (isinstance(named, ast.Constant) and named.value == "builtins") or _is_builtins(named, aliases)
    return isinstance(node, ast.Name) and (node.id == "__builtins__" or aliases.get(node.id) == "builtins")


_DECODER_NAMES = frozenset(
    ("b85decode", "a85decode", "b64decode", "b32decode", "b16decode", "unhexlify", "fromhex", "a2b_base64", "a2b_hex")
)
"""Not `decompress`: every script unpacks its own artifact with it."""


def _is_process(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and f"{node.value.id}.{node.attr}".startswith(PROCESSES)
    )


def _is_decoder(node: ast.AST) -> bool:
    if isinstance(node, ast.Attribute):
        return node.attr in _DECODER_NAMES
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in _DECODER_NAMES


def _close_over_callers(tree: ParsedTree, names: set[str]) -> None:
    """Add functions that mention a function with a site, so that they are followed as well."""
    local = {node.name for node in tree.of(ast.FunctionDef, ast.AsyncFunctionDef)}
    mentions: dict[str, set[str]] = {}
    for node in tree.of(ast.Name, ast.Attribute):
        mentioned = node.id if isinstance(node, ast.Name) else node.attr
        if mentioned in local:
            callers = {name for function in tree.functions_around(node) if (name := getattr(function, "name", None))}
            mentions.setdefault(mentioned, set()).update(callers)
    pending = list(names)
    while pending:
        for caller in mentions.get(pending.pop(), ()):
            if caller not in names:
                names.add(caller)
                pending.append(caller)
