"""Reading a condition in an evaluation loop: does it end the loop where the text ends, or before?"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from enum import Enum, auto

from audits.coverage.dependence import WHOLE, Scope, Source, grown_by
from audits.coverage.expressions import name_of
from audits.coverage.scored_loops import ScoredLoop


class Verdict(Enum):
    NEVER = auto()
    ALWAYS = auto()
    USED_UP = auto()
    """The text or a piece of it decides."""
    EARLY = auto()
    UNKNOWN = auto()


@dataclass(frozen=True, slots=True)
class Found:
    verdict: Verdict
    what: str = ""
    certain: bool = False
    timed: bool = False


NEVER, ALWAYS, USED_UP, UNKNOWN = (Found(one) for one in (Verdict.NEVER, Verdict.ALWAYS, Verdict.USED_UP, Verdict.UNKNOWN))


class Conditions:
    """The conditions of one loop. `whole` are the tokens and the documents of the set."""

    def __init__(self, loop: ScoredLoop, scope: Scope, whole: tuple[int, int]) -> None:
        self.loop = loop
        self.scope = scope
        self.whole, self.documents = whole
        inside = loop.text.parsed.inside(loop.node)
        self.names = {node.id for node in inside if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        self.names |= {name for node in inside if isinstance(node, ast.Call) and (name := grown_by(node))}
        """What the loop itself moves on: the number of an epoch around it is not how far it is."""

    def judge(self, test: ast.expr, value: bool, for_good: bool) -> Found:
        """What it means that windows are left out when the test has this value."""
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            return self.judge(test.operand, not value, for_good)
        if isinstance(test, ast.BoolOp):
            parts = [self.judge(one, value, for_good) for one in test.values]
            return all_of(parts) if isinstance(test.op, ast.And) is value else _any_of(parts)
        if isinstance(test, ast.Name) and len(self.scope.assigned.get(test.id, ())) == 1 and not self.scope.counts(test.id):
            held = self.scope.assigned[test.id][0]
            if isinstance(held, ast.Compare | ast.BoolOp):
                return self.judge(held, value, for_good)
        sources = self.scope.sources(test)
        if not sources:
            truth = self._truth(test)
            if truth is not None:
                return ALWAYS if truth is value else NEVER
            return USED_UP if _asks_for_more(test, value) and not self._is_flag(test) else UNKNOWN
        if (
            Source.COUNT in sources
            and isinstance(test, ast.Compare)
            and any(self.cap(one) for one in (test.left, *test.comparators))
        ):
            return self._counted(test, value, for_good)
        if sources & {Source.LENGTH, Source.RANK} and Source.SHARE not in sources:
            return USED_UP
        if Source.CLOCK in sources:
            return Found(Verdict.EARLY, "as many windows as the time allows", timed=True)
        if Source.UNKNOWN in sources:
            return USED_UP if _asks_for_more(test, value) else UNKNOWN
        if Source.CHANCE in sources:
            return Found(Verdict.EARLY, "windows that are drawn at random", True)
        if Source.SHARE in sources:
            return Found(Verdict.EARLY, "a fixed share of the text") if Source.COUNT in sources else USED_UP
        return self._counted(test, value, for_good)

    def _is_flag(self, test: ast.expr) -> bool:
        """A name that is switched somewhere: under which condition is not followed."""
        held = self.scope.assigned.get(test.id, []) if isinstance(test, ast.Name) else []
        return len(held) > 1 and all(isinstance(one, ast.Constant) for one in held)

    def _truth(self, test: ast.expr) -> bool | None:
        if isinstance(test, ast.Constant):
            return bool(test.value)
        if isinstance(test, ast.Compare) and len(test.ops) == 1:
            if isinstance(test.ops[0], ast.Is | ast.IsNot):
                nothing = self.scope.is_none(test.left) if is_none(test.comparators[0]) else None
                return None if nothing is None else nothing is isinstance(test.ops[0], ast.Is)
            first, second = self.scope.number(test.left), self.scope.number(test.comparators[0])
            if first is None or second is None:
                return None
            signs = {ast.Lt: first < second, ast.LtE: first <= second, ast.Gt: first > second, ast.GtE: first >= second}
            signs |= {ast.Eq: first == second, ast.NotEq: first != second}
            return signs.get(type(test.ops[0]))
        number = self.scope.number(test)
        return None if number is None else bool(number)

    def _counted(self, test: ast.expr, value: bool, for_good: bool) -> Found:
        """A condition on how far the loop is, against a number."""
        if not isinstance(test, ast.Compare):
            every = _divisor(test)
            return self.every_one_in(every) if every is not None else USED_UP if isinstance(test, ast.Name) else UNKNOWN
        if len(test.ops) != 1:
            return UNKNOWN
        left, op, right = test.left, test.ops[0], test.comparators[0]
        for side in (left, right):
            every = _divisor(side)
            if every is not None:
                return UNKNOWN if for_good else self.every_one_in(every)
        mirrored = Source.COUNT not in self.scope.sources(left)
        counter, limit = (right, left) if mirrored else (left, right)
        names = {node.id for node in ast.walk(counter) if isinstance(node, ast.Name) and self.scope.tells(node.id)}
        if Source.COUNT in self.scope.sources(limit) or not names & self.names:
            return USED_UP
        falling = names & self.scope.falling
        above = isinstance(op, ast.Lt | ast.LtE if (mirrored is value) is not bool(falling) else ast.Gt | ast.GtE)
        equal = isinstance(op, ast.Eq | ast.NotEq)
        if not above and not (equal and for_good and isinstance(op, ast.Eq) is value):
            # All but one number, or bits of it.
            odd = (equal and isinstance(op, ast.Eq) is not value) or _has_bits(counter)
            return UNKNOWN if odd else USED_UP
        number = self.scope.start_of(min(falling)) if falling else self._number(limit)
        return UNKNOWN if number is None else self.limited(number, bool(names & self.scope.by_one))

    def _number(self, limit: ast.expr) -> int | None:
        capped = self.cap(limit)
        return self.scope.number(limit) if capped is None else capped

    def limited(self, number: int, rounds: bool) -> Found:
        """A limit in tokens or windows; no limit where it is more than all there are."""
        if number == self.documents or number >= WHOLE * self.whole or (rounds and number * self._stride() >= WHOLE * self.whole):
            return USED_UP
        return Found(Verdict.EARLY, f"what comes before number {number:,} of its count")

    def _stride(self) -> int:
        """By how much the loop moves on each time, where it says so."""
        source = self.loop.node.iter if isinstance(self.loop.node, ast.For | ast.AsyncFor) else None
        if isinstance(source, ast.Call) and name_of(source.func) == "enumerate" and source.args:
            source = source.args[0]
        if isinstance(source, ast.Call) and name_of(source.func) == "range" and len(source.args) == 3:
            return self.scope.number(source.args[2]) or 1
        return 1

    def every_one_in(self, divisor: ast.expr) -> Found:
        sources = self.scope.sources(divisor)
        number = self.scope.number(divisor)
        if sources or number is None:
            return USED_UP if sources <= {Source.RANK, Source.LENGTH} else UNKNOWN
        return Found(Verdict.EARLY, f"one window in {number}", True) if number > 1 else NEVER

    def cap(self, stop: ast.expr) -> int | None:
        """The number in `min(len(windows), 500)`."""
        held = self.scope.assigned.get(stop.id, []) if isinstance(stop, ast.Name) else [stop]
        call = held[0] if len(held) == 1 else None
        if not isinstance(call, ast.Call) or name_of(call.func) != "min" or Source.COUNT in self.scope.sources(call):
            return None
        return next(
            (number for one in call.args if not self.scope.sources(one) and (number := self.scope.number(one)) is not None), None
        )


def all_of(parts: list[Found]) -> Found:
    """Conditions that must hold together."""
    rest = [part for part in parts if part.verdict is not Verdict.ALWAYS]
    if not rest:
        return ALWAYS
    for verdict in (Verdict.NEVER, Verdict.USED_UP, Verdict.UNKNOWN):
        for part in rest:
            if part.verdict is verdict:
                return part
    return rest[0]


def _any_of(parts: list[Found]) -> Found:
    """Conditions of which one suffices."""
    for verdict in (Verdict.EARLY, Verdict.ALWAYS, Verdict.UNKNOWN, Verdict.USED_UP):
        for part in parts:
            if part.verdict is verdict:
                return part
    return parts[0]


def is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _has_bits(node: ast.expr) -> bool:
    return any(isinstance(one, ast.BinOp) and isinstance(one.op, ast.BitAnd | ast.RShift | ast.BitXor) for one in ast.walk(node))


def _divisor(node: ast.expr) -> ast.expr | None:
    return node.right if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod) else None


def _asks_for_more(test: ast.expr, value: bool) -> bool:
    """`if not batch`, `if chunk is None`, `if wanted == 0`: nothing is left."""
    if isinstance(test, ast.Compare) and len(test.ops) == 1:
        nothing = isinstance(test.comparators[0], ast.Constant) and test.comparators[0].value in (None, 0)
        return nothing and isinstance(test.ops[0], ast.Is | ast.Eq) is value
    return isinstance(test, ast.Name | ast.Attribute) and not value
