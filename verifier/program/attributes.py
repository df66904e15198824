"""Attributes of objects, classes, tensors and libraries."""

from __future__ import annotations

import ast

from verifier.program.scope import Scope
from verifier.program.statements import Statements
from verifier.program.values import (
    NO_LABELS,
    Choice,
    ClassV,
    Data,
    Func,
    Instance,
    Labels,
    Lib,
    Map,
    Native,
    Seq,
    Site,
    Value,
    constant,
    join,
)

_SIZES = frozenset({"shape", "device", "dtype", "ndim", "is_cuda", "requires_grad", "itemsize", "nbytes", "layout", "size"})
_DATA_ATTRIBUTES = frozenset(
    {"shape", "device", "dtype", "ndim", "is_cuda", "requires_grad", "itemsize", "nbytes", "grad", "data", "T", "mT", "values", "indices",
     "param_groups", "real", "imag", "H", "flat", "grad_fn", "layout", "weight", "bias"}
)  # fmt: skip


class Attributes(Statements):
    """Looks up attributes."""

    def get_attribute(self, value: Value, name: str, site: Site, scope: Scope) -> Value:
        if isinstance(value, Instance):
            return self._instance_attribute(value, name, site, scope)
        if isinstance(value, Lib):
            full = f"{value.name}.{name}"
            return self.state.replaced.get(full) or Lib(full)
        if isinstance(value, ClassV):
            found = value.find(name)
            if isinstance(found, Func) and "builtins.classmethod" in found.decorators:
                return found.with_receiver(value)
            if found is not None:
                return found
            return constant(value.name, site) if name in ("__name__", "__qualname__") else Native(value, name)
        if isinstance(value, Data):
            return self._data_attribute(value, name, site)
        if isinstance(value, Choice):
            result: Value | None = None
            for one in value.alternatives:
                if isinstance(one, Data) and one.known and one.const is None:
                    continue
                part = self.get_attribute(one, name, site, scope)
                result = part if result is None else join(result, part)
            return result if result is not None else self.data("unknown", (), site)
        if isinstance(value, Seq) and value.kind == "super":
            return self._super_attribute(value, name)
        if isinstance(value, Func):
            if name in ("__wrapped__", "func"):
                return value
            if name in ("__name__", "__qualname__"):
                return constant(value.name, site)
        return Native(value, name)

    def _data_attribute(self, node: Data, name: str, site: Site) -> Value:
        if name in _DATA_ATTRIBUTES:
            if name == "grad":
                labels = node.labels.union(*(event.labels for event in self.state.pending))
                return Data("attr:grad", (node,), labels, site)
            if name in _SIZES:
                return self.data(f"attr:{name}", (node,), site, _without_content(node.labels))
            result = self.data(f"attr:{name}", (node,), site)
            result.owner = node.owner if name == "data" else None
            return result
        if name.startswith("_") or name in ("module", "_orig_mod"):
            return self.data(f"attr:{name}", (node,), site)
        return Native(node, name)

    def _instance_attribute(self, instance: Instance, name: str, site: Site, scope: Scope) -> Value:
        held = instance.fields.get(name)
        if held is None:
            if isinstance(instance.cls, ClassV):
                held = instance.cls.find(name)
                if isinstance(held, Func):
                    if "builtins.property" in held.decorators or "functools.cached_property" in held.decorators:
                        return self.call(held.with_receiver(instance), [], {}, ast.Pass(), held.scope)
                    if "builtins.staticmethod" in held.decorators:
                        return held
                    return held.with_receiver(instance)
            if held is None:
                if name in ("__class__",):
                    return instance.cls
                if instance.is_module and name in ("module", "_orig_mod"):
                    return instance
                if name == "__dict__":
                    fields = Map(self.new_serial())
                    fields.entries = instance.fields  # type: ignore[assignment]
                    return fields
                if name == "training":
                    return self.data("attr:training", (), site, NO_LABELS)
                getter = instance.cls.find("__getattr__") if isinstance(instance.cls, ClassV) else None
                if isinstance(getter, Func):
                    return self.call(getter.with_receiver(instance), [constant(name, site)], {}, ast.Pass(), getter.scope)
                return Native(instance, name)
        if isinstance(held, Data):
            if self.state.symbolic and held.owner is not None:
                node = Data("attr:" + name, (held,), held.labels | {("state", instance.top.serial)}, site)
                node.owner, node.serial = held.owner, held.serial
                return node
            if isinstance(instance.cls, ClassV) and name in instance.cls.cursors and self.state.loops and not instance.is_module:
                here = frozenset(("loop", key, ordinal) for key, ordinal in self.state.loops)
                if not any(label[0] in ("src", "model") for label in held.labels):
                    return Data("join", (held,), held.labels | here, site)
        return held

    def _super_attribute(self, value: Seq, name: str) -> Value:
        receiver, cls = value.items
        if isinstance(cls, ClassV):
            for base in cls.bases:
                found = base.find(name)
                if isinstance(found, Func):
                    return found.with_receiver(receiver)
        return Native(value, name)


def _without_content(labels: Labels) -> Labels:
    """Sizes tell nothing about content."""
    return frozenset(label for label in labels if label[0] in ("loop", "env"))
