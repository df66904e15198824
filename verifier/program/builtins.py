"""Python's built-in functions."""

from __future__ import annotations

import ast
from collections.abc import Callable

from verifier.program.losses import Losses
from verifier.program.scope import Scope
from verifier.program.values import (
    NO_LABELS,
    NONE,
    UNSET,
    Args,
    ClassV,
    Data,
    Func,
    Instance,
    Lib,
    Map,
    Names,
    Native,
    Seq,
    Site,
    Value,
    constant,
    join_labels,
    join_parts,
    labels_of,
    taken,
)


class Builtins(Losses):
    """Models of built-in functions."""

    def _length(self, args: Args, names: Names, node: ast.AST, scope: Scope, site: Site) -> Value:
        value = args[0] if args else NONE
        if isinstance(value, Instance) and isinstance(value.cls, ClassV):
            method = value.cls.find("__len__")
            if isinstance(method, Func):
                return self.call(method.with_receiver(value), [], {}, node, scope)
        return self.length(value, site)

    def _range(self, args: Args, names: Names, node: ast.AST, scope: Scope, site: Site) -> Value:
        result = Data("range", tuple(args), join_labels(args), site)
        bounds = [arg.const if isinstance(arg, Data) else UNSET for arg in args]
        if bounds and all(isinstance(bound, int) for bound in bounds) and len(bounds) <= 3 and 0 not in bounds[2:]:
            result.const = range(*bounds)  # type: ignore[call-overload]
        return result

    def _convert(self, kind: Callable[..., object], args: Args, site: Site) -> Value:
        if not args:
            return constant(kind(), site)
        value = args[0]
        if isinstance(value, Data) and value.known and len(args) == 1:
            converted = _to_constant(kind, value.const)
            if converted is not UNSET:
                return constant(converted, site, value.labels)
        if kind is bool:
            truth = self.truth(value)
            if truth is not None:
                return constant(truth, site, labels_of(value))
        return self.data(f"call:builtins.{kind.__name__}", tuple(args), site)

    def _int(self, args: Args, names: Names, node: ast.AST, scope: Scope, site: Site) -> Value:
        return self._convert(int, args, site)

    def _float(self, args: Args, names: Names, node: ast.AST, scope: Scope, site: Site) -> Value:
        return self._convert(float, args, site)

    def _bool(self, args: Args, names: Names, node: ast.AST, scope: Scope, site: Site) -> Value:
        return self._convert(bool, args, site)

    def _str(self, args: Args, names: Names, node: ast.AST, scope: Scope, site: Site) -> Value:
        return self._convert(str, args, site)

    def _extreme(self, which: str, args: Args, names: Names, site: Site) -> Value:
        self._select(f"builtins.{which}", args, names, site)
        items = args[0].items if len(args) == 1 and isinstance(args[0], Seq) and args[0].exact else args
        constants = [item.const for item in items if isinstance(item, Data) and item.known]
        if constants and len(constants) == len(items) and all(isinstance(item, int | float) for item in constants):
            return constant((min if which == "min" else max)(constants), site, join_labels(items))  # type: ignore[type-var]
        return self.data(f"call:builtins.{which}", (*args, *names.values()), site, names=tuple(names))

    def _call_key(self, value: Value, names: Names, node: ast.AST, scope: Scope, site: Site) -> None:
        """`sorted(..., key=f)` calls f with the elements."""
        function = names.get("key")
        if isinstance(function, Func):
            for item in self.iterate(value, 0, site)[0][:1]:
                self.call(function, [item], {}, node, scope)

    def _minimum(self, args: Args, names: Names, node: ast.AST, scope: Scope, site: Site) -> Value:
        self._call_key(args[0] if args else NONE, names, node, scope, site)
        return self._extreme("min", args, names, site)

    def _maximum(self, args: Args, names: Names, node: ast.AST, scope: Scope, site: Site) -> Value:
        self._call_key(args[0] if args else NONE, names, node, scope, site)
        return self._extreme("max", args, names, site)

    def _sequence_of(self, kind: str, args: Args, site: Site) -> Value:
        if not args:
            return Seq(kind, serial=self.new_serial())
        value = args[0]
        if isinstance(value, Seq):
            copy = Seq(kind, value.items, value.exact and kind != "set", self.new_serial())
            copy.extra = value.extra
            return copy
        if isinstance(value, Data) and value.op == "range" and isinstance(value.const, range) and len(value.const) <= 32:
            return Seq(kind, [constant(number, site) for number in value.const], True, self.new_serial())
        if isinstance(value, Map):
            result = Seq(kind, [constant(key, site) for key in value.entries], value.exact, self.new_serial())
            result.extra = value.extra
            return result
        if isinstance(value, Data) and value.op in ("zip", "enumerate"):
            key = self.loop_key(site, kind, None)
            rows, exact = self.iterate(value, key, site)
            return Seq(kind, rows, exact, self.new_serial())
        return self.data(f"call:builtins.{kind}", tuple(args), site)

    def _list(self, args: Args, names: Names, node: ast.AST, scope: Scope, site: Site) -> Value:
        return self._sequence_of("list", args, site)

    def _tuple(self, args: Args, names: Names, node: ast.AST, scope: Scope, site: Site) -> Value:
        return self._sequence_of("tuple", args, site)

    def _set(self, args: Args, names: Names, node: ast.AST, scope: Scope, site: Site) -> Value:
        return self._sequence_of("set", args, site)

    def _sorted(self, args: Args, names: Names, node: ast.AST, scope: Scope, site: Site) -> Value:
        value = args[0] if args else NONE
        self._call_key(value, names, node, scope, site)
        if isinstance(value, Seq):
            copy = Seq("list", value.items, False, self.new_serial())
            copy.extra = value.extra
            return copy
        return self.data("call:builtins.sorted", tuple(args[:1]), site)

    def _make_dict(self, args: Args, names: Names, node: ast.AST, scope: Scope, site: Site) -> Value:
        result = Map(self.new_serial())
        for value in args:
            if isinstance(value, Map):
                result.entries |= value.entries
                result.rest += value.rest
                result.exact = value.exact
                result.extra |= value.extra
            else:
                result.exact = False
                result.extra |= labels_of(value)
        result.entries.update(names)
        return result

    def _defaultdict(self, args: Args, names: Names, node: ast.AST, scope: Scope, site: Site) -> Value:
        result = Map(self.new_serial())
        if args and isinstance(args[0], Func | Lib | Native | ClassV):
            result.factory = args[0]
        return result

    def _counter(self, args: Args, names: Names, node: ast.AST, scope: Scope, site: Site) -> Value:
        result = Map(self.new_serial())
        result.factory = Lib("builtins.int")
        for value in args:
            result.exact = False
            result.extra |= labels_of(value)
        return result

    def _lazy(self, op: str, args: Args, site: Site) -> Value:
        return self.data(op, tuple(args), site)

    def _zip(self, args: Args, names: Names, node: ast.AST, scope: Scope, site: Site) -> Value:
        return self._lazy("zip", args, site)

    def _enumerate(self, args: Args, names: Names, node: ast.AST, scope: Scope, site: Site) -> Value:
        return self._lazy("enumerate", args[:1] or (NONE,), site)

    def _mapped(self, args: Args, names: Names, node: ast.AST, scope: Scope, site: Site) -> Value:
        if len(args) < 2:
            return NONE
        items, exact = self.iterate(args[1], self.loop_key(site, "map", None), site)
        results = [self.call(args[0], [item], {}, node, scope) for item in items[:2]]
        return Seq("generator", results, exact and len(items) <= 2, self.new_serial())

    def _filtered(self, args: Args, names: Names, node: ast.AST, scope: Scope, site: Site) -> Value:
        value = args[1] if len(args) > 1 else NONE
        return Seq("generator", value.items, False, self.new_serial()) if isinstance(value, Seq) else value

    def _reversed(self, args: Args, names: Names, node: ast.AST, scope: Scope, site: Site) -> Value:
        value = args[0] if args else NONE
        if isinstance(value, Seq):
            copy = Seq("list", value.items[::-1], value.exact, self.new_serial())
            copy.extra = value.extra
            return copy
        if isinstance(value, Data) and isinstance(value.const, range):
            result = Data("range", value.args, value.labels, site)
            result.const = value.const[::-1]
            return result
        return (
            self.data("call:builtins.reversed", tuple(args), site)
            if not isinstance(value, Data) or value.op != "range"
            else value
        )

    def _next(self, args: Args, names: Names, node: ast.AST, scope: Scope, site: Site) -> Value:
        value = args[0] if args else NONE
        here = frozenset(("loop", key, ordinal) for key, ordinal in self.state.loops)
        if isinstance(value, Instance) and isinstance(value.cls, ClassV):
            method = value.cls.find("__next__")
            if isinstance(method, Func):
                return self.call(method.with_receiver(value), [], {}, node, scope)
        if isinstance(value, Seq) and value.kind == "generator" and len(value.items) > 1 and not self.state.guards:
            first, *value.items = value.items  # the rest stands for all that follows
            value.exact = False
            return taken(first, here, site)
        if isinstance(value, Seq) and value.items:
            result = value.items[0]
            for item in value.items[1:3]:
                result = join_parts(result, item, site)
            return taken(result, here, site)
        return Data("element", (value,), labels_of(value) | here, site)

    def _isinstance(self, args: Args, names: Names, node: ast.AST, scope: Scope, site: Site) -> Value:
        if len(args) < 2:
            return self.data("call:builtins.isinstance", tuple(args), site)
        classes = args[1].items if isinstance(args[1], Seq) else [args[1]]
        verdicts = [_is_instance(args[0], cls) for cls in classes]
        if any(verdict is True for verdict in verdicts):
            return constant(True, site)
        if all(verdict is False for verdict in verdicts):
            return constant(False, site)
        return self.data("call:builtins.isinstance", tuple(args), site)

    def _hasattr(self, args: Args, names: Names, node: ast.AST, scope: Scope, site: Site) -> Value:
        if len(args) > 1 and isinstance(args[1], Data) and isinstance(args[1].const, str):
            value, name = args[0], args[1].const
            if isinstance(value, Instance) and (
                name in value.fields or (isinstance(value.cls, ClassV) and value.cls.find(name) is not None)
            ):
                return constant(True, site)
            if isinstance(value, Instance) and isinstance(value.cls, ClassV) and not value.is_module:
                return constant(False, site)
            if isinstance(value, ClassV):
                return constant(value.find(name) is not None, site)
        return Data("call:builtins.hasattr", tuple(args), NO_LABELS, site)

    def _getattr(self, args: Args, names: Names, node: ast.AST, scope: Scope, site: Site) -> Value:
        if len(args) < 2:
            return NONE
        value, name = args[0], args[1]
        if isinstance(name, Data) and isinstance(name.const, str):
            if (
                isinstance(value, Instance)
                and not value.is_module
                and isinstance(value.cls, ClassV)
                and len(args) > 2
                and name.const not in value.fields
                and value.cls.find(name.const) is None
                and value.cls.find("__getattr__") is None
            ):
                return args[2]
            if isinstance(value, Data) and value.known and value.const is None and len(args) > 2:
                return args[2]
            return self.get_attribute(value, name.const, site, scope)
        return Data("computed-attribute", tuple(args), join_labels(args), site)

    def _setattr(self, args: Args, names: Names, node: ast.AST, scope: Scope, site: Site) -> Value:
        if len(args) == 3 and isinstance(args[0], Instance):
            if isinstance(args[1], Data) and isinstance(args[1].const, str):
                self.set_field(args[0], args[1].const, args[2])
            elif not args[0].is_module:
                self.problem("computed-setattr", site, "an attribute with a computed name is set")
        elif len(args) == 3 and isinstance(args[0], ClassV) and isinstance(args[1], Data) and isinstance(args[1].const, str):
            args[0].attributes[args[1].const] = args[2]
        return NONE

    def _open(self, args: Args, names: Names, node: ast.AST, scope: Scope, site: Site) -> Value:
        return self.data("call:builtins.open", (*args, *names.values()), site, NO_LABELS, names=tuple(names))

    def _type(self, args: Args, names: Names, node: ast.AST, scope: Scope, site: Site) -> Value:
        if len(args) == 1 and isinstance(args[0], Instance):
            return args[0].cls
        if len(args) == 3 and isinstance(args[2], Map):
            result = self.new_instance(Lib("types.SimpleNamespace"))
            result.fields |= {key: value for key, value in args[2].entries.items() if isinstance(key, str)}
            return result
        return self.data("call:builtins.type", tuple(args), site, NO_LABELS)

    def _namespace(self, args: Args, names: Names, node: ast.AST, scope: Scope, site: Site) -> Value:
        instance = self.new_instance(Lib("types.SimpleNamespace"))
        instance.fields |= names
        return instance

    def _globals(self, args: Args, names: Names, node: ast.AST, scope: Scope, site: Site) -> Value:
        result = Map(self.new_serial())
        result.entries = scope.root.names  # type: ignore[assignment]
        return result

    def _partial(self, args: Args, names: Names, node: ast.AST, scope: Scope, site: Site) -> Value:
        if not args:
            return NONE
        function = args[0]
        if isinstance(function, Func):
            made = Func(function.node, function.name, function.scope, function.defaults, function.decorators)
            made.bound, made.cls = function.bound, function.cls
            made.partial = (*function.partial, *args[1:])
            made.partial_names = {**function.partial_names, **names}
            return made
        return Native(function, "", tuple(args[1:]), dict(names))

    def _copy(self, args: Args, names: Names, node: ast.AST, scope: Scope, site: Site) -> Value:
        return self.copy_of(args[0]) if args else NONE


def _is_instance(value: Value, cls: Value) -> bool | None:
    if isinstance(value, Instance):
        if isinstance(cls, ClassV):
            return isinstance(value.cls, ClassV) and _descends(value.cls, cls)
        if isinstance(cls, Lib):
            if isinstance(value.cls, Lib):
                return value.cls.name == cls.name or (cls.name == "torch.nn.Module" and value.is_module)
            return cls.name in value.cls.kinds or (cls.name == "torch.nn.Module" and value.is_module)
    if isinstance(value, Data) and value.known and isinstance(cls, Lib):
        kinds = {
            "builtins.str": str,
            "builtins.int": int,
            "builtins.float": float,
            "builtins.bool": bool,
            "builtins.bytes": bytes,
        }
        if cls.name in kinds:
            return isinstance(value.const, kinds[cls.name])
    if isinstance(value, Seq | Map) and isinstance(cls, Lib):
        if cls.name in ("builtins.list", "builtins.tuple", "builtins.dict", "builtins.set"):
            return cls.name == ("builtins.dict" if isinstance(value, Map) else f"builtins.{value.kind}")
        return False
    if isinstance(value, Instance | Func | ClassV) and isinstance(cls, Lib | ClassV):
        return False
    return None


def _descends(cls: ClassV, other: ClassV) -> bool:
    return cls is other or any(_descends(base, other) for base in cls.bases)


def _to_constant(kind: Callable[..., object], value: object) -> object:
    if kind is int and isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return int(value.strip().lower() == "true")
    if isinstance(value, str) and len(value) > 4000:
        return UNSET
    try:
        result = kind(value)
    except (TypeError, ValueError, OverflowError):
        return UNSET
    return result
