"""SIG004: seeds of one mean that come from different configurations or different code."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from verifier.engine.context import Context
from verifier.evidence import Location
from verifier.ledger.claims import HeadlineRun, claimed_seeds, headline_runs, is_record_claim, own_metadata
from verifier.rule import Confidence, Decision, Finding, Level, Measured, Outcome, Rule
from verifier.submission.logs.model import LogFile, Run, SizeKind, Value
from verifier.submission.submission import Submission

_PULL = "https://github.com/openai/parameter-golf/pull/"
PER_RUN = re.compile(
    r"seed|run_?id|path|dir|file|port|rank|log|wandb|name|host|device|date|_time|time_?stamp|master|cache|debug|verbose|profile"
    r"|val_loss_every|every$|_ms$|bytes|workers|artifact|checkpoint|resume|tag|note|comment",
    re.IGNORECASE,
)
"""Settings that may differ between the seeds of one configuration: names, places, what is printed and how often."""
EVALUATION = re.compile(r"^(ttt|slot|ngram|ppm|eval|sliding|etlb|mix|knn|cache|tilt|post|phased)", re.IGNORECASE)
"""Settings of an evaluation: they matter only if the quoted metric comes from it."""
SETTING = re.compile(r"[A-Za-z]\w*_\w+")
"""Names of settings have an underscore; single words in front of a colon are mostly progress lines."""
PROGRESS = re.compile(r"\d+/\d+|^<.* at 0x")
"""Values that are progress or an object's address, not a setting."""
DERIVED = frozenset({"batch_stride", "effective_train_seq_len", "warmup_step"})
"""Values that scripts derive from the seed or print as they run."""
SHOWN = 4


@dataclass(frozen=True, slots=True)
class Compared:
    """One property over runs that print it: groups of equal value."""

    name: str
    groups: tuple[tuple[str, tuple[tuple[Run, Location], ...]], ...]

    @property
    def differs(self) -> bool:
        return len(self.groups) > 1


def check(context: Context) -> Decision:
    if context.in_record_track and not is_record_claim(context.submission):
        return Decision.not_applicable("the folder does not claim a record")
    headlines = headline_runs(context.submission)
    runs = [each.run for each in headlines]
    if len(runs) < 2 or not _is_one_mean(context.submission, headlines):
        return Decision.not_applicable("the claim is no mean over several runs")
    quoted = {each.metric.label.lower() for each in headlines if each.metric is not None}
    settings = _compare_settings(runs)
    scalars = [compared for name, read in SCALARS.items() if (compared := _compare(name, runs, read)) is not None]
    code = _compare_code(context, runs)
    if not settings and not scalars and code is None:
        return Decision.not_available("the logs print neither settings nor sizes that could be compared between seeds")
    findings = [_finding(compared, _severity(compared, quoted)) for compared in settings if compared.differs]
    findings += [_finding(compared, SEVERITY[compared.name]) for compared in scalars if compared.differs]
    if code is not None and code.differs:
        findings.append(_finding(code, Outcome.REVIEW))
    if findings:
        return Decision.of(_doubted(findings, context.submission, runs))
    looked = [f"{len(settings)} settings"] if settings else []
    looked += [compared.name for compared in scalars] + ([code.name] if code is not None else [])
    return Decision.passed(f"the {len(runs)} runs agree in {', '.join(looked)}")


def _doubted(findings: Sequence[Finding], submission: Submission, runs: Sequence[Run]) -> list[Finding]:
    """Where a seed has several training logs, which of them entered the mean is a guess, and a guess proves nothing."""
    several = sorted({run.seed for run in runs if run.seed is not None and _logs_of(submission, run.seed) > 1})
    if not several:
        return list(findings)
    doubt = f"; several logs have seed {', '.join(map(str, several))}, and another of them may be the one that counts"
    return [
        replace(finding, outcome=Outcome.REVIEW, message=finding.message + doubt) if finding.outcome is Outcome.FAIL else finding
        for finding in findings
    ]


def _logs_of(submission: Submission, seed: int) -> int:
    return sum(run.full and run.seed == seed for run in submission.runs)


def _is_one_mean(submission: Submission, headlines: Sequence[HeadlineRun]) -> bool:
    """Whether several seeds are listed as one result, or the claimed score is the mean over the runs."""
    listed = {claim.seed for claim in claimed_seeds(submission) if claim.val_bpb is not None}
    metadata = own_metadata(submission)
    listed |= set(metadata.seeds) if metadata is not None else set()
    seeds = [each.run.seed for each in headlines]
    return len(set(seeds)) > 1 and (len(listed & set(seeds)) > 1 or all(each.explained for each in headlines))


def _severity(compared: Compared, quoted: Collection[str]) -> Outcome:
    """A setting of an evaluation fails only where the quoted metric names that evaluation."""
    stem = EVALUATION.match(compared.name)
    return Outcome.FAIL if stem is None or any(stem[1].lower() in label for label in quoted) else Outcome.REVIEW


def _compare_settings(runs: list[Run]) -> list[Compared]:
    """Settings that at least two runs dump. A key that one dump lacks is no difference: scripts print what they use."""
    names = sorted(
        {
            name
            for run in runs
            for name, value in run.config.items()
            if SETTING.fullmatch(name)
            and not PER_RUN.search(name)
            and name.lower() not in DERIVED
            and not PROGRESS.search(value.text)
        }
    )
    compared = (_compare(name, runs, lambda run, name=name: run.config.get(name)) for name in names)  # type: ignore[misc]
    return [each for each in compared if each is not None]


def _compare(name: str, runs: list[Run], read: Callable[[Run], Value | None]) -> Compared | None:
    groups: dict[str, list[tuple[Run, Location]]] = {}
    spelling: dict[str, str] = {}
    for run in runs:
        value = read(run)
        if value is not None:
            key = _canonical(value.text)
            spelling.setdefault(key, value.text)
            groups.setdefault(key, []).append((run, value.source))
    if sum(len(members) for members in groups.values()) < 2:
        return None
    return Compared(name, tuple((spelling[key], tuple(members)) for key, members in sorted(groups.items())))


def _canonical(text: str) -> str:
    """One spelling per value: `0.10` and `0.1`, `True` and `true` are no difference."""
    stripped = text.strip().strip("'\"")
    try:
        return repr(float(stripped))
    except ValueError:
        return stripped.casefold()


def _compare_code(context: Context, runs: list[Run]) -> Compared | None:
    """The script as the logs print it."""
    logs = {log.path: log for log in context.submission.logs}
    groups: dict[str, list[tuple[Run, Location]]] = {}
    for run in runs:
        log = logs.get(run.path)
        if log is not None and log.embedded is not None:
            source = Location(log.path, log.embedded.first_line, log.embedded.last_line)
            groups.setdefault(_flat(log), []).append((run, source))
    if sum(len(members) for members in groups.values()) < 2:
        return None
    lines = _line_difference(list(groups))
    label = "the printed source" if lines is None else f"the printed source ({lines} lines differ)"
    return Compared(label, tuple((f"{len(text)} characters", tuple(members)) for text, members in groups.items()))


def _flat(log: LogFile) -> str:
    assert log.embedded is not None
    return "\n".join(" ".join(line.split()) for line in log.embedded.text.splitlines() if line.strip())


def _line_difference(texts: list[str]) -> int | None:
    """Lines that are in one of the first two texts only (as a bag: order is not looked at)."""
    if len(texts) < 2:
        return None
    one, other = (set(text.splitlines()) for text in texts[:2])
    return len(one ^ other)


def _code_bytes(run: Run) -> Value | None:
    exact = [size for size in run.sizes if size.kind is SizeKind.CODE and size.exact]
    return Value(str(exact[-1].bytes), exact[-1].source) if exact else None


def _iterations(run: Run) -> Value | None:
    totals = [point for point in run.steps if point.total is not None]
    return Value(str(totals[-1].total), Location(run.path, totals[-1].line)) if totals else None


SCALARS: dict[str, Callable[[Run], Value | None]] = {
    "parameters": lambda run: run.model_params,
    "world size": lambda run: run.world_size,
    "validation tokens": lambda run: run.val_tokens,
    "iterations": _iterations,
    "code bytes": _code_bytes,
    "training shards": lambda run: run.train_shards,
}
SEVERITY = {
    "parameters": Outcome.FAIL,
    "world size": Outcome.FAIL,
    "validation tokens": Outcome.FAIL,
    # Some scripts print the steps they reached as the total.
    "iterations": Outcome.REVIEW,
    # Another size proves other code, but a comment or a printed line is enough for that.
    "code bytes": Outcome.REVIEW,
    "training shards": Outcome.REVIEW,
}


def _finding(compared: Compared, outcome: Outcome) -> Finding:
    parts = []
    for text, members in compared.groups[:SHOWN]:
        seeds = ", ".join(f"seed {run.seed}" if run.seed is not None else run.path for run, _ in members[:SHOWN])
        parts.append(f"{text[:80]} ({seeds})")
    return Finding(
        outcome,
        f"{compared.name} differs between the seeds of one mean: {'; '.join(parts)}",
        tuple(members[0][1] for _, members in compared.groups[:SHOWN]),
        Confidence.HIGH if outcome is Outcome.FAIL else Confidence.MEDIUM,
        Measured(len(compared.groups), "configurations"),
        Measured(1, "configurations"),
        "Rerun all seeds with one script and one configuration.",
    )


MIXED_CONFIGURATIONS = Rule(
    code="SIG004",
    name="mixed-configurations",
    level=Level.RECORD,
    summary="the seeds of one mean come from different configurations or code",
    why="A mean over different methods has no spread over seeds, so no test of it means anything.",
    example="violation: seed 42 with ttt_epochs 3, seeds 1337 and 2025 with ttt_epochs 4, one mean over all\n"
    "legal: three runs that differ in seed, run id and paths",
    settles="a diff of the settings and scripts of the runs; reruns at one configuration",
    sources=(_PULL + "2124",),
    check=check,
)
