"""Learned state in the order of the run: what it had learned from when the headline's losses were formed with it."""

from __future__ import annotations

from dataclasses import dataclass

from audits.adaptation.branches import exclude_each_other
from audits.adaptation.headline import Headline, headline_of, validation_scores
from audits.adaptation.offsets import is_offset
from audits.adaptation.spans import are_one_stretch, is_shown_shared, lie_apart, lies_before_what_counts
from verifier.engine.context import Context
from verifier.program.analysis import Analysis, analysis_of
from verifier.program.changes import changed_by, changes_adapters_only
from verifier.program.dormant import dormant_trace
from verifier.program.events import Event, Trace
from verifier.program.queries import events_behind, has_source, iterations_of, slice_of, updates_in
from verifier.program.values import Data, Labels

_NODES = 3000
_ORDERS = frozenset({"randperm", "permutation", "permuted"})
_GRADIENTS = ("call:torch.autograd.grad", "attr:grad")
EARLIER, SAME, LATER, WHOLE = "earlier", "same", "later", "whole"
"""The tokens that were learned from, seen from those that are scored: text before them; they themselves; text after them; a pass
that has no order in common with the scoring."""


@dataclass(frozen=True, slots=True)
class Use:
    """A loss that was formed with state that an update left behind, and the report it flows into."""

    update: Event
    score: Event
    report: Event
    sure: bool
    """Whether the report is sure to be the headline."""
    relation: str
    shown: bool = True
    """Whether the learned tokens are shown to be among the scored ones: the relation says what labels allow."""
    offset: bool = False
    """Whether the update changes nothing but tensors that are added to what the model computes."""


@dataclass(frozen=True, slots=True)
class Adaptation:
    """All uses of state learned from validation tokens by the headline."""

    trace: Trace
    headline: Headline
    uses: tuple[Use, ...]
    descents: tuple[Use, ...]
    """Losses whose prediction was computed with the gradient of an earlier loss of the same tokens, without a step in between."""
    assumed: bool
    """Whether this is the run with evaluations that its settings switch off, because no log shows what the run did."""

    @property
    def forbidden(self) -> tuple[Use, ...]:
        return tuple(use for use in self.uses if use.relation != EARLIER)


def adaptations_of(context: Context) -> tuple[Adaptation, ...]:
    """The run's, made once for all rules of this family. For a folder without logs a second one follows: the script with the
    evaluations that its settings switch off. The analysis must be available."""
    held = context.memo.get("adaptation")
    if not isinstance(held, tuple):
        analysis = analysis_of(context)
        made = [_collect(analysis, analysis.run, assumed=False)]
        dormant = None if made[0].headline.matched else dormant_trace(context)
        if dormant is not None:
            made.append(_collect(analysis, dormant, assumed=True))
        held = context.memo["adaptation"] = tuple(made)
    return held


def _collect(analysis: Analysis, trace: Trace, *, assumed: bool) -> Adaptation:
    headline = headline_of(analysis, trace)
    pairs: dict[tuple[int, int], tuple[Event, Event]] = {}
    for report in headline.reports:
        for score in validation_scores(report, trace):
            for update in updates_in(score.labels, trace):
                if learns_from_validation(update, trace):
                    pairs[update.index, score.index] = (update, score)
    found: list[tuple[Event, Event, str]] = []
    for update, score in (pairs[key] for key in sorted(pairs)):
        relation = relation_of(update, score)
        if relation == SAME and exclude_each_other(analysis, trace, update, score):
            continue
        if relation != EARLIER:
            apart = lie_apart(_target(loss_behind(update, trace)), _target(score))
            relation = {"before": EARLIER, "after": LATER}.get(apart, relation)
        if relation != EARLIER and lies_before_what_counts(_target(loss_behind(update, trace)), score, headline.reports):
            relation = EARLIER
        if relation == EARLIER and (
            _reshuffled(update, score) or are_one_stretch(_target(loss_behind(update, trace)), _target(score))
        ):
            relation = SAME
        found.append((update, score, relation))
    updates = {update.index: update for update, _, _ in found}
    offsets = {index: is_offset(update, loss_behind(update, trace)) for index, update in updates.items()}
    uses = []
    for update, score, relation in found:
        report, sure = headline.behind(score, [other for one, other, _ in found if one is update])
        shown = _is_shown(update, score, relation, trace) and not _dropped(trace, update, score)
        uses.append(Use(update, score, report, sure, relation, shown, offsets[update.index]))
    return Adaptation(trace, headline, tuple(uses), _descents(trace, headline), assumed)


def _is_shown(update: Event, score: Event, relation: str, trace: Trace) -> bool:
    """Whether the relation is more than what labels allow: the learned tokens are shown to be among the scored ones."""
    if relation == SAME and not _reshuffled(update, score):
        return is_shown_shared(_target(loss_behind(update, trace)), _target(score))
    if relation == WHOLE:
        # A piece that no loop of its own chooses (the first chunk, read before the loop) is no pass over the text.
        around = {key for key, _ in update.loops} & {key for key, _ in score.loops}
        by_common = around & iterations_of(score.tokens).keys()
        return not by_common or bool(iterations_of(_chosen(update)).keys() - around)
    return True


def _dropped(trace: Trace, update: Event, score: Event) -> bool:
    """Whether an update changed only what training had not made, and before the score parts were taken out of the model, its weights were
    loaded, or training went on: adapters of another evaluation."""
    training = [step for step in trace.of("update") if has_source(step.tokens, "train")]
    between = [event for event in (*trace.of("drop", "load-state"), *training) if update.index < event.index < score.index]
    return bool(between) and changes_adapters_only(update, changed_by(training))


def _descents(trace: Trace, headline: Headline) -> tuple[Use, ...]:
    """`bias = bias - rate * grad(loss, bias)`: the gradient flows into the prediction that is scored."""
    found = []
    gradients = {event.site: event for event in trace.of("backward") if has_source(event.tokens, "val")}
    for report in headline.reports:
        for score in validation_scores(report, trace):
            earlier = [
                index for kind, index, *_ in (label for label in score.labels if label[0] == "score") if index != score.index
            ]
            if not earlier or len(score.values) < 2:
                continue
            for node in slice_of(score.values[1], _NODES):
                event = gradients.get(node.site) if node.op in _GRADIENTS and node.site is not None else None
                if event is not None and event.index < score.index and relation_of(event, score) == SAME:
                    found.append(Use(event, score, *headline.behind(score, [score]), SAME, offset=is_offset(event, None, node)))
                    break
    return tuple(found)


def learns_from_validation(update: Event, trace: Trace) -> bool:
    """Whether this is a step along the gradient of a loss on validation tokens (or a change of weights computed from one)."""
    if update.kind != "update" or not has_source(update.tokens, "val"):
        return False
    loss = loss_behind(update, trace)
    if loss is None:
        return update.text == "step" and not has_source(update.tokens, "train")
    return has_source(loss.tokens, "val") and not has_source(loss.tokens, "train")


def relation_of(before: Event, after: Event) -> str:
    """How the tokens of an earlier event lie to those of a later one, by the loops that cut the text into pieces."""
    first, second = iterations_of(_chosen(before)), iterations_of(_chosen(after))
    shared = first.keys() & second.keys()
    running, now = dict(before.loops), dict(after.loops)
    # A loop that both run in and that chooses the tokens of both: its iterations are the pieces, in order.
    for key, _ in before.loops:
        if key in shared and key in now and running[key] != now[key]:
            return EARLIER if running[key] < now[key] else LATER
    for key in sorted(shared):
        if not first[key] & second[key]:
            return EARLIER if max(first[key]) < min(second[key]) else LATER
        # A position that moves on (`at += size`) depends on all iterations up to its own: the last one is where it stands.
        if key in running and key in now and max(first[key]) < max(second[key]):
            return EARLIER
    return SAME if any(key in running and key in now for key in shared) else WHOLE


def _chosen(event: Event) -> Labels:
    """The labels of an event's tokens with those of the conditions that pick them: `if start < end_of_chunk` relates the loop that
    runs over the text to the loop of the chunks."""
    labels = event.tokens
    for guard in event.guards:
        loops = frozenset(label for label in guard.labels if label[0] == "loop")
        if loops & event.tokens:
            labels |= loops
    return labels


def _reshuffled(update: Event, score: Event) -> bool:
    """Whether what differs between the iterations of a loop around both is only the order of the whole text: an epoch."""
    now = dict(score.loops)
    around = {key for key, ordinal in update.loops if now.get(key, ordinal) != ordinal}
    if not around:
        return False
    return any(
        node.op.rsplit(".", 1)[-1] in _ORDERS and any(label[0] == "loop" and label[1] in around for label in node.labels)
        for node in slice_of(_target(score), 400)
    )


def loss_behind(update: Event, trace: Trace) -> Event | None:
    """The loss whose gradient an update follows."""
    losses = [event for event in events_behind(update.labels, trace, "score") if event.index < update.index]
    return losses[-1] if losses else None


def _target(loss: Event | None) -> Data:
    target = loss.values[2] if loss is not None and len(loss.values) > 2 else None
    return target if isinstance(target, Data) else Data("unknown")
