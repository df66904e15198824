"""What a file name says about the data behind it, from the constant pieces of the expression that makes the path."""

from __future__ import annotations

import re

from verifier.program.values import Data, Instance, Map, Seq, Value

_PART = re.compile(r"(?<![a-z])(val|valid|validation)(?![a-z])")
_TRAIN = re.compile(r"(?<![a-z])(train|training)(?![a-z])")
_TOKENIZER = re.compile(r"\.(model|vocab|meta\.npz|tiktoken)$|tokeni[sz]er")
_MAX_NODES = 160


def fragments(value: Value, limit: int = _MAX_NODES) -> list[str]:
    """The constant texts that an expression is made of, in order of appearance."""
    found: list[str] = []
    pending: list[Value] = [value]
    seen: set[int] = set()
    while pending and len(seen) < limit:
        current = pending.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        if isinstance(current, Data):
            if current.known:
                if isinstance(current.const, str):
                    found.append(current.const)
                elif isinstance(current.const, bytes) and len(current.const) < 400:
                    found.append(current.const.decode("utf-8", "replace"))
            elif current.op == "call:os.path.dirname":
                # What lies beside a file is not that file.
                texts = [text for held in current.args for text in fragments(held, limit - len(seen))]
                found += [text for text in (*texts[:-1], *(text.rpartition("/")[0] for text in texts[-1:])) if text]
            else:
                pending += reversed(current.args)
        elif isinstance(current, Seq):
            pending += reversed(current.items)
        elif isinstance(current, Map):
            pending += reversed(list(current.entries.values()))
        elif isinstance(current, Instance) and len(current.fields) < 8:
            pending += reversed(list(current.fields.values()))
    return found


_TEXT_OPS = frozenset({"fstring", "+", "%", ".format", ".join", "call:builtins.str"})


def message(value: Value) -> str:
    """The fixed words of a printed text; values that are inserted leave a gap."""
    found: list[str] = []
    pending: list[Value] = [value]
    count = 0
    while pending and count < _MAX_NODES:
        current = pending.pop()
        count += 1
        if isinstance(current, Data):
            if current.known and isinstance(current.const, str):
                found.append(current.const)
            elif current.op in _TEXT_OPS:
                pending += reversed(current.args)
        elif isinstance(current, Seq):
            pending += reversed(current.items)
    return " ".join(found)


def metric_of(value: Value) -> Value | None:
    """The value that a printed text calls a BPB: the first one behind that word. `None` without one."""
    pending: list[Value] = [value]
    word = ""
    count = 0
    while pending and count < _MAX_NODES:
        current = pending.pop()
        count += 1
        if isinstance(current, Data) and current.known and isinstance(current.const, str):
            word = next(reversed(current.const.lower().split()), word)
        elif isinstance(current, Data) and current.op in _TEXT_OPS:
            pending += reversed(current.args)
        elif isinstance(current, Seq):
            pending += reversed(current.items)
        else:
            if "bpb" in word:
                return current
            word = ""
    return None


def source_of(value: Value) -> str | None:
    """`val`, `train`, `val-bytes`, `tokenizer`, `shards` (a pattern that names neither split), or nothing known."""
    kinds = {kind for text in fragments(value) if (kind := kind_of_name(text)) is not None}
    for kind in ("val-bytes", "val", "train", "shards", "tokenizer"):
        if kind in kinds:
            return kind
    return None


def kind_of_name(text: str) -> str | None:
    """What a path or pattern names. The last component decides, then the whole."""
    lowered = text.lower()
    for part in (lowered.rstrip("/").rsplit("/", 1)[-1], lowered):
        if _PART.search(part.replace("_", " ").replace("-", " ")):
            return "val-bytes" if "byte" in part else "val"
        if _TRAIN.search(part.replace("_", " ").replace("-", " ")) and not part.endswith((".py", ".log", ".txt")):
            return "train"
        if _TOKENIZER.search(part):
            return "tokenizer"
        if "fineweb" in part and ("*" in part or part.endswith(".bin")):
            return "shards"
    return None
