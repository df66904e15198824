"""Methods of models, optimizers and other objects of the program and of libraries."""

from __future__ import annotations

import ast

from verifier.program.library import Library
from verifier.program.scope import Scope, scope_of
from verifier.program.values import (
    NO_LABELS,
    NONE,
    Args,
    ClassV,
    Data,
    Func,
    Instance,
    Lib,
    Names,
    Seq,
    Site,
    Value,
    child_instances,
    constant,
    is_scored,
    labels_of,
)

_MODULE_SAME = frozenset(
    {
        "to",
        "cuda",
        "cpu",
        "float",
        "half",
        "bfloat16",
        "double",
        "eval",
        "train",
        "requires_grad_",
        "type",
        "share_memory",
        "compile",
        "no_sync",
    }
)


class Models(Library):
    """Calls methods of objects."""

    def _instance_method(
        self, instance: Instance, name: str, args: Args, names: Names, node: ast.AST, scope: Scope, site: Site
    ) -> Value:
        if instance.is_optimizer or (name in ("step", "zero_grad") and "params" in instance.fields):
            return self._optimizer_method(instance, name, args, names, node, scope, site)
        if instance.is_module:
            found = self._module_method(instance, name, args, names, node, scope, site)
            if found is not None:
                return found
        if isinstance(instance.cls, Lib) and instance.cls.name == "argparse.ArgumentParser":
            return self._argument(instance, name, args, names, site)
        if name == "submit" and args and isinstance(args[0], Func):
            return self.call(args[0], args[1:], names, node, scope)
        body = instance.cls.find("run") if name == "start" and isinstance(instance.cls, ClassV) else None
        if isinstance(body, Func) and any(kind.endswith((".Thread", ".Process")) for kind in instance.cls.kinds):  # type: ignore[union-attr]
            return self.call(body.with_receiver(instance), [], {}, node, scope)
        return self.unknown_call("." + name, [instance, *args], names, site, scope)

    def _optimizer_method(
        self, instance: Instance, name: str, args: Args, names: Names, node: ast.AST, scope: Scope, site: Site
    ) -> Value:
        if name == "step":
            for value in (*args, *names.values()):
                if isinstance(value, Func):
                    self.call(value, [], {}, node, scope)
            targets = self.targets_of(instance.fields.get("params", NONE))
            self.step(targets, site, instance)
            return NONE
        if name == "zero_grad":
            self.state.pending = []
            return NONE
        if name == "add_param_group" and args:
            held = instance.fields.get("params", NONE)
            instance.fields["params"] = Seq("list", [held, args[0]], True, self.new_serial())
            return NONE
        if name == "load_state_dict":
            return NONE
        return self.data("." + name, (*args,), site)

    def _module_method(
        self, instance: Instance, name: str, args: Args, names: Names, node: ast.AST, scope: Scope, site: Site
    ) -> Value | None:
        if name in _MODULE_SAME:
            return instance
        if name in ("parameters", "buffers"):
            return Seq("generator", [self._parameter(instance, site)], False, self.new_serial())
        if name in ("named_parameters", "named_buffers"):
            pair = Seq("tuple", [Data("unknown", (), NO_LABELS, site), self._parameter(instance, site)], True)
            return Seq("generator", [pair], False, self.new_serial())
        if name in ("modules", "children", "named_modules", "named_children"):
            parts = [instance, *self._descendants(instance)] if "modules" in name else child_instances(instance)
            # One of every class, layers with weights first: a loop that filters by class then finds what it looks for.
            kinds: dict[object, Instance] = {}
            for part in parts:
                kinds.setdefault(part.cls.name if isinstance(part.cls, Lib) else id(part.cls), part)
            chosen = sorted(kinds.values(), key=lambda part: not _is_linear(part))[:6]
            items: list[Value] = list(chosen)
            if name.startswith("named"):
                items = [Seq("tuple", [Data("unknown", (), NO_LABELS, site), item], True) for item in items]
            return Seq("generator", items, True, self.new_serial())
        if name in ("state_dict",):
            return self.data(".state_dict", (instance,), site, instance.state)
        if name == "load_state_dict":
            loaded = args[0] if args else names.get("state_dict", NONE)
            labels = labels_of(loaded)
            self.emit("load-state", site, (instance, loaded), labels)
            if is_scored(loaded) and ("src", "val") in labels:  # `{name: weight - rate * gradient}`
                event = self.emit("update", site, (instance, loaded), labels, tokens=labels)
                labels = frozenset(one for one in labels if one[0] != "score") | {("upd", event.index)}
            self.replace_state(instance, labels)
            return NONE
        if name in ("register_buffer", "register_parameter", "add_module", "register_module") and len(args) > 1:
            if isinstance(args[0], Data) and isinstance(args[0].const, str):
                self.set_field(instance, args[0].const, args[1])
                if isinstance(args[1], Data) and args[1].owner is None and not args[1].known:
                    args[1].owner = instance
            return NONE
        if name in ("register_forward_hook", "register_forward_pre_hook", "register_full_backward_hook") and args:
            self.state.hooks.append((instance, args[0]))
            return self.data("hook-handle", (instance,), site, NO_LABELS)
        if name == "apply" and args:
            for part in (instance, *self._descendants(instance)[:4]):
                self.call(args[0], [part], {}, node, scope)
            return instance
        if name == "get_parameter" or name == "get_buffer":
            return self._parameter(instance, site)
        if name in ("append", "extend", "insert") and args:
            self.set_field(instance, str(len(instance.fields)), args[-1])
            return NONE
        if name == "zero_grad":
            self.state.pending = []
            return NONE
        if name == "forward" and isinstance(instance.cls, Lib):
            return self.call_library_instance(instance, args, names, node, scope)
        return None

    def _parameter(self, instance: Instance, site: Site) -> Data:
        parameter = Data("parameters", (instance,), instance.state, site)
        parameter.owner = instance
        parameter.serial = instance.serial
        return parameter

    def _descendants(self, instance: Instance) -> list[Instance]:
        found: list[Instance] = []
        pending = child_instances(instance)
        while pending and len(found) < 200:
            current = pending.pop(0)
            if current not in found:
                found.append(current)
                pending += child_instances(current)
        return found

    def _argument(self, parser: Instance, name: str, args: Args, names: Names, site: Site) -> Value:
        if name in ("add_argument_group", "add_mutually_exclusive_group"):
            return parser
        if name == "add_argument" and args:
            flags = [arg.const for arg in args if isinstance(arg, Data) and isinstance(arg.const, str)]
            flag = next((flag for flag in flags if flag.startswith("--")), flags[0] if flags else "")
            target = names.get("dest")
            key = (
                target.const if isinstance(target, Data) and isinstance(target.const, str) else flag.lstrip("-").replace("-", "_")
            )
            action = names.get("action")
            default: Value = names.get("default", NONE)
            if isinstance(action, Data) and "default" not in names:
                default = (
                    constant(False, site)
                    if action.const == "store_true"
                    else constant(True, site)
                    if action.const == "store_false"
                    else NONE
                )
            given = self.state.config.get("--" + flag.lstrip("-"))
            if given is not None:
                default = self._given_argument(given, names, site)
            parser.fields[str(key)] = default
            return NONE
        if name in ("parse_args", "parse_known_args"):
            namespace = self.new_instance(Lib("argparse.Namespace"))
            namespace.fields |= parser.fields
            if name == "parse_known_args":
                return Seq("tuple", (namespace, Seq("list")), True)
            return namespace
        if name == "set_defaults":
            parser.fields |= names
        return NONE

    def _given_argument(self, given: str, names: Names, site: Site) -> Value:
        action = names.get("action")
        if isinstance(action, Data) and action.const in ("store_true", "store_false"):
            return constant(action.const == "store_true", site)
        kind = names.get("type")
        text = constant(given, site)
        if isinstance(kind, Lib) and kind.name in ("builtins.int", "builtins.float", "builtins.bool"):
            return self.call_library(kind.name, [text], {}, ast.Pass(), scope_of(site))
        return text

    # Tensors, arrays, texts, files.


def _is_linear(instance: Instance) -> bool:
    kinds = instance.cls.kinds if isinstance(instance.cls, ClassV) else frozenset({instance.cls.name})
    return any("Linear" in kind for kind in kinds)
