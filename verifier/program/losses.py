"""Where losses are formed: cross entropies, picked log-probabilities, and choices among losses."""

from __future__ import annotations

import ast

from verifier.program.containers import Containers
from verifier.program.values import (
    NONE,
    Args,
    Data,
    Names,
    Seq,
    Site,
    Value,
    has_tokens,
    labels_of,
)

_LOG_NAMES = frozenset({"call:torch.nn.functional.log_softmax", "call:torch.log_softmax", ".log_softmax", "call:torch.log", ".log", "call:torch.nn.functional.softmax",
                        "call:torch.softmax", ".softmax", "call:numpy.log", "call:scipy.special.log_softmax", "call:scipy.special.softmax", "call:torch.special.log_softmax"})  # fmt: skip
_LOG_SUMS = frozenset({".logsumexp", "call:torch.logsumexp", "call:scipy.special.logsumexp", "call:numpy.logaddexp.reduce"})
_PICKS = frozenset({".gather", "call:torch.gather", "index", "call:torch.take_along_dim", "call:numpy.take_along_axis"})
_THROUGH = frozenset({".float", ".double", ".to", ".reshape", ".view", ".squeeze", ".unsqueeze", ".contiguous", ".cpu", ".numpy", ".detach", "neg", ".bfloat16", ".flatten",
                      "attr:data", "join", "element", ".type", ".astype", ".clone", ".exp", "call:numpy.exp", "call:torch.exp"})  # fmt: skip


class Losses(Containers):
    """Recognises losses by what they compute."""

    def loss(self, name: str, args: Args, names: Names, site: Site) -> Value:
        """A loss is formed: `values` of the event are the node, what predicts, what is predicted."""
        predicted = args[0] if args else names.get("input", NONE)
        target = args[1] if len(args) > 1 else names.get("target", names.get("targets", NONE))
        node = self.data("call:" + name, (*args, *names.values()), site, names=tuple(names))
        return self.form_loss(node, predicted, target, site)

    def form_loss(self, node: Data, predicted: Value, target: Value, site: Site) -> Data:
        tokens = labels_of(target)
        event = self.emit("loss", site, (node, predicted, target), node.labels, node.op, tokens)
        node.labels |= {("score", event.index)}
        return node

    def gathered(self, op: str, args: Args, names: Names, site: Site) -> Value:
        """The entries of a tensor at the target's positions: a loss when the tensor holds (log-)probabilities."""
        node = self.data(op, (*args, *names.values()), site, names=tuple(names))
        index = names.get("index", args[-1])
        if has_tokens(labels_of(index)):
            if is_log_probability(args[0]):
                return self.form_loss(node, args[0], index, site)
            self.emit("lookup", site, (args[0], index, node), node.labels, tokens=labels_of(index))
        return node

    def index(self, base: Value, key: Value, site: Site) -> Value:
        result = super().index(base, key, site)
        if isinstance(key, Seq) and isinstance(result, Data) and isinstance(base, Data):
            picks = [item for item in key.items if isinstance(item, Data) and item.op != "slice" and has_tokens(item.labels)]
            if picks and is_log_probability(base):
                return self.form_loss(result, base, picks[-1], site)
        return result

    def binary(self, op: ast.operator, left: Value, right: Value, site: Site) -> Value:
        node = super().binary(op, left, right, site)
        if isinstance(op, ast.Sub) and isinstance(node, Data) and not node.known:
            for total, picked in ((left, right), (right, left)):
                if (
                    _reaches(total, _LOG_SUMS)
                    and _reaches(picked, _PICKS)
                    and any(label[0] == "model" for label in labels_of(picked))
                ):
                    target = _picked_index(picked)
                    return self.form_loss(node, picked, target, site)
        return node

    def _select(self, name: str, args: Args, names: Names, site: Site) -> None:
        values = (*args, *names.values())
        if any(label[0] == "score" for value in values for label in labels_of(value)):
            self.emit("select", site, values, text=name)


def _reaches(value: Value, wanted: frozenset[str], depth: int = 8) -> bool:
    while isinstance(value, Data) and depth:
        if value.op in wanted:
            return True
        if value.op.startswith("summary:") and value.inner is not None:
            value = value.inner
        elif value.op in _THROUGH and value.args:
            value = value.args[0]
        else:
            return False
        depth -= 1
    return False


def is_log_probability(value: Value) -> bool:
    """Whether a tensor holds probabilities or their logarithms by how it was made."""
    if _reaches(value, _LOG_NAMES):
        return True
    current = value
    for _ in range(8):
        if not isinstance(current, Data):
            return False
        if current.op == "-":
            return any(_reaches(argument, _LOG_SUMS | _LOG_NAMES) for argument in current.args)
        if current.op == "index" or (current.op in _THROUGH and current.args):
            current = current.args[0]
        elif current.op.startswith("summary:") and current.inner is not None:
            current = current.inner
        else:
            return False
        if isinstance(current, Data) and current.op in _LOG_NAMES:
            return True
    return False


def _picked_index(value: Value) -> Value:
    for _ in range(8):
        if isinstance(value, Data) and value.op in _PICKS and len(value.args) > 1:
            return value.args[-1] if value.op == "index" else value.argument("index") or value.args[-1]
        if isinstance(value, Data) and value.args:
            value = value.args[0]
    return NONE
