"""What normalized rows look like: `x / x.sum(-1)`, softmaxes, counts over their total, one share for each of the alphabet."""

from __future__ import annotations

from audits.mixtures.counts import target_nodes
from audits.mixtures.expressions import OVER, PICKS, TINY, axis_of, bare, first_of, plain, same_value, smoothed, through_copies
from audits.mixtures.flow import COPIES, Flow, data_in
from verifier.program.queries import operation
from verifier.program.values import Data

WIDE = frozenset({"log_softmax", "softmax"})
LEAST_ALPHABET = 256
"""Candidates that there are at least: the bytes."""


class Rows:
    """Which expressions are rows or a target's share of one. `sizes`: numbers in the script that may be that of the alphabet."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.targets = target_nodes(flow)
        self.sizes = {node.const for node in flow.nodes.values() if type(node.const) is int and node.const >= LEAST_ALPHABET}

    def picks_target(self, pick: Data) -> bool:
        return any(self._is_target(key) for value in pick.args[1:] for key in data_in(value))

    def _is_target(self, key: Data) -> bool:
        return any(id(one) in self.targets or self.flow.is_token(one) for one in self.flow.origin(key))

    def _is_uniform(self, share: float) -> bool:
        return share > 0 and any(abs(1.0 / share - size) < TINY * size for size in self.sizes)

    def is_share(self, node: Data, under: Data | None) -> bool:
        """Whether a number is the target's share: of a uniform distribution, of a normalized row, or of counts over their total."""
        how = operation(node)
        if how in ("full_like", "full") and len(node.args) > 1:
            return any(isinstance(one.const, float) and self._is_uniform(one.const) for one in data_in(node.args[1]))
        if under is None and how in OVER and len(node.args) > 1:
            parts = [data_in(value) for value in node.args[:2]]
            return len(parts[0]) == len(parts[1]) == 1 and self.is_share(parts[0][0], parts[1][0])
        added, counts = smoothed(plain(node))
        if operation(counts) not in PICKS or len(counts.args) < 2:
            return False
        if not self.picks_target(counts):
            return False
        base = first_of(counts.args[0])
        if under is None:
            return added == 0 and self.is_row(base)
        spread, total = smoothed(under)
        if added > 0 and not self._is_uniform(added / spread if spread else 0.0):
            return False
        return added >= 0 and id(bare(base)) in {id(bare(one)) for one in self._summed(total)}

    def _summed(self, total: Data) -> list[Data]:
        """The tables whose rows a total is the sum of: `rows[x].sum(-1)` and `rows.sum(-1)[x]`."""
        found: list[Data] = []
        for one in self.flow.walk([total], lambda node: data_in(node.args[0]) if node.args else ()):
            if operation(one) in ("clamp", "clip", "maximum", "index", *COPIES):
                continue
            if operation(one) != "sum" or axis_of(one, 1) not in (-1, 1) or one is not through_copies(total):
                return found
            inner = first_of(one.args[0])
            found.append(inner)
            found += data_in(inner.args[0]) if operation(inner) == "index" else []
        return found

    def is_row(self, node: Data) -> bool:
        """`x / x.sum(-1)` and softmaxes over the last axis, cut or copied."""
        while operation(node) in COPIES | {"clamp", "clip", "maximum", "float", "double", "index"} and node.args:
            if operation(node) == "index" and self.picks_target(node):
                return False
            node = first_of(node.args[0])
        if operation(node) in WIDE:
            return operation(node) == "softmax" and axis_of(node, 1) not in (None, 0)
        if operation(node) not in OVER or len(node.args) < 2:
            return False
        total = through_copies(first_of(node.args[1]))
        if operation(total) != "sum" or axis_of(total, 1) not in (-1, 1, None):
            return False
        return same_value(first_of(node.args[0]), first_of(total.args[0]), 0)
