"""BYT003: BPB per byte of transformed text."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from audits.bytes.shipped import open_tokenizers
from audits.denominator.headlines import alike, describe_pair, evidence, headline_bytes
from verifier.challenge.challenge import Challenge
from verifier.engine.context import Context
from verifier.evidence import Location
from verifier.ledger.claims import claimed_headline, claimed_runs
from verifier.ledger.denominator import Denominator, Stream, measure_pair, read_tokens, run_family
from verifier.rule import Confidence, Decision, Finding, Level, Measured, Outcome, Rule

_PULL = "https://github.com/openai/parameter-golf/pull/"
CAUSE = "transformed-text"
SAME_TOTAL = 5e-4
"""Relative distance from the transformed text's bytes: they don't depend on the vocabulary, only on which tail is dropped."""
OVERHEAD = (1.075, 1.105)
"""Bytes of transformed text per byte of the original over parts of the validation text (8.9 % over the whole, 9.3 % over its
first 10,000 documents)."""
CLAIM = 2e-3
"""bpb within which a claim is a given number."""
_RIGHT_BYTES = frozenset({Stream.FULL, Stream.SHORT, Stream.SUBSET, Stream.PREFIX})
"""Pairs that imply the bytes of the original text, or of a known part of it."""
SIDECAR_WORDS = ("sidecar", "val_bytes", "byte_count", "original_bytes", "raw_bytes")


def check(context: Context) -> Decision:
    headlines = headline_bytes(context)
    if not headlines:
        return Decision.not_available("no log has a final metric with both a loss and a BPB, so bytes per token are unknown")
    evidence_of_caseops = _transform_evidence(context)
    lines = _final_lines(context)
    accused = [
        line for line in (*headlines, *lines) if _counts_controls(line, context.challenge, evidence_of_caseops is not None)
    ]
    if accused:
        unique = list({line.metric.source: line for line in accused}.values())
        return Decision.of([_accuse(context, group, evidence_of_caseops, headlines) for group in alike(unique)])
    if evidence_of_caseops is not None:
        inflated = _inflated(headlines, lines)
        if inflated is not None:
            return Decision.of([inflated])
    transformed = [line for line in headlines if line.family is not None and line.family.startswith(("caseops", "casefold"))]
    if transformed or evidence_of_caseops is not None:
        return _settle(context, transformed or list(headlines), evidence_of_caseops)
    if all(line.family is None and line.stream is not Stream.FULL for line in headlines):
        return Decision.not_available("the tokenizer of the run is unknown, so it can't be said whether its text was transformed")
    return Decision.passed("the tokens are of untransformed text")


def _settle(context: Context, lines: Sequence[Denominator], caseops: Location | None) -> Decision:
    """Tokens of transformed text whose pair shows no inflated total: the pair must show the right one."""
    unclear = [line for line in lines if line.stream not in _RIGHT_BYTES]
    if not unclear:
        return Decision.passed(f"tokens of transformed text, divided by the bytes of the original: {describe_pair(lines[0])}")
    program = context.submission.program
    texts = [text.lower() for member in program.members for _, text in member.code_texts]
    if caseops is not None and texts and not program.opaque and not any(word in text for word in SIDECAR_WORDS for text in texts):
        return Decision.of(
            [
                Finding(
                    Outcome.REVIEW,
                    f"{describe_pair(unclear[0])}: the tokens are of case-transformed text, and no code of the folder reads a byte"
                    " sidecar: a table over the pieces would count the control symbols as text. A log line with the bytes that were"
                    " divided by would tell",
                    (caseops, *evidence(unclear[:1])),
                    Confidence.MEDIUM,
                )
            ]
        )
    return Decision.not_available(
        f"{describe_pair(unclear[0])}: the tokens are of transformed text, but this pair does not say by which bytes"
        " the score was divided; the byte sidecar and the code that reads it would"
    )


def _transform_evidence(context: Context) -> Location | None:
    """Where the run is shown to use case-transformed tokens: the path that it logs, or the only tokenizer that is shipped."""
    for run in claimed_runs(context.submission):
        found = run_family(context.submission, run)
        if found is not None and found[0].startswith("caseops"):
            return found[1]
    shipped = [one for one in open_tokenizers(context) if one.item is not None]
    if shipped and all(one.item is not None and one.item.kind == "caseops" for one in shipped):
        return Location(shipped[0].path)
    return None


def _final_lines(context: Context) -> list[Denominator]:
    """Every pair that a claimed run prints at its end: the claim may be a line that the headline is not."""
    lines: list[Denominator] = []
    for run in claimed_runs(context.submission):
        tokens = read_tokens(run)
        found = run_family(context.submission, run)
        family = found[0] if found is not None else None
        measured = (measure_pair(metric, tokens, family, context.challenge) for metric in run.metrics if metric.step is None)
        lines += [line for line in measured if line is not None]
    return lines


def _counts_controls(line: Denominator, challenge: Challenge, caseops: bool) -> bool:
    """Whether the pair's bytes are those of the transformed text: the known ratio of the vocabulary, or the text's total."""
    if line.cause == CAUSE:
        return True
    if not caseops or line.total is None:
        return False
    return any(abs(line.total / total - 1) <= SAME_TOTAL + line.tolerance for total in _transformed_totals(challenge))


def _transformed_totals(challenge: Challenge) -> set[float]:
    """Bytes of the whole transformed validation text, from each known ratio and its vocabulary's token count."""
    totals = set()
    for miscount in challenge.miscounts:
        streams = [row for row in challenge.streams if row.family == miscount.family and row.status == "canonical"]
        if miscount.cause == CAUSE and streams:
            totals.add(miscount.bytes_per_token * streams[0].val_tokens)
    return totals


def _accuse(
    context: Context, lines: Sequence[Denominator], caseops: Location | None, headlines: Sequence[Denominator]
) -> Finding:
    line = lines[0]
    corrected = line.corrected_bpb
    right = "" if corrected is None else f" With the bytes of the original text this loss is {corrected:.4f} BPB."
    claim = claimed_headline(context.submission).bpb
    value = claim.value if claim is not None and isinstance(claim.value, int | float) else None
    counted = fmean(one.metric.bpb.value for one in lines if one.metric.bpb is not None)
    outcome, tail = Outcome.FAIL, ""
    if value is not None and corrected is not None and abs(value / corrected - 1) <= CLAIM:
        outcome, tail = Outcome.INFO, " The claim already is the corrected score."
    elif (
        value is not None
        and abs(value - counted) > CLAIM
        and not any(one.metric in [h.metric for h in headlines] for one in lines)
    ):
        outcome, tail = Outcome.INFO, f" The claim is another number ({value:g})."
    places = evidence(lines)
    return Finding(
        outcome,
        f"{describe_pair(line)}: the tokens come from case-transformed shards and the score is divided by the bytes of the"
        f" transformed text, control symbols included.{right}{tail}",
        (*places, caseops) if caseops is not None and caseops not in places else places,
        measured=Measured(round(line.ratio, 6), "bytes/token"),
        limit=None if line.true_ratio is None else Measured(round(line.true_ratio, 6), "bytes/token"),
        remediation="Divide by the original bytes: read the byte sidecar that is prepared with the transformed shards.",
    )


def _inflated(headlines: Sequence[Denominator], lines: Sequence[Denominator]) -> Finding | None:
    """A headline that divides by about a tenth more bytes than the other lines of its run: what counting the controls gives, but
    over a part of the text whose exact figure is not known."""
    for line in headlines:
        if line.stream not in (Stream.OFF, Stream.MIXTURE, Stream.SUBSET) or line.stands_in:
            continue
        others = [one for one in lines if one.metric.source.path == line.metric.source.path and one.metric != line.metric]
        for other in others:
            if OVERHEAD[0] <= line.ratio / other.ratio <= OVERHEAD[1]:
                return Finding(
                    Outcome.REVIEW,
                    f"{describe_pair(line)}, but {describe_pair(other)} for the same tokens: {line.ratio / other.ratio - 1:+.2%},"
                    " as if the control symbols of the case transform were counted as text. A log line with the bytes that each"
                    " score was divided by would tell",
                    tuple(dict.fromkeys(evidence([line, other]))),
                    Confidence.MEDIUM,
                    Measured(round(line.ratio, 6), "bytes/token"),
                    Measured(round(other.ratio, 6), "bytes/token"),
                )
    return None


TRANSFORMED_BYTES = Rule(
    code="BYT003",
    name="transformed-bytes",
    level=Level.ERROR,
    summary="BPB divides by the bytes of transformed text instead of the original's",
    why="A case transform adds control symbols. Predicting them costs bits, but they are no bytes of the text: counting them "
    "as text makes each bit look cheaper, by 8 % for the usual transform.",
    example="violation: case-transformed shards with a plain byte table: 3.4397 bytes per token, 164.6 MB\n"
    "legal: the same shards with the byte sidecar of the original text: 3.1572 bytes per token, 151.08 MB",
    settles="the sum of the bytes that the script divided by, against the UTF-8 bytes of the untransformed documents",
    sources=(_PULL + "2071", _PULL + "2138"),
    check=check,
)
