"""Time and memory of reading scripts as programs: of record folders, and of scripts made to exhaust the reader.

    python -m tests.benchmarks.bench_program [FOLDER ...] [--adversarial] [--match WORD]

Parse+walk is `ast.parse` and one `ast.walk` over every text of the program: the floor that any reader of syntax trees pays.
Each adversarial script runs in a process of its own with limited memory, so that its peak is its own and a crash is contained.
"""

from __future__ import annotations

import argparse
import ast
import resource
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from tests.program.adversarial import ADVERSARIAL
from tests.program.judge import MemorySource
from verifier.challenge.load import load_challenge
from verifier.engine.context import Context
from verifier.engine.deadline import DeadlineExceeded, hard_deadline
from verifier.limits import DEFAULT_LIMITS, MIB
from verifier.program.analysis import analysis_of
from verifier.submission.discover import discover
from verifier.submission.load import load_submission
from verifier.submission.source import FileSource

LONGEST = 2 * DEFAULT_LIMITS.seconds_per_folder
"""Seconds after which the audit of a folder is cut off as a whole."""
MEMORY = 4 * 1024 * MIB
"""Bytes of address space that one adversarial script may make the reader take."""


@dataclass(slots=True)
class Measured:
    """Seconds of each part, MB of the process at its peak, and what came out."""

    name: str
    lines: int = 0
    read: float = 0.0
    parse: float = 0.0
    analysis: float = 0.0
    peak_mb: float = 0.0
    events: int = 0
    said: str = ""


def measure(source: FileSource) -> Measured:
    found = Measured(source.label)
    try:
        with hard_deadline(LONGEST):
            _measure(source, found)
    except DeadlineExceeded as failure:
        found.said = f"CUT OFF: {failure}"
    except Exception as failure:
        found.said = f"CRASH: {type(failure).__name__}: {failure}"[:200]
    found.peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return found


def _measure(source: FileSource, found: Measured) -> None:
    start = time.perf_counter()
    submission = load_submission(source, DEFAULT_LIMITS, None)
    found.read = time.perf_counter() - start
    texts = [text for member in submission.program.members for _, text in member.code_texts]
    found.lines = sum(text.count("\n") for text in texts)
    if submission.program.main is not None and submission.program.main.syntax_error is None:
        start = time.perf_counter()
        _parse_and_walk(texts)
        found.parse = time.perf_counter() - start
    context = Context(submission, load_challenge())
    start = time.perf_counter()
    analysis = analysis_of(context)
    trace = analysis.run if analysis.available else None
    found.analysis = time.perf_counter() - start
    if trace is None:
        found.said = f"not available: {analysis.why_not}"[:120]
        return
    found.events = len(trace.events)
    kinds = Counter(problem.kind for problem in (*trace.incomplete, *analysis.doubts))
    found.said = ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items())) or "complete"


def _parse_and_walk(texts: Sequence[str]) -> None:
    """What can't be parsed costs what it costs to find out."""
    for text in texts:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                tree = ast.parse(text)
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                continue
        for _ in ast.walk(tree):
            pass


def measure_adversarial(name: str) -> Measured:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    files = {
        "README.md": b"# Small model\n\n```bash\ntorchrun --nproc_per_node=8 train_gpt.py\n```\n",
        "submission.json": b'{"author": "A. Maker", "val_bpb": 1.2}\n',
        "train_gpt.py": ADVERSARIAL[name]().encode("utf-8", "surrogatepass"),
    }
    found = measure(MemorySource("records/track_10min_16mb/2026-04-30_Adversarial", files))
    found.name = name
    return found


def spread(label: str, values: Sequence[float], unit: str) -> None:
    ordered = sorted(values)
    print(
        f"{label:<12} median {ordered[len(ordered) // 2]:8.3f}  95 % {ordered[int(len(ordered) * 0.95)]:8.3f}  max {ordered[-1]:8.3f} {unit}"
    )


def bench_folders(folders: Sequence[Path]) -> None:
    sources = [source for folder in folders for source in discover(folder)]
    with ProcessPoolExecutor(1, get_context("forkserver")) as pool:
        rows = [row for row in pool.map(measure, sources) if row.lines]
    if not rows:
        print(f"none of {len(sources)} folders has a script")
        return
    print(f"{len(rows)} of {len(sources)} folders have a script")
    spread("lines", [row.lines for row in rows], "")
    spread("read", [row.read for row in rows], "s")
    spread("parse+walk", [row.parse for row in rows], "s")
    spread("analysis", [row.analysis for row in rows], "s")
    spread("events", [row.events for row in rows], "")
    ratios = [row.analysis / row.parse for row in rows if row.parse]
    if ratios:
        spread("ratio", ratios, "x parse+walk")
    print(f"peak memory of the one process: {max(row.peak_mb for row in rows):.0f} MB")
    said = Counter(row.said.split(":")[0] for row in rows)
    print("outcomes:", dict(said.most_common(12)))
    for row in sorted(rows, key=lambda row: -row.analysis)[:5]:
        print(f"  {row.analysis:7.2f} s {row.lines:>6} lines {row.events:>6} events  {row.name}: {row.said[:100]}")
    for row in rows:
        if row.said.startswith(("CRASH", "CUT OFF")):
            print(f"  {row.name}: {row.said}")


def bench_adversarial(match: str) -> None:
    print(f"{'script':<46} {'read s':>8} {'parse s':>8} {'analysis s':>10} {'peak MB':>8} {'events':>7}")
    for name in ADVERSARIAL:
        if match not in name:
            continue
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            try:
                row = pool.submit(measure_adversarial, name).result()
            except BrokenProcessPool:
                row = Measured(name, said="CRASH: the process died")
        print(
            f"{row.name:<46} {row.read:>8.2f} {row.parse:>8.2f} {row.analysis:>10.2f} {row.peak_mb:>8.0f} {row.events:>7}  {row.said}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="*", help="record folders, or directories of them")
    parser.add_argument("--adversarial", action="store_true")
    parser.add_argument("--match", default="", help="only adversarial scripts with this in their name")
    args = parser.parse_args()
    if args.folders:
        bench_folders(args.folders)
    if args.adversarial:
        bench_adversarial(args.match)
    if not args.folders and not args.adversarial:
        parser.error("nothing to measure: name folders or use --adversarial")


if __name__ == "__main__":
    main()
