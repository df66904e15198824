"""EVA001, the stream: validation tokens that are cut short, or sampled, before the headline's losses are formed."""

from __future__ import annotations

import re
from dataclasses import dataclass

from audits.coverage.dependence import WHOLE
from audits.coverage.scored_loops import headline_losses, why_not_attributed
from verifier.engine.context import Context
from verifier.evidence import Location
from verifier.ledger.claims import headline_runs
from verifier.ledger.denominator import read_tokens
from verifier.program.analysis import Analysis, analysis_of
from verifier.program.events import Event
from verifier.program.queries import has_source, is_matched, iterations_of, slice_of
from verifier.program.values import Data, Seq, Site, Value, labels_of

_RANDOM = frozenset({"call:torch.randint", "call:torch.randperm", "call:random.sample", "call:random.randint", "call:random.choice",
                     "call:random.randrange", "call:numpy.random.randint", "call:numpy.random.choice",
                     "call:numpy.random.permutation", ".randint", ".integers", ".choice", ".permutation", ".sample", ".randrange"})  # fmt: skip
_SPLIT = frozenset({"chunk", "split", "tensor_split", "array_split"})
_GATHERED = frozenset({"index_select", "take", "masked_select", "take_along_dim"})
_SHAPES = frozenset({"view", "reshape", "unfold", "flatten", "unflatten", "as_strided", "stack", "rearrange", "sliding_window_view", "t", "T",
                     "transpose", "permute", "unsqueeze", "expand_dims"})  # fmt: skip
_NARROW = frozenset({".narrow", "call:torch.narrow"})
_LENGTHS = frozenset(
    {"len", ".numel", ".size", ".nelement", ".__len__", "attr:shape", "attr:size", "call:torch.numel", "call:numpy.size"}
)
_PLACES = frozenset({"==", ".eq", ".nonzero", ".argwhere", "call:torch.nonzero", "call:torch.where", "call:numpy.where", "call:numpy.flatnonzero",
                     "call:numpy.nonzero", "call:numpy.argwhere", ".cumsum", "call:torch.cumsum", "call:numpy.cumsum", ".unique",
                     "call:torch.unique", "call:numpy.unique", ".argsort", "call:torch.searchsorted", "call:numpy.searchsorted"})  # fmt: skip
_ROUNDED = frozenset({"call:builtins.int", "call:builtins.round", "call:math.floor", "call:math.ceil"})
_SHARED_OUT = re.compile(r"world|rank|device|num_proc|n_gpu|ngpu", re.IGNORECASE)
"""Lines with the number of processes: what they divide is shared out, not left out."""
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


def whole_stream(context: Context) -> int:
    """Tokens of the set, as the runs print them or of the coarsest known tokenizer."""
    counts = [tokens.count for each in headline_runs(context.submission) if (tokens := read_tokens(each.run)) is not None]
    return max(counts, default=min(row.val_tokens for row in context.challenge.streams if row.status == "canonical"))


def cut_of_stream(context: Context, whole: int) -> Cut | None:
    """What the script does to the stream of `whole` tokens whose losses the last headline prints, when it shortens it. Parts that
    are the whole together are none."""
    analysis = analysis_of(context)
    if not analysis.available or why_not_attributed(analysis):
        return None
    matched = is_matched(analysis.run, context.submission)
    reader = _Spans(analysis, whole)
    cuts: dict[Site, Cut] = {}
    for loss in headline_losses(analysis):
        for node in slice_of(loss.values[2], 1500):
            if not node.args or node.site is None or not has_source(node.labels, "val"):
                continue
            count = reader.count(node, loss)
            if (count is not None and count < WHOLE * whole) or (node.op == "index" and _is_sample(node)):
                places = tuple(dict.fromkeys(analysis.location(site) for site in (node.site, loss.site)))
                # A line may hold both halves: what it adds up to counts.
                before = cuts.get(node.site)
                if before is None or before.tokens != count:
                    count = count if before is None or count is None else count + (before.tokens or 0)
                    cuts[node.site] = Cut(count, places, matched and loss.certain and (count is None or not reader.derived))
                break
    if sum(cut.tokens or 0 for cut in cuts.values()) >= WHOLE * whole:
        return None
    return next(iter(cuts.values()), None)


def gathered_part(context: Context) -> str:
    """The place where the tokens are taken by a mask or by places, and not by a slice: how many that are is not known."""
    analysis = analysis_of(context)
    losses = headline_losses(analysis) if analysis.available else []
    for loss in losses:
        for node in slice_of(loss.values[2], 1500):
            key = node.args[1] if len(node.args) > 1 else None
            if node.site is None or not has_source(node.labels, "val") or any(label[0] == "loop" for label in node.labels):
                continue
            by_places = node.op == "index" and isinstance(key, Data) and key.op != "slice" and not key.known
            if (by_places or node.op.rsplit(".", 1)[-1] in _GATHERED) and _is_stream(node.args[0]):
                return f"which tokens are taken at {analysis.location(node.site)} is not known"
    return ""


class _Spans:
    """Ends of cuts as numbers, where the stream's length is taken for its number of tokens."""

    def __init__(self, analysis: Analysis, whole: int) -> None:
        self.analysis = analysis
        self.whole = whole
        self.derived = False
        """The last count is not of the script's own numbers alone."""

    def count(self, node: Data, loss: Event) -> int | None:
        """Tokens that are left of the stream after this node, where that can be computed."""
        self.derived = False
        if node.op != "index":
            narrowed = self.narrowed(node)
            return narrowed if narrowed is not None else self.read(node)
        part = self.part(node)
        part = part if part is not None else self.reach(node, loss)
        return part if part is not None else self.piece(node)

    def part(self, node: Data) -> int | None:
        """How much of the stream `stream[low:high:step]` is, taken once and not window by window."""
        base, index = node.args[0], node.args[1]
        if (
            not isinstance(index, Data)
            or index.op != "slice"
            or len(index.args) < 2
            or any(label[0] == "loop" for label in labels_of(index))
            or not _is_stream(base)
        ):
            return None
        low, high, step = (
            self._bound(value, default) for value, default in zip((*index.args, None)[:3], (0, self.whole, 1), strict=True)
        )
        if low is None or high is None or step is None or step < 1:
            return None
        low, high = (max(0, one + self.whole) if one < 0 else min(one, self.whole) for one in (low, high))
        self.derived |= step > 1
        row = _row(base)
        count = (high - low) // step * row if row is not None else 0
        return count if count >= LEAST else None

    def piece(self, node: Data) -> int | None:
        """One of the parts that a stream was split into: `stream.chunk(10)[0]`, `stream.split(1_000_000)[0]`."""
        parts, index = node.args[0], node.args[1]
        if not isinstance(parts, Data) or len(parts.args) < 2 or not (isinstance(index, Data) and type(index.const) is int):
            return None
        method = parts.op.rsplit(".", 1)[-1]
        if method not in _SPLIT or not _is_stream(parts.args[0]) or self._shared_out(parts) or self._shared_out(node):
            return None
        self.derived = True
        size = self._bound(parts.args[1], 0)
        if size is None or size < 2:
            return None
        count = size if method == "split" and not parts.op.startswith("call:numpy") else self.whole // size
        return count if count >= LEAST else None

    def read(self, node: Data) -> int | None:
        """`np.fromfile(path, count=N)` with a known N; the rest may be read elsewhere."""
        self.derived = True
        count = node.argument("count") if node.op == "call:numpy.fromfile" and iterations_of(node.labels) == {} else None
        known = count.const if isinstance(count, Data) and type(count.const) is int else 0
        return known if known >= LEAST else None

    def _bound(self, value: Value | None, default: int) -> int | None:
        if value is None or (isinstance(value, Data) and value.known and value.const is None):
            return default
        if isinstance(value, Data) and value.known:
            return value.const if type(value.const) is int else None
        number = None if self._shared_out(value) else self._most(value)
        return int(number) if number is not None else None

    def _shared_out(self, value: Value | None) -> bool:
        """Whether the number of processes has a part in a number."""
        return (
            any(node.site is not None and _SHARED_OUT.search(self._line(node.site)) for node in slice_of(value, 80))
            if value
            else False
        )

    def _line(self, site: Site) -> str:
        for text in self.analysis.trees:
            if (text.path, text.layer) == (site.path, site.layer) and 0 < site.line <= len(text.lines):
                return text.lines[site.line - 1][:400]
        return ""

    def narrowed(self, node: Data) -> int | None:
        """`stream.narrow(0, 0, N)` with a known N."""
        if node.op not in _NARROW:
            return None
        given = [node.argument(name) for name in ("start", "length")]
        first, count = (
            one or (node.args[place] if len(node.args) > place else None) for one, place in zip(given, (2, 3), strict=True)
        )
        if not isinstance(first, Data) or first.const != 0 or count is None or not _is_stream(node.args[0]):
            return None
        length = self._bound(count, self.whole)
        return length if length is not None and length >= LEAST else None

    def reach(self, node: Data, loss: Event) -> int | None:
        """Where windows end that a loop with known bounds cuts from the stream: `for start in range(0, N, size)`. Every loop around the
        loss must have a part in it, since the others could move on to further text."""
        base, index = node.args[0], node.args[1]
        if not isinstance(index, Data) or index.op != "slice" or len(index.args) < 2 or not _is_stream(base):
            return None
        if not {key for key, _ in loss.loops} <= iterations_of(index.labels).keys() or not loss.loops:
            return None
        if self._shared_out(index.args[1]):
            return None
        end, row = self._most(index.args[1]), _row(base)
        return int(end) * row if end is not None and row is not None and end * row >= LEAST else None

    def _most(self, value: Value | None, depth: int = 0) -> float | None:
        """The greatest value of a number that is computed from loop counters, constants and the stream's length, each counter at its
        end."""
        if not isinstance(value, Data) or depth > _DEEPEST:
            return None
        if value.known:
            # A constant of one iteration (a counter that the program advances itself) says nothing about the last one.
            counts = any(label[0] == "loop" for label in value.labels)
            return value.const if type(value.const) in (int, float) and value.const >= 0 and not counts else None  # type: ignore[return-value, operator]
        if value.op == "loopvar" and value.args:
            bounds = [self._most(one, depth + 1) for one in value.args]
            start, stop, step = (0, *bounds, 1) if len(bounds) == 1 else (*bounds, 1)[:3]
            if start is None or stop is None or not step:
                return None
            return start + (stop - 1 - start) // step * step if stop > start else None
        if self._is_length(value):
            self.derived = True
            return self.whole
        operands = value.args[0].items if len(value.args) == 1 and isinstance(value.args[0], Seq) else value.args
        derived = self.derived
        ends = [self._most(one, depth + 1) for one in operands]
        known = [end for end in ends if end is not None]
        if value.op == "call:builtins.min" and known:
            if any(isinstance(one, Data) and one.known and one.const == min(known) for one in operands):
                self.derived = derived
            return min(known)
        if len(known) != len(ends) or (value.op not in ("+", "*") and any(label[0] == "loop" for label in value.labels)):
            # Only what grows with its parts is greatest where they are.
            return None
        return _calculated(value.op, known)

    def _is_length(self, value: Data) -> bool:
        """The number of tokens of the stream: `len(val)`, `val.numel()`, `val.shape[0]`."""
        measured = value.args[0] if value.op == "index" and value.args else value
        return isinstance(measured, Data) and measured.op in _LENGTHS and bool(measured.args) and _is_stream(measured.args[0])


def _row(value: Value) -> int | None:
    """Tokens in one item of a stream: `stream.view(-1, size)` has rows of them. None where the rows are not known."""
    shaped = [node for node in slice_of(value, 60) if node.op.rsplit(".", 1)[-1] in _SHAPES]
    if not shaped:
        return 1
    size = shaped[0].args[2] if len(shaped) == 1 and len(shaped[0].args) == 3 else None
    known = size.const if isinstance(size, Data) else None
    return known if type(known) is int and known > 0 else None


def _calculated(op: str, numbers: list[float]) -> float | None:
    if len(numbers) == 1:
        return int(numbers[0]) if op in _ROUNDED else None
    if op == "call:builtins.max" and numbers:
        return max(numbers)
    if len(numbers) != 2:
        return None
    left, right = numbers
    if op in ("/", "//", "%") and not right:
        return None
    if op == "%":
        return left % right
    results = {"+": left + right, "-": left - right, "*": left * right}
    return results.get(op) if op in results else left // right if op == "//" else left / right if op == "/" else None


def _is_stream(value: Value) -> bool:
    """Whether these are the validation tokens, not a window of them nor places in them (where documents start)."""
    labels = labels_of(value)
    return (
        has_source(labels, "val")
        and not has_source(labels, "train")
        and not any(label[0] in ("loop", "model", "score") for label in labels)
        and not any(node.op in _PLACES for node in slice_of(value, 60))
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
