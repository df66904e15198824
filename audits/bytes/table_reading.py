"""A script's byte table, read by following its builder over ten sample pieces.

Nothing of the script is run: a small evaluator walks the syntax tree and knows integers, text, lists, arrays and the questions
that a SentencePiece processor answers. What it does not know is `UNKNOWN`; a table that depends on it is not read.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence

from audits.bytes.sample_pieces import PIECES, answer
from audits.bytes.table_values import TEXT, UNKNOWN, Table, as_load, as_table, combine, compare, guarded
from verifier.submission.python_tree import ParsedTree

STEPS = 60_000
"""Nodes visited for one builder (real ones: 2,000)."""
REPEATS = 64
"""Rounds of a while loop that are followed."""
CALLS = 6
"""Nesting of calls that are followed."""


class Unreadable(Exception):
    """The builder does something that is not modelled where it matters."""


class _Leave(Exception):
    """`return`, `break`, `continue` and `raise` on their way out."""

    def __init__(self, kind: str, value: object = None) -> None:
        self.kind = kind
        self.value = value


class Processor:
    """Stands for the tokenizer."""


_ASKS = frozenset({"id_to_piece", "IdToPiece"})
_CLASSES = frozenset(
    {
        "is_control",
        "is_unknown",
        "is_unused",
        "is_byte",
        "IsControl",
        "IsUnknown",
        "IsUnused",
        "IsByte",
        "vocab_size",
        "GetPieceSize",
    }
)
_ALLOCATES = {"zeros": 0, "ones": 1, "empty": 0, "zeros_like": 0, "ones_like": 1}
_WRAPS = frozenset(
    {"tensor", "array", "asarray", "as_tensor", "from_numpy", "LongTensor", "IntTensor", "FloatTensor", "BoolTensor"}
)
_KEEPS = frozenset(
    {
        "to",
        "astype",
        "clone",
        "copy",
        "numpy",
        "cpu",
        "cuda",
        "long",
        "int",
        "float",
        "bool",
        "contiguous",
        "tolist",
        "type",
        "short",
    }
)
_TEXT_METHODS = frozenset(
    {"startswith", "endswith", "encode", "decode", "replace", "strip", "lstrip", "rstrip", "lower", "upper", "removeprefix",
     "removesuffix", "count", "isspace", "find", "split", "isascii"}
)  # fmt: skip
_BUILTINS: dict[str, Callable[..., object]] = {
    "len": len, "int": int, "bool": bool, "str": str, "float": float, "max": max, "min": min, "sum": sum, "ord": ord, "abs": abs,
    "bytes": bytes, "bytearray": bytearray,
}  # fmt: skip


def builders(tree: ParsedTree) -> Iterator[tuple[ast.AST, ...]]:
    """The functions (or the module) whose own code asks the tokenizer for its pieces, each followed by the functions that call
    it: where a helper asks for one piece, its caller has the table."""
    asking = [node for node in tree.of(ast.Attribute) if node.attr in _ASKS]
    calling = _calling_by_name(tree) if asking else {}
    functions = tree.of(ast.FunctionDef)
    seen: set[int] = set()
    for node in asking:
        around = (one for one in reversed(tree.functions_around(node)) if not isinstance(one, ast.Lambda))
        holder = next(around, tree.module)
        if id(holder) not in seen:
            seen.add(id(holder))
            yield holder, *_callers(holder, functions, calling)


def _callers(holder: ast.AST, functions: Sequence[ast.FunctionDef], calling: Mapping[str, set[int]]) -> list[ast.AST]:
    """Two levels of callers by name, nearest first."""
    found: list[ast.AST] = []
    names = {getattr(holder, "name", "")}
    for _ in range(2):
        callers = set[int]().union(*(calling.get(name, ()) for name in names))
        level = [one for one in functions if id(one) in callers and one is not holder and one not in found]
        found += level
        names = {one.name for one in level}
    return found[:8]


def _calling_by_name(tree: ParsedTree) -> dict[str, set[int]]:
    """Name -> identities of the functions in which it is called, nested functions included."""
    found: dict[str, set[int]] = {}
    for call in tree.of(ast.Call):
        if isinstance(call.func, ast.Name):
            found.setdefault(call.func.id, set()).update(id(function) for function in tree.functions_around(call))
    return found


def read_tables(holder: ast.AST, tree: ParsedTree) -> list[tuple[str, Table]]:
    """The tables that a builder leaves behind, by name, in order of first writing. Raises `Unreadable`."""
    evaluator = _Evaluator(_functions_of(tree.module))
    body: list[ast.stmt] = getattr(holder, "body", [])
    if isinstance(holder, ast.Module):
        body = [statement for statement in body if not isinstance(statement, ast.FunctionDef | ast.ClassDef)]
    for statement in body:
        evaluator.bind_processors(statement)
    try:
        evaluator.block(body)
    except _Leave as leaving:
        if leaving.kind == "raise":
            raise Unreadable("the builder always raises") from None
        evaluator.keep(leaving.value)
    except RecursionError:
        raise Unreadable("nested too deeply") from None
    return evaluator.tables()


def _functions_of(module: ast.Module) -> dict[str, ast.FunctionDef]:
    """The functions that a plain name stands for: definitions, static methods, and names given to either."""
    found: dict[str, ast.FunctionDef] = {}
    for node in module.body:
        if isinstance(node, ast.FunctionDef):
            found[node.name] = node
        elif isinstance(node, ast.ClassDef):
            static = (one for one in node.body if isinstance(one, ast.FunctionDef) and one.decorator_list)
            found.update({f"{node.name}.{one.name}": one for one in static})
        elif (
            isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and isinstance(node.value, ast.Name | ast.Attribute)
        ):
            known = found.get(ast.unparse(node.value))
            if known is not None:
                found[node.targets[0].id] = known
    return found


class _Evaluator:
    def __init__(self, functions: Mapping[str, ast.FunctionDef]) -> None:
        self.functions = functions
        self.names: dict[str, object] = {}
        self.returned: list[object] = []
        self.steps = 0
        self.depth = 0
        self.inside = 0
        """Loops around the current statement."""

    def bind_processors(self, statement: ast.stmt) -> None:
        """The object that is asked for pieces or their classes is the tokenizer, whatever its name."""
        for node in ast.walk(statement):
            if (
                isinstance(node, ast.Attribute)
                and (node.attr in _ASKS or node.attr in _CLASSES)
                and isinstance(node.value, ast.Name | ast.Attribute)
            ):
                self.names[ast.unparse(node.value)] = Processor()

    def keep(self, value: object) -> None:
        """What a builder returns, tuples taken apart."""
        self.returned += [*value] if isinstance(value, tuple) else [value]

    def tables(self) -> list[tuple[str, Table]]:
        found: list[tuple[str, Table]] = []
        for name, value in [*self.names.items(), *(("", one) for one in self.returned)]:
            table = as_table(value)
            if table is not None and all(table is not other and table.row() != other.row() for _, other in found):
                found.append((name, table))
        return found

    # --- statements

    def block(self, statements: list[ast.stmt]) -> None:
        for statement in statements:
            self.statement(statement)

    def statement(self, node: ast.stmt) -> None:
        self.tick()
        match node:
            case ast.Assign(targets=targets, value=value):
                given = self.value(value)
                for target in targets:
                    self.store(target, given, node)
            case ast.AnnAssign(target=target, value=value) if value is not None:
                self.store(target, self.value(value), node)
            case ast.AugAssign(target=target, op=op, value=value):
                read = ast.copy_location(ast.BinOp(as_load(target), op, value), node)
                self.store(target, self.value(read), node)
            case ast.If(test=test, body=body, orelse=orelse):
                self.branch(test, body, orelse)
            case ast.For(target=target, iter=iterated, body=body):
                self.loop(target, iterated, body)
            case ast.Expr(value=value):
                self.value(value)
            case ast.Return(value=value):
                raise _Leave("return", self.value(value) if value is not None else None)
            case ast.Continue():
                raise _Leave("continue")
            case ast.Break():
                raise _Leave("break")
            case ast.Raise():
                raise _Leave("raise")
            case ast.With(body=body) | ast.Try(body=body):
                self.block(body)
            case ast.While(test=test, body=body):
                self.repeat(test, body)
            case _:
                pass  # asserts, imports, nested definitions leave no table

    def branch(self, test: ast.expr, body: list[ast.stmt], orelse: list[ast.stmt]) -> None:
        known = self.value(test)
        if known is not UNKNOWN:
            self.block(body if known else orelse)
            return
        if any(isinstance(inner, ast.Raise) for inner in body) and not orelse:
            return  # a guard on the vocabulary's size
        if self.inside:
            raise Unreadable(f"`if {ast.unparse(test)[:60]}` can't be decided")
        for statement in (*body, *orelse):
            for inner in ast.walk(statement):
                if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
                    self.names[inner.id] = UNKNOWN

    def loop(self, target: ast.expr, iterated: ast.expr, body: list[ast.stmt]) -> None:
        try:
            items = self.items(iterated)
        except Unreadable:
            if _asks_inside(body):
                raise
            return  # a loop over something else than tokens
        self.inside += 1
        for item in items:
            self.store(target, item, iterated)
            try:
                self.block(body)
            except _Leave as leaving:
                if leaving.kind == "break":
                    break
                if leaving.kind != "continue":
                    raise
        self.inside -= 1

    def repeat(self, test: ast.expr, body: list[ast.stmt]) -> None:
        """A while loop whose test is known; one that can't be decided matters only where pieces are asked for."""
        for _ in range(REPEATS):
            known = self.value(test)
            if known is UNKNOWN:
                if _asks_inside(body):
                    raise Unreadable("a while loop")
                return
            if not known:
                return
            try:
                self.block(body)
            except _Leave as leaving:
                if leaving.kind == "break":
                    return
                if leaving.kind != "continue":
                    raise
        raise Unreadable("a while loop")

    def items(self, node: ast.expr) -> list[object]:
        """What a loop runs over: a range over the vocabulary is all tokens, whatever its bound is called."""
        match node:
            case ast.Call(func=ast.Name(id="range" | "trange"), args=arguments):
                bounds = [bound for argument in arguments if isinstance(bound := self.value(argument), int)]
                if len(bounds) == len(arguments) and 1 <= len(bounds) <= 3 and len(range(*bounds)) <= len(PIECES):
                    return list(range(*bounds))
                return list(range(len(PIECES)))
            case ast.Call(func=ast.Name(id="enumerate"), args=[inner]):
                return [tuple(pair) for pair in enumerate(self.items(inner))]
        value = self.value(node)
        if isinstance(value, list | tuple) and len(value) <= TEXT:
            return list(value)
        if isinstance(value, Table):
            return list(value.row())
        raise Unreadable(f"a loop over `{ast.unparse(node)[:60]}`")

    def store(self, target: ast.expr, value: object, node: ast.AST) -> None:
        if isinstance(target, ast.Name | ast.Attribute):
            key = ast.unparse(target)
            if not isinstance(self.names.get(key), Processor):
                self.names[key] = value
        elif isinstance(target, ast.Tuple | ast.List):
            parts = (
                list(value)
                if isinstance(value, tuple | list) and len(value) == len(target.elts)
                else [UNKNOWN] * len(target.elts)
            )
            for item, part in zip(target.elts, parts, strict=True):
                self.store(item, part, node)
        elif isinstance(target, ast.Subscript):
            holder, index = self.value(target.value), self.value(target.slice)
            if isinstance(holder, Table) and isinstance(index, int):
                holder.values[index] = value
                if not isinstance(value, bool):
                    holder.written = node
            elif isinstance(holder, list):
                if isinstance(index, int) and -len(holder) <= index < len(holder):
                    holder[index] = value
            elif isinstance(holder, dict):
                holder[index if isinstance(index, int | str) else "?"] = value

    # --- expressions

    def value(self, node: ast.expr) -> object:
        self.tick()
        match node:
            case ast.Constant(value=constant):
                return constant
            case ast.Name() | ast.Attribute():
                return self.names.get(ast.unparse(node), UNKNOWN)
            case ast.Tuple(elts=items):
                return tuple(self.value(item) for item in items)
            case ast.List(elts=items):
                return [self.value(item) for item in items]
            case ast.Dict(keys=[], values=[]):
                return {}
            case ast.UnaryOp(op=op, operand=operand):
                inner = self.value(operand)
                if inner is UNKNOWN or not isinstance(op, ast.Not | ast.USub):
                    return UNKNOWN
                return not inner if isinstance(op, ast.Not) else -inner if isinstance(inner, int | float) else UNKNOWN
            case ast.BoolOp(op=op, values=values):
                return self.logic(op, values)
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                return compare(op, self.value(left), self.value(right))
            case ast.IfExp(test=test, body=body, orelse=orelse):
                known = self.value(test)
                return UNKNOWN if known is UNKNOWN else self.value(body if known else orelse)
            case ast.BinOp(left=left, op=op, right=right):
                return combine(op, self.value(left), self.value(right))
            case ast.Subscript(value=holder, slice=index):
                return self.item(self.value(holder), index)
            case ast.ListComp() | ast.GeneratorExp():
                return self.comprehension(node)
            case ast.NamedExpr(target=target, value=value):
                given = self.value(value)
                self.store(target, given, node)
                return given
            case ast.Call():
                return self.call(node)
        return UNKNOWN

    def logic(self, op: ast.boolop, values: list[ast.expr]) -> object:
        stop = isinstance(op, ast.Or)
        known: object = UNKNOWN
        unsure = False
        for value in values:
            known = self.value(value)
            if known is UNKNOWN:
                unsure = True
            elif bool(known) is stop:
                return known
        return UNKNOWN if unsure else known

    def item(self, holder: object, index: ast.expr) -> object:
        if isinstance(index, ast.Slice):
            low, high = (self.value(part) if part is not None else None for part in (index.lower, index.upper))
            if isinstance(holder, str | bytes | list | tuple) and isinstance(low, int | None) and isinstance(high, int | None):
                return holder[low:high]
            return holder if isinstance(holder, Table) else UNKNOWN
        at = self.value(index)
        if isinstance(holder, Table) and isinstance(at, int):
            return holder.values.get(at, holder.default)
        if isinstance(holder, str | bytes | list | tuple) and isinstance(at, int) and -len(holder) <= at < len(holder):
            return holder[at]
        return holder.get(at, UNKNOWN) if isinstance(holder, dict) and isinstance(at, int | str) else UNKNOWN

    def comprehension(self, node: ast.ListComp | ast.GeneratorExp) -> object:
        if len(node.generators) != 1:
            return UNKNOWN
        generator, made = node.generators[0], list[object]()
        try:
            items = self.items(generator.iter)
        except Unreadable:
            return UNKNOWN
        for item in items:
            self.store(generator.target, item, node)
            if all(self.value(condition) not in (False, UNKNOWN) for condition in generator.ifs):
                made.append(self.value(node.elt))
        return made

    def call(self, node: ast.Call) -> object:
        arguments = [self.value(argument) for argument in node.args if not isinstance(argument, ast.Starred)]
        if isinstance(node.func, ast.Attribute):
            return self.method(node, node.func, arguments)
        if not isinstance(node.func, ast.Name):
            return UNKNOWN
        name = node.func.id
        if name == "SentencePieceProcessor":
            return Processor()
        if name in ("range", "trange", "enumerate"):
            return self.items(node)
        if name in self.functions and name not in self.names:
            return self.inline(self.functions[name], arguments, node)
        if name == "len" and arguments and isinstance(arguments[0], Processor):
            return len(PIECES)
        if name in _BUILTINS and name not in self.names and UNKNOWN not in arguments:
            return guarded(_BUILTINS[name], arguments)
        if name in _WRAPS and arguments:
            return arguments[0]
        return UNKNOWN

    def inline(self, function: ast.FunctionDef, arguments: list[object], node: ast.Call) -> object:
        """A call of a function of the same text, in a scope of its own; objects are shared."""
        if self.depth >= CALLS or any(isinstance(argument, ast.Starred) for argument in node.args):
            return UNKNOWN
        inner = _Evaluator(self.functions)
        inner.depth, inner.steps, inner.inside = self.depth + 1, self.steps, self.inside
        parameters = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)]
        for name in parameters:
            inner.names[name] = UNKNOWN
        for argument, default in zip(reversed(function.args.args), reversed(function.args.defaults), strict=False):
            inner.names[argument.arg] = inner.value(default)
        inner.names.update(zip(parameters, arguments, strict=False))
        inner.names.update({word.arg: self.value(word.value) for word in node.keywords if word.arg is not None})
        try:
            inner.block(function.body)
        except _Leave as leaving:
            if leaving.kind == "raise":
                raise
            return leaving.value
        finally:
            self.steps = inner.steps
        return None

    def method(self, node: ast.Call, function: ast.Attribute, arguments: list[object]) -> object:
        name = function.attr
        if name == "SentencePieceProcessor":
            return Processor()
        if name in _ALLOCATES:
            return Table(_ALLOCATES[name], made=node)
        if name == "full" and len(arguments) > 1:
            return Table(arguments[1], made=node)
        if name in _WRAPS and arguments and not isinstance(self.names.get(ast.unparse(function.value)), Processor):
            return arguments[0]
        receiver = self.value(function.value)
        if isinstance(receiver, Processor):
            try:
                return answer(name, arguments[0] if arguments else None)
            except KeyError:
                return UNKNOWN
        if isinstance(receiver, Table | list) and name in _KEEPS:
            return receiver
        if isinstance(receiver, list) and name == "append" and len(receiver) < TEXT:
            receiver.append(arguments[0] if arguments else UNKNOWN)
            return None
        if isinstance(receiver, str | bytes) and name in _TEXT_METHODS and UNKNOWN not in arguments:
            return guarded(getattr(receiver, name, None), arguments)
        if isinstance(receiver, int | float) and name in ("item", "bit_length"):
            return receiver if name == "item" else UNKNOWN
        return UNKNOWN

    def tick(self) -> None:
        self.steps += 1
        if self.steps > STEPS:
            raise Unreadable("too long to follow")


def _asks_inside(body: list[ast.stmt]) -> bool:
    return any(isinstance(inner, ast.Attribute) and inner.attr in _ASKS for one in body for inner in ast.walk(one))
