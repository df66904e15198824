"""Token probabilities that are spread over the bytes of their token and mixed byte by byte."""

from __future__ import annotations

from dataclasses import dataclass

from audits.mixtures.counts import target_nodes
from audits.mixtures.flow import Flow, data_in, is_scored
from audits.mixtures.native import NativeCall, native_calls
from verifier.engine.context import Context
from verifier.program.analysis import Analysis
from verifier.program.c_reader_flow import MIXED
from verifier.program.queries import operation
from verifier.program.values import Data

_SPREADS = frozenset({"/", "div", "true_divide", "divide"})
_ROOTS = frozenset({"**", "pow", "power"})

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
