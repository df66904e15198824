"""Unwrapping packed scripts: which texts does a file execute besides its own, and which of them can't be known.

Purely by reading the syntax tree (`static_trace`): text encodings and decompressors with any options, names, slices and joins,
payloads in sibling files, `exec`/`compile`/`runpy`/`importlib`/temporary files, several layers. Output is bounded everywhere.
"""

from __future__ import annotations

import ast
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from verifier.evidence import Location, Problem, excerpt
from verifier.limits import MIB, Limits
from verifier.submission.python_tree import ParsedTree, decode_source, measure_shape, parse_python, source_lines
from verifier.submission.script import FileReference, Layer
from verifier.submission.static_expressions import Execution
from verifier.submission.static_library import FOLDER, Decoding, Library
from verifier.submission.static_sites import find_sites
from verifier.submission.static_trace import Trace
from verifier.submission.static_values import Budget, BudgetExceeded, Scope, Static, Unknown

_MENTIONS = re.compile(
    r"exec|eval|runpy|marshal|builtins|load_module|CodeType|FunctionType|__subclasses__|__globals__"
    r"|b85decode|a85decode|b64decode|b32decode|b16decode|unhexlify|fromhex|a2b_|codecs"
)
"""Text without any of these can't execute text or unpack a literal: it is not even parsed here."""
_PROCESS = re.compile(r"subprocess|os\.(?:exec|spawn|system|popen|posix_spawn)")
_SCRIPT_NAME_END = re.compile(r"\.py[\"']")
_LONG_LITERAL = 256
_DATA_LAYER = 256
"""Packed bytes from which a payload that is decoded but not executed is listed."""
FOLDER_BYTES = 256 * MIB
"""Bytes of all values that are computed while unwrapping the files of one folder."""
_BREADTH = 8
"""Layers listed per nesting level allowed: a script may bundle several modules side by side."""


@dataclass(frozen=True, slots=True)
class Unwrapped:
    """What a file executes besides its own text. `problems` with a kind `layer-...` make it opaque."""

    layers: tuple[Layer, ...] = ()
    problems: tuple[Problem, ...] = ()
    references: tuple[FileReference, ...] = ()
    written: tuple[str, ...] = ()
    """Files that the script writes from its own text, as spelled."""
    syntax_error: Problem | None = None
    """Of the file or of the first layer of code that Python refuses."""
    trees: Mapping[int, ParsedTree] = field(default_factory=dict)
    """Syntax trees by layer (0: the file), of every text that could be parsed."""


def unwrap(path: str, text: str, siblings: Mapping[str, bytes], limits: Limits, budget: Budget | None = None) -> Unwrapped:
    """Unwrap one file. `siblings` are the files of the folder (path relative to it), for payloads that live elsewhere.

    `budget` is shared between the files of a folder where several are read.
    """
    state = _Unwrapping(path, siblings, limits, budget or Budget(limits.layer_bytes, FOLDER_BYTES))
    state.read_text(text, 0, Scope({}))
    return state.result()


@dataclass(slots=True)
class _Unwrapping:
    path: str
    siblings: Mapping[str, bytes]
    limits: Limits
    budget: Budget
    layers: list[Layer] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    references: list[FileReference] = field(default_factory=list)
    written: dict[str, None] = field(default_factory=dict)
    syntax_error: Problem | None = None
    trees: dict[int, ParsedTree] = field(default_factory=dict)
    decodings: list[Decoding] = field(default_factory=list)
    files: dict[str, Static | Unknown] = field(default_factory=dict)
    """What the script wrote so far; an inner layer sees the files of the outer ones."""

    def result(self) -> Unwrapped:
        return Unwrapped(
            tuple(self.layers),
            tuple(dict.fromkeys(self.problems)),
            tuple(dict.fromkeys(self.references)),
            tuple(self.written),
            self.syntax_error,
            self.trees,
        )

    def read_text(self, text: str, layer: int, scope: Scope) -> None:
        """Parse one text and unwrap its payloads, and theirs in turn."""
        tree, failure = parse_python(self.path, text, self.limits, layer)
        if tree is None:
            if failure is not None and failure.kind == "syntax-error":
                self.syntax_error = self.syntax_error or failure
            elif failure is not None:
                self._problem(failure.location, "layer-limit", f"not parsed: {failure.message}")
            return
        self.trees[layer] = tree
        processes = self._may_start_a_file(text)
        if not processes and not _MENTIONS.search(text):
            return
        sites = find_sites(tree, decoders=_has_long_literal(tree), processes=processes)
        if not sites.nodes:
            return
        lines = source_lines(text)
        whole = Location(self.path, None, layer=layer)
        library = Library(self.path, self.siblings, self.limits, self.budget, whole, self.files, self.decodings)
        decoded_before = len(self.decodings)
        executions: list[tuple[Execution, Location]] = []

        def locate(node: ast.AST) -> None:
            library.location = self._location(node, lines, layer)

        def note(execution: Execution) -> None:
            executions.append((execution, self._location(execution.node, lines, layer)))

        trace = Trace(library, sites, note, locate)
        self.budget.start_text()
        try:
            trace.run(tree, scope)
        except BudgetExceeded as failure_:
            kind = "layer-limit" if trace.may_execute else "payload-limit"
            self._problem(whole, kind, f"following this script takes {failure_}; it was not unwrapped completely")
        except RecursionError:
            kind = "layer-limit" if trace.may_execute else "payload-limit"
            self._problem(whole, kind, "nested too deeply to be followed; not unwrapped completely")
        else:
            for node in trace.unreached():
                message = "code is executed from here, and what it executes does not follow from the text"
                self._problem(self._location(node, lines, layer), "layer-opaque", message)
        own_code = measure_shape(text).code_characters
        for execution, where in executions:
            self._executed(execution, where, own_code, library)
        self._written_texts(library, own_code)
        self._packed_data(self.decodings[decoded_before:])

    # -- executed text ---------------------------------------------------------------------------------------------------

    def _executed(self, execution: Execution, where: Location, own_code: int, library: Library) -> None:
        source = execution.source
        if isinstance(source, Unknown):
            reason = source.reason or "its text does not follow from the script"
            self._problem(where, source.kind, f"{_RUNNER_WORDS[execution.runner]}: {reason}")
            if source.missing:
                self.references.append(FileReference(source.missing, False, execution.runner, not execution.own_namespace, where))
            return
        library.mark_used(source.origin)
        raw = source.value
        assert isinstance(raw, str | bytes)
        origin = source.origin
        if origin.path is not None and origin.codec == ("file",) and origin.path.endswith(".py") and origin.path != self.path:
            original = self.siblings[origin.path]
            if raw in (original, original.decode("utf-8", "replace")):
                takes_over = own_code < len(raw) and not execution.own_namespace
                # A thin starter that runs a much larger file is that file's program in all but name.
                takes_over = takes_over or own_code * 4 < len(raw)
                self.references.append(FileReference(origin.path, True, execution.runner, takes_over, where))
                return
        text, failure = (raw, None) if isinstance(raw, str) else decode_source(self.path, raw)
        if failure is not None:
            self._problem(where, "layer-opaque", f"{_RUNNER_WORDS[execution.runner]}: the unpacked bytes are not Python text")
            return
        takes_over = own_code <= len(text) and (not execution.own_namespace or own_code * 4 < len(text))
        codec = "+".join(origin.codec) or "literal"
        inherited = Scope(dict(execution.scope.names)) if execution.scope is not None else Scope({})
        self._add_layer(codec, execution.runner, text, origin.packed or len(raw), len(raw), where, takes_over, inherited)

    def _may_start_a_file(self, text: str) -> bool:
        """Whether a process that the text starts may be another script: the text names one."""
        if not _PROCESS.search(text):
            return False
        own = posixpath.basename(self.path).removesuffix(".py")
        return any(not text.endswith(own, 0, match.start()) for match in _SCRIPT_NAME_END.finditer(text))

    def _depth(self, layer: int) -> int:
        depth = 0
        while layer:
            layer = self.layers[layer - 1].source.layer
            depth += 1
        return depth

    def _add_layer(
        self, codec: str, runner: str, text: str, packed: int, size: int, where: Location, main: bool, scope: Scope
    ) -> None:
        if any(layer.text == text and layer.source.layer == where.layer for layer in self.layers):
            return  # one payload started from several places
        if self._depth(where.layer) >= self.limits.layer_count or len(self.layers) >= _BREADTH * self.limits.layer_count:
            self._problem(where, "layer-limit", f"too many layers ({len(self.layers)} unwrapped); the rest is not unwrapped")
            return
        index = len(self.layers) + 1
        self.layers.append(Layer(index, codec, runner, text, packed, size, where, main))
        if runner != "eval":
            self.read_text(text, index, scope)

    # -- text and data that is not seen to be executed -------------------------------------------------------------------

    def _written_texts(self, library: Library, own_code: int) -> None:
        """Files that the script wrote and that were not seen to run: modules are layers of code, the rest is data."""
        for full, content in list(self.files.items()):
            name = full.removeprefix(f"{FOLDER}/")
            if name in self.written or isinstance(content, Unknown):
                continue
            self.written[name] = None
            raw = content.value
            if not isinstance(raw, str | bytes) or not (content.origin.codec or name.endswith(".py")):
                continue
            text, failure = (raw, None) if isinstance(raw, str) else decode_source(self.path, raw)
            where = library.decodings[content.origin.decoding].source if content.origin.decoding >= 0 else library.location
            if any(layer.text == text for layer in self.layers):
                continue
            codec = "+".join(content.origin.codec) or "literal"
            packed = content.origin.packed or len(raw)
            if failure is None and (name.endswith(".py") or _looks_like_python(text)):
                self._add_layer(codec, "file", text, packed, len(raw), where, own_code * 4 < len(text), Scope({}))
            elif len(self.layers) < _BREADTH * self.limits.layer_count:
                self.layers.append(Layer(len(self.layers) + 1, codec, "data", None, packed, len(raw), where, main=False))

    def _packed_data(self, decodings: list[Decoding]) -> None:
        """Payloads that are unpacked and neither executed, written nor unpacked further."""
        blamed = {problem.location for problem in self.problems}
        for decoding in decodings:
            if decoding.used or decoding.origin.packed < _DATA_LAYER or decoding.source in blamed:
                continue
            codec = "+".join(decoding.origin.codec)
            if decoding.value is None:
                reason = decoding.problem.reason if decoding.problem is not None else "not decoded"
                self._problem(
                    decoding.source, "payload-unreadable", f"a payload that is not executed could not be unpacked: {reason}"
                )
            elif len(self.layers) < _BREADTH * self.limits.layer_count:
                packed, size = decoding.origin.packed, len(decoding.value)
                self.layers.append(Layer(len(self.layers) + 1, codec, "data", None, packed, size, decoding.source, main=False))
            else:
                self._problem(decoding.source, "payload-limit", "more payloads than are listed")

    # -- places ----------------------------------------------------------------------------------------------------------

    def _location(self, node: ast.AST, lines: list[str], layer: int) -> Location:
        line = getattr(node, "lineno", None)
        shown = excerpt(lines[line - 1][:1_000]) if line is not None and line <= len(lines) else ""
        return Location(self.path, line, layer=layer, excerpt=shown)

    def _problem(self, where: Location, kind: str, message: str) -> None:
        self.problems.append(Problem(where, kind, message))


_RUNNER_WORDS = {
    "exec": "exec",
    "eval": "eval",
    "compile": "exec of compiled text",
    "runpy": "runpy",
    "importlib": "a module loaded by path",
    "file": "a script that is written and run",
    "subprocess": "a child process",
}


def _has_long_literal(tree: ParsedTree) -> bool:
    return any(isinstance(node.value, str | bytes) and len(node.value) >= _LONG_LITERAL for node in tree.of(ast.Constant))


def _looks_like_python(text: str) -> bool:
    return posixpath.sep not in text[:1] and re.search(r"^(?:import|from|def|class) ", text[:100_000], re.MULTILINE) is not None
