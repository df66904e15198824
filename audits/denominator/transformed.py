"""BYT003: BPB per byte of transformed text."""

from __future__ import annotations

from audits.denominator.headlines import alike, describe_pair, evidence, headline_bytes
from verifier.engine.context import Context
from verifier.ledger.denominator import Denominator, Stream
from verifier.rule import Decision, Finding, Level, Measured, Outcome, Rule

_PULL = "https://github.com/openai/parameter-golf/pull/"


def check(context: Context) -> Decision:
    headlines = headline_bytes(context)
    if not headlines:
        return Decision.not_available("no log has a final metric with both a loss and a BPB, so bytes per token are unknown")
    findings = [_accuse(lines) for lines in alike(headlines) if lines[0].cause == "transformed-text"]
    if findings:
        return Decision.of(findings)
    transformed = [line for line in headlines if line.family is not None and line.family.startswith(("caseops", "casefold"))]
    if transformed:
        open_questions = [line for line in transformed if line.stream in (Stream.OFF, Stream.UNKNOWN, Stream.MIXTURE)]
        if open_questions:
            return Decision.not_available(
                f"{describe_pair(open_questions[0])}: the tokens are of transformed text, but this pair does not say by which bytes"
                " the score was divided; the byte sidecar and the code that reads it would"
            )
        return Decision.passed(
            f"tokens of transformed text, divided by the bytes of the original: {describe_pair(transformed[0])}"
        )
    if all(line.family is None and line.stream is not Stream.FULL for line in headlines):
        return Decision.not_available("the tokenizer of the run is unknown, so it can't be said whether its text was transformed")
    return Decision.passed("the tokens are of untransformed text")


def _accuse(lines: tuple[Denominator, ...]) -> Finding:
    line = lines[0]
    right = (
        "" if line.corrected_bpb is None else f" With the bytes of the original text this loss is {line.corrected_bpb:.4f} BPB."
    )
    return Finding(
        Outcome.FAIL,
        f"{describe_pair(line)}: the tokens come from case-transformed shards and the score is divided by the bytes of the"
        f" transformed text, control symbols included.{right}",
        evidence(lines),
        measured=Measured(round(line.ratio, 6), "bytes/token"),
        limit=None if line.true_ratio is None else Measured(round(line.true_ratio, 6), "bytes/token"),
        remediation="Divide by the original bytes: read the byte sidecar that is prepared with the transformed shards.",
    )


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
