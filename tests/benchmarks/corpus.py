"""Audit every record folder that any pull request of a bare repository changes, and print what came out.

    python -m tests.benchmarks.corpus --repository /path/to/contest.git [--json rows.jsonl] [--jobs 2] [--limit N] [--only PR ...]

Prints crashes, verdicts, outcome counts per rule, extraction coverage over run-like logs, agreement of claims with logs,
seconds and peak memory. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from verifier.challenge.load import load_challenge
from verifier.engine.audit import Plan, audit_source, relax_collector
from verifier.engine.context import PullRequest
from verifier.engine.registry import load_rules
from verifier.git.pull_request import first_commit_day, pull_request
from verifier.git.repository import GitError, Repository
from verifier.limits import Limits
from verifier.submission.git_source import GitTreeSource
from verifier.submission.junk import is_junk
from verifier.submission.logs.model import LogFile, SizeKind
from verifier.submission.logs.reader import is_log_name, read_logs
from verifier.submission.names import is_readme
from verifier.submission.source import EntryKind, FileSource, Unreadable

MASS = 6
"""Pull requests that touch more record folders than this re-ship other people's: their folders appear elsewhere."""


@dataclass(frozen=True)
class Job:
    pull: int
    change: PullRequest
    folder: str


@dataclass
class Row:
    pull: int
    folder: str
    seconds: float
    verdict: str = ""
    claim: str = ""
    outcomes: dict[str, str] = field(default_factory=dict)
    fails: list[tuple[str, str, str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    logs: dict[str, list[str]] = field(default_factory=dict)
    """sha256 of each log -> what was extracted from it."""
    memory_mb: float = 0.0
    crash: str = ""


def heads(repository: Path) -> Iterator[tuple[int, str]]:
    """(number, ref) of every pull request."""
    listing = Repository(repository).run("for-each-ref", "--format=%(refname)", "refs/pull/").decode()
    refs = [ref for ref in listing.split() if ref.endswith("/head")]
    yield from sorted((int(ref.split("/")[2]), ref) for ref in refs)


def changed_folders(repository: Path, base: str, head: tuple[int, str]) -> list[tuple[Job, str]] | str:
    """The record folders of one pull request, each with the hash of its tree; or why git can't tell."""
    number, ref = head
    try:
        change = pull_request(repository, base, ref)
    except GitError as failure:
        return f"PR {number}: {failure}"
    folders = change.records if len(change.records) <= MASS else ()
    git = Repository(repository)
    return [(Job(number, change, one), git.run("rev-parse", f"{change.head}:{one}").decode().strip()) for one in folders]


def jobs(pool: Executor, repository: Path, base: str, only: set[int]) -> Iterator[Job]:
    """Unique (folder, tree) pairs over all heads, lowest number first."""
    seen: set[tuple[str, str]] = set()
    wanted = [head for head in heads(repository) if not only or head[0] in only]
    for found in pool.map(partial(changed_folders, repository, base), wanted, chunksize=16):
        if isinstance(found, str):
            print(found, file=sys.stderr)
            continue
        for job, tree in found:
            if (job.folder, tree) not in seen:
                seen.add((job.folder, tree))
                yield job


def coverage(log: LogFile) -> list[str]:
    """What was extracted from a run-like log: one that has a line with loss and BPB, or a training step."""
    runs = log.runs
    if not any(run.steps or any(metric.loss and metric.bpb for metric in run.metrics) for run in runs):
        return []
    sizes = {size.kind for run in runs for size in run.sizes}
    found = {
        "run-like": True,
        "final metric": any(metric.loss and metric.bpb and metric.step is None for run in runs for metric in run.metrics),
        "steps": any(run.steps_reached is not None for run in runs),
        "total size": bool(sizes & {SizeKind.TOTAL, SizeKind.RAW_TOTAL}),
        "model size": SizeKind.MODEL in sizes,
        "code bytes": SizeKind.CODE in sizes,
        "seed": any(run.seed is not None for run in runs),
        "val tokens": any(run.val_tokens is not None for run in runs),
        "world size": any(run.world_size is not None for run in runs),
    }
    return [name for name, there in found.items() if there]


def logs_of(source: FileSource, limits: Limits) -> Sequence[LogFile]:
    """The logs again: a report no longer has them, and a second reading of the whole folder would cost as much as the first."""
    paths = [entry.path for entry in source.entries() if entry.kind is EntryKind.FILE and not is_junk(entry.path)]
    texts: list[tuple[str, bytes]] = []
    for path in paths:
        if is_log_name(path) and not is_readme(path):
            with suppress(Unreadable):
                texts.append((path, source.read(path, limits.text_file)))
    return read_logs(texts, limits)


_plan: Plan | None = None
_repository = Path()


def _start(repository: Path) -> None:
    global _plan, _repository
    _plan = Plan(load_rules(), load_challenge())
    _repository = repository
    relax_collector()


def audit(job: Job) -> Row:
    """One folder, with everything that is counted later."""
    assert _plan is not None
    start = time.perf_counter()
    row = Row(job.pull, job.folder, 0.0)
    try:
        source = GitTreeSource(_repository, job.change.head, job.folder)
        day = first_commit_day(_repository, job.change.head, job.folder)
        report = audit_source(source, _plan, pull_request=job.change, first_commit=day)
        row.seconds = time.perf_counter() - start
        row.verdict, row.claim = report.verdict.value, report.record_claim.value
        row.outcomes = {result.code: result.outcome.value for result in report.rules}
        row.fails = [
            (finding.rule, finding.outcome.value, finding.message, str(finding.locations[0])) for finding in report.findings
        ]
        row.problems = sorted(f"{problem.kind} {problem.location}: {problem.message}" for problem in report.problems)
        row.logs = {log.sha256: coverage(log) for log in logs_of(source, _plan.limits)}
    except Exception:
        row.crash = traceback.format_exc()
    row.memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return row


def summarise(rows: list[Row], wall: float) -> None:
    crashes = [row for row in rows if row.crash]
    print(f"{len(rows)} unique folders in {wall:.0f} s wall; {len(crashes)} crashes")
    for row in crashes[:20]:
        print(f"  PR {row.pull} {row.folder}: {row.crash.strip().splitlines()[-1]}")
    times = sorted(row.seconds for row in rows)
    if times:
        print(
            f"seconds a folder: median {times[len(times) // 2]:.2f}, 99 % {times[int(len(times) * 0.99)]:.2f}, max {times[-1]:.2f}"
        )
        print(
            f"seconds of all audits, one after the other: {sum(times):.0f} (the wall time above also reads the logs a second time)"
        )
        print(f"peak memory of a worker: {max(row.memory_mb for row in rows):.0f} MB")
    print("verdicts:", dict(Counter(row.verdict for row in rows)), "claims:", dict(Counter(row.claim for row in rows)))
    logs = {sha: found for row in rows for sha, found in row.logs.items()}
    total = Counter(name for found in logs.values() for name in found)
    print(f"{len(logs)} different logs")
    for name, count in total.items():
        print(f"  {name:<14} {count:>6}  {100 * count / max(1, total['run-like']):5.1f} %")
    outcomes = ("pass", "fail", "review", "info", "not-applicable", "not-available", "error")
    print("rule    " + " ".join(f"{name:>14}" for name in outcomes))
    for code in sorted({code for row in rows for code in row.outcomes}):
        counts = Counter(row.outcomes.get(code) for row in rows)
        print(f"{code:<8}" + " ".join(f"{counts[name]:>14}" for name in outcomes))
    kinds = Counter(problem.split()[0] for row in rows for problem in row.problems)
    print("problems:", dict(kinds.most_common()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repository", type=Path, required=True)
    parser.add_argument("--base", default="main")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--only", type=int, nargs="*", default=[])
    parser.add_argument("--json", type=Path, help="one line a folder")
    args = parser.parse_args()
    start = time.perf_counter()
    with ProcessPoolExecutor(args.jobs, get_context("forkserver"), _start, (args.repository,)) as pool:
        todo = list(jobs(pool, args.repository, args.base, set(args.only)))[: args.limit]
        print(f"{len(todo)} unique folders found in {time.perf_counter() - start:.0f} s", file=sys.stderr)
        start = time.perf_counter()
        rows = list(pool.map(audit, todo, chunksize=4))
    if args.json:
        args.json.write_text("".join(json.dumps(row.__dict__, sort_keys=True) + "\n" for row in rows))
    summarise(rows, time.perf_counter() - start)


if __name__ == "__main__":
    main()
