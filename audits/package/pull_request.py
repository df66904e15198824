"""PKG002 and PKG003: a pull request adds one record folder and touches nothing else."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence

from verifier.engine.context import Context, PullRequest
from verifier.evidence import Location, excerpt
from verifier.rule import Decision, Finding, Level, Measured, Outcome, Rule
from verifier.submission.discover import record_folder_of

SHOWN = 20
_NO_PULL_REQUEST = Decision.not_applicable("not a pull request")
_WORDS = {"A": "added", "M": "changed", "D": "deleted", "R": "renamed"}


def check_files_outside(context: Context) -> Decision:
    """Every changed path must lie in a record folder; that it is only one folder is PKG003's question."""
    change = context.pull_request
    if change is None:
        return _NO_PULL_REQUEST
    outside = [(status, path) for status, path in change.changed if record_folder_of(path, change.records) is None]
    if not outside:
        return Decision.passed(f"all {len(change.changed)} changed files lie in a record folder")
    names = ", ".join(f"{path} ({_WORDS.get(status, status)})" for status, path in outside[:5])
    more = f" and {len(outside) - 5} more" if len(outside) > 5 else ""
    finding = Finding(
        Outcome.FAIL,
        f"the pull request changes {len(outside)} files outside a record folder: {names}{more}",
        tuple(
            Location(_from_folder(path, context.submission.path), excerpt=excerpt(f"{_WORDS.get(status, status)} {path}"))
            for status, path in outside[:SHOWN]
        ),
        measured=Measured(len(outside), "files"),
        limit=Measured(0, "files"),
        remediation="leave everything outside the new folder as it is on main; send other changes as a pull request of their own",
    )
    return Decision.of([finding])


def check_several_records(context: Context) -> Decision:
    change = context.pull_request
    if change is None:
        return _NO_PULL_REQUEST
    if len(change.records) <= 1:
        return Decision.passed("one record folder is added or changed")
    own = context.submission.path
    ordered = sorted(change.records, key=lambda folder: (folder != own, folder))
    finding = Finding(
        Outcome.FAIL,
        f"the pull request adds or changes {len(ordered)} record folders: {', '.join(_described(ordered[:5], change))}"
        + (f" and {len(ordered) - 5} more" if len(ordered) > 5 else ""),
        tuple(Location(_from_folder(folder, own), excerpt=excerpt(folder)) for folder in ordered[:SHOWN]),
        measured=Measured(len(ordered), "folders"),
        limit=Measured(1, "folders"),
        remediation="one pull request per submission: keep the folder that is meant, move the others to pull requests of their own",
    )
    return Decision.of([finding])


def _described(folders: Sequence[str], change: PullRequest) -> list[str]:
    """Folder names with what happens to them: an older record that is only touched reads unlike a second new one."""
    described = []
    for folder in folders:
        counts = [status for status, path in change.changed if path.startswith(f"{folder}/")]
        words = (f"{counts.count(letter)} {word}" for letter, word in _WORDS.items() if letter in counts)
        described.append(f"{folder} ({', '.join(words)})")
    return described


def _from_folder(path: str, folder: str) -> str:
    """A path of the repository as seen from the record folder, which is what locations are relative to."""
    return posixpath.relpath(path, folder)


FILES_OUTSIDE = Rule(
    code="PKG002",
    name="files-outside-record",
    level=Level.ERROR,
    summary="the pull request changes files outside the record folder",
    why=(
        "A submission must not change the baseline script, the data tools or other people's records: those are what it is compared "
        "with. Notes and experiments outside the folder also end up in everybody's checkout."
    ),
    example=(
        "violation: records/track_10min_16mb/2026-04-19_X/... and an edited train_gpt.py in the repository's root\n"
        "legal:     only files below records/track_10min_16mb/2026-04-19_X/"
    ),
    settles="the list of changed files, which git gives",
    sources=(
        "https://github.com/openai/parameter-golf#submission-process",
        "https://github.com/openai/parameter-golf/pull/53",
        "https://github.com/openai/parameter-golf/pull/1031",
        "https://github.com/openai/parameter-golf/pull/1120",
    ),
    check=check_files_outside,
)
SEVERAL_RECORDS = Rule(
    code="PKG003",
    name="several-records",
    level=Level.ERROR,
    summary="the pull request adds or changes more than one record folder",
    why=(
        "A score, its date and its review belong to one submission. With two folders in one pull request it is open which one is "
        "claimed, and a change to an older record would slip in beside a new one."
    ),
    example=(
        "violation: 2026-04-18_SP8192_X/ and 2026-04-19_SP8192_X_V15/ in one pull request\n"
        "legal:     one folder per pull request; the earlier attempt stays in its own"
    ),
    settles="the author's word which folder is the submission, and a pull request that holds only that one",
    sources=("https://github.com/openai/parameter-golf/pull/1143", "https://github.com/openai/parameter-golf/pull/1738"),
    check=check_several_records,
)

RULES = (FILES_OUTSIDE, SEVERAL_RECORDS)
