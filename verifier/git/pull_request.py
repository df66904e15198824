"""What a pull request changes, and which record folders it adds or changes."""

from __future__ import annotations

import datetime
from pathlib import Path

from verifier.engine.context import PullRequest
from verifier.git.repository import GitError, Repository
from verifier.submission.discover import record_folder_of, record_folders

SHALLOW = (
    "the clone is shallow and lacks the history between base and head; "
    "with actions/checkout set `fetch-depth: 0`, elsewhere run `git fetch --unshallow`"
)


def pull_request(repository: Path, base: str, head: str) -> PullRequest:
    """The changes of `head` since it left `base`, as a reviewer of the pull request sees them.

    A head that is merged already is an ancestor of `base`: then the first-parent merge that brought it in tells where it left.
    Raises `GitError` on unknown commits, on a shallow history and when the two share no commit.
    """
    git = Repository(repository)
    base_commit, head_commit = git.resolve(base), git.resolve(head)
    fork = _fork_point(git, base_commit, head_commit)
    changed = _changes(git, fork, head_commit)
    listed = git.run("ls-tree", "-r", "-z", "--name-only", "--full-tree", head_commit)
    folders = record_folders(_split(listed))
    touched = {folder for _, path in changed if (folder := record_folder_of(path, folders)) is not None}
    return PullRequest(base=fork, head=head_commit, changed=changed, records=tuple(sorted(touched)))


def first_commit_day(repository: Path, head: str, folder: str) -> datetime.date | None:
    """The author's day (UTC) of the first commit that has the folder; `None` where the history is shallow or lacks objects."""
    git = Repository(repository)
    commit = git.resolve(head)
    try:
        log = git.run("log", "--no-show-signature", "--no-color", "--diff-filter=A", "--format=%H %at", commit, "--", folder)
    except GitError:
        return None
    lines = log.decode("ascii", "replace").splitlines()
    if not lines:
        return None
    first, stamp = lines[-1].split()
    if first in git.shallow_commits():
        return None  # the boundary of a shallow clone seems to add everything
    return datetime.datetime.fromtimestamp(int(stamp), datetime.UTC).date()


def _fork_point(git: Repository, base: str, head: str) -> str:
    """The commit that base and head share last."""
    if git.is_shallow() and not git.shallow_commits().isdisjoint(_lines(git.run("rev-list", f"{base}...{head}"))):
        raise GitError(SHALLOW)
    shared = _merge_base(git, base, head)
    if shared is None:
        raise GitError(f"{base[:12]} and {head[:12]} have no commit in common: not a pull request against this base")
    if shared != head or base == head:
        return shared
    merge = _merge_of(git, base, head)
    if merge is None:
        return head  # head is on the base's own line: nothing is changed
    before = _merge_base(git, head, f"{merge}^1")
    if before is None:
        raise GitError(f"{head[:12]} was merged without a commit in common with its base")
    return before


def _merge_base(git: Repository, one: str, other: str) -> str | None:
    """The best common ancestor; git exits with 1 when there is none."""
    return git.run("merge-base", one, other, accept=(0, 1)).decode().strip() or None


def _merge_of(git: Repository, base: str, head: str) -> str | None:
    """The commit of base's first-parent line that brought `head` in; `None` when `head` itself is on that line."""
    own_line = _lines(git.run("rev-list", "--first-parent", base))
    if head in own_line:
        return None
    descendants = set(_lines(git.run("rev-list", "--ancestry-path", f"{head}..{base}")))
    return [commit for commit in own_line if commit in descendants][-1]


def _changes(git: Repository, base: str, head: str) -> tuple[tuple[str, str], ...]:
    """(status, path) pairs. Renames are told as a deletion and an addition: a file that moves into a record leaves another place."""
    raw = git.run("diff-tree", "-r", "-z", "--no-renames", "--no-ext-diff", "--no-textconv", "--name-status", base, head)
    fields = _split(raw)
    pairs = zip(fields[::2], fields[1::2], strict=True)
    return tuple(sorted((("M" if status == "T" else status[:1]), path) for status, path in pairs))


def _split(listing: bytes) -> list[str]:
    return [name.decode("utf-8", "surrogateescape") for name in listing.split(b"\0") if name]


def _lines(output: bytes) -> list[str]:
    return output.decode("ascii", "replace").split()
