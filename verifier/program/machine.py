"""What all parts of the interpreter share: events, places, and changes of what models and arrays hold."""

from __future__ import annotations

import ast
import time
from collections.abc import Mapping, Sequence

from verifier.evidence import Location, Problem
from verifier.program.events import Branch, Event, Guard, LoopInfo
from verifier.program.scope import Scope
from verifier.program.state import Budget, OutOfBudget, State
from verifier.program.values import (
    KEPT_ITEMS,
    NO_LABELS,
    Choice,
    Data,
    Func,
    Instance,
    Label,
    Labels,
    Map,
    Seq,
    Site,
    Value,
    adopt,
    has_tokens,
    join,
    join_labels,
    joined,
    labels_of,
    own_parameters,
    united,
    walk_parts,
)

VIEWS = frozenset({"index", "element", ".view", ".reshape", ".flatten", ".t", ".squeeze", ".unsqueeze", ".transpose", ".permute",
                   ".view_as", ".data_ptr", "attr:data", "attr:T", ".detach", ".numpy", ".contiguous", ".expand", ".narrow"})  # fmt: skip
"""Results that share memory with their receiver: an in-place change of them changes it."""
MAX_EVENTS = 40_000
MAX_FRAMES = 40


class Machine:
    """Base of the interpreter. Its parts (expressions, statements, calls, library) are mixed in by `Interpreter`."""

    def __init__(self, config: Mapping[str, str], budget: Budget, witness: Mapping[Site, bool]) -> None:
        self.state = State(config, budget)
        self.witness = witness
        self.state.deadline = time.thread_time() + budget.seconds

    # What the parts offer each other.

    def evaluate(self, node: ast.expr, scope: Scope) -> Value:
        raise NotImplementedError

    def execute(self, body: Sequence[ast.stmt], scope: Scope) -> str:
        raise NotImplementedError

    def call(self, function: Value, args: Sequence[Value], names: Mapping[str, Value], node: ast.AST, scope: Scope) -> Value:
        raise NotImplementedError

    def run_function(self, function: Func, args: Sequence[Value], names: Mapping[str, Value], site: Site, scope: Scope) -> Value:
        raise NotImplementedError

    def environment(self, args: Sequence[Value], site: Site, required: bool = False) -> Value:
        raise NotImplementedError

    def step(self, targets: list[Value], site: Site, optimizer: Value) -> None:
        raise NotImplementedError

    def call_library(self, name: str, args: Sequence[Value], names: Mapping[str, Value], node: ast.AST, scope: Scope) -> Value:
        raise NotImplementedError

    def call_method(
        self, receiver: Value, name: str, args: Sequence[Value], names: Mapping[str, Value], node: ast.AST, scope: Scope
    ) -> Value:
        raise NotImplementedError

    def get_attribute(self, value: Value, name: str, site: Site, scope: Scope) -> Value:
        raise NotImplementedError

    def assign(self, target: ast.expr, value: Value, scope: Scope) -> None:
        raise NotImplementedError

    def iterate(self, value: Value, key: int, site: Site) -> tuple[list[Value], bool]:
        raise NotImplementedError

    def import_module(self, name: str, scope: Scope, node: ast.AST) -> Value:
        raise NotImplementedError

    def run_text(self, site: Site, scope: Scope) -> bool:
        raise NotImplementedError

    # Bookkeeping.

    def tick(self) -> None:
        state = self.state
        state.steps += 1
        if state.steps > state.budget.steps:
            raise OutOfBudget(f"more than {state.budget.steps:,} steps")
        if state.steps & 1023 == 0 and time.thread_time() > state.deadline:
            raise OutOfBudget(f"more than {state.budget.seconds:g} s")

    def site(self, node: ast.AST, scope: Scope) -> Site:
        return scope.module.site(getattr(node, "lineno", 0))

    def new_serial(self) -> int:
        self.state.serial += 1
        return self.state.serial

    def data(
        self,
        op: str,
        args: tuple[Value, ...],
        site: Site | None,
        labels: Labels | None = None,
        const: object = None,
        names: tuple[str, ...] = (),
    ) -> Data:
        """A new node; its labels are those of its arguments unless given."""
        node = Data(op, args, join_labels(args) if labels is None else labels, site, names=names)
        node.serial = self.new_serial()
        return node

    def problem(self, kind: str, site: Site, message: str) -> None:
        key = (kind, message)
        if key not in self.state.problems and len(self.state.problems) < 200:
            location = Location(site.path, site.line or None, layer=site.layer)
            self.state.problems[key] = Problem(location, kind, message)

    def emit(
        self,
        kind: str,
        site: Site,
        values: tuple[Value, ...] = (),
        labels: Labels | None = None,
        text: str = "",
        tokens: Labels = NO_LABELS,
    ) -> Event:
        state = self.state
        if len(state.events) >= MAX_EVENTS:
            raise OutOfBudget(f"more than {MAX_EVENTS:,} events")
        event = Event(
            kind,
            len(state.events),
            site,
            join_labels(values) if labels is None else labels,
            tokens,
            values,
            text,
            tuple(state.guards),
            tuple(state.loops),
            tuple(state.stack),
            state.grad,
            state.functions[-1] if state.functions else "",
            tuple(state.conditions),
        )
        state.events.append(event)
        state.labelled += len(event.labels) + len(event.tokens)
        if state.labelled > state.budget.labels:
            raise OutOfBudget(f"more than {state.budget.labels:,} dependencies of values")
        return event

    def note_branch(self, site: Site, text: str, outcome: bool | None) -> None:
        known = self.state.branches.get(site)
        if known is None:
            self.state.branches[site] = (text, [outcome])
        elif outcome not in known[1]:
            known[1].append(outcome)

    def finished_branches(self) -> dict[Site, Branch]:
        return {site: Branch(site, text, tuple(seen)) for site, (text, seen) in self.state.branches.items()}

    def loop_key(self, site: Site, text: str, count: int | None) -> int:
        path = (*self.state.stack, site)
        key = self.state.loop_keys.get(path)
        if key is None:
            key = self.state.loop_keys[path] = len(self.state.loop_keys) + 1
            self.state.loop_infos[key] = LoopInfo(site, text, count)
        return key

    # Changes of state.

    def root(self, value: Value) -> Value:
        """The object whose memory a view shares."""
        return self.views(value)[-1]

    def views(self, value: Value) -> list[Value]:
        """A view and the views it was made of, down to the object whose memory they share."""
        found = [value]
        while len(found) < 64 and type(value) is Data and value.op in VIEWS and value.args and value.owner is None:
            value = value.args[0]
            found.append(value)
        return found

    def set_field(self, instance: Instance, name: str, value: Value) -> None:
        """Bind an attribute; parts of models are linked to the whole."""
        if self.state.symbolic and any(label[0] == "param" for label in labels_of(value)):
            # A cache of what only this call needs is no state; a field that grows out of itself is.
            old = instance.fields.get(name)
            if old is not None and _grows_from(value, old):
                self.state.escapes += 1
        known = instance.fields.get(name)
        if known is not None and known is not value and self.state.guards and instance.serial < self.state.fork_serial:
            value = join(known, value)
        instance.fields[name] = value
        if instance.is_module:
            self._adopt(instance, value, 0)
            if type(value) is Func:
                self.state.summaries.clear()  # a method of this object is replaced

    def _adopt(self, instance: Instance, value: Value, depth: int) -> None:
        if type(value) is Instance:
            adopt(instance, value)
        elif type(value) is Data:
            if value.owner is None and value.op.startswith(("call:torch.", "call:copy.")) and depth == 0:
                value.owner = instance
        elif depth < 3:
            if type(value) is Seq:
                for item in value.items:
                    self._adopt(instance, item, depth + 1)
            elif type(value) is Map:
                for item in value.entries.values():
                    self._adopt(instance, item, depth + 1)
            elif type(value) is Choice:
                for item in value.alternatives:
                    self._adopt(instance, item, depth + 1)

    def mark(self, target: Value, labels: Labels) -> None:
        """Add labels to the state of whatever is changed in place."""
        *views, target = self.views(target)
        for view in views:  # names may hold the view
            if type(view) is Data and view.op != "const":
                view.labels = united(view.labels, labels)
        if type(target) is Data:
            for one in joined(target):
                if one.op == "const":
                    continue  # constants are shared and can't be changed
                one.labels = united(one.labels, labels)
                if one.owner is not None:
                    self._mark_instance(one.owner, labels)
        elif type(target) is Instance:
            self._mark_instance(target, labels)
        elif type(target) is Seq or type(target) is Map:
            target.extra = united(target.extra, labels)
        elif type(target) is Choice:
            for alternative in target.alternatives:
                self.mark(alternative, labels)

    def _mark_instance(self, instance: Instance, labels: Labels) -> None:
        def visit(one: Instance) -> None:
            if labels <= one.state:
                return
            one.state = united(one.state, labels)
            for parameter in own_parameters(one):
                parameter.labels = united(parameter.labels, labels)

        walk_parts(instance, visit)

    def replace_state(self, instance: Instance, labels: Labels) -> None:
        """Loading a state: what the parts depended on before is gone."""
        weak = bool(self.state.guards) and instance.serial < self.state.fork_serial
        kept = frozenset({("model", instance.top.serial)})

        def visit(one: Instance) -> None:
            one.state = self._unless_undone(one.state) | labels if weak else labels | kept
            for parameter in own_parameters(one):
                parameter.labels = self._unless_undone(parameter.labels) | labels if weak else labels | kept

        walk_parts(instance, visit)

    def _unless_undone(self, labels: Labels) -> Labels:
        """Labels without the updates that happened under a condition which implies the present one: whenever these were made, the
        state is loaded again here."""
        now = self.state.guards
        if not all(guard.taken for guard in now):
            return labels
        needed = {part for guard in now for part in _conjuncts(guard.text) if not part.endswith(" is not None")}

        def undone(label: Label) -> bool:
            if label[0] != "upd" or int(label[1]) >= len(self.state.events):
                return False
            guards = self.state.events[int(label[1])].guards
            return needed <= {part for guard in guards if guard.taken for part in _conjuncts(guard.text)}

        return frozenset(label for label in labels if not undone(label))

    def targets_of(self, value: Value, depth: int = 0) -> list[Value]:
        """The parameters, tensors and models inside an optimizer's argument."""
        if type(value) is Data:
            if value.op in ("parameters", ".parameters"):
                return [one for argument in value.args for one in self.targets_of(argument, depth + 1)]
            if value.owner is not None:
                return [value]
            if value.op in ("element", "index", "join", "ifexp") and depth < 8:
                found = [one for argument in value.args[:2] for one in self.targets_of(argument, depth + 1)]
                return found or [value]
            return [value] if value.op != "const" else []
        if type(value) is Instance:
            return [value]
        if depth < 6:
            if type(value) is Seq:
                return [one for item in value.items for one in self.targets_of(item, depth + 1)]
            if type(value) is Map:
                held = value.entries.get("params")
                items = [held] if held is not None else [*value.entries.values(), *value.rest]
                return [one for item in items for one in self.targets_of(item, depth + 1)]
            if type(value) is Choice:
                return [one for item in value.alternatives for one in self.targets_of(item, depth + 1)]
            if type(value) is Func and value.bound is not None:
                return self.targets_of(value.bound, depth + 1)
        return []

    def write(self, target: Value, key: Value | None, value: Value, site: Site) -> None:
        """An in-place change of a table, buffer, array or parameter."""
        root = self.root(target)
        labels = united(labels_of(value), labels_of(key) if key is not None else NO_LABELS)
        if self.state.symbolic and any(label[0] == "param" for label in labels) and _serial(root) < self.state.fork_serial:
            self.state.escapes += 1
        owner = root.owner if type(root) is Data else None
        learned = (owner is not None and owner.is_module) or (type(root) is Data and _is_learned(root))
        # Filling a buffer by position with tokens (a batch, a window) changes no state that learns from them.
        fills = key is not None and not has_tokens(labels_of(key)) and not any(label[0] == "score" for label in labels)
        if learned or (has_tokens(labels) and not fills):
            kind = "update" if learned else "write"
            values = (target, key, value) if key is not None else (target, value)
            event = self.emit(kind, site, values, labels, tokens=labels)
            labels |= {("upd", event.index)}
        if learned:
            # Weights that were changed along a loss are no score: what they learned from is in the event.
            self.mark(target, frozenset(one for one in labels if one[0] != "score"))
            return
        if has_tokens(labels):
            for view in self.views(target)[:-1]:
                self._fill_one(view, value, site)
            self.fill(root, value, labels, site)
        self.mark(target, labels)

    def fill(self, target: Value, value: Value, labels: Labels, site: Site) -> None:
        """Keep what is put into a place of an array as an edge of the graph, and mark the array."""
        if type(target) is Data:
            self._fill_one(target, value, site)
        elif isinstance(target, Seq | Choice):
            for one in (target.items if isinstance(target, Seq) else target.alternatives)[:8]:
                self.fill(one, value, labels, site)
        self.mark(target, labels)

    def _fill_one(self, target: Value, value: Value, site: Site) -> None:
        for one in joined(target) if type(target) is Data else ():
            if one.op != "const" and len(one.filled) < KEPT_ITEMS:
                one.filled += ((self.new_serial(), value, site),)

    def chosen_by(self, value: Value, serial: int) -> Labels:
        """The iterations by which a value was chosen to go into a container of this age: `if start < end_of_chunk: kept.append(start)`
        relates the value's own loop to that of the chunk."""
        state = self.state
        labels = state.skips.get(tuple(state.loops), NO_LABELS)
        if state.guards and serial < state.fork_serial:
            labels |= state.guards[-1].labels
        loops = frozenset(label for label in labels if label[0] == "loop")
        return loops if loops & labels_of(value) else NO_LABELS

    def fork(self, guard: Guard) -> tuple[int, int]:
        """Enter a path that may not be taken; `unfork` leaves it."""
        state = self.state
        mark = (len(state.guards), state.fork_serial)
        state.guards.append(guard)
        state.fork_serial = state.serial
        return mark

    def unfork(self, mark: tuple[int, int]) -> None:
        del self.state.guards[mark[0] :]
        self.state.fork_serial = mark[1]


def _conjuncts(text: str) -> list[str]:
    return [part.strip(" ()") for part in text.split(" and ")]


def _grows_from(value: Value, old: Value) -> bool:
    """Whether a value was computed from another one, a few steps back."""
    pending: list[tuple[Value, int]] = [(value, 0)]
    while pending:
        current, depth = pending.pop()
        if current is old:
            return not (type(old) is Data and old.op == "const")
        if depth < 5:
            if type(current) is Data:
                pending += [(argument, depth + 1) for argument in current.args[:6]]
            elif type(current) is Seq:
                pending += [(item, depth + 1) for item in current.items[:6]]
    return False


def _serial(value: Value) -> int:
    return value.serial if isinstance(value, Data | Seq | Map | Instance) else 0


def _is_learned(leaf: Data) -> bool:
    """Whether a tensor was made to be learned: a parameter outside of a model, `torch.zeros(n, requires_grad=True)`."""
    if leaf.op == "call:torch.nn.Parameter":
        return True
    wanted = leaf.argument("requires_grad") if leaf.op.startswith("call:torch.") else None
    return isinstance(wanted, Data) and wanted.const is True
