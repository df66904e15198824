"""Functions, classes and imports of the interpreted program."""

from __future__ import annotations

import ast

from verifier.program.assignments import Assignments
from verifier.program.scope import Scope
from verifier.program.values import (
    ClassV,
    Data,
    Func,
    Instance,
    Lib,
    Value,
)
from verifier.submission.python_tree import nodes_below


class Definitions(Assignments):
    """Defines functions and classes, imports modules."""

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef, scope: Scope) -> str:
        decorators = [self.evaluate(decorator, scope) for decorator in node.decorator_list]
        names = frozenset(
            _decorator_name(decorator, value) for decorator, value in zip(node.decorator_list, decorators, strict=True)
        )
        value: Value = Func(node, node.name, scope, self.defaults_of(node.args, scope), names)
        for wrapper in reversed(decorators):
            if isinstance(wrapper, Func | ClassV | Instance):
                value = self.call(wrapper, [value], {}, node, scope)
        scope.bind(node.name, value)
        return "next"

    def _class(self, node: ast.ClassDef, scope: Scope) -> str:
        bases: list[ClassV] = []
        kinds: set[str] = set()
        for expression in node.bases:
            value = self.evaluate(expression, scope)
            if isinstance(value, ClassV):
                bases.append(value)
                kinds |= value.kinds
            elif isinstance(value, Lib):
                kinds.add(value.name)
        cls = ClassV(node, tuple(bases), frozenset(kinds))
        cls.cursors = _cursors(node) | frozenset(name for base in bases for name in base.cursors)
        body = Scope(scope.module, scope)
        decorators = [self.evaluate(decorator, scope) for decorator in node.decorator_list]
        for decorator, value in zip(node.decorator_list, decorators, strict=True):
            called = _decorator_name(decorator, value)
            cls.dataclass = cls.dataclass or called.endswith("dataclass")
        cls.dataclass = cls.dataclass or any(base.dataclass for base in bases) or "typing.NamedTuple" in kinds
        body.names["__class__"] = cls
        self.execute(node.body, body)
        for name, value in body.names.items():
            if name == "__class__":
                continue
            if isinstance(value, Func) and value.scope is body:
                value.cls = cls
                value.scope = scope
            cls.attributes[name] = value
        for base in bases:
            hook = base.find("__init_subclass__")
            if isinstance(hook, Func):
                self.call(hook.with_receiver(cls), [], {}, node, scope)
        for keyword in node.keywords:
            meta = self.evaluate(keyword.value, scope)
            if keyword.arg == "metaclass" and isinstance(meta, ClassV):
                for name in ("__new__", "__init__", "__call__"):
                    hook = meta.find(name)
                    if isinstance(hook, Func):
                        unknown = self.data("unknown", (), self.site(node, scope))
                        self.call(hook.with_receiver(cls), [unknown] * 3, {}, node, scope)
        scope.bind(node.name, cls)
        for wrapper in reversed(decorators):
            if isinstance(wrapper, Func):
                made = self.call(wrapper, [cls], {}, node, scope)
                if isinstance(made, ClassV):
                    scope.bind(node.name, made)
        return "next"

    def _import(self, node: ast.Import, scope: Scope) -> str:
        for alias in node.names:
            value = self.import_module(alias.name if alias.asname else alias.name.split(".")[0], scope, node)
            scope.bind(alias.asname or alias.name.split(".")[0], value)
        return "next"

    def _import_from(self, node: ast.ImportFrom, scope: Scope) -> str:
        module = self.import_module(node.module or "", scope, node)
        site = self.site(node, scope)
        for alias in node.names:
            if alias.name == "*":
                if isinstance(module, Instance):
                    for name, value in module.fields.items():
                        scope.bind(name, value)
                continue
            scope.bind(alias.asname or alias.name, self.get_attribute(module, alias.name, site, scope))
        return "next"

    def _global(self, node: ast.Global, scope: Scope) -> str:
        for name in node.names:
            scope.outer[name] = scope.root
        return "next"

    def _nonlocal(self, node: ast.Nonlocal, scope: Scope) -> str:
        for name in node.names:
            owner = scope.parent
            while owner is not None and name not in owner.names:
                owner = owner.parent
            if owner is not None:
                scope.outer[name] = owner
        return "next"


def source_text(node: ast.AST | None) -> str:
    if node is None:
        return ""
    text = getattr(node, "_verifier_text", None)
    if text is None:
        try:
            text = ast.unparse(node)[:160]
        except (RecursionError, ValueError):
            text = "..."
        node._verifier_text = text  # type: ignore[attr-defined]
    return str(text)


def _cursors(node: ast.ClassDef) -> frozenset[str]:
    """Attributes that methods advance (`self.position += n`): they differ from call to call."""
    found: set[str] = set()
    for method in node.body:
        if isinstance(method, ast.FunctionDef) and method.name != "__init__":
            for inner in nodes_below(method):
                if isinstance(inner, ast.AugAssign) and isinstance(inner.target, ast.Attribute):
                    found.add(inner.target.attr)
                elif isinstance(inner, ast.Assign):
                    for target in inner.targets:
                        if isinstance(target, ast.Attribute) and isinstance(inner.value, ast.Name | ast.BinOp):
                            found.add(target.attr)
    return frozenset(found)


def _decorator_name(node: ast.expr, value: Value) -> str:
    if isinstance(value, Lib):
        return value.name
    if isinstance(value, Data) and value.op.startswith("call:"):
        return value.op[5:]
    return source_text(node.func if isinstance(node, ast.Call) else node)
