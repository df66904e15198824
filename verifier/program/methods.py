"""Methods of tensors, arrays, texts and files."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence

from verifier.program.library import NATIVE
from verifier.program.models import Models
from verifier.program.operators import is_small
from verifier.program.paths import fragments, source_of
from verifier.program.scope import Scope
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
    constant,
    has_tokens,
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


class Methods(Models):
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
                    cleared.filled = ()
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
