"""What a score is computed from besides its own stretch of text: figures over the whole text, later parts included."""

from __future__ import annotations

from verifier.program.events import Event
from verifier.program.queries import has_source, operation, slice_of
from verifier.program.summaries import given_to
from verifier.program.values import Data, Seq, Value, is_scored, labels_of

_NODES = 20_000
_LOGARITHMS = frozenset({"log", "log2", "log1p", "logaddexp", "logsumexp", "log_softmax"})
_FIGURES = frozenset({"@", "sum", "mean", "std", "var", "bincount", "unique", "histogram", "histc", "Counter", "coo_matrix", "csr_matrix", "matmul", "einsum",
                      "mm", "median", "quantile", "lstsq", "scatter_add", "index_add"})  # fmt: skip
_MADE = frozenset(
    {"zeros", "ones", "empty", "full", "zeros_like", "ones_like", "empty_like", "full_like", "eye", "arange", "rand", "randn"}
)
_WHERE = frozenset({"slice", "range", "loopvar"})


def reads_whole_text(loss: Event, report: Event) -> Data | None:
    """A value that enters a prediction (or a mixture, below a logarithm) and depends on validation tokens that no loop around the
    scoring picks. What is cut out of such a value by position is of its own place; a look-up by content is not."""
    if not loss.loops:
        return None
    starts = list(loss.values[1:2])
    for value in report.values:
        for node in slice_of(value, _NODES):
            if operation(node) in _LOGARITHMS and is_scored(node):
                starts += [argument for argument in node.args if is_scored(argument)]
    return next((node for node in slice_of(Seq("tuple", starts), _NODES, _operands) if _is_whole(node)), None)


def _is_whole(node: Data) -> bool:
    kinds = {label[0] for label in node.labels}
    return (
        has_source(node.labels, "val")
        and not has_source(node.labels, "train")
        and not kinds & {"loop", "model", "score", "upd", "param", "saved"}
        and node.owner is None
        and not node.known
        # The text itself, converted, says nothing of later parts: only what was summed up over it does.
        and any(operation(part) in _FIGURES and _holds_text(part) for part in slice_of(node, 80))
    )


def _holds_text(value: Data) -> bool:
    """Whether validation tokens are in a value, and do not merely say how large it is (`zeros(tokens.max() + 1)`)."""
    return any(
        has_source(part.labels, "val") and not _text_behind(part)
        for part in slice_of(value, 400, _text_behind)
        if operation(part) not in _MADE
    )


def _text_behind(node: Data) -> list[Value]:
    return [one for one in node.args if has_source(labels_of(one), "val")] if operation(node) not in _MADE else []


def _operands(node: Data) -> list[Value]:
    filled = [value for _, value, _ in node.filled]
    if node.op in _WHERE:
        return filled
    if node.op == "index" and len(node.args) == 2:
        by_content = has_source(labels_of(node.args[1]), "val")
        return [*filled, node.args[1], *([node.args[0]] if by_content else [])]
    if node.inner is None:
        return [*filled, *node.args]
    used = {int(label[2]) for label in labels_of(node.inner) if label[0] == "param"}
    return [*filled, *(leaf for number, leaf in enumerate(given_to(node)) if number in used)]
