"""Token probabilities that are mixed with what a byte model gives to the realized token's bytes: spread over them, or as one."""

from __future__ import annotations

from dataclasses import dataclass

from audits.mixtures.counts import target_nodes
from audits.mixtures.expressions import BOUNDS, bare
from audits.mixtures.flow import LOGARITHMS, Flow, data_in, from_validation, is_scored
from audits.mixtures.mixture_terms import mixtures_behind, near, parts_of
from audits.mixtures.native import NativeCall, native_calls
from verifier.engine.context import Context
from verifier.program.analysis import Analysis
from verifier.program.c_reader_flow import MIXED
from verifier.program.queries import iterations_of, operation
from verifier.program.values import Data

_SPREADS = frozenset({"/", "div", "true_divide", "divide"})
_ROOTS = frozenset({"**", "pow", "power"})

_BYTES = frozenset({"element", "list", "bytes", "bytearray", "tuple", "encode", "+", "iter", "memoryview", "enumerate"})
_ADDS_UP = frozenset({"sum", "fsum", "mean", "nansum"})
_LEAST = frozenset({"min", "minimum"})
_SUMS = frozenset({"sum", "mean", "numel", "bincount", "cumsum", "count_nonzero"})


@dataclass(frozen=True, slots=True)
class SpreadScore:
    """`quotient` divides a token's log-probability by `length`, or takes that root of its probability; `logarithm` is scored."""

    length: Data
    quotient: Data
    logarithm: Data


def spread_scores(flow: Flow) -> list[SpreadScore]:
    targets = target_nodes(flow)
    found: dict[object, SpreadScore] = {}
    for node in flow.nodes.values():
        if operation(node) not in _SPREADS | _ROOTS or len(node.args) < 2 or not is_scored(node):
            continue
        shared = [one for one in data_in(node.args[1]) if not is_scored(one)]
        if not shared or not any(is_scored(one) for one in data_in(node.args[0])):
            continue
        length = next((one for one in shared if _length_of_target(flow, one, targets)), None)
        if length is None:
            continue
        logarithm = next((one for one in flow.logarithms if one is not node and id(node) in flow.behind(one)), None)
        if logarithm is not None:
            found.setdefault((node.site, logarithm.site), SpreadScore(length, node, logarithm))
    return sorted(found.values(), key=lambda spread: (spread.quotient.site or ("", 0, 0), spread.logarithm.site or ("", 0, 0)))


@dataclass(frozen=True, slots=True)
class SpelledMixture:
    """`logarithm` is of a sum with the model's probability of the realized token and, in another term, what is read under each of the
    bytes (`key`) that a table holds for that token (`piece`). `doubt`: what keeps it from being certain that nothing else is formed."""

    piece: Data
    key: Data
    logarithm: Data
    doubt: str


def spelled_mixtures(flow: Flow) -> list[SpelledMixture]:
    targets = target_nodes(flow)
    found: dict[object, SpelledMixture] = {}
    mixtures = mixtures_behind(flow)
    divided = {mixture.logarithm.site for mixture in mixtures if mixture.divided}
    for mixture in mixtures:
        for expert in mixture.experts:
            spelled = _spelled(flow, expert, mixture.own[0], targets)
            if spelled is not None and mixture.logarithm.site not in found:
                doubt = (
                    "whether what the byte model's share is divided by is its sum over all tokens"
                    if mixture.logarithm.site in divided
                    else ""
                )
                found[mixture.logarithm.site] = SpelledMixture(*spelled, mixture.logarithm, doubt)
    return list(found.values())


def _spelled(flow: Flow, expert: Data, own: Data, targets: frozenset[int]) -> tuple[Data, Data] | None:
    """The piece of the realized token, and a read under one of its parts, that an expert's number is computed from. What a table of
    counts holds is of other tokens and is not looked into."""
    for read in flow.walk([expert], _numbers_of):
        if operation(read) not in ("index", "get") or len(read.args) < 2:
            continue
        for part in flow.walk(data_in(read.args[1]), _copied):
            for piece in flow.walk(data_in(part.args[0]), _copied) if _is_item(flow, part) else ():
                if _is_piece(flow, piece, targets) and _of_one_token(piece, own):
                    return piece, read
    return None


def _numbers_of(node: Data) -> list[Data]:
    """What a number of the byte model is computed from: arithmetic, and sums of logarithms."""
    if operation(node) in BOUNDS | _LEAST and len(parts_of(node)) != len(node.args):
        return []  # the greatest of what a table holds
    if operation(node) in _ADDS_UP:
        return [one for one in parts_of(node) if operation(one) in LOGARITHMS]
    put = [one for _, value, _ in node.filled for one in data_in(value)]
    if operation(node) == "index" and not any(from_validation(one) for value in node.args[1:] for one in data_in(value)):
        return [*put, *data_in(node.args[0])]  # by position
    return [*put, *near(node)]


def _copied(node: Data) -> list[Data]:
    """What bytes were taken from, whole or one by one."""
    if operation(node) in ("index", "get"):
        return data_in(node.args[0])
    return parts_of(node) if operation(node) in _BYTES or bare(node) is not node or node.op == "join" else []


def _is_item(flow: Flow, node: Data) -> bool:
    """Whether something is one of several, by position."""
    if operation(node) == "element":
        return bool(node.args)
    return operation(node) == "index" and not any(flow.is_token(one) for value in node.args[1:] for one in data_in(value))


def _is_piece(flow: Flow, node: Data, targets: frozenset[int]) -> bool:
    """Whether something is read under the realized target from a table that no text has filled."""
    if operation(node) not in ("index", "get", "IdToPiece", "id_to_piece", "decode") or len(node.args) < 2:
        return False
    held = data_in(node.args[0])
    keys = [key for value in node.args[1:] for key in data_in(value)]
    return not any(from_validation(one) for one in held) and any(id(each) in targets for key in keys for each in flow.origin(key))


def _of_one_token(piece: Data, own: Data) -> bool:
    """Whether a piece and a model's score are of one iteration of the loops that both depend on."""
    mine, other = iterations_of(piece.labels), iterations_of(own.labels)
    return all(mine[key] == other[key] for key in mine.keys() & other.keys())


def _length_of_target(flow: Flow, node: Data, targets: frozenset[int]) -> bool:
    """Whether a number comes out of a table under the realized target, as a length does, without being summed over targets."""
    for one in flow.walk([node], lambda each: () if operation(each) in _SUMS else flow.inputs(each)):
        if operation(one) in ("index", "get") and len(one.args) > 1:
            keys = [key for value in one.args[1:] for key in data_in(value)]
            if any(id(each) in targets for key in keys for each in flow.origin(key)):
                return True
    return False


@dataclass(frozen=True, slots=True)
class NativeMixture:
    """A C function that spreads, mixes and returns, and the line of its output."""

    call: NativeCall
    line: int


def native_mixtures(context: Context, analysis: Analysis, flow: Flow) -> list[NativeMixture]:
    found: dict[str, NativeMixture] = {}
    for call in native_calls(context, analysis, flow):
        mixed = next((output for output in call.followed(flow).outputs if MIXED in output.value), None)
        if mixed is not None:
            found.setdefault(call.function.name, NativeMixture(call, mixed.line))
    return list(found.values())
