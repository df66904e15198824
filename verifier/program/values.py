"""What the abstract execution computes with: nodes of the value-flow graph and the objects of the interpreted program.

Every value knows its `labels`: where its content comes from and which changes of state it depends on. Labels are small tuples:
`("src", "val")` data read from validation shards, `("loop", key, n)` depends on iteration n of a loop, `("upd", i)` state that
event i changed, `("score", i)` derived from the loss event i, `("model", n)` output of a model, `("env", NAME)` an environment
variable whose value is not known, `("time",)` a clock.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from verifier.program.scope import Scope

type Label = tuple[str | int, ...]
type Labels = frozenset[Label]

type Args = Sequence[Value]
type Names = Mapping[str, Value]
"""Positional and keyword arguments of a call."""

NO_LABELS: Final[Labels] = frozenset()
KEPT_ITEMS = 24
"""Items of a container that are kept apart; further ones are merged."""


class _Unset:
    __slots__ = ()

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = _Unset()
"""The value of a node that is no known constant."""


class Site(NamedTuple):
    """A line of a text of the program. `layer` as in `Location`."""

    path: str
    layer: int
    line: int


class Value:
    """Anything a name can stand for."""

    __slots__ = ()


class Data(Value):
    """A node of the value-flow graph: a number, text, tensor, array or anything without a structure of its own.

    `labels` of tensors that are changed in place grow; nodes computed before the change keep theirs. `owner` is the instance
    (a model) whose parameter or buffer this is. `filled` holds what was put into a place, as (serial, value, line): the graph's edges
    through changes in place; a reader with a lower serial came before. `inner` belongs to `summary:` nodes: the callee's own result, in terms of its
    parameters. `chosen` belongs to the `join` of two paths: the condition that decided between them, when it was not known.
    """

    __slots__ = ("args", "chosen", "const", "filled", "inner", "labels", "names", "op", "owner", "serial", "site")

    def __init__(
        self,
        op: str,
        args: tuple[Value, ...] = (),
        labels: Labels = NO_LABELS,
        site: Site | None = None,
        const: object = UNSET,
        names: tuple[str, ...] = (),
        serial: int = 0,
    ) -> None:
        self.op = op
        self.args = args
        self.labels = labels
        self.site = site
        self.const = const
        self.names = names
        self.inner: Value | None = None
        self.chosen: Value | None = None
        self.filled: tuple[tuple[int, Value, Site], ...] = ()
        self.owner: Instance | None = None
        self.serial = serial

    @property
    def known(self) -> bool:
        return self.const is not UNSET

    def argument(self, name: str) -> Value | None:
        """The keyword argument of a call node."""
        if name not in self.names:
            return None
        return self.args[len(self.args) - len(self.names) + self.names.index(name)]

    def __repr__(self) -> str:
        return f"<{self.op}{'' if self.const is UNSET else '=' + repr(self.const)[:40]}>"


class Seq(Value):
    """A list, tuple, set, or what a generator yields. `exact` while its items are the items, in order."""

    __slots__ = ("exact", "extra", "items", "kind", "serial")

    def __init__(self, kind: str, items: Iterable[Value] = (), exact: bool = True, serial: int = 0) -> None:
        self.kind = kind
        self.items: list[Value] = list(items)
        self.exact = exact
        self.extra: Labels = NO_LABELS
        self.serial = serial


class Map(Value):
    """A dictionary: entries under known keys, everything else in `rest`. `factory` makes the missing value of a defaultdict."""

    __slots__ = ("entries", "exact", "extra", "factory", "rest", "serial")

    def __init__(self, serial: int = 0) -> None:
        self.entries: dict[object, Value] = {}
        self.rest: list[Value] = []
        self.exact = True
        self.extra: Labels = NO_LABELS
        self.factory: Value | None = None
        self.serial = serial


class Lib(Value):
    """An object of a library by its canonical dotted name, e.g. `torch.nn.functional.cross_entropy`."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"<lib {self.name}>"


class Func(Value):
    """A function, method or lambda of the program. `bound` is what a method is called on, `partial` arguments already given."""

    __slots__ = ("bound", "cls", "decorators", "defaults", "name", "node", "partial", "partial_names", "scope")

    def __init__(
        self,
        node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda,
        name: str,
        scope: Scope,
        defaults: dict[str, Value],
        decorators: frozenset[str] = frozenset(),
    ) -> None:
        self.node = node
        self.name = name
        self.scope = scope
        self.defaults = defaults
        self.decorators = decorators
        self.bound: Value | None = None
        self.cls: ClassV | None = None
        self.partial: tuple[Value, ...] = ()
        self.partial_names: dict[str, Value] = {}

    def with_receiver(self, receiver: Value) -> Func:
        method = Func(self.node, self.name, self.scope, self.defaults, self.decorators)
        method.bound, method.cls, method.partial, method.partial_names = receiver, self.cls, self.partial, self.partial_names
        return method


class Native(Value):
    """A method of a library object or of a container: what it is called on and its name. Also a partial call of a library."""

    __slots__ = ("name", "names", "partial", "receiver")

    def __init__(
        self, receiver: Value, name: str, partial: tuple[Value, ...] = (), names: dict[str, Value] | None = None
    ) -> None:
        self.receiver = receiver
        self.name = name
        self.partial = partial
        self.names = names or {}


class ClassV(Value):
    """A class of the program. `kinds` are the library classes it descends from, e.g. `torch.nn.Module`."""

    __slots__ = ("attributes", "bases", "cursors", "dataclass", "is_module", "is_optimizer", "kinds", "name", "node")

    def __init__(self, node: ast.ClassDef, bases: tuple[ClassV, ...], kinds: frozenset[str]) -> None:
        self.node = node
        self.name = node.name
        self.bases = bases
        self.kinds = kinds
        self.is_module = any(kind.startswith(("torch.nn.", "mlx.nn.")) for kind in kinds)
        self.is_optimizer = any(kind.startswith("torch.optim.") for kind in kinds)
        self.attributes: dict[str, Value] = {}
        self.cursors: frozenset[str] = frozenset()
        self.dataclass = False

    def find(self, name: str) -> Value | None:
        """The attribute, along the bases (depth first)."""
        if name in self.attributes:
            return self.attributes[name]
        for base in self.bases:
            found = base.find(name)
            if found is not None:
                return found
        return None


class Instance(Value):
    """An object of a class of the program or of a library class (`cls` is then a `Lib`). `state` labels what its learned
    content depends on; changing a part marks the whole and all its parts."""

    __slots__ = ("cls", "fields", "parents", "serial", "state")

    def __init__(self, cls: ClassV | Lib, serial: int) -> None:
        self.cls = cls
        self.fields: dict[str, Value] = {}
        self.parents: list[Instance] = []
        self.state: Labels = NO_LABELS
        self.serial = serial

    @property
    def is_module(self) -> bool:
        if isinstance(self.cls, ClassV):
            return self.cls.is_module
        return self.cls.name.startswith(("torch.nn.", "mlx.nn."))

    @property
    def is_optimizer(self) -> bool:
        if isinstance(self.cls, ClassV):
            return self.cls.is_optimizer
        return self.cls.name.startswith("torch.optim.")

    @property
    def top(self) -> Instance:
        """The outermost object that this one is a part of."""
        current, seen = self, {id(self)}
        while current.parents and id(current.parents[0]) not in seen:
            current = current.parents[0]
            seen.add(id(current))
        return current

    def __repr__(self) -> str:
        return f"<{self.cls.name} #{self.serial}>"


class Choice(Value):
    """One of several objects; which one is not known."""

    __slots__ = ("alternatives",)

    def __init__(self, alternatives: tuple[Value, ...]) -> None:
        self.alternatives = alternatives


def constant(value: object, site: Site | None = None, labels: Labels = NO_LABELS) -> Data:
    return Data("const", (), labels, site, value)


NONE: Final = constant(None)


def labels_of(value: Value, depth: int = 0) -> Labels:
    """All labels of a value; containers and objects give those of their content."""
    if type(value) is Data:
        return value.labels
    if depth > 6:
        return NO_LABELS
    if type(value) is Seq:
        return _union(value.extra, value.items, depth)
    if type(value) is Map:
        return _union(value.extra, (*value.entries.values(), *value.rest), depth)
    if type(value) is Instance:
        if value.is_module:
            return value.state
        return _union(value.state, tuple(value.fields.values())[:KEPT_ITEMS], depth)
    if type(value) is Choice:
        return _union(NO_LABELS, value.alternatives, depth)
    if type(value) is Func:
        return labels_of(value.bound, depth + 1) if value.bound is not None else NO_LABELS
    if type(value) is Native:
        return labels_of(value.receiver, depth + 1)
    return NO_LABELS


def has_tokens(labels: Labels) -> bool:
    """Whether data of shards, a loss or a parameter of a summary is behind it."""
    return any(label[0] in ("src", "score", "param") for label in labels)


def is_scored(value: Value) -> bool:
    """Whether a loss flows into it."""
    return any(label[0] == "score" for label in labels_of(value))


def _union(start: Labels, values: Iterable[Value], depth: int) -> Labels:
    result = start
    for value in values:
        extra = labels_of(value, depth + 1)
        if extra is not result:
            result = united(result, extra)
    return result


@lru_cache(maxsize=1024)
def united(first: Labels, second: Labels) -> Labels:
    """The labels of both. There are many values and few different sets, each of which may hold thousands of labels: one that holds
    the other is their union, and a union is made once for all that are equal to these."""
    if second <= first:
        return first
    return second if first <= second else first | second


def join_labels(values: Iterable[Value]) -> Labels:
    return _union(NO_LABELS, values, 0)


def join(first: Value, second: Value, site: Site | None = None, chosen: Value | None = None) -> Value:
    """The value after two paths meet; `chosen` is the condition under which it is the first."""
    if first is second:
        return first
    if type(first) is Data and type(second) is Data:
        if first.known and second.known and _same_constant(first.const, second.const):
            return (
                first if second.labels <= first.labels else constant(first.const, first.site, united(first.labels, second.labels))
            )
        node = Data("join", (first, second), join_labels((first, second)), site)
        node.chosen = chosen
        return node
    alternatives: list[Value] = []
    for value in (first, second):
        for one in value.alternatives if type(value) is Choice else (value,):
            if not any(one is known for known in alternatives):
                alternatives.append(one)
    return Choice(tuple(alternatives[:6]))


def join_parts(first: Value, second: Value, site: Site | None) -> Value:
    """Tuples of one length are joined item by item."""
    if (
        isinstance(first, Seq)
        and isinstance(second, Seq)
        and first.exact
        and second.exact
        and len(first.items) == len(second.items)
    ):
        return Seq(first.kind, [join(one, two, site) for one, two in zip(first.items, second.items, strict=True)], True)
    return join(first, second, site)


def taken(value: Value, here: Labels, site: Site, depth: int = 0) -> Value:
    """What is taken from a queue or an iterator in this iteration."""
    if isinstance(value, Data):
        return Data("element", (value,), united(value.labels, here), site, value.const)
    if isinstance(value, Seq) and depth < 3:
        return Seq(value.kind, [taken(item, here, site, depth + 1) for item in value.items], value.exact)
    if isinstance(value, Choice) and depth < 3:
        return Choice(tuple(taken(one, here, site, depth + 1) for one in value.alternatives))
    return value


def joined(value: Data) -> list[Data]:
    """A value and, where several paths met, what it is on each of them."""
    found, pending = [value], [value]
    while pending and len(found) < 16:
        current = pending.pop()
        if current.op in ("join", "ifexp"):
            more = [one for one in current.args if type(one) is Data and not any(one is known for known in found)]
            found += more
            pending += more
    return found


def _same_constant(first: object, second: object) -> bool:
    return type(first) is type(second) and first == second


def alternatives_of(value: Value) -> tuple[Value, ...]:
    return value.alternatives if type(value) is Choice else (value,)


_MOST_PARENTS = 8


def walk_parts(instance: Instance, visit: Callable[[Instance], None]) -> None:
    """Visit an object, all it is part of, and all its parts, each once."""
    seen: set[int] = set()
    up: list[Instance] = [instance]
    while up:
        current = up.pop()
        if id(current) not in seen:
            seen.add(id(current))
            visit(current)
            up += current.parents
    down = child_instances(instance)
    while down:
        current = down.pop()
        if id(current) not in seen:
            seen.add(id(current))
            visit(current)
            down += child_instances(current)


def adopt(whole: Instance, part: Instance) -> None:
    """Make a module a part of another one."""
    if (
        whole.is_module
        and part.is_module
        and part is not whole
        and whole not in part.parents
        and len(part.parents) < _MOST_PARENTS
    ):
        part.parents.append(whole)


def child_instances(instance: Instance) -> list[Instance]:
    """The modules among the fields, in lists and dictionaries too."""
    return [value for value in _held(instance) if type(value) is Instance and value.is_module]


def own_parameters(instance: Instance) -> list[Data]:
    """The tensors among the fields that are the object's own, parameters in lists and dictionaries too."""
    return [value for value in _held(instance) if type(value) is Data and value.owner is instance]


def _held(instance: Instance) -> list[Value]:
    """The modules and tensors among the fields. What was put into a list after the list had become a field joins the whole here."""
    found: list[Value] = []
    pending: list[tuple[Value, int]] = [(value, 0) for value in instance.fields.values()]
    while pending:
        value, depth = pending.pop()
        if type(value) is Instance:
            adopt(instance, value)
            if instance in value.parents:
                found.append(value)
        elif type(value) is Data:
            if depth and value.owner is None and value.op == "call:torch.nn.Parameter" and instance.is_module:
                value.owner = instance
            found.append(value)
        elif depth < 3:
            if type(value) is Seq:
                pending += [(item, depth + 1) for item in value.items]
            elif type(value) is Map:
                pending += [(item, depth + 1) for item in (*value.entries.values(), *value.rest)]
            elif type(value) is Choice:
                pending += [(item, depth + 1) for item in value.alternatives]
    return found
