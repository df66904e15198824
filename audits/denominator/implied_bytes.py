"""BYT004: the size of the text that the headline score divides by."""

from __future__ import annotations

from audits.bytes.shipped import compare_shipped
from audits.denominator.headlines import alike, describe_pair, evidence, headline_bytes
from verifier.engine.context import Context
from verifier.ledger.denominator import Denominator, Stream
from verifier.rule import Confidence, Decision, Finding, Level, Measured, Outcome, Rule

_PULL = "https://github.com/openai/parameter-golf/pull/"
CLAIM_CORRECTED = 2e-3
"""Relative distance at which a claimed BPB is the corrected one rather than the printed one."""

PART = 0.5
"""Share of the text below which no byte table is at fault: no table counts half of the bytes."""

LIKELY = {
    "leading-space-twice": "This is the ratio of a table that counts a leading space in the piece and once more.",
    "marker-as-bytes": "This is the ratio of a table that counts the marker U+2581 as its three UTF-8 bytes.",
    "transformed-text": "This is the ratio of a table that counts the control symbols of a case transform as text.",
}


def check(context: Context) -> Decision:
    headlines = headline_bytes(context)
    if not headlines:
        return Decision.not_available("no log has a final metric with both a loss and a BPB, so bytes per token are unknown")
    findings = [finding for lines in alike(headlines) if (finding := _judge(context, lines)) is not None]
    if findings:
        return Decision.of(findings)
    unknown = [line for line in headlines if line.stream is Stream.UNKNOWN]
    if unknown:
        return Decision.not_available(
            f"{describe_pair(unknown[0])}, but neither a token count nor the tokenizer is known to compare it with"
        )
    return Decision.passed(f"all {len(headlines)} headline pairs imply the full text: {describe_pair(headlines[0])}")


def _judge(context: Context, lines: tuple[Denominator, ...]) -> Finding | None:
    line = lines[0]
    pair = describe_pair(line)
    if line.stream in (Stream.FULL, Stream.UNKNOWN):
        return None
    if line.stream is Stream.MIXTURE:
        return Finding(Outcome.INFO, f"{pair}: not judged, {line.cause}", evidence(lines))
    off = f"{line.deviation:+.2%} off" if line.deviation is not None else "off"
    measured, limit = _measured(context, line)
    if line.stream is Stream.SHORT:
        return Finding(Outcome.INFO, f"{pair}: a short export or a dropped tail", evidence(lines), measured=measured, limit=limit)
    if line.stands_in:
        pair = f"the headline prints no loss; another line of the run does: {pair}"
    message = f"{pair}: {off}. {LIKELY.get(line.cause, _explain(context, line))}{_name_table(context, line)}"
    corrected = line.corrected_bpb if line.stream in (Stream.MISCOUNT, Stream.OFF) and not line.contradicted else None
    if corrected is not None:
        message += f" With the right bytes this loss is {corrected:.4f} BPB."
        if _claims(context, corrected):
            return Finding(
                Outcome.INFO,
                message + " The claim already is the corrected score.",
                evidence(lines),
                measured=measured,
                limit=limit,
            )
    return Finding(
        _outcome(line),
        message,
        evidence(lines),
        Confidence.HIGH if line.tokens is not None else Confidence.MEDIUM,
        measured,
        limit,
        "Recompute the byte table from the tokenizer's own bytes and report loss x tokens / (ln 2 x bytes of the text).",
    )


def _outcome(line: Denominator) -> Outcome:
    """Proven when the log gives the token count, or when the ratio is exactly that of a known mistake for this tokenizer. Not
    proven when the run's other lines imply another size: then this line's loss and BPB may not belong together."""
    if line.stream is Stream.PRE_LAUNCH or line.contradicted or line.stands_in:
        return Outcome.REVIEW
    if line.tokens is not None or line.stream is Stream.MISCOUNT:
        return Outcome.FAIL
    return Outcome.REVIEW


def _explain(context: Context, line: Denominator) -> str:
    if line.stream is Stream.SUBSET:
        return f"The scored text is a subset ({line.cause})."
    if line.stream is Stream.PREFIX:
        return f"This is the ratio of {line.cause}, so the printed token count is not what was scored."
    if line.stream in (Stream.FOREIGN, Stream.PRE_LAUNCH):
        return f"The scored text is not the contest's ({line.cause})."
    if line.contradicted:
        return "Other lines of this run imply another size, so loss and BPB of this line may belong to different things."
    if line.total is not None and line.total < PART * context.challenge.val_bytes:
        return "So few tokens are only a part of the validation set, whatever their byte table."
    return "Either the byte table does not match the tokenizer, or the scored text is not the validation set."


def _name_table(context: Context, line: Denominator) -> str:
    """The folder's own byte table, where its known faults have the sign of the error."""
    sign = 1 if (line.deviation or 0) > 0 else -1
    faulty = [one.table for one in compare_shipped(context) if one.drift.sign == sign]
    return f" {faulty[0]} miscounts tokens in that direction (BYT002 names them)." if faulty and line.stream is Stream.OFF else ""


def _measured(context: Context, line: Denominator) -> tuple[Measured, Measured | None]:
    if line.total is not None:
        return Measured(round(line.total), "bytes"), Measured(context.challenge.val_bytes, "bytes")
    right = None if line.true_ratio is None else Measured(round(line.true_ratio, 6), "bytes/token")
    return Measured(round(line.ratio, 6), "bytes/token"), right


def _claims(context: Context, corrected: float) -> bool:
    return any(
        isinstance(metadata.val_bpb.value, int | float) and abs(metadata.val_bpb.value / corrected - 1) <= CLAIM_CORRECTED
        for metadata in context.submission.metadata[:1]
        if metadata.val_bpb is not None
    )


IMPLIED_BYTES = Rule(
    code="BYT004",
    name="implied-bytes-outlier",
    level=Level.ERROR,
    summary="val_tokens x val_loss / (ln 2 x val_bpb) of the headline metric is not the size of the validation text",
    why="Loss per token and bits per byte are one measurement in two units; their quotient is bytes per token. Times the scored "
    "tokens it must give the 151,080,891 bytes that every lossless tokenizer shares. A larger product means a score that is too "
    "good by the same factor.",
    example="violation: 62,021,632 tokens, val_loss 1.9374, val_bpb 0.8600: 201.6 MB, a third too many\n"
    "legal: 62,021,632 tokens, val_loss 1.8821, val_bpb 1.1147: 151.08 MB\n"
    "legal: a mixture line that prints the network's loss beside the mixture's BPB (recognised, not judged)",
    settles="the byte table's sum over the scored tokens against the UTF-8 bytes of the documents (`verifier bytes --strict`)",
    sources=(_PULL + "1143", _PULL + "1314", _PULL + "1719", _PULL + "1791"),
    check=check,
)
