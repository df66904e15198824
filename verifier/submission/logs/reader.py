"""Read a record folder's logs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace

from verifier.limits import DEFAULT_LIMITS, Limits
from verifier.submission.logs.decoding import decode_lines
from verifier.submission.logs.embedded import cut_embedded_source
from verifier.submission.logs.model import LogFile
from verifier.submission.logs.runs import read_runs
from verifier.submission.logs.shapes import distinct_lines

_LOG_NAME = re.compile(r"(?:log|train|seed|run|eval|ttt|stdout|stderr|console|output|result|ablat|sweep|bpb)")
_NO_LOG_NAME = re.compile(
    r"(?:readme|requirement|license|notice|changelog|install|environment|pip|note|todo|idea|plan|summary|manifest|sha256|checksum"
    r"|vocab|merges|tokens?\b|cmakelists|robots|version|report|analysis|credits?|constraints)"
)


def is_log_name(path: str) -> bool:
    """Whether a file is read as a log: any `.log` and `.out`, and `.txt` files that are not named like prose or package lists."""
    name = path.rsplit("/", 1)[-1].lower()
    stem, _, extension = name.rpartition(".")
    if extension in ("log", "out"):
        return bool(stem)
    if extension != "txt" or not stem:
        return False
    if _LOG_NAME.search(stem):
        return not stem.startswith(("readme", "requirements", "license"))
    return _NO_LOG_NAME.search(stem) is None


def read_log(path: str, data: bytes, limits: Limits = DEFAULT_LIMITS) -> LogFile:
    """Read one log. Never raises on content: what could not be read is in `problems`."""
    text = decode_lines(path, data, limits)
    cut = cut_embedded_source(text.lines)
    return LogFile(
        path=path,
        sha256=hashlib.sha256(data).hexdigest(),
        encoding=text.encoding,
        runs=read_runs(path, text.lines, cut.hidden) if text.lines else (),
        embedded=cut.sources[0] if cut.sources else None,
        duplicate_of=None,
        problems=text.problems,
        kinds=distinct_lines(text.lines, cut.hidden),
    )


def read_logs(files: Sequence[tuple[str, bytes]], limits: Limits = DEFAULT_LIMITS) -> tuple[LogFile, ...]:
    """Read all logs in path order. A log with the bytes of an earlier one is read once and marked as its duplicate."""
    logs: list[LogFile] = []
    first: dict[str, LogFile] = {}
    for path, data in sorted(files):
        log = read_log(path, data, limits)
        original = first.setdefault(log.sha256, log)
        logs.append(log if original is log else replace(log, duplicate_of=original.path))
    return tuple(logs)
