"""Lists, dictionaries, ranges and other things that are iterated or have Python's own methods."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence

from verifier.program.calls import Calls
from verifier.program.loops import UNROLLED
from verifier.program.scope import Scope
from verifier.program.values import (
    NO_LABELS,
    NONE,
    Choice,
    ClassV,
    Data,
    Func,
    Instance,
    Label,
    Labels,
    Map,
    Seq,
    Site,
    Value,
    constant,
    join,
    join_labels,
    labels_of,
    taken,
    united,
)

_KEPT = 64


def _iteration(key: int, ordinal: int) -> Labels:
    """The label of an iteration; comprehensions (key 0) evaluate one element for all and have none."""
    return frozenset({("loop", key, ordinal)}) if key else NO_LABELS


class Containers(Calls):
    """Iteration, and the methods of lists, dictionaries and sets."""

    def iterate(self, value: Value, key: int, site: Site) -> tuple[list[Value], bool]:
        """The elements of up to two iterations, or all of them when they are known; each depends on its iteration."""
        if isinstance(value, Seq):
            return self._iterate_sequence(value, key, site)
        if isinstance(value, Map):
            names: list[Value] = [constant(name) for name in value.entries]
            keys = Seq("list", names, value.exact)
            keys.extra = value.extra
            if not names and value.rest:
                keys.items = [Data("element", (value,), value.extra, site)]
            return self._iterate_sequence(keys, key, site)
        if isinstance(value, Choice):
            found: list[Value] = []
            for one in value.alternatives:
                if isinstance(one, Data) and one.known and one.const is None:
                    continue
                found += self.iterate(one, key, site)[0]
            return found[:6], False
        if isinstance(value, Instance) and isinstance(value.cls, ClassV):
            iterator = value.cls.find("__iter__")
            if isinstance(iterator, Func):
                result = self.call(iterator.with_receiver(value), [], {}, ast.Pass(), iterator.scope)
                if result is not value:
                    return self.iterate(result, key, site)
            step = value.cls.find("__next__") or value.cls.find("__getitem__")
            if isinstance(step, Func):
                item = self.call(step.with_receiver(value), [self.data("loopvar", (), site)], {}, ast.Pass(), step.scope)
                return [self._element(item, key, ordinal, site) for ordinal in (1, 2)], False
        if isinstance(value, Data):
            return self._iterate_data(value, key, site)
        return [Data("element", (value,), labels_of(value) | _iteration(key, ordinal), site) for ordinal in (1, 2)], False

    def _iterate_data(self, value: Data, key: int, site: Site) -> tuple[list[Value], bool]:
        if value.op == "range" and isinstance(value.const, range):
            numbers = value.const
            if len(numbers) <= UNROLLED:
                return [constant(number, site, _iteration(key, ordinal)) for ordinal, number in enumerate(numbers, 1)], True
        if value.op in ("range",):
            return [
                Data("loopvar", value.args, united(value.labels, _iteration(key, ordinal)), site) for ordinal in (1, 2)
            ], False
        if value.op == "zip":
            columns = [self.iterate(argument, key, site) for argument in value.args]
            exact = all(known for _, known in columns) and bool(columns)
            length = (
                min((len(items) for items, _ in columns), default=0)
                if exact
                else max((len(items) for items, _ in columns), default=0)
            )
            if not exact and any(not items for items, _ in columns):
                return [], True
            rows = [
                Seq("tuple", [items[min(number, len(items) - 1)] for items, _ in columns], True)
                for number in range(min(length, _KEPT))
            ]
            return list(rows), exact
        if value.op == "enumerate":
            items, exact = self.iterate(value.args[0], key, site)
            numbered: list[Value] = []
            for ordinal, item in enumerate(items, 1):
                labels = _iteration(key, ordinal)
                number = constant(ordinal - 1, site, labels) if exact else Data("loopvar", (), labels, site)
                numbered.append(Seq("tuple", (number, item), True))
            return numbered, exact
        if value.known and not isinstance(value.const, str | bytes | range):
            return [], True
        if value.known and isinstance(value.const, str | bytes) and len(value.const) == 0:
            return [], True
        return [self._element(value, key, ordinal, site) for ordinal in (1, 2)], False

    def _iterate_sequence(self, value: Seq, key: int, site: Site) -> tuple[list[Value], bool]:
        if value.exact:
            return [self._element(item, key, number, site, inside=True)
                    for number, item in enumerate(value.items, 1)], not value.extra or bool(value.items)  # fmt: skip
        if not value.items:
            if not value.extra:
                return [], True
            return [Data("element", (value,), value.extra | _iteration(key, ordinal), site) for ordinal in (1, 2)], False
        items = value.items[:2] if len(value.items) > 1 else value.items * 2
        if any(not isinstance(item, Data) for item in value.items):
            items = value.items[:4] if len(value.items) > 1 else items
        return [
            self._element(item, key, min(number, 2), site, value.extra, inside=True) for number, item in enumerate(items, 1)
        ], False

    def _element(
        self, item: Value, key: int, ordinal: int, site: Site, extra: frozenset[Label] = NO_LABELS, inside: bool = False
    ) -> Value:
        if isinstance(item, Data):
            if inside and item.owner is not None:
                return item
            node = Data("element", (item,), united(united(item.labels, extra), _iteration(key, ordinal)), site)
            if inside:
                node.const = item.const
            node.owner, node.serial = (item.owner, item.serial) if inside else (None, self.new_serial())
            return node
        if isinstance(item, Seq) and item.exact and inside and item.kind == "tuple":
            return Seq("tuple", [self._element(one, key, ordinal, site, extra, inside=True) for one in item.items], True)
        return item

    def container_method(
        self, receiver: Seq | Map, name: str, args: Sequence[Value], names: Mapping[str, Value], site: Site, scope: Scope
    ) -> Value:
        if isinstance(receiver, Seq):
            return self._sequence_method(receiver, name, args, site)
        return self._map_method(receiver, name, args, names, site, scope)

    def _sequence_method(self, receiver: Seq, name: str, args: Sequence[Value], site: Site) -> Value:
        if name in ("append", "add", "appendleft", "insert", "put") and args:
            value = args[-1]
            receiver.extra |= self.chosen_by(value, receiver.serial)
            if self.state.guards and receiver.serial < self.state.fork_serial:
                receiver.exact = False
            if self.state.loops and len(receiver.items) >= 2:
                receiver.exact = False
            if len(receiver.items) < _KEPT:
                receiver.items.append(value)
            else:
                receiver.exact = False
                receiver.extra |= labels_of(value)
            if self.state.loops:
                # The real list is as long as the loop; what is known are the first iterations.
                receiver.exact = False
            return NONE
        if name in ("extend", "update", "extendleft") and args:
            added = args[0]
            if isinstance(added, Seq):
                receiver.items += added.items[: max(0, _KEPT - len(receiver.items))]
                receiver.exact = receiver.exact and added.exact and not self.state.guards and not self.state.loops
                receiver.extra |= added.extra
            else:
                receiver.exact = False
                if len(receiver.items) < _KEPT:
                    receiver.items.append(self.data("element", (added,), site))
            return NONE
        if name in ("pop", "popleft", "get", "get_nowait"):
            receiver.exact = False
            if not receiver.items:
                return self.data("element", (receiver,), site)
            place = args[0] if args and name == "pop" else Data("unknown", (), NO_LABELS, site)
            item = self.index(receiver, place, site)
            first = name != "pop" or (isinstance(place, Data) and place.known and place.const == 0)
            # A queue is emptied in order.
            return taken(item, frozenset(("loop", *one) for one in self.state.loops), site) if first else item
        if name in ("copy",):
            copy = Seq(receiver.kind, receiver.items, receiver.exact, self.new_serial())
            copy.extra = receiver.extra
            return copy
        if name in ("sort", "reverse", "remove", "discard"):
            receiver.exact = receiver.exact and len(receiver.items) < 2
            return NONE
        if name == "clear":
            if not self.state.guards:
                receiver.items, receiver.extra, receiver.exact = [], NO_LABELS, not self.state.loops
            return NONE
        if name in ("__len__",):
            return self.length(receiver, site)
        if name in ("modules", "parameters", "children"):
            return receiver
        return self.data("." + name, (receiver, *args), site)

    def length(self, value: Value, site: Site) -> Value:
        if isinstance(value, Seq) and value.exact and not value.extra:
            return constant(len(value.items), site)
        if isinstance(value, Map) and value.exact and not value.rest:
            return constant(len(value.entries), site)
        if isinstance(value, Data) and value.known and isinstance(value.const, str | bytes | range):
            return constant(len(value.const), site)
        labels = frozenset(label for label in labels_of(value) if label[0] in ("loop", "env"))
        return Data("len", (value,), labels, site)

    def _map_method(
        self, receiver: Map, name: str, args: Sequence[Value], names: Mapping[str, Value], site: Site, scope: Scope
    ) -> Value:
        if name in ("get", "pop", "setdefault") and args:
            key = args[0]
            default = args[1] if len(args) > 1 else names.get("default", NONE)
            if isinstance(key, Data) and key.known:
                try:
                    held = receiver.entries.get(key.const)
                except TypeError:
                    held = None
                if held is not None:
                    return held
                if receiver.exact and not receiver.rest:
                    if name == "setdefault" and isinstance(key.const, str | int | float | bool):
                        receiver.entries[key.const] = default
                    return default
            if name == "setdefault":
                receiver.rest.append(default)
                receiver.exact = False
                receiver.extra |= labels_of(key)
                return default
            found = self.index(receiver, key, site)
            return join(found, default, site)
        if name in ("items", "values", "keys"):
            return self._pairs(receiver, name, site)
        if name == "update":
            for added in args:
                if isinstance(added, Map):
                    receiver.entries |= added.entries
                    receiver.rest += added.rest
                    receiver.exact = receiver.exact and added.exact
                    receiver.extra |= added.extra
                else:
                    receiver.exact = False
                    receiver.extra |= labels_of(added)
            receiver.entries.update(names)
            return NONE
        if name == "copy":
            copy = Map(self.new_serial())
            copy.entries, copy.rest, copy.exact, copy.extra = (
                dict(receiver.entries),
                list(receiver.rest),
                receiver.exact,
                receiver.extra,
            )
            copy.factory = receiver.factory
            return copy
        if name == "clear":
            if not self.state.guards:
                receiver.entries, receiver.rest, receiver.extra = {}, [], NO_LABELS
            return NONE
        return self.data("." + name, (receiver, *args), site)

    def _pairs(self, receiver: Map, name: str, site: Site) -> Value:
        rows: list[Value] = []
        for key, value in receiver.entries.items():
            held = constant(key, site)
            rows.append(held if name == "keys" else value if name == "values" else Seq("tuple", (held, value), True))
        for value in receiver.rest:
            unknown = Data("element", (receiver,), receiver.extra, site)
            rows.append(unknown if name == "keys" else value if name == "values" else Seq("tuple", (unknown, value), True))
        result = Seq("list", rows[:_KEPT], receiver.exact and not receiver.rest, self.new_serial())
        result.extra = receiver.extra
        return result

    def copy_of(self, value: Value, seen: dict[int, Value] | None = None) -> Value:
        """`copy.deepcopy`: objects are copied with the state they have now."""
        seen = {} if seen is None else seen
        if id(value) in seen:
            return seen[id(value)]
        if isinstance(value, Instance):
            copy = self.new_instance(value.cls)
            seen[id(value)] = copy
            copy.state = value.state
            for name, held in value.fields.items():
                self.set_field(copy, name, self.copy_of(held, seen))
            return copy
        if isinstance(value, Seq):
            items = Seq(value.kind, (), value.exact, self.new_serial())
            seen[id(value)] = items
            items.items = [self.copy_of(item, seen) for item in value.items]
            items.extra = value.extra
            return items
        if isinstance(value, Map):
            table = Map(self.new_serial())
            seen[id(value)] = table
            table.entries = {key: self.copy_of(item, seen) for key, item in value.entries.items()}
            table.rest = [self.copy_of(item, seen) for item in value.rest]
            table.exact, table.extra, table.factory = value.exact, value.extra, value.factory
            return table
        if isinstance(value, Data) and not value.known:
            node = Data("call:copy.deepcopy", (value,), join_labels((value,)), value.site)
            node.serial = self.new_serial()
            seen[id(value)] = node
            return node
        return value
