"""Expressions of the interpreted program."""

from __future__ import annotations

import ast
from collections.abc import Callable

from verifier.program.operators import LARGEST_LIST, LONGEST_TEXT
from verifier.program.scope import Scope
from verifier.program.subscripts import Subscripts
from verifier.program.values import (
    NO_LABELS,
    NONE,
    Data,
    Func,
    Label,
    Lib,
    Map,
    Seq,
    Value,
    constant,
    join,
    join_labels,
    labels_of,
)


class Expressions(Subscripts):
    """Evaluates expressions to values."""

    def evaluate(self, node: ast.expr, scope: Scope) -> Value:
        self.tick()
        handler = _HANDLERS.get(type(node))
        if handler is None:
            return Data("unknown", (), NO_LABELS, self.site(node, scope))
        return handler(self, node, scope)

    def _constant(self, node: ast.Constant, scope: Scope) -> Value:
        return Data("const", (), NO_LABELS, scope.module.site(node.lineno), node.value)

    def _name(self, node: ast.Name, scope: Scope) -> Value:
        found = scope.find(node.id)
        if found is not None:
            if self.state.symbolic:
                self._capture(found)
            return found
        if node.id in ("True", "False", "None"):
            return constant({"True": True, "False": False}.get(node.id))
        return Lib(f"builtins.{node.id}")

    def _capture(self, value: Value) -> None:
        """Remember a tensor that a model's method reads by name: its content may have changed when the method is called again."""
        for one in value.items[:8] if isinstance(value, Seq) else (value,):
            if isinstance(one, Data) and not one.known:
                self.state.captured.setdefault(id(one), (one, one.labels))

    def _attribute(self, node: ast.Attribute, scope: Scope) -> Value:
        return self.get_attribute(self.evaluate(node.value, scope), node.attr, self.site(node, scope), scope)

    def _binary(self, node: ast.BinOp, scope: Scope) -> Value:
        # Chains such as a + b + c + ... nest to the left: walked without recursion.
        chain: list[ast.BinOp] = []
        current: ast.expr = node
        while isinstance(current, ast.BinOp):
            chain.append(current)
            current = current.left
        value = self.evaluate(current, scope)
        for step in reversed(chain):
            value = self.binary(step.op, value, self.evaluate(step.right, scope), self.site(step, scope))
        return value

    def _call(self, node: ast.Call, scope: Scope) -> Value:
        if isinstance(node.func, ast.Name) and node.func.id == "super" and not node.args:
            receiver = scope.find("self") or scope.find("__first__")
            cls = scope.find("__class__")
            return Seq("super", (receiver, cls)) if receiver is not None and cls is not None else NONE
        function = self.evaluate(node.func, scope)
        args: list[Value] = []
        names: dict[str, Value] = {}
        for argument in node.args:
            if isinstance(argument, ast.Starred):
                value = self.evaluate(argument.value, scope)
                if isinstance(value, Seq) and (value.exact or any(not isinstance(item, Data) for item in value.items)):
                    args += value.items  # of a list of models, those that are known
                else:
                    args.append(self.data("element", (value,), self.site(argument, scope)))
            else:
                args.append(self.evaluate(argument, scope))
        for keyword in node.keywords:
            value = self.evaluate(keyword.value, scope)
            if keyword.arg is not None:
                names[keyword.arg] = value
            elif isinstance(value, Map):
                names |= {key: one for key, one in value.entries.items() if isinstance(key, str)}
        return self.call(function, args, names, node, scope)

    def _sequence(self, node: ast.List | ast.Tuple | ast.Set, scope: Scope) -> Value:
        result = Seq(type(node).__name__.lower(), serial=self.new_serial())
        for item in node.elts[:2000]:
            if isinstance(item, ast.Starred):
                value = self.evaluate(item.value, scope)
                if isinstance(value, Seq):
                    result.exact = result.exact and value.exact and len(result.items) + len(value.items) <= LARGEST_LIST
                    result.items += value.items[: max(0, LARGEST_LIST - len(result.items))]
                    result.extra |= value.extra
                else:
                    result.exact = False
                    result.items.append(self.data("element", (value,), self.site(item, scope)))
            else:
                result.items.append(self.evaluate(item, scope))
        return result

    def _dictionary(self, node: ast.Dict, scope: Scope) -> Value:
        result = Map(self.new_serial())
        for key, item in list(zip(node.keys, node.values, strict=True))[:2000]:
            value = self.evaluate(item, scope)
            if key is None:
                if isinstance(value, Map):
                    result.entries |= value.entries
                    result.rest += value.rest
                    result.exact = result.exact and value.exact
                else:
                    result.exact = False
                    result.rest.append(value)
                continue
            name = self.evaluate(key, scope)
            if isinstance(name, Data) and name.known and isinstance(name.const, str | int | float | bool | bytes | None):
                result.entries[name.const] = value
            else:
                result.exact = False
                result.rest.append(value)
                result.extra |= labels_of(name)
        return result

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp, scope: Scope) -> Value:
        inner = Scope(scope.module, scope)
        exact = True
        rows: list[Value] = []
        result_map = Map(self.new_serial())
        site = self.site(node, scope)
        chosen: set[Label] = set()

        def run(level: int) -> None:
            nonlocal exact
            if level == len(node.generators):
                if isinstance(node, ast.DictComp):
                    key, value = self.evaluate(node.key, inner), self.evaluate(node.value, inner)
                    if isinstance(key, Data) and key.known and isinstance(key.const, str | int | float | bool | None):
                        result_map.entries[key.const] = value
                    else:
                        result_map.exact = False
                        result_map.rest.append(value)
                        result_map.extra |= labels_of(key)
                elif len(rows) < 64:
                    rows.append(self.evaluate(node.elt, inner))
                return
            generator = node.generators[level]
            source = self.evaluate(generator.iter, inner if level else scope)
            values, all_of_them = self.iterate(source, 0, site)
            if not all_of_them or len(values) > 4:
                values, exact = values[:1], False
            for value in values:
                self.assign(generator.target, value, inner)
                keep: bool | None = True
                for condition in generator.ifs:
                    tested = self.evaluate(condition, inner)
                    truth = self.truth(tested)
                    if truth is False:
                        keep = False
                        break
                    if truth is None:
                        keep = None
                        chosen.update(label for label in labels_of(tested) if label[0] == "loop")
                if keep is None:
                    exact = False
                if keep is not False:
                    run(level + 1)

        run(0)
        if isinstance(node, ast.DictComp):
            result_map.exact = result_map.exact and exact
            return result_map
        result = Seq("set" if isinstance(node, ast.SetComp) else "list", rows, exact, self.new_serial())
        result.extra = frozenset(chosen)
        return result

    def _conditional(self, node: ast.IfExp, scope: Scope) -> Value:
        condition = self.evaluate(node.test, scope)
        truth = self.truth(condition)
        if truth is not None:
            return self.evaluate(node.body if truth else node.orelse, scope)
        first, second = self.evaluate(node.body, scope), self.evaluate(node.orelse, scope)
        return join(first, second, self.site(node, scope), condition)

    def _lambda(self, node: ast.Lambda, scope: Scope) -> Value:
        defaults = self.defaults_of(node.args, scope)
        return Func(node, "<lambda>", scope, defaults)

    def defaults_of(self, arguments: ast.arguments, scope: Scope) -> dict[str, Value]:
        positional = [*arguments.posonlyargs, *arguments.args]
        defaults: dict[str, Value] = {}
        if arguments.defaults:
            for parameter, default in zip(positional[-len(arguments.defaults) :], arguments.defaults, strict=False):
                defaults[parameter.arg] = self.evaluate(default, scope)
        for parameter, given in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=False):
            if given is not None:
                defaults[parameter.arg] = self.evaluate(given, scope)
        return defaults

    def _fstring(self, node: ast.JoinedStr, scope: Scope) -> Value:
        parts: list[Value] = []
        for piece in node.values:
            if isinstance(piece, ast.FormattedValue):
                parts.append(self.evaluate(piece.value, scope))
            else:
                parts.append(self.evaluate(piece, scope))
        texts = [part.const for part in parts if isinstance(part, Data) and part.known]
        plain = all(not isinstance(piece, ast.FormattedValue) or piece.format_spec is None for piece in node.values)
        if plain and len(texts) == len(parts) and all(isinstance(text, str | int | bool) for text in texts):
            joined = "".join(str(text) for text in texts)
            if len(joined) <= LONGEST_TEXT:
                return constant(joined, self.site(node, scope), join_labels(parts))
        return self.data("fstring", tuple(parts), self.site(node, scope))

    def _named(self, node: ast.NamedExpr, scope: Scope) -> Value:
        value = self.evaluate(node.value, scope)
        self.assign(node.target, value, scope)
        return value

    def _yield(self, node: ast.Yield | ast.YieldFrom | ast.Await, scope: Scope) -> Value:
        value = self.evaluate(node.value, scope) if node.value is not None else NONE
        if isinstance(node, ast.Await):
            return value
        values = value.items if isinstance(node, ast.YieldFrom) and isinstance(value, Seq) else [value]
        if len(scope.yields) < 64:
            scope.yields += values
        if scope.consumer is not None:
            for one in values:
                scope.consumer(one)
        elif scope.yielded is None:
            scope.yielded = len(self.state.events)
        return self.data("unknown", (), self.site(node, scope))

    def _starred(self, node: ast.Starred, scope: Scope) -> Value:
        return self.evaluate(node.value, scope)


_HANDLERS: dict[type[ast.expr], Callable[[Expressions, ast.expr, Scope], Value]] = {
    ast.Constant: Expressions._constant,  # type: ignore[dict-item]
    ast.Name: Expressions._name,  # type: ignore[dict-item]
    ast.Attribute: Expressions._attribute,  # type: ignore[dict-item]
    ast.BinOp: Expressions._binary,  # type: ignore[dict-item]
    ast.BoolOp: Expressions._boolean,  # type: ignore[dict-item]
    ast.UnaryOp: Expressions._unary,  # type: ignore[dict-item]
    ast.Compare: Expressions._compare,  # type: ignore[dict-item]
    ast.Call: Expressions._call,  # type: ignore[dict-item]
    ast.Subscript: Expressions._subscript,  # type: ignore[dict-item]
    ast.Slice: Expressions._slice,  # type: ignore[dict-item]
    ast.List: Expressions._sequence,  # type: ignore[dict-item]
    ast.Tuple: Expressions._sequence,  # type: ignore[dict-item]
    ast.Set: Expressions._sequence,  # type: ignore[dict-item]
    ast.Dict: Expressions._dictionary,  # type: ignore[dict-item]
    ast.ListComp: Expressions._comprehension,  # type: ignore[dict-item]
    ast.SetComp: Expressions._comprehension,  # type: ignore[dict-item]
    ast.GeneratorExp: Expressions._comprehension,  # type: ignore[dict-item]
    ast.DictComp: Expressions._comprehension,  # type: ignore[dict-item]
    ast.IfExp: Expressions._conditional,  # type: ignore[dict-item]
    ast.Lambda: Expressions._lambda,  # type: ignore[dict-item]
    ast.JoinedStr: Expressions._fstring,  # type: ignore[dict-item]
    ast.NamedExpr: Expressions._named,  # type: ignore[dict-item]
    ast.Yield: Expressions._yield,  # type: ignore[dict-item]
    ast.YieldFrom: Expressions._yield,  # type: ignore[dict-item]
    ast.Await: Expressions._yield,  # type: ignore[dict-item]
    ast.Starred: Expressions._starred,  # type: ignore[dict-item]
}
