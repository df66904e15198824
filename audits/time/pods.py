"""TIM004 and TIM005: a seed that ran on a slower pod than its siblings; hardware that is not 8xH100."""

from __future__ import annotations

from statistics import median

from audits.time.runs import RECORD_PROCESSES, TimedRun, other_hardware, trained_runs
from verifier.engine.context import Context
from verifier.ledger.timeline import training_source
from verifier.rule import Confidence, Decision, Finding, Level, Measured, Outcome, Rule

_README = "https://github.com/openai/parameter-golf#readme"
_PULL = "https://github.com/openai/parameter-golf/pull/"
OUTLIER = 0.10
"""Relative deviation of a seed's step time from the median of its siblings that is an outlier (42 of 616 real folders)."""
NOTICEABLE = 0.05
"""Deviation above which the difference is worth a look (pods differ by 1-3%)."""


def check_throttling(context: Context) -> Decision:
    timed = [each for each in trained_runs(context) if each.run.full and each.run.step_ms]
    if len(timed) < 2:
        return Decision.not_available("fewer than two full runs with a step time: nothing to compare")
    findings = [found for each in timed if (found := _compare(each, [other for other in timed if other is not each])) is not None]
    if findings:
        return Decision.of(findings)
    times = [each.run.step_ms or 0.0 for each in timed]
    return Decision.passed(f"step times of {len(timed)} runs lie between {min(times):.1f} and {max(times):.1f} ms")


def _compare(each: TimedRun, siblings: list[TimedRun]) -> Finding | None:
    """A seed is compared with the median of the others. Of only two runs nobody can say which one is the outlier, so the slower
    one is named and left to review."""
    own = each.run.step_ms or 0.0
    usual = median(other.run.step_ms or 0.0 for other in siblings)
    ratio = own / usual - 1.0
    if abs(ratio) <= NOTICEABLE or (len(siblings) < 2 and ratio < 0):
        return None
    certain = abs(ratio) > OUTLIER and len(siblings) >= 2 and _others_agree(siblings, usual)
    if not certain and len(siblings) >= 2 and not _others_agree(siblings, usual):
        return None
    word = "slower" if ratio > 0 else "faster"
    steps = each.run.steps_reached
    usual_steps = median(other.run.steps_reached or 0 for other in siblings)
    return Finding(
        Outcome.FAIL if certain else Outcome.REVIEW,
        f"{each.name} ran at {own:.1f} ms per step, {abs(ratio):.0%} {word} than its siblings ({usual:.1f} ms), "
        f"and reached {steps} steps against {usual_steps:g}",
        (training_source(each.run), *(training_source(other.run) for other in siblings[:4])),
        Confidence.HIGH if certain else Confidence.MEDIUM,
        Measured(round(own, 2), "ms/step"),
        Measured(round(usual, 2), "ms/step"),
        "Rerun the seed on a pod at full clock, or explain the difference.",
    )


def _others_agree(siblings: list[TimedRun], usual: float) -> bool:
    """Whether the siblings are close to each other, so that one run stands out and not a spread of all."""
    return all(abs((other.run.step_ms or 0.0) / usual - 1.0) <= NOTICEABLE for other in siblings)


def check_hardware(context: Context) -> Decision:
    timed = trained_runs(context)
    if not timed:
        return Decision.not_available("no log of a run: the hardware is not shown")
    findings: list[Finding] = []
    unread: list[str] = []
    unnamed: list[TimedRun] = []
    for each in timed:
        other = other_hardware(each.run)
        if other is not None:
            message = f"{each.name} ran on {other[0]}, not on 8xH100 SXM"
            remediation = "Log the claimed runs on 8xH100 SXM."
            findings.append(Finding(Outcome.FAIL, message, (other[1],), remediation=remediation))
        elif each.run.world_size is None and not each.run.gpus:
            unread.append(each.name)
        elif not each.run.gpus:
            unnamed.append(each)
    if findings:
        return Decision.of(findings)
    if unread:
        return Decision.not_available(f"neither world size nor GPU in the log of {', '.join(unread[:6])}")
    if unnamed:
        sources = tuple(each.run.world_size.source for each in unnamed if each.run.world_size is not None)
        message = (
            f"{RECORD_PROCESSES} processes; the GPU is not named in the log of {', '.join(each.name for each in unnamed[:6])}"
        )
        return Decision.passed(message, Finding(Outcome.INFO, message, sources))
    return Decision.passed(f"all {len(timed)} runs show 8 processes on H100")


THROTTLED_SEED = Rule(
    code="TIM004",
    name="throttled-seed",
    level=Level.WARNING,
    summary="one seed's step time is an outlier against its siblings",
    why="A seed on a throttled pod makes fewer steps in 600 s, so its score is that of another training length. The mean and the "
    "spread over seeds then mix hardware with method.",
    example="violation: seeds 42 and 2024 at 95 ms per step (6,290 steps), seed 1337 at 153 ms (3,933 steps), one mean over all\n"
    "legal: three seeds between 95.3 and 97.1 ms per step",
    settles="a rerun of the outlying seed at the step time of the others",
    sources=(_PULL + "1405",),
    check=check_throttling,
)

HARDWARE_NOT_RECORD = Rule(
    code="TIM005",
    name="hardware-not-record",
    level=Level.RECORD,
    summary="the logs show other hardware than 8xH100",
    why="The budgets are seconds on 8xH100 SXM. A score reached in 600 s on other or fewer GPUs is not comparable.",
    example="violation: `world_size:1` or `NVIDIA A100-SXM4-80GB` in the log of a record claim\n"
    "legal: `world_size:8` and `NVIDIA H100 80GB HBM3`; other hardware in the non-record track",
    settles="logs of the claimed seeds on 8xH100 SXM",
    sources=(_README,),
    check=check_hardware,
    record_track_only=True,
)
