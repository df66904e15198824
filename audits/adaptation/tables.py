"""Tables of counts that are filled with validation tokens and looked up by content (n-gram caches)."""

from __future__ import annotations

from audits.adaptation.branches import exclude_each_other
from audits.adaptation.order import EARLIER, SAME, WHOLE, Adaptation, Use, relation_of
from verifier.engine.context import Context
from verifier.program.analysis import Analysis, analysis_of
from verifier.program.events import Event
from verifier.program.machine import VIEWS
from verifier.program.queries import has_source, operation, slice_of
from verifier.program.values import Choice, Data, Value, is_scored, labels_of

_COUNTS = frozenset({"bincount", "histc", "histogram"})
_PLACES = frozenset({"where", "nonzero", "flatnonzero", "argwhere", "arange", "argsort", "searchsorted", "isin"})
_CONDITIONS = frozenset({"<", "<=", "==", "!=", ">", ">=", "~", "not", "and", "or"})
_WHERE = frozenset({"slice", "range", "loopvar"})
_CASTS = frozenset({"from_numpy", "tensor", "as_tensor", "asarray", "array", "cat", "concatenate", "stack"})


def table_uses(adaptation: Adaptation, context: Context) -> tuple[Use, ...]:
    """Lookups behind the headline in a table that was filled with the tokens that are looked up, or with later ones."""
    name = f"adaptation-tables-{adaptation.assumed}"
    held = context.memo.get(name)
    if not isinstance(held, tuple):
        held = context.memo[name] = _collect(adaptation, analysis_of(context))
    return held


def _collect(adaptation: Adaptation, analysis: Analysis) -> tuple[Use, ...]:
    trace = adaptation.trace
    written: dict[int, list[Event]] = {}
    for event in trace.of("write"):
        if _is_counting(event):
            for table in _tables(event.values[0]):
                written.setdefault(id(table), []).append(event)
    uses: dict[tuple[object, object], Use] = {}
    for lookup in trace.of("lookup"):
        held = [event for table in _tables(lookup.values[0]) for event in written.get(id(table), ())]
        writes = [event for event in held if event.index < lookup.index]
        later = [event for event in held if event.index > lookup.index]
        if any(write.site == lookup.site or write.values[0] is lookup.values[2] for write in held):
            continue  # the old value, read to be replaced; the entry, read to be written to
        for write in writes:
            relation = relation_of(write, lookup)
            if relation == EARLIER:
                continue
            if relation == SAME and (not _outlives(write, lookup, writes) or exclude_each_other(analysis, trace, write, lookup)):
                continue
            place = (write.site, lookup.site)
            concerned = adaptation.headline.concerned(lambda report, label=("upd", write.index): label in report.labels)  # type: ignore[misc]
            if concerned is not None and place not in uses:
                # A table that is kept up to date while scoring may have been filled with the text before, and no more.
                report, sure = concerned
                uses[place] = Use(write, lookup, report, sure and not (relation == WHOLE and _kept_up(lookup, later)), relation)
        for counted in _counted_at_once(lookup):
            concerned = adaptation.headline.concerned(lambda report, result=lookup.values[2]: _enters(result, report))  # type: ignore[misc]
            if concerned is not None:
                uses.setdefault((counted.site, lookup.site), Use(counted, lookup, *concerned, WHOLE))
    return tuple(uses.values())


def _kept_up(lookup: Event, later: list[Event]) -> bool:
    """Whether the loop around a lookup writes to the table as well, after it."""
    around = {key for key, _ in lookup.loops}
    return any(key in around for write in later for key, _ in write.loops)


def _counted_at_once(lookup: Event) -> list[Event]:
    """Histograms of a whole pass in the table of a lookup: `pairs = np.bincount(keys)`, with no loop in common."""
    found = []
    for table in _tables(lookup.values[0]):
        for node in slice_of(table, 40) if isinstance(table, Data) else ():
            known = has_source(node.labels, "val") and not has_source(node.labels, "train")
            if operation(node) in _COUNTS and known and not is_scored(node) and node.site is not None:
                made = Event(
                    "write", -1, node.site, node.labels, node.labels, (node,), "", lookup.guards, (), (), False, lookup.function
                )
                if relation_of(made, lookup) == WHOLE:
                    found.append(made)
    return found


def _enters(result: Value, report: Event) -> bool:
    """Whether a value is among what a report is computed from, and does not merely say where something is or how long."""
    return any(node is result for value in report.values for node in slice_of(value, 20_000, _content))


def _content(node: Data) -> list[Value]:
    held = node.args[:1] if node.op == "index" else () if node.op in _WHERE else node.args
    return [*held, *(value for _, value, _ in node.filled), *([node.inner] if node.inner is not None else [])]


def _is_counting(event: Event) -> bool:
    """Whether a write puts down what validation tokens look like: under a key made of tokens, or as counts of such keys. Figures
    that are kept for each token are results, not something that is learned."""
    value = event.values[-1]
    if not has_source(event.tokens, "val") or is_scored(value) or any(label[0] == "model" for label in event.tokens):
        return False
    if has_source(event.tokens, "train"):
        return False  # e.g. a loader's own books about any shard: not known to be about validation tokens
    if len(event.values) > 2 and has_source(labels_of(event.values[1]), "val") and not _is_place(event.values[1]):
        return True
    return any(operation(node) in _COUNTS for node in slice_of(value, 40))


def _is_place(key: Value) -> bool:
    """Whether a key says where (a mask, indices of hits) and not what."""
    pending = [key]
    for _ in range(24):
        if not pending:
            break
        current = pending.pop()
        if not isinstance(current, Data):
            continue
        if operation(current) in _PLACES or current.op in _CONDITIONS:
            return True
        if current.op in VIEWS or current.op in ("+", "-", "join") or current.op.startswith(".") or operation(current) in _CASTS:
            pending += current.args[:1] if current.op == "index" else current.args
    return False


def _tables(value: Value) -> list[Value]:
    """The objects whose memory an expression names."""
    found: list[Value] = []
    pending = [value]
    for _ in range(64):
        if not pending:
            break
        current = pending.pop()
        if isinstance(current, Choice):
            pending += current.alternatives
        elif isinstance(current, Data) and current.op in VIEWS and current.args and current.owner is None:
            pending.append(current.args[0])
        elif isinstance(current, Data) and current.op == "join":
            pending += current.args
        else:
            found.append(current)
    return found


def _outlives(write: Event, lookup: Event, writes: list[Event]) -> bool:
    """Whether the table is one table over several chunks: an earlier iteration of a loop around both has written to it too.
    A buffer that is made anew for each chunk holds no learned state."""
    now = dict(lookup.loops)
    around = [(key, ordinal) for key, ordinal in write.loops if now.get(key) == ordinal]
    return any(dict(other.loops).get(key, ordinal) < ordinal for other in writes for key, ordinal in around)
