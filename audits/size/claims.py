"""SIZ003: sizes in submission.json and the README against the logs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from verifier.engine.context import Context
from verifier.evidence import Fact, Location
from verifier.ledger.claims import claimed_seeds, fact_tolerance, own_metadata
from verifier.ledger.sizes import SizeAccount, size_accounts
from verifier.rule import Confidence, Decision, Finding, Level, Measured, Outcome, Rule
from verifier.submission.logs.model import SizeKind
from verifier.submission.submission import Submission

_MIB_PER_MB = 1.048576
_SMALLEST_SIZE = 1_000
"""A stated size below is a placeholder or a wrong unit; PKG005 speaks of those."""


@dataclass(frozen=True, slots=True)
class Counted:
    """A size that the evidence supports: `what` says in words how it comes about."""

    bytes: float
    what: str
    source: Location


def _check(context: Context) -> Decision:
    submission = context.submission
    accounts = list(size_accounts(submission))
    claims = list(_claims(submission))
    if not claims:
        return Decision.not_applicable("neither submission.json nor a seed table states a size")
    if not accounts:
        return Decision.not_available("no log prints sizes that the stated ones could be compared with")
    if not any(_values(name, fact, accounts, submission) for name, fact in claims):
        return Decision.not_available("no log prints a size of the kind that is stated")
    findings = [finding for name, fact in claims if (finding := _compare(name, fact, accounts, submission)) is not None]
    if findings:
        return Decision.of(findings)
    return Decision.passed(f"{len(claims)} stated sizes agree with the logs")


def _claims(submission: Submission) -> Iterator[tuple[str, Fact]]:
    """Stated sizes with what they are: `total`, `code` or `model`, of one seed or of the submission."""
    metadata = own_metadata(submission)
    stated: list[tuple[str, Fact | None]] = []
    if metadata is not None:
        stated += [("total", metadata.bytes_total), ("total", metadata.bytes_total_max), ("mean", metadata.bytes_total_mean)]
        stated += [("code", metadata.bytes_code), ("model", metadata.bytes_model)]
    for claim in claimed_seeds(submission):
        stated += [("total", claim.artifact_bytes), ("code", claim.code_bytes), ("model", claim.model_bytes)]
    for name, fact in stated:
        if fact is not None and isinstance(fact.value, int | float) and fact.value >= _SMALLEST_SIZE:
            yield name, fact


def _relevant(fact: Fact, accounts: list[SizeAccount]) -> list[SizeAccount]:
    """Runs that a statement can be about. SIG001 and CLM001 speak of seeds without a log."""
    return [account for account in accounts if fact.seed is None or account.run.seed == fact.seed]


def _values(name: str, fact: Fact, accounts: list[SizeAccount], submission: Submission) -> list[Counted]:
    relevant = _relevant(fact, accounts)
    if name == "code":
        return _codes(relevant, submission)
    if name == "mean":
        return _means(relevant)
    return _models(relevant) if name == "model" else _totals(relevant)


def _compare(name: str, fact: Fact, accounts: list[SizeAccount], submission: Submission) -> Finding | None:
    values = _values(name, fact, accounts, submission)
    relevant = _relevant(fact, accounts)
    if not values or any(_agrees(fact, value.bytes) for value in values):
        return None
    if name == "total" and fact.seed is None and any(_agrees(fact, mean.bytes) for mean in _means(relevant)):
        return None
    nearest = min(values, key=lambda value: abs(value.bytes - float(fact.value)))
    stated = f"{fact.source.path} states {fact.value:,} bytes for {_whose(name, fact)}"
    message = f"{stated}; nearest is {nearest.what} with {nearest.bytes:,.0f}, {float(fact.value) - nearest.bytes:+,.0f}"
    source = nearest.source
    same = next((model.source for model in _models(relevant) if _agrees(fact, model.bytes)), None)
    if name == "total" and same is not None:
        message, source = f"{stated}: that is the model alone, the code is not added", same
    return Finding(
        Outcome.FAIL,
        message,
        (fact.source, source),
        Confidence.HIGH,
        Measured(float(fact.value), "bytes"),
        Measured(nearest.bytes, "bytes"),
        remediation="state the total that the log prints for the seed, in bytes",
    )


def _whose(name: str, fact: Fact) -> str:
    what = {"total": "the artifact", "mean": "the mean artifact", "code": "the code", "model": "the model"}[name]
    return what if fact.seed is None else f"{what} of seed {fact.seed}"


def _agrees(fact: Fact, value: float) -> bool:
    """Equal within the printed digits; a unit written MB may be MiB."""
    tolerance = max(fact_tolerance(fact), 0.5)
    stated = float(fact.value)
    if abs(stated - value) <= tolerance:
        return True
    rounded = fact.unit != "bytes" or tolerance > 1
    return rounded and abs(stated * _MIB_PER_MB - value) <= tolerance * _MIB_PER_MB


def _totals(accounts: Iterable[SizeAccount]) -> list[Counted]:
    """Every total that a run supports: as logged, and model plus any counting of the code."""
    found: list[Counted] = []
    for account in accounts:
        found += [Counted(total.bytes, "the log's total", total.source) for total in account.totals]
        if account.model is not None:
            source = account.model.source
            found += [Counted(account.model.bytes + code.bytes, "logged model + logged code", source) for code in account.codes]
            if account.shipped is not None:
                found.append(Counted(account.shipped, "logged model + committed script", source))
    return found


def _means(accounts: Iterable[SizeAccount]) -> list[Counted]:
    """Means over the claimed runs: of the logged totals, and with the committed script. Cited by the first of them."""
    claimed = [account for account in accounts if account.claimed and account.total is not None]
    means: list[Counted] = []
    for what, values in (
        ("the mean of the logged totals", [account.total.bytes for account in claimed if account.total is not None]),
        ("the mean with the committed script", [account.shipped for account in claimed if account.shipped is not None]),
    ):
        if values and claimed[0].total is not None:
            mean = sum(values) / len(values)
            means += [Counted(value, what, claimed[0].total.source) for value in (mean, round(mean), int(mean))]
    return means


def _codes(accounts: list[SizeAccount], submission: Submission) -> list[Counted]:
    found = [Counted(code.bytes, "the log's code size", code.source) for account in accounts for code in account.codes]
    program = submission.program
    if not found or program.main is None:
        return found
    for script in (*program.members, *program.others):
        found.append(Counted(script.size, f"the committed {script.path}", Location(script.path)))
        found += [Counted(layer.bytes, f"the text packed in {script.path}", layer.source) for layer in script.layers]
    found.append(Counted(sum(member.size for member in program.members), "all files of the program", Location(program.main.path)))
    return found


def _models(accounts: Iterable[SizeAccount]) -> list[Counted]:
    return [
        Counted(size.bytes, "the log's compressed model", size.source)
        for account in accounts
        for size in account.run.sizes
        if size.kind is SizeKind.MODEL
    ]


CLAIM_MISMATCH = Rule(
    code="SIZ003",
    name="size-claim-mismatch",
    level=Level.WARNING,
    summary="a size in submission.json or in the README's seed table is not in the logs",
    why="Readers take the stated size for the artifact's. Often it is the model alone, the size of another seed, or MB read as bytes.",
    example='violation: "bytes_total": 15878912 where the log prints `Total submission size int6+lzma: 15932466 bytes` (the model alone)\n'
    "legal: the total of any claimed seed, their maximum or mean, or the logged model plus the committed script",
    settles="the log lines with the sizes of that seed",
    sources=("https://github.com/openai/parameter-golf#readme",),
    check=_check,
)
