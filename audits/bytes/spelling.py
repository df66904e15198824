"""How a JSONL file spells documents, so that decoded text can be held against its lines without reading them as JSON.

A JSON text means one thing, and a writer spells it one way throughout. Where each table entry is known in that
spelling, tokens are joined to whole lines, and lines that are equal hold equal documents. Lines that are not equal say
nothing: they are read as JSON.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

OPENINGS = (b'{"text": "', b'{"text":"')
CLOSING = b'"}\n'


@dataclass(frozen=True, slots=True)
class Spelling:
    """As Python's `json` writes it. `ascii_only`: every other character as `\\uXXXX`."""

    opening: bytes
    ascii_only: bool

    @classmethod
    def of(cls, sample: bytes) -> Spelling | None:
        """The spelling of lines that begin like `sample`; `None` for lines with anything but one text."""
        opening = next((one for one in OPENINGS if sample.startswith(one)), None)
        return None if opening is None else cls(opening, sample.isascii() and b"\\u" in sample)

    @property
    def step(self) -> bytes:
        """From the end of one text to the begin of the next."""
        return CLOSING + self.opening

    def escape(self, piece: bytes) -> bytes | None:
        """A part of a text. `None` for a part of a character that is only spelled as a whole."""
        if not self.ascii_only:
            # Byte by byte, whatever the bytes are: only ASCII is ever escaped.
            return json.dumps(piece.decode("latin-1"), ensure_ascii=False)[1:-1].encode("latin-1")
        try:
            return json.dumps(piece.decode("utf-8"))[1:-1].encode("ascii")
        except UnicodeDecodeError:
            return None
