"""VAL002: validation text carried along in the artifact or the code, recognised by how the evaluation uses it."""

from __future__ import annotations

from collections.abc import Iterator

from audits.validation.flow import is_artifact, parts_of
from verifier.engine.context import Context
from verifier.program.analysis import Analysis, analysis_of
from verifier.program.events import Event, Trace
from verifier.program.queries import has_source, slice_of
from verifier.program.values import Choice, Data, Labels, Value, labels_of
from verifier.rule import Confidence, Decision, Finding, Level, Outcome, Rule

_PULL = "https://github.com/openai/parameter-golf/pull/"
_README = "https://github.com/openai/parameter-golf#readme"
_EQUAL = frozenset({"==", "!=", ".eq", ".ne", "call:torch.eq", "call:torch.ne", "call:numpy.equal", "call:torch.equal"})
_UNPACKED = (
    "call:lzma.decompress", "call:zlib.decompress", "call:bz2.decompress", "call:gzip.decompress", "call:brotli.decompress",
    "call:zstandard", "call:base64.", "call:numpy.frombuffer", "call:numpy.load", "call:torch.frombuffer", "call:numpy.fromfile",
    ".read_bytes", ".decompress",
)  # fmt: skip
"""How stored bytes become numbers. Weights come by `torch.load` and are recognised by their model."""
_KEEPS = frozenset({"index", "element", "call:torch.from_numpy", "call:torch.tensor", "call:torch.as_tensor", "call:numpy.asarray",
                    "call:numpy.array", "call:torch.nn.functional.one_hot"})  # fmt: skip
_MERGES = frozenset({"join", "ifexp", "+", "-", "^", "call:torch.cat", "call:numpy.cumsum", "call:numpy.concatenate"})
_MOST_NODES = 1500
_MOST_EVENTS = 400


def check(context: Context) -> Decision:
    analysis = analysis_of(context)
    if not analysis.available:
        return Decision.not_available(analysis.why_not)
    trace = analysis.run
    finding = _packed(analysis) or _answers(analysis)
    if finding is not None:
        return Decision.of([finding])
    if gap := analysis.gap():
        return Decision.not_available(gap)
    if not any(has_source(event.tokens, "val") for event in trace.of("loss", "lookup")):
        return Decision.not_available("no scoring of validation tokens was found in the script")
    return Decision.passed("nothing that is stored beside the weights is compared with, or placed at, validation targets")


def _packed(analysis: Analysis) -> Finding | None:
    """Validation tokens, or a table made of them, written together with the weights."""
    for event in analysis.run.of("save"):
        if not is_artifact(event):
            continue
        for part in parts_of(event.values[0]):
            kinds = {str(label[0]) for label in part.labels}
            if (
                has_source(part.labels, "val")
                and "model" not in kinds
                and "score" not in kinds
                and part.op not in ("fstring", "attr:shape")
            ):
                places = [site for site in (part.site, event.site) if site is not None]
                return Finding(
                    Outcome.FAIL if event.certain else Outcome.REVIEW,
                    "validation tokens, or a table counted over them, are written into the artifact beside the weights",
                    tuple(dict.fromkeys(analysis.location(site) for site in places)),
                    remediation="Ship nothing that was read from the validation split.",
                )
    return None


def _answers(analysis: Analysis) -> Finding | None:
    """Stored numbers that the evaluation compares with the true targets, or puts where those stand."""
    trace = analysis.run
    for event, node in _nodes(trace):
        if node.op in _EQUAL and len(node.args) == 2:
            stored = next(
                (one for one, other in (node.args, node.args[::-1]) if _is_stored(one) and _is_target(other, event)), None
            )
            if stored is not None:
                return _finding(
                    analysis,
                    event,
                    node,
                    stored,
                    "numbers stored with the submission are compared with the true validation targets, and the result changes their loss",
                )
        if (
            event.kind == "loss"
            and node.op == "index"
            and len(node.args) == 2
            and _by_position(node.args[1])
            and _is_stored(node.args[0])
        ):
            return _finding(
                analysis,
                event,
                node,
                node.args[0],
                "numbers stored with the submission are laid over the validation stream by position and enter its loss",
            )
    return None


def _nodes(trace: Trace) -> Iterator[tuple[Event, Data]]:
    """The comparisons and places that the losses of validation tokens, and changes made to them, are computed from; each once."""
    seen: set[int] = set()
    events = [event for event in trace.of("loss", "write", "report", "select") if _concerns_scores(event)]
    walked: set[int] = set()  # several events share values
    for event in events[-_MOST_EVENTS:]:
        for value in event.values:
            if id(value) in walked:
                continue
            walked.add(id(value))
            for node in slice_of(value, _MOST_NODES):
                if (node.op in _EQUAL or node.op == "index") and id(node) not in seen:
                    seen.add(id(node))
                    yield event, node


def _concerns_scores(event: Event) -> bool:
    if event.kind == "loss":
        return has_source(event.tokens, "val")
    return any(label[0] == "score" for label in event.labels) and has_source(event.labels, "val")


def _is_stored(value: Value) -> bool:
    """Numbers unpacked from a literal or a file that is neither weights nor a data set."""
    labels = labels_of(value)
    if any(label[0] in ("src", "model", "score") for label in labels):
        return False
    return any(node.op.startswith(_UNPACKED) for node in _carried(value))


def _carried(value: Value) -> Iterator[Data]:
    """The nodes that a value is a view, a copy or a conversion of: what it holds, not what its size depends on."""
    pending, steps = [value], 0
    while pending and steps < 60:
        current = pending.pop()
        steps += 1
        if isinstance(current, Choice):
            pending += current.alternatives
        elif isinstance(current, Data):
            yield current
            if current.op in _MERGES:
                pending += current.args
            elif current.args and (current.op.startswith((".", *_UNPACKED)) or current.op in _KEEPS):
                pending.append(current.args[0])


def _is_target(value: Value, event: Event) -> bool:
    """Validation tokens themselves: no model output, no constant."""
    labels: Labels = labels_of(value)
    if any(label[0] in ("model", "score") for label in labels):
        return False
    return has_source(labels, "val") or (has_source(event.labels, "val") and _is_buffer(value))


def _is_buffer(value: Value) -> bool:
    """A part of a tensor that was made empty and filled batch by batch."""
    return (
        isinstance(value, Data)
        and value.op in ("index", ".view", ".reshape")
        and any(node.op == "call:torch.zeros" for node in slice_of(value, 30))
    )


def _by_position(index: Value) -> bool:
    """An index that moves with the evaluation's loop and does not depend on tokens."""
    labels = labels_of(index)
    return any(label[0] == "loop" for label in labels) and not any(label[0] in ("src", "model", "score") for label in labels)


def _finding(analysis: Analysis, event: Event, node: Data, stored: Value, message: str) -> Finding:
    sites = [one.site for one in _carried(stored) if one.op.startswith(_UNPACKED) and one.site is not None][:2]
    if node.site is not None:
        sites.append(node.site)
    sites.append(event.site)
    return Finding(
        Outcome.FAIL if event.certain else Outcome.REVIEW,
        message if event.certain else f"under a setting whose value is not known, {message}",
        tuple(dict.fromkeys(analysis.location(site) for site in sites)),
        Confidence.HIGH,
        remediation="Ship nothing that was read from the validation split; every target has to be paid for by the model's probability.",
    )


PAID_PREFIX = Rule(
    code="VAL002",
    name="paid-prefix",
    level=Level.ERROR,
    summary="validation text or tokens, or a table derived from them, are stored in the artifact or the code",
    why="Stored answers are free bits: the artifact is paid in bytes, but the score counts those tokens as predicted.",
    example="violation: PREFIX = lzma.decompress(b85decode(...)) holds the first 40,000 validation tokens\n"
    "legal: a static vocabulary or bigram table counted over training shards only",
    settles="where the embedded table was computed from",
    sources=(_README, _PULL + "168", _PULL + "262"),
    check=check,
)
