"""Promises of an order, "score-first" TTT or SLOT, against what the logs and the code show."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from textwrap import shorten

from audits import adaptation
from audits.claims.stated import EPOCH, asserted, of_another, statements, traces
from verifier.engine.context import Context
from verifier.ledger.claims import HeadlineRun, own_metadata
from verifier.rule import Confidence, Finding, Measured, Outcome
from verifier.submission.readme import Statement
from verifier.submission.submission import Submission

KEPT = {
    "TTT001": "the code scores each chunk before it learns from it, as promised",
    "SLT001": "the code fits no offset on the targets that it scores, as promised",
}
"""What a promise amounts to when the rule that knows the order has nothing against it."""
_SCORE_FIRST = re.compile(r"score[-_ ]first", re.IGNORECASE)
_SLOT_ORDER = re.compile(
    r"\bSLOT (?:is |\()?(?:strictly |fully )?score[- ]first(?! TTT)|\bscore[-_ ]first[-_ ]SLOT\b|\bslot[-_]score[-_]first",
    re.IGNORECASE,
)
"""What binds the order to SLOT: in "SLOT + score-first TTT" it is another part's."""
_SCORED_ONLY = re.compile(
    r"\b(?:SLOT|delta|offset)\b(?:(?!\b(?:no|not|never|without)\b)[^.;,+|&]){0,60}\balready[- ](?:scored|evaluated)\b",
    re.IGNORECASE,
)
"""That the offset is fitted on what was scored before: a fact, not a name for the method."""
_OWN_MEANING = re.compile(r"no_grad|frozen|hidden states", re.IGNORECASE)
"""What "score-first SLOT" often stands for: that the hidden states are formed before the fit."""
_PHASE = re.compile(r"(?<=[.!?;])\s+|[;+\n]|\bthen\b|\bfollowed by\b", re.IGNORECASE)
_EPOCHS = re.compile(r"\b(?:[2-9]|\d{2,3})[- ]?epochs?\b|\bmulti-?epoch\b", re.IGNORECASE)
_BY_CHUNK = re.compile(r"chunk|per[- ]doc", re.IGNORECASE)
"""Epochs over a chunk that has been scored are part of a score-first order."""


def promised_orders(submission: Submission) -> dict[str, tuple[Statement, ...]]:
    """What is said to be scored before it is learned from, by the rule that knows the order; flags before free text."""
    ttt = [claim for claim in asserted(submission, "ttt") if claim.form == "json" and _SCORE_FIRST.search(claim.sentence)]
    slot = [
        claim
        for claim in asserted(submission, "slot")
        if claim.form != "table" and not of_another(claim) and (_SLOT_ORDER.search(claim.sentence) or _tells_fact(claim))
    ]
    found = {
        "TTT001": tuple(sorted(ttt, key=lambda claim: not _is_flag(submission, claim))),
        "SLT001": tuple(sorted(slot, key=lambda claim: (not _tells_fact(claim), claim.form == "prose"))),
    }
    return {code: claims for code, claims in found.items() if claims}


def logged_epochs(submission: Submission, promises: Sequence[Statement], runs: Sequence[HeadlineRun]) -> Iterator[Finding]:
    """`score_first_ttt: true` while the only adaptation in the log runs several epochs over the validation set before any of its
    tokens is scored."""
    for headline in runs if promises else ():
        if any(trace.scored for trace in traces(headline.run, headline.metric, "ttt")):
            continue
        epochs = [(int(found[2]), metric) for metric in headline.run.metrics if (found := EPOCH.search(metric.label))]
        several = [(total, metric) for total, metric in epochs if total > 1]
        if several and not any(True for _ in traces(headline.run, headline.metric, "ttt")):
            total, metric = several[-1]
            promise = promises[0]
            outcome, told = _severity(submission, promises)
            yield Finding(
                outcome,
                f"{promise.sentence} is stated, but the log's only adaptation is {total} epochs over the validation set before "
                f"quantization; nothing is scored before it{told}",
                tuple(dict.fromkeys((promise.source, several[0][1].source, metric.source))),
                measured=Measured(total, "epochs"),
                limit=Measured(1, "epochs"),
                remediation="remove the flag: adaptation that precedes scoring is not score-first",
            )
            return


def order_in_code(context: Context, code: str, promises: Sequence[Statement]) -> Finding | Outcome:
    """What the program says of a promised score-first order: a contradiction, `pass`, or that it is open."""
    rule = next(rule for rule in adaptation.RULES if rule.code == code)
    answer = rule.decide(context)
    cause = next((finding for finding in answer.findings if finding.outcome is Outcome.FAIL), None)
    if cause is None:
        return Outcome.PASS if answer.outcome in (Outcome.PASS, Outcome.INFO) else Outcome.NOT_AVAILABLE
    outcome, told = _severity(context.submission, promises)
    return Finding(
        outcome,
        f'"{promises[0].sentence[:80]}" is stated, and {rule.code} finds the opposite: {shorten(cause.message, 200, placeholder=" ...")}{told}',
        tuple(dict.fromkeys((promises[0].source, *cause.locations[:4]))),
        cause.confidence if outcome is Outcome.FAIL else Confidence.MEDIUM,
        remediation="remove the statement, or score each chunk before the update that uses it",
    )


def _severity(submission: Submission, promises: Sequence[Statement]) -> tuple[Outcome, str]:
    """A flag or a plain statement is refuted; prose may mean another thing, and a text that tells what it does denies nothing."""
    promise = promises[0]
    if _is_flag(submission, promise) or _tells_fact(promise):
        return (Outcome.REVIEW if promise.form == "prose" else Outcome.FAIL), ""
    meant = next((one for one in promises if one.topic == "slot" and _OWN_MEANING.search(one.sentence)), None)
    if meant is not None:
        return Outcome.REVIEW, f'; what is meant may be "{meant.sentence[:80]}"'
    if promise.form == "json" and _tells_of_epochs(submission, promise):
        return Outcome.REVIEW, "; the text itself tells of an adaptation over several epochs beside what it calls score-first"
    return (Outcome.REVIEW if promise.form == "prose" else Outcome.FAIL), ""


def _tells_fact(claim: Statement) -> bool:
    return claim.topic == "slot" and _SCORED_ONLY.search(claim.sentence) is not None


def _is_flag(submission: Submission, promise: Statement) -> bool:
    metadata = own_metadata(submission)
    flags = metadata.flags if metadata is not None and promise.form == "json" else ()
    return any(flag.source == promise.source and promise.sentence.startswith(f"{flag.name}: ") for flag in flags)


def _tells_of_epochs(submission: Submission, promise: Statement) -> bool:
    """Whether the text of the promise, or the README, describes epochs of adaptation as a part of their own: "20 epochs of AdamW,
    then score-first streaming" promises the order of the second part only."""
    metadata = own_metadata(submission)
    texts = [str(text.value) for text in metadata.texts if text.source == promise.source] if metadata is not None else []
    texts += [
        told.sentence
        for told in statements(submission)
        if told.topic in ("ttt", "prequant-ttt") and told.form not in ("json", "table") and not of_another(told)
    ]
    return any(
        _EPOCHS.search(part) is not None and _SCORE_FIRST.search(part) is None and _BY_CHUNK.search(part) is None
        for text in texts
        for part in _PHASE.split(text)
    )
