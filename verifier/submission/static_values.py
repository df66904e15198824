"""Values that follow from the text of a script alone: constants, and what simple operations make of them.

Nothing from the script runs. A value is known only if every step to it is one of the operations modelled here on operands that
are known; everything else is `Unknown`. Operations are charged to a budget before they allocate.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

STEPS = 300_000
"""Expressions and statements evaluated for one folder: about a second. Real scripts need fewer than 20,000."""
STEPS_PER_TEXT = 100_000
ITEMS = 50_000
"""Elements of one sequence."""


class BudgetExceeded(Exception):
    """Evaluating the script used up its steps or bytes."""


@dataclass(slots=True)
class Budget:
    """What evaluating one file may cost; `total_bytes` bounds the sum of all values made, `value_bytes` a single one."""

    value_bytes: int
    total_bytes: int
    steps: int = STEPS
    text_steps: int = STEPS_PER_TEXT

    def start_text(self) -> None:
        """Another text: it gets its own share of the steps that are left."""
        self.text_steps = min(STEPS_PER_TEXT, self.steps)

    def step(self) -> None:
        self.steps -= 1
        self.text_steps -= 1
        if self.text_steps < 0:
            raise BudgetExceeded(f"more than {STEPS_PER_TEXT if self.steps > 0 else STEPS:,} steps")

    def allocate(self, size: int) -> bool:
        """Whether a value of `size` bytes may be made."""
        if size > self.value_bytes:
            return False
        self.total_bytes -= size
        if self.total_bytes < 0:
            raise BudgetExceeded("too many bytes are computed")
        return True


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the bytes of a value came from: decoders passed (outermost first), packed size, the file they were read from."""

    codec: tuple[str, ...] = ()
    packed: int = 0
    decoding: int = -1
    """Number of the decoding step that made the value, -1 for none."""
    path: str | None = None


PLAIN = Origin()


@dataclass(frozen=True, slots=True)
class Static:
    """A known value: str, bytes, int, float, bool, None, list, tuple, dict, range or a pure path."""

    value: object
    origin: Origin = PLAIN


@dataclass(frozen=True, slots=True)
class Unknown:
    """A value that is not known; `reason` says why where that helps a reader. `kind` is the slug of the problem."""

    reason: str = ""
    kind: str = "layer-opaque"
    missing: str = ""
    """The file that would be read, when its name is known and it is not in the folder."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A module, or something in one, by its dotted name: `lzma.decompress`, `builtins.exec`."""

    name: str


@dataclass(frozen=True, slots=True)
class CodeValue:
    """What `compile` returned."""

    source: Static | Unknown


@dataclass(frozen=True, slots=True)
class FileHandle:
    """An open file of the folder or one that the script writes; `codec` for `gzip.open` and the like."""

    path: Static | Unknown
    codec: str = ""
    content: Static | None = None
    """Set for in-memory files."""


@dataclass(frozen=True, slots=True)
class DecoderObject:
    """A decompressor object; `arguments` as for the module's `decompress`."""

    function: str
    arguments: tuple[Value, ...] = ()
    keywords: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModuleSpec:
    """An import spec made from a path, and what is made from it (`spec`, `loader`, `module`)."""

    role: str
    name: Static | Unknown
    path: Static | Unknown


@dataclass(frozen=True, slots=True, eq=False)
class LocalFunction:
    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    scope: Scope


type Value = Static | Unknown | Reference | CodeValue | FileHandle | DecoderObject | ModuleSpec | LocalFunction

UNKNOWN = Unknown()


@dataclass(slots=True, eq=False)
class Scope:
    names: dict[str, Value]
    parent: Scope | None = None

    def lookup(self, name: str) -> Value:
        scope: Scope | None = self
        while scope is not None:
            if name in scope.names:
                return scope.names[name]
            scope = scope.parent
        return Reference(f"builtins.{name}")

    @property
    def module(self) -> Scope:
        scope = self
        while scope.parent is not None:
            scope = scope.parent
        return scope


def merge_origins(operands: Iterable[Static]) -> Origin:
    """Of several operands the one that was unpacked decides; packed sizes add up."""
    found = [operand.origin for operand in operands if operand.origin.codec]
    if not found:
        return PLAIN
    longest = max(found, key=lambda origin: len(origin.codec))
    return replace(longest, packed=max(origin.packed for origin in found)) if len(found) > 1 else longest


def size_of(value: object) -> int:
    """Bytes that a value takes, roughly."""
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, list | tuple | dict | range):
        return 8 * len(value)
    return 8


def binary_operation(operator: ast.operator, left: Static, right: Static, budget: Budget) -> Value:
    """`+`, `*`, `%` on text, `/` on paths, and small integer arithmetic."""
    one, two = left.value, right.value
    origin = merge_origins((left, right))
    try:
        if isinstance(one, int) and isinstance(two, int):
            return _integer_operation(operator, one, two)
        if isinstance(operator, ast.Add) and _joinable(one, two):
            return Static(one + two, origin) if budget.allocate(size_of(one) + size_of(two)) else _too_big()  # type: ignore[operator]
        if isinstance(operator, ast.Mult):
            times, repeated = (one, two) if isinstance(one, int) else (two, one)
            if isinstance(times, int) and isinstance(repeated, str | bytes | list | tuple):
                size = max(0, times) * max(1, len(repeated))
                if isinstance(repeated, list | tuple) and size > ITEMS:
                    return _too_big()
                return Static(repeated * times, origin) if budget.allocate(size) else _too_big()
        if isinstance(operator, ast.Div) and isinstance(one, PurePosixPath) and isinstance(two, str | PurePosixPath):
            return Static(one / two, origin)
        if isinstance(operator, ast.Div) and isinstance(one, str) and isinstance(two, PurePosixPath):
            return Static(one / two, origin)
        if isinstance(operator, ast.Mod) and isinstance(one, str) and isinstance(two, str):
            return Static(one.replace("%s", two, 1), origin) if one.count("%") == 1 and "%s" in one else UNKNOWN
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return UNKNOWN
    return UNKNOWN


def _joinable(one: object, two: object) -> bool:
    return any(isinstance(one, kind) and isinstance(two, kind) for kind in (str, bytes, list, tuple))


def _too_big() -> Unknown:
    return Unknown("a computed value is larger than what is unpacked", "layer-limit")


def _integer_operation(operator: ast.operator, one: int, two: int) -> Value:
    if max(abs(one), abs(two)) >= 1 << 40:
        return UNKNOWN
    match operator:
        case ast.Add():
            return Static(one + two)
        case ast.Sub():
            return Static(one - two)
        case ast.Mult():
            return Static(one * two)
        case ast.FloorDiv():
            return Static(one // two)
        case ast.Mod():
            return Static(one % two)
        case ast.BitXor():
            return Static(one ^ two)
        case ast.BitOr():
            return Static(one | two)
        case ast.BitAnd():
            return Static(one & two)
        case ast.LShift() if two < 40:
            return Static(one << two)
        case ast.RShift():
            return Static(one >> two)
    return UNKNOWN


def subscript(container: Static, index: Value) -> Value:
    """`container[index]` for sequences, dicts and the `parents` of a path."""
    if not isinstance(index, Static):
        return UNKNOWN
    value, key = container.value, index.value
    try:
        if isinstance(value, str | bytes | list | tuple | range) and isinstance(key, int | slice):
            return Static(value[key], container.origin)
        if isinstance(value, dict):
            return Static(value[key], container.origin)
    except (IndexError, KeyError, TypeError, ValueError):
        return UNKNOWN
    return UNKNOWN


def elements(value: Static) -> list[Static] | None:
    """The items that iterating over the value gives, `None` if it can't be iterated or has too many."""
    raw = value.value
    if isinstance(raw, PurePosixPath) or not isinstance(raw, str | bytes | list | tuple | dict | range):
        return None
    if len(raw) > ITEMS:
        return None
    return [Static(item, value.origin) for item in raw]


_TEXT_METHODS = frozenset(
    [
        "decode",
        "encode",
        "replace",
        "strip",
        "lstrip",
        "rstrip",
        "split",
        "rsplit",
        "splitlines",
        "partition",
        "rpartition",
        "join",
        "lower",
        "upper",
        "removeprefix",
        "removesuffix",
        "startswith",
        "endswith",
        "find",
        "rfind",
        "index",
        "count",
        "hex",
        "translate",
        "format",
        "isdigit",
    ]
)
_CONTAINER_METHODS = frozenset(["get", "keys", "values", "items", "index", "count", "copy"])
_PATH_METHODS = frozenset(["with_name", "with_suffix", "with_stem", "joinpath", "relative_to", "as_posix", "is_absolute"])
_PATH_ATTRIBUTES = frozenset(["parent", "name", "stem", "suffix", "parents", "parts"])
PATH_IDENTITY = frozenset(("resolve", "absolute", "expanduser", "__fspath__"))


def attribute(value: Static, name: str) -> Value:
    """Data attributes of a known value (paths only)."""
    if isinstance(value.value, PurePosixPath) and name in _PATH_ATTRIBUTES:
        found = getattr(value.value, name)
        return Static(tuple(found) if name in ("parents", "parts") else found, value.origin)
    return UNKNOWN


def call_method(receiver: Static, name: str, arguments: Sequence[Value], keywords: Mapping[str, Value], budget: Budget) -> Value:
    """A pure method of a known value on known arguments."""
    known = [argument for argument in (*arguments, *keywords.values()) if isinstance(argument, Static)]
    if len(known) != len(arguments) + len(keywords):
        reasons = [argument for argument in (*arguments, *keywords.values()) if isinstance(argument, Unknown) and argument.reason]
        return reasons[0] if reasons else UNKNOWN
    value = receiver.value
    positional = [argument.value for argument in arguments if isinstance(argument, Static)]
    named = {key: argument.value for key, argument in keywords.items() if isinstance(argument, Static)}
    origin = merge_origins((receiver, *known))
    try:
        if isinstance(value, str | bytes) and name in _TEXT_METHODS:
            if not _affordable(value, name, positional, named, budget):
                return _too_big()
            if name in ("decode", "encode") and not _plain_encoding(positional, named):
                return Unknown(f"text is {name}d with an unusual codec")
            result: object = getattr(value, name)(*positional, **named)
        elif isinstance(value, list | tuple | dict) and name in _CONTAINER_METHODS:
            result = getattr(value, name)(*positional, **named)
            result = list(result) if name in ("keys", "values", "items") else result  # type: ignore[call-overload]
        elif isinstance(value, PurePosixPath) and name in _PATH_METHODS:
            result = getattr(value, name)(*positional, **named)
        elif isinstance(value, PurePosixPath) and name in PATH_IDENTITY:
            result = value
        else:
            return UNKNOWN
    except (TypeError, ValueError, LookupError, AttributeError, OverflowError):
        return UNKNOWN
    return Static(result, origin)


def _affordable(value: str | bytes, name: str, positional: list[object], named: Mapping[str, object], budget: Budget) -> bool:
    """Bounds the result before it is made: `replace`, `join` and `split` can grow without limit."""
    size = len(value)
    if name == "format":
        return False
    if name == "replace" and len(positional) >= 2 and type(positional[0]) is type(value) and type(positional[1]) is type(value):
        old, new = positional[0], positional[1]
        assert isinstance(old, str | bytes)
        assert isinstance(new, str | bytes)
        size += value.count(old) * len(new)  # type: ignore[arg-type]
    elif name == "join" and positional and isinstance(positional[0], list | tuple | str):
        pieces = positional[0]
        size = sum(len(piece) for piece in pieces if isinstance(piece, str | bytes)) + size * len(pieces)
    elif name == "translate" and isinstance(value, str):
        return False
    elif name in ("split", "rsplit", "splitlines"):
        separator = positional[0] if positional else named.get("sep")
        if isinstance(separator, str | bytes) and separator and type(separator) is type(value):
            pieces_made = value.count(separator) + 1  # type: ignore[arg-type]
        else:
            pieces_made = size // 2 + 1 if name != "splitlines" else _line_count(value)
        if pieces_made > ITEMS:
            return False
        size += 64 * pieces_made
    return budget.allocate(size)


def _line_count(value: str | bytes) -> int:
    return value.count("\n") + value.count("\r") + 1 if isinstance(value, str) else value.count(b"\n") + value.count(b"\r") + 1


def _plain_encoding(positional: list[object], named: Mapping[str, object]) -> bool:
    encoding = positional[0] if positional else named.get("encoding", "utf-8")
    return isinstance(encoding, str) and encoding.lower().replace("-", "_") in (
        "utf_8", "utf8", "ascii", "latin_1", "latin1", "iso_8859_1", "utf_8_sig", "cp1252",
    )  # fmt: skip
