"""COD002: import guards, switches and settings that are set and that nothing reads."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from audits.code.sources import place, program_sources, why_not
from verifier.engine.context import Context
from verifier.program.analysis import ProgramText
from verifier.rule import Confidence, Decision, Finding, Level, Measured, Outcome, Rule
from verifier.submission.script import EnvRead
from verifier.submission.submission import Submission

_PULL = "https://github.com/openai/parameter-golf/pull/"
_PRINTS = frozenset(
    {"print", "log", "log0", "logger", "info", "write", "debug", "startswith", "isinstance", "callable", "str", "repr"}
)
_REFLECTS = frozenset({"vars", "locals", "globals", "asdict", "fields", "astuple", "eval", "exec", "dir"})
_HOLDERS = frozenset({"args", "h", "hp", "hps", "hparams", "cfg", "config", "opt", "opts", "params", "settings"})
_NAMING: tuple[type[ast.AST], ...] = (
    ast.Name, ast.Attribute, ast.keyword, ast.ImportFrom, ast.Constant, ast.arg, ast.AugAssign, ast.MatchClass,
)  # fmt: skip
MAXIMUM = 24
"""Lines cited in one finding."""


def check(context: Context) -> Decision:
    submission = context.submission
    reason = why_not(submission)
    sources = program_sources(context)
    if reason or not sources:
        return Decision.not_available(reason or "the script does not parse")
    if submission.program.missing_imports:
        name, _ = submission.program.missing_imports[0]
        return Decision.not_available(f"the script imports {name}, which is not in the folder and may read anything")
    used = _names_used(sources)
    findings = list(_dead_guards(sources, used))
    reflected = _reflection(sources)
    if reflected is None:
        findings += _dead_settings(submission, sources, used)
    if findings:
        return Decision.of(findings)
    if reflected is not None:
        return Decision.not_available(
            f"every import guard and switch is read; settings are reached through `{reflected}`, so their readers are unknown"
        )
    return Decision.passed("every import guard, switch and setting of the script is read somewhere")


def _names_used(sources: Sequence[ProgramText]) -> set[str]:
    """Every name that is read anywhere: loads, attributes, keywords, imported names, and words of strings that could name one."""
    used: set[str] = set()
    for source in sources:
        for node in source.parsed.of(*_NAMING):
            if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Store):
                used.add(node.id)
            elif isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Store):
                used.add(node.attr)
            elif isinstance(node, ast.keyword) and node.arg is not None:
                used.add(node.arg)
            elif isinstance(node, ast.ImportFrom):
                used.update(alias.name for alias in node.names)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
                used.add(node.value)
            elif isinstance(node, ast.arg):
                used.add(node.arg)
            elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name | ast.Attribute):
                used.add(node.target.id if isinstance(node.target, ast.Name) else node.target.attr)
            elif isinstance(node, ast.MatchClass):
                used.update(node.kwd_attrs)
    return used


def _dead_guards(sources: Sequence[ProgramText], used: set[str]) -> Iterator[Finding]:
    """Module-level names that only ever hold True or False: import guards (`_HAS_X` in a try) and constant switches."""
    for source in sources:
        written: dict[str, list[ast.Assign]] = {}
        spoiled: set[str] = set()
        for node in source.parsed.of(ast.Assign, ast.Global, ast.Nonlocal):
            if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
                name, constant = node.targets[0].id, isinstance(node.value, ast.Constant) and isinstance(node.value.value, bool)
                if not constant or source.parsed.functions_around(node) or _in_class(source, node):
                    spoiled.add(name)
                else:
                    written.setdefault(name, []).append(node)
            elif isinstance(node, ast.Global | ast.Nonlocal):
                spoiled.update(node.names)
        for name, nodes in written.items():
            if name in used or name in spoiled or name.startswith("__"):
                continue
            guarded = [node for node in nodes if _guards_an_import(source, node)]
            what = "says whether an import worked" if guarded else "is a switch"
            yield Finding(
                Outcome.FAIL,
                f"{name} {what}, and nothing reads it",
                tuple(place(source, node) for node in nodes),
                remediation="remove the flag, or branch on it",
            )


def _in_class(source: ProgramText, node: ast.AST) -> bool:
    current = source.parsed.parents.get(id(node))
    while current is not None:
        if isinstance(current, ast.ClassDef):
            return True
        current = source.parsed.parents.get(id(current))
    return False


def _guards_an_import(source: ProgramText, node: ast.AST) -> bool:
    current = source.parsed.parents.get(id(node))
    while current is not None:
        if isinstance(current, ast.Try):
            return any(isinstance(inner, ast.Import | ast.ImportFrom) for inner in source.parsed.inside(current))
        current = source.parsed.parents.get(id(current))
    return False


def _reflection(sources: Sequence[ProgramText]) -> str | None:
    """A use of settings that the tree does not show (`getattr(args, name)`, `vars(args)` that is more than a dump)."""
    packed = {source.path for source in sources if source.layer}
    for source in sources:
        modules = _imported_names(source)
        for node in source.parsed.of(ast.Attribute, ast.Call):
            if isinstance(node, ast.Attribute) and node.attr == "__dict__" and not _only_dumped(source, node):
                return ast.unparse(node)[:60]
            if not isinstance(node, ast.Call):
                continue
            called = node.func.id if isinstance(node.func, ast.Name) else ""
            computed = called == "getattr" and len(node.args) > 1 and not isinstance(node.args[1], ast.Constant)
            if computed and _may_hold_settings(node.args[0], modules) and not _only_dumped(source, node):
                return ast.unparse(node)[:60]
            starts_layer = called in ("exec", "eval") and source.layer == 0 and source.path in packed
            if called in _REFLECTS and not starts_layer and not _only_dumped(source, node):
                return ast.unparse(node)[:60]
    return None


def _imported_names(source: ProgramText) -> set[str]:
    return {
        (alias.asname or alias.name).split(".")[0]
        for node in source.parsed.of(ast.Import, ast.ImportFrom)
        for alias in node.names
    }


def _may_hold_settings(node: ast.expr, modules: set[str]) -> bool:
    """`getattr(torch, name)` and `getattr(block.attn, name)` don't read settings; any other object may be their holder."""
    if isinstance(node, ast.Name):
        return node.id not in modules
    return not isinstance(node, ast.Attribute) or node.attr in _HOLDERS


def _only_dumped(source: ProgramText, node: ast.AST) -> bool:
    """Whether the value only goes into a print: a loop or call around it that does nothing but write text."""
    current: ast.AST | None = node
    while current is not None and not isinstance(current, ast.FunctionDef | ast.ClassDef | ast.Module):
        if isinstance(current, ast.For):
            calls = [
                inner for statement in current.body for inner in source.parsed.inside(statement) if isinstance(inner, ast.Call)
            ]
            stores = any(
                isinstance(inner, ast.Assign | ast.AugAssign | ast.Return | ast.Yield)
                for statement in current.body
                for inner in source.parsed.inside(statement)
            )
            return not stores and all(_prints(call) for call in calls)
        if isinstance(current, ast.Call) and current is not node and _prints(current):
            return True
        if isinstance(current, ast.stmt):
            return False
        current = source.parsed.parents.get(id(current))
    return False


def _prints(call: ast.Call) -> bool:
    name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
    return name.lstrip("_") in _PRINTS


def _dead_settings(submission: Submission, sources: Sequence[ProgramText], used: set[str]) -> Iterator[Finding]:
    """Settings read from the environment whose value goes into a name that nothing reads."""
    dead: list[EnvRead] = []
    for read in submission.program.env_reads:
        name = read.target.rsplit(".", 1)[-1]
        if (
            name
            and name not in used
            and not any(other.name == read.name and other is not read for other in submission.program.env_reads)
        ):
            dead.append(read)
    if not dead:
        return
    names = ", ".join(read.name for read in dead[:MAXIMUM])
    yield Finding(
        Outcome.FAIL,
        f"{len(dead)} settings are read from the environment and used nowhere: {names}"
        if len(dead) > 1
        else f"the setting {names} is read from the environment and used nowhere",
        tuple(read.source for read in dead[:MAXIMUM]),
        Confidence.HIGH,
        Measured(len(dead), "settings"),
        remediation="remove the settings: they suggest features that the script does not have",
    )


DEAD_FLAG = Rule(
    code="COD002",
    name="dead-flag",
    level=Level.NOTE,
    summary="a flag, an import guard or a setting is set and nothing reads it",
    why="A dead flag suggests a feature, or a fallback, that is not there: whoever sets it changes nothing, and whoever reads it "
    "looks for code that does not exist.",
    example="violation: `_HAS_BROTLI = True` in a try, and brotli is imported again where it is used\n"
    "legal: `if _HAS_BROTLI: return brotli.compress(blob)`",
    settles="the readers of the name",
    sources=(_PULL + "1471",),
    check=check,
)
