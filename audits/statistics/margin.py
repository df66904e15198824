"""SIG003: the claimed mean against the record of its day."""

from __future__ import annotations

from verifier.engine.context import Context
from verifier.evidence import Location
from verifier.ledger.claims import is_record_claim
from verifier.ledger.dates import listed_sota, rows_of
from verifier.ledger.record import RecordAttempt, attempt_record
from verifier.ledger.statistics import MarginTest, compute_statistics
from verifier.rule import Decision, Finding, Level, Measured, Outcome, Rule
from verifier.submission.readme import Polarity

_PULL = "https://github.com/openai/parameter-golf/pull/"
_README = "https://github.com/openai/parameter-golf#readme"
NO_IMPROVEMENT = 0.2
"""p above which seeds don't even suggest an improvement."""


def check(context: Context) -> Decision:
    if not is_record_claim(context.submission):
        return Decision.not_applicable("the folder does not claim a record")
    attempt = attempt_record(context.submission, context.challenge, context.options.as_of, context.options.sota)
    if not attempt.values or attempt.statistics is None:
        return Decision.not_available("no score of any seed could be read")
    if attempt.as_of is None and attempt.row is None:
        return Decision.not_available(
            "the submission has no date (JSON, folder name or commit), so the record to beat is unknown"
        )
    if attempt.row is None:
        return Decision.passed(f"no accepted record is dated before {attempt.as_of}")
    outcome, verdict = _judge(context, attempt)
    reason = f"{verdict}. {_numbers(context, attempt)}"
    if outcome is Outcome.PASS:
        return Decision.passed(reason)
    return Decision.of([_finding(attempt, outcome, reason, context), *_listed(context, attempt)])


def _judge(context: Context, attempt: RecordAttempt) -> tuple[Outcome, str]:
    assert attempt.statistics is not None
    assert attempt.row is not None
    tests = attempt.statistics.tests
    strict = max(tests, key=lambda test: test.margin_bpb)
    against = f"{attempt.row.bpb:.5f} ({_name(attempt)})"
    holds = strict.p_value is not None and strict.p_value < context.challenge.margin_level
    hopeless = _hopeless(context, attempt)
    if hopeless and not attempt.day.disputed and not _systems_only(context):
        return Outcome.FAIL, f"mean {attempt.statistics.mean:.5f} against {against}: {hopeless}"
    if hopeless:
        doubt = "the claim is about systems work" if _systems_only(context) else "the dates of the submission disagree"
        return Outcome.REVIEW, f"mean {attempt.statistics.mean:.5f} against {against}: {hopeless}, but {doubt}"
    if attempt.day.disputed and context.options.as_of is None:
        dates = ", ".join(f"{dated.origin} {dated.day}" for dated in attempt.day.dates)
        return Outcome.REVIEW, f"the dates of the submission disagree ({dates}); {attempt.as_of} decides here, against {against}"
    if holds:
        return Outcome.PASS, f"beats {against} by the margin in both units"
    if _systems_only(context):
        return Outcome.REVIEW, f"the margin is waived for systems work, which the README claims; against {against}"
    if attempt.statistics.mean >= attempt.row.bpb:
        return (
            Outcome.REVIEW,
            f"the mean is not better than {against}, whose date is so near that it may have come later; it may be better than what"
            " stood before",
        )
    if strict.p_value is None:
        return Outcome.REVIEW, f"one value has no spread, so no test against {against} is possible"
    return Outcome.REVIEW, f"the margin over {against} does not hold in both units at p < {context.challenge.margin_level:g}"


def _hopeless(context: Context, attempt: RecordAttempt) -> str:
    """Why the mean can't be a record, also against the row that stood a day earlier; empty if it might be."""
    assert attempt.statistics is not None
    if attempt.cautious is None:
        return ""
    pairs = attempt.statistics.values
    statistics = compute_statistics(pairs, attempt.cautious, context.challenge, attempt.bytes_per_token)
    precision = 0.5 * 10.0 ** -len(attempt.cautious.printed.partition(".")[2])
    if statistics.mean >= attempt.cautious.bpb + precision:
        return "the mean is not better"
    p_any = statistics.tests[0].p_any
    if p_any is not None and p_any > NO_IMPROVEMENT:
        return f"p = {p_any:.2f} for any improvement at all"
    return ""


def _systems_only(context: Context) -> bool:
    return any(
        statement.topic == "systems-only" and statement.polarity is Polarity.ASSERTED
        for readme in context.submission.readmes
        for statement in readme.statements
    )


def _name(attempt: RecordAttempt) -> str:
    assert attempt.row is not None
    origin = f"#{attempt.row.pr}" if attempt.row.pr is not None else attempt.row.name
    return f"{origin}, {attempt.row.day}" if attempt.row.day else origin


def _numbers(context: Context, attempt: RecordAttempt) -> str:
    """Both units, the acceptable mean and the seeds that would settle it."""
    statistics = attempt.statistics
    assert statistics is not None
    assert statistics.sota is not None
    gain = statistics.sota - statistics.mean
    text = f"Gain {gain:+.5f} BPB over {len(statistics.values)} seed{'s' * (len(statistics.values) != 1)}"
    if attempt.bytes_per_token is None:
        text += " (bytes per token unknown, so the margin per token can't be converted)"
    text += "".join(f"; {_test(context, test)}" for test in statistics.tests)
    same_day = rows_of(attempt.as_of, context.challenge) if attempt.as_of is not None and context.options.sota is None else ()
    if same_day:
        text += f". Rows of the same day, not used: {', '.join(f'{row.printed} (#{row.pr})' for row in same_day)}"
    return text


def _test(context: Context, test: MarginTest) -> str:
    text = f"{context.challenge.margin_nats:g} {test.unit} = {test.margin_bpb:.5f} BPB"
    if test.p_value is None or test.p_any is None or test.min_acceptable_mean is None:
        return text
    text += f": {test.method} p = {test.p_value:.2g} (any improvement {test.p_any:.2g}), mean must be <= {test.min_acceptable_mean:.5f}"
    return text + (
        f", {test.seeds_needed} such seeds would do" if test.seeds_needed is not None else ", no number of such seeds would do"
    )


def _finding(attempt: RecordAttempt, outcome: Outcome, message: str, context: Context) -> Finding:
    assert attempt.statistics is not None
    strict = max(attempt.statistics.tests, key=lambda test: test.margin_bpb)
    limit = None if strict.min_acceptable_mean is None else Measured(round(strict.min_acceptable_mean, 6), "bpb")
    return Finding(
        outcome,
        message,
        _where(attempt),
        measured=Measured(round(attempt.statistics.mean, 6), "bpb"),
        limit=limit,
        remediation="A gain that is real needs more seeds to show it; without one the result is a non-record.",
    )


def _listed(context: Context, attempt: RecordAttempt) -> list[Finding]:
    """What the author could read on the leaderboard that day, when that is another row: a fact for the reviewer."""
    if attempt.as_of is None or attempt.row is None or context.options.sota is not None:
        return []
    shown = listed_sota(attempt.as_of, context.challenge)
    if shown is None or shown == attempt.row:
        return []
    assert attempt.statistics is not None
    statistics = compute_statistics(attempt.statistics.values, shown, context.challenge, attempt.bytes_per_token)
    tests = "; ".join(_test(context, test) for test in statistics.tests)
    return [
        Finding(
            Outcome.INFO,
            f"On {attempt.as_of} the leaderboard still showed {shown.printed} (#{shown.pr}); the row that decides was published on"
            f" {attempt.row.listed}. Against the one shown: {tests}",
            _where(attempt),
        )
    ]


def _where(attempt: RecordAttempt) -> tuple[Location, ...]:
    return tuple(dict.fromkeys([value.source for value in attempt.values] + [dated.source for dated in attempt.day.dates]))


BELOW_MARGIN = Rule(
    code="SIG003",
    name="below-record-margin",
    level=Level.RECORD,
    record_track_only=True,
    summary="the mean does not beat the record of its day by 0.005 nats at p < 0.01",
    why="Seeds scatter by a few 1e-4 BPB. A gain inside that scatter is luck, and the next submission would have to beat luck. The "
    "contest does not say whether its 0.005 nats are per token or per byte; both are tested.",
    example="violation: 1.0856 +- 0.0133 against 1.0856: p = 0.50 for any improvement\n"
    "legal: 1.0655 +- 0.0007 over three seeds against 1.0734: p = 0.0002 for the margin per token\n"
    "review: the margin holds per token and fails per byte, or the claim is systems work",
    settles="more seeds at the same configuration (the number is printed), or the maintainers' word on unit and predecessor",
    sources=(_README, _PULL + "473", _PULL + "589", _PULL + "1738"),
    check=check,
)
