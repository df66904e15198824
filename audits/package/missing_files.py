"""PKG001: README, submission JSON, training log and training script."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from verifier.engine.context import Context
from verifier.evidence import Location, excerpt
from verifier.rule import Confidence, Decision, Finding, Level, Outcome, Rule
from verifier.submission.logs.reader import is_log_name
from verifier.submission.names import is_readme, is_submission_json, split_name
from verifier.submission.source import EntryKind, incomplete_listing
from verifier.submission.submission import FileEntry, Submission

_PROGRAMS = frozenset({".py", ".ipynb", ".sh", ".c", ".cc", ".cpp", ".h", ".cu", ".rs", ".jl", ".m", ".mm", ".swift"})


def check(context: Context) -> Decision:
    """A missing kind of file fails; one that is there under another name, in a sub-folder or unreadable is a human's decision."""
    submission = context.submission
    findings = [
        *_required(submission, "README", "README.md", is_readme),
        *_required(submission, "submission JSON", "submission.json", is_submission_json),
        *_logs(submission),
        *_script(submission),
    ]
    if incomplete_listing(submission.problems) and any(finding.outcome is Outcome.FAIL for finding in findings):
        return Decision.not_available("not every file of the folder could be listed, so what seems to be missing may be there")
    findings += _seeds_without_log(submission)
    if findings:
        return Decision.of(findings)
    return Decision.passed("README.md, submission.json, train_gpt.py and a log of every claimed seed are there")


def _present(submission: Submission, matches: Callable[[str], bool]) -> list[FileEntry]:
    """Names of a kind that are no junk, those of the folder itself first."""
    found = (entry for entry in submission.files if not entry.junk and matches(entry.path))
    return sorted(found, key=lambda entry: (entry.kind != EntryKind.FILE, entry.path.count("/"), entry.path))


def _required(submission: Submission, what: str, exact: str, matches: Callable[[str], bool]) -> Iterator[Finding]:
    found = _present(submission, matches)
    if not found:
        yield _missing(submission, what, f"add {exact} to the folder")
        return
    readable = [entry for entry in found if entry.kind == EntryKind.FILE and entry.size != 0]
    if not readable:
        yield _review(found[0].path, f"{found[0].path} is {_state(found[0])}: the folder has no readable {what}")
    elif all(entry.path != exact for entry in readable):
        yield _review(readable[0].path, f"the {what} is {readable[0].path}, not {exact}", f"rename it to {exact}")


def _logs(submission: Submission) -> Iterator[Finding]:
    found = _present(submission, is_log_name)
    if not found:
        yield _missing(submission, "training log", "add the log of each run, e.g. train_seed42.log")
        return
    ran = [log for log in submission.logs if any(run.steps or run.metrics for run in log.runs)]
    if not submission.logs:
        yield _review(found[0].path, f"no log could be read, e.g. {found[0].path} ({_state(found[0])})")
    elif not ran:
        names = ", ".join(log.path for log in submission.logs[:3])
        yield _review(submission.logs[0].path, f"no training step and no score was recognised in {names}")
    elif all(split_name(log.path)[1] == ".txt" for log in ran):
        yield _review(ran[0].path, f"the training log is {ran[0].path}, not a .log file", "rename it to train_seed<N>.log")


def _script(submission: Submission) -> Iterator[Finding]:
    main = submission.program.main
    if main is not None:
        if not main.text.strip():
            yield _review(main.path, f"{main.path} is empty", "ship the script that was run")
        if main.path != "train_gpt.py":
            why = f" ({submission.program.main_reason})" if submission.program.main_reason else ""
            yield _review(main.path, f"the training script is {main.path}{why}, not train_gpt.py", "rename it to train_gpt.py")
        return
    programs = _present(submission, lambda path: split_name(path)[1] in _PROGRAMS)
    if programs:
        message = f"no train_gpt.py or train*.py; {programs[0].path} ({_state(programs[0])}) may be what trains"
        yield _review(programs[0].path, message, "name the training script train_gpt.py")
    else:
        yield _missing(submission, "training script", "add the script that was run as train_gpt.py")


def _seeds_without_log(submission: Submission) -> Iterator[Finding]:
    """Claimed seeds that no log names, unless logs without any seed can stand for them."""
    if not submission.metadata or not submission.logs:
        return
    metadata = submission.metadata[0]
    sources = {claim.seed: claim.source for claim in metadata.seed_claims if claim.seed is not None}
    for seed in metadata.seeds:
        sources.setdefault(seed, metadata.seeds_source or Location(metadata.path))
    runs = submission.runs
    # A copy of another seed's log still names its seed; that it is a copy is PKG008's business.
    named = {seed for log in submission.logs for run in log.runs for seed in (run.seed, run.file_name_seed) if seed is not None}
    unnamed = sum(run.seed is None and run.file_name_seed is None and bool(run.steps or run.metrics) for run in runs)
    missing = sorted(seed for seed in sources if seed not in named)
    if len(missing) > unnamed:
        which = (
            "seed " + ", ".join(map(str, missing[:8])) if unnamed == 0 else f"all of the seeds {', '.join(map(str, missing[:8]))}"
        )
        yield Finding(
            Outcome.REVIEW,
            f"{metadata.path} claims {len(sources)} seeds; there is no log of {which}",
            tuple(sources[seed] for seed in missing[:8]),
            remediation="add the missing logs, or claim the seeds whose logs are there",
        )


def _missing(submission: Submission, what: str, remediation: str) -> Finding:
    names = [entry.path for entry in submission.files if not entry.junk]
    listing = ", ".join(names) if names else "nothing"
    where = Location(".", excerpt=excerpt(f"the folder holds {listing}"))
    return Finding(Outcome.FAIL, f"the folder has no {what}", (where,), remediation=remediation)


def _review(path: str, message: str, remediation: str = "") -> Finding:
    return Finding(Outcome.REVIEW, message, (Location(path),), Confidence.HIGH, remediation=remediation)


def _state(entry: FileEntry) -> str:
    if entry.kind != EntryKind.FILE:
        return f"a {entry.kind}"
    return "empty" if entry.size == 0 else "not readable" if entry.sha256 is None else "readable"


MISSING_FILE = Rule(
    code="PKG001",
    name="missing-file",
    level=Level.ERROR,
    summary="README, submission JSON, training log or training script is missing",
    why=(
        "A score that nobody can read about, trace to a run or run again is no result. The four files are what the contest asks for; "
        "tools and reviewers look for them by name."
    ),
    example=(
        "violation: a folder with README.md and train_gpt.py, but no submission.json\n"
        "legal:     README.md, submission.json, train_gpt.py, train_seed42.log, train_seed1337.log\n"
        "to decide: submission_ternary.json, train_mdlm.py or train_log.txt in their place; three claimed seeds and two logs"
    ),
    settles="the file under its usual name, or a maintainer's word that the other name will do; the log of each claimed seed",
    sources=("https://github.com/openai/parameter-golf#submission-process",),
    check=check,
)

RULES = (MISSING_FILE,)
