"""EVA001, the program's side: a validation stream that is cut short, or sampled, before the headline's losses are formed."""

from __future__ import annotations

from dataclasses import dataclass

from verifier.engine.context import Context
from verifier.evidence import Location
from verifier.program.analysis import analysis_of
from verifier.program.events import Event
from verifier.program.queries import has_source, headline_reports, iterations_of, scores_of, slice_of
from verifier.program.values import Data, Seq, Value, labels_of

_RANDOM = frozenset({"call:torch.randint", "call:torch.randperm", "call:random.sample", "call:random.randint", "call:random.choice",
                     "call:random.randrange", "call:numpy.random.randint", "call:numpy.random.choice",
                     "call:numpy.random.permutation", ".randint", ".integers", ".choice", ".permutation", ".sample", ".randrange"})  # fmt: skip
_NARROW = frozenset({".narrow", "call:torch.narrow"})
LEAST = 4096
"""Tokens below which a cut is a window, not a stream."""
_DEEPEST = 12
"""Operations between a loop counter and the end of a window."""


@dataclass(frozen=True, slots=True)
class Cut:
    """The stream is cut to `tokens` (None: sampled at random). `places` are the cut and the loss."""

    tokens: int | None
    places: tuple[Location, ...]
    certain: bool


def cut_of_stream(context: Context) -> Cut | None:
    """What the script does to the stream whose losses the last headline prints, when it shortens it."""
    analysis = analysis_of(context)
    if not analysis.available:
        return None
    trace = analysis.run
    for report in headline_reports(trace, context.submission)[-2:]:
        for loss in scores_of(report, trace)[:2]:
            if not has_source(loss.tokens, "val") or loss.grad or len(loss.values) < 3:
                continue
            for node in slice_of(loss.values[2], 1500):
                if len(node.args) < 2 or node.site is None or not has_source(node.labels, "val"):
                    continue
                count = _prefix(node) if node.op == "index" else _narrowed(node)
                if node.op == "index" and count is None:
                    count = _reach(node, loss)
                if count is not None or (node.op == "index" and _is_sample(node)):
                    places = tuple(dict.fromkeys(analysis.location(site) for site in (node.site, loss.site)))
                    return Cut(count, places, loss.certain)
    return None


def _prefix(node: Data) -> int | None:
    """`stream[:N]` with a known N, taken once and not window by window."""
    base, index = node.args[0], node.args[1]
    if (
        not isinstance(index, Data)
        or index.op != "slice"
        or len(index.args) < 2
        or any(label[0] == "loop" for label in labels_of(index))
    ):
        return None
    low, high = index.args[0], index.args[1]
    starts = isinstance(low, Data) and low.const in (None, 0)
    if not starts or not isinstance(high, Data) or not isinstance(high.const, int) or high.const < LEAST:
        return None
    return high.const if _is_stream(base) else None


def _narrowed(node: Data) -> int | None:
    """`stream.narrow(0, 0, N)` with a known N."""
    if node.op not in _NARROW:
        return None
    given = [node.argument(name) for name in ("start", "length")]
    first, count = (
        one or (node.args[place] if len(node.args) > place else None) for one, place in zip(given, (2, 3), strict=True)
    )
    if not isinstance(first, Data) or first.const != 0 or not isinstance(count, Data) or not isinstance(count.const, int):
        return None
    return count.const if count.const >= LEAST and _is_stream(node.args[0]) else None


def _reach(node: Data, loss: Event) -> int | None:
    """Where windows end that a loop with known bounds cuts from the stream: `for start in range(0, N, size)`. Every loop around the
    loss must have a part in it, since the others could move on to further text."""
    base, index = node.args[0], node.args[1]
    if not isinstance(index, Data) or index.op != "slice" or len(index.args) < 2 or not _is_stream(base):
        return None
    if not {key for key, _ in loss.loops} <= iterations_of(index.labels).keys() or not loss.loops:
        return None
    end = _most(index.args[1])
    return end if end is not None and end >= LEAST else None


def _most(value: Value | None, depth: int = 0) -> int | None:
    """The greatest value of a number that is computed from loop counters and constants, each counter at its end."""
    if not isinstance(value, Data) or depth > _DEEPEST:
        return None
    if value.known:
        # A constant of one iteration (a counter that the program advances itself) says nothing about the last one.
        counts = any(label[0] == "loop" for label in value.labels)
        return value.const if type(value.const) is int and value.const >= 0 and not counts else None
    if value.op == "loopvar" and value.args:
        bounds = [_most(one, depth + 1) for one in value.args]
        start, stop, step = (0, *bounds, 1) if len(bounds) == 1 else (*bounds, 1)[:3]
        if start is None or stop is None or not step:
            return None
        return start + (stop - 1 - start) // step * step if stop > start else None
    operands = value.args[0].items if len(value.args) == 1 and isinstance(value.args[0], Seq) else value.args
    ends = [_most(one, depth + 1) for one in operands]
    known = [end for end in ends if end is not None]
    if value.op == "call:builtins.min" and known:
        return min(known)
    if value.op in ("+", "*") and len(known) == len(ends) == 2:
        return known[0] + known[1] if value.op == "+" else known[0] * known[1]
    return None


def _is_stream(value: Value) -> bool:
    labels = labels_of(value)
    return (
        has_source(labels, "val")
        and not has_source(labels, "train")
        and not any(label[0] in ("loop", "model", "score") for label in labels)
    )


def _is_sample(node: Data) -> bool:
    if not _is_stream(node.args[0]):
        return False
    pending, seen = [node.args[1]], 0
    while pending and seen < 80:
        current = pending.pop()
        seen += 1
        if isinstance(current, Seq):
            pending += current.items
        elif isinstance(current, Data):
            if current.op in _RANDOM:
                return True
            pending += current.args
    return False
