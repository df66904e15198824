"""Where data enters a model's weights other than by gradient steps, and where weights leave for the artifact."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from verifier.program.events import Event, Trace
from verifier.program.queries import has_source, slice_of, updates_in
from verifier.program.values import Choice, Data, Map, Seq, Site, Value, labels_of

_COPIES = frozenset(
    {".cpu", ".detach", ".clone", ".to", ".float", ".half", ".contiguous", ".state_dict", ".items", "element", "parameters"}
)
_ARITHMETIC = frozenset("+-*/")
"""Weights divided by a count of steps meet no data."""
_RESULTS = (".json", ".txt", ".log", ".csv", ".md", ".html", ".tsv", ".yaml", ".yml")
"""Files that hold figures, not weights."""


@dataclass(frozen=True, slots=True)
class Construction:
    """Weights that were constructed with data: the line that collects it, and the event that puts the result to use (loads it
    into a model, writes the artifact). `trained` when the data was read by weights that gradient steps had already changed."""

    collected: Site
    used: Event
    certain: bool
    trained: bool


def parts_of(value: Value, depth: int = 0) -> Iterator[Data]:
    """The tensors and numbers of nested containers."""
    if isinstance(value, Data):
        yield value
    elif depth < 5:
        inner: tuple[Value, ...] = ()
        if isinstance(value, Seq):
            inner = tuple(value.items)
        elif isinstance(value, Map):
            inner = (*value.entries.values(), *value.rest)
        elif isinstance(value, Choice):
            inner = value.alternatives
        for one in inner:
            yield from parts_of(one, depth + 1)


def is_artifact(event: Event) -> bool:
    """Whether a save writes weights (and not a table of results)."""
    return (
        event.kind == "save"
        and not any(word.endswith(_RESULTS) for word in event.text.lower().split())
        and not any(node.op.endswith("json.dumps") for part in parts_of(event.values[0]) for node in slice_of(part, 20))
        and any(any(label[0] == "model" for label in part.labels) for part in parts_of(event.values[0]))
    )


def constructions(trace: Trace, kind: str) -> tuple[Construction, ...]:
    """Weights loaded or shipped that depend on data of this kind without a gradient step: ranges, Hessians, pruning, averages."""
    found = []
    for event in trace.events:
        if event.kind == "load-state":
            parts = list(parts_of(event.values[1]))
        elif is_artifact(event):
            # Packed bytes mix all that was packed: what went in was seen when it was packed.
            kinds = [(part, {label[0] for label in part.labels}) for part in parts_of(event.values[0])]
            parts = [part for part, labels in kinds if "model" in labels and "saved" not in labels]
        else:
            continue
        # What bears a score is a figure beside the weights, or came by gradients: training data may do that.
        weights = [
            part
            for part in parts
            if has_source(part.labels, kind)
            # Both kinds at once: shards that went through one cache, which says nothing about either.
            and not (kind == "val" and has_source(part.labels, "train"))
            and (not any(label[0] == "score" for label in part.labels) or (kind == "val" and _uses_gradients(part)))
        ]
        if weights:
            collected = _collected(trace, event, weights, kind)
            if collected is not None:
                found.append(collected)
    return tuple(found)


def _collected(trace: Trace, used: Event, weights: list[Data], kind: str) -> Construction | None:
    """The first pass over the data since the last gradient step before its use."""
    steps = [step.index for step in trace.of("update") if step.index < used.index and _learns(step)]
    start = steps[-1] if steps else -1
    # What the loop of the training keeps beside its steps (averages, states of a loader) is training.
    training = {key for key, _ in trace.events[start].loops} if steps else set()
    # What is collected is written into a table; a pass that only forms losses is the next best line to cite.
    for wanted in ("write", "loss"):
        for event in trace.events[start + 1 : used.index]:
            if training & {key for key, _ in event.loops}:
                continue
            by_gradient = wanted == "write" and any(label[0] == "score" for label in event.labels)
            # A loss bears what its weights were made with, too: only its own tokens are read by it.
            seen = event.tokens if wanted == "loss" else event.tokens | event.labels
            if event.kind == wanted and not event.grad and not by_gradient and has_source(seen, kind):
                # A loss alone shows that the data was seen, not that it was kept.
                certain = wanted == "write" and event.certain and used.certain
                return Construction(event.site, used, certain, bool(steps))
    # Sums that are rebound leave no event: the activations among what the weights were computed from.
    for weight in weights:
        if any(label[0] == "saved" for label in weight.labels):
            continue
        activations = [
            node for node in slice_of(weight, 3000) if node.site is not None and _is_activation(node, kind) and not _is_copy(node)
        ]
        # Where data meets the model. Averages of weights depend on training data, too, but by way of the training alone.
        meeting = (node for node in activations if node.op not in _ARITHMETIC and any(_is_data(one, kind) for one in node.args))
        first = next(meeting, None)
        if first is None and kind == "val":
            first = _behind_changes(trace, weight, start) or (activations[-1] if activations else None)
        if first is not None and first.site is not None:
            return Construction(first.site, used, used.certain, bool(steps) and ("upd", steps[-1]) in first.labels)
    return None


def _behind_changes(trace: Trace, weight: Data, start: int) -> Data | None:
    """Where data meets the model in what was written, since event `start`, into a weight or the tables behind it: the first thing
    computed from it when a hook caught it."""
    for change in updates_in(weight.labels, trace):
        if change.index <= start or _learns(change) or not has_source(change.tokens | change.labels, "val"):
            continue
        last: Data | None = None
        for node in slice_of(Seq("tuple", change.values), 3000):
            if node.site is None or not _is_activation(node, "val") or _is_copy(node):
                continue
            if any(_is_data(one, "val") for one in node.args):
                return last if node.op == "hooked" and last is not None else node
            last = node
    return None


def _is_activation(node: Data, kind: str) -> bool:
    return has_source(node.labels, kind) and any(label[0] == "model" for label in node.labels)


def _is_copy(node: Data) -> bool:
    """A weight as it is, moved, cloned or looked up by its name: whatever its model keeps beside it."""
    if node.op != "index" or len(node.args) < 2:
        return node.op in _COPIES
    held, key = node.args[:2]
    by_name = isinstance(held, Data) and held.op == ".state_dict"
    return by_name or (isinstance(key, Data) and key.known)


def _is_data(value: Value, kind: str) -> bool:
    labels = labels_of(value)
    return has_source(labels, kind) and not any(label[0] in ("model", "saved") for label in labels)


def _uses_gradients(part: Data) -> bool:
    return any(node.op == "attr:grad" for node in slice_of(part, 300))


def _learns(step: Event) -> bool:
    return bool(step.tokens) and any(label[0] == "score" for label in step.labels)
