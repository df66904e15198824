"""Questions that rules ask of a trace."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache

from verifier.ledger.claims import headline_runs
from verifier.program.events import Event, Trace
from verifier.program.values import ClassV, Data, Instance, Labels, Map, Native, Seq, Value, alternatives_of
from verifier.submission.logs.model import Metric
from verifier.submission.submission import Submission


def slice_of(value: Value, limit: int = 4000, operands: Callable[[Data], Iterable[Value]] | None = None) -> Iterator[Data]:
    """Every node that a value was computed from, itself first; containers are looked into, and so are summarised methods unless
    `operands` says what a node is computed from."""
    pending: list[Value] = [value]
    seen: set[int] = set()
    while pending and len(seen) < limit:
        current = pending.pop()
        key = id(current)
        if key in seen:
            continue
        seen.add(key)
        if type(current) is Data:
            yield current
            if operands is not None:
                pending += operands(current)
                continue
            if current.inner is not None:
                pending.append(current.inner)
            if current.args:
                pending += current.args[::-1]
        elif isinstance(current, Seq):
            pending += reversed(current.items)
        elif isinstance(current, Map):
            pending += [*current.entries.values(), *current.rest]
        elif isinstance(current, Native):
            pending.append(current.receiver)
        elif not isinstance(current, Instance | ClassV):
            pending += [one for one in alternatives_of(current) if one is not current]


def operation(node: Data) -> str:
    """The bare name of what a node does: `call:torch.log` and `.log` are both `log`."""
    return _bare(node.op)


@lru_cache(maxsize=4096)
def _bare(op: str) -> str:
    return op if op.startswith("attr:") else op.rsplit(":", 1)[-1].rsplit(".", 1)[-1]


def has_source(labels: Labels, kind: str) -> bool:
    return ("src", kind) in labels


def overlap(first: Labels, second: Labels) -> str:
    """Whether two events are about the same tokens: `same` iteration of a shared loop, `disjoint` iterations of one, or `whole`
    (no loop in common: each covers what it covers)."""
    mine, other = iterations_of(first), iterations_of(second)
    shared = mine.keys() & other.keys()
    if any(not mine[key] & other[key] for key in shared):
        return "disjoint"
    return "same" if shared else "whole"


def iterations_of(labels: Labels) -> dict[int, set[int]]:
    """The iterations of each loop that something depends on, by the loop's key."""
    found: dict[int, set[int]] = {}
    for label in labels:
        if label[0] == "loop":
            found.setdefault(int(label[1]), set()).add(int(label[2]))
    return found


def events_behind(labels: Labels, trace: Trace, kind: str) -> tuple[Event, ...]:
    """The events that labels of a kind (`upd`, `score`) point to, in order."""
    indices = sorted({int(label[1]) for label in labels if label[0] == kind})
    return tuple(trace.events[index] for index in indices if index < len(trace.events))


def is_silent(event: Event, trace: Trace) -> bool:
    """Whether a condition on the way to the event prints something that no log shows: the run may not have gone there."""
    return any(site in trace.silent for site in event.conditions)


UNTRAINED = "no step on training shards is in the run that is followed: how its weights came about is not known"


def trains(trace: Trace) -> bool:
    """Whether a gradient step on training shards is in an execution. Without one its weights came from elsewhere, and how is not in it."""
    return any(has_source(step.tokens, kind) for step in trace.of("update") for kind in ("train", "shards"))


def updates_in(labels: Labels, trace: Trace) -> tuple[Event, ...]:
    return events_behind(labels, trace, "upd")


def scores_of(event: Event, trace: Trace) -> tuple[Event, ...]:
    """The losses that flow into a report (or anything else)."""
    return events_behind(event.labels, trace, "score")


def headline_reports(trace: Trace, submission: Submission) -> tuple[Event, ...]:
    """Reports that print the headline metric: their fixed text stands in the log line that the headline was read from. Without
    such a line: every report that a validation loss flows into."""
    scored = _scored_reports(trace)
    matched = [event for event in scored if prints_headline(event, submission)]
    return tuple(matched or scored)


def reports_printing(trace: Trace, line: str) -> tuple[Event, ...]:
    """Reports with a score whose fixed text stands in a log line: of several, those with the most fixed words."""
    matched = [event for event in trace.of("report") if scores_of(event, trace) and _matches(event.text, line)]
    longest = max((len(event.text.split()) for event in matched), default=0)
    return tuple(event for event in matched if len(event.text.split()) == longest)


def is_matched(trace: Trace, submission: Submission) -> bool:
    """Whether a report that a validation loss flows into prints the headline's own log line."""
    return any(prints_headline(event, submission) for event in _scored_reports(trace))


def prints_headline(event: Event, submission: Submission) -> bool:
    """Whether the fixed text of a report stands in the log line that the headline was read from."""
    return any(_matches(event.text, metric.source.excerpt) for metric in _headline_metrics(submission))


def _scored_reports(trace: Trace) -> list[Event]:
    return [event for event in trace.of("report") if any(has_source(score.tokens, "val") for score in scores_of(event, trace))]


def _headline_metrics(submission: Submission) -> list[Metric]:
    return [chosen.metric for chosen in headline_runs(submission) if chosen.metric is not None]


_SHORT = 4
"""Letters that a word must have to be looked for as the beginning of a longer one (`quantized` in `quantized_ttt`)."""


def _matches(text: str, line: str) -> bool:
    """Whether all words of a report's fixed text stand in the line, in order; signs count (`step/total val_loss:` is another line)."""
    position = 0
    words = _compared_words(text)
    for word in words:
        found = _find_word(word, line, position)
        if found < 0:
            return False
        position = found + len(word)
    return bool(words)


@lru_cache(maxsize=1024)
def _compared_words(text: str) -> tuple[str, ...]:
    """The words of a report's text that are looked for in lines, none where there is no letter in it."""
    words = [word.rstrip(":=,(") for word in text.replace(":", ": ").replace("=", "= ").split()]
    if not any(char.isalpha() for word in words for char in word):
        return ()
    # A rule of signs (`=====`) would use up the words that are compared.
    return tuple(word for word in words if word)[:16]


def _find_word(word: str, line: str, start: int) -> int:
    """Where a word stands in a line, not as the end of a longer one (`val` in `eval`) and, when it is short, not as its beginning
    either (`p` in `ppl`). -1 where it does not."""
    found = line.find(word, start)
    while found >= 0:
        before, after = line[found - 1 : found] if found else "", line[found + len(word) : found + len(word) + 1]
        if not (word[0].isalpha() and before.isalpha()) and not (len(word) < _SHORT and word[-1].isalpha() and after.isalpha()):
            return found
        found = line.find(word, found + 1)
    return -1
