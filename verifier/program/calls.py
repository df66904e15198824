"""Calls of functions, methods and classes of the program; a model's methods are executed once in symbols and reused."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import replace

from verifier.program.events import Guard
from verifier.program.machine import MAX_FRAMES
from verifier.program.scope import Scope
from verifier.program.statements import grad_decorators
from verifier.program.summaries import Summaries, qualified_name
from verifier.program.values import (
    NO_LABELS,
    NONE,
    Choice,
    ClassV,
    Data,
    Func,
    Instance,
    Lib,
    Map,
    Native,
    Seq,
    Site,
    Value,
    constant,
    join,
    join_labels,
    join_parts,
)

SAME_FUNCTION = 2
"""How often a function may be on the stack (recursion)."""


class Calls(Summaries):
    """Calls whatever can be called."""

    def call(self, function: Value, args: Sequence[Value], names: Mapping[str, Value], node: ast.AST, scope: Scope) -> Value:
        if isinstance(function, Func):
            return self.call_function(function, args, names, node, scope)
        if isinstance(function, Lib):
            return self.call_library(function.name, args, names, node, scope)
        if isinstance(function, Native):
            given = {**function.names, **names}
            if isinstance(function.receiver, Lib) and not function.name:
                return self.call_library(function.receiver.name, [*function.partial, *args], given, node, scope)
            return self.call_method(function.receiver, function.name, [*function.partial, *args], given, node, scope)
        if isinstance(function, ClassV):
            return self.instantiate(function, args, names, node, scope)
        if isinstance(function, Instance):
            return self._call_instance(function, args, names, node, scope)
        if isinstance(function, Choice):
            result: Value | None = None
            for one in function.alternatives:
                if isinstance(one, Data) and one.known:
                    continue
                value = self.call(one, args, names, node, scope)
                result = value if result is None else join(result, value)
            return result if result is not None else NONE
        site = self.site(node, scope) if getattr(node, "lineno", 0) else Site(scope.module.path, scope.module.layer, 0)
        if isinstance(function, Data) and function.op == "computed-attribute":
            self.emit("opaque", site, (function,), text="calls an attribute whose name is computed")
        return self.unknown_call(f"call:{getattr(function, 'op', '?')}", [function, *args], names, site, scope)

    def unknown_call(self, op: str, args: Sequence[Value], names: Mapping[str, Value], site: Site, scope: Scope) -> Data:
        """The result of something whose body is not known: it depends on all arguments. Functions of the program among them
        are taken to be called."""
        values = (*args, *names.values())
        for value in values:
            if isinstance(value, Func) and len(self.state.stack) < MAX_FRAMES // 2:
                others = [one for one in values if not isinstance(one, Func)]
                self.call(value, [self.data("unknown", tuple(others), site)] * _required(value), {}, ast.Pass(), scope)
        return self.data(op, values, site, names=tuple(names))

    def _call_instance(
        self, instance: Instance, args: Sequence[Value], names: Mapping[str, Value], node: ast.AST, scope: Scope
    ) -> Value:
        method = instance.cls.find("__call__") if isinstance(instance.cls, ClassV) else None
        if isinstance(method, Func):
            return self.call(method.with_receiver(instance), args, names, node, scope)
        replaced = instance.fields.get("forward")
        forward = instance.cls.find("forward") if isinstance(instance.cls, ClassV) else None
        site = self.site(node, scope)
        if isinstance(replaced, Func | Choice):
            result = self.call(replaced, args, names, node, scope)
        elif isinstance(forward, Func):
            result = self.call(forward.with_receiver(instance), args, names, node, scope)
        elif isinstance(instance.cls, Lib):
            result = self.call_library_instance(instance, args, names, node, scope)
        else:
            result = self.data("call:instance", (instance, *args, *names.values()), site)
        if self.state.hooks and not self.state.symbolic:
            self._run_hooks(instance, args, result, node, scope)
        return result

    def call_library_instance(
        self, instance: Instance, args: Sequence[Value], names: Mapping[str, Value], node: ast.AST, scope: Scope
    ) -> Value:
        raise NotImplementedError

    def _run_hooks(self, instance: Instance, args: Sequence[Value], result: Value, node: ast.AST, scope: Scope) -> None:
        """Forward hooks of the parts see what flows through the model."""
        hooks, self.state.hooks = self.state.hooks, []
        flow = self.data("hooked", (*args, result), self.site(node, scope))
        # Activations of the parts are not yet scores, whatever the whole returns.
        flow.labels = frozenset(label for label in flow.labels if label[0] != "score")
        seen: set[int] = set()
        for hooked, hook in hooks:
            kind = id(hook.node) if isinstance(hook, Func) else id(hook)
            if hooked.top is instance.top and kind not in seen:
                seen.add(kind)
                inputs = Seq("tuple", (flow,), True, self.new_serial())
                self.call(hook, [hooked, inputs, flow], {}, node, scope)
        self.state.hooks = hooks

    def call_function(
        self, function: Func, args: Sequence[Value], names: Mapping[str, Value], node: ast.AST, scope: Scope
    ) -> Value:
        state = self.state
        self.tick()
        given = [*function.partial, *args]
        named = {**function.partial_names, **names} if function.partial_names else names
        site = self.site(node, scope) if getattr(node, "lineno", 0) else function.scope.module.site(function.node.lineno)
        depth = sum(1 for name in state.functions if name == qualified_name(function))
        if len(state.stack) >= MAX_FRAMES or depth >= SAME_FUNCTION:
            kind = "recursion" if depth >= SAME_FUNCTION else "call-depth"
            self.problem(kind, site, f"calls of {function.name} are not followed to their end")
            return self.data("recursion", (*given, *named.values()), site)
        if "triton.jit" in function.decorators or "triton.autotune" in function.decorators:
            return self.launch_kernel(function, given, named, site)
        receiver = function.bound
        if self._summarises(function, receiver):
            summary = self._summary(function, receiver, given, named, site, scope)
            if summary is not None:
                result = self._apply(summary, function, given, named, site)
                if state.hooks and not state.symbolic and function.name != "forward" and isinstance(receiver, Instance):
                    self._run_hooks(receiver, given, result, node, scope)
                return result
        count = len(state.events)
        result = self.run_function(function, given, named, site, scope)
        by_hand = function.name == "step" and isinstance(receiver, Instance) and receiver.is_optimizer
        if by_hand and not any(event.kind == "update" for event in state.events[count:]):
            # Its changes were not seen as such: it is still a step on what it was given.
            assert isinstance(receiver, Instance)
            self.step(self.targets_of(receiver.fields.get("params", NONE)), site, receiver)
        return result

    def launch_kernel(self, function: Func, args: Sequence[Value], names: Mapping[str, Value], site: Site) -> Value:
        """A GPU kernel writes to buffers among its arguments: each then depends on all of them."""
        labels = join_labels((*args, *names.values()))
        for value in (*args, *names.values()):
            if (
                isinstance(value, Data)
                and not value.known
                and value.owner is None
                and value.op.startswith(("call:torch.empty", "call:torch.zeros"))
            ):
                self.mark(value, labels)
        return NONE

    def run_function(self, function: Func, args: Sequence[Value], names: Mapping[str, Value], site: Site, scope: Scope) -> Value:
        state = self.state
        qualified = qualified_name(function)
        state.called.setdefault(qualified, site)
        inner = Scope(function.scope.module, function.scope)
        self._bind(function, args, names, inner, site)
        if state.consumer is not None and state.consumer[0] is function.node:
            inner.consumer, state.consumer = state.consumer[1], None
        grad = state.grad
        mode = grad_decorators(function.decorators) if function.decorators else None
        if mode is not None:
            state.grad = mode
        state.stack.append(site)
        state.functions.append(qualified)
        guards, fork = len(state.guards), state.fork_serial
        try:
            if isinstance(function.node, ast.Lambda):
                return self.evaluate(function.node.body, inner)
            self.execute(function.node.body, inner)
        finally:
            state.stack.pop()
            state.functions.pop()
            state.grad = grad
            del state.guards[guards:]
            state.fork_serial = fork
        if inner.yielded is not None:
            self._leave_open(inner.yielded, site)
        if inner.yields:
            return Seq("generator", inner.yields, False, self.new_serial())
        if not inner.returns:
            return constant(None, site)
        result = inner.returns[0]
        for value in inner.returns[1:]:
            result = join_parts(result, value, site)
        return result

    def _leave_open(self, first: int, site: Site) -> None:
        """What a generator does after it has yielded happens between what its reader does: in which order was not followed."""
        guard = Guard(site, "when the generator goes on", True, NO_LABELS, untold=True)
        for number, event in enumerate(self.state.events[first:], first):
            if event.kind in ("update", "loss", "load-state", "write"):
                self.state.events[number] = replace(event, guards=(*event.guards, guard))
                if event.kind in ("update", "load-state"):
                    self.problem("generator-order", event.site, "a generator changes state in between what its reader does")

    def _bind(self, function: Func, args: Sequence[Value], names: Mapping[str, Value], inner: Scope, site: Site) -> None:
        parameters = function.node.args
        positional = [*parameters.posonlyargs, *parameters.args]
        given = [function.bound, *args] if function.bound is not None else list(args)
        if function.cls is not None:
            inner.names["__class__"] = function.cls
            if given and given[0] is not None:
                inner.names["__first__"] = given[0]
        inner.names |= function.defaults
        for parameter, value in zip(positional, given, strict=False):
            if value is not None:
                inner.names[parameter.arg] = value
        accepted = {parameter.arg for parameter in (*positional, *parameters.kwonlyargs)}
        extra = Map(self.new_serial())
        for name, value in names.items():
            if name in accepted:
                inner.names[name] = value
            else:
                extra.entries[name] = value
        if parameters.vararg is not None:
            rest = [value for value in given[len(positional) :] if value is not None]
            inner.names[parameters.vararg.arg] = Seq("tuple", rest, True, self.new_serial())
        if parameters.kwarg is not None:
            inner.names[parameters.kwarg.arg] = extra
        for parameter in (*positional, *parameters.kwonlyargs):
            if parameter.arg not in inner.names:
                # A starred argument may have filled it.
                inner.names[parameter.arg] = self.data("unknown", tuple(value for value in given if value is not None), site)

    # Summaries.

    # Classes.

    def instantiate(self, cls: ClassV, args: Sequence[Value], names: Mapping[str, Value], node: ast.AST, scope: Scope) -> Value:
        if any(kind.startswith("enum.") for kind in cls.kinds):
            return args[0] if args else NONE
        instance = self.new_instance(cls)
        initializer = cls.find("__init__")
        if cls.dataclass and not isinstance(initializer, Func):
            fields = _annotated_fields(cls)
            for name in fields:
                default = cls.find(name)
                if default is not None:
                    instance.fields[name] = self._field_default(default, node, scope)
            for name, value in zip(fields, args, strict=False):
                instance.fields[name] = value
            instance.fields |= names
            after = cls.find("__post_init__")
            if isinstance(after, Func):
                self.call(after.with_receiver(instance), [], {}, node, scope)
            return instance
        if isinstance(initializer, Func):
            self.call_function(initializer.with_receiver(instance), args, names, node, scope)
        elif cls.is_optimizer and args:
            instance.fields["params"] = args[0]
        else:
            for number, value in enumerate(args):
                instance.fields[f"argument{number}"] = value
            for name, value in names.items():
                instance.fields[name] = value
        return instance

    def _field_default(self, default: Value, node: ast.AST, scope: Scope) -> Value:
        if isinstance(default, Data) and default.op == "call:dataclasses.field":
            factory = default.argument("default_factory")
            if factory is not None:
                return self.call(factory, [], {}, node, scope)
            return default.argument("default") or default
        return default

    def new_instance(self, cls: ClassV | Lib) -> Instance:
        instance = Instance(cls, self.new_serial())
        if instance.is_module:
            instance.state = frozenset({("model", instance.serial)})
        self.instances[instance.serial] = instance
        return instance

    # Attributes.


def _required(function: Func) -> int:
    parameters = function.node.args
    return len(parameters.posonlyargs) + len(parameters.args) - (1 if function.bound is not None else 0) - len(function.partial)


def _annotated_fields(cls: ClassV) -> list[str]:
    names: list[str] = []
    for base in cls.bases:
        names += _annotated_fields(base)
    for statement in cls.node.body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.target.id not in names:
            names.append(statement.target.id)
    return names
