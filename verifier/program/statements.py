"""Statements of the interpreted program: branches that are known are followed, others are walked both ways; a loop runs twice."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence

from verifier.program.definitions import source_text
from verifier.program.events import Guard
from verifier.program.loops import BREAK, CONTINUE, NEXT, RAISE, RETURN, Loops
from verifier.program.scope import Left, Scope, join_names
from verifier.program.values import (
    NO_LABELS,
    NONE,
    Choice,
    ClassV,
    Data,
    Func,
    Instance,
    Lib,
    Native,
    Seq,
    Value,
    is_scored,
    labels_of,
)


class Statements(Loops):
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
        value = self.evaluate(node.value, scope)
        if isinstance(value, Data) and value.op.endswith(".set_grad_enabled"):
            mode = _grad_mode(value)
            self.state.grad = self.state.grad if mode is None else mode
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
        untold = _is_untold(condition)
        guard = Guard(site, text, True, labels, untold)
        mark = self.fork(guard)
        first = self.execute(node.body, scope)
        self.unfork(mark)
        after, scope.names = scope.names, before
        if first in (BREAK, CONTINUE):
            scope.left.append(Left(first, _bound_since(before, after), condition))
        second, start = NEXT, dict(before) if node.orelse else before
        other = Guard(site, text, False, labels, untold)
        if node.orelse:
            mark = self.fork(other)
            second = self.execute(node.orelse, scope)
            self.unfork(mark)
        if second in (BREAK, CONTINUE):
            scope.left.append(Left(second, _bound_since(start, scope.names), condition))
        if first == NEXT and second == NEXT:
            scope.names = join_names(after, scope.names, condition)
            return NEXT
        if first != NEXT and second != NEXT:
            return first if first == second else _weaker(first, second)
        if first == NEXT:
            scope.names = after
        if CONTINUE in (first, second) or BREAK in (first, second):
            iteration = tuple(self.state.loops)
            self.state.skips[iteration] = self.state.skips.get(iteration, NO_LABELS) | labels
        if guard.of_setting:
            self._left_guard = guard if first == NEXT else other
            return "maybe:left"
        return NEXT

    def _with(self, node: ast.With | ast.AsyncWith, scope: Scope) -> str:
        return self._enter(node, 0, scope)

    def _enter(self, node: ast.With | ast.AsyncWith, number: int, scope: Scope) -> str:
        """The body inside the managers from this one on."""
        if number == len(node.items):
            return self.execute(node.body, scope)
        item = node.items[number]
        generator = self.generator_called(item.context_expr, scope)
        if generator is not None:
            outcomes: list[str] = []

            def take(value: Value) -> None:
                if not outcomes:
                    outcomes.append(NEXT)  # a manager yields once
                    if item.optional_vars is not None:
                        self.assign(item.optional_vars, value, scope)
                    outcomes[0] = self._enter(node, number + 1, scope)

            value = self.consume(item.context_expr, generator, take, scope)
            if outcomes:
                return outcomes[0]
        else:
            value = self.evaluate(item.context_expr, scope)
        grad = self.state.grad
        mode = _grad_mode(value)
        if mode is not None:
            self.state.grad = mode
        entered = value
        cls = value.cls if isinstance(value, Instance) and isinstance(value.cls, ClassV) else None
        enter = cls.find("__enter__") if cls is not None else None
        if isinstance(enter, Func):
            entered = self.call(enter.with_receiver(value), [], {}, node, scope)
        if isinstance(value, Seq) and value.kind == "generator" and value.items:
            entered = value.items[0]
        if item.optional_vars is not None:
            self.assign(item.optional_vars, entered, scope)
        outcome = self._enter(node, number + 1, scope)
        self.state.grad = grad
        leave = cls.find("__exit__") if cls is not None else None
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
            mark = self.fork(Guard(self.site(handler, scope), f"except {caught}", True, NO_LABELS, untold=True))
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

    def _delete(self, node: ast.Delete, scope: Scope) -> str:
        """Parts of a model that are taken out of it (`del layer._parameters["lora_A"]`, `del model.adapter`)."""
        for target in node.targets:
            part = target.value if isinstance(target, ast.Subscript | ast.Attribute) else None
            while isinstance(part, ast.Attribute) and part.attr in ("_parameters", "_modules", "_buffers"):
                part = part.value
            owner = self.evaluate(part, scope) if part is not None else NONE
            if isinstance(owner, Instance) and owner.is_module:
                self.emit("drop", self.site(node, scope), (owner,))
        return NEXT

    def _assert(self, node: ast.Assert, scope: Scope) -> str:
        self.evaluate(node.test, scope)
        return NEXT

    def _match(self, node: ast.Match, scope: Scope) -> str:
        """Constant patterns are decided where the subject is known; of all others each case may be the one."""
        subject = self.evaluate(node.subject, scope)
        site, labels = self.site(node, scope), labels_of(subject)
        before, outcomes = dict(scope.names), []
        after: list[dict[str, Value]] = []
        whole = False
        for case in node.cases:
            fits = self._fits(case.pattern, subject, scope)
            if case.guard is not None and fits is not False:
                truth = self.truth(self.evaluate(case.guard, scope))
                fits = False if truth is False else fits if truth else None
            if fits is False:
                continue
            text = f"match {source_text(node.subject)}"
            scope.names = dict(before)
            mark = self.fork(Guard(site, text, True, labels, untold=_is_untold(subject))) if not fits or after else None
            outcomes.append(self.execute(case.body, scope))
            if mark is not None:
                self.unfork(mark)
            if outcomes[-1] == NEXT:
                after.append(scope.names)
            whole = fits is True
            if whole:
                break
        if not whole:
            after.append(before)
        scope.names = after[0] if after else before
        for names in after[1:]:
            scope.names = join_names(scope.names, names)
        return outcomes[0] if outcomes and not after else NEXT

    def _fits(self, pattern: ast.pattern, subject: Value, scope: Scope) -> bool | None:
        """Whether a pattern fits, binding what it captures; `None` when that is not known."""
        if isinstance(pattern, ast.MatchAs):
            inner = self._fits(pattern.pattern, subject, scope) if pattern.pattern is not None else True
            if pattern.name is not None:
                scope.bind(pattern.name, subject)
            return inner
        if isinstance(pattern, ast.MatchOr):
            answers = {self._fits(one, subject, scope) for one in pattern.patterns}
            return True if True in answers else None if None in answers else False
        if isinstance(pattern, ast.MatchValue | ast.MatchSingleton):
            value = self.evaluate(pattern.value, scope).const if isinstance(pattern, ast.MatchValue) else pattern.value  # type: ignore[attr-defined]
            return subject.const == value if isinstance(subject, Data) and subject.known else None
        for one in ast.walk(pattern):
            name = getattr(one, "name", None) or getattr(one, "rest", None)
            if isinstance(name, str):
                scope.bind(name, self.data("element", (subject,), self.site(pattern, scope)))
        return None


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


_ABOUT_OBJECTS = frozenset(
    {"attr:ndim", "attr:shape", "attr:dtype", "attr:device", "attr:is_cuda", "attr:requires_grad", "attr:training", ".numel", ".dim", ".size",
     ".is_contiguous", ".is_floating_point", "call:builtins.isinstance", "call:builtins.hasattr", "call:builtins.len"}
)  # fmt: skip
"""What tells parameters and layers apart: the same in every run."""


def _is_untold(condition: Value) -> bool:
    """Whether a condition depends on what nobody states: a file that may be there, arguments, an attribute that was set unseen."""
    labels = labels_of(condition)
    pending: list[Value] = [condition]
    for _ in range(40):
        if not pending:
            break
        current = pending.pop()
        if isinstance(current, Native) and isinstance(current.receiver, Instance) and isinstance(current.receiver.cls, ClassV):
            return True
        if isinstance(current, Data):
            if current.op in _ABOUT_OBJECTS:
                return False
            pending += current.args
        elif isinstance(current, Choice):
            pending += current.alternatives
    return not labels


def _weaker(first: str, second: str) -> str:
    """How two paths that both leave end together: the one that stays in the function counts."""
    for outcome in (CONTINUE, BREAK, RETURN):
        if outcome in (first, second):
            return outcome
    return RAISE


def _bound_since(before: Mapping[str, Value], after: Mapping[str, Value]) -> dict[str, Value]:
    """The names that were bound to something else."""
    return {name: value for name, value in after.items() if before.get(name) is not value}


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
    ast.Delete: Statements._delete,  # type: ignore[dict-item]
    ast.Break: Statements._break,  # type: ignore[dict-item]
    ast.Continue: Statements._continue,  # type: ignore[dict-item]
    ast.Assert: Statements._assert,  # type: ignore[dict-item]
    ast.Match: Statements._match,  # type: ignore[dict-item]
}
