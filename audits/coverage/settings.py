"""What is known of an evaluation function before it runs: the settings, its arguments, where it is called."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

from audits.coverage.replay import Replay
from audits.coverage.values import Known, Opaque
from verifier.engine.context import Context
from verifier.program.analysis import Analysis, ProgramText, analysis_of
from verifier.program.events import Event

type Function = ast.FunctionDef | ast.AsyncFunctionDef
ALONE = {"rank": 0, "local_rank": 0, "world_size": 1, "world": 1, "num_ranks": 1, "grad_accum_steps": 1}
"""One process scores everything: how windows are shared out does not change which there are."""
_PASSED_ON = (ast.IfExp, ast.BoolOp, ast.Attribute, ast.Name)
_ALIASES = 3
"""Names that a setting may pass through."""


class Settings:
    """Integers behind `args.stride`: the run's value of the environment variable that the attribute is read from, a constant, or
    what is computed from those (`args.eval_len if args.eval_len > 0 else args.train_len`)."""

    def __init__(self, analysis: Analysis) -> None:
        self.values: dict[str, int | None] = {}
        self.assigned: dict[str, list[ast.expr]] = {}
        """What is assigned to names and attributes, by their last part."""
        calls = {key: call for text in analysis.trees for key, call in _named_calls(text).items()}
        assignments = [
            (name, node.value)
            for text in analysis.trees
            for node in text.parsed.of(ast.Assign, ast.AnnAssign)
            if node.value is not None and (name := _assigned(node)) is not None
        ]
        for name, value in assignments:
            self.assigned.setdefault(name, []).append(value)
            self._keep(name, _setting(value, calls.get(id(value)), analysis.run.config))
        passed_on = [(name, value) for name, value in assignments if isinstance(value, _PASSED_ON)]
        for _ in range(_ALIASES):
            for name, value in passed_on:
                if name not in self.values:
                    self._keep(name, Replay(self.resolve).compute(value))

    def _keep(self, name: str, number: int | None) -> None:
        if number is not None:
            # Two different values under one name: not known.
            self.values[name] = number if self.values.get(name, number) == number else None

    def resolve(self, node: ast.expr) -> int | None:
        if isinstance(node, ast.Attribute):
            return self.values.get(node.attr)
        if isinstance(node, ast.Name):
            return self.values.get(node.id)
        if isinstance(node, ast.Constant):
            return node.value if isinstance(node.value, int) and not isinstance(node.value, bool) else None
        return None


def settings_of(context: Context) -> Settings:
    """The settings of the run, worked out once for all rules that ask."""
    held = context.memo.get("settings")
    if not isinstance(held, Settings):
        held = context.memo["settings"] = Settings(analysis_of(context))
    return held


def _assigned(node: ast.Assign | ast.AnnAssign) -> str | None:
    target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
    return target.id if isinstance(target, ast.Name) else target.attr if isinstance(target, ast.Attribute) else None


def _named_calls(text: ProgramText) -> dict[int, ast.Call]:
    """By the identity of an assigned value: the outermost call in it whose first argument is a text, the name of a variable."""
    found: dict[int, tuple[int, ast.Call]] = {}
    for call in text.parsed.of(ast.Call):
        if not call.args or not isinstance(call.args[0], ast.Constant) or not isinstance(call.args[0].value, str):
            continue
        value: ast.AST = call
        depth, holder = 0, text.parsed.parents.get(id(call))
        while holder is not None and not isinstance(holder, ast.stmt):
            depth, value, holder = depth + 1, holder, text.parsed.parents.get(id(holder))
        if id(value) not in found or depth < found[id(value)][0]:
            found[id(value)] = depth, call
    return {value: call for value, (_, call) in found.items()}


def _setting(node: ast.expr, call: ast.Call | None, config: Mapping[str, str]) -> int | None:
    """The integer that a value is: a constant, or what the run's environment says of the variable that the call names."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, int) and not isinstance(node.value, bool) else None
    if call is None:
        return None
    name, default = (one.value if isinstance(one, ast.Constant) else None for one in (*call.args, None, None)[:2])
    try:
        return int(str(config.get(str(name), default)).replace("_", ""))
    except ValueError:
        return None


def arguments(function: Function, call: ast.Call | None, settings: Settings) -> dict[str, Known]:
    """The integers and `None`s that the parameters stand for, with one process; the others are opaque."""
    parameters = [*function.args.posonlyargs, *function.args.args]
    names: dict[str, Known] = {parameter.arg: Opaque() for parameter in (*parameters, *function.args.kwonlyargs)}
    defaults = function.args.defaults
    for parameter, default in zip(parameters[len(parameters) - len(defaults) :], defaults, strict=True):
        names[parameter.arg] = _argument(default, settings)
    for parameter, keyword in zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True):
        if keyword is not None:
            names[parameter.arg] = _argument(keyword, settings)
    if call is not None:
        for parameter, given in zip(parameters, call.args, strict=False):
            names[parameter.arg] = _argument(given, settings)
        for word in call.keywords:
            if word.arg is not None:
                names[word.arg] = _argument(word.value, settings)
    return names | {name: value for name, value in ALONE.items() if name in names}


def _argument(node: ast.expr, settings: Settings) -> Known:
    if isinstance(node, ast.Constant) and node.value is None:
        return None
    number = settings.resolve(node)
    return number if number is not None else Opaque()


def functions_around(analysis: Analysis, loss: Event) -> Iterator[tuple[ProgramText, Function]]:
    """The functions that the loss is formed in, innermost first."""
    for site in (loss.site, *reversed(loss.stack)):
        yield from analysis.functions_at(site)


def call_of(analysis: Analysis, loss: Event, name: str) -> ast.Call | None:
    """The call of a function on the way to the loss."""
    lines = {(site.path, site.layer, site.line) for site in loss.stack}
    for text in analysis.trees:
        for node in text.parsed.calls_of(name):
            if (text.path, text.layer, node.lineno) in lines:
                return node
    return None
