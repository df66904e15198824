"""SIZ001: code and model together stay within the cap, for every claimed seed."""

from __future__ import annotations

import re
from collections.abc import Iterator

from verifier.engine.context import Context
from verifier.evidence import Fact, Location
from verifier.ledger.claims import claimed_seeds, fact_tolerance, own_metadata
from verifier.ledger.sizes import CodeCounting, SizeAccount, is_compressed, names_artifact, size_accounts
from verifier.rule import Confidence, Decision, Finding, Level, Measured, Outcome, Rule
from verifier.submission.submission import Submission

_NOT_VALID = re.compile(
    r"\bno \((?:over|too)|\b(?:invalid|not valid|disqualified|excluded|over (?:the )?cap|over 16 ?MB)\b", re.IGNORECASE
)
_ROUNDED = 50_000
"""Bytes that a total printed in MB may be off."""


def _check(context: Context) -> Decision:
    cap = context.challenge.artifact_cap
    submission = context.submission
    accounts = size_accounts(submission)
    claimed = [account for account in accounts if account.claimed]
    judged = [account for account in claimed if account.total is not None or account.shipped is not None]
    stated = _totals_claimed(submission)
    findings = [finding for account in accounts for finding in _judge(account, cap, stated)]
    if not judged:
        findings += _claimed_over(submission, cap)
    if any(finding.outcome is not Outcome.INFO for finding in findings) or (findings and judged):
        return Decision.of(findings)
    if not judged:
        return Decision.not_available("no log of a claimed seed prints the bytes of model and code", *findings)
    largest = max(_largest(account) for account in judged)
    return Decision.passed(f"{len(judged)} runs of claimed seeds: at most {largest:,} of {cap:,} bytes")


def _largest(account: SizeAccount) -> int:
    return account.total.bytes if account.total is not None else account.shipped or 0


def _judge(account: SizeAccount, cap: int, totals_claimed: frozenset[int]) -> Iterator[Finding]:
    total = account.total
    if total is not None and total.bytes > cap + (0 if total.exact else _ROUNDED):
        yield _logged_over(account, cap, totals_claimed)
    elif total is not None and not total.exact and total.bytes > cap:
        message = f"{_who(account)}: the log prints a rounded total of {total.bytes:,} bytes, at the cap of {cap:,}"
        outcome = Outcome.REVIEW if account.claimed else Outcome.INFO
        yield Finding(
            outcome, message, (total.source,), Confidence.MEDIUM, Measured(total.bytes, "bytes"), Measured(cap, "bytes")
        )
    elif (shipped := account.shipped) is not None and shipped > cap:
        yield _shipped_over(account, shipped, cap)


def _logged_over(account: SizeAccount, cap: int, totals_claimed: frozenset[int]) -> Finding:
    """The log's own total is above the cap: proven, unless what the folder ships is smaller."""
    total, shipped, small = account.total, account.shipped, account.compressed_code
    assert total is not None
    measured, limit = Measured(total.bytes, "bytes"), Measured(cap, "bytes")
    places: tuple[Location, ...] = (total.source,)
    if account.model is not None:
        places = (total.source, account.model.source)
    head = f"{_who(account)}: the log's total is {total.bytes:,} bytes, {total.bytes - cap:,} above the cap of {cap:,}"
    if not account.claimed:
        return Finding(Outcome.INFO, f"{head}; this run is not claimed", places, Confidence.HIGH, measured, limit)
    smaller = min((line for line in account.totals if line.exact), key=lambda line: line.bytes, default=total)
    if smaller.bytes <= cap:
        message = f"{head}; the same log also prints {smaller.bytes:,}: which one is the artifact does not follow from it"
        return Finding(Outcome.REVIEW, message, (*places, smaller.source), Confidence.MEDIUM, measured, limit)
    if shipped is not None and shipped <= cap < shipped + account.started and account.script is not None:
        message = (
            f"{head}; with {account.script.path} alone ({account.script.size:,} bytes) it is {shipped:,}, "
            f"but that only starts a file of {account.started:,} bytes"
        )
        return Finding(Outcome.REVIEW, message, places, Confidence.MEDIUM, measured, limit)
    if shipped is not None and shipped <= cap and account.script is not None:
        message = f"{head}; with the committed {account.script.path} ({account.script.size:,} bytes) it is {shipped:,}"
        if account.counting is CodeCounting.REPACKED or shipped in totals_claimed:
            return Finding(
                Outcome.INFO, f"{message}: repackaging explains it, see SIZ002", places, Confidence.HIGH, measured, limit
            )
        message += ", but that is other code than the run's, and the submission does not state this total"
        return Finding(Outcome.REVIEW, message, places, Confidence.MEDIUM, measured, limit)
    if small is not None and account.model is not None and account.model.bytes + small.bytes <= cap:
        fits = account.model.bytes + small.bytes
        message = f"{head}; with the compressed code that it also prints ({small.bytes:,} bytes) it is {fits:,}"
        return Finding(Outcome.REVIEW, message, (*places, small.source), Confidence.MEDIUM, measured, limit)
    claimed = account.claim.artifact_bytes if account.claim is not None else None
    if account.model is not None and claimed is not None and account.model.bytes < int(claimed.value) <= cap:
        implied = int(claimed.value) - account.model.bytes
        if account.script is not None and implied < account.script.size:
            message = (
                f"{head}; the claim of {claimed.value:,} bytes counts {implied:,} bytes of code, a form that is not in the folder"
            )
            return Finding(Outcome.REVIEW, message, (*places, claimed.source), Confidence.MEDIUM, measured, limit)
    if not account.scored or (account.model is None and not names_artifact(total)):
        doubt = "this log does not show the claimed score" if not account.scored else "the line does not say what it counts"
        return Finding(Outcome.REVIEW, f"{head}; {doubt}", places, Confidence.MEDIUM, measured, limit)
    if account.code is not None:
        places = (*places, account.code.source)
    if shipped is not None and account.script is not None and shipped != total.bytes:
        head += f"; with the committed script ({account.script.size:,} bytes) it is {shipped:,}"
    return Finding(
        Outcome.FAIL,
        head,
        places,
        Confidence.HIGH,
        measured,
        limit,
        remediation="shrink the model or the code; every seed has to fit",
    )


def _shipped_over(account: SizeAccount, shipped: int, cap: int) -> Finding:
    """The log's total fits, but the model with the script as committed does not."""
    assert account.model is not None
    assert account.script is not None
    measured, limit = Measured(shipped, "bytes"), Measured(cap, "bytes")
    places = [account.model.source, Location(account.script.path)]
    if account.code is not None:
        places.append(account.code.source)
    head = f"{_who(account)}: model {account.model.bytes:,} + {account.script.path} {account.script.size:,} = {shipped:,} bytes"
    if account.counts_compressed and account.code is not None:
        said = "says that it counts" if is_compressed(account.code) else "by its size counts"
        message = f"{head}, above the cap; the log {said} compressed code ({account.code.bytes:,} bytes): accepted practice"
        return Finding(Outcome.INFO, message, tuple(places), Confidence.HIGH, measured, limit)
    if not account.claimed:
        return Finding(
            Outcome.INFO, f"{head}, above the cap; this run is not claimed", tuple(places), Confidence.HIGH, measured, limit
        )
    counted = f"the log counts {account.code.bytes:,} bytes of code" if account.code is not None else "the log counts no code"
    return Finding(
        Outcome.REVIEW,
        f"{head}, {shipped - cap:,} above the cap of {cap:,}, while {counted}",
        tuple(places),
        Confidence.MEDIUM,
        measured,
        limit,
        remediation="commit the script that was counted, or state how the code bytes are counted",
    )


def _claimed_facts(submission: Submission) -> list[Fact]:
    """Totals that the submission states, for itself or for a seed."""
    metadata = own_metadata(submission)
    facts = [metadata.bytes_total, metadata.bytes_total_max] if metadata is not None else []
    facts += [claim.artifact_bytes for claim in claimed_seeds(submission)]
    return [fact for fact in facts if fact is not None]


def _totals_claimed(submission: Submission) -> frozenset[int]:
    return frozenset(fact.value for fact in _claimed_facts(submission) if isinstance(fact.value, int))


def _claimed_over(submission: Submission, cap: int) -> Iterator[Finding]:
    """No log says it: the submission's own statement is what remains."""
    for fact in _claimed_facts(submission):
        if isinstance(fact.value, int) and cap < fact.value < 4 * cap:
            exact = fact_tolerance(fact) <= 0.5
            who = f"seed {fact.seed}" if fact.seed is not None else "the submission"
            message = (
                f"{who}: {fact.source.path} itself states {fact.value:,} bytes, {fact.value - cap:,} above the cap of {cap:,}"
            )
            outcome = Outcome.FAIL if exact and not _disowned(fact) else Outcome.REVIEW
            yield Finding(
                outcome, message, (fact.source,), Confidence.MEDIUM, Measured(fact.value, "bytes"), Measured(cap, "bytes")
            )


def _disowned(fact: Fact) -> bool:
    """Whether the row that states a seed's bytes says itself that the seed does not count."""
    return fact.seed is not None and _NOT_VALID.search(fact.source.excerpt) is not None


def _who(account: SizeAccount) -> str:
    return f"seed {account.run.seed}" if account.run.seed is not None else account.run.path


OVER_CAP = Rule(
    code="SIZ001",
    name="artifact-over-cap",
    level=Level.ERROR,
    summary="code and compressed model together are above 16,000,000 bytes for a claimed seed",
    why="The cap is the contest: 16,000,000 bytes decimal, code and compressed model together, for every seed that counts. A run that "
    "is over it by 50 bytes is a run of another contest. Code may be counted compressed, and a packed script counts as packed.",
    example="violation: Total submission size quantized+brotli: 16002533 bytes\n"
    "legal: Total submission size quantized+brotli: 16057284 bytes, and the folder ships a packed script with which it is 15,996,061\n"
    "legal: a plain script of 150 kB beside `Code size (compressed): 31874 bytes`\n"
    "ignored: Serialized model: 105992713 bytes (the raw file)",
    settles="the artifact and the script of that run, measured with `wc -c`",
    sources=("https://github.com/openai/parameter-golf#readme", "https://github.com/openai/parameter-golf/pull/1959"),
    check=_check,
)
