"""Following calls: into local functions, into modelled library functions, and to what executes text."""

from __future__ import annotations

import ast
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from verifier.submission.static_expressions import Execution, Expressions
from verifier.submission.static_models import call_model
from verifier.submission.static_sites import OPAQUE_CALLS, PROCESSES, RUNNERS
from verifier.submission.static_values import (
    PATH_IDENTITY,
    UNKNOWN,
    CodeValue,
    DecoderObject,
    FileHandle,
    LocalFunction,
    ModuleSpec,
    Reference,
    Scope,
    Static,
    Unknown,
    Value,
    call_method,
    elements,
)

_FOLLOWED_CALLS = 8
_SMALL_FUNCTION = 400
"""Nodes of a helper function that is followed for its return value."""


class ReturnSignal(Exception):
    def __init__(self, value: Value) -> None:
        self.value = value


class LoopSignal(Exception):
    """`break`, or `continue` with `again`."""

    def __init__(self, again: bool) -> None:
        self.again = again


@dataclass(slots=True)
class Calls(Expressions):
    """Follows calls within bounds of depth and size."""

    @abstractmethod
    def block(self, statements: Sequence[ast.stmt], scope: Scope) -> None:
        """Trace statements in order."""

    def call(self, node: ast.Call, scope: Scope) -> Value:
        callee, receiver, method = self._callee(node.func, scope)
        arguments = self._arguments(node, scope)
        keywords = {word.arg: self.evaluate(word.value, scope) for word in node.keywords if word.arg}
        for word in node.keywords:
            if word.arg is None:
                self.evaluate(word.value, scope)
        if isinstance(callee, Reference):
            return self._call_reference(node, callee.name, arguments, keywords, scope)
        if isinstance(callee, LocalFunction):
            self.visited.add(id(node.func))
            return self.call_function(callee, arguments, keywords)
        if isinstance(receiver, FileHandle):
            return self._file_method(receiver, method, arguments)
        if isinstance(receiver, DecoderObject) and method == "decompress" and arguments:
            keep = receiver.arguments if receiver.function in ("lzma", "zlib") else ()
            words = receiver.keywords if receiver.function in ("lzma", "zlib") else {}
            return self.library.decompress(receiver.function, arguments[0], keep, words)
        if isinstance(receiver, ModuleSpec) and method in ("exec_module", "load_module"):
            self._load_module(node, receiver)
            return UNKNOWN
        if isinstance(receiver, Static):
            return self._static_method(receiver, method, arguments, keywords)
        if isinstance(node.func, ast.Attribute) and node.func.attr in ("exec_module", "load_module"):
            self.visited.add(id(node.func))
            unknown = Unknown("a module is loaded from a file whose name is not known statically")
            self.on_execution(Execution("importlib", unknown, True, node))
        return receiver if isinstance(receiver, Unknown) and receiver.reason else UNKNOWN

    def _callee(self, node: ast.expr, scope: Scope) -> tuple[Value, Value, str]:
        """What is called, and for a method its receiver and name."""
        if isinstance(node, ast.Attribute):
            receiver = self.evaluate(node.value, scope)
            if isinstance(receiver, Reference):
                return Reference(f"{receiver.name}.{node.attr}"), receiver, node.attr
            return UNKNOWN, receiver, node.attr
        return self.evaluate(node, scope), UNKNOWN, ""

    def _arguments(self, node: ast.Call, scope: Scope) -> list[Value]:
        values: list[Value] = []
        for argument in node.args:
            value = self.evaluate(argument, scope)
            if isinstance(argument, ast.Starred):
                items = elements(value) if isinstance(value, Static) else None
                values.extend(items if items is not None else [UNKNOWN])
            else:
                values.append(value)
        return values

    def _call_reference(
        self, node: ast.Call, name: str, arguments: list[Value], keywords: dict[str, Value], scope: Scope
    ) -> Value:
        self.visited.add(id(node.func))
        if name in RUNNERS:
            return self._execute(node, name, arguments, keywords, scope)
        if name in OPAQUE_CALLS:
            self.on_execution(Execution("exec", Unknown(f"{OPAQUE_CALLS[name]} is executed"), True, node))
            return UNKNOWN
        if name == "builtins.compile":
            source = arguments[0] if arguments else keywords.get("source", UNKNOWN)
            return CodeValue(source if isinstance(source, Static | Unknown) else UNKNOWN)
        if name == "builtins.getattr":
            return self._getattr(node, arguments)
        if name.startswith(PROCESSES):
            self._process(node, scope)
            return UNKNOWN
        if name in ("builtins.map", "builtins.filter") and arguments and isinstance(arguments[0], LocalFunction):
            self.call_function(arguments[0], [], {}, known=False)
            return UNKNOWN
        if name == "shutil.copyfile" and len(arguments) > 1:
            self.library.write_file(arguments[1], self.library.read_file(arguments[0]))
            return UNKNOWN
        for given, argument in zip(
            (*node.args, *(word.value for word in node.keywords)), (*arguments, *keywords.values()), strict=False
        ):
            # A function that is handed on may be called with anything.
            if isinstance(argument, LocalFunction) and self._has_site(argument):
                self.visited.add(id(given))
                self.call_function(argument, [], {}, known=False)
        return call_model(self.library, name, arguments, keywords)

    def _getattr(self, node: ast.Call, arguments: list[Value]) -> Value:
        self.visited.add(id(node))
        target, name = (*arguments, UNKNOWN, UNKNOWN)[:2]
        if isinstance(target, Reference) and isinstance(name, Static) and isinstance(name.value, str):
            return Reference(f"{target.name}.{name.value}".replace("builtins.__builtins__.", "builtins."))
        if isinstance(target, Reference) and target.name.startswith("builtins"):
            self.on_execution(Execution("exec", Unknown("a builtin is looked up by a computed name"), True, node))
        return UNKNOWN

    def _execute(self, node: ast.Call, name: str, arguments: list[Value], keywords: dict[str, Value], scope: Scope) -> Value:
        runner = RUNNERS[name]
        source = arguments[0] if arguments else keywords.get("path_name", UNKNOWN)
        if isinstance(source, CodeValue):
            runner, source = ("compile" if runner == "exec" else runner), source.source
        if runner == "runpy":
            named = keywords.get("run_name", arguments[2] if len(arguments) > 2 else UNKNOWN)
            own = not (isinstance(named, Static) and named.value == "__main__")
            source = self.library.read_file(source)
        else:
            own = self._own_namespace(node, arguments, keywords)
            if isinstance(source, Static) and not isinstance(source.value, str | bytes):
                source = Unknown("something other than text is executed")
        known = source if isinstance(source, Static | Unknown) else UNKNOWN
        self.on_execution(Execution(runner, known, own, node, None if own or runner == "runpy" else scope.module))
        return UNKNOWN

    def _own_namespace(self, node: ast.Call, arguments: list[Value], keywords: dict[str, Value]) -> bool:
        given = (
            node.args[1] if len(node.args) > 1 else next((word.value for word in node.keywords if word.arg == "globals"), None)
        )
        if given is None:
            return False
        if isinstance(given, ast.Call) and isinstance(given.func, ast.Name) and given.func.id in ("globals", "locals", "vars"):
            return False
        value = arguments[1] if len(arguments) > 1 else keywords.get("globals", UNKNOWN)
        if isinstance(value, Static) and isinstance(value.value, dict):
            return value.value.get("__name__") != "__main__"
        return True

    def _load_module(self, node: ast.Call, spec: ModuleSpec) -> None:
        self.visited.add(id(node.func))
        own = not (isinstance(spec.name, Static) and spec.name.value == "__main__")
        source = self.library.read_file(spec.path)
        self.on_execution(Execution("importlib", source if isinstance(source, Static | Unknown) else UNKNOWN, own, node))

    def _process(self, node: ast.Call, scope: Scope) -> None:
        """A child process that runs a Python file of the folder, or one that the script wrote."""
        for text in self._command_words(node, scope):
            if text.endswith(".py") and len(text) < 4096:
                full = self.library.absolute(text)
                if full == self.library.absolute(self.library.path):
                    continue  # the script starts itself again (a sweep, torchrun)
                if full in self.library.written or self.library.in_folder(text) is not None:
                    source = self.library.read_file(Static(text))
                    if isinstance(source, Static):
                        written = full in self.library.written
                        self.on_execution(Execution("file" if written else "subprocess", source, False, node))

    def _command_words(self, node: ast.Call, scope: Scope) -> Iterator[str]:
        """The known words of a command line, given as text or as a list."""
        for argument in node.args[:2]:
            parts = argument.elts if isinstance(argument, ast.List | ast.Tuple) else [argument]
            for part in parts[:64]:
                value = self.evaluate(part, scope)
                if isinstance(value, Static) and isinstance(value.value, str):
                    yield from value.value.split()[:64]
                elif isinstance(value, Static) and isinstance(value.value, PurePosixPath):
                    yield str(value.value)

    def _file_method(self, handle: FileHandle, method: str, arguments: list[Value]) -> Value:
        if method in ("read", "readall", "getvalue") and not arguments:
            if handle.content is not None:
                return self.library.decompress(handle.codec, handle.content, [], {}) if handle.codec else handle.content
            return self.library.read_file(handle.path, handle.codec)
        if method == "readlines" and not arguments:
            content = handle.content or self.library.read_file(handle.path, handle.codec)
            return (
                call_method(content, "splitlines", [Static(True)], {}, self.library.budget)
                if isinstance(content, Static)
                else UNKNOWN
            )
        if method == "write" and arguments:
            self.library.write_file(handle.path, arguments[0])
        if method == "__enter__":
            return handle
        return UNKNOWN

    def _static_method(self, receiver: Static, method: str, arguments: list[Value], keywords: dict[str, Value]) -> Value:
        if isinstance(receiver.value, PurePosixPath):
            if method in ("read_bytes", "read_text"):
                return self.library.read_file(receiver)
            if method in ("write_bytes", "write_text") and arguments:
                self.library.write_file(receiver, arguments[0])
                return UNKNOWN
            if method == "open":
                return FileHandle(receiver)
            if method in ("exists", "is_file"):
                return self.library.exists(receiver)
            if method in PATH_IDENTITY:
                return receiver
        return call_method(receiver, method, arguments, keywords, self.library.budget)

    def _has_site(self, function: LocalFunction) -> bool:
        if isinstance(function.node, ast.Lambda):
            return any(function.node in functions for functions in self.sites.functions.values())
        return function.node.name in self.sites.names

    def call_function(
        self, function: LocalFunction, arguments: Sequence[Value], keywords: Mapping[str, Value], *, known: bool = True
    ) -> Value:
        """Follow a call into a local function; without `known` arguments for the sites in it alone."""
        node = function.node
        if node in self.calls or len(self.calls) >= _FOLLOWED_CALLS:
            return UNKNOWN
        if known and not self._has_site(function) and not _is_small(node):
            for statement in ast.walk(node):
                if isinstance(statement, ast.Global):
                    for name in statement.names:
                        function.scope.module.names[name] = UNKNOWN
            return UNKNOWN
        scope = Scope(self._parameters(node, function.scope, arguments, keywords, known), function.scope)
        self.calls.append(node)
        uncertain, self.uncertain = self.uncertain, 0 if known else 1
        try:
            if isinstance(node, ast.Lambda):
                return self.evaluate(node.body, scope)
            self.block(node.body, scope)
            self._nested_functions(node, scope)
            return UNKNOWN if "<return>" in scope.names else Static(None)
        except ReturnSignal as returned:
            return UNKNOWN if "<return>" in scope.names and returned.value != UNKNOWN else returned.value
        except LoopSignal:
            return UNKNOWN
        finally:
            self.calls.pop()
            self.uncertain = uncertain

    def _nested_functions(self, node: ast.FunctionDef | ast.AsyncFunctionDef, scope: Scope) -> None:
        """Inner functions with sites that nothing called: follow them with unknown arguments."""
        for value in list(scope.names.values()):
            if isinstance(value, LocalFunction) and value.scope is scope and value.node is not node and self._has_site(value):
                left = [key for key, around in self.sites.functions.items() if value.node in around and key not in self.visited]
                if left:
                    self.call_function(value, [], {}, known=False)

    def _parameters(
        self,
        node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda,
        outer: Scope,
        arguments: Sequence[Value],
        keywords: Mapping[str, Value],
        known: bool,
    ) -> dict[str, Value]:
        parameters = [*node.args.posonlyargs, *node.args.args]
        names: dict[str, Value] = {parameter.arg: UNKNOWN for parameter in (*parameters, *node.args.kwonlyargs)}
        for extra in (node.args.vararg, node.args.kwarg):
            if extra is not None:
                names[extra.arg] = UNKNOWN
        if not known:
            return names
        for parameter, default in zip(reversed(parameters), reversed(node.args.defaults), strict=False):
            names[parameter.arg] = self.evaluate(default, outer)
        for parameter, keyword_default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True):
            if keyword_default is not None:
                names[parameter.arg] = self.evaluate(keyword_default, outer)
        for parameter, value in zip(parameters, arguments, strict=False):
            names[parameter.arg] = value
        names.update({name: value for name, value in keywords.items() if name in names})
        return names


def _is_small(node: ast.AST) -> bool:
    """Whether a function is short enough to be followed for its value alone."""
    return all(count < _SMALL_FUNCTION for count, _ in enumerate(ast.walk(node)))
