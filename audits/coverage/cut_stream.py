"""EVA001, the program's side: a validation stream that is cut short, or sampled, before the headline's losses are formed."""

from __future__ import annotations

from dataclasses import dataclass

from verifier.engine.context import Context
from verifier.evidence import Location
from verifier.program.analysis import analysis_of
from verifier.program.queries import has_source, headline_reports, scores_of, slice_of
from verifier.program.values import Data, Seq, Value, labels_of

_RANDOM = frozenset({"call:torch.randint", "call:torch.randperm", "call:random.sample", "call:random.randint", "call:random.choice",
                     "call:random.randrange", "call:numpy.random.randint", "call:numpy.random.choice",
                     "call:numpy.random.permutation", ".randint", ".integers", ".choice", ".permutation", ".sample", ".randrange"})  # fmt: skip
LEAST = 4096
"""Tokens below which a cut is a window, not a stream."""


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
                if node.op != "index" or len(node.args) < 2 or node.site is None or not has_source(node.labels, "val"):
                    continue
                count = _prefix(node)
                if count is not None or _is_sample(node):
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
