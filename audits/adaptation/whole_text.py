"""What a score is computed from besides its own stretch of text: figures over the whole text, later parts included."""

from __future__ import annotations

from collections.abc import Iterator

from verifier.program.events import Event
from verifier.program.queries import has_source, slice_of
from verifier.program.summaries import leaves_of
from verifier.program.values import Choice, Data, Map, Native, Seq, Value, is_scored, labels_of

_NODES = 20_000
_LOGARITHMS = frozenset({"log", "log2", "log1p", "logaddexp", "logsumexp", "log_softmax"})
_FIGURES = frozenset({"@", "sum", "mean", "std", "var", "bincount", "unique", "histogram", "histc", "Counter", "coo_matrix", "csr_matrix", "matmul", "einsum",
                      "mm", "median", "quantile", "lstsq", "scatter_add", "index_add"})  # fmt: skip
_MADE = frozenset(
    {"zeros", "ones", "empty", "full", "zeros_like", "ones_like", "empty_like", "full_like", "eye", "arange", "rand", "randn"}
)
_WHERE = frozenset({"slice", "range", "loopvar"})


def reads_whole_text(loss: Event | None, report: Event) -> Data | None:
    """A value that enters a prediction (or a mixture, below a logarithm) and depends on validation tokens that no loop around the
    scoring picks. What is cut out of such a value by position is of its own place; a look-up by content is not."""
    starts: list[Value] = [loss.values[1]] if loss is not None and len(loss.values) > 1 else []
    loops = {key for key, _ in loss.loops} if loss is not None else set()
    for value in report.values:
        for node in slice_of(value, _NODES):
            if _operation(node) in _LOGARITHMS and is_scored(node):
                starts += [argument for argument in node.args if is_scored(argument)]
    if not loops:
        return None
    return next((node for node in _entering(starts) if _is_whole(node)), None)


def _is_whole(node: Data) -> bool:
    kinds = {label[0] for label in node.labels}
    return (
        has_source(node.labels, "val")
        and not has_source(node.labels, "train")
        and not kinds & {"loop", "model", "score", "upd", "param", "saved"}
        and node.owner is None
        and not node.known
        # The text itself, converted, says nothing of later parts: only what was summed up over it does.
        and any(_operation(part) in _FIGURES and _holds_text(part) for part in slice_of(node, 80))
    )


def _holds_text(value: Value) -> bool:
    """Whether validation tokens are in a value, and do not merely say how large it is (`zeros(tokens.max() + 1)`)."""
    pending: list[Value] = [value]
    seen: set[int] = set()
    while pending and len(seen) < 400:
        current = pending.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        if isinstance(current, Seq):
            pending += current.items
        elif isinstance(current, Data) and _operation(current) not in _MADE:
            behind = [one for one in current.args if has_source(labels_of(one), "val")]
            if has_source(current.labels, "val") and not behind:
                return True
            pending += behind
    return False


def _entering(starts: list[Value]) -> Iterator[Data]:
    pending, seen = list(starts), set[int]()
    while pending and len(seen) < _NODES:
        current = pending.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        if isinstance(current, Data):
            yield current
            pending += _operands(current)
            pending += [value for _, value, _ in current.filled]
        elif isinstance(current, Seq):
            pending += current.items
        elif isinstance(current, Map):
            pending += [*current.entries.values(), *current.rest]
        elif isinstance(current, Choice):
            pending += current.alternatives
        elif isinstance(current, Native):
            pending.append(current.receiver)


def _operands(node: Data) -> list[Value]:
    if node.op in _WHERE:
        return []
    if node.op == "index" and len(node.args) == 2:
        by_content = has_source(labels_of(node.args[1]), "val")
        return [node.args[1], *([node.args[0]] if by_content else [])]
    if node.inner is None:
        return list(node.args)
    given = [leaf for argument in node.args for leaf in leaves_of(argument)]
    used = {int(label[2]) for label in node.inner.labels if label[0] == "param"} if isinstance(node.inner, Data) else set()
    return [leaf for number, leaf in enumerate(given) if number in used]


def _operation(node: Data) -> str:
    return node.op.rsplit(":", 1)[-1].rsplit(".", 1)[-1]
