"""Audit every labelled pull request of a bare repository and say which review verdicts the rules reproduce.

    python -m tests.benchmarks.labels --labels labels.jsonl --repository /path/to/contest.git [--json rows.jsonl] [--only slot clean] [--jobs 2]

A label is one line of JSON: pr, head_sha, folders, verdict (violation, clean, unclear), categories, source (maintainer, community,
merged). A violation is found when one of its category's rules is `fail` (or `review`) on one of the folders; a clean row is
accused when a rule of level `error` is `fail` there. Rows that are marked as doubtful are counted and not scored.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path

from verifier.challenge.load import load_challenge
from verifier.engine.audit import Plan, audit_source, relax_collector
from verifier.engine.context import PullRequest
from verifier.engine.registry import load_rules
from verifier.git.pull_request import first_commit_day, pull_request
from verifier.git.repository import GitError, Repository
from verifier.rule import Level, Outcome
from verifier.submission.git_source import GitTreeSource


@dataclass(frozen=True, slots=True)
class Category:
    """The rules that find violations of a kind. `code`: decided by reading the script as a program."""

    rules: tuple[str, ...]
    code: bool = False


CATEGORIES = {
    "ngram_hash_target_key": Category(("NGR001", "MIX001"), code=True),
    "ngram_gate_target": Category(("NGR002",), code=True),
    "oracle_mix": Category(("MIX002", "TTT003"), code=True),
    "two_pass_rescore": Category(("TTT004", "TTT001"), code=True),
    "ttt_adapt_before_score": Category(("TTT001", "TTT002", "TTT003", "TTT004"), code=True),
    "prequant_ttt": Category(("TTT002", "TTT001"), code=True),
    "slot": Category(("SLT001",), code=True),
    "gptq_eval_time": Category(("TIM003",), code=True),
    "gptq_val_calibration": Category(("VAL004",), code=True),
    "train_on_val": Category(("VAL001",), code=True),
    "paid_prefix": Category(("VAL002",), code=True),
    "train_val_overlap": Category(("VAL003",)),
    "val_tuning": Category(("VAL005",), code=True),
    "ppm_unnormalized": Category(("PPM001", "MIX001"), code=True),
    "eval_subset": Category(("EVA001",), code=True),
    "smear_bos_leak": Category(("CAU001",), code=True),
    "byte_accounting": Category(("BYT001", "BYT002", "BYT003", "BYT004", "BYT006", "VAL006")),
    "missing_files": Category(("PKG001", "PKG004", "PKG005")),
    "diff_not_clean": Category(("PKG002", "PKG003")),
    "artifact_over_cap": Category(("SIZ001",)),
    "train_time_over": Category(("TIM001",)),
    "eval_time_over": Category(("TIM002",)),
    "insufficient_seeds": Category(("SIG001", "SIG004")),
    "not_significant": Category(("SIG003",)),
    "claims_mismatch": Category(("CLM001", "CLM002", "SIG002", "SIG004", "CLM003", "CLM004")),
}
PROGRAM_RULES = frozenset(
    {
        "TTT001", "TTT002", "TTT003", "TTT004", "TTT005",
        "SLT001",
        "NGR001", "NGR002",
        "MIX001", "MIX002",
        "PPM001",
        "VAL001", "VAL002", "VAL004", "VAL005",
        "EVA001", "EVA002", "EVA004", "EVA005",
        "CAU001",
        "CLM002", "CLM004", "CLM008", "CLM010",
        "TIM003",
        "NET001",
        "SIZ004",
        "COD001", "COD002", "COD003", "COD004", "COD005",
        "BYT001",
    }
)  # fmt: skip
"""Rules decided on the script as a program."""
DOUBTS = ("stale", "label_suspect", "label_conflict", "code_mismatch")
CLEAN = "clean"
"""Word of --only for the rows without a violation."""
SOURCES = ("maintainer", "community", "merged")
WORST_FIRST = (Outcome.FAIL, Outcome.REVIEW)


@dataclass(frozen=True, slots=True)
class Label:
    pull: int
    head: str
    folders: tuple[str, ...]
    verdict: str
    categories: tuple[str, ...]
    source: str
    doubts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Job:
    label: Label
    change: PullRequest
    folder: str


@dataclass(slots=True)
class Row:
    """One label with the outcome of each rule, worst over its folders; `fails` are (rule, folder, first location, message)."""

    label: Label
    folders: list[str] = field(default_factory=list)
    outcomes: dict[str, str] = field(default_factory=dict)
    fails: list[tuple[str, str, str, str]] = field(default_factory=list)
    seconds: float = 0.0
    trouble: str = ""
    """Why there is nothing to judge: no such commit, no record folder, a crash."""

    def merge(self, other: Row) -> None:
        self.folders += other.folders
        for code, outcome in other.outcomes.items():
            self.outcomes[code] = min(self.outcomes.get(code, outcome), outcome, key=_badness)
        self.fails += other.fails
        self.seconds += other.seconds
        self.trouble = self.trouble or other.trouble

    def best(self, rules: Iterable[str]) -> str:
        """`fail`, `review` or "" for what any of the rules answers."""
        found = {self.outcomes.get(code) for code in rules}
        return next((outcome.value for outcome in WORST_FIRST if outcome.value in found), "")


def _badness(outcome: str) -> int:
    return next((rank for rank, worst in enumerate(WORST_FIRST) if worst.value == outcome), len(WORST_FIRST))


def read_labels(path: Path) -> list[Label]:
    labels = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip():
            row = json.loads(line)
            doubts = tuple(name for name in DOUBTS if row.get(name))
            labels.append(
                Label(
                    row["pr"],
                    row["head_sha"],
                    tuple(row["folders"]),
                    row["verdict"],
                    tuple(row["categories"]),
                    row["source"],
                    doubts,
                )
            )
    return labels


def wanted(label: Label, only: Sequence[str]) -> bool:
    return not only or bool(set(only) & set(label.categories)) or (CLEAN in only and label.verdict == CLEAN)


def jobs_of(label: Label, repository: Path, base: str) -> Iterator[Job]:
    """One job per labelled folder that the head holds; per changed record folder where the label names none.

    Raises `GitError` when neither the labelled commit nor the head of the pull request is there.
    """
    git = Repository(repository)
    try:
        head = git.resolve(label.head)
    except GitError:
        head = git.resolve(f"refs/pull/{label.pull}/head")
    change = pull_request(repository, base, head)
    for folder in label.folders or change.records:
        if git.run("ls-tree", "-d", head, "--", folder):
            yield Job(label, change, folder)


_plan: Plan | None = None
_repository = Path()


def _start(repository: Path) -> None:
    global _plan, _repository
    _plan = Plan(load_rules(), load_challenge())
    _repository = repository
    relax_collector()


def audit(job: Job) -> Row:
    """One folder as `verifier ci` would judge it."""
    assert _plan is not None
    start = time.perf_counter()
    row = Row(job.label, [job.folder])
    try:
        source = GitTreeSource(_repository, job.change.head, job.folder)
        day = first_commit_day(_repository, job.change.head, job.folder)
        report = audit_source(source, _plan, pull_request=job.change, first_commit=day)
        row.outcomes = {result.code: result.outcome.value for result in report.rules}
        row.fails = [
            (finding.rule, job.folder, str(finding.locations[0]), finding.message)
            for finding in report.findings
            if finding.outcome is Outcome.FAIL and finding.level is Level.ERROR
        ]
        broken = [f"{result.code}: {result.reason}" for result in report.rules if result.outcome is Outcome.ERROR]
        row.trouble = "; ".join(broken)
    except Exception:
        row.trouble = traceback.format_exc().strip().splitlines()[-1]
    row.seconds = time.perf_counter() - start
    return row


def share(part: int, whole: int) -> str:
    return f"{part:>3}/{whole:<3} {100 * part / whole:5.1f} %" if whole else "  -"


def print_categories(rows: Sequence[Row]) -> None:
    """Found and missed, per category, for the rows of one source."""
    print(f"  {'category':<24} code  {'fail':<16} {'fail or review':<16} missed (neither)")
    names = Counter(category for row in rows for category in row.label.categories)
    for name in [*CATEGORIES, *sorted(set(names) - set(CATEGORIES))]:
        inside = [row for row in rows if name in row.label.categories]
        if not inside:
            continue
        category = CATEGORIES.get(name)
        if category is None:
            print(f"  {name:<24}       {len(inside)} rows, no rule is meant to find these")
            continue
        found = [(row, row.best(category.rules)) for row in inside]
        failed = sum(best == Outcome.FAIL for _, best in found)
        missed = " ".join(str(row.label.pull) for row, best in found if not best)
        print(
            f"  {name:<24} {'code' if category.code else '':<5} {share(failed, len(inside)):<16} "
            f"{share(sum(bool(best) for _, best in found), len(inside)):<16} {missed}"
        )


def print_clean(rows: Sequence[Row]) -> None:
    """Every accusation of a row that reviewers found clean (* by a program rule), and how many a program rule holds up."""
    if not rows:
        return
    levels = {rule.code: rule.level for rule in load_rules()}
    accused = [row for row in rows if row.fails]
    by_program = [row for row in accused if any(rule in PROGRAM_RULES for rule, *_ in row.fails)]
    print(
        f"  accused by an error-level fail: {share(len(accused), len(rows))}; "
        f"by one of a program rule: {share(len(by_program), len(rows))}"
    )
    for row in accused:
        for rule, folder, where, message in row.fails:
            mark = "*" if rule in PROGRAM_RULES else " "
            print(f"   {mark}PR {row.label.pull} {rule} {folder}/{where}: {message[:160]}")
    reviews = Counter(code for row in rows for code, outcome in row.outcomes.items() if outcome == "review")
    program = {code: count for code, count in sorted(reviews.items()) if code in PROGRAM_RULES}
    held = [row for row in rows if any(row.outcomes.get(code) == "review" for code in PROGRAM_RULES)]
    serious = [code for code in PROGRAM_RULES if levels.get(code) is Level.ERROR]
    held_up = [row for row in rows if row.best(serious) == "review"]
    print(f"  review on a program rule: {share(len(held), len(rows))}; on one of level error: {share(len(held_up), len(rows))}")
    print("   ", " ".join(f"{code}:{count}" for code, count in program.items()))


def print_code_summary(rows: Sequence[Row], source: str) -> None:
    """A row counts once: found when any of its code categories is."""
    pairs = [
        (row, [rule for name in row.label.categories if (known := CATEGORIES.get(name)) and known.code for rule in known.rules])
        for row in rows
    ]
    best = [row.best(rules) for row, rules in pairs if rules]
    failed = sum(outcome == Outcome.FAIL for outcome in best)
    print(f"code violations, {source}: fail {share(failed, len(best))}; fail or review {share(sum(map(bool, best)), len(best))}")


def summarise(rows: Sequence[Row], wall: float) -> None:
    scored = [row for row in rows if not row.label.doubts and row.label.verdict != "unclear"]
    doubts = Counter(doubt for row in rows for doubt in row.label.doubts)
    unclear = sum(row.label.verdict == "unclear" for row in rows)
    print(f"{len(rows)} rows in {wall:.0f} s, {len(scored)} scored; not scored: {unclear} unclear, {dict(doubts)}")
    for row in rows:
        if row.trouble:
            print(f"  PR {row.label.pull}: {row.trouble[:300]}")
    for source in SOURCES:
        own = [row for row in scored if row.label.source == source]
        violations = [row for row in own if row.label.verdict == "violation"]
        clean = [row for row in own if row.label.verdict == CLEAN]
        print(f"\n{source}: {len(violations)} violations, {len(clean)} clean")
        if violations:
            print_categories(violations)
        print_clean(clean)
    print()
    for source in ("maintainer", "community"):
        print_code_summary([row for row in scored if row.label.source == source and row.label.verdict == "violation"], source)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--repository", type=Path, required=True)
    parser.add_argument("--base", default="main")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", nargs="*", default=[], help=f"categories, or {CLEAN!r}")
    parser.add_argument("--json", type=Path, help="one line a label")
    args = parser.parse_args()
    start = time.perf_counter()
    rows: dict[Label, Row] = {}
    todo: list[Job] = []
    for label in read_labels(args.labels):
        if not wanted(label, args.only):
            continue
        rows[label] = Row(label)
        try:
            found = list(jobs_of(label, args.repository, args.base))
            rows[label].trouble = "" if found else "no record folder in this change: nothing to audit"
            todo += found
        except GitError as failure:
            rows[label].trouble = str(failure)
    print(f"{len(todo)} folders found in {time.perf_counter() - start:.0f} s", file=sys.stderr)
    with ProcessPoolExecutor(args.jobs, get_context("forkserver"), _start, (args.repository,)) as pool:
        for done in pool.map(audit, todo, chunksize=2):
            rows[done.label].merge(done)
    if args.json:
        args.json.write_text("".join(json.dumps(asdict(row), sort_keys=True) + "\n" for row in rows.values()))
    summarise(list(rows.values()), time.perf_counter() - start)


if __name__ == "__main__":
    main()
