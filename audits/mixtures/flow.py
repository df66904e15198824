"""How values flow into the headline score: the graph behind its reports, through changes of arrays in place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from verifier.program.events import Event, Trace
from verifier.program.queries import headline_reports, operation, prints_headline
from verifier.program.values import Choice, Data, Map, Native, Seq, Site, Value
from verifier.submission.submission import Submission

MOST_NODES = 250_000
"""Nodes of the graph that are looked at."""
MOST_VISITS = 3_000_000
"""Nodes visited in all walks together."""
_REMEMBERED = 400
"""Results of walks that are kept."""
KEPT = 400
"""Direct inputs of a node that are looked at."""
LOGARITHMS = frozenset({"log", "log2", "log10", "log1p", "logsumexp", "logaddexp", "logaddexp2"})
COPIES = frozenset(
    {"astype", "to", "cpu", "cuda", "numpy", "long", "int", "view", "reshape", "flatten", "ravel", "squeeze", "unsqueeze", "contiguous", "clone",
     "copy", "from_numpy", "tensor", "as_tensor", "asarray", "array", "ascontiguousarray", "tolist", "item", "detach", "join", "element", "index",
     "where", "cat", "concatenate", "stack", "clamp", "clip", "pin_memory", "expand", "transpose", "permute", "squeeze_", "t", "ifexp",
     "int64", "int32", "uint64", "uint32", "clamp_", "repeat", "tensor_split", "chunk", "split", "flip", "narrow", "index_select", "type", "attr:T"}
)  # fmt: skip
"""Operations that hand on the numbers they are given."""
ELEMENTWISE = frozenset(
    {"*", "+", "-", "neg", "/", "where", "astype", "to", "float", "double", "bool", "int", "long", "view", "reshape", "unsqueeze", "squeeze", "expand",
     "~", "&", "|", "not", "and", "or", "masked_fill", "clamp", "clip", "exp", "index", ">", "<", ">=", "<=", "==", "!=", "cpu", "numpy", "join", "tensor",
     "from_numpy", "flatten", "asarray", "logical_and", "logical_or", "logical_not", "multiply", "add", "element", "ifexp", "minimum", "maximum", "item",
     "float32", "float64", "int64", "mul", "sub", "add_", "mul_", "sub_", "log", "log1p"}
)  # fmt: skip
"""Operations that keep one value for each token."""
_KEYS = {
    "index": 1,
    "get": 1,
    "take": 1,
    "setdefault": 1,
    "gather": -1,
    "index_select": -1,
    "take_along_dim": -1,
    "embedding": -2,
}
"""Reads of tables, and which argument is the key."""
_COMPARISONS = frozenset(
    {"<", "<=", "==", "!=", ">", ">=", "isin", "isnan", "isfinite", "eq", "ne", "gt", "ge", "lt", "le", "in"}
)
_JOINS = frozenset(
    {"&", "|", "~", "not", "and", "or", "cpu", "numpy", "to", "index", "logical_and", "logical_or", "logical_not", "join"}
)
_READS = ("fromfile", "memmap", "frombuffer", "load", "read", "from_file", "load_file")


def is_scored(node: Data) -> bool:
    """Whether a model's loss or target probability is in it."""
    return any(label[0] == "score" for label in node.labels)


def from_validation(node: Data) -> bool:
    return ("src", "val") in node.labels


def data_in(value: Value) -> list[Data]:
    """The nodes that a value consists of; containers are opened."""
    found: list[Data] = []
    pending: list[Value] = [value]
    seen: set[int] = set()
    while pending:
        current = pending.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        if isinstance(current, Data):
            found.append(current)
        elif isinstance(current, Seq):
            pending += reversed(current.items)
        elif isinstance(current, Map):
            pending += [*current.rest, *reversed(current.entries.values())]
        elif isinstance(current, Native):
            pending.append(current.receiver)
        elif isinstance(current, Choice):
            pending += reversed(current.alternatives)
    return found


@dataclass(frozen=True, slots=True)
class Lookup:
    """A read of a table by a key that holds validation data. `events` are what the trace says about the line."""

    site: Site
    events: tuple[Event, ...]
    table: Value
    key: Value
    result: Data


class Flow:
    """The graph behind the headline reports of a trace. Edges lead from a node to what it was computed from; what was put into
    an array before it was read belongs to that. `assumed`: the trace is of evaluations that the settings switch off."""

    def __init__(self, trace: Trace, submission: Submission, *, assumed: bool = False) -> None:
        self.trace = trace
        self.assumed = assumed
        printed = [report for report in trace.of("report") if prints_headline(report, submission)]
        # A heading may fit the headline's line as well as the metric does.
        printed = [one for one in printed if any(is_scored(node) for value in one.values for node in data_in(value))] or printed
        self.reports = _closest(printed) or headline_reports(trace, submission)
        self.matched = bool(printed)
        self.nodes: dict[int, Data] = {}
        self.children: dict[int, tuple[Data, ...]] = {}
        self.parents: dict[int, list[Data]] = {}
        self._written: dict[int, list[Event]] = {}
        self._back: dict[int, frozenset[int]] = {}
        self._handed: dict[int, tuple[Data, ...]] = {}
        self._tokens: dict[int, bool] = {}
        self.memo: dict[object, object] = {}
        """Answers about the whole graph, made once for all rules that ask."""
        self._visits = 0
        for event in trace.of("write"):
            for target in data_in(event.values[0]):
                self._written.setdefault(id(target), []).append(event)
        self._explore([node for report in self.reports for value in report.values for node in data_in(value)])
        self.lookups = self._lookups()

    @cached_property
    def spoken(self) -> tuple[Data, ...]:
        """What is printed and bears a model's word: a loss, or what was computed with weights."""
        printed = (node for report in self.reports for value in report.values for node in data_in(value))
        return tuple(node for node in printed if any(label[0] in ("score", "model") for label in node.labels))

    @property
    def complete(self) -> bool:
        return len(self.nodes) < MOST_NODES and self._visits < MOST_VISITS

    def inputs(self, node: Data) -> tuple[Data, ...]:
        """What a node was computed from, whether it is part of the graph or not."""
        known = self.children.get(id(node))
        return known if known is not None else self._inputs(node)

    def is_changed(self, node: Data) -> bool:
        """Whether something was put into an array after it was made."""
        return bool(node.filled) or id(node) in self._written

    def behind(self, node: Data) -> frozenset[int]:
        """The identities of everything that a node was computed from, itself included."""
        known = self._back.get(id(node))
        if known is None:
            known = frozenset(id(one) for one in self.walk([node], self.inputs))
            if len(self._back) < _REMEMBERED:
                self._back[id(node)] = known
        return known

    def walk(self, start: Iterable[Data], following: Callable[[Data], Iterable[Data]]) -> list[Data]:
        """Every node that can be reached, in a fixed order."""
        seen: dict[int, Data] = {}
        pending = list(start)
        while pending and len(seen) < MOST_NODES and self._visits < MOST_VISITS:
            current = pending.pop()
            if id(current) not in seen:
                self._visits += 1
                seen[id(current)] = current
                pending += following(current)
        return list(seen.values())

    @cached_property
    def logarithms(self) -> tuple[Data, ...]:
        """Logarithms of scored quantities, in the order of their lines."""
        found = [node for node in self.nodes.values() if operation(node) in LOGARITHMS and is_scored(node)]
        return tuple(sorted(found, key=lambda node: (node.site or ("", 0, 0), node.serial))[:_REMEMBERED])

    def ingredients(self, key: Value) -> dict[int, Data]:
        """The tokens in a key: the last form of each before it is computed with."""
        found: dict[int, Data] = {}
        for node in self.walk(data_in(key), self.arithmetic):
            if self.is_token(node):
                found[id(node)] = node
        return found

    def key_path(self, key: Value) -> list[Data]:
        """The computations that make a key, the last one first."""
        return [node for node in self.walk(data_in(key), self.arithmetic) if operation(node) not in COPIES]

    def arithmetic(self, node: Data) -> tuple[Data, ...]:
        """What a number was computed from, down to the tokens."""
        if self.is_token(node):
            return ()
        return tuple(one for one in self.handed_on(node) if from_validation(one))

    def handed_on(self, node: Data) -> tuple[Data, ...]:
        """What a number was computed from, without the masks and places that only choose among numbers."""
        known = self._handed.get(id(node))
        if known is None:
            known = self._handed[id(node)] = self._hand_on(node)
        return known

    def _hand_on(self, node: Data) -> tuple[Data, ...]:
        inputs = self.inputs(node)
        if operation(node) == "where" and len(node.args) == 3:
            own = {id(one) for one in data_in(node.args[0])} - {id(one) for value in node.args[1:] for one in data_in(value)}
            return tuple(one for one in inputs if id(one) not in own)
        if operation(node) == "index" and (field := field_of(node)) is not None:
            return field
        if operation(node) in ("index", "element", "index_select", "narrow", "split", "chunk", "clamp", "clip", "masked_select"):
            own = {id(one) for value in node.args[1:] for one in data_in(value)}
            return tuple(one for one in inputs if id(one) not in own)
        return inputs

    def is_token(self, node: Data) -> bool:
        """Whether a node holds validation tokens as they were read, at most copied, cut or picked."""
        known = self._tokens.get(id(node))
        if known is None:
            read = from_validation(node) and not is_scored(node)
            known = self._tokens[id(node)] = read and any(operation(one) in _READS for one in self.origin(node))
        return known

    def origin(self, node: Data) -> list[Data]:
        """The chain of copies behind a node, back to where the numbers were read; empty when something was computed."""
        chain: list[Data] = []
        pending, seen = [node], set[int]()
        while pending and len(seen) < 400:
            current = pending.pop()
            if id(current) in seen or current.known:
                continue
            seen.add(id(current))
            if not from_validation(current):
                continue
            chain.append(current)
            if operation(current) in _READS:
                continue
            if operation(current) not in COPIES and not current.filled:
                return []
            pending += self.handed_on(current)
        return chain

    def _explore(self, start: list[Data]) -> None:
        def follow(node: Data) -> tuple[Data, ...]:
            self.children[id(node)] = made = self._inputs(node)
            return made

        for node in self.walk(start, follow):
            self.nodes[id(node)] = node
            for one in self.children[id(node)]:
                self.parents.setdefault(id(one), []).append(node)

    def _inputs(self, node: Data) -> tuple[Data, ...]:
        found = [one for value in node.args for one in data_in(value)]
        if node.inner is not None:
            found += data_in(node.inner)
        held = {id(one) for one in found}
        for one in found:  # grows: what is put into an array may be an array that something was put into
            if len(found) > KEPT:
                break
            put = [value for serial, value, _ in one.filled if not node.serial or serial < node.serial]
            put += [event.values[-1] for event in self._written.get(id(one), ()) if ("upd", event.index) in node.labels]
            for value in put:
                more = [each for each in data_in(value) if id(each) not in held]
                held.update(id(each) for each in more)
                found += more
        return tuple(dict.fromkeys(found))

    def _lookups(self) -> tuple[Lookup, ...]:
        events: dict[Site, list[Event]] = {}
        for event in self.trace.of("lookup"):
            events.setdefault(event.site, []).append(event)
        found: list[Lookup] = []
        for node in self.nodes.values():
            place = _KEYS.get(operation(node))
            if place is None or len(node.args) < 2 or node.site is None:
                continue
            key = node.args[place]
            if any(from_validation(one) for one in data_in(key)) and not all(_is_mask(one, 0) for one in data_in(key)):
                found.append(Lookup(node.site, tuple(events.get(node.site, ())[:1]), node.args[0], key, node))
        return tuple(found)


def meeting(flow: Flow, start: Data) -> Data | None:
    """The first place where a value for each token meets the score of that token."""
    pending, seen = [start], {id(start)}
    while pending:
        current = pending.pop(0)
        for parent in flow.parents.get(id(current), ()):
            if id(parent) in seen or operation(parent) not in ELEMENTWISE or _is_key(current, parent):
                continue
            seen.add(id(parent))
            if is_scored(parent):
                return parent
            pending.append(parent)
    return None


def _is_key(node: Data, reader: Data) -> bool:
    """Whether a node only says which element is read."""
    return operation(reader) in ("index", "element") and not any(one is node for one in data_in(reader.args[0]))


def _is_mask(node: Data, depth: int) -> bool:
    """Whether a key only says which elements stay."""
    how = operation(node)
    if how in _JOINS and depth < 8:
        parts = [one for value in node.args for one in data_in(value)]
        return bool(parts) and all(_is_mask(one, depth + 1) for one in parts)
    return how in _COMPARISONS


def field_of(node: Data) -> tuple[Data, ...] | None:
    """The same field of every tuple that a record picked from a list may be."""
    place, base = node.args[1], node.args[0]
    if not isinstance(place, Data) or type(place.const) is not int:
        return None
    records: list[Value] = [base]
    for _ in range(4):
        records = [
            one
            for value in records
            for one in (value.args[:1] if isinstance(value, Data) and value.op in ("index", "element") else (value,))
        ]
        if any(isinstance(value, Seq) for value in records):
            break
    rows = [
        row for value in records if isinstance(value, Seq) for row in value.items if isinstance(row, Seq) and row.kind == "tuple"
    ]
    if base in records or not rows or any(len(row.items) <= place.const for row in rows):
        return None
    return tuple(one for row in rows for one in data_in(row.items[place.const]))


def _closest(reports: Sequence[Event]) -> tuple[Event, ...]:
    """Of the reports that may have printed the headline, those whose fixed text is longest."""
    words = [len(report.text.split()) for report in reports]
    return tuple(report for report, count in zip(reports, words, strict=True) if count == max(words))
