"""From files to a `Submission`: which file is what, in which order they are read, and what was left out.

The important files come first (JSON, README, logs, scripts), so that a budget that runs out costs the least. Every reader is
isolated: one that breaks on its input costs that file and is reported.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date

from verifier.evidence import Location, Problem
from verifier.limits import DEFAULT_LIMITS, MIB, Limits
from verifier.submission.binaries import BinaryFile, is_tokenmonster_yaml, looks_like_text, recognise_binary
from verifier.submission.junk import is_junk
from verifier.submission.leaks import Leak, find_leaks
from verifier.submission.logs.model import LogFile
from verifier.submission.logs.reader import is_log_name, read_logs
from verifier.submission.metadata import Metadata, read_metadata
from verifier.submission.names import is_readme, is_submission_json, own_first
from verifier.submission.readme import Readme, RunCommand, read_readme
from verifier.submission.script import Program, ScriptFile
from verifier.submission.script_reader import read_program
from verifier.submission.source import Entry, EntryKind, FileSource, Unreadable
from verifier.submission.submission import FileEntry, Submission, Track

PAYLOAD = 4 * MIB
"""Largest file without text that may be a packed part of the program (real ones: up to 58 kB; model artifacts have 13 to 16 MB)."""
FOLDER_BYTES = 256 * MIB
"""Sum of the text that is kept in memory at once; the largest real folder of logs and scripts has some 30 MB."""
JUNK_TEXT = MIB
"""Largest junk file that is searched for personal paths and credentials (and read for nothing else)."""

_TRACKS = {"track_10min_16mb": Track.TEN_MINUTES, "track_non_record_16mb": Track.NON_RECORD}
_LINKS = {
    EntryKind.SYMLINK: ("symlink", "a symlink: not followed"),
    EntryKind.GITLINK: ("gitlink", "a nested repository: its files are not part of the folder"),
    EntryKind.OTHER: ("special-file", "neither file nor directory: not read"),
}


def load_submission(source: FileSource, limits: Limits = DEFAULT_LIMITS, first_commit: date | None = None) -> Submission:
    """Read one record folder. Raises `Unreadable` only when the folder can't even be listed; all else becomes a problem."""
    entries = source.entries()
    files = _Files(source, limits)
    files.problems += source.problems()
    sizes = {entry.path: entry.size for entry in entries}
    own = [entry.path for entry in entries if entry.kind is EntryKind.FILE and not is_junk(entry.path)]
    for entry in entries:
        if entry.kind is not EntryKind.FILE and not is_junk(entry.path):
            files.problems.append(Problem(Location(entry.path), *_LINKS[entry.kind]))
        if any("\udc80" <= character <= "\udcff" for character in entry.path):
            files.problems.append(Problem(Location(entry.path), "not-utf8-name", "the name is not valid UTF-8"))

    jsons = _shallowest((path for path in own if is_submission_json(path)), "submission.json")
    readmes = _shallowest((path for path in own if is_readme(path)), "README.md")
    logs = [path for path in own if is_log_name(path) and path not in readmes]
    named = {*jsons, *readmes, *logs}
    rest = sorted((path for path in own if path not in named), key=lambda path: (not path.endswith(".py"), path.count("/"), path))

    metadata = _each(files, jsons, limits.json_file, lambda path, data: read_metadata(path, data, limits))
    pages = _each(files, readmes, limits.text_file, lambda path, data: read_readme(path, data, limits))
    read_in = _together(files, logs, limits)
    commands = [command for page in pages for command in page.commands]
    program, binaries = _program_and_binaries(files, {path: sizes[path] for path in rest}, commands, limits)
    leaks = [*files.leaks, *_layer_leaks(program), *_junk_leaks(files, entries)]

    problems = {*files.problems, *program.problems}
    parts: list[Metadata | Readme | LogFile | ScriptFile] = [*metadata, *pages, *read_in, *program.members, *program.others]
    for part in parts:
        problems |= {*part.problems}
    return Submission(
        path=source.label,
        track=track_of(source.label),
        files=tuple(FileEntry(e.path, e.kind.value, e.size, files.hashes.get(e.path), is_junk(e.path)) for e in entries),
        metadata=tuple(metadata),
        readmes=tuple(pages),
        logs=tuple(read_in),
        program=program,
        binaries=tuple(binaries),
        first_commit=first_commit,
        problems=tuple(sorted(problems, key=_in_order)),
        leaks=tuple(leaks),
    )


def track_of(label: str) -> Track | None:
    """The track that the path names; `None` elsewhere."""
    return next((_TRACKS[part] for part in label.split("/") if part in _TRACKS), None)


class _Files:
    """Reads within the folder's budgets of time and bytes; keeps hashes, problems and leaks."""

    def __init__(self, source: FileSource, limits: Limits) -> None:
        self.source = source
        self.limits = limits
        self.deadline = time.thread_time() + limits.seconds_per_folder
        self.kept = 0
        self.hashes: dict[str, str] = {}
        self.problems: list[Problem] = []
        self.leaks: list[Leak] = []

    @property
    def out_of_time(self) -> bool:
        return time.thread_time() > self.deadline

    def read(self, path: str, limit: int) -> bytes | None:
        """The file, hashed and searched for leaks when it is text; `None` with a problem when it can't be read."""
        if self.out_of_time:
            message = f"not read: the time budget of {self.limits.seconds_per_folder:g} s for this folder was used up"
            self.problems.append(Problem(Location(path), "time-limit", message))
            return None
        try:
            data = self.source.read(path, limit)
        except Unreadable as failure:
            self.problems.append(Problem(Location(path), failure.kind, str(failure)))
            return None
        self.hashes[path] = hashlib.sha256(data).hexdigest()
        if looks_like_text(data) or data.startswith((b"\xff\xfe", b"\xfe\xff")):
            self.leaks += find_leaks(path, data)
        return data

    def keep(self, path: str, data: bytes) -> bool:
        """Whether the folder's budget allows to hold these bytes for a reader that wants several files at once."""
        if self.kept + len(data) > FOLDER_BYTES:
            message = f"not examined: the folder has more than {FOLDER_BYTES:,} bytes of text"
            self.problems.append(Problem(Location(path), "too-large", message))
            return False
        self.kept += len(data)
        return True

    def broken(self, path: str, reader: str, failure: Exception) -> None:
        message = f"the {reader} reader broke on this file: {type(failure).__name__}: {failure}"
        self.problems.append(Problem(Location(path), "reader-error", message[:500]))


def _shallowest(paths: Iterable[str], exact: str) -> list[str]:
    """The folder's own file first, then its siblings; deeper ones speak of something else (vendored code, single runs)."""
    ranked = sorted(paths, key=lambda path: own_first(path, exact))
    return [path for path in ranked if path.count("/") == ranked[0].count("/")]


def _each[T: (Metadata, Readme)](files: _Files, paths: Sequence[str], limit: int, reader: Callable[[str, bytes], T]) -> list[T]:
    """Apply a reader to each file on its own."""
    parts: list[T] = []
    for path in paths:
        data = files.read(path, limit)
        if data is None:
            continue
        try:
            parts.append(reader(path, data))
        except Exception as failure:
            files.broken(path, "JSON" if path.lower().endswith(".json") else "README", failure)
    return parts


def _together(files: _Files, paths: Sequence[str], limits: Limits) -> Sequence[LogFile]:
    """All logs at once: duplicates are found among them."""
    texts: list[tuple[str, bytes]] = []
    for path in paths:
        data = files.read(path, limits.text_file)
        if data is not None and files.keep(path, data):
            texts.append((path, data))
    try:
        return read_logs(texts, limits)
    except Exception as failure:
        files.broken(texts[0][0], "log", failure)
        return ()


def _program_and_binaries(
    files: _Files, sizes: Mapping[str, int], commands: Sequence[RunCommand], limits: Limits
) -> tuple[Program, list[BinaryFile]]:
    """Text and small opaque files go to the script reader; everything without text is also recognised by its bytes."""
    candidates: list[tuple[str, bytes]] = []
    binaries: list[BinaryFile] = []
    for path, size in sizes.items():
        data = files.read(path, limits.hash_bytes)
        if data is None:
            binaries.append(BinaryFile(path, "unknown", size, None))
            continue
        if looks_like_text(data) and not is_tokenmonster_yaml(data):
            if len(data) > limits.script_file:
                message = f"{len(data):,} bytes of text, above the limit of {limits.script_file:,}: not examined"
                files.problems.append(Problem(Location(path), "too-large", message))
            elif files.keep(path, data):
                candidates.append((path, data))
            continue
        binary = recognise_binary(path, data, files.hashes[path])
        if binary.counts_bytes and len(data) <= limits.vocabulary_file and files.keep(path, data):
            binary = replace(binary, content=data)
        binaries.append(binary)
        if binary.kind in ("compressed", "unknown") and len(data) <= PAYLOAD and files.keep(path, data):
            candidates.append((path, data))
    candidates.sort()
    binaries.sort(key=lambda binary: binary.path)
    try:
        return read_program(candidates, commands, limits), binaries
    except Exception as failure:
        files.broken(candidates[0][0] if candidates else ".", "script", failure)
        return Program(None, "", (), (), ()), binaries


def _layer_leaks(program: Program) -> list[Leak]:
    """Leaks in text that is only visible once a packed script is unpacked."""
    return [
        leak
        for script in (*program.members, *program.others)
        for layer in script.layers
        if layer.text is not None
        for leak in find_leaks(script.path, layer.text.encode("utf-8", "surrogateescape"), layer.index)
    ]


def _junk_leaks(files: _Files, entries: Sequence[Entry]) -> list[Leak]:
    """Tool state is not audited, but it is published with the folder. What can't be read here is no loss."""
    found: list[Leak] = []
    for entry in entries:
        if entry.kind is EntryKind.FILE and is_junk(entry.path) and entry.size <= JUNK_TEXT and not files.out_of_time:
            try:
                data = files.source.read(entry.path, JUNK_TEXT)
            except Unreadable:
                continue
            if looks_like_text(data):
                found += find_leaks(entry.path, data)
    return found


def _in_order(problem: Problem) -> tuple[str, int, int, str, str]:
    at = problem.location
    return at.path, at.layer, at.line or 0, problem.kind, problem.message
