"""SIG006: margins, thresholds and multiples of them whose numbers don't fit their unit."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from verifier.challenge.challenge import LeaderboardRow
from verifier.engine.context import Context
from verifier.evidence import Number
from verifier.ledger.claims import is_record_claim
from verifier.ledger.dates import listed_sota
from verifier.ledger.record import RecordAttempt, attempt_record
from verifier.ledger.statistics import LN2, PER_BYTE, PER_TOKEN, margin_in_bpb
from verifier.rule import Confidence, Decision, Finding, Level, Outcome, Rule
from verifier.submission.readme import Statement

_PULL = "https://github.com/openai/parameter-golf/pull/"
_README = "https://github.com/openai/parameter-golf#readme"
LARGEST_GAIN = 0.5
"""nats or BPB: what is larger is a score, not a difference of scores."""
SENTENCE = 1000
"""Characters of a sentence that are looked at."""
NUMBER = r"[-+−–]?\s?(\d{0,2}\.\d{1,8})"
PER = r"(?:\s?(?:/|per)\s?-?(tok(?:en)?|byte))?"
EQUATION = re.compile(
    NUMBER + r"[\s-]?nats?" + PER + r"[\s)*]{0,4}(?:=|≈|~|\(|→|->)[\s*≈~=]{0,4}" + NUMBER + r"[\s-]?(?:bpb|bits?)", re.IGNORECASE
)
IN_BPB = re.compile(r"(?<![\d.])0?\.005[\s-]?(?:bpb|bits?)\b", re.IGNORECASE)
NO_UNIT = re.compile(r"(?<![\d.])0?\.005\s+(?:threshold|margin|bar|requirement|improvement)\b", re.IGNORECASE)
THRESHOLD_WORD = re.compile(r"threshold|margin|\bbar\b|floor|requirement|required|significan|must beat", re.IGNORECASE)
MULTIPLE = re.compile(
    r"(\d{1,3}(?:\.\d{1,3})?)\s?[x×]\s(?:the\s)?(?:(?:significance|record|required|nats?|0?\.005(?:[\s-]nats?)?)\s){0,2}"
    r"(?:threshold|margin|bar|floor)",
    re.IGNORECASE,
)
AMOUNT = re.compile(NUMBER + r"[\s*]?-?(bpb|nats?)\b", re.IGNORECASE)
SCORE = re.compile(r"(?<![\d.])([01]\.\d{3,8})(?!\d)")
DELTA = re.compile(r"(?:delta|Δ|improve\w{0,6}|gain|beats?|lower)[^.\d]{0,24}" + NUMBER + r"[\s*]{0,3}nats?" + PER, re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Units:
    """The margin in BPB, in both readings; per token only where the tokenizer's bytes are known."""

    margin_nats: float
    per_byte: float
    per_token: float | None
    bytes_per_token: float | None
    rows: tuple[LeaderboardRow, ...]
    """The records to beat: a margin per token may be meant in their tokens."""

    def naming(self, text: str, leaderboard: Iterable[LeaderboardRow]) -> Units:
        """The same with the rows that the sentence names by pull request or score, if it names any."""
        named = tuple(
            row
            for row in leaderboard
            if (row.pr is not None and re.search(rf"#{row.pr}(?!\d)", text))
            or re.search(rf"(?<!\d){re.escape(row.printed)}", text)
        )
        return replace(self, rows=named) if named else self

    @property
    def predecessors(self) -> tuple[float, ...]:
        """Bytes per token of those records' tokenizers."""
        return tuple(row.val_loss / (LN2 * row.bpb) for row in self.rows if row.val_loss is not None)


def check(context: Context) -> Decision:
    if not is_record_claim(context.submission):
        return Decision.not_applicable("the folder does not claim a record")
    statements = [
        statement
        for readme in context.submission.readmes
        for statement in readme.statements
        if statement.topic in ("margin", "sota") or THRESHOLD_WORD.search(statement.sentence[:SENTENCE])
    ]
    attempt = attempt_record(context.submission, context.challenge, context.options.as_of, context.options.sota)
    margin = context.challenge.margin_nats
    ratio = attempt.bytes_per_token
    rows = (attempt.row, listed_sota(attempt.as_of, context.challenge) if attempt.as_of is not None else None)
    units = Units(
        margin,
        margin_in_bpb(PER_BYTE, margin, 1.0),
        margin_in_bpb(PER_TOKEN, margin, ratio) if ratio else None,
        ratio,
        tuple(row for row in rows if row is not None),
    )
    unique = {(statement.source.path, statement.source.line, statement.sentence): statement for statement in statements}
    findings = [finding for statement in unique.values() for finding in _judge(context, statement, units, attempt)]
    if findings:
        return Decision.of(findings)
    if not any(statement.topic == "margin" for statement in statements):
        return Decision.not_applicable("no margin or threshold is stated")
    return Decision.passed(f"{len(unique)} statements about the margin, none with a unit that does not fit")


def _judge(context: Context, statement: Statement, units: Units, attempt: RecordAttempt) -> list[Finding]:
    text = statement.sentence[:SENTENCE].replace("−", "-").replace("–", "-")
    named = units.naming(text, context.challenge.leaderboard)
    found = _equation(text, units) or _threshold(text, units) or _multiple(text, named)
    if found is not None:
        return [_finding(statement, *found)]
    delta = _delta(text, units, attempt)
    return [_finding(statement, *delta)] if delta is not None else []


def _equation(text: str, units: Units) -> tuple[Outcome, str] | None:
    """`0.005 nats = 0.0072 BPB`: right per byte, and the sentence should say so."""
    found = EQUATION.search(text)
    if found is None:
        return None
    nats, bpb = Number.parse(found[1]), Number.parse(found[3])
    if nats is None or bpb is None or not 0 < nats.value < LARGEST_GAIN:
        return None
    named = {"t": PER_TOKEN, "b": PER_BYTE}.get((found[2] or " ")[0].lower())
    fits = [unit for unit in (PER_TOKEN, PER_BYTE) if _fits(nats, bpb, unit, units)]
    stated = f"{nats.text} nats = {bpb.text} BPB"
    if named is not None and named in fits:
        return None
    if not fits:
        if units.bytes_per_token is None:
            return None
        return (
            Outcome.FAIL,
            f"{stated} is neither right per token ({_convert(nats, PER_TOKEN, units)}) nor per byte ({_convert(nats, PER_BYTE, units)})",
        )
    if named is not None:
        return Outcome.FAIL, f"{stated} is said to be in {named} and is right in {fits[0]}"
    other = PER_BYTE if fits[0] == PER_TOKEN else PER_TOKEN
    return (
        Outcome.REVIEW,
        f"{stated} holds in {fits[0]}, which is not said; in {other} it would be {_convert(nats, other, units)}",
    )


def _fits(nats: Number, bpb: Number, unit: str, units: Units) -> bool:
    ratios = (*((units.bytes_per_token,) if units.bytes_per_token is not None else ()), *units.predecessors)
    # The contest's own margin is exact, whatever digits it is written with.
    rounding = 0.0 if nats.value == units.margin_nats else nats.half_unit / nats.value
    expected = [margin_in_bpb(unit, nats.value, ratio) for ratio in (ratios if unit == PER_TOKEN else (1.0,))]
    return any(abs(bpb.value - each) <= bpb.half_unit + (rounding + 0.01) * each for each in expected)


def _convert(nats: Number, unit: str, units: Units) -> str:
    if unit == PER_TOKEN and units.bytes_per_token is None:
        return "a figure that depends on the tokenizer"
    return f"{margin_in_bpb(unit, nats.value, units.bytes_per_token or 1.0):.5f} BPB"


def _threshold(text: str, units: Units) -> tuple[Outcome, str] | None:
    if not THRESHOLD_WORD.search(text):
        return None
    readings = f"{units.per_byte:.4f} BPB per byte"
    if units.per_token is not None:
        readings = f"{units.per_token:.4f} BPB per token or {readings}"
    if IN_BPB.search(text) and "nat" not in text.lower():
        return (
            Outcome.FAIL,
            f"the threshold is called {units.margin_nats:g} BPB; the contest's {units.margin_nats:g} are nats, which is {readings}",
        )
    if NO_UNIT.search(text) and "nat" not in text.lower():
        return Outcome.REVIEW, f"the threshold {units.margin_nats:g} has no unit; in nats it is {readings}"
    return None


def _multiple(text: str, units: Units) -> tuple[Outcome, str] | None:
    """`0.029 BPB (14x threshold)`: the quotient must be the threshold in one of the readings."""
    times = MULTIPLE.search(text)
    before = [found for found in AMOUNT.finditer(text[: times.start()]) if 0 < float(found[1]) < LARGEST_GAIN] if times else []
    if times is None or not before or units.per_token is None:
        return None
    amount = before[-1]
    factor, gain = Number.parse(times[1]), Number.parse(amount[1])
    if factor is None or gain is None or factor.value <= 1 or gain.value <= 0:
        return None
    in_bpb = amount[2].lower() == "bpb"
    readings = (units.per_token, units.per_byte) if in_bpb else (units.margin_nats,)
    theirs = tuple(margin_in_bpb(PER_TOKEN, units.margin_nats, ratio) for ratio in units.predecessors) if in_bpb else ()
    low = (gain.value - gain.half_unit) / (factor.value + 2 * factor.half_unit)
    high = (gain.value + gain.half_unit) / (factor.value - factor.half_unit)
    if any(low * 0.99 <= threshold <= high * 1.01 for threshold in readings + theirs):
        return None
    right = " or ".join(f"{gain.value / threshold:.1f}x" for threshold in readings)
    unit = "BPB (per token or per byte)" if in_bpb else "nats"
    return (
        Outcome.FAIL,
        f"{gain.text} {amount[2]} is called {factor.text}x the threshold, which takes the threshold for"
        f" {gain.value / factor.value:.5f} {amount[2]}; in {unit} it is {right}",
    )


def _delta(text: str, units: Units, attempt: RecordAttempt) -> tuple[Outcome, str] | None:
    """A gain in nats that is the plain difference of two BPB values."""
    found = DELTA.search(text)
    if found is None or attempt.statistics is None:
        return None
    stated = Number.parse(found[1])
    references = [
        number for text_ in SCORE.findall(text) if (number := Number.parse(text_)) is not None and 0.8 < number.value < 1.4
    ]
    if stated is None or stated.value <= 0 or not references:
        return None
    mean = attempt.statistics.mean
    for reference in references:
        gain = abs(reference.value - mean)
        slack = stated.half_unit + reference.half_unit
        if gain < 20 * slack or abs(gain - stated.value) > slack:
            continue
        per_token = "" if units.bytes_per_token is None else f"{gain * LN2 * units.bytes_per_token:.4f} nats per token or "
        return (
            Outcome.FAIL,
            f"{stated.text} nats is the difference to {reference.text} in BPB; in nats it is {per_token}{gain * LN2:.4f} nats per byte",
        )
    return None


def _finding(statement: Statement, outcome: Outcome, message: str) -> Finding:
    return Finding(
        outcome,
        message,
        (statement.source,),
        Confidence.MEDIUM,
        remediation="Name the unit: difference of val_loss for nats per token, difference of BPB x ln 2 for nats per byte.",
    )


MARGIN_UNIT = Rule(
    code="SIG006",
    name="margin-unit",
    level=Level.WARNING,
    record_track_only=True,
    summary="a margin, threshold or multiple of it is stated in a unit that does not fit",
    why="0.005 nats is 0.0072 BPB per byte, but only 0.0019 to 0.0030 BPB per token. A gain of 0.004 BPB clears one and misses the "
    "other, so a margin without its unit says nothing.",
    example="violation: 'beats 1.0810 by 0.0060 nats' where 0.0060 is the difference in BPB\n"
    "violation: '0.029 BPB (14x the threshold)': 10x per token, 4x per byte\n"
    "legal: '0.0091 nats per token (val_loss 2.7814 against 2.7905)'",
    settles="the difference of val_loss in nats per token and of BPB, both with their units",
    sources=(_README, _PULL + "1405", _PULL + "1738"),
    check=check,
)
