"""Which branches the logs prove to have run: a print statement whose words stand in a log was executed.

The settings of a run are not always known (a shell script set them, the dump is missing). What the log shows decides then: legality
is judged on the run that produced the logs. The other way round, a branch that prints and left no trace in any log is doubtful.
A condition that is proven tells about the switch that it tests, which is then known wherever else it is tested.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from verifier.evidence import Location, excerpt
from verifier.program.loops import assigned_names
from verifier.program.values import Site
from verifier.submission.python_tree import ParsedTree, child_nodes, nodes_below

_LEAST = 10
"""Letters that a printed text must have to be told from others."""
_LEAST_PART = 4
"""Letters of a part of a printed text that a condition puts there."""
_BLOCKS = (ast.stmt, ast.ExceptHandler, ast.match_case)
_DEPTH = 6
"""Steps from a condition to the names behind it."""


@dataclass(frozen=True, slots=True)
class LogLine:
    path: str
    number: int
    text: str

    @property
    def location(self) -> Location:
        return Location(self.path, self.number, excerpt=excerpt(self.text))


@dataclass(frozen=True, slots=True)
class Switch:
    """A setting that a log line proves to have been on or off. `tests` are the conditions of the program that look at it."""

    on: bool
    line: LogLine
    tests: tuple[Site, ...] = ()


@dataclass(frozen=True, slots=True)
class Witness:
    """`ran` are conditions that a log line decides, with the value they had; `silent` are conditions whose branch prints and of
    which no log has a trace. `switches` are the names and attributes that those conditions test; a name of which lines tell both
    is left out. `shown` are the log lines behind `ran`, `decided` those of conditions that are as they are because of a log line.
    `functions` are the definitions whose own words stand in a log."""

    ran: dict[Site, bool] = field(default_factory=dict)
    silent: frozenset[Site] = frozenset()
    switches: dict[str, Switch] = field(default_factory=dict)
    shown: dict[Site, Location] = field(default_factory=dict)
    decided: dict[Site, Location] = field(default_factory=dict)
    functions: dict[Site, LogLine] = field(default_factory=dict)


type _Words = tuple[str, ...]


def witness_branches(trees: Sequence[tuple[str, int, ParsedTree]], lines: Sequence[LogLine]) -> Witness:
    """Compare what the branches of the program print with the lines of its logs."""
    if not lines:
        return Witness()
    ran: dict[Site, bool] = {}
    shown: dict[Site, Location] = {}
    silent: set[Site] = set()
    seen: dict[_Words, LogLine | None] = {}
    proven: dict[str, list[Switch]] = {}
    tests: dict[str, list[Site]] = {}
    functions: dict[Site, LogLine] = {}

    def logged(words: _Words) -> LogLine | None:
        if words not in seen:
            seen[words] = next((line for line in lines if _stands_in(words, line.text)), None)
        return seen[words]

    for path, layer, tree in trees:
        prints = _prints(tree)
        printers = {callee for words, callee in prints.calls.values() if logged(words)}
        for function in tree.of(ast.FunctionDef, ast.AsyncFunctionDef):
            said = _verdict(function, "own", prints, logged)
            if said is not None:
                functions[Site(path, layer, function.lineno)] = said
        aliases, reassigned = _aliases(tree), _reassigned(tree)
        for test, truth, line in _conditional_parts(tree, lines):
            for name, on in _tested(test, truth, aliases):
                proven.setdefault(name, []).append(Switch(on, line))
        for node, looped, given in _conditions(tree):
            site = Site(path, layer, node.lineno)
            taken = _verdict(node, "body", prints, logged)
            other = _verdict(node, "orelse", prints, logged)
            for name in {*dict(_tested(node.test, True, aliases)), *dict(_tested(node.test, False, aliases))}:
                tests.setdefault(name, []).append(site)
            proof = taken or other
            if proof is not None and (taken is None or other is None):
                truth = taken is not None
                if not _varies(node.test, looped, given, reassigned):
                    ran[site] = truth
                    shown[site] = proof.location
                for name, on in _tested(node.test, truth, aliases):
                    if name not in looped | given | reassigned:
                        proven.setdefault(name, []).append(Switch(on, proof))
            elif _trace_of(node, "body", prints, logged) is None and _should_show(node.body, prints, printers):
                silent.add(site)
    switches = {
        name: Switch(found[0].on, found[0].line, tuple(tests.get(name, ())))
        for name, found in proven.items()
        if len({switch.on for switch in found}) == 1
    }
    return Witness(ran, frozenset(silent), switches, shown, functions=functions)


def tested_switches(trees: Sequence[tuple[str, int, ParsedTree]], taken: frozenset[Site]) -> Iterator[str]:
    """The names and attributes that are on when these conditions hold."""
    for path, layer, tree in trees:
        aliases = _aliases(tree)
        for node in tree.of(ast.If):
            if Site(path, layer, node.lineno) in taken:
                yield from (name for name, on in _tested(node.test, True, aliases) if on)


def _tested(test: ast.expr, truth: bool, aliases: dict[str, ast.expr], depth: int = 0) -> Iterator[tuple[str, bool]]:
    """What the truth of a condition says about the names and attributes in it."""
    if depth > _DEPTH:
        return
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        yield from _tested(test.operand, not truth, aliases, depth + 1)
    elif isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And) == truth:
        for part in test.values:
            yield from _tested(part, truth, aliases, depth + 1)
    elif isinstance(test, ast.Attribute):
        yield test.attr, truth
    elif isinstance(test, ast.Name):
        yield test.id, truth
        if test.id in aliases:
            yield from _tested(aliases[test.id], truth, aliases, depth + 1)


def _aliases(tree: ParsedTree) -> dict[str, ast.expr]:
    """What each name is set to, of names that are set once in the whole text."""
    found: dict[str, list[ast.expr]] = {}
    for node in tree.of(ast.Assign, ast.AnnAssign, ast.AugAssign):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    found.setdefault(target.id, []).append(node.value)
        elif isinstance(node.target, ast.Name) and node.value is not None:
            found.setdefault(node.target.id, []).append(node.value)
    return {name: values[0] for name, values in found.items() if len(values) == 1}


def _conditional_parts(tree: ParsedTree, lines: Sequence[LogLine]) -> Iterator[tuple[ast.expr, bool, LogLine]]:
    """Conditions of `{text if condition else ""}` within printed texts of which a line stands in a log, and whether the text is
    there; those of the outermost calls first."""
    found: list[tuple[ast.Call, _Words, list[tuple[ast.IfExp, _Words]]]] = []
    for text in tree.of(ast.JoinedStr):
        call = tree.parents[id(text)]
        if not isinstance(call, ast.Call) or not call.args or call.args[0] is not text:
            continue
        choices = [part.value for part in text.values if isinstance(part, ast.FormattedValue)]
        wanted = [
            (choice, _words(choice.body)) for choice in choices if isinstance(choice, ast.IfExp) and _is_empty(choice.orelse)
        ]
        wanted = [(choice, words) for choice, words in wanted if sum(map(len, words)) >= _LEAST_PART]
        printed = _printed(call) if wanted else None
        if printed is not None:
            found.append((call, printed[0], wanted))
    for _, text_words, wanted in sorted(found, key=lambda one: tree.depth(one[0])):
        shown = [line for line in lines if _stands_in(text_words, line.text)]
        for choice, words in wanted if shown else ():
            told = {all(word in line.text for word in words) for line in shown}
            if len(told) == 1:
                yield choice.test, told.pop(), shown[0]


def _is_empty(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value == ""


def _conditions(tree: ParsedTree) -> Iterator[tuple[ast.If, frozenset[str], frozenset[str]]]:
    """Every `if` with the names that the loops around it set, and with the parameters of its function when that is called at
    several places: both may be something else each time."""
    pending: list[tuple[ast.AST, frozenset[str], frozenset[str]]] = [(tree.module, frozenset(), frozenset())]
    while pending:
        node, looped, given = pending.pop()
        if isinstance(node, ast.If):
            yield node, looped, given
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            looped = frozenset()
            given = frozenset(one.arg for one in _parameters(node)) if len(tree.calls_of(node.name)) > 1 else frozenset()
        elif isinstance(node, ast.For | ast.AsyncFor | ast.While):
            looped |= {*assigned_names(node), *_names_in(tree, getattr(node, "target", None))}
        pending += [(child, looped, given) for child in child_nodes(node) if isinstance(child, _BLOCKS)]


def _parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.arg]:
    return [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]


def _names_in(tree: ParsedTree, node: ast.AST | None) -> set[str]:
    return {one.id for one in tree.inside(node) if isinstance(one, ast.Name)} if node is not None else set()


def _reassigned(tree: ParsedTree) -> frozenset[str]:
    """Attributes that are set at more than one place: what such a one is depends on when it is asked."""
    found: dict[str, int] = {}
    for node in tree.of(ast.Attribute):
        if isinstance(node.ctx, ast.Store):
            found[node.attr] = found.get(node.attr, 0) + 1
    return frozenset(name for name, count in found.items() if count > 1)


def _varies(test: ast.expr, looped: frozenset[str], given: frozenset[str], reassigned: frozenset[str]) -> bool:
    """Whether a condition may hold at one time and not at another: one line of a log tells of one time only."""
    nodes = list(nodes_below(test))
    settings = {id(node.value) for node in nodes if isinstance(node, ast.Attribute)}
    return any(
        (isinstance(node, ast.Name) and (node.id in looped or (node.id in given and id(node) not in settings)))
        or (isinstance(node, ast.Attribute) and node.attr in reassigned)
        for node in nodes
    )


def _verdict(
    node: ast.If | ast.FunctionDef | ast.AsyncFunctionDef, side: str, prints: _Prints, logged: Callable[[_Words], LogLine | None]
) -> LogLine | None:
    """The log line of a print inside a block, of a text that is printed nowhere else. Where the block prints another text first, always
    and by the same means, and no log has it, the line is somebody else's: a dump of settings has many."""
    found = _trace_of(node, side, prints, logged)
    if found is None:
        return None
    words, line = found
    call = prints.last[words]
    body = node.orelse if isinstance(node, ast.If) and side == "orelse" else node.body
    before = (prints.calls.get(id(one.value)) for one in body if isinstance(one, ast.Expr) and one.lineno < call.lineno)
    means = prints.calls[id(call)][1]
    silent = any(said and said[1] == means and prints.count[said[0]] == 1 and logged(said[0]) is None for said in before)
    return None if silent else line


def _trace_of(
    node: ast.If | ast.FunctionDef | ast.AsyncFunctionDef, side: str, prints: _Prints, logged: Callable[[_Words], LogLine | None]
) -> tuple[_Words, LogLine] | None:
    """The words that only this block prints and that a log has, with the line."""
    inside = prints.sides.get((id(node), side), {})
    own = (words for words in reversed(inside) if inside[words] == prints.count[words])
    return next(((words, line) for words in own if (line := logged(words)) is not None), None)


def _should_show(body: Sequence[ast.stmt], prints: _Prints, printers: set[str]) -> bool:
    """Whether this block always prints, with a function whose other texts did reach a log."""
    for statement in body:
        if isinstance(statement, ast.Expr):
            found = prints.calls.get(id(statement.value))
            if found is not None and found[1] in printers and prints.count[found[0]] == 1:
                return True
    return False


@dataclass(frozen=True, slots=True)
class _Prints:
    """The print and log calls of a text that are statements or values of statements: by their identity the fixed words of the text
    and the name that is called; the `last` call that prints a text; how often each text is printed, in all and inside each side of
    each condition and each function's own body."""

    calls: dict[int, tuple[_Words, str]] = field(default_factory=dict)
    last: dict[_Words, ast.Call] = field(default_factory=dict)
    count: dict[_Words, int] = field(default_factory=dict)
    sides: dict[tuple[int, str], dict[_Words, int]] = field(default_factory=dict)


def _prints(tree: ParsedTree) -> _Prints:
    """One walk for all conditions, from the end of the text: of several lines that tell the same, the last print counts."""
    prints = _Prints()
    for call in reversed(tree.of(ast.Call)):
        above = tree.parents[id(call)]
        found = _printed(call) if isinstance(above, _BLOCKS) else None
        if found is None:
            continue
        prints.calls[id(call)] = found
        prints.last.setdefault(found[0], call)
        prints.count[found[0]] = prints.count.get(found[0], 0) + 1
        below: ast.AST = call
        outside = False
        while not isinstance(above, ast.Module):
            side = ""
            if isinstance(above, ast.If) and below is not above.test:
                side = "orelse" if any(below is one for one in above.orelse) else "body"
            elif isinstance(above, ast.FunctionDef | ast.AsyncFunctionDef) and not outside:
                side, outside = "own", True
            if side:
                inside = prints.sides.setdefault((id(above), side), {})
                inside[found[0]] = inside.get(found[0], 0) + 1
            below, above = above, tree.parents[id(above)]
    return prints


def _printed(call: ast.Call) -> tuple[_Words, str] | None:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else call.func.id if isinstance(call.func, ast.Name) else ""
    lowered = name.lower()
    if (
        not (lowered.startswith(("print", "log", "info", "write", "emit", "say")) or lowered.endswith(("log", "print")))
        or not call.args
    ):
        return None
    words = _words(call.args[0])
    return (words, name) if sum(character.isalpha() for word in words for character in word) >= _LEAST else None


def _words(node: ast.expr) -> _Words:
    return tuple(piece for piece in _fixed_pieces(node) if any(character.isalpha() for character in piece))


def _fixed_pieces(node: ast.expr) -> list[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value.strip()] if len(node.value) < 2000 else []
    if isinstance(node, ast.JoinedStr):
        return [piece.value.strip() for piece in node.values if isinstance(piece, ast.Constant) and isinstance(piece.value, str)]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return [*_fixed_pieces(node.left), *_fixed_pieces(node.right)]
    return []


def _stands_in(words: _Words, line: str) -> bool:
    position = 0
    for word in words:
        found = line.find(word, position)
        if found < 0:
            return False
        position = found + len(word)
    return True
