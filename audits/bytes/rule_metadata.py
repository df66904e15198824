"""BYT002: the byte metadata that a folder ships, held against the tokenizer it ships."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from audits.bytes.model import TokenModel
from audits.bytes.shipped import Opened, ShippedDrift, compare_shipped, open_tables, open_tokenizers
from audits.denominator.headlines import describe_pair, evidence, headline_bytes
from verifier.engine.context import Context
from verifier.evidence import Location
from verifier.ledger.claims import claimed_runs
from verifier.ledger.denominator import Denominator, Stream, run_family
from verifier.rule import Confidence, Decision, Finding, Level, Measured, Outcome, Rule

_PULL = "https://github.com/openai/parameter-golf/pull/"
_META_SETTING = re.compile(r"(?:^|_)meta(?:_path|_file)?$", re.IGNORECASE)
_REMEDY = (
    "Derive the count from the bytes that the tokens decode to, in context, and compare its sum with the UTF-8 bytes of every "
    "document (`verifier bytes --strict`)."
)


@dataclass(frozen=True, slots=True)
class _Total:
    """What the logs say about the sum: `direction` +1 for too many bytes, -1 for too few, 0 for the right number, `None` when
    they don't say."""

    direction: int | None
    lines: tuple[Denominator, ...]


def check(context: Context) -> Decision:
    tables = open_tables(context)
    total = _logged_total(context)
    if not tables:
        return _without_table(context, total)
    compared = {one.table: one for one in compare_shipped(context)}
    findings: list[Finding] = []
    sound: list[str] = []
    open_questions: list[str] = []
    for table in tables:
        found = compared.get(table.path)
        if table.item is None:
            open_questions.append(f"{table.path} can't be read: {table.problem}")
        elif found is None:
            held = ", ".join(f"{one.path} ({_size(one)})" for one in open_tokenizers(context)) or "none"
            open_questions.append(f"{table.path} counts {table.item.size} ids; tokenizers in the folder: {held}")
        elif found.exact:
            sound.append(
                f"{table.path} counts each of its {table.item.size} ids as {found.tokenizer} writes it, in every context"
            )
        else:
            findings.append(_judge(context, found, total))
    if findings:
        return Decision.of(findings)
    if open_questions:
        if total.direction:
            return Decision.of([_unsettled(tables[0].path, open_questions[0], total)])
        return Decision.not_available("; ".join(open_questions))
    return Decision.passed("; ".join(sound))


def _size(tokenizer: Opened[TokenModel]) -> str:
    return f"{tokenizer.item.size} ids" if tokenizer.item is not None else tokenizer.problem


def _judge(context: Context, found: ShippedDrift, total: _Total) -> Finding:
    path, tokenizer, drift = found.table, found.tokenizer, found.drift
    told = "; ".join(one.describe() for one in drift.classes)
    if drift.size_mismatch:
        told = f"{told}; {drift.size_mismatch}" if told else drift.size_mismatch
    message = f"{path} does not count what {tokenizer} writes: {told}."
    places: tuple[Location, ...] = (Location(path), Location(tokenizer))
    measured = limit = None
    if total.lines:
        places += evidence(total.lines)
        message += f" {_log_sentence(total)}" if total.direction else f" {describe_pair(total.lines[0])}."
        line = total.lines[0]
        if total.direction and line.total is not None:
            measured, limit = Measured(round(line.total), "bytes"), Measured(context.challenge.val_bytes, "bytes")
    reads = _reads_metadata(context, path, found.kind)
    if reads is not None:
        places += (reads,)
    if total.direction == 0:
        outcome, tail = Outcome.INFO, " The deviation changes the total by less than 0.1%."
    elif not drift.sign:
        outcome, tail = Outcome.REVIEW, " The deviations go both ways or touch only rare tokens, so only data tells the sum."
    elif total.direction is None:
        proven = drift.lossless and reads is not None
        outcome = Outcome.FAIL if proven else Outcome.REVIEW
        tail = " All deviations have one sign, and nothing that the tokenizer loses could offset them." if proven else ""
        tail = tail or " All deviations have one sign; no log gives the bytes per token that would show how much they come to."
    elif total.direction == drift.sign and reads is not None:
        outcome, tail = Outcome.FAIL, " Every deviation has the sign of that error."
    else:
        outcome, tail = Outcome.REVIEW, " Whether the run counted with this file is not shown, or the error has another sign."
    confidence = Confidence.HIGH if outcome is not Outcome.REVIEW else Confidence.MEDIUM
    return Finding(outcome, message + tail, places, confidence, measured, limit, _REMEDY if outcome is not Outcome.INFO else "")


def _log_sentence(total: _Total) -> str:
    line = total.lines[0]
    off = f", {line.deviation:+.2%} against the text" if total.direction and line.deviation is not None else ""
    return f"The logs divide by {'too many' if total.direction == 1 else 'too few'} bytes: {describe_pair(line)}{off}."


def _logged_total(context: Context) -> _Total:
    """The size of the denominator by the headline pairs of the claimed runs; mixtures and contradicted lines don't speak."""
    lines = [line for line in headline_bytes(context) if line.stream is not Stream.MIXTURE and not line.contradicted]
    wrong = [line for line in lines if line.stream in (Stream.OFF, Stream.MISCOUNT) and line.deviation is not None]
    signs = {1 if (line.deviation or 0) > 0 else -1 for line in wrong}
    if len(signs) == 1:
        return _Total(signs.pop(), tuple(wrong))
    right = [line for line in lines if line.stream in (Stream.FULL, Stream.SHORT)]
    return _Total(0, tuple(right[:1])) if right and not wrong else _Total(None, ())


def _reads_metadata(context: Context, path: str, kind: str) -> Location | None:
    """Where the run is shown to count by this file: a setting with its name, or a vocabulary of a kind that has no bytes without
    metadata."""
    name = PurePosixPath(path).name.lower()
    settings = [
        (setting.value, setting.source) for readme in context.submission.readmes for command in readme.commands
        for setting in command.settings
    ]  # fmt: skip
    settings += [(value.text, value.source) for run in claimed_runs(context.submission) for value in run.config.values()]
    settings += [(read.default or "", read.source) for read in context.submission.program.env_reads]
    for text, source in settings:
        if PurePosixPath(text.replace("\\", "/")).name.lower() == name:
            return source
    if not kind.startswith("tokenmonster"):
        return None
    families = [run_family(context.submission, run) for run in claimed_runs(context.submission)]
    return next((found[1] for found in families if found is not None and found[0].startswith("tokenmonster")), None)


def _without_table(context: Context, total: _Total) -> Decision:
    """Nothing to compare: a question where a run counts by metadata all the same and its total is off."""
    named = _named_metadata(context)
    if named is None:
        return Decision.not_applicable("the folder ships no byte metadata, and no run names any")
    text, source = named
    if total.direction:
        reason = f"the run counts bytes by {text}, which is not in the folder"
        return Decision.of([_unsettled(source.path, reason, total, source)])
    return Decision.not_available(
        f"the run counts bytes by {text}, which is not in the folder; the file and its tokenizer would tell"
    )


def _named_metadata(context: Context) -> tuple[str, Location] | None:
    """The metadata file that a run, a documented command or the script names."""
    submission = context.submission
    for run in claimed_runs(submission):
        for name, value in sorted(run.config.items()):
            if _META_SETTING.search(name) and value.text.endswith(".npz"):
                return value.text, value.source
    for readme in submission.readmes:
        for command in readme.commands:
            for setting in command.settings:
                if _META_SETTING.search(setting.name) and setting.value.endswith(".npz"):
                    return setting.value, setting.source
    for read in submission.program.env_reads:
        if _META_SETTING.search(read.name) and (read.default or "").endswith(".npz"):
            return read.default or "", read.source
    families = [run_family(submission, run) for run in claimed_runs(submission)]
    found = next((pair for pair in families if pair is not None and pair[0].startswith("tokenmonster")), None)
    return ("the metadata of a TokenMonster vocabulary", found[1]) if found is not None else None


def _unsettled(path: str, reason: str, total: _Total, *places: Location) -> Finding:
    return Finding(
        Outcome.REVIEW,
        f"{reason}. {_log_sentence(total)} The vocabulary and its metadata together would show which tokens are miscounted",
        (*(places or (Location(path),)), *evidence(total.lines)),
        Confidence.MEDIUM,
    )


METADATA_DRIFT = Rule(
    code="BYT002",
    name="metadata-byte-drift",
    level=Level.ERROR,
    summary="the shipped byte metadata does not reproduce the source bytes",
    why="A table of bytes per token is exact only if each token writes the same bytes everywhere. A byte-fallback token decodes to "
    "one byte, though the character shown for it has three; a delete mark takes the space off the next token. Miscounting "
    "both made a score 4 to 5 % too good.",
    example="violation: base_bytes[<0xE2>] = 3; base_bytes[' fo'] = 3 also after an open delete mark, where it writes 2\n"
    "legal: byte tokens 1, dead ids 0, a vocabulary without stateful marks: the table equals the stored lengths",
    settles="a strict byte audit of the bundle over the validation documents (`verifier bytes --strict`)",
    sources=(_PULL + "1143", _PULL + "1184", _PULL + "1271", _PULL + "1405"),
    check=check,
)
