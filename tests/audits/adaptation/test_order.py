"""How the tokens of two events lie to each other."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from audits.adaptation.order import EARLIER, LATER, SAME, WHOLE, relation_of
from audits.adaptation.spans import lie_apart
from verifier.program.events import Event
from verifier.program.values import Data, Label, Site, constant

SITE = Site("train_gpt.py", 0, 1)


def event(loops: dict[int, int], tokens: dict[int, tuple[int, ...]]) -> Event:
    labels: frozenset[Label] = frozenset(("loop", key, ordinal) for key, ordinals in tokens.items() for ordinal in ordinals)
    return Event("update", 0, SITE, labels, labels, (), "step", (), tuple(sorted(loops.items())), (), True, "f")


def test_pieces_of_a_loop_follow_each_other() -> None:
    first, second = event({1: 1}, {1: (1,)}), event({1: 2}, {1: (2,)})
    assert relation_of(first, second) == EARLIER
    assert relation_of(second, first) == LATER
    assert relation_of(first, first) == SAME


def test_a_position_that_is_carried_along_counts_by_its_iteration() -> None:
    assert relation_of(event({1: 1}, {1: (1,)}), event({1: 2}, {1: (1, 2)})) == EARLIER


def test_a_repetition_that_does_not_choose_tokens_is_the_same_text() -> None:
    learned, scored = event({7: 1, 8: 1}, {8: (1,)}), event({7: 2, 8: 1}, {8: (1,)})
    assert relation_of(learned, scored) == SAME


def test_passes_without_a_common_loop_cover_each_other() -> None:
    assert relation_of(event({1: 1}, {1: (1,)}), event({2: 1}, {2: (1,)})) == WHOLE


@given(
    st.dictionaries(st.integers(1, 4), st.integers(1, 3), max_size=4),
    st.dictionaries(st.integers(1, 4), st.integers(1, 3), max_size=4),
)
def test_the_relation_turns_around_with_its_sides(first: dict[int, int], second: dict[int, int]) -> None:
    one = event(first, {key: (ordinal,) for key, ordinal in first.items()})
    other = event(second, {key: (ordinal,) for key, ordinal in second.items()})
    there, back = relation_of(one, other), relation_of(other, one)
    if {there, back} & {SAME, WHOLE}:
        assert there == back
    elif first.keys() & second.keys() and len([key for key in first.keys() & second.keys() if first[key] != second[key]]) == 1:
        assert {there, back} == {EARLIER, LATER}


def cut(base: Data, low: object, high: object) -> Data:
    ends = [end if isinstance(end, Data) else constant(end) for end in (low, high)]
    return Data("index", (base, Data("slice", tuple(ends))), site=SITE)


@given(st.integers(0, 1000), st.integers(1, 1000), st.integers(0, 1000), st.integers(1, 1000))
def test_stretches_with_known_ends(start: int, length: int, other: int, width: int) -> None:
    text = Data("call:numpy.fromfile")
    apart = lie_apart(cut(text, start, start + length), cut(text, other, other + width))
    if start + length <= other:
        assert apart == "before"
    elif other + width <= start:
        assert apart == "after"
    elif start + length > other + 1 and other + width > start + 1:
        assert apart == ""


def test_stretches_of_different_texts_are_not_compared() -> None:
    assert lie_apart(cut(Data("call:numpy.fromfile"), 0, 10), cut(Data("call:numpy.fromfile"), 20, 30)) == ""


def test_ends_that_are_not_known_are_compared_only_with_themselves() -> None:
    text, middle, length = Data("call:numpy.fromfile"), Data("call:builtins.len"), Data("unknown")
    assert lie_apart(cut(text, None, middle), cut(text, middle, None)) == "before"
    assert lie_apart(cut(text, None, middle), cut(text, length, None)) == ""
