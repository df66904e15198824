"""Assignments of the interpreted program: names, attributes, items, in-place changes."""

from __future__ import annotations

import ast

from verifier.program.expressions import Expressions
from verifier.program.scope import Scope
from verifier.program.values import (
    NO_LABELS,
    NONE,
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
    has_tokens,
    join,
    join_labels,
    labels_of,
)

_ALL_PARAMETERS = ("parameters", ".parameters", "element")


class Assignments(Expressions):
    """Binds values."""

    def _assign(self, node: ast.Assign, scope: Scope) -> str:
        value = self.evaluate(node.value, scope)
        for target in node.targets:
            self.assign(target, value, scope)
        return "next"

    def _annotated(self, node: ast.AnnAssign, scope: Scope) -> str:
        if node.value is not None:
            self.assign(node.target, self.evaluate(node.value, scope), scope)
        return "next"

    def assign(self, target: ast.expr, value: Value, scope: Scope) -> None:
        if isinstance(target, ast.Name):
            scope.bind(target.id, value)
        elif isinstance(target, ast.Tuple | ast.List):
            self._unpack(target, value, scope)
        elif isinstance(target, ast.Attribute):
            self._assign_attribute(self.evaluate(target.value, scope), target.attr, value, self.site(target, scope))
        elif isinstance(target, ast.Subscript):
            base = self.evaluate(target.value, scope)
            self._assign_item(base, self.evaluate(target.slice, scope), value, self.site(target, scope))
        elif isinstance(target, ast.Starred):
            self.assign(target.value, value, scope)

    def _unpack(self, target: ast.Tuple | ast.List, value: Value, scope: Scope) -> None:
        site = self.site(target, scope)
        if isinstance(value, Choice):
            fitting = [
                one for one in value.alternatives if isinstance(one, Seq) and one.exact and len(one.items) == len(target.elts)
            ]
            value = self._unpacked_choice(value, fitting, site)
        starred = next((number for number, item in enumerate(target.elts) if isinstance(item, ast.Starred)), None)
        if isinstance(value, Seq) and value.exact and starred is None and len(value.items) == len(target.elts):
            for item, one in zip(target.elts, value.items, strict=True):
                self.assign(item, one, scope)
            return
        if isinstance(value, Seq) and value.exact and starred is not None and len(value.items) >= len(target.elts) - 1:
            after = len(target.elts) - starred - 1
            parts: list[Value] = list(value.items[:starred])
            parts.append(Seq("list", value.items[starred : len(value.items) - after], True, self.new_serial()))
            parts += value.items[len(value.items) - after :] if after else []
            for item, one in zip(target.elts, parts, strict=True):
                self.assign(item, one, scope)
            return
        for number, item in enumerate(target.elts):
            position = Data("const", (), NO_LABELS, site, number)
            part = self.index(value, position, site) if not isinstance(value, Instance) else self.data("index", (value,), site)
            self.assign(item, part, scope)

    def _unpacked_choice(self, value: Choice, fitting: list[Seq], site: Site) -> Value:
        """One of several tuples: each part is one of theirs."""
        if not fitting:
            return next((one for one in value.alternatives if isinstance(one, Seq)), self.data("join", value.alternatives, site))
        items = list(fitting[0].items)
        for other in fitting[1:]:
            items = [join(mine, theirs, site) for mine, theirs in zip(items, other.items, strict=True)]
        return Seq("tuple", items, True, self.new_serial())

    def _assign_attribute(self, base: Value, name: str, value: Value, site: Site) -> None:
        if isinstance(base, Choice):
            for one in base.alternatives:
                self._assign_attribute(one, name, value, site)
        elif isinstance(base, Instance):
            setter = base.cls.find("__setattr__") if isinstance(base.cls, ClassV) else None
            if isinstance(setter, Func):
                self.call(
                    setter.with_receiver(base), [Data("const", (), NO_LABELS, site, name), value], {}, ast.Pass(), setter.scope
                )
            self.set_field(base, name, value)
        elif isinstance(base, Lib):
            self.state.replaced[f"{base.name}.{name}"] = value
        elif isinstance(base, ClassV):
            base.attributes[name] = value
            if isinstance(value, Func):
                self.state.summaries.clear()  # a method of all objects of the class is replaced
        elif isinstance(base, Data) and name == "data":
            self.copy_into(base, value, site)
        elif isinstance(base, Data) and name == "grad":
            if isinstance(value, Data) and value.known and value.const is None:
                self.state.pending = []  # gradients are cleared by hand
        elif isinstance(base, Data) and name != "requires_grad":
            self.write(base, None, value, site)

    def copy_into(self, target: Data, value: Value, site: Site) -> None:
        """`target.data = value`, `target.copy_(value)`: what the target was before is gone, unless only a part is meant."""
        root = self.root(target)
        labels = labels_of(value)
        whole: Value = target
        while isinstance(whole, Data) and whole.op in ("attr:data", ".detach") and whole.args:
            whole = whole.args[0]
        if root in (target, whole) and isinstance(whole, Data) and whole.op in _ALL_PARAMETERS and whole.owner is not None:
            self.replace_state(whole.owner, labels)  # under a condition it keeps what was there before, too
            return
        if root in (target, whole) and isinstance(root, Data) and root.op != "const" and not self.state.guards:
            if has_tokens(labels) or root.owner is not None:
                self.write(root, None, value, site)
            root.labels = labels | frozenset(label for label in root.labels if label[0] == "model")
            return
        self.write(target, None, value, site)

    def _assign_item(self, base: Value, key: Value, value: Value, site: Site) -> None:
        if isinstance(base, Choice):
            for one in base.alternatives:
                self._assign_item(one, key, value, site)
            return
        if isinstance(base, Map) and isinstance(key, Data) and key.known and isinstance(key.const, str | int | float | bool):
            old = base.entries.get(key.const)
            weak = old is not None and self.state.guards and base.serial < self.state.fork_serial
            base.entries[key.const] = join(old, value) if weak and old is not None else value
            return
        if isinstance(base, Map):
            if len(base.rest) < 16:
                base.rest.append(value)
            base.exact = False
            base.extra |= labels_of(key) | labels_of(value)
        elif isinstance(base, Seq):
            if isinstance(key, Data) and key.known and isinstance(key.const, int) and base.exact:
                position = int(key.const)
                if -len(base.items) <= position < len(base.items):
                    base.items[position] = value
                    return
            base.exact = False
            if len(base.items) < 16:
                base.items.append(value)
            base.extra |= labels_of(key)
        elif isinstance(base, Lib) and base.name == "os.environ" and isinstance(key, Data) and isinstance(key.const, str):
            self.state.disk[f"env:{key.const}"] = value
            return
        elif isinstance(base, Instance) and isinstance(base.cls, ClassV):
            setter = base.cls.find("__setitem__")
            if isinstance(setter, Func):
                self.call(setter.with_receiver(base), [key, value], {}, ast.Pass(), setter.scope)
                return
        self.write(base, key, value, site)

    def _augmented(self, node: ast.AugAssign, scope: Scope) -> str:
        site = self.site(node, scope)
        right = self.evaluate(node.value, scope)
        target = node.target
        if isinstance(target, ast.Name):
            old = scope.find(target.id) or NONE
            if isinstance(old, Seq) and isinstance(node.op, ast.Add):
                self._extend(old, right)
                return "next"
            new = self.binary(node.op, old, right, site)
            base_of = self.root(old)
            if isinstance(base_of, Data) and base_of.owner is not None:  # also by way of `weight.detach()`
                self.write(old, None, right, site)
                return "next"
            if isinstance(new, Data) and new.known and self.state.loops:
                new = Data("+", (old, right), join_labels((old, right)), site)
            if (
                isinstance(old, Data)
                and old.op == "index"
                and isinstance(old.args[0], Seq | Map)
                and has_tokens(labels_of(right))
            ):
                self.write(old, None, right, site)  # one array of several that a container holds
            for array in _arrays_of(old) if has_tokens(labels_of(right)) else ():
                self.fill(array, right, labels_of(right), site)  # whoever else holds the array sees the sum
            scope.bind(target.id, new)
        elif isinstance(target, ast.Attribute):
            base = self.evaluate(target.value, scope)
            old = self.get_attribute(base, target.attr, site, scope)
            new = self.binary(node.op, old, right, site)
            if isinstance(new, Data) and new.known and self.state.loops:
                new = Data("+", (old, right), join_labels((old, right)), site)
            if isinstance(old, Data) and old.owner is not None:
                self.write(old, None, right, site)
            else:
                if has_tokens(labels_of(right)):
                    event = self.emit("write", site, (old, right), tokens=labels_of(right))
                    if isinstance(new, Data):
                        new.labels |= {("upd", event.index)}
                self._assign_attribute(base, target.attr, new, site)
        else:
            base = self.evaluate(target.value, scope)
            key = self.evaluate(target.slice, scope)
            old = self.index(base, key, site)
            new = self.binary(node.op, old, right, site)
            weights = [
                one for one in (old, *(base.items if isinstance(base, Seq) else ())) if isinstance(one, Data) and one.owner
            ]
            if weights:
                for weight in weights:
                    self.write(weight, None, right, site)
            elif isinstance(base, Map | Seq) and has_tokens(labels_of(key) | labels_of(right)):
                labels = labels_of(key) | labels_of(right)
                event = self.emit("write", site, (base, key, right), labels, tokens=labels)
                base.extra |= labels | {("upd", event.index)}
                base.exact = False
            else:
                self._assign_item(base, key, new, site)
        return "next"

    def _extend(self, target: Seq, added: Value) -> None:
        if isinstance(added, Seq):
            target.items += added.items[: max(0, 64 - len(target.items))]
            target.exact = target.exact and added.exact and not self.state.guards
            target.extra |= added.extra
        else:
            target.exact = False
            target.extra |= labels_of(added)
            if len(target.items) < 16:
                target.items.append(added)


def _arrays_of(value: Value) -> list[Data]:
    """The arrays that `+=` changes in place: a sum that started from one is still that one."""
    found: list[Data] = []
    pending: list[Value] = [value]
    for _ in range(64):
        current = pending.pop() if pending else None
        if isinstance(current, Data) and current.op.startswith(("call:torch.", "call:numpy.")):
            found.append(current)
        elif isinstance(current, Data) and current.op in ("+", "-", "*", "/", "|", "&", "^"):
            pending += current.args[:1]
        elif isinstance(current, Data) and current.op in ("join", "ifexp"):
            found.append(current)
            pending += current.args
    return list(dict.fromkeys(found))
