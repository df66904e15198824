"""Bytes of a log into numbered lines: encodings, line ends, terminal codes, prefixes. Nothing here knows what a line means."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

from verifier.evidence import Location, Problem
from verifier.limits import Limits

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig", "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32", "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32", "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16", "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16", "utf-16-be"),
)
_SNIFFED = 4096
_ANSI = re.compile(r"\x1b(?:\[[0-9;?]{0,32}[A-Za-z]|\][^\x07\x1b]{0,256}(?:\x07|\x1b\\))")
_PREFIX = re.compile(
    r"(?:\[default\d{1,6}\]:|\[?(?:default)?\[?(?:rank|RANK) ?\d{1,6}\]?[:\]]{1,3}|(?:INFO|DEBUG)\b ?:?"
    r"|\[?\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?\]?"
    r"|1\d{9}\.\d{1,9}(?= )|\[\d\d:\d\d:\d\d\]|\d\d:\d\d:\d\d(?:[.,]\d{1,9})?"
    r"|\[ {0,8}\d{1,9}(?:\.\d{1,9})?s\]|\d{1,9}: |>>>|\|(?= {0,8}\w{1,64}:))"
)
_PREFIX_FIRST = frozenset("[0123456789>|drRID")
_PREFIX_DEPTH = 4
_MAX_PREFIX = 200


@dataclass(frozen=True, slots=True)
class LogText:
    """`lines[i]` is line `i + 1` of the file; universal newlines count, so a progress bar's carriage returns do too."""

    lines: list[str]
    encoding: str
    problems: tuple[Problem, ...]


def decode_lines(path: str, data: bytes, limits: Limits) -> LogText:
    """Decode a log and cut it into lines. Whatever is left out or replaced is a problem; nothing raises."""
    problems: list[Problem] = []
    if len(data) > limits.text_file:
        message = f"{len(data):,} bytes, more than the {limits.text_file:,} that are read of one log"
        return LogText([], "", (Problem(Location(path), "too-large", message),))
    text, encoding, damaged = _decode(data)
    if damaged:
        problems.append(Problem(Location(path), "undecodable", f"not valid {encoding}; the damaged characters were replaced"))
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if "\x1b" in text:
        text = _ANSI.sub("", text)
    if "\x00" in text:
        problems.append(Problem(Location(path), "undecodable", "NUL bytes; they were left out"))
        text = text.replace("\x00", "")
    lines = text.split("\n")
    if len(lines) > limits.log_lines:
        message = f"{len(lines):,} lines, only the first {limits.log_lines:,} were read"
        problems.append(Problem(Location(path, limits.log_lines), "truncated", message))
        del lines[limits.log_lines :]
    problems += _cut_long_lines(path, lines, limits.line_length)
    return LogText(lines, encoding, tuple(problems))


def _decode(data: bytes) -> tuple[str, str, bool]:
    """Text, encoding, and whether characters had to be replaced."""
    marked = next(((codec, name) for mark, codec, name in _BOMS if data.startswith(mark)), None)
    codec, name = marked or (_encoding_without_mark(data),) * 2
    try:
        return data.decode(codec), name, False
    except UnicodeDecodeError:
        return data.decode(codec, "replace"), name, True


def _encoding_without_mark(data: bytes) -> str:
    """UTF-16 text that lost its byte-order mark has a NUL in nearly every other byte; anything else is taken as UTF-8."""
    head = data[:_SNIFFED]
    pairs = len(head) // 2
    if pairs >= 8:
        if head[1::2].count(0) > 0.8 * pairs and head[0::2].count(0) < 0.1 * pairs:
            return "utf-16-le"
        if head[0::2].count(0) > 0.8 * pairs and head[1::2].count(0) < 0.1 * pairs:
            return "utf-16-be"
    return "utf-8"


def _cut_long_lines(path: str, lines: list[str], length: int) -> list[Problem]:
    """Cut lines in place; one problem names the first and counts the rest."""
    cut = [number for number, line in enumerate(lines) if len(line) > length]
    if not cut:
        return []
    for number in cut:
        lines[number] = lines[number][:length]
    message = f"{len(cut)} line(s) longer than {length:,} characters; the rest of each was not read"
    return [Problem(Location(path, cut[0] + 1), "truncated", message)]


def strip_prefix(line: str) -> str:
    """The line without rank and time stamps: `[rank0]: 2026-04-01 10:00:00 seed:42` gives `seed:42`.

    The indentation of an unprefixed line is kept, because a two-space indent marks a hyperparameter.
    """
    if not line:
        return line
    if line[0] not in _PREFIX_FIRST and (line[0] != " " or line.lstrip()[:1] not in _PREFIX_FIRST):
        return line
    rest = line
    for _ in range(_PREFIX_DEPTH):
        start = len(rest) - len(rest.lstrip())
        match = _PREFIX.match(rest, start, start + _MAX_PREFIX) if rest[start : start + 1] in _PREFIX_FIRST else None
        if match is None:
            break
        rest = _without_space(rest[match.end() :])
        if rest[:1] in ("-", "|", ":"):
            rest = _without_space(rest[1:])
    return rest


def _without_space(text: str) -> str:
    """One space belongs to the prefix; what follows is the line's own indentation."""
    return text[1:] if text[:1] == " " else text
