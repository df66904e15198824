"""JSON with the place of every value, read tolerantly: what a strict parser refuses is repaired where only one reading is possible.

Real files carry byte-order marks, trailing or missing commas, a second document, prose or a shell here-document around the
object. Each repair is a problem, so strictness is not lost, only the crash is.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from verifier.evidence import EXCERPT_LIMIT, Location, Number, Problem, excerpt
from verifier.limits import DEFAULT_LIMITS, Limits

BOMS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
MOST_PROBLEMS = 200
"""Problems listed per document; the rest is counted in one."""

_SPACE = re.compile(r"[ \t\r\n]*")
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_WORD = re.compile(r"[A-Za-z+-][A-Za-z]*")
_PLAIN = re.compile(r'[^"\\\x00-\x1f]*')
_OPENING = re.compile(r"^[ \t]*\{", re.MULTILINE)
_NEXT_MEMBER = re.compile(r'"[^"\n]{1,200}"[ \t]{0,40}:|\}')
_STRUCTURE = re.compile(r'["\[\]{}]')
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


class JsonKind(StrEnum):
    OBJECT = "object"
    ARRAY = "array"
    STRING = "string"
    NUMBER = "number"
    BOOLEAN = "boolean"
    NULL = "null"
    UNUSABLE = "unusable"
    """NaN, an infinity, or a value beyond a limit; a problem says which."""


@dataclass(frozen=True, slots=True)
class JsonValue:
    """A value. `text` is the text of a string (unescaped) or a scalar as written; `start` is its offset in the document, for a
    member that of its key."""

    kind: JsonKind
    text: str
    start: int
    members: tuple[tuple[str, JsonValue], ...] = ()
    items: tuple[JsonValue, ...] = ()

    def get(self, key: str) -> JsonValue | None:
        return next((value for name, value in self.members if name == key), None)


@dataclass(frozen=True, slots=True)
class JsonDocument:
    """What could be read: `root` is `None` when no value was found. `strict` when a strict parser would agree."""

    path: str
    text: str
    root: JsonValue | None
    strict: bool
    problems: tuple[Problem, ...]
    line_starts: tuple[int, ...]

    def locate(self, value: JsonValue) -> Location:
        """The line of a value. Of a long line the excerpt shows the part that starts with the value."""
        return locate(self.path, self.text, self.line_starts, value.start)


def read_json(path: str, data: bytes, limits: Limits = DEFAULT_LIMITS) -> JsonDocument:
    """Read the first JSON object of a file. Never raises on content; problems carry the line."""
    problems: list[Problem] = []
    if len(data) > limits.json_file:
        message = f"{len(data):,} bytes, above the limit of {limits.json_file:,}"
        return JsonDocument(path, "", None, False, (Problem(Location(path), "too-large", message),), (0,))
    text = _decode(path, data, problems)
    parser = _Parser(path, text, limits)
    root = parser.document()
    found = (*problems, *parser.problems)
    return JsonDocument(path, text, root, root is not None and not found, found, parser.line_starts)


def locate(path: str, text: str, line_starts: tuple[int, ...], offset: int) -> Location:
    line = bisect_right(line_starts, offset)
    start = line_starts[line - 1]
    end = line_starts[line] if line < len(line_starts) else len(text)
    if end - start > EXCERPT_LIMIT:
        start = max(start, offset)
        end = min(end, start + EXCERPT_LIMIT)
    return Location(path, line, excerpt=excerpt(text[start:end]))


def _decode(path: str, data: bytes, problems: list[Problem]) -> str:
    encoding = "utf-8"
    for mark, name in BOMS:
        if data.startswith(mark):
            data, encoding = data[len(mark) :], name
            problems.append(Problem(Location(path, 1), "bom", f"starts with a byte-order mark ({name})"))
            break
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as failure:
        line = data.count(b"\n", 0, failure.start) + 1
        problems.append(Problem(Location(path, line), "undecodable", f"not valid {encoding}: byte {failure.start}"))
        return data.decode(encoding, "replace")


class _Stop(Exception):
    """Nothing after this point can be read; what was read before it stands."""


class _Parser:
    def __init__(self, path: str, text: str, limits: Limits) -> None:
        self.path = path
        self.text = text
        self.limits = limits
        self.at = 0
        self.count = 0
        self.problems: list[Problem] = []
        self.line_starts = (0, *(found.end() for found in re.finditer("\n", text)))

    def problem(self, kind: str, message: str, offset: int | None = None) -> None:
        if len(self.problems) == MOST_PROBLEMS:
            self.problems.append(
                Problem(Location(self.path), "truncated", f"more than {MOST_PROBLEMS} problems; the rest is left out")
            )
        if len(self.problems) < MOST_PROBLEMS:
            place = locate(self.path, self.text, self.line_starts, self.at if offset is None else offset)
            self.problems.append(Problem(place, kind, message))

    def document(self) -> JsonValue | None:
        self.space()
        if not self.text.startswith(("{", "["), self.at):
            opening = _OPENING.search(self.text, self.at)
            start = opening.end() - 1 if opening else self.text.find("{", self.at)
            if start < 0:
                self.problem("invalid-json", "no JSON object in the file")
                return None
            self.problem("leading-text", f"{start - self.at} characters before the JSON object")
            self.at = start
        partial: list[JsonValue] = []
        try:
            self.value(1, partial)
        except _Stop:
            return partial[-1] if partial else None
        self.space()
        if self.at < len(self.text):
            self.problem("extra-data", "text after the JSON object; it is not read")
        return partial[-1]

    def space(self) -> None:
        found = _SPACE.match(self.text, self.at)
        assert found is not None
        self.at = found.end()

    def value(self, depth: int, into: list[JsonValue]) -> None:
        """Read one value and append it to `into`; on `_Stop` a container appends what it has."""
        self.count += 1
        if self.count > self.limits.json_items:
            self.problem("json-limit", f"more than {self.limits.json_items:,} values; the rest is not read")
            raise _Stop
        self.space()
        start = self.at
        first = self.text[start : start + 1]
        if first in ("{", "["):
            if depth > self.limits.json_depth:
                self.problem("too-deep", f"nested deeper than {self.limits.json_depth} levels; not read")
                self.skip_nested()
                into.append(JsonValue(JsonKind.UNUSABLE, "", start))
            elif first == "{":
                self.object(depth, into)
            else:
                self.array(depth, into)
        elif first == '"':
            into.append(JsonValue(JsonKind.STRING, self.string(), start))
        else:
            into.append(self.scalar(start))

    def object(self, depth: int, into: list[JsonValue]) -> None:
        start = self.at
        self.at += 1
        members: dict[str, JsonValue] = {}
        try:
            while not self.closes("}"):
                key_at = self.at
                if not self.text.startswith('"', key_at):
                    self.problem("invalid-json", "a key in double quotes was expected")
                    raise _Stop
                key = self.string()
                self.space()
                if not self.text.startswith(":", self.at):
                    self.problem("invalid-json", "a colon was expected")
                    raise _Stop
                self.at += 1
                read: list[JsonValue] = []
                try:
                    self.value(depth + 1, read)
                finally:
                    if read:
                        if key in members:
                            earlier = bisect_right(self.line_starts, members.pop(key).start)
                            self.problem(
                                "duplicate-key",
                                f"{_short(key)} occurs twice (first in line {earlier}); the last one counts",
                                key_at,
                            )
                        members[key] = JsonValue(read[0].kind, read[0].text, key_at, read[0].members, read[0].items)
                self.separator("}")
        finally:
            into.append(JsonValue(JsonKind.OBJECT, "", start, members=tuple(members.items())))

    def array(self, depth: int, into: list[JsonValue]) -> None:
        start = self.at
        self.at += 1
        items: list[JsonValue] = []
        try:
            while not self.closes("]"):
                self.value(depth + 1, items)
                self.separator("]")
        finally:
            into.append(JsonValue(JsonKind.ARRAY, "", start, items=tuple(items)))

    def closes(self, bracket: str) -> bool:
        self.space()
        if self.text.startswith(bracket, self.at):
            self.at += 1
            return True
        if self.at >= len(self.text):
            self.problem("invalid-json", f"the file ends before {bracket}", max(0, self.at - 1))
            raise _Stop
        return False

    def separator(self, bracket: str) -> None:
        """The comma after a member or item. A missing one is repaired where the next thing can only be the next member."""
        self.space()
        if self.text.startswith(",", self.at):
            comma = self.at
            self.at += 1
            self.space()
            if self.text.startswith(bracket, self.at):
                self.problem("trailing-comma", f"a comma before {bracket}", comma)
        elif not self.text.startswith(bracket, self.at) and self.at < len(self.text):
            next_is_member = bracket == "}" and self.text[self.at] == '"'
            next_is_item = bracket == "]" and self.text[self.at] in '"{[-0123456789'
            if not (next_is_member or next_is_item):
                self.problem("invalid-json", f"a comma or {bracket} was expected")
                raise _Stop
            self.problem("missing-comma", "a comma is missing before this")

    def string(self) -> str:
        """A string from its opening quote on. A line break inside is kept when the string is closed later; a string that is
        never closed before the next member ends at its line."""
        opening = self.at
        self.at += 1
        parts: list[str] = []
        while True:
            found = _PLAIN.match(self.text, self.at)
            assert found is not None
            parts.append(found[0])
            self.at = found.end()
            character = self.text[self.at : self.at + 1]
            if character == '"':
                self.at += 1
                return _without_lone_surrogates("".join(parts))
            if character == "\\":
                parts.append(self.escape())
            elif character in ("\n", "\r"):
                blank = _SPACE.match(self.text, self.at)
                assert blank is not None
                if _NEXT_MEMBER.match(self.text, blank.end()):
                    self.problem("unterminated-string", "the string is not closed on its line", opening)
                    return _without_lone_surrogates("".join(parts).rstrip().removesuffix(","))
                self.problem("control-character", "an unescaped line break in a string")
                parts.append(blank[0])
                self.at = blank.end()
            elif character:
                self.problem("control-character", f"an unescaped control character U+{ord(character):04X} in a string")
                parts.append(character)
                self.at += 1
            else:
                self.problem("unterminated-string", "the file ends inside a string", opening)
                raise _Stop

    def escape(self) -> str:
        letter = self.text[self.at + 1 : self.at + 2]
        if letter == "u":
            digits = self.text[self.at + 2 : self.at + 6]
            if re.fullmatch(r"[0-9a-fA-F]{4}", digits):
                self.at += 6
                return chr(int(digits, 16))
        elif letter in _ESCAPES:
            self.at += 2
            return _ESCAPES[letter]
        self.problem("invalid-json", "an unknown escape in a string; the backslash is kept")
        self.at += 1
        return "\\"

    def scalar(self, start: int) -> JsonValue:
        number = _NUMBER.match(self.text, start)
        if number:
            self.at = number.end()
            written = number[0]
            if re.match(r"-?0[0-9]", written):
                self.problem("invalid-json", f"{_short(written)} has a leading zero", start)
            if Number.parse(written) is None:
                self.problem("not-finite", f"{_short(written)} is too long or too large to be a measurement", start)
                return JsonValue(JsonKind.UNUSABLE, written[:64], start)
            return JsonValue(JsonKind.NUMBER, written, start)
        word = _WORD.match(self.text, start)
        written = word[0] if word else ""
        self.at = start + len(written)
        if written in ("true", "false"):
            return JsonValue(JsonKind.BOOLEAN, written, start)
        if written == "null":
            return JsonValue(JsonKind.NULL, written, start)
        if written in ("NaN", "Infinity", "-Infinity", "nan", "inf", "-inf"):
            self.problem("not-finite", f"{written} is no JSON number", start)
            return JsonValue(JsonKind.UNUSABLE, written, start)
        if written in ("True", "False", "None"):
            self.problem("invalid-json", f"{written} is Python, not JSON", start)
            if written == "None":
                return JsonValue(JsonKind.NULL, "null", start)
            return JsonValue(JsonKind.BOOLEAN, written.lower(), start)
        self.problem("invalid-json", "a value was expected", start)
        raise _Stop

    def skip_nested(self) -> None:
        """Jump over a container without recursion."""
        level = 0
        for found in _STRUCTURE.finditer(self.text, self.at):
            if found.start() < self.at:
                continue
            if found[0] == '"':
                self.at = found.start()
                self.string()
            else:
                level += 1 if found[0] in "{[" else -1
                self.at = found.end()
                if level == 0:
                    return
        self.at = len(self.text)


def walk(value: JsonValue, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], JsonValue]]:
    """Every scalar with its key path; list items carry their index."""
    stack = [(path, value)]
    while stack:
        place, current = stack.pop()
        if current.kind is JsonKind.OBJECT:
            stack += [((*place, key), member) for key, member in reversed(current.members)]
        elif current.kind is JsonKind.ARRAY:
            stack += [((*place, str(index)), item) for index, item in reversed(list(enumerate(current.items)))]
        else:
            yield place, current


def _short(text: str) -> str:
    return repr(excerpt(text, 40))


def _without_lone_surrogates(text: str) -> str:
    """Escaped surrogate pairs become their character; lone halves can't be printed and become U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
