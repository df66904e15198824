"""New names for everything that the program names itself, the same one everywhere."""

from __future__ import annotations

import ast
import builtins
import io
import re
from collections import Counter
from collections.abc import Iterator
from random import Random

from tests.program.mutators.scopes import FUNCTIONS, Fresh, Keep, arguments_of, bindings

MISLEADING = (
    "causal_chunk",
    "train_tokens",
    "normalized",
    "score_first",
    "ngram_table",
    "legal",
    "warmup",
    "byte_count",
    "val_data",
)
TORCH_ATTRIBUTES = set(
    re.findall(
        r"\w+",
        """
    weight bias data grad grad_fn shape device dtype size numel view reshape item float half bfloat16 long int bool to cpu
    cuda train eval training forward backward step zero_grad state state_dict load_state_dict parameters named_parameters
    modules named_modules children buffers param_groups defaults requires_grad requires_grad_ detach clone sum mean max
    min exp log softmax log_softmax argmax gather scatter_ scatter_add_ copy_ fill_ zero_ add_ mul_ normal_ uniform_
    unsqueeze squeeze transpose permute flatten expand contiguous type T mT norm std var abs sqrt rsqrt clamp tolist numpy
    register_buffer register_parameter apply in_features out_features num_embeddings embedding_dim eps gain name fn args
    kwargs value values key keys index count start stop group groups loss logits input output target rank wait event
    stream pool shutdown submit result done close group_name dim
    """,
    )
)
LIBRARY_ATTRIBUTES = TORCH_ATTRIBUTES.union(
    *(
        dir(kind)
        for kind in (str, bytes, list, dict, set, int, float, tuple, type, Exception, io.TextIOWrapper, io.BytesIO, re.Match)
    )
)
DYNAMIC = frozenset({"globals", "locals", "vars", "eval", "exec", "__import__", "dir"})


def rename(tree: ast.Module, rng: Random, keep: Keep) -> int:
    """Functions, classes, arguments (with the keywords of calls), locals, import aliases, attributes of own classes."""
    program = _Names(tree, keep)
    names, attributes = program.renamable_names(), program.renamable_attributes()
    names = {name for name in names if name not in program.class_bound or name in attributes}
    attributes = {name for name in attributes if name not in program.bound or name in names}
    fresh = Fresh(tree, rng)
    mislead = rng.random() < 0.5
    new = {name: fresh.name(f"{rng.choice(MISLEADING)}_" if mislead else "q") for name in sorted(names | attributes)}
    keywords = [(call, keyword) for call in program.own_calls for keyword in call.keywords if keyword.arg in names]
    for _, keyword in keywords:
        keyword.arg = new[keyword.arg or ""]
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(attr=attribute) if attribute in attributes:
                node.attr = new[attribute]
            case ast.Import() | ast.ImportFrom():
                _rename_imports(node, names, new)
            case ast.Global(names=declared) | ast.Nonlocal(names=declared):
                node.names = [new.get(name, name) if name in names else name for name in declared]
            case _:
                for slot in ("id", "arg", "name", "rest"):
                    old = getattr(node, slot, None)
                    if isinstance(old, str) and old in names and not isinstance(node, ast.keyword | ast.alias):
                        setattr(node, slot, new[old])
    return len(new)


def _rename_imports(node: ast.Import | ast.ImportFrom, names: set[str], new: dict[str, str]) -> None:
    for alias in node.names:
        bound = alias.asname or alias.name
        if bound in names:
            alias.asname = new[bound]


class _Names:
    """What is bound where, and which names something else than an identifier may refer to."""

    def __init__(self, tree: ast.Module, keep: Keep) -> None:
        nodes = list(ast.walk(tree))
        self.keep = keep
        self.bound = Counter(name for node in nodes for name in bindings(node))
        self.strings = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
        self.words = {word for text in self.strings for word in re.findall(r"[A-Za-z_]\w*", text[:20_000])}
        self.imported = {name for node in nodes if isinstance(node, ast.Import | ast.ImportFrom) for name in bindings(node)}
        self.functions = {node.name: node for node in nodes if isinstance(node, FUNCTIONS)}
        self.classes = {node.name: node for node in nodes if isinstance(node, ast.ClassDef)}
        self.class_bound = {name for owner in self.classes.values() for child in owner.body for name in _bound_by(child)}
        self.dynamic = any(isinstance(node, ast.Name) and node.id in DYNAMIC for node in nodes)
        self.nodes = nodes
        self.own_calls: list[ast.Call] = []
        self.fixed = set(self._fixed_keywords()) | set(self._fixed_elsewhere())

    def renamable_names(self) -> set[str]:
        taken = set(dir(builtins)) | self.keep | self.fixed
        if self.dynamic:
            taken |= self.words
        return {name for name in self.bound if name not in taken and not name.startswith("__")}

    def renamable_attributes(self) -> set[str]:
        """Attributes of own classes that are never reached by a string, on a library's object or as an override."""
        if self.dynamic or any(self._reflects(node) for node in self.nodes):
            return set()
        own: set[str] = set()
        inherited: set[str] = set()
        for owner in self.classes.values():
            outside = self._from_outside(owner)
            (inherited if outside or owner.decorator_list else own).update(n for child in owner.body for n in _bound_by(child))
            stored = set(_stored_on_self(owner))
            own |= {name for name in stored if not outside or not self._in_some_string(name)}
            inherited |= {name for name in stored if outside and self._in_some_string(name)}
        library = {name for node in self.nodes if isinstance(node, ast.Attribute) for name in self._library_chain(node)}
        patterns = {name for node in self.nodes if isinstance(node, ast.MatchClass) for name in node.kwd_attrs}
        taken = inherited | library | patterns | LIBRARY_ATTRIBUTES | self.strings | self.keep | self.fixed | set(dir(builtins))
        return {name for name in own if name not in taken and not name.startswith("__")}

    def _in_some_string(self, name: str) -> bool:
        """A module's attribute is part of the names of its parameters, which programs filter by text."""
        return any(len(word) > 2 and (word in name or name in word) for word in self.words)

    def _from_outside(self, owner: ast.ClassDef) -> bool:
        bases = [base.id if isinstance(base, ast.Name) else "" for base in owner.bases]
        known = [self.classes[base] for base in bases if base in self.classes and self.classes[base] is not owner]
        others = [base for base in bases if base not in self.classes and base != "object"]
        return bool(others or owner.keywords) or any(self._from_outside(base) for base in known)

    def _library_chain(self, node: ast.Attribute) -> Iterator[str]:
        names, root = [node.attr], node.value
        while isinstance(root, ast.Attribute):
            names.append(root.attr)
            root = root.value
        if isinstance(root, ast.Name) and root.id in self.imported:
            yield from names

    def _reflects(self, node: ast.AST) -> bool:
        """Attributes reached by computed names."""
        match node:
            case ast.Attribute(attr="__dict__" | "_asdict" | "asdict" | "__slots__" | "fields"):
                return True
            case ast.Call(func=ast.Name(id="getattr" | "setattr" | "hasattr" | "delattr"), args=[_, ast.Constant(), *_]):
                return False
            case ast.Call(func=ast.Name(id="getattr" | "setattr" | "hasattr" | "delattr")):
                return True
            case ast.Name(id="asdict" | "fields" | "attrgetter"):
                return True
            case _:
                return False

    def _fixed_elsewhere(self) -> Iterator[str]:
        """Names that the language or a dotted import gives a meaning by themselves."""
        for node in self.nodes:
            if isinstance(node, ast.Import):
                yield from (alias.name.split(".")[0] for alias in node.names if not alias.asname and "." in alias.name)
            elif isinstance(node, ast.ImportFrom) and node.module == "__future__":
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.TypeVar | ast.ParamSpec | ast.TypeVarTuple):
                yield node.name
            else:
                quoted = getattr(node, "annotation", None) or getattr(node, "returns", None)
                if quoted is not None:
                    yield from re.findall(r"[A-Za-z_]\w*", " ".join(_strings_in(quoted)))

    def _fixed_keywords(self) -> Iterator[str]:
        """Keywords of calls whose callee is not certainly ours or certainly a library's. Fills `own_calls`."""
        for node in self.nodes:
            if not isinstance(node, ast.Call):
                continue
            if any(keyword.arg is None for keyword in node.keywords):
                yield from self.words  # the keys of a dict become arguments
            parameters = self._own_parameters(node.func)
            if parameters is not None:
                self.own_calls.append(node)
                yield from (keyword.arg for keyword in node.keywords if keyword.arg and keyword.arg not in parameters)
            elif not self._is_library(node.func) or self._hands_over(node):
                yield from (keyword.arg for keyword in node.keywords if keyword.arg)

    def _own_parameters(self, callee: ast.expr) -> set[str] | None:
        if not isinstance(callee, ast.Name) or self.bound[callee.id] != 1 or callee.id in self.keep:
            return None
        function = self.functions.get(callee.id)
        if callee.id in self.classes:
            owner = self.classes[callee.id]
            function = next((f for f in owner.body if isinstance(f, ast.FunctionDef) and f.name == "__init__"), None)
            if owner.decorator_list or owner.keywords:
                return None
        if function is None or function.decorator_list:
            return None
        return {argument.arg for argument in arguments_of(function)}

    def _is_library(self, callee: ast.expr) -> bool:
        while isinstance(callee, ast.Attribute):
            callee = callee.value
        return isinstance(callee, ast.Name) and (callee.id in self.imported or callee.id not in self.bound)

    def _hands_over(self, call: ast.Call) -> bool:
        """Whether a library gets one of our functions, and with it perhaps the keywords (`functools.partial`)."""
        given = [*call.args, *(keyword.value for keyword in call.keywords)]
        mine = self.functions.keys() | self.classes.keys()
        return any(
            (isinstance(value, ast.Name) and value.id in mine)
            or (isinstance(value, ast.Attribute) and value.attr in mine)
            or isinstance(value, ast.Lambda)
            for value in given
        )


def _strings_in(annotation: ast.expr) -> Iterator[str]:
    for node in ast.walk(annotation):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _bound_by(statement: ast.stmt) -> Iterator[str]:
    """Names bound by one statement of a class body, blocks included, functions not entered."""
    todo: list[ast.AST] = [statement]
    while todo:
        node = todo.pop()
        yield from bindings(node)
        if not isinstance(node, (*FUNCTIONS, ast.ClassDef, ast.Lambda)):
            todo.extend(ast.iter_child_nodes(node))


def _stored_on_self(owner: ast.ClassDef) -> Iterator[str]:
    for function in owner.body:
        if isinstance(function, FUNCTIONS) and (function.args.args or function.args.posonlyargs):
            first = arguments_of(function)[0].arg
            for node in ast.walk(function):
                match node:
                    case ast.Attribute(value=ast.Name(id=name), attr=attribute, ctx=ast.Store()) if name == first:
                        yield attribute
                    case _:
                        pass
