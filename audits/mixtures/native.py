"""Calls of compiled C behind the headline: which function, its source, what its arrays hold."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from audits.mixtures.flow import Flow
from verifier.engine.context import Context
from verifier.evidence import Location, excerpt
from verifier.program.analysis import Analysis
from verifier.program.c_reader import CFunction, read_functions
from verifier.program.c_reader_flow import FunctionFlow, Marks
from verifier.program.methods import is_native
from verifier.program.queries import operation
from verifier.program.values import Data, Native, Site, Value

_POINTERS = frozenset(
    {"data_as", "data_ptr", "attr:ctypes", "attr:data", "cast", "byref", "c_void_p", "ascontiguousarray", "astype", "contiguous"}
)
_WHOLE = ("int16", "int32", "int64", "uint16", "uint32", "uint64", "int", "long", "short")
_REAL = ("float", "double")
TOKEN: Marks = frozenset({"token"})
SCORE: Marks = frozenset({"score"})


@dataclass(frozen=True, slots=True)
class CSource:
    """C text with its place: a file of the folder, or a string in the script."""

    path: str
    layer: int
    first: int
    lines: tuple[str, ...]
    functions: dict[str, CFunction]

    def location(self, line: int) -> Location:
        shown = self.lines[line - 1] if 0 < line <= len(self.lines) else ""
        return Location(self.path, self.first + line - 1, None, self.layer, excerpt(shown[:2000]))


@dataclass(frozen=True, slots=True)
class NativeCall:
    """A call of a C function whose source is known. `arrays` are the arrays that pointers lead to, by parameter."""

    site: Site | None
    source: CSource
    function: CFunction
    arrays: dict[str, Data]

    def followed(self, flow: Flow) -> FunctionFlow:
        """The function's own flow: token arrays by what the script passes (else whole numbers), scores by their type."""
        marks: dict[str, Marks] = {}
        for parameter in self.function.parameters:
            if not parameter.pointer or parameter.name not in self.arrays:
                continue
            if parameter.type.endswith(_REAL):
                marks[parameter.name] = SCORE
            elif any(word.removesuffix("_t") in _WHOLE for word in parameter.type.split()):
                array = self.arrays[parameter.name]
                if flow.is_token(array) or not any(label[0] == "src" for label in array.labels) or ("src", "val") in array.labels:
                    marks[parameter.name] = TOKEN
        runs = FunctionFlow(self.source.functions)
        runs.run(self.function.name, marks)
        return runs


def native_calls(context: Context, analysis: Analysis, flow: Flow) -> list[NativeCall]:
    """Made once for all rules that ask."""
    held = flow.memo.get("native calls")
    if not isinstance(held, list):
        held = flow.memo["native calls"] = _native_calls(context, analysis, flow)
    return held


def _native_calls(context: Context, analysis: Analysis, flow: Flow) -> list[NativeCall]:
    called = _called(flow)
    sources = list(_sources(context, analysis)) if called else []
    found: list[NativeCall] = []
    for node in called:
        source = next((one for one in sources if operation(node) in one.functions), None)
        if source is None:
            continue
        function = source.functions[operation(node)]
        given = list(zip(function.parameters, node.args[1:], strict=False))
        arrays = {parameter.name: array for parameter, value in given if (array := _array(value)) is not None}
        found.append(NativeCall(node.site, source, function, arrays))
    return found


def unread_code(context: Context, analysis: Analysis, flow: Flow) -> str:
    """Why machine code behind the headline could not be followed; empty when it was, or when there is none."""
    calls = native_calls(context, analysis, flow)
    read = {call.function.name for call in calls}
    for node in _called(flow):
        if operation(node) not in read:
            return f"the headline depends on `{operation(node)}` of a compiled library whose source was not found or could not be read"
    for call in calls:
        if call.followed(flow).exhausted:
            return f"the C function `{call.function.name}` has more steps than are followed"
    return ""


def _called(flow: Flow) -> list[Data]:
    """The calls of functions of compiled libraries, whether their source is known or not."""
    held = flow.memo.get("called natively")
    if not isinstance(held, list):
        held = [node for node in flow.nodes.values() if node.op.startswith(".") and node.args and is_native(node.args[0])]
        flow.memo["called natively"] = held
    return held


def _sources(context: Context, analysis: Analysis) -> Iterator[CSource]:
    for path, text in context.submission.program.native:
        yield _source(path, 0, 1, text)
    for tree in analysis.trees:
        for node in tree.parsed.nodes:
            if (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and "{" in node.value
                and "(" in node.value
                and len(node.value) > 200
            ):
                yield _source(tree.path, tree.layer, node.lineno, node.value)


def _source(path: str, layer: int, first: int, text: str) -> CSource:
    functions, _ = read_functions(text)
    return CSource(path, layer, first, tuple(text.split("\n")), {function.name: function for function in functions})


def _array(value: Value) -> Data | None:
    """The array behind a pointer."""
    current = value
    for _ in range(12):
        if isinstance(current, Native):
            current = current.receiver
        elif isinstance(current, Data) and operation(current) in _POINTERS and current.args:
            current = current.args[0]
    return current if isinstance(current, Data) and current is not value else None
