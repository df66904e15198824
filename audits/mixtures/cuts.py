"""Cuts of one array at the same places: the targets of a score and the targets in a table's key are often cut out one by one."""

from __future__ import annotations

from collections.abc import Iterable

from audits.mixtures.expressions import bare, first_of, same_value
from audits.mixtures.flow import Flow, data_in
from verifier.program.queries import operation
from verifier.program.values import Data, Seq, Value


def same_cuts(flow: Flow, cuts: Iterable[Data]) -> list[Data]:
    """Cuts of the same arrays at the places of `cuts`: by the same bounds, or by the numbers of a range between them (`y[first:end]`
    and `y[torch.arange(first, end)[used]]`)."""
    wanted: dict[int, list[Data]] = {}
    for cut in cuts:
        array = _array(cut)
        if array is not None:
            wanted.setdefault(id(array), []).append(cut)
    if not wanted:
        return []
    indexed = _indexed(flow)
    return [
        node
        for array, own in wanted.items()
        for node in indexed.get(array, ())
        if any(node is not cut and _same_places(cut.args[1], node.args[1]) for cut in own)
    ]


def _indexed(flow: Flow) -> dict[int, list[Data]]:
    """Everything that is cut out of each array of the graph, by the array's identity."""
    held = flow.memo.get("indexed")
    if isinstance(held, dict):
        return held
    found: dict[int, list[Data]] = {}
    for node in flow.nodes.values():
        array = _array(node)
        if array is not None:
            found.setdefault(id(array), []).append(node)
    flow.memo["indexed"] = found
    return found


def _array(node: Data) -> Data | None:
    """What an index cuts something out of."""
    held = data_in(node.args[0])[:1] if operation(node) == "index" and len(node.args) == 2 else ()
    return next((bare(one) for one in held), None)


def _same_places(one: Value, other: Value) -> bool:
    if isinstance(one, Seq) or isinstance(other, Seq):
        if not isinstance(one, Seq) or not isinstance(other, Seq) or len(one.items) != len(other.items):
            return False
        return bool(one.items) and all(_same_places(a, b) for a, b in zip(one.items, other.items, strict=True))
    first, second = data_in(one), data_in(other)
    if len(first) != 1 or len(second) != 1:
        return False
    between, within = _bounds(first[0]), _bounds(second[0])
    if between is None or within is None:
        return same_value(first[0], second[0], 0)
    return all(same_value(a, b, 0) for a, b in zip(between, within, strict=True))


def _bounds(place: Data) -> tuple[Data, Data] | None:
    """Where a slice, or a range of which some numbers are used, starts and ends; None for other places and for steps."""
    for _ in range(6):
        if operation(place) != "index" or not place.args:
            break
        place = bare(first_of(place.args[0]))
    bounds = [one for one, name in zip(place.args, _names(place), strict=True) if not name]
    if (
        operation(place) == "slice"
        and len(bounds) > 1
        and all(one.known and one.const is None for one in data_in(Seq("tuple", bounds[2:])))
    ):
        return bare(first_of(bounds[0])), bare(first_of(bounds[1]))
    if operation(place) == "arange" and len(bounds) == 2:
        return bare(first_of(bounds[0])), bare(first_of(bounds[1]))
    return None


def _names(node: Data) -> tuple[str, ...]:
    """The keyword of each argument, empty where it is given by its place."""
    return ("",) * (len(node.args) - len(node.names)) + node.names
