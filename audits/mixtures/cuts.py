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
        if operation(cut) == "index" and len(cut.args) == 2:
            wanted.setdefault(id(bare(first_of(cut.args[0]))), []).append(cut)
    if not wanted:
        return []
    found: list[Data] = []
    for node in flow.nodes.values():
        if operation(node) != "index" or len(node.args) != 2:
            continue
        own = wanted.get(id(bare(first_of(node.args[0]))), ())
        if any(node is not cut and _same_places(cut.args[1], node.args[1]) for cut in own):
            found.append(node)
    return found


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
