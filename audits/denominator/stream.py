"""VAL006: which documents were scored."""

from __future__ import annotations

from audits.denominator.headlines import alike, describe_pair, evidence, headline_bytes
from verifier.engine.context import Context
from verifier.ledger.denominator import Denominator, Stream
from verifier.rule import Decision, Finding, Level, Measured, Outcome, Rule

_PULL = "https://github.com/openai/parameter-golf/pull/"


def check(context: Context) -> Decision:
    headlines = headline_bytes(context)
    if not headlines:
        return Decision.not_available("no log has a final metric with both a loss and a BPB, so the scored text is unknown")
    findings = [finding for lines in alike(headlines) if (finding := _judge(context, lines)) is not None]
    if findings:
        return Decision.of(findings)
    if any(_is_contest_stream(context, line) for line in headlines):
        return Decision.passed(f"the scored stream is the contest's: {describe_pair(headlines[0])}")
    return Decision.not_available(
        f"{describe_pair(headlines[0])}: the byte table does not let the size of the scored text be known; the validation shards would"
    )


def _judge(context: Context, lines: tuple[Denominator, ...]) -> Finding | None:
    line = lines[0]
    if line.stream in (Stream.FOREIGN, Stream.PRE_LAUNCH):
        foreign = line.stream is Stream.FOREIGN
        return Finding(
            Outcome.FAIL if foreign else Outcome.REVIEW,
            f"{describe_pair(line)}: {line.cause}, not the contest's validation set; the score can't be compared",
            evidence(lines),
            measured=None if line.total is None else Measured(round(line.total), "bytes"),
            limit=Measured(context.challenge.val_bytes, "bytes"),
            remediation="Score the published validation split.",
        )
    if line.stream is Stream.OFF and line.tokens is not None and not _is_contest_stream(context, line):
        if line.family is not None and line.family.startswith("tokenmonster"):
            return None
        return Finding(
            Outcome.REVIEW,
            f"{describe_pair(line)}: neither this token count nor this size belongs to a known export of the validation set. Other"
            " documents, or a wrong byte table; the header and the decoded start of the validation shard would tell",
            evidence(lines),
            measured=None if line.total is None else Measured(round(line.total), "bytes"),
            limit=Measured(context.challenge.val_bytes, "bytes"),
        )
    return None


def _is_contest_stream(context: Context, line: Denominator) -> bool:
    """By its size, or by a token count that only an export of the contest's documents has (then the bytes are BYT004's)."""
    if (
        line.stream in (Stream.FULL, Stream.SHORT, Stream.SUBSET, Stream.PREFIX, Stream.MISCOUNT, Stream.MIXTURE)
        or line.contradicted
    ):
        return True
    return line.tokens is not None and any(
        row.val_tokens == line.tokens.count and row.status in ("canonical", "short-export", "subset")
        for row in context.challenge.streams
    )


NONCANONICAL_VALIDATION = Rule(
    code="VAL006",
    name="noncanonical-validation",
    level=Level.ERROR,
    summary="the scored validation stream is not the contest's",
    why="BPB is comparable between tokenizers only over the same documents. Another export, even of the same corpus, is easier or "
    "harder by more than a record's margin.",
    example="violation: 49,999,872 tokens at 3.9589 bytes per token: 197.9 MB of other documents\n"
    "legal: any lossless tokenizer over the 50,000 published documents: 151.08 MB",
    settles="the decoded validation shard against the published documents, or its hash",
    sources=(_PULL + "34", _PULL + "1707", _PULL + "1972", _PULL + "2098"),
    check=check,
)
