"""Whether what is scored can be followed back to shares of distributions over the alphabet: softmaxes, rows of counts, convex sums."""

from __future__ import annotations

import math
from collections.abc import Iterable

from audits.mixtures.counts import scores_behind
from audits.mixtures.expressions import (
    BOUNDS,
    MINUS,
    OVER,
    PICKS,
    PLUS,
    TIMES,
    TINY,
    at_most_one,
    axis_of,
    bare,
    factors_of,
    first_of,
    is_local,
    is_nothing,
    layers_of,
    parts_of_product,
    plain,
    terms_of,
)
from audits.mixtures.flow import COPIES, Flow, data_in, is_scored
from audits.mixtures.rows import WIDE, Rows
from verifier.program.events import Event
from verifier.program.queries import operation
from verifier.program.values import Data, Value

LOG, SHARE, LOG_ROW, ROW, FREE = "log", "share", "log row", "row", "free"
"""Kinds of values: (the sum of) log-probabilities of targets, a target's probability, distributions over the alphabet, anything
that no model has said."""
_DEEPEST = 200
"""Steps from a report to a loss, at most."""
_HIGHEST = 100.0
"""A bonus in nats whose exponential is still a number."""

_SUMS = frozenset(
    {"sum", "mean", "item", "all_reduce", "reduce", "nansum", "fsum", "average", "nanmean", "cumsum", "all_gather", "gather_object"}
)  # fmt: skip
"""Steps from single tokens to a number for many."""
_KEEPS = COPIES | _SUMS | frozenset(
    {"float", "double", "half", "bfloat16", "float32", "float64", "mul_", "div_", "fstring", "format", "str", "round", "print", "type_as", "requires_grad_",
     "attr:data", "synchronize", "append", "extend", "dict", "tuple", "list", "get", "concat", "hstack", "vstack", "nan_to_num", "masked_select", "sorted",
     "reshape_as", "view_as", "expand_as"}
)  # fmt: skip
_LOGS = frozenset({"log", "log2", "log10"})


def unfollowed_score(flow: Flow) -> str:
    """Why it is not certain that the headline is made of shares of distributions; empty when it is."""
    search = Search(flow)
    for node in flow.spoken:
        if search.kind(node) not in (LOG, SHARE):
            where = f" (line {search.stuck.site.line})" if search.stuck is not None and search.stuck.site else ""
            return f"whether what is scored is one distribution over the alphabet could not be followed{where}"
    return ""


class Search:
    """Kinds of nodes, from the losses up. `stuck` is the first node that is of none."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.losses: dict[int, list[Event]] = {}
        for event in scores_behind(flow):
            for node in layers_of(event.values[0]) if len(event.values) > 2 else ():
                self.losses.setdefault(id(node), []).append(event)
        self.rows = Rows(flow)
        self.known: dict[int, str] = {}
        self.stuck: Data | None = None

    def speaks(self, node: Data) -> bool:
        """Whether a model's word is in a value."""
        return any(label[0] in ("score", "model") for label in node.labels)

    def kind(self, node: Data, depth: int = 0) -> str:
        if id(node) in self.known:
            return self.known[id(node)]
        self.known[id(node)] = LOG  # what a running total adds to itself is of its own kind
        found = self._kind(node, depth) if depth < _DEEPEST else ""
        self.known[id(node)] = found
        if not found and self.stuck is None:
            self.stuck = node
        return found

    def _kind(self, node: Data, depth: int) -> str:
        if events := self.losses.get(id(node)):
            kinds = {self._of_loss(event, depth + 1) for event in events}
            return kinds.pop() if len(kinds) == 1 else ""
        if node.inner is not None:
            return self._same((node.inner,), depth, (LOG, SHARE, ROW, LOG_ROW))
        how = operation(node)
        if how in WIDE:
            return (ROW if how == "softmax" else LOG_ROW) if axis_of(node, 1) not in (None, 0) else ""
        if not self.speaks(node):
            return ROW if self.rows.is_row(node) else FREE
        if how in PICKS and (picked := self._picked(node, depth)):
            return picked
        if how in PLUS | MINUS:
            return self._of_sum(node, depth)
        if how in TIMES | OVER:
            return self._of_product(node, depth)
        if how == "neg":
            return self._same(node.args, depth, (LOG, LOG_ROW))
        if how in ("exp", "exp2"):
            return {LOG: SHARE, LOG_ROW: ROW}.get(self._same(node.args, depth, (LOG, LOG_ROW)), "")
        if how in _LOGS:
            return {SHARE: LOG, ROW: LOG_ROW}.get(self._same(node.args[:1], depth, (SHARE, ROW)), "")
        if how in BOUNDS:
            return self._of_bound(node, depth)
        if how in ("logsumexp", "logaddexp"):
            return self._of_log_sum(node, depth)
        if how in ("where", "ifexp"):
            masked = [one for value in node.args[:1] for one in data_in(value)]
            return "" if how == "where" and any(map(self.speaks, masked)) else self._same(node.args[1:], depth, (LOG, SHARE))
        if how in _KEEPS or node.filled:
            return self._of_parts(node, depth)
        return ""

    def _of_loss(self, event: Event, depth: int) -> str:
        made, predicted, target = (layers_of(value)[-1:] for value in event.values[:3])
        if not made or not predicted or not self._is_text(target) or ("src", "val") not in event.tokens:
            return ""
        how = operation(made[0])
        if how == "nll_loss":
            return LOG if self._same(predicted, depth, (LOG_ROW,)) else ""
        if "cross_entropy" in how:
            return LOG if self._is_whole(predicted) else ""
        if how in PICKS:
            return self._picked(made[0], depth)
        return self._of_difference(made[0]) if how in MINUS else ""

    def _is_text(self, target: list[Data]) -> bool:
        """Whether targets are tokens of the text (or an argument that stands for them), at most copied."""
        ends = self.flow.walk(
            target, lambda node: self.flow.handed_on(node) if operation(node) in COPIES and not node.known else ()
        )
        return any(one.op == "param" or self.flow.is_token(one) for one in ends)

    def _is_whole(self, logits: list[Data]) -> bool:
        """Whether logits are those of the whole alphabet: no choice of candidates lies before the softmax."""
        near = self.flow.walk(logits, lambda one: data_in(one.args[0]) if is_local(one) and one.args else ())
        return bool(near) and not any(
            operation(one) in ("gather", "topk", "take_along_dim", "index_select", "sort") for one in near
        )

    def _of_difference(self, node: Data) -> str:
        """`logsumexp(logits) - logits[target]`: both of the same logits."""
        sides = [
            self.flow.walk(data_in(value), lambda one: data_in(one.args[0]) if is_local(one) and one.args else ())
            for value in node.args[:2]
        ]
        if len(sides) < 2:
            return ""
        logits = [
            {id(bare(below)) for one in side if operation(one) in names for below in data_in(one.args[0])}
            for side, names in ((sides[0], {"logsumexp"}), (sides[1], PICKS), (sides[1], {"logsumexp"}), (sides[0], PICKS))
        ]
        return LOG if logits[0] & logits[1] or logits[2] & logits[3] else ""

    def _picked(self, node: Data, depth: int) -> str:
        """The target's entry of a distribution; a slice of one stays what it is."""
        if not node.args:
            return ""
        row = self._same(node.args[:1], depth, (ROW, LOG_ROW))
        keys = [one for value in node.args[1:] for one in data_in(value)]
        if row and self.rows.picks_target(node):
            axis = axis_of(node, 1) if operation(node) == "gather" else None
            return "" if axis == 0 else {ROW: SHARE, LOG_ROW: LOG}[row]
        return row if operation(node) == "index" and all(one.known or one.op == "slice" for one in keys) else ""

    def _of_sum(self, node: Data, depth: int) -> str:
        if self._is_tilt(node, depth):
            return LOG
        sides = [self._same((value,), depth, (LOG, SHARE, ROW, LOG_ROW, FREE)) for value in node.args[:2]]
        if sides == [LOG, LOG]:
            return LOG if any(self._is_total(value) for value in node.args[:2]) else ""
        if LOG in sides and FREE in sides:
            other = node.args[sides.index(FREE)]
            return LOG if all(is_nothing(one) for one in data_in(other)) else ""
        if sides[0] == LOG_ROW and operation(node) in MINUS:
            return LOG_ROW if operation(first_of(node.args[1])) == "logsumexp" else ""
        return self._convex(node, depth) if operation(node) in PLUS else ""

    def _is_total(self, value: Value) -> bool:
        """Whether a number already stands for many tokens."""
        parts = self.flow.walk(
            data_in(value), lambda one: self.flow.inputs(one) if is_local(one) or operation(one) in TIMES | OVER else ()
        )
        return any(operation(one) in _SUMS | {"join"} or one.filled for one in parts)

    def _is_tilt(self, node: Data, depth: int) -> bool:
        """`nll + log(1 + p(hint) (e^b - 1)) - b [hint is the target]`: a log-probability after one token's logit was raised by b."""
        terms = terms_of(node, PLUS | MINUS)
        hits = [
            one for term in terms for one in self.flow.walk([term], parts_of_product) if operation(one) in ("==", "eq", "equal")
        ]
        totals = [term for term in terms if operation(term) in (*_LOGS, "log1p")]
        losses = [term for term in terms if is_scored(term) and term not in totals]
        if len(terms) != 3 or len(hits) != 1 or len(totals) != 1 or len(losses) != 1 or self.kind(losses[0], depth + 1) != LOG:
            return False
        aims = {
            id(plain(first_of(event.values[2])))
            for one in self.flow.walk(losses, self._inside)
            for event in self.losses.get(id(one), ())
        }
        sides = [id(plain(first_of(value))) for value in hits[0].args[:2]]
        picks = [one for one in self.flow.walk(totals, self.flow.inputs) if operation(one) in PICKS and len(one.args) > 1]
        keys = {id(plain(key)) for pick in picks for value in pick.args[1:] for key in data_in(value)}
        if not any(hint in keys and aim in aims for hint, aim in (sides, reversed(sides))):
            return False
        bonus = next(term for term in terms if term is not losses[0] and term is not totals[0])
        heights = [one for one, _ in factors_of(bonus) if hits[0] not in self.flow.walk([one], parts_of_product)]
        if all(one.known for one in heights):
            raised = math.prod(one.const for one in heights if isinstance(one.const, int | float))
            within = [one.const for one, _ in factors_of(first_of(totals[0].args[0])) if isinstance(one.const, int | float)]
            return raised < _HIGHEST and math.isclose(math.prod(within), math.expm1(raised), rel_tol=TINY)
        return all(one.known or id(one) in self.flow.behind(totals[0]) for one in heights)

    def _inside(self, node: Data) -> tuple[Data, ...]:
        return () if id(node) in self.losses else self.flow.inputs(node)

    def _of_product(self, node: Data, depth: int) -> str:
        sides = [self._same((value,), depth, (LOG, SHARE, ROW, LOG_ROW, FREE)) for value in node.args[:2]]
        if sides == [LOG, FREE] or (sides == [FREE, LOG] and operation(node) in TIMES):
            return "" if self.shrunk(node) is not None else LOG
        if operation(node) in OVER and self.rows.is_row(node):
            return ROW
        return self._convex(node, depth)

    def shrunk(self, product: Data) -> float | None:
        """The constant below one that the losses of single tokens are multiplied by."""
        for value, other in (product.args[:2], product.args[1::-1]):
            fixed = first_of(value).const
            if not isinstance(fixed, int | float) or fixed <= 0 or self._is_total(other):
                continue
            factor = fixed if operation(product) in TIMES else 1 / fixed
            if factor < 1 and self._same((other,), 0, (LOG,)):
                return factor
        return None

    def _of_bound(self, node: Data, depth: int) -> str:
        if operation(node) == "max" and node.op != "call:builtins.max":
            return ""
        found = self._same(node.args[:1], depth, (LOG, SHARE, ROW, LOG_ROW))
        if found in (SHARE, ROW):
            least = node.argument("min") or next((one for one in node.args[1:] if isinstance(one, Data)), None)
            fixed = [one.const for one in data_in(least)] if least is not None else []
            return found if all(isinstance(bound, int | float) and bound <= TINY for bound in fixed) else ""
        return found if not any(self.speaks(one) for value in node.args[1:] for one in data_in(value)) else ""

    def _of_parts(self, node: Data, depth: int) -> str:
        carried = [one for _, value, _ in node.filled for one in data_in(value)]
        parts = [one for one in self.flow.inputs(node) if self.speaks(one)] or [one for one in carried if self.speaks(one)]
        kinds = {self.kind(one, depth + 1) for one in parts}
        if operation(node) in ("index", "get", "element") and node.args:
            if any(is_scored(one) for value in node.args[1:] for one in data_in(value)):
                return ""
            kinds = {self.kind(one, depth + 1) for one in data_in(node.args[0]) if self.speaks(one)}
        return kinds.pop() if len(kinds) == 1 else ""

    def _same(self, values: Iterable[Value], depth: int, wanted: tuple[str, ...]) -> str:
        """The kind that all parts have, apart from what no model has said."""
        kinds = {self.kind(one, depth + 1) for value in values for one in data_in(value)}
        found = kinds - {FREE} if len(kinds) > 1 else kinds
        return found.pop() if len(found) == 1 and found <= set(wanted) else ""

    def _convex(self, node: Data, depth: int) -> str:
        """A sum of shares whose weights sum to at most one."""
        weights: list[tuple[float, Data | None]] = []
        kinds: set[str] = set()
        for term in terms_of(node, PLUS):
            fixed, free, core, under = 1.0, list[Data](), list[tuple[Data, str]](), list[Data]()
            for factor, below in factors_of(term):
                kind = self.kind(factor, depth + 1)
                if below:
                    under.append(factor)
                elif isinstance(factor.const, int | float):
                    fixed *= float(factor.const)
                elif kind in (SHARE, ROW) or self.rows.is_share(factor, None):
                    core.append((factor, kind if kind in (SHARE, ROW) else SHARE))
                else:
                    free.append(factor)
            if not core and not free and not under and fixed <= TINY:
                continue
            if len(under) == 1 and not core:
                core = [(one, SHARE) for one in free if self.rows.is_share(one, under[0])]
                free = [one for one in free if all(one is not each for each, _ in core)]
                under = []
            if len(core) != 1 or under or len(free) > 1:
                return ""
            kinds.add(core[0][1])
            weights.append((fixed, free[0] if free else None))
        return kinds.pop() if len(kinds) == 1 and at_most_one(weights) else ""

    def _of_log_sum(self, node: Data, depth: int) -> str:
        """`logsumexp` over a stack of log-probabilities with the logarithms of weights that sum to at most one."""
        stack = bare(first_of(node.args[0])) if node.args else node
        members = [one for value in node.args[:2] for one in data_in(value)]
        if operation(node) == "logsumexp":
            members = (
                data_in(stack.args[0])
                if operation(stack) in ("stack", "cat") and axis_of(node, 1) == (axis_of(stack, 1) or 0)
                else []
            )
        whole = 0.0
        for member in members:
            terms = terms_of(member, PLUS)
            said = [one for one in terms if not isinstance(one.const, int | float)]
            if len(said) != 1 or self.kind(said[0], depth + 1) != LOG:
                return ""
            whole += math.exp(min(sum(float(one.const) for one in terms if isinstance(one.const, int | float)), 1.0))
        return LOG if members and whole <= 1.0 + TINY else ""
