"""VAL003: validation documents among the training shards, by the count of shards that the preparation leaves behind."""

from __future__ import annotations

from verifier.engine.context import Context
from verifier.evidence import Location, Number
from verifier.ledger.claims import claimed_runs
from verifier.ledger.denominator import read_tokens, run_family
from verifier.rule import Confidence, Decision, Finding, Level, Measured, Outcome, Rule
from verifier.submission.logs.model import Run

_PULL = "https://github.com/openai/parameter-golf/pull/"
_ISSUE = "https://github.com/openai/parameter-golf/issues/"
FULL_SIZE = 0.9
"""Share of the smallest known full stream of a tokenizer above which the validation stream is the full one."""


def check(context: Context) -> Decision:
    runs = [_trained_by(context, run) for run in claimed_runs(context.submission)]
    if not runs:
        return Decision.not_available(
            "no log of a claimed run, so neither the training shards nor the validation stream are known"
        )
    findings = [finding for run in runs if (finding := _fingerprint(context, run)) is not None]
    if findings:
        return Decision.of(findings)
    unprinted = next((run for run in runs if _train_shards(run) is None), None)
    if unprinted is not None:
        return Decision.not_available(
            f"{unprinted.path} does not print the number of training shards; the data preparation would tell"
        )
    counts = ", ".join(sorted({shards[0].text for run in runs if (shards := _train_shards(run))}))
    reason = f"{counts} training shards are not what the overlapping preparation leaves behind"
    own = next((run for run in runs if not _published(context, run)), None)
    shards = _train_shards(own) if own is not None else None
    if shards is None:
        return Decision.passed(f"{reason}, and the shards of this tokenizer are published")
    # Shards prepared by the submitter can overlap without this trace: the count clears one preparation, not all.
    return Decision.passed(reason, Finding(Outcome.INFO, f"{reason}; how they were prepared is not looked at", (shards[1],)))


def _published(context: Context, run: Run) -> bool:
    found = run_family(context.submission, run)
    return found is not None and found[0] in context.challenge.published_tokenizers


def _trained_by(context: Context, run: Run) -> Run:
    """The run itself, or the training run of its seed when it only evaluates and prints no shards."""
    if _train_shards(run) is not None:
        return run
    same = (other for other in context.submission.runs if other.seed == run.seed and _train_shards(other) is not None)
    return next(same, run)


def _fingerprint(context: Context, run: Run) -> Finding | None:
    shards = _train_shards(run)
    if shards is None or shards[0].value not in context.challenge.overlap_shards:
        return None
    tokens = read_tokens(run)
    found = run_family(context.submission, run)
    family = found[0] if found is not None else None
    full = [row.val_tokens for row in context.challenge.streams if row.status == "canonical" and row.family == family]
    full = full or [
        row.val_tokens for row in context.challenge.streams if row.status == "canonical" and row.family.startswith("caseops")
    ]
    if tokens is None or tokens.count < FULL_SIZE * min(full, default=0):
        # Prepared with the 10,000-document boundary and scored on those 10,000: nothing overlaps (EVA001 speaks).
        return None
    return Finding(
        Outcome.REVIEW,
        f"{shards[0].text} training shards are what the preparation with a boundary of 10,000 validation documents writes, but all"
        f" {context.challenge.val_docs:,} documents are scored ({tokens.count:,} tokens): documents 10,001 to"
        f" {context.challenge.val_docs:,} may be in the training shards",
        (shards[1], tokens.source),
        Confidence.MEDIUM,
        Measured(int(shards[0].value), "shards"),
        remediation="Prepare the shards with the full validation split held out, and show the command.",
    )


def _train_shards(run: Run) -> tuple[Number, Location] | None:
    """The shards that training could read: the first number of `1499`, `1499/1502`."""
    if run.train_shards is None:
        return None
    number = Number.parse(run.train_shards.text.split("/")[0])
    return (number, run.train_shards.source) if number is not None and number.value > 0 else None


TRAIN_VAL_OVERLAP = Rule(
    code="VAL003",
    name="train-val-overlap",
    level=Level.ERROR,
    summary="documents of the scored validation split are in the training shards",
    why="A preparation that holds out 10,000 documents while 50,000 are scored trains on four fifths of the exam.",
    example="violation: shards prepared with --val-docs 10000 (1,499 training shards), val_tokens 47,851,520 scored\n"
    "legal: shards prepared with the 50,000 documents held out; or 10,000 held out and only those scored (then EVA001)",
    settles="the preparation command with its validation boundary, or the first documents of the first training shard",
    sources=(_ISSUE + "2127", _PULL + "2018", _PULL + "2130"),
    check=check,
)
