"""CAU001: state that crosses from one document into the next although the scorer keeps documents apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from verifier.engine.context import Context
from verifier.program.analysis import Analysis, analysis_of
from verifier.program.events import Event
from verifier.program.queries import has_source, headline_reports, scores_of, slice_of
from verifier.program.summaries import given_to
from verifier.program.values import Data, Label, Seq, Site, Value, labels_of
from verifier.rule import Confidence, Decision, Finding, Level, Outcome, Rule

_PULL = "https://github.com/openai/parameter-golf/pull/"
_COMPARISONS = frozenset({"==", "!=", ".eq", ".ne", "call:torch.eq", "call:torch.ne", "call:torch.isin", ">", "<", ">=", "<="})
_SAME_SHAPE = frozenset({"*", "~", "not", "neg", "-", "+", "index", "join", "ifexp", "call:torch.where", "call:torch.logical_not",
                         "&", "|", "call:torch.nn.functional.pad", "call:torch.cat", "call:torch.zeros_like"})  # fmt: skip
"""What a mask may go through between its comparison and the product it masks; other `.methods` (casts, views) too."""
_PRODUCTS = frozenset({"*", ".mul", ".mul_", "call:torch.mul", "call:torch.where", ".where", ".masked_fill"})
_MIXES = frozenset({"+", "call:torch.cat", "call:torch.lerp", "call:torch.add"})
_MOST_NODES = 8000


@dataclass(frozen=True, slots=True)
class Crossing:
    """A position that takes in the hidden state of the one before. `attention` is where documents are kept apart, if anywhere."""

    loss: Event
    previous: Site
    attention: Site | None
    masked: bool


def check(context: Context) -> Decision:
    analysis = analysis_of(context)
    if not analysis.available:
        return Decision.not_available(analysis.why_not)
    trace = analysis.run
    scored = [loss for loss in trace.of("loss") if has_source(loss.tokens, "val")]
    if not scored:
        return Decision.not_available("no scoring of validation tokens was found in the script")
    headline = {loss.index for report in headline_reports(trace, context.submission)[-2:] for loss in scores_of(report, trace)}
    crossings = [crossing for loss in _distinct(scored) for crossing in _crossings(loss)]
    open_ones = [crossing for crossing in crossings if not crossing.masked]
    leaks = [crossing for crossing in open_ones if crossing.attention is not None]
    if leaks:
        return Decision.of([_leak(analysis, leaks, headline)])
    if gap := analysis.gap():
        return Decision.not_available(gap)
    if open_ones:
        place = analysis.location(open_ones[0].previous)
        message = "positions take in the state of the one before, across documents too; the scorer does not keep documents apart"
        return Decision.of([Finding(Outcome.INFO, message, (place,))])
    return Decision.passed(
        "no state that skips attention crosses from one position to the next without a mask at document starts"
    )


def _distinct(losses: list[Event]) -> list[Event]:
    """One loss for each path of calls: iterations of a loop score with the same program."""
    kept: dict[tuple[Site, ...], Event] = {}
    for loss in losses:
        kept[(loss.site, *loss.stack)] = loss
    return list(kept.values())


def _crossings(loss: Event) -> Iterator[Crossing]:
    if len(loss.values) > 1:
        yield from _Forward(loss).crossings()


class _Forward:
    """The computation of a loss's logits: its nodes, what each is used by, and what the parameters of helper functions stand for."""

    def __init__(self, loss: Event) -> None:
        self.loss = loss
        self.nodes = list(slice_of(loss.values[1], _MOST_NODES))
        self.parents: dict[int, list[Data]] = {}
        self.leaves: dict[Label, list[Data]] = {}
        self.arguments: dict[Label, Value] = {}
        for node in self.nodes:
            for part in _parts(node):
                self.parents.setdefault(id(part), []).append(node)
            if node.op == "param":
                for label in node.labels:
                    self.leaves.setdefault(label, []).append(node)
        for node in self.nodes:
            leaves = given_to(node) if node.inner is not None else []
            # Parameters of the calling function leak in through containers: those the arguments know too.
            callers = {label[1] for one in node.args for label in labels_of(one) if label[0] == "param"}
            own = [label for label in _own_parameters(node) if label[1] not in callers]
            latest = max((int(label[1]) for label in own), default=0)
            for label in own:
                if label[1] == latest and int(label[2]) < len(leaves):
                    self.arguments[label] = leaves[int(label[2])]

    def crossings(self) -> Iterator[Crossing]:
        attention = next((node.site for node in self.nodes if self._keeps_documents_apart(node)), None)
        for node in self.nodes:
            if node.site is not None and _is_previous(node) and self._is_hidden(node.args[0]):
                masked = self._is_masked(node)
                if masked is not None:
                    yield Crossing(self.loss, node.site, attention, masked)

    def _is_hidden(self, value: Value, depth: int = 0) -> bool:
        """Activations (they depend on weights), not token numbers."""
        labels = labels_of(value)
        if any(label[0] in ("state", "model") for label in labels):
            return True
        given = [self.arguments[label] for label in labels if label in self.arguments]
        return depth < 8 and any(self._is_hidden(one, depth + 1) for one in given)

    def _is_masked(self, node: Data) -> bool | None:
        """Follow the shifted state up to where it is added to the stream: does a factor on the way come from a comparison of
        tokens? None when it never gets there."""
        pending, seen, mixed = [node], {id(node)}, False
        while pending and len(seen) < 200:
            current = pending.pop()
            for parent in self.parents.get(id(current), ()):
                entered = [
                    leaf for label, given in self.arguments.items() if given is current for leaf in self.leaves.get(label, ())
                ]
                pending += [leaf for leaf in entered if id(leaf) not in seen]
                seen |= {id(leaf) for leaf in entered}
                if id(parent) in seen:
                    continue
                seen.add(id(parent))
                others = [part for part in _parts(parent) if part is not current]
                if parent.op in _PRODUCTS and any(map(self._compares_tokens, others)):
                    return True
                if parent.op in _MIXES:
                    mixed = True
                    if parent.op == "+":
                        continue
                if parent.op in _SAME_SHAPE or parent.op in _PRODUCTS or parent.op.startswith((".", "summary:")):
                    pending.append(parent)
        return False if mixed else None

    def _compares_tokens(self, factor: Data) -> bool:
        """Whether a factor is (a product with) a comparison of token numbers."""
        pending, seen = [factor], {id(factor)}
        while pending and len(seen) < 80:
            current = pending.pop()
            if current.op in _COMPARISONS and any(
                not self._is_hidden(one) and not (isinstance(one, Data) and one.known) for one in current.args
            ):
                return True
            if current.op in _SAME_SHAPE or current.op in _PRODUCTS or current.op.startswith("."):
                following = _parts(current)
            else:
                following = [given for label in current.labels if isinstance(given := self.arguments.get(label), Data)]
                following = following if current.op == "param" else [current.inner] if isinstance(current.inner, Data) else []
            for part in following:
                if id(part) not in seen:
                    seen.add(id(part))
                    pending.append(part)
        return False

    def _keeps_documents_apart(self, node: Data) -> bool:
        """Attention that is told where documents begin: packed sequences, or a block mask."""
        if "varlen" in node.op:
            return True
        if "scaled_dot_product_attention" in node.op or "flex_attention" in node.op:
            mask = node.argument("attn_mask") or node.argument("block_mask")
            return mask is not None and any(
                inner.op in _COMPARISONS
                and not any(self._is_hidden(one) for one in inner.args)
                and any(_counts_documents(one) for one in inner.args)
                for inner in slice_of(mask, 200)
            )
        return False


def _own_parameters(node: Data) -> set[Label]:
    """The parameters in the text of a helper function, those of functions that it calls left out."""
    parts = slice_of(node.inner, 2000, lambda part: part.args) if node.inner is not None else ()
    return {label for part in parts if part.op == "param" for label in part.labels if label[0] == "param"}


def _parts(node: Data) -> list[Data]:
    found: list[Data] = []
    for one in (*node.args, *([node.inner] if node.inner is not None else [])):
        if isinstance(one, Data):
            found.append(one)
        elif isinstance(one, Seq):
            found += [part for part in one.items if isinstance(part, Data)]
    return found


def _is_previous(node: Data) -> bool:
    """`x[:, :-1]` or a roll by one: every position gets what stood at the one before."""
    if node.op in (".roll", "call:torch.roll") and len(node.args) > 1:
        shift = node.args[1]
        return isinstance(shift, Data) and shift.const == 1
    if node.op != "index" or len(node.args) < 2:
        return False
    cuts = node.args[1].items if isinstance(node.args[1], Seq) else [node.args[1]]
    slices = [cut for cut in cuts if isinstance(cut, Data) and cut.op == "slice" and len(cut.args) > 1]
    ends = [cut.args[1] for cut in slices]
    # Along the features (the last of three axes) it is no shift in time.
    return any(isinstance(end, Data) and end.const == -1 for end in (ends[:2] if len(cuts) > 2 else ends))


def _counts_documents(value: Value) -> bool:
    """Document numbers: a running count of document starts."""
    return any(node.op in (".cumsum", "call:torch.cumsum") for node in slice_of(value, 40))


def _leak(analysis: Analysis, leaks: list[Crossing], headline: set[int]) -> Finding:
    first = next((leak for leak in leaks if leak.loss.index in headline), leaks[0])
    in_headline = first.loss.index in headline
    sites = [first.previous, *([first.attention] if first.attention is not None else []), first.loss.site]
    places = tuple(dict.fromkeys(analysis.location(site) for site in sites))
    message = (
        "attention keeps documents apart, but each position also takes in the hidden state of the one before without a mask at"
    )
    message += " document starts"
    if not in_headline:
        message += "; the evaluation in which this happens is not the one that the headline prints"
    elif not first.loss.certain:
        message += ", under a setting whose value is not known"
    return Finding(
        Outcome.FAIL if in_headline and first.loss.certain else Outcome.REVIEW,
        message,
        places,
        Confidence.HIGH if in_headline else Confidence.MEDIUM,
        remediation="Multiply the shifted state by (tokens != BOS).",
    )


CROSS_DOCUMENT = Rule(
    code="CAU001",
    name="cross-document-state",
    level=Level.ERROR,
    summary="the scorer isolates documents, or says so, and state still crosses the boundary",
    why="Under per-document evaluation the last token of the previous document is not part of the context. A gate that mixes in "
    "the previous token without a mask at the document start reads it all the same.",
    example="violation: x = x + gate * shift(x)\nlegal: x = x + gate * shift(x) * (tokens != BOS)",
    settles="whether the shifted input is masked at the first token of a document, in the pass that the headline prints",
    sources=(_PULL + "1797", _PULL + "1851"),
    check=check,
)
