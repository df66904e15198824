"""Methods of models, executed once in symbols and then reused with the arguments and the state of each call."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import replace

from verifier.program.attributes import Attributes
from verifier.program.scope import Scope
from verifier.program.state import Summary
from verifier.program.values import (
    NO_LABELS,
    Choice,
    Data,
    Func,
    Instance,
    Label,
    Labels,
    Seq,
    Site,
    Value,
    has_tokens,
)


class Summaries(Attributes):
    """Makes and applies summaries."""

    def _summarises(self, function: Func, receiver: Value | None) -> bool:
        """Methods that compute a model's output, and whatever these call."""
        if isinstance(function.node, ast.Lambda):
            return False
        if isinstance(receiver, Instance):
            return receiver.is_module and (
                bool(self.state.symbolic) or function.name.startswith(("forward", "_forward", "encode", "embed"))
            )
        return bool(self.state.symbolic) and receiver is None and function.scope.parent is None

    def _summary(
        self, function: Func, receiver: Value | None, args: Sequence[Value], names: Mapping[str, Value], site: Site, scope: Scope
    ) -> Summary | None:
        state = self.state
        values = (*args, *names.values())
        signature = (
            id(function.node),
            id(receiver if receiver is not None else function.scope),
            tuple(_signature(value) for value in args),
            tuple((name, _signature(value)) for name, value in names.items()),
        )
        if signature in state.summaries:
            held = state.summaries[signature]
            if held is None or all(value.labels == known for value, known in held.captured):
                if held is not None:
                    state.captured.update((id(value), (value, known)) for value, known in held.captured)
                return held
        state.summaries[signature] = None  # while it is made, and if it can't be
        state.kept += values  # the signature names objects by identity
        serial = self.new_serial()
        leaves = [leaf for value in values for leaf in leaves_of(value)]
        labels: list[Label] = [("param", serial, number) for number in range(len(leaves))]
        symbols = {id(leaf): Data("param", (), frozenset({label}), site) for leaf, label in zip(leaves, labels, strict=True)}
        symbolic = [_replace_leaves(value, symbols) for value in args]
        named = {name: _replace_leaves(value, symbols) for name, value in names.items()}
        count, pending, fork = len(state.events), state.pending, state.fork_serial
        guards, loops, stack = state.guards, state.loops, state.stack
        escapes, state.escapes = state.escapes, 0
        outer, state.captured = state.captured, {}
        state.guards, state.loops, state.stack, state.pending = [], [], [], []
        state.fork_serial = serial
        grad, state.grad = state.grad, True
        state.symbolic.append(serial)
        try:
            result = self.run_function(function, symbolic, named, site, scope)
        finally:
            state.symbolic.pop()
            state.grad = grad
            state.guards, state.loops, state.stack, state.pending = guards, loops, stack, pending
            state.fork_serial = fork
            escaped, state.escapes = state.escapes, escapes
            captured = tuple(pair for pair in state.captured.values() if not _is_own(pair[1], serial))
            state.captured = outer | {id(value): (value, known) for value, known in captured}
        events = tuple(state.events[count:])
        del state.events[count:]
        if escaped or any(event.kind in ("backward", "update") for event in events):
            state.escapes += escaped
            return None
        state.summaries[signature] = Summary(result, events, tuple(labels), captured)
        return state.summaries[signature]

    def _apply(self, summary: Summary, function: Func, args: Sequence[Value], names: Mapping[str, Value], site: Site) -> Value:
        """The result and the events of a summarised method for these arguments and the model's present state."""
        state = self.state
        state.called.setdefault(qualified_name(function), site)
        values = (*args, *names.values())
        leaves = [leaf for value in values for leaf in leaves_of(value)]
        bindings = {label: leaf.labels for label, leaf in zip(summary.parameters, leaves, strict=False)}
        renamed: dict[int, int | None] = {event.index: None for event in summary.events}

        known: dict[Labels, Labels] = {}

        def substitute(labels: Labels) -> Labels:
            if labels in known:
                return known[labels]
            result: set[Label] = set()
            for label in labels:
                if label in bindings:
                    result |= bindings[label]
                elif label[0] in ("score", "upd") and label[1] in renamed:
                    index = renamed[int(label[1])]
                    if index is not None:
                        result.add((label[0], index))
                elif label[0] == "param" and label[1] not in state.symbolic:
                    continue  # left in a cache by another call
                elif label[0] == "state" and not state.symbolic:
                    result |= self._state_labels(int(label[1]))
                else:
                    result.add(label)
            known[labels] = made = frozenset(result)
            return made

        def concrete(value: Value) -> Value:
            if isinstance(value, Data) and not value.known:
                node = Data("summary:" + function.name, values, substitute(value.labels), site)
                node.inner = value
                node.serial = self.new_serial()
                return node
            if isinstance(value, Seq):
                copy = Seq(value.kind, [concrete(item) for item in value.items], value.exact, self.new_serial())
                copy.extra = substitute(value.extra)
                return copy
            if isinstance(value, Choice):
                return Choice(tuple(concrete(one) for one in value.alternatives))
            return value

        for event in summary.events:
            labels, tokens = substitute(event.labels), substitute(event.tokens)
            if event.kind in ("loss", "lookup", "write") and not has_tokens(labels | tokens):
                continue
            made = self.emit(event.kind, event.site, tuple(concrete(value) for value in event.values), labels, event.text, tokens)
            grad = event.grad and state.grad
            made = replace(
                made,
                guards=(*made.guards, *event.guards),
                loops=(*made.loops, *event.loops),
                stack=(*made.stack, site, *event.stack),
                grad=grad,
                function=event.function,
            )
            state.events[-1] = made
            renamed[event.index] = made.index
            known.clear()
        return concrete(summary.result)

    def _state_labels(self, serial: int) -> Labels:
        instance = self.instances.get(serial)
        return instance.state if instance is not None else NO_LABELS

    @property
    def instances(self) -> dict[int, Instance]:
        raise NotImplementedError


def _is_own(labels: Labels, serial: int) -> bool:
    """Whether something is computed from the arguments of the summary being made: it does not outlive it."""
    return any(label[0] == "param" and label[1] == serial for label in labels)


def qualified_name(function: Func) -> str:
    name = function.name
    if function.cls is not None:
        name = f"{function.cls.name}.{name}"
    return f"{function.scope.module.name}:{name}@{function.node.lineno}"


def _signature(value: Value) -> object:
    """What a summary depends on besides the content of its arguments: known constants, objects, the shape of tuples."""
    if isinstance(value, Data):
        if value.known and isinstance(value.const, str | int | float | bool | None):
            return ("const", type(value.const).__name__, value.const)
        return "data"
    if isinstance(value, Choice):
        return ("choice", *(_signature(one) for one in value.alternatives))
    if isinstance(value, Seq) and value.kind == "tuple" and value.exact:
        return ("tuple", *(_signature(item) for item in value.items))
    return id(value)


def leaves_of(value: Value) -> list[Data]:
    """The unknown data inside an argument, in order."""
    if isinstance(value, Data):
        return [] if value.known else [value]
    if isinstance(value, Choice):
        return [leaf for one in value.alternatives for leaf in leaves_of(one)]
    if isinstance(value, Seq) and value.kind == "tuple" and value.exact:
        return [leaf for item in value.items for leaf in leaves_of(item)]
    return []


def given_to(node: Data) -> list[Data]:
    """What a summarised call was given, in the order of the parameters in its `inner`."""
    return [leaf for argument in node.args for leaf in leaves_of(argument)]


def _replace_leaves(value: Value, symbols: Mapping[int, Data]) -> Value:
    if isinstance(value, Data):
        return symbols.get(id(value), value)
    if isinstance(value, Choice):
        return Choice(tuple(_replace_leaves(one, symbols) for one in value.alternatives))
    if isinstance(value, Seq) and value.kind == "tuple" and value.exact:
        return Seq("tuple", [_replace_leaves(item, symbols) for item in value.items], True)
    return value
