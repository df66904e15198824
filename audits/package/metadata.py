"""PKG005: the submission JSON parses and says who, what score and how many bytes."""

from __future__ import annotations

from collections.abc import Iterator

from verifier.engine.context import Context
from verifier.evidence import Fact, Location
from verifier.rule import Confidence, Decision, Finding, Level, Measured, Outcome, Rule
from verifier.submission.metadata import Metadata

REFUSED = frozenset(
    {
        "control-character",
        "extra-data",
        "invalid-json",
        "leading-text",
        "missing-comma",
        "trailing-comma",
        "unterminated-string",
    }
)
"""What every strict parser refuses."""
DISPUTED = frozenset({"bom", "duplicate-key", "not-finite", "undecodable"})
"""What some parsers accept and others don't: a human's decision."""
CUT = frozenset({"too-large", "json-limit", "too-deep", "truncated"})
"""Limits that were hit: what is absent may stand behind them."""
LEAST_TOTAL = 10_000
"""Bytes: the smallest real submission has some 100,000, so a value below is a count of something else (MB, kB, a flag)."""
MOST_BPB = 8.0
"""bits per byte of guessing each byte at random: a score above is a loss, a percentage or a count."""
LEAST_LOSS = 1.6
"""nats per token: the best scores of the smallest standard vocabulary stay above; bits per byte lie below."""
MOST_SECONDS = 30 * 86_400.0
"""s: longer than any run of this contest; milliseconds taken for seconds."""


def check(context: Context) -> Decision:
    if not context.submission.metadata:
        return Decision.not_available("the folder has no submission JSON that could be read (PKG001 says more)")
    metadata = context.submission.metadata[0]
    cut = any(problem.kind in CUT for problem in metadata.problems)
    if not metadata.parsed and cut:
        return Decision.not_available(f"{metadata.path} is beyond the limits and was not read")
    if not metadata.parsed:
        why = metadata.problems[0].message if metadata.problems else "no JSON object in the file"
        where = metadata.problems[0].location if metadata.problems else Location(metadata.path)
        return Decision.of([Finding(Outcome.FAIL, f"{metadata.path} does not parse: {why}", (where,), remediation=_RUN_A_PARSER)])
    findings = [*_syntax(metadata), *_units(metadata)]
    absent = [*_absent(metadata)]
    if absent and cut:
        return Decision.not_available(f"{metadata.path} is beyond the limits and was read in part only", *findings)
    findings += absent
    if findings:
        return Decision.of(findings)
    return Decision.passed(f"{metadata.path} parses and gives score, author and size")


_RUN_A_PARSER = "check it with `python -m json.tool submission.json`"


def _syntax(metadata: Metadata) -> Iterator[Finding]:
    for problem in metadata.problems:
        if problem.kind in REFUSED:
            message = f"{metadata.path} is not valid JSON: {problem.message}"
            yield Finding(Outcome.FAIL, message, (problem.location,), remediation=_RUN_A_PARSER)
        elif problem.kind in DISPUTED:
            message = f"{metadata.path} is read differently by different parsers: {problem.message}"
            yield Finding(Outcome.REVIEW, message, (problem.location,), Confidence.MEDIUM, remediation=_RUN_A_PARSER)


def _absent(metadata: Metadata) -> Iterator[Finding]:
    if metadata.val_bpb is None and not any(claim.val_bpb for claim in metadata.seed_claims):
        message = f"{metadata.path} has no usable val_bpb, under this name or another"
        places = _unusable(metadata, ("bpb",))
        loss = metadata.val_loss
        if loss is not None and isinstance(loss.value, (int, float)) and loss.value < LEAST_LOSS:
            message += f"; {loss.name} is {loss.printed or loss.value}, which looks like bits per byte"
            places = (loss.source,)
        yield Finding(Outcome.FAIL, message, places, remediation="set val_bpb to the mean over the claimed seeds")
    if metadata.author is None and metadata.github_id is None:
        message = f"{metadata.path} names no author"
        yield Finding(Outcome.FAIL, message, (Location(metadata.path),), remediation="set author and github_id")
    if not any(_sizes(metadata)):
        message = f"{metadata.path} gives no usable size of the artifact (bytes_total, or artifact_bytes per seed)"
        places = _unusable(metadata, ("bytes", "size", "artifact"))
        yield Finding(Outcome.FAIL, message, places, remediation="set bytes_total to code plus compressed model")


def _unusable(metadata: Metadata, words: tuple[str, ...]) -> tuple[Location, ...]:
    """The lines whose value was tried and refused (`"val_bpb": "TBD"`); the file where there is none."""
    tried = (problem for problem in metadata.problems if problem.kind == "unusable-value")
    places = [problem.location for problem in tried if any(word in problem.message.split(" is no ")[0].lower() for word in words)]
    return tuple(places[:3]) or (Location(metadata.path),)


def _sizes(metadata: Metadata) -> Iterator[Fact]:
    own = (metadata.bytes_total, metadata.bytes_total_max, metadata.bytes_total_mean, metadata.bytes_model)
    per_seed = (size for claim in metadata.seed_claims for size in (claim.artifact_bytes, claim.model_bytes))
    yield from (size for size in (*own, *per_seed) if size is not None)


def _units(metadata: Metadata) -> Iterator[Finding]:
    for size in (metadata.bytes_total, metadata.bytes_total_max, metadata.bytes_total_mean):
        if size is not None and isinstance(size.value, (int, float)) and size.unit == "bytes" and size.value < LEAST_TOTAL:
            message = f"{size.name} is {size.printed or size.value}: no artifact has so few bytes"
            yield _unit_finding(size, message, Measured(size.value, "bytes"), "give the size in bytes")
    bpb = metadata.val_bpb
    if bpb is not None and isinstance(bpb.value, (int, float)) and bpb.value > MOST_BPB:
        message = f"{bpb.name} is {bpb.printed or bpb.value}: above 8 bits per byte, so in another unit"
        yield _unit_finding(bpb, message, Measured(bpb.value, "bpb"), "give bits per byte")
    loss = metadata.val_loss
    if bpb is not None and loss is not None and bpb.value == loss.value:
        message = f"{bpb.name} and {loss.name} are both {bpb.printed or bpb.value}: nats per token and bits per byte can't agree"
        yield _unit_finding(bpb, message, None, "val_loss is in nats per token, val_bpb in bits per byte", loss)
    for seconds in (metadata.train_seconds, metadata.eval_seconds):
        if seconds is not None and isinstance(seconds.value, (int, float)) and seconds.value > MOST_SECONDS:
            message = (
                f"{seconds.name} is {seconds.printed or seconds.value}: {seconds.value / 86_400:,.0f} days, milliseconds perhaps"
            )
            yield _unit_finding(seconds, message, Measured(seconds.value, "s"), "give seconds")


def _unit_finding(fact: Fact, message: str, measured: Measured | None, remediation: str, other: Fact | None = None) -> Finding:
    where = (fact.source, other.source) if other else (fact.source,)
    return Finding(Outcome.REVIEW, message, where, Confidence.MEDIUM, measured, remediation=remediation)


METADATA_INVALID = Rule(
    code="PKG005",
    name="metadata-invalid",
    level=Level.WARNING,
    summary="submission.json does not parse, lacks score, author or size, or gives one in a wrong unit",
    why=(
        "The leaderboard is built from this file. What a parser can't read, or reads as 15.9 bytes, is a result that is not there."
    ),
    example=(
        'violation: {"val_bpb": "TBD", "bytes_total": 15.9}\n'
        'legal:     {"author": "Ada", "val_bpb": 1.0822, "bytes_total": 15990006}; mean_val_bpb and artifact_bytes count as well'
    ),
    settles="the number in the unit that its name says, from the log",
    sources=("https://github.com/openai/parameter-golf#submission-process",),
    check=check,
)

RULES = (METADATA_INVALID,)
