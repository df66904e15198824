"""The YAML form of a TokenMonster vocabulary, read by a strict reader of exactly that dialect.

A general YAML loader would accept anchors (whose repetition can grow without bound), tags and merges; none of them
occurs in a vocabulary, and each is refused here by name. Accepted: top-level `key: value` lines and the lists `tokens`,
`special` and `delete` of items with `token`, `id`, `score` and `encoded`.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field

from audits.bytes.model import ByteAuditError

MAX_TOKEN = 40
MAX_ITEMS = 1 << 20
MAX_LINE = 4096
LISTS = ("tokens", "special", "delete")
_ESCAPES = {
    "0": 0, "a": 7, "b": 8, "t": 9, "n": 10, "v": 11, "f": 12, "r": 13, "e": 27,
    '"': 34, "/": 47, "\\": 92, " ": 32,
}  # fmt: skip
_HEX_ESCAPES = {"x": 2, "u": 4, "U": 8}
_NORMALIZATIONS = ("nfd", "lowercase", "accents", "quotemarks", "collapse", "trim", "leadingspace", "unixlines")
_HEX_PREFIX = "TokenMonsterHexEncode{"


@dataclass(frozen=True, slots=True)
class Item:
    """One vocabulary entry as written. `id` is `None` where the tokenizer would choose one."""

    text: bytes
    id: int | None
    encoded: bool


@dataclass(slots=True)
class YamlVocabulary:
    """The parsed file. `charset` is `none`, `utf-8` or `utf-16`; `normalization` the bit set of the binary form."""

    charset: str = "none"
    normalization: int = 0
    capcode: int = 0
    unk: int | None = None
    items: list[Item] = field(default_factory=list)
    deleted: list[Item] = field(default_factory=list)

    def table(self) -> tuple[bytes, ...]:
        """What each id writes before capcode. A text that is listed twice belongs to its later id; the earlier id is
        dead.

        Raises `ByteAuditError` where the result would depend on TokenMonster's own encoder (texts not marked `encoded`
        in a vocabulary with capcode or normalisation), or on a choice this reader does not make.
        """
        plain = self.capcode == 0 and self.normalization == 0
        owner: dict[bytes, int] = {}
        reserved = {item.id for item in [*self.items, *self.deleted] if item.id is not None}
        if self.unk is not None:
            reserved.add(self.unk)
        chosen: list[bytes] = []
        for item in self.items:
            if not item.encoded and not plain:
                raise ByteAuditError(f"token {item.text!r} is not marked encoded: its stored form is not in the file")
            if len(item.text) > MAX_TOKEN:
                continue
            if item.id is None:
                if item.text not in owner:
                    chosen.append(item.text)
                continue
            owner[item.text] = item.id
        free = iter(number for number in range(MAX_ITEMS) if number not in reserved)
        for text in sorted(set(chosen) - set(owner), key=lambda text: (len(text), text)):
            owner[text] = next(free)
            reserved.add(owner[text])
        for item in self.deleted:
            if item.text in owner:
                raise ByteAuditError(f"token {item.text!r} is both listed and deleted")
        stored = [b""] * (max(reserved, default=-1) + 1)
        holder: dict[int, bytes] = {}
        for text, number in owner.items():
            if number in holder:
                raise ByteAuditError(f"id {number} is given to {holder[number]!r} and to {text!r}")
            holder[number] = text
            stored[number] = self._stored(text)
        if self.unk is not None:
            stored[self.unk] = b""
        return tuple(stored)

    def _stored(self, text: bytes) -> bytes:
        """The form that decoding writes: with capcode a token that begins inside a word carries its own delete mark."""
        if self.capcode == 0:
            return text
        first = text.decode("utf-8", "replace")[:1]
        if self.capcode == 2 and first in ("C", "W", "D"):
            return text
        inside = unicodedata.category(first)[0] in "LNM"
        mark = b"D " if self.capcode == 2 else b"\x7f "
        return mark + text if inside else text


def parse_yaml_vocabulary(data: bytes) -> YamlVocabulary:
    """Read the file. Raises `ByteAuditError` with the line of whatever is outside the dialect."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ByteAuditError(f"the vocabulary is not UTF-8 at byte {error.start}") from None
    vocabulary = YamlVocabulary()
    section: str | None = None
    current: dict[str, tuple[str, bool]] = {}
    seen: set[str] = set()

    def close() -> None:
        if current:
            assert section is not None
            item = _item(current, number)
            (vocabulary.deleted if section == "delete" else vocabulary.items).append(item)
            if len(vocabulary.items) + len(vocabulary.deleted) > MAX_ITEMS:
                raise ByteAuditError(f"the vocabulary has more than {MAX_ITEMS} items")
            current.clear()

    number = 0
    # Only line feeds end lines: characters such as U+2028 may stand inside a token.
    for number, raw in enumerate(text.split("\n"), start=1):
        line = raw.removesuffix("\r")
        if len(line) > MAX_LINE:
            raise ByteAuditError(f"line {number} has more than {MAX_LINE} characters")
        body = line.lstrip(" ")
        if not body.strip() or body.startswith("#") or (number == 1 and line == "---"):
            continue
        if body[0] == "\t":
            raise ByteAuditError(f"line {number}: indented with a tab")
        starts_item = body.startswith("- ")
        if len(body) == len(line) and not starts_item:
            close()
            name, value, _ = _pair(body, number)
            if name in seen:
                raise ByteAuditError(f"line {number}: {name} is given twice")
            seen.add(name)
            section = name if name in LISTS else None
            if section is None:
                _setting(vocabulary, name, value, number)
            elif value not in ("", "[]"):
                raise ByteAuditError(f"line {number}: {name} must be a list, one item a line")
            continue
        if section is None:
            raise ByteAuditError(f"line {number}: an item outside the lists {', '.join(LISTS)}")
        if starts_item:
            close()
            body = body[2:].lstrip(" ")
        elif not current:
            raise ByteAuditError(f"line {number}: expected an item that begins with '- '")
        name, value, quoted = _pair(body, number)
        if name in current:
            raise ByteAuditError(f"line {number}: {name} is given twice in one item")
        current[name] = (value, quoted)
    close()
    if not vocabulary.items:
        raise ByteAuditError("no tokens: not a TokenMonster vocabulary")
    return vocabulary


def _pair(body: str, number: int) -> tuple[str, str, bool]:
    """(key, value, whether the value was quoted)."""
    name, colon, rest = body.partition(":")
    if not colon or (rest and rest[0] != " ") or not name.replace("-", "").isalnum():
        raise ByteAuditError(f"line {number}: expected `key: value`")
    rest = rest.strip(" ")
    if rest.startswith('"'):
        return name, _double_quoted(rest, number), True
    if rest.startswith("'"):
        inner = rest[1:-1]
        if len(rest) < 2 or not rest.endswith("'") or "'" in inner.replace("''", ""):
            raise ByteAuditError(f"line {number}: a quoted text is not closed")
        return name, inner.replace("''", "'"), True
    if rest and rest[0] in "&*!|>{[%@`" and rest != "[]":
        kinds = {"&": "an anchor", "*": "an alias", "!": "a tag", "|": "a block text", ">": "a block text"}
        raise ByteAuditError(f"line {number}: {kinds.get(rest[0], 'a flow collection')} is not part of a vocabulary")
    return name, rest.partition(" #")[0].rstrip(" "), False


def _double_quoted(rest: str, number: int) -> str:
    out: list[str] = []
    at = 1
    while at < len(rest):
        char = rest[at]
        if char == '"':
            if rest[at + 1 :].strip(" ") and not rest[at + 1 :].lstrip(" ").startswith("#"):
                raise ByteAuditError(f"line {number}: text after the closing quote")
            return "".join(out)
        if char != "\\":
            out.append(char)
            at += 1
            continue
        escape = rest[at + 1 : at + 2]
        at += 2
        if escape in _HEX_ESCAPES:
            digits = rest[at : at + _HEX_ESCAPES[escape]]
            try:
                out.append(chr(int(digits, 16)) if len(digits) == _HEX_ESCAPES[escape] and digits.isalnum() else "")
            except (ValueError, OverflowError):
                raise ByteAuditError(f"line {number}: bad escape \\{escape}{digits}") from None
            if not out[-1]:
                raise ByteAuditError(f"line {number}: bad escape \\{escape}{digits}")
            at += len(digits)
        elif escape in _ESCAPES:
            out.append(chr(_ESCAPES[escape]))
        else:
            raise ByteAuditError(f"line {number}: unknown escape \\{escape}")
    raise ByteAuditError(f"line {number}: a quoted text is not closed")


def _item(fields: dict[str, tuple[str, bool]], number: int) -> Item:
    unknown = set(fields) - {"token", "id", "score", "encoded"}
    if unknown or "token" not in fields:
        raise ByteAuditError(f"an item before line {number} has the keys {sorted(fields)}")
    text, quoted = fields["token"]
    if not quoted and not text:
        raise ByteAuditError(f"an item before line {number} has no token text")
    if text.startswith(_HEX_PREFIX) and text.endswith("}"):
        try:
            raw = bytes.fromhex(text[len(_HEX_PREFIX) : -1])
        except ValueError:
            raise ByteAuditError(f"an item before line {number}: {text[:60]!r} is not hexadecimal") from None
    else:
        try:
            raw = text.encode("utf-8")
        except UnicodeEncodeError:
            raise ByteAuditError(f"an item before line {number} holds a surrogate") from None
    if not raw:
        raise ByteAuditError(f"an item before line {number} has an empty token")
    return Item(
        raw,
        _integer(fields["id"][0], "id", number, MAX_ITEMS - 1) if "id" in fields else None,
        _boolean(fields.get("encoded", ("false", False))[0], "encoded", number),
    )


def _integer(value: str, name: str, number: int, limit: int) -> int:
    if not (value.isascii() and value.isdigit() and len(value) <= 9 and int(value) <= limit):
        raise ByteAuditError(f"line {number}: {name} is {value[:40]!r}, not a number from 0 to {limit}")
    return int(value)


def _boolean(value: str, name: str, number: int) -> bool:
    if value.lower() not in ("true", "false"):
        raise ByteAuditError(f"line {number}: {name} is {value[:40]!r}, neither true nor false")
    return value.lower() == "true"


def _setting(vocabulary: YamlVocabulary, name: str, value: str, number: int) -> None:
    if name == "charset":
        known = {"utf-8": "utf-8", "utf8": "utf-8", "utf-16": "utf-16", "utf16": "utf-16"}
        vocabulary.charset = known.get(value.lower(), "none")
    elif name == "capcode":
        vocabulary.capcode = _integer(value, name, number, 2)
    elif name == "normalization":
        for word in value.lower().split():
            if word not in ("none", *_NORMALIZATIONS):
                raise ByteAuditError(f"line {number}: unknown normalization {word[:40]!r}")
            if word != "none":
                vocabulary.normalization |= 1 << _NORMALIZATIONS.index(word)
    elif name == "unk-id":
        vocabulary.unk = _integer(value, name, number, MAX_ITEMS - 1)
    elif name == "training-param":
        _integer(value, name, number, 0xFFFF)
    elif name == "unk" or name == "reset-token-ids" or name.startswith(("include-", "exclude-")):
        # Each of these makes TokenMonster add or drop tokens and choose ids when it builds the vocabulary.
        if _boolean(value, name, number) and not (name == "unk" and vocabulary.unk is not None):
            raise ByteAuditError(
                f"line {number}: with {name} TokenMonster chooses tokens and ids when it builds the vocabulary, so this file"
                " does not say what its ids write; audit the built .vocab instead"
            )
    else:
        raise ByteAuditError(f"line {number}: unknown setting {name[:40]!r}")
