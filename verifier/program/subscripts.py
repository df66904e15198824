"""Subscripts of the interpreted program: items of containers, slices and look-ups by data."""

from __future__ import annotations

import ast

from verifier.program.operators import Operators
from verifier.program.scope import Scope, scope_of
from verifier.program.values import (
    NONE,
    UNSET,
    Choice,
    ClassV,
    Data,
    Func,
    Instance,
    Lib,
    Map,
    Seq,
    Site,
    Value,
    constant,
    has_tokens,
    join,
    join_labels,
    labels_of,
)


class Subscripts(Operators):
    """Takes items out of values."""

    def _subscript(self, node: ast.Subscript, scope: Scope) -> Value:
        base = self.evaluate(node.value, scope)
        return self.index(base, self.evaluate(node.slice, scope), self.site(node, scope))

    def index(self, base: Value, key: Value, site: Site) -> Value:
        if isinstance(base, Choice):
            found: Value | None = None
            for one in base.alternatives:
                if isinstance(one, Data) and one.known and one.const is None:
                    continue
                item = self.index(one, key, site)
                found = item if found is None else join(found, item, site)
            return found if found is not None else NONE
        if isinstance(base, Lib) and base.name == "os.environ":
            return self.environment([key], site, required=True)
        if isinstance(base, Map):
            return self._entry(base, key, site)
        if isinstance(base, Seq):
            return self._item(base, key, site)
        if isinstance(base, ClassV | Lib | Func):
            return base  # generic aliases, `kernel[grid]`
        if isinstance(base, Instance):
            getter = base.cls.find("__getitem__") if isinstance(base.cls, ClassV) else None
            if isinstance(getter, Func):
                return self.call(getter.with_receiver(base), [key], {}, ast.Pass(), scope_of(site))
            return self.data("index", (base, key), site)
        if isinstance(base, Data) and base.known and isinstance(key, Data) and key.known and isinstance(base.const, str | bytes):
            try:
                return constant(base.const[key.const], site, base.labels)  # type: ignore[index, call-overload]
            except (IndexError, TypeError, KeyError):
                pass
        result = self.data("index", (base, key), site)
        key_labels = labels_of(key)
        if has_tokens(key_labels) and not _is_slice(key) and not (isinstance(base, Data) and base.known):
            self.emit("lookup", site, (base, key, result), result.labels, tokens=key_labels)
        return result

    def _entry(self, base: Map, key: Value, site: Site) -> Value:
        if isinstance(key, Data) and key.known:
            try:
                held = base.entries.get(key.const)
            except TypeError:
                held = None
            if held is not None:
                return held
            if base.exact and base.factory is not None:
                base.entries[key.const] = made = self.call(base.factory, [], {}, ast.Pass(), scope_of(site))
                return made
        values = [*base.entries.values(), *base.rest]
        if base.factory is not None and not values:
            made = self.call(base.factory, [], {}, ast.Pass(), scope_of(site))
            base.rest.append(made)
            return made
        if values and not all(isinstance(value, Data) for value in values):
            result = values[0]
            for value in values[1:]:
                result = join(result, value, site)
            return result
        node = self.data("index", (base, key), site)
        if has_tokens(labels_of(key)):
            self.emit("lookup", site, (base, key, node), node.labels, tokens=labels_of(key))
        return node

    def _item(self, base: Seq, key: Value, site: Site) -> Value:
        if isinstance(key, Data) and key.known and isinstance(key.const, int) and base.items:
            position = int(key.const)
            if -len(base.items) <= position < len(base.items) and (base.exact or position in (0, -1)):
                return base.items[position]
        if _is_slice(key):
            part = Seq(base.kind, base.items, False, self.new_serial())
            part.extra = base.extra | labels_of(key)
            bounds = [item.const if isinstance(item, Data) and item.known else UNSET for item in key.args]  # type: ignore[attr-defined]
            if base.exact and UNSET not in bounds:
                try:
                    part.items, part.exact = base.items[slice(*bounds)], True  # type: ignore[arg-type]
                except (TypeError, ValueError):
                    part.items = base.items
            return part
        objects = [item for item in base.items if not isinstance(item, Data)]
        if not all(_is_table(item) for item in objects):
            result = objects[0]
            for item in objects[1:]:
                result = join(result, item, site)
            return result
        return self.data("index", (base, key), site)

    def _slice(self, node: ast.Slice, scope: Scope) -> Value:
        parts = tuple(self.evaluate(part, scope) if part is not None else NONE for part in (node.lower, node.upper, node.step))
        return Data("slice", parts, join_labels(parts), scope.module.site(getattr(node, "lineno", 0)))


def _is_table(value: Value) -> bool:
    """Rows of numbers, not of models or functions."""
    if isinstance(value, Seq):
        return all(isinstance(item, Data | Seq | Map) and (isinstance(item, Data) or _is_table(item)) for item in value.items)
    return isinstance(value, Map) and all(isinstance(item, Data) for item in (*value.entries.values(), *value.rest))


def _is_slice(key: Value) -> bool:
    return type(key) is Data and key.op == "slice"
