"""Loops over positions in Python, put into the same form as C so that the same reader can follow what an output depends on."""

from __future__ import annotations

import ast

from verifier.program.c_reader import CExpr, CFunction, CParameter, CStatement

_SIMPLE = {ast.Sub: "-", ast.Add: "+", ast.Div: "/"}


def read_loop_function(function: ast.FunctionDef) -> tuple[CFunction, frozenset[str]]:
    """The function as statements; its parameters are given, and arrays that it writes by position count as outputs. Also the names
    of what its loops run over."""
    arguments = function.args
    names = [one.arg for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    made = sorted(_written(function) - set(names))
    reader = _Reader(frozenset(made))
    body = reader.block(function.body)
    parameters = tuple(CParameter(name, "", True) for name in (*names, *made))
    return CFunction(function.name, parameters, body, function.lineno), frozenset(reader.streams.difference(made))


def _written(function: ast.FunctionDef) -> set[str]:
    """Local arrays that are written by position, and lists that are made to be filled."""
    found: set[str] = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store) and isinstance(node.value, ast.Name):
            found.add(node.value.id)
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.List) and not node.value.elts:
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return found


class _Reader:
    def __init__(self, made: frozenset[str]) -> None:
        self.made = made
        self.streams: set[str] = set()
        self.counters: list[str] = []
        self.named: dict[str, ast.expr] = {}

    def block(self, statements: list[ast.stmt]) -> tuple[CStatement, ...]:
        return tuple(made for statement in statements for made in self._statement(statement))

    def _statement(self, node: ast.stmt) -> list[CStatement]:
        line = node.lineno
        if isinstance(node, ast.Assign):
            return [one for target in node.targets for one in self._assigned(target, node.value, line)]
        if isinstance(node, ast.AnnAssign) and node.value is not None:
            return self._assigned(node.target, node.value, line)
        if isinstance(node, ast.AugAssign):
            return [
                CStatement("expr", line, value=CExpr("assign", "+=", (self._expr(node.target), self._expr(node.value)), line))
            ]
        if isinstance(node, ast.If):
            return [
                CStatement("if", line, value=self._expr(node.test), body=self.block(node.body), other=self.block(node.orelse))
            ]
        if isinstance(node, ast.For):
            return [self._for(node)]
        if isinstance(node, ast.While):
            return [CStatement("loop", line, value=self._expr(node.test), body=self.block(node.body))]
        if isinstance(node, ast.With | ast.Try):
            return [CStatement("block", line, body=self.block(node.body))]
        if isinstance(node, ast.Return):
            return [CStatement("leave", line, "return", self._expr(node.value) if node.value is not None else None)]
        if isinstance(node, ast.Break | ast.Continue | ast.Raise):
            return [CStatement("leave", line, "continue")]
        if isinstance(node, ast.Expr):
            return self._call_statement(node.value, line)
        return []

    def _assigned(self, target: ast.expr, value: ast.expr, line: int) -> list[CStatement]:
        if isinstance(target, ast.Tuple):
            parts = (
                value.elts if isinstance(value, ast.Tuple) and len(value.elts) == len(target.elts) else [value] * len(target.elts)
            )
            return [one for each, part in zip(target.elts, parts, strict=True) for one in self._assigned(each, part, line)]
        if isinstance(target, ast.Name) and target.id in self.made:
            return []
        if isinstance(target, ast.Name):
            self.named[target.id] = value
            return [CStatement("declare", line, target.id, self._expr(value))]
        return [CStatement("expr", line, value=CExpr("assign", "=", (self._expr(target), self._expr(value)), line))]

    def _call_statement(self, value: ast.expr, line: int) -> list[CStatement]:
        if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute) and value.func.attr == "append" and value.args:
            base = value.func.value
            if isinstance(base, ast.Name) and base.id in self.made and self.counters:
                place = CExpr("index", "[]", (self._expr(base), CExpr("name", self.counters[-1], (), line)), line)
                return [CStatement("expr", line, value=CExpr("assign", "=", (place, self._expr(value.args[0])), line))]
        return [CStatement("expr", line, value=self._expr(value))]

    def _for(self, node: ast.For) -> CStatement:
        line = node.lineno
        run = self.named.get(node.iter.id, node.iter) if isinstance(node.iter, ast.Name) else node.iter
        run = run if isinstance(run, ast.Call) and isinstance(run.func, ast.Name) else node.iter
        called = run.func.id if isinstance(run, ast.Call) and isinstance(run.func, ast.Name) else ""
        given = run.args if isinstance(run, ast.Call) else []
        counter, head = f"position{len(self.counters)}", list[CStatement]()
        targets = node.target.elts if isinstance(node.target, ast.Tuple) else [node.target]
        if called == "range":
            counter = targets[0].id if isinstance(targets[0], ast.Name) else counter
        else:
            streams: list[ast.expr] = [run]
            if called == "enumerate" and given:
                counter = targets[0].id if isinstance(targets[0], ast.Name) else counter
                inner = targets[1] if len(targets) > 1 else node.target
                targets = inner.elts if isinstance(inner, ast.Tuple) else [inner]
                streams = [given[0]]
            first = streams[0]
            if isinstance(first, ast.Call) and isinstance(first.func, ast.Name) and first.func.id == "zip":
                streams = list(first.args)
            for target, stream in zip(targets, streams, strict=False):
                base = self._stream(stream)
                if isinstance(target, ast.Name) and base is not None:
                    place = CExpr("index", "[]", (base, CExpr("name", counter, (), line)), line)
                    head.append(CStatement("declare", line, target.id, place))
        self.counters.append(counter)
        body = (*head, *self.block(node.body))
        self.counters.pop()
        return CStatement("loop", line, first=(CStatement("declare", line, counter),), body=body)

    def _stream(self, node: ast.expr) -> CExpr | None:
        """The name that is iterated, without the calls and slices around it."""
        for _ in range(8):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                node = node.func.value
            elif isinstance(node, ast.Call) and node.args:
                node = node.args[0]
            elif isinstance(node, ast.Subscript):
                node = node.value
        if isinstance(node, ast.Name):
            self.streams.add(node.id)
            return self._expr(node)
        return None

    def _expr(self, node: ast.AST) -> CExpr:
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Name):
            return CExpr("name", node.id, (), line)
        if isinstance(node, ast.Constant):
            return CExpr("number", "0", (), line)
        if isinstance(node, ast.Attribute):
            return CExpr("member", node.attr, (self._expr(node.value),), line)
        if isinstance(node, ast.Subscript):
            if isinstance(node.value, ast.Name) and isinstance(node.slice, ast.Name) and node.slice.id in self.counters:
                self.streams.add(node.value.id)
            return CExpr("index", "[]", (self._expr(node.value), self._expr(node.slice)), line)
        if isinstance(node, ast.BinOp):
            return CExpr("op", _SIMPLE.get(type(node.op), "*"), (self._expr(node.left), self._expr(node.right)), line)
        if isinstance(node, ast.Call):
            parts = [*node.args, *(keyword.value for keyword in node.keywords)]
            if isinstance(node.func, ast.Attribute):
                return CExpr("call", node.func.attr, tuple(self._expr(one) for one in (node.func.value, *parts)), line)
            return CExpr(
                "call", node.func.id if isinstance(node.func, ast.Name) else "", tuple(self._expr(one) for one in parts), line
            )
        inner = [one for one in ast.iter_child_nodes(node) if isinstance(one, ast.expr)]
        return CExpr("op", "{}", tuple(self._expr(one) for one in inner), line)
