"""CLM009: the submission says that it builds on a pull request whose method was ruled out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from audits.claims.stated import statements
from verifier.engine.context import Context
from verifier.evidence import Location
from verifier.ledger.claims import own_metadata
from verifier.rule import Confidence, Decision, Finding, Level, Outcome, Rule
from verifier.submission.submission import Submission

_PULL = "https://github.com/openai/parameter-golf/pull/"
_REPOSITORY = "https://github.com/openai/parameter-golf/"
DATA = Path(__file__).with_name("lineage.json")
_BASE_KEY = re.compile(
    r"(?:base|parent|builds?_on|based_on|derived_from|lineage|implementation_lineage)(?:_(?:pr|submission|stack))?(?:\.\d+)?"
)
_NUMBER = re.compile(r"(?:PR\s{0,2}#?|#)(\d{1,5})\b")


@dataclass(frozen=True, slots=True)
class Ruling:
    pr: int
    ruled: str
    url: str


@cache
def rulings() -> dict[int, Ruling]:
    """The pull requests whose method was ruled out, with the thread that says so."""
    rows = json.loads(DATA.read_text(encoding="utf-8"))["rows"]
    return {row["pr"]: Ruling(row["pr"], row["ruled"], _REPOSITORY + row["source"]) for row in rows}


def check(context: Context) -> Decision:
    bases = dict(_bases(context.submission))
    if not bases:
        return Decision.not_applicable("the folder names no pull request that it builds on")
    known = rulings()
    findings = [
        Finding(
            Outcome.REVIEW,
            f"builds on PR {pr}, whose method was ruled out ({known[pr].ruled}, {known[pr].url}); whether it is still in use here decides",
            (source,),
            Confidence.MEDIUM,
            remediation="say which parts are taken over and that the ruled-out one is not among them",
        )
        for pr, source in bases.items()
        if pr in known
    ]
    if findings:
        return Decision.of(findings)
    return Decision.passed(f"none of the stated bases was ruled out ({', '.join(f'PR {pr}' for pr in bases)})")


def _bases(submission: Submission) -> Iterator[tuple[int, Location]]:
    """Pull requests that README or JSON name as the base; a later mention does not replace the first."""
    seen: set[int] = set()
    metadata = own_metadata(submission)
    stated = [(int(found.value), found.source) for found in statements(submission) if found.topic == "base-pr"]
    for fact in (*metadata.decoys, *metadata.texts) if metadata is not None else ():
        if _BASE_KEY.fullmatch(fact.name.lower()):
            numbers = [str(fact.value)] if isinstance(fact.value, int) else _NUMBER.findall(str(fact.value)[:400])
            if isinstance(fact.value, float) and fact.value.is_integer():
                numbers = [str(int(fact.value))]
            stated += [(int(number), fact.source) for number in numbers]
    for pr, source in stated:
        if pr not in seen:
            seen.add(pr)
            yield pr, source


LINEAGE = Rule(
    code="CLM009",
    name="lineage-ruled-out",
    level=Level.WARNING,
    summary="the submission states that it builds on a pull request whose method was ruled out",
    why=(
        "Methods travel with the code that is copied. A stack on a ruled-out submission often still runs what was ruled out, but it "
        "may have removed it: so this asks for a look and never fails."
    ),
    example=(
        "review: 'Built on PR #1735' (pre-quantization TTT)\n"
        "legal: 'Built on PR #1735 without its TTT', and the log shows none; 'Credits: PR #1735 for the tokenizer idea'"
    ),
    settles="whether the part that was ruled out is live in this run",
    sources=(_PULL + "548", _PULL + "824", _PULL + "1738"),
    check=check,
    at_most=Outcome.REVIEW,
)

RULES = (LINEAGE,)
