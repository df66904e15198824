"""Statements of the interpreted program: branches that are known are followed, others are walked both ways; a loop runs twice."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence

from verifier.program.definitions import Definitions, source_text
from verifier.program.events import Guard
from verifier.program.scope import Scope, join_names
from verifier.program.values import (
    NO_LABELS,
    NONE,
    ClassV,
    Data,
    Func,
    Instance,
    Lib,
    Seq,
    Value,
    is_scored,
    labels_of,
)

NEXT, RETURN, BREAK, CONTINUE, RAISE = "next", "return", "break", "continue", "raise"
UNROLLED = 3
"""Known short ranges (epochs, phases) are run in full up to this many iterations."""
NESTED = 3
"""Loops nested deeper than this in one another run one iteration."""
_PASSES = 60
"""Iterations of all loops around a statement, multiplied, up to which known short ranges are run in full."""


class Statements(Definitions):
    """Executes statements; `execute` says how a block ends."""

    def execute(self, body: Sequence[ast.stmt], scope: Scope) -> str:
        state = self.state
        entered: tuple[int, int] | None = None
        outcome = NEXT
        for statement in body:
            self.tick()
            site = scope.module.site(statement.lineno)
            if site not in state.reached or not state.reached[site]:
                state.reached[site] = not any(guard.on_configuration for guard in state.guards)
            handler = _HANDLERS.get(type(statement))
            if handler is None:
                continue
            outcome = handler(self, statement, scope)
            if outcome.startswith("maybe:"):
                # One side of a condition on an unknown setting has left the block: the rest is under that condition.
                if entered is None:
                    entered = (len(state.guards), state.fork_serial)
                state.guards.append(self._left_guard)
                outcome = NEXT
            if outcome != NEXT:
                break
        if entered is not None:
            self.unfork(entered)
        return outcome

    _left_guard: Guard

    def _expression(self, node: ast.Expr, scope: Scope) -> str:
        self.evaluate(node.value, scope)
        return NEXT

    def _return(self, node: ast.Return, scope: Scope) -> str:
        value = self.evaluate(node.value, scope) if node.value is not None else NONE
        if len(scope.returns) < 32:
            scope.returns.append(value)
        return RETURN

    def _if(self, node: ast.If, scope: Scope) -> str:
        # elif chains nest to the right: walked in a loop while their conditions are known.
        current = node
        while True:
            condition = self.evaluate(current.test, scope)
            truth = self.truth(condition)
            text = source_text(current.test)
            site = self.site(current, scope)
            witnessed = self.witness.get(site)
            if witnessed is not None and (truth is not None or any(label[0] == "env" for label in labels_of(condition))):
                if truth is not witnessed:
                    self.state.overruled.add(site)
                truth = witnessed
            self.note_branch(site, text, truth)
            if truth is None:
                return self._both(current, condition, text, scope)
            if truth:
                self.state.conditions.append(site)
                outcome = self.execute(current.body, scope)
                self.state.conditions.pop()
                # The run got past this line, so a check that ends it did not strike: some value is not what it was.
                return NEXT if outcome == RAISE else outcome
            if len(current.orelse) == 1 and isinstance(current.orelse[0], ast.If):
                current = current.orelse[0]
                self.state.reached.setdefault(self.site(current, scope), True)
                continue
            return self.execute(current.orelse, scope)

    def _both(self, node: ast.If, condition: Value, text: str, scope: Scope) -> str:
        site, labels = self.site(node, scope), labels_of(condition)
        before = dict(scope.names)
        for sides in _compared_scores(condition):
            self.emit("select", site, sides, text="if")
        guard = Guard(site, text, True, labels)
        mark = self.fork(guard)
        first = self.execute(node.body, scope)
        self.unfork(mark)
        after, scope.names = scope.names, before
        second = NEXT
        other = Guard(site, text, False, labels)
        if node.orelse:
            mark = self.fork(other)
            second = self.execute(node.orelse, scope)
            self.unfork(mark)
        if first == NEXT and second == NEXT:
            scope.names = join_names(after, scope.names)
            return NEXT
        if first != NEXT and second != NEXT:
            return first if first == second else _weaker(first, second)
        if first == NEXT:
            scope.names = after
        if CONTINUE in (first, second) or BREAK in (first, second):
            iteration = tuple(self.state.loops)
            self.state.skips[iteration] = self.state.skips.get(iteration, NO_LABELS) | labels
        if guard.on_configuration:
            self._left_guard = guard if first == NEXT else other
            return "maybe:left"
        return NEXT

    def _for(self, node: ast.For | ast.AsyncFor, scope: Scope) -> str:
        site = self.site(node, scope)
        source = self.evaluate(node.iter, scope)
        key = self.loop_key(site, f"for {source_text(node.target)} in {source_text(node.iter)}", _count(source))
        elements, exact = self.iterate(source, key, site)
        if not elements:
            return self.execute(node.orelse, scope)
        if not exact or len(elements) > UNROLLED:
            objects = [value for value in elements if not isinstance(value, Data)]
            elements = elements[:6] if objects and exact and len(elements) <= 6 else elements[:2]
        if len(self.state.loops) >= NESTED and len(elements) > 1 and not (exact and len(elements) <= UNROLLED):
            elements = elements[:1]
        if self.state.passes * len(elements) > _PASSES:
            elements = elements[:1]
        carried = _assigned_names(node) if len(elements) > 1 or not exact else ()
        return self._iterations(node, key, list(elements), carried, scope)

    def _iterations(
        self,
        node: ast.For | ast.AsyncFor | ast.While,
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
        node: ast.For | ast.AsyncFor | ast.While,
        key: int,
        elements: list[Value | None],
        carried: Sequence[str],
        scope: Scope,
    ) -> str:
        broke = False
        cursors = _cursor_names(node) if carried else frozenset()
        for ordinal, element in enumerate(elements, 1):
            label = ("loop", key, ordinal)
            self._widen(carried, cursors, label, scope)
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
            finally:
                self.state.loops.pop()
            if outcome == BREAK:
                broke = True
                break
            if outcome in (RETURN, RAISE):
                # Leaves on the first pass for certain.
                return outcome
        return NEXT if broke else self.execute(node.orelse, scope)

    def _widen(self, carried: Sequence[str], cursors: frozenset[str], label: tuple[str, int, int], scope: Scope) -> None:
        """What a loop changes has another value in each iteration. What is only handed over (`previous = chunk`) still is of the
        iteration before."""
        for name in carried:
            value = scope.names.get(name)
            if isinstance(value, Data) and value.owner is None:
                labels = value.labels | {label} if name in cursors else value.labels
                widened = Data("join", (value,), labels, value.site)
                widened.serial = value.serial
                scope.names[name] = widened

    def _while(self, node: ast.While, scope: Scope) -> str:
        key = self.loop_key(self.site(node, scope), f"while {source_text(node.test)}", None)
        times = 1 if len(self.state.loops) >= NESTED or self.state.passes * 2 > _PASSES else 2
        return self._iterations(node, key, [None] * times, _assigned_names(node), scope)

    def _with(self, node: ast.With | ast.AsyncWith, scope: Scope) -> str:
        grad = self.state.grad
        entered_objects: list[Instance] = []
        for item in node.items:
            value = self.evaluate(item.context_expr, scope)
            mode = _grad_mode(value)
            if mode is not None:
                self.state.grad = mode
            entered = value
            if isinstance(value, Instance):
                entered_objects.insert(0, value)
                enter = value.cls.find("__enter__") if isinstance(value.cls, ClassV) else None
                if isinstance(enter, Func):
                    entered = self.call(enter.with_receiver(value), [], {}, node, scope)
            if isinstance(value, Seq) and value.kind == "generator" and value.items:
                entered = value.items[0]
            if item.optional_vars is not None:
                self.assign(item.optional_vars, entered, scope)
        outcome = self.execute(node.body, scope)
        self.state.grad = grad
        for value in entered_objects:
            leave = value.cls.find("__exit__") if isinstance(value.cls, ClassV) else None
            if isinstance(leave, Func):
                self.call(leave.with_receiver(value), [NONE, NONE, NONE], {}, node, scope)
        return outcome

    def _try(self, node: ast.Try | ast.TryStar, scope: Scope) -> str:
        before = dict(scope.names)
        outcome = self.execute(node.body, scope)
        if outcome == NEXT:
            outcome = self.execute(node.orelse, scope)
        for handler in node.handlers:
            after = scope.names
            scope.names = join_names(before, after) if outcome != RAISE else dict(before)
            caught = source_text(handler.type) if handler.type is not None else "Exception"
            mark = self.fork(Guard(self.site(handler, scope), f"except {caught}", True, NO_LABELS))
            if handler.name:
                scope.bind(handler.name, self.data("unknown", (), self.site(handler, scope)))
            other = self.execute(handler.body, scope)
            self.unfork(mark)
            if other == NEXT:
                scope.names = join_names(after, scope.names) if outcome == NEXT else scope.names
                outcome = NEXT
            else:
                scope.names = after
                if outcome == RAISE:
                    outcome = other
        final = self.execute(node.finalbody, scope)
        return final if final != NEXT else outcome

    def _raise(self, node: ast.Raise, scope: Scope) -> str:
        return RAISE

    def _break(self, node: ast.Break, scope: Scope) -> str:
        return BREAK

    def _continue(self, node: ast.Continue, scope: Scope) -> str:
        return CONTINUE

    def _assert(self, node: ast.Assert, scope: Scope) -> str:
        self.evaluate(node.test, scope)
        return NEXT

    def _match(self, node: ast.Match, scope: Scope) -> str:
        self.evaluate(node.subject, scope)
        for case in node.cases:
            mark = self.fork(Guard(self.site(node, scope), "match", True, NO_LABELS))
            self.execute(case.body, scope)
            self.unfork(mark)
        return NEXT


def _compared_scores(condition: Value) -> list[tuple[Value, ...]]:
    """The comparisons in a condition of which losses flow into both sides."""
    found: list[tuple[Value, ...]] = []
    pending = [condition]
    for _ in range(8):
        current = pending.pop() if pending else None
        if isinstance(current, Data) and current.op in ("not", "and", "or"):
            pending += current.args
        elif isinstance(current, Data) and current.op in ("<", "<=", ">", ">=") and all(map(is_scored, current.args)):
            found.append(current.args)
    return found


def _weaker(first: str, second: str) -> str:
    """How two paths that both leave end together: the one that stays in the function counts."""
    for outcome in (CONTINUE, BREAK, RETURN):
        if outcome in (first, second):
            return outcome
    return RAISE


def _count(source: Value) -> int | None:
    if isinstance(source, Seq) and source.exact:
        return len(source.items)
    if isinstance(source, Data) and source.op == "range" and isinstance(source.const, range):
        return len(source.const)
    return None


def _assigned_names(node: ast.AST) -> tuple[str, ...]:
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
        if isinstance(current, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            continue
        pending += ast.iter_child_nodes(current)
    result = tuple(sorted(names))
    node._verifier_names = result  # type: ignore[attr-defined]
    return result


def _cursor_names(node: ast.AST) -> frozenset[str]:
    """Names that a loop's body computes from themselves, also by way of others: `position += size`, `a = b; b = a + 1`."""
    known: frozenset[str] | None = getattr(node, "_verifier_cursors", None)
    if known is not None:
        return known
    uses: dict[str, set[str]] = {}
    pending: list[ast.AST] = [*getattr(node, "body", ()), *getattr(node, "orelse", ())]
    while pending:
        current = pending.pop()
        if isinstance(current, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            continue
        source = getattr(current, "iter" if isinstance(current, ast.For) else "value", None)
        if isinstance(current, ast.Assign | ast.AugAssign | ast.AnnAssign | ast.NamedExpr | ast.For) and source is not None:
            read = {one.id for one in ast.walk(source) if isinstance(one, ast.Name)}
            targets = current.targets if isinstance(current, ast.Assign) else [current.target]
            for target in (one for held in targets for one in ast.walk(held) if isinstance(one, ast.Name)):
                uses.setdefault(target.id, set()).update(read | ({target.id} if isinstance(current, ast.AugAssign) else set()))
        pending += ast.iter_child_nodes(current)
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


def _grad_mode(value: Value) -> bool | None:
    """What a context manager or decorator does to gradients."""
    name = value.op if isinstance(value, Data) else value.name if isinstance(value, Lib) else ""
    name = name.removeprefix("call:")
    if name in ("torch.no_grad", "torch.inference_mode", "torch.autograd.no_grad", "torch.autograd.inference_mode"):
        if isinstance(value, Data) and value.args:
            given = value.args[0]
            return not given.const if isinstance(given, Data) and given.known else None
        return False
    if name in ("torch.enable_grad", "torch.autograd.enable_grad"):
        return True
    if name in ("torch.set_grad_enabled", "torch.autograd.set_grad_enabled") and isinstance(value, Data) and value.args:
        given = value.args[0]
        return bool(given.const) if isinstance(given, Data) and given.known else None
    return None


def grad_decorators(names: frozenset[str]) -> bool | None:
    """What the decorators of a function do to gradients while it runs."""
    if names & {"torch.no_grad", "torch.inference_mode"}:
        return False
    if "torch.enable_grad" in names:
        return True
    return None


_HANDLERS: dict[type[ast.stmt], Callable[[Statements, ast.stmt, Scope], str]] = {
    ast.Expr: Statements._expression,  # type: ignore[dict-item]
    ast.Assign: Statements._assign,  # type: ignore[dict-item]
    ast.AnnAssign: Statements._annotated,  # type: ignore[dict-item]
    ast.AugAssign: Statements._augmented,  # type: ignore[dict-item]
    ast.Return: Statements._return,  # type: ignore[dict-item]
    ast.If: Statements._if,  # type: ignore[dict-item]
    ast.For: Statements._for,  # type: ignore[dict-item]
    ast.AsyncFor: Statements._for,  # type: ignore[dict-item]
    ast.While: Statements._while,  # type: ignore[dict-item]
    ast.With: Statements._with,  # type: ignore[dict-item]
    ast.AsyncWith: Statements._with,  # type: ignore[dict-item]
    ast.Try: Statements._try,  # type: ignore[dict-item]
    ast.TryStar: Statements._try,  # type: ignore[dict-item]
    ast.FunctionDef: Statements._function,  # type: ignore[dict-item]
    ast.AsyncFunctionDef: Statements._function,  # type: ignore[dict-item]
    ast.ClassDef: Statements._class,  # type: ignore[dict-item]
    ast.Import: Statements._import,  # type: ignore[dict-item]
    ast.ImportFrom: Statements._import_from,  # type: ignore[dict-item]
    ast.Global: Statements._global,  # type: ignore[dict-item]
    ast.Nonlocal: Statements._nonlocal,  # type: ignore[dict-item]
    ast.Raise: Statements._raise,  # type: ignore[dict-item]
    ast.Break: Statements._break,  # type: ignore[dict-item]
    ast.Continue: Statements._continue,  # type: ignore[dict-item]
    ast.Assert: Statements._assert,  # type: ignore[dict-item]
    ast.Match: Statements._match,  # type: ignore[dict-item]
}
