"""What a tokenizer pipeline changes in text, shown on examples: before, after, and what the contest's own tokenizers do to it.

The published SentencePiece models normalize with `nmt_nfkc`, so their decoded text is not the source to the last byte either; that
loss is the baseline's and every submission shares it. What matters is a change that the baseline does not make.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from audits.bytes.caseops import CaseOpsModel, encode
from audits.bytes.caseops import decode as undo_caseops
from audits.bytes.model import ByteAuditError, TokenModel
from audits.bytes.normalizer import normalize
from audits.bytes.sentencepiece_model import BYTE, NORMAL, USER_DEFINED, SentencePieceModel
from audits.bytes.tokenmonster_vocab import NORMALIZATIONS, TokenMonsterModel

PROBES: tuple[tuple[str, str, str], ...] = (
    ("letter case", "The NASA Launch", "The NASA Launch"),
    ("accents", "Café naïve", "Café naïve"),
    ("combining marks", "Cafe\u0301", "Café"),
    ("compatibility forms", "ﬁne ½ № ①", "fine 1⁄2 No 1"),
    ("full-width forms", "Ｆｕｌｌ", "Full"),
    ("superscripts", "10² m", "102 m"),
    ("ellipsis", "wait… – ok", "wait... – ok"),
    ("curly quotes", "“it’s”", "“it’s”"),
    ("line breaks and tabs", "one\n\ntwo\tthree", "one two three"),
    ("carriage returns", "one\r\ntwo", "one two"),
    ("repeated spaces", "one  two", "one two"),
    ("spaces at the ends", " text ", "text"),
    ("zero-width space", "a\u200bb", "a b"),
    ("control characters", "a\x07b", "ab"),
    ("the space marker", "a\u2581b", "a b"),
    ("emoji", "ok 😀", "ok 😀"),
    ("digits", "in 1987", "in 1987"),
)
"""(what it shows, text, the text after the contest's own `nmt_nfkc` tokenizers)."""
CASED_PIECES = 200
"""Lower-case pieces from which on a vocabulary without any capital says something about its text."""


@dataclass(frozen=True, slots=True)
class Change:
    """One example that does not come back as it was. `as_baseline`: the contest's own tokenizers change it to the same."""

    what: str
    before: str
    after: str
    as_baseline: bool

    def __str__(self) -> str:
        if unicodedata.normalize("NFC", self.before) == unicodedata.normalize("NFC", self.after):
            # Both print alike: escapes show the difference.
            return f"{self.what}: {self.before!a} -> {self.after!a}"
        return f"{self.what}: {self.before!r} -> {self.after!r}"


@dataclass(frozen=True, slots=True)
class Normalization:
    """`name`: as the tokenizer file calls it. `invertible`: no example changes. `no_capitals`: the vocabulary has many words and
    not one capital letter nor a mark for one, so its text was lower-cased before it got there."""

    name: str
    invertible: bool
    changes: tuple[Change, ...]
    no_capitals: bool

    @property
    def beyond_baseline(self) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if not change.as_baseline)

    def to_json(self) -> dict[str, object]:
        """The `normalization` object of the tokenizer block."""
        return {
            "name": self.name,
            "invertible": self.invertible,
            "lower_cased_vocabulary": self.no_capitals,
            "changes": [
                {"what": one.what, "before": one.before, "after": one.after, "as_baseline": one.as_baseline}
                for one in self.changes
            ],
        }


def describe_normalization(model: TokenModel) -> Normalization:
    """Run the examples through `model`. Raises `ByteAuditError` for a malformed normalizer."""
    changes = [
        Change(what, before, after, after == baseline)
        for what, before, baseline in PROBES
        if (after := pass_through(model, before)) != before
    ]
    return Normalization(_name(model), not changes, tuple(changes), lacks_capitals(model))


def pass_through(model: TokenModel, text: str) -> str:
    """The text that comes back from tokenizer and decoder. Raises `ByteAuditError` for a malformed normalizer."""
    if isinstance(model, CaseOpsModel):
        coded = normalize(model.inner.model, encode(text))
        try:
            return undo_caseops(coded)
        except ByteAuditError:
            return coded
    if isinstance(model, SentencePieceModel):
        return _drop_unknown(model, normalize(model.model, text))
    return _tokenmonster_text(model, text) if isinstance(model, TokenMonsterModel) else text


def _drop_unknown(model: SentencePieceModel, text: str) -> str:
    """Without byte pieces a character that no piece spells becomes the unknown token."""
    if BYTE in model.model.types:
        return text
    letters = set(b"".join(model.model.pieces).decode("utf-8", "replace").replace("\u2581", " "))
    return "".join(char if char in letters else model.model.unk_surface.decode("utf-8", "replace") for char in text)


def _tokenmonster_text(model: TokenMonsterModel, text: str) -> str:
    bits = {name for bit, name in enumerate(NORMALIZATIONS) if model.vocabulary.normalization >> bit & 1}
    if "unixlines" in bits:
        text = text.replace("\r\n", "\n")
    if "collapse" in bits:
        while "  " in text:
            text = text.replace("  ", " ")
    if "quotemarks" in bits:
        text = text.translate({0x201C: '"', 0x201D: '"', 0x2018: "'", 0x2019: "'"})
    if "trim" in bits:
        text = text.strip()
    if "leadingspace" in bits and not text.startswith(" "):
        text = " " + text
    if "accents" in bits:
        text = "".join(char for char in unicodedata.normalize("NFD", text) if unicodedata.category(char) != "Mn")
    if "lowercase" in bits:
        text = text.lower()
    if "nfd" in bits:
        text = unicodedata.normalize("NFD", text)
    # A byte that no token holds can't be written at all; capitals are spelled by marks where capcode is on.
    held = set(b"".join(model.vocabulary.stored))
    if model.vocabulary.capcode == 2:
        held |= set(range(0x41, 0x5B)) if held & set(b"CW") else set()
    return bytes(value for value in text.encode() if value in held).decode("utf-8", "replace")


def lacks_capitals(model: TokenModel) -> bool:
    """Whether the vocabulary is one of lower-cased text."""
    if not isinstance(model, SentencePieceModel):
        return False
    words = [piece for piece, kind in zip(model.model.pieces, model.model.types, strict=True) if kind in (NORMAL, USER_DEFINED)]
    cased = sum(any(0x61 <= value <= 0x7A for value in piece) for piece in words)
    return cased >= CASED_PIECES and not any(0x41 <= value <= 0x5A for piece in words for value in piece)


def _name(model: TokenModel) -> str:
    if isinstance(model, CaseOpsModel):
        return f"case controls, then {_name(model.inner)}"
    if isinstance(model, SentencePieceModel):
        return model.model.normalizer or ("identity" if not model.model.charsmap else "unnamed")
    if isinstance(model, TokenMonsterModel):
        names = [name for bit, name in enumerate(NORMALIZATIONS) if model.vocabulary.normalization >> bit & 1]
        return " ".join(names) or "none"
    return "none"
