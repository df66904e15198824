"""A record folder inside an archive."""

from __future__ import annotations

from dataclasses import dataclass

from verifier.evidence import Location, Problem
from verifier.submission.archive import Archive
from verifier.submission.source import Entry


@dataclass(frozen=True, slots=True)
class ArchiveSource:
    """The members of `archive` below `folder` (``""``: all of them)."""

    archive: Archive
    folder: str
    label: str

    def entries(self) -> tuple[Entry, ...]:
        return tuple(sorted(self._inside()[: self.archive.limits.folder_files]))

    def problems(self) -> tuple[Problem, ...]:
        """Those below the folder, and those of the archive as a whole: a refused name may have belonged here."""
        problems = []
        if len(self._inside()) > self.archive.limits.folder_files:
            message = f"more than {self.archive.limits.folder_files:,} files: the rest is not listed"
            problems.append(Problem(Location("."), "too-many-files", message))
        for problem in self.archive.problems:
            path = problem.location.path
            if path.startswith(self._prefix):
                problems.append(Problem(Location(path[len(self._prefix) :]), problem.kind, problem.message))
            elif path == "." or problem.kind == "refused-name":
                problems.append(problem)
        return tuple(sorted(problems))

    def _inside(self) -> list[Entry]:
        prefix = self._prefix
        inside = (entry for entry in self.archive.entries if entry.path.startswith(prefix))
        return [Entry(entry.path[len(prefix) :], entry.kind, entry.size) for entry in inside]

    def read(self, path: str, limit: int) -> bytes:
        return self.archive.read(self._prefix + path, limit)

    @property
    def _prefix(self) -> str:
        return f"{self.folder}/" if self.folder else ""
