"""Methods of tensors, arrays, texts, files, modules and optimizers."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence

from verifier.program.library import NATIVE, Library
from verifier.program.operators import is_small
from verifier.program.paths import fragments, source_of
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
    Map,
    Names,
    Native,
    Seq,
    Site,
    Value,
    child_instances,
    constant,
    has_tokens,
    is_scored,
    join_labels,
    labels_of,
)

_POINTERS = frozenset({".data_as", ".data_ptr", "attr:ctypes", "attr:data", "call:ctypes.cast", "call:ctypes.byref", "call:ctypes.c_void_p",
                       "call:numpy.ascontiguousarray", ".astype", ".contiguous", "call:ctypes.POINTER"})  # fmt: skip
_BLANK = ("zeros", "empty", "full", "zeros_like", "empty_like", "full_like", "ones")
"""Calls that make an array which something else fills."""
_SIZES = frozenset(
    {
        "size",
        "numel",
        "dim",
        "nelement",
        "element_size",
        "is_contiguous",
        "stride",
        "storage_offset",
        "__len__",
        "ndimension",
        "data_ptr",
        "get_device",
    }
)
_SIZED = frozenset({"new_zeros", "new_empty", "new_ones", "new_full"})
_FRESH = frozenset({"zero_", "fill_", "normal_", "uniform_", "random_", "bernoulli_", "fill", "zero"})
_TEXT = frozenset({"lower", "upper", "strip", "split", "startswith", "endswith", "replace", "join", "rstrip", "lstrip", "isdigit", "rsplit", "splitlines", "title",
                   "removeprefix", "removesuffix", "zfill", "encode", "decode", "find", "count", "format", "partition", "rpartition", "casefold", "capitalize", "isspace"})  # fmt: skip
_READ_METHODS = frozenset({"read", "read_bytes", "read_text", "readline", "readlines", "readinto"})
_SELECTS = frozenset({"min", "max", "minimum", "maximum", "amin", "amax", "where", "topk", "argmin"})
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


class Methods(Library):
    """Calls of methods whose body is not in the program."""

    def call_method(
        self, receiver: Value, name: str, args: Sequence[Value], names: Mapping[str, Value], node: ast.AST, scope: Scope
    ) -> Value:
        site = self.site(node, scope) if getattr(node, "lineno", 0) else Site(scope.module.path, scope.module.layer, 0)
        if isinstance(receiver, Seq) and receiver.kind == "super":
            return self._super_call(receiver, name, args, names)
        if isinstance(receiver, Seq | Map):
            return self.container_method(receiver, name, args, names, site, scope)
        if isinstance(receiver, Instance):
            return self._instance_method(receiver, name, args, names, node, scope, site)
        if isinstance(receiver, ClassV):
            if name == "apply":
                forward = receiver.find("forward")
                if isinstance(forward, Func):
                    return self.call(forward, [self.new_instance(Lib("context")), *args], names, node, scope)
            return self.data("." + name, tuple(args), site)
        if isinstance(receiver, Data):
            return self._data_method(receiver, name, args, names, node, scope, site)
        if isinstance(receiver, Func) and name in ("remote", "apply", "delay", "__call__", "result"):
            return self.call(receiver, args, names, node, scope)
        return self.unknown_call("." + name, [receiver, *args], names, site, scope)

    def _super_call(self, value: Seq, name: str, args: Args, names: Names) -> Value:
        receiver = value.items[0]
        if name == "__init__" and isinstance(receiver, Instance) and receiver.is_optimizer:
            receiver.fields["params"] = args[0] if args else names.get("params", NONE)
        if name == "forward" and args:
            return self.data("super.forward", tuple(args), None)
        return NONE

    # Models and optimizers.

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

    def _data_method(self, receiver: Data, name: str, args: Args, names: Names, node: ast.AST, scope: Scope, site: Site) -> Value:
        if receiver.known and isinstance(receiver.const, str | bytes) and name in _TEXT:
            folded = _fold_text(receiver.const, name, args)
            if folded is not None:
                return folded if not isinstance(folded, Data) else Data("const", (), receiver.labels, site, folded.const)
        if name in _SIZES:
            return self.data(
                "." + name, (receiver, *args), site, frozenset(label for label in receiver.labels if label[0] in ("loop", "env"))
            )
        if name in _SIZED:
            return self.data("." + name, tuple(args), site)
        if name == "backward":
            self.backward(receiver, site)
            return NONE
        if name in ("step", "update", "unscale_") and args and isinstance(args[0], Instance) and args[0].is_optimizer:
            if name == "step":  # a gradient scaler
                self.step(self.targets_of(args[0].fields.get("params", NONE)), site, args[0])
            return NONE
        if name == "update" and args and isinstance(args[0], Instance) and args[0].is_module and len(args) > 1:
            self.backward(args[1], site)
            self.step([args[0]], site, receiver)
            return NONE
        if name == "step":
            held = [one for one in receiver.args if isinstance(one, Instance) and one.is_optimizer]
            for optimizer in held[:4] if receiver.op in ("element", "index", "join") else ():
                self.step(self.targets_of(optimizer.fields.get("params", NONE)), site, optimizer)
            return NONE
        if name == "gather" or name == "take_along_dim":
            return self.gathered("." + name, [receiver, *args], names, site)
        if (
            name
            in (
                "scatter_add_",
                "index_add_",
                "scatter_",
                "index_put_",
                "put_",
                "index_copy_",
                "masked_fill_",
                "masked_scatter_",
                "scatter_reduce_",
            )
            and args
        ):
            key = next((arg for arg in args if not (isinstance(arg, Data) and arg.known)), args[0])
            value = names.get("src", names.get("source", args[-1]))
            self.write(receiver, key, value, site)
            return receiver
        if name in ("copy_", "set_") and args:
            self.copy_into(receiver, args[0], site)
            return receiver
        if name in _FRESH:
            for cleared in _cleared(receiver, self.root(receiver)) if not self.state.guards else ():
                if isinstance(cleared, Seq):
                    cleared.extra = NO_LABELS
                else:
                    cleared.labels = join_labels(args) | frozenset(label for label in cleared.labels if label[0] == "model")
            return receiver
        if name in ("requires_grad_", "retain_grad", "share_memory_", "pin_memory"):
            return receiver
        if name in ("register_hook", "register_post_accumulate_grad_hook") and args:
            self.call(args[0], [self.data("attr:grad", (receiver,), site)], {}, node, scope)
            return receiver
        if name.endswith("_") and not name.endswith("__") and not receiver.known:
            if args or names:
                self.write(receiver, None, Seq("tuple", [*args, *names.values()]), site)
            return receiver
        if name in ("append", "add", "extend", "update", "insert", "put", "appendleft", "push") and not receiver.known and args:
            labels = join_labels(args)
            if has_tokens(labels):
                self.write(receiver, args[0] if len(args) > 1 else None, args[-1], site)
            else:
                self.mark(receiver, labels)
            return self.data("." + name, (receiver, *args), site) if name in ("add", "update") else NONE
        if name == "write" and args:
            return self._write_file(receiver, args, site)
        if name in _READ_METHODS:
            return self._read_file(receiver, name, args, site)
        if name in ("write_bytes", "write_text") and args:
            texts = fragments(receiver)
            self.emit("save", site, (args[0], receiver), labels_of(args[0]), " ".join(texts)[:300])
            self.state.disk["file:" + "|".join(texts)[:400]] = args[0]
            return NONE
        if name == "getvalue" or name == "getbuffer":
            return self.data("." + name, (receiver,), site)
        if name == "remove" and receiver.op in ("hook-handle", "element", "index") and self.state.hooks:
            self.state.hooks = []
            return NONE
        if name in ("info", "debug", "warning", "log") and args and receiver.op.startswith("call:logging"):
            self.report(args, site)
            return NONE
        if name in _SELECTS and any(label[0] == "score" for value in (receiver, *args) for label in labels_of(value)):
            self.emit("select", site, (receiver, *args), text="." + name)
        if name in ("start", "join", "wait") and receiver.op.startswith(
            ("call:multiprocessing", "call:threading", "call:torch.multiprocessing")
        ):
            target = receiver.argument("target")
            given = receiver.argument("args")
            if name == "start" and target is not None:
                return self.call(target, given.items if isinstance(given, Seq) else [], {}, node, scope)
            return NONE
        if name in ("submit", "apply_async") and args and isinstance(args[0], Func):
            return self.call(args[0], args[1:], names, node, scope)
        if name in ("map", "imap", "starmap") and len(args) > 1 and isinstance(args[0], Func):
            items, _ = self.iterate(args[1], self.loop_key(site, "map", None), site)
            return Seq("list", [self.call(args[0], [item], {}, node, scope) for item in items[:2]], False, self.new_serial())
        result = self.unknown_call("." + name, [receiver, *args], names, site, scope)
        if is_native(receiver):
            for array in map(pointed_array, args):
                if array is not None:
                    self.fill(array, result, result.labels, site)
        return result

    def _write_file(self, receiver: Data, args: Args, site: Site) -> Value:
        content = args[0]
        learned = any(label[0] in ("model", "saved", "src") for label in labels_of(content))
        binary = (
            any("b" in text and len(text) <= 4 for text in fragments(receiver)[1:])
            if receiver.op == "call:builtins.open"
            else False
        )
        if binary or (learned and not isinstance(content, Data)) or receiver.op == "call:io.BytesIO":
            texts = fragments(receiver)[:1]
            self.emit("save", site, (content, receiver), labels_of(content), " ".join(texts)[:300])
            self.state.disk["file:" + "|".join(texts)[:400]] = content
            if receiver.op == "call:io.BytesIO":
                receiver.labels |= labels_of(content) | {("saved",)}
        else:
            self.report(args, site)
        return NONE

    def _read_file(self, receiver: Data, name: str, args: Args, site: Site) -> Value:
        texts = fragments(receiver)
        path = texts[:1] if receiver.op == "call:builtins.open" else texts
        saved = self.state.disk.get("file:" + "|".join(path)[:400])
        labels = receiver.labels
        if saved is not None:
            labels |= labels_of(saved)
        elif not any(label[0] in ("src", "saved") for label in labels):
            kind = source_of(receiver)
            if kind is not None:
                labels |= {("src", kind)}
        self.emit("read", site, (receiver,), labels, " ".join(texts)[:300])
        if receiver.op == "call:builtins.open" and any("+" in text and len(text) <= 3 for text in texts[1:]):
            # A file that is open for update is a counter or a queue: it gives something else in each iteration.
            labels |= {("loop", *iteration) for iteration in self.state.loops}
        return Data("." + name, (receiver, *args), labels, site)


def _fold_text(text: str | bytes, name: str, args: Args) -> Value | None:
    """The result of a text method on constants, as a value; `None` when it is not known."""
    given: list[object] = []
    for arg in args:
        if isinstance(arg, Data) and arg.known:
            given.append(arg.const)
        elif isinstance(arg, Seq) and arg.exact and all(isinstance(item, Data) and item.known for item in arg.items):
            given.append(tuple(item.const for item in arg.items if isinstance(item, Data)))
        else:
            return None
    if len(text) > 4000 or (name == "format" and isinstance(text, str) and any(mark in text for mark in (":", ".", "[", "!"))):
        return None
    if name in ("zfill",) and given and isinstance(given[0], int) and given[0] > 4000:
        return None
    if name == "replace" and (len(given) < 2 or len(str(given[1])) > 100):
        return None
    try:
        result = getattr(text, name)(*given)
    except (TypeError, ValueError, LookupError, AttributeError, UnicodeError):
        return None
    if isinstance(result, list | tuple):
        return Seq("list" if isinstance(result, list) else "tuple", [constant(item) for item in result[:64]], len(result) <= 64)
    return constant(result) if is_small(result) else None


def _is_linear(instance: Instance) -> bool:
    kinds = instance.cls.kinds if isinstance(instance.cls, ClassV) else frozenset({instance.cls.name})
    return any("Linear" in kind for kind in kinds)


def _cleared(receiver: Data, root: Value) -> list[Data | Seq]:
    """What an in-place reset leaves empty: the tensor itself; for an element under a loop variable, all that the loop goes over."""
    if root is receiver:
        return [receiver] if receiver.op != "const" else []
    key = receiver.args[1] if receiver.op == "index" and len(receiver.args) > 1 else None
    if not isinstance(key, Data) or key.op != "loopvar" or receiver.args[0] is not root:
        return []
    held = [root, *root.items] if isinstance(root, Seq) else [root]
    return [receiver, *(one for one in held if isinstance(one, Seq) or (isinstance(one, Data) and one.op != "const"))]


def is_native(value: Value) -> bool:
    """Whether it is a library of machine code, or one of several that may be."""
    for _ in range(8):
        if isinstance(value, Data) and value.op in ("join", "ifexp", "index", "element") and value.args:
            value = value.args[-1]
    return isinstance(value, Data) and value.op.startswith("call:") and value.op[5:].startswith(NATIVE)


def pointed_array(value: Value) -> Data | None:
    """The array made for results that a pointer leads to; `None` for everything else that machine code is given."""
    for _ in range(12):
        if isinstance(value, Native):
            value = value.receiver
        elif isinstance(value, Data) and value.op in _POINTERS and value.args:
            value = value.args[0]
        else:
            break
    return value if isinstance(value, Data) and value.op.endswith(_BLANK) else None
