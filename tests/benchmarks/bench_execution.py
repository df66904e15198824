"""Run the scripts of randomly drawn record folders once each, unmodified, at toy size in the sandbox, and print how far they come.

    python -m tests.benchmarks.bench_execution --corpus FOLDER --seed 0 --count 40 [--timeout 300] [--memory 4096] [--jobs 1]
    python -m tests.benchmarks.bench_execution --folders FOLDER ... [--keep FOLDER] [--json rows.jsonl]

Drawn are folders `records/track_10min_16mb/*` at any depth below `--corpus` (or, with `--repository`, in the pull requests of a bare
repository) that have a `train_gpt.py`, and of which the audit reads a submission.json, a README and a log. A run `reached` the final
evaluation when it ended by itself after printing a final metric, or scored validation tokens without a gradient after it had
read its artifact back. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

from audits.dynamic.order import artifact_reload
from verifier.challenge.load import load_challenge
from verifier.engine.audit import Plan
from verifier.engine.context import Context
from verifier.execution.bench import Attempt, Budget
from verifier.execution.experiment import laboratory_of
from verifier.execution.passes import Run
from verifier.execution.workspace import CannotPrepare
from verifier.git.repository import Repository
from verifier.limits import MIB
from verifier.submission.discover import discover
from verifier.submission.load import load_submission

TRACK = "records/track_10min_16mb"


@dataclass(frozen=True)
class Row:
    """One folder's run. `stage` is the last thing that it was seen doing; `cause` why it did not end well."""

    folder: str
    reached: bool = False
    stage: str = "not run"
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    """Of all its processes: below `seconds` on a machine that others use too."""
    memory_mb: float = 0.0
    cause: str = ""
    mapped: list[str] = field(default_factory=list)
    shrunk: dict[str, str] = field(default_factory=dict)
    printed: str = ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, help="a folder with record folders at any depth")
    parser.add_argument("--repository", type=Path, help="a bare repository with pull requests")
    parser.add_argument("--base", default="main", help="branch the pull requests of --repository are compared with")
    parser.add_argument("--folders", type=Path, nargs="+", help="these record folders instead of a draw")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds of one run")
    parser.add_argument("--memory", type=int, default=4096, help="MiB of one run")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="a Python with torch")
    parser.add_argument("--keep", type=Path, help="keep output and records of each run here")
    parser.add_argument("--json", type=Path, help="one line a folder, written as they end")
    parser.add_argument("--list", action="store_true", help="print what would be run, and stop")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-execution-", dir="/var/tmp") as unpacked:
        folders = args.folders or draw(args.corpus, args.repository, args.base, args.seed, args.count, Path(unpacked))
        if args.list:
            print("\n".join(map(str, folders)))
            return
        budget = Budget(total=args.timeout + 5, single=args.timeout, memory=args.memory * MIB)
        started = time.monotonic()

        def one(folder: Path) -> Row:
            row = run_folder(folder, args.python, budget, args.keep)
            if args.json is not None:
                with args.json.open("a", encoding="ascii") as file:
                    file.write(json.dumps(asdict(row), sort_keys=True) + "\n")
            print(describe(row), file=sys.stderr, flush=True)
            return row

        with ThreadPoolExecutor(args.jobs) as pool:
            rows = list(pool.map(one, folders))
    summarise(rows, time.monotonic() - started)


def draw(corpus: Path | None, repository: Path | None, base: str, seed: int, count: int, unpacked: Path) -> list[Path]:
    """The first `count` folders with complete files in a shuffled order of all."""
    found: list[Path] = []
    if corpus is not None:
        candidates: Sequence[object] = sorted(path.parent for path in corpus.rglob(f"{TRACK}/*/train_gpt.py"))
    elif repository is not None:
        from tests.benchmarks.corpus import jobs

        with ThreadPoolExecutor(2) as pool:
            candidates = [job for job in jobs(pool, repository, base, set()) if job.folder.startswith(TRACK)]
    else:
        raise SystemExit("name --corpus, --repository or --folders")
    order = list(candidates)
    random.Random(seed).shuffle(order)
    for candidate in order:
        if len(found) == count:
            break
        folder = candidate if isinstance(candidate, Path) else unpack(repository, candidate, unpacked)
        if is_complete(folder):
            found.append(folder)
    return found


def unpack(repository: Path | None, job: object, place: Path) -> Path:
    """The folder of a pull request's head, on disk."""
    from tests.benchmarks.corpus import Job

    assert repository is not None
    assert isinstance(job, Job)
    data = Repository(repository).run("archive", "--format=tar", job.change.head, job.folder)
    target = place / f"pr{job.pull}"
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        archive.extractall(target, filter="data")
    return target / job.folder


def is_complete(folder: Path) -> bool:
    """Whether the audit reads a script, a submission.json, a README and a log there."""
    if not (folder / "train_gpt.py").is_file():
        return False
    sources = discover(folder)
    if len(sources) != 1:
        return False
    submission = load_submission(sources[0])
    return bool(submission.metadata and submission.readmes and submission.logs and submission.program.main is not None)


def run_folder(folder: Path, python: Path, budget: Budget, keep: Path | None) -> Row:
    name = "/".join(part for part in folder.parts[-6:] if part.startswith("pr") or part == folder.name)
    try:
        plan = Plan((), load_challenge())
        submission = load_submission(discover(folder)[0], plan.limits)
        context = Context(submission, plan.challenge, plan.options)
        target = None if keep is None else keep / name.replace("/", "-")
        laboratory = laboratory_of(context, folder, python, budget, target, unsafe=False)
        if laboratory is None:
            return Row(name, cause="the folder has no training script")
        attempt = laboratory.first_run()
    except CannotPrepare as failure:
        return Row(name, cause=str(failure))
    except Exception as failure:  # a row for each folder, whatever happens
        return Row(name, cause=f"crash of the harness: {type(failure).__name__}: {failure}")
    shrunk = {key: value for key, (_, value) in laboratory.settings.shrunk.items()}
    stage = last_stage(attempt)
    run = attempt.run
    printed = run.printed if run is not None else None
    metric = printed.metric if printed is not None else None
    shown = " ".join(number.text for number in ((metric.loss, metric.bpb) if metric is not None else ()) if number is not None)
    return Row(
        name,
        stage in ("end", "final evaluation"),
        stage,
        round(attempt.ending.seconds, 1),
        round(attempt.ending.cpu_seconds, 1),
        round(attempt.ending.peak_memory / MIB, 1),
        attempt.failure or ("" if stage == "end" else "it ended without a final metric that can be read"),
        [event.text("what") for event in run.observations.of("mapped")] if run is not None else [],
        shrunk,
        shown,
    )


def last_stage(attempt: Attempt) -> str:
    run = attempt.run
    if run is None:
        return "nothing recorded"
    if attempt.completed and run.printed is not None:
        return "end"
    return "final evaluation" if any(after_artifact(run)) else attempt.stage


def after_artifact(run: Run) -> Iterator[int]:
    """Spans of scores without a gradient on validation tokens after the artifact was read back."""
    reload = artifact_reload(run)
    for span in run.observations.spans if reload is not None else ():
        later = reload is not None and span.number > reload.number and not span.grad
        if later and (run.positions[span.start : span.start + span.count] >= 0).any():
            yield span.number


def describe(row: Row) -> str:
    return (
        f"{'yes' if row.reached else 'NO ':<4} {row.folder[:70]:<70} {row.stage:<17} {row.seconds:>6.1f} s {row.cpu_seconds:>6.1f} cpu {row.memory_mb:>6.0f} MiB"
        f"  {row.cause[:160]}"
    )


def summarise(rows: list[Row], wall: float) -> None:
    for row in rows:
        print(describe(row))
    reached = sum(row.reached for row in rows)
    ended = sum(row.stage == "end" for row in rows)
    times = sorted(row.seconds for row in rows)
    print(
        f"{reached} of {len(rows)} reached the final evaluation ({100 * reached / max(1, len(rows)):.1f} %), {ended} ended by themselves"
    )
    if rows:
        print(
            f"seconds: median {times[len(times) // 2]:.1f}, max {times[-1]:.1f}; peak {max(row.memory_mb for row in rows):.0f} MiB; {wall:.0f} s wall in all"
        )


if __name__ == "__main__":
    main()
