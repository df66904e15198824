"""Loops of the interpreted program: short known ones are run in full, others twice; a generator runs in step with its reader."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence

from verifier.program.definitions import Definitions, source_text
from verifier.program.queries import has_source
from verifier.program.scope import Scope, rejoin
from verifier.program.values import (
    UNSET,
    Data,
    Func,
    Seq,
    Value,
    taken,
    united,
)
from verifier.submission.python_tree import child_nodes, nodes_below

NEXT, RETURN, BREAK, CONTINUE, RAISE = "next", "return", "break", "continue", "raise"
type Loop = ast.For | ast.AsyncFor | ast.While
UNROLLED = 3
"""Known short ranges (epochs, phases) are run in full up to this many iterations."""
NESTED = 3
"""Loops nested deeper than this in one another run one iteration."""
_PASSES = 60
"""Iterations of all loops around a statement, multiplied, up to which known short ranges are run in full."""
LISTED = 16
"""Lists of up to this many constants or objects (names of stages, functions to call) are run in full."""
YIELDS = 4
"""Values of one generator that its reader takes."""
_WRAPPERS = ("enumerate", "tqdm")
_OF_THEIR_OWN = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
"""What is inside a loop and no part of it: its names are others'."""
_BINDS = (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.NamedExpr, ast.For)


class Loops(Definitions):
    """Executes loops."""

    def execute(self, body: Sequence[ast.stmt], scope: Scope) -> str:
        raise NotImplementedError

    def _for(self, node: ast.For | ast.AsyncFor, scope: Scope) -> str:
        site = self.site(node, scope)
        generator, numbered = self._generator_read(node.iter, scope)
        if generator is not None:
            outcome, source = self._read_along(node, generator, numbered, scope)
            if outcome is not None:
                return outcome
            assert source is not None
        else:
            source = self.evaluate(node.iter, scope)
        key = self.loop_key(site, f"for {source_text(node.target)} in {source_text(node.iter)}", _count(source))
        elements, exact = self.iterate(source, key, site)
        if not elements:
            return self.execute(node.orelse, scope)
        whole = exact and (len(elements) <= UNROLLED or (len(elements) <= LISTED and _is_listed(source)))
        if not whole:
            elements = elements[:2]
        cut = len(self.state.loops) >= NESTED and len(elements) > 1 and not whole
        if cut or self.state.passes * len(elements) > _PASSES:
            cut = len(elements) > 1
            elements = elements[:1]
        carried = assigned_names(node) if len(elements) > 1 or not exact or cut else ()
        if not cut:
            return self._iterations(node, key, list(elements), carried, scope)
        return self._cut_short(node, key, list(elements), carried, scope)

    def _cut_short(
        self,
        node: Loop,
        key: int,
        elements: list[Value | None],
        carried: Sequence[str],
        scope: Scope,
    ) -> str:
        """One iteration of a loop that has more, because there are too many around it."""
        self.state.cut.add(key)
        count = len(self.state.events)
        outcome = self._iterations(node, key, elements, carried, scope)
        made = self.state.events[count:]
        if any(event.kind == "update" for event in made) and any(
            event.kind == "loss" and has_source(event.tokens, "val") for event in made
        ):
            self.problem(
                "loop-depth", self.site(node, scope), "loops that learn from validation tokens lie too deep in one another"
            )
        return outcome

    def consume(self, call: ast.expr, generator: Func, take: Callable[[Value], None], scope: Scope) -> Value:
        """Call a generator function whose values go to `take` as they come, in the frame of the reader."""
        state = self.state
        stack, functions = list(state.stack), list(state.functions)

        def taking(value: Value) -> None:
            own = state.stack, state.functions
            state.stack, state.functions = list(stack), list(functions)
            try:
                take(value)
            finally:
                state.stack, state.functions = own

        state.consumer = (generator.node, taking)
        value = self.evaluate(call, scope)
        state.consumer = None
        return value

    def generator_called(self, call: ast.expr, scope: Scope) -> Func | None:
        """The generator function of the program that an expression calls by its name, if it does."""
        if not isinstance(call, ast.Call):
            return None
        base = call.func
        while isinstance(base, ast.Attribute):
            base = base.value
        function = self.evaluate(call.func, scope) if isinstance(base, ast.Name) and scope.find(base.id) is not None else None
        return function if isinstance(function, Func) and _yields(function.node) else None

    def _generator_read(self, source: ast.expr, scope: Scope) -> tuple[Func | None, ast.Call | None]:
        """The generator that a loop reads, and the call around it that numbers its values or shows progress."""
        wrapper = source if isinstance(source, ast.Call) and source.args and _name(source.func) in _WRAPPERS else None
        return self.generator_called(wrapper.args[0] if wrapper is not None else source, scope), wrapper

    def _read_along(
        self, node: ast.For | ast.AsyncFor, generator: Func, wrapper: ast.Call | None, scope: Scope
    ) -> tuple[str | None, Value | None]:
        """The loop's body runs where the generator yields. `None` and the values where it was not seen to yield."""
        site, state = self.site(node, scope), self.state
        key = self.loop_key(site, f"for {source_text(node.target)} in {source_text(node.iter)}", None)
        carried = assigned_names(node)
        cursors = _cursor_names(node)
        count, ended = 0, ""

        def take(value: Value) -> None:
            nonlocal count, ended
            if ended or count == YIELDS:
                return
            count += 1
            label = ("loop", key, count)
            self._widen(node, carried, cursors, label, scope, first=count == 1)
            grad, state.grad = state.grad, outside
            state.loops.append((key, count))
            try:
                # What a loop of the generator yields is of that loop's iteration already.
                element = value if len(state.loops) > around else taken(value, frozenset({label}), site)
                if wrapper is not None and _name(wrapper.func) == "enumerate":
                    element = Seq("tuple", (Data("loopvar", (), frozenset({label}), site), element), True)
                self.assign(node.target, element, scope)
                outcome = self.execute(node.body, scope)
                rejoin(scope, CONTINUE, start)
            finally:
                state.loops.pop()
                state.grad = grad
            ended = outcome if outcome in (BREAK, RETURN, RAISE) else ""

        outside, around, start = state.grad, len(state.loops) + 1, len(scope.left)
        call = wrapper.args[0] if wrapper is not None else node.iter
        values = self.consume(call, generator, take, scope)
        if not count:
            if wrapper is not None and _name(wrapper.func) == "enumerate":
                values = self.data("enumerate", (values,), site)
            return None, values
        rejoin(scope, BREAK, start)
        if ended in (RETURN, RAISE):
            return ended, None
        return (NEXT if ended else self.execute(node.orelse, scope)), None

    def _iterations(
        self,
        node: Loop,
        key: int,
        elements: list[Value | None],
        carried: Sequence[str],
        scope: Scope,
    ) -> str:
        passes = self.state.passes
        self.state.passes = passes * max(1, len(elements))
        try:
            return self._run_iterations(node, key, elements, carried, scope)
        finally:
            self.state.passes = passes

    def _run_iterations(
        self,
        node: Loop,
        key: int,
        elements: list[Value | None],
        carried: Sequence[str],
        scope: Scope,
    ) -> str:
        broke, start = False, len(scope.left)
        cursors = _cursor_names(node) if carried else frozenset()
        for ordinal, element in enumerate(elements, 1):
            label = ("loop", key, ordinal)
            self._widen(node, carried, cursors, label, scope, first=ordinal == 1 and len(elements) > 1)
            self.state.loops.append((key, ordinal))
            try:
                if element is not None and not isinstance(node, ast.While):
                    self.assign(node.target, element, scope)
                elif isinstance(node, ast.While):
                    condition = self.evaluate(node.test, scope)
                    truth = self.truth(condition)
                    self.note_branch(self.site(node, scope), source_text(node.test), truth)
                    if truth is False:
                        break
                outcome = self.execute(node.body, scope)
                rejoin(scope, CONTINUE, start)
            finally:
                self.state.loops.pop()
            if outcome == BREAK:
                broke = True
                break
            if outcome in (RETURN, RAISE):
                # Leaves on the first pass for certain.
                return outcome
        finished = NEXT if broke else self.execute(node.orelse, scope)
        rejoin(scope, BREAK, start)
        return finished

    def _widen(
        self, node: Loop, carried: Sequence[str], cursors: frozenset[str], label: tuple[str, int, int],
        scope: Scope, *, first: bool,
    ) -> None:  # fmt: skip
        """What a loop changes has another value in each iteration. What is only handed over (`previous = chunk`) still is of the
        iteration before, and what nothing has changed yet is what it was."""
        here = frozenset({label})
        for name in carried:
            value = scope.names.get(name)
            if isinstance(value, Data) and value.owner is None:
                labels = united(value.labels, here) if name in cursors else value.labels
                steady = value.const is None or isinstance(value.const, bool)
                kept = value.const if steady and (first or _stays(node, name, bool(value.const))) else UNSET
                widened = Data("join", (value,), labels, value.site, kept)
                widened.serial = value.serial
                scope.names[name] = widened

    def _while(self, node: ast.While, scope: Scope) -> str:
        key = self.loop_key(self.site(node, scope), f"while {source_text(node.test)}", None)
        if len(self.state.loops) >= NESTED or self.state.passes * 2 > _PASSES:
            return self._cut_short(node, key, [None], assigned_names(node), scope)
        return self._iterations(node, key, [None, None], assigned_names(node), scope)


def _count(source: Value) -> int | None:
    if isinstance(source, Seq) and source.exact:
        return len(source.items)
    if isinstance(source, Data) and source.op == "range" and isinstance(source.const, range):
        return len(source.const)
    return None


def assigned_names(node: ast.AST) -> tuple[str, ...]:
    """Names that a loop's body binds, not looking into functions and classes inside it."""
    known: tuple[str, ...] | None = getattr(node, "_verifier_names", None)
    if known is not None:
        return known
    names: dict[str, None] = {}
    pending: list[ast.AST] = [*getattr(node, "body", ()), *getattr(node, "orelse", ())]
    while pending:
        current = pending.pop()
        if isinstance(current, ast.Name) and isinstance(current.ctx, ast.Store):
            names[current.id] = None
        if isinstance(current, _OF_THEIR_OWN):
            continue
        pending += child_nodes(current)
    result = tuple(sorted(names))
    node._verifier_names = result  # type: ignore[attr-defined]
    return result


def _stays(node: ast.AST, name: str, value: bool) -> bool:
    """Whether a loop's body changes a flag only where the flag is what it is not: `if not done: ...; done = True`."""
    known: dict[str, set[bool | None]] | None = getattr(node, "_verifier_flags", None)
    if known is None:
        known = {}
        pending: list[tuple[ast.AST, tuple[tuple[str, bool], ...]]] = [(one, ()) for one in getattr(node, "body", ())]
        while pending:
            current, tests = pending.pop()
            if isinstance(current, ast.Name) and isinstance(current.ctx, ast.Store):
                wanted = [truth for tested, truth in tests if tested == current.id]
                known.setdefault(current.id, set()).add(wanted[-1] if wanted else None)
            if isinstance(current, _OF_THEIR_OWN):
                continue
            if isinstance(current, ast.If):
                pending += [(one, (*tests, *_flags_of(current.test))) for one in current.body]
                pending += [(one, tests) for one in (current.test, *current.orelse)]
            else:
                pending += [(one, tests) for one in child_nodes(current)]
        node._verifier_flags = known  # type: ignore[attr-defined]
    return known.get(name) == {not value}


def _flags_of(test: ast.expr) -> list[tuple[str, bool]]:
    """Names that a condition needs to be true or false."""
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
        return [flag for part in test.values for flag in _flags_of(part)]
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not) and isinstance(test.operand, ast.Name):
        return [(test.operand.id, False)]
    return [(test.id, True)] if isinstance(test, ast.Name) else []


def _cursor_names(node: ast.AST) -> frozenset[str]:
    """Names that a loop's body computes from themselves, also by way of others: `position += size`, `a = b; b = a + 1`."""
    known: frozenset[str] | None = getattr(node, "_verifier_cursors", None)
    if known is not None:
        return known
    uses: dict[str, set[str]] = {}
    pending: list[ast.AST] = [*getattr(node, "body", ()), *getattr(node, "orelse", ())]
    while pending:
        current = pending.pop()
        if isinstance(current, _OF_THEIR_OWN):
            continue
        source = (current.iter if isinstance(current, ast.For) else current.value) if isinstance(current, _BINDS) else None
        if isinstance(current, _BINDS) and source is not None:
            read = {one.id for one in nodes_below(source) if isinstance(one, ast.Name)}
            targets = current.targets if isinstance(current, ast.Assign) else [current.target]
            for target in (one for held in targets for one in nodes_below(held) if isinstance(one, ast.Name)):
                uses.setdefault(target.id, set()).update(read | ({target.id} if isinstance(current, ast.AugAssign) else set()))
        pending += child_nodes(current)
    found = set()
    for name in uses:
        seen: set[str] = set()
        reach = list(uses[name])
        while reach and name not in seen:
            one = reach.pop()
            if one not in seen:
                seen.add(one)
                reach += uses.get(one, ())
        if name in seen:
            found.add(name)
    result = frozenset(found)
    node._verifier_cursors = result  # type: ignore[attr-defined]
    return result


def _is_listed(source: Value) -> bool:
    """Whether a list's items are constants or objects that are told apart, not numbers or data."""
    items = source.items if isinstance(source, Seq) else ()
    return bool(items) and all(
        not isinstance(one, Data) or isinstance(one.const, str)
        for item in items
        for one in (item.items[:1] if isinstance(item, Seq) else (item,))
    )


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else function.id if isinstance(function, ast.Name) else ""


def _yields(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> bool:
    """Whether a function is a generator, not looking into functions inside it."""
    known: bool | None = getattr(node, "_verifier_yields", None)
    if known is not None:
        return known
    pending: list[ast.AST] = list(node.body) if isinstance(node.body, list) else [node.body]
    found = False
    while pending and not found:
        current = pending.pop()
        found = isinstance(current, ast.Yield | ast.YieldFrom)
        if not isinstance(current, _OF_THEIR_OWN):
            pending += child_nodes(current)
    node._verifier_yields = found  # type: ignore[union-attr]
    return found
