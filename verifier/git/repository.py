"""Asking git questions: plumbing only, nothing of the repository's is run, nothing is fetched, no lock is taken."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

SECONDS = 120.0
"""Longest wait for one git command; a cold `log` over a large history takes some seconds."""

_OPTIONS = (
    "--no-optional-locks",
    "--no-replace-objects",
    "--literal-pathspecs",
    "-c",
    "core.fsmonitor=false",
    "-c",
    "core.hooksPath=/dev/null",
    "-c",
    "core.quotePath=false",
    "-c",
    "protocol.allow=never",  # a partial clone must not go to its remote for missing blobs
    "-c",
    "log.showSignature=false",
)


class GitError(Exception):
    """git could not answer; the text says what to do where we know it."""


def scrubbed_environment() -> dict[str, str]:
    """The caller's environment without any of git's own switches (`GIT_DIR`, `GIT_CONFIG_*`, `GIT_EXTERNAL_DIFF`, ...)."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return kept | {
        "LC_ALL": "C",
        "GIT_ALLOW_PROTOCOL": "none",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
    }


@dataclass(frozen=True, slots=True)
class Repository:
    """A work tree or a bare repository."""

    path: Path

    def run(self, *arguments: str, input_bytes: bytes = b"", accept: Iterable[int] = (0,)) -> bytes:
        """Standard output of one git command. Raises `GitError` on any other exit status than the accepted ones."""
        try:
            done = subprocess.run(
                self.command(*arguments),
                input=input_bytes,
                capture_output=True,
                env=scrubbed_environment(),
                timeout=SECONDS,
                check=False,
            )
        except FileNotFoundError as failure:
            raise GitError("git is not installed or not in PATH") from failure
        except subprocess.TimeoutExpired as failure:
            raise GitError(f"git {arguments[0]} took longer than {SECONDS:g} s") from failure
        if done.returncode not in tuple(accept):
            raise GitError(_explained(done.stderr.decode("utf-8", "replace").strip(), arguments[0], self.path))
        return done.stdout

    def command(self, *arguments: str) -> list[str]:
        """The argument list of one git command in this repository."""
        return ["git", "-C", str(self.path), *_OPTIONS, *arguments]

    def resolve(self, name: str) -> str:
        """The commit that a branch, tag or hash names. Raises `GitError` when there is none."""
        if name.startswith("-") or not name.strip() or any(character in name for character in "\0\n"):
            raise GitError(f"{name!r} is no name of a commit")
        answer = self.run("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}", accept=(0, 1, 128)).decode().strip()
        if not answer:
            self.run("rev-parse", "--git-dir")  # not a repository, or one that git distrusts: that message comes first
            raise GitError(f"no commit {name!r} in {self.path}; fetch it first{self._shallow_hint()}")
        return answer

    def is_shallow(self) -> bool:
        return self.run("rev-parse", "--is-shallow-repository").strip() == b"true"

    def is_partial(self) -> bool:
        """Whether this clone leaves objects to be fetched on demand, which we never do."""
        return bool(self.run("config", "--get-regexp", r"^(extensions\.partialclone|remote\..*\.promisor)$", accept=(0, 1)))

    def shallow_commits(self) -> frozenset[str]:
        """The commits at which a shallow clone's history is cut off."""
        location = os.fsdecode(self.run("rev-parse", "--git-path", "shallow").rstrip(b"\n"))
        try:
            return frozenset((self.path / location).read_text("ascii").split())
        except FileNotFoundError:
            return frozenset()

    def _shallow_hint(self) -> str:
        return " (this clone is shallow: with actions/checkout set `fetch-depth: 0`)" if self.is_shallow() else ""


def _explained(message: str, command: str, path: Path) -> str:
    if "dubious ownership" in message:
        return f"git does not trust {path} because another user owns it; run: git config --global --add safe.directory {path}"
    if "not a git repository" in message:
        return f"{path} is not a git repository"
    return f"git {command} failed: {message or 'no message'}"
