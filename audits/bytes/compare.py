"""Decoded documents against a source, one chunk at a time."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from audits.bytes.documents import JsonlDocuments
from audits.bytes.model import Decoded
from audits.bytes.result import Difference, Truth

CONTEXT = 24
"""Bytes shown on either side of a difference."""
FIRST_TRY = 8
"""Chunks before lines are compared as they stand: the tables for it pay for themselves over long sets only."""
MAX_PAUSE = 63
"""Chunks, at most, between two such tries."""


class Comparison:
    """Holds one source beside the decoded stream. `whole`: the stream has no boundaries, so it is compared as one
    text.
    """

    def __init__(self, name: str, source: Iterator[bytes], *, whole: bool, shown: int) -> None:
        self.name = name
        self._source = source
        self._whole = whole
        self._shown = shown
        self._bytes = self._documents = self._bad = 0
        self._missing = 0
        self._differences: list[Difference] = []
        self._rest = b""
        self._position = 0
        self._source_ended = False
        self._spelling = source.spelling() if isinstance(source, JsonlDocuments) else None
        self._pause, self._paused = 0, FIRST_TRY

    def pass_lines(self, decoded: Decoded, documents: int) -> bool:
        """Whether the source goes on with exactly the documents of `decoded`: then they are done. Told from the lines
        of a JSONL file as they stand; where these cannot be told to be equal nothing is known, and nothing done.
        """
        if self._paused or self._spelling is None or self._missing or not isinstance(self._source, JsonlDocuments):
            self._paused = max(0, self._paused - 1)
            return False
        lines = decoded.row.as_json(self._spelling)
        if lines is None or not self._source.skip(lines, documents):
            # A set that differs often is tried less and less often.
            self._pause = self._paused = min(2 * self._pause + 1, MAX_PAUSE)
            self._spelling = self._source.spelling()
            return False
        self._pause = 0
        self._position += documents
        self._documents += documents
        self._bytes += int(decoded.truth.sum())
        return True

    def _next(self) -> bytes | None:
        if self._source_ended:
            return None
        document = next(self._source, None)
        if document is None:
            self._source_ended = True
            return None
        self._documents += 1
        self._bytes += len(document)
        return document

    def documents(self, decoded: bytes, borders: list[int], reasons: dict[int, str]) -> None:
        """The next documents of the stream, joined; `borders`: where each begins, and the end. `reasons` names those
        (by number) that cannot be decoded at all.
        """
        first = self._position
        self._position += len(borders) - 1
        for index, (begin, end) in enumerate(pairwise(borders)):
            source = self._next()
            if source is None:
                self._missing += 1
            elif len(source) != end - begin or not decoded.startswith(source, begin) or index in reasons:
                self._bad += 1
                if len(self._differences) < self._shown:
                    self._differences.append(difference(first + index, source, decoded[begin:end], reasons.get(index, "")))

    def stream(self, decoded: bytes) -> None:
        """The next part of a stream without boundaries: after the first difference only the source's length is
        counted.
        """
        if self._bad:
            return
        while len(self._rest) < len(decoded) and (document := self._next()) is not None:
            self._rest += document
        source = self._rest[: len(decoded)]
        if source != decoded:
            self._bad = 1
            one = difference(0, self._rest[: len(decoded) + CONTEXT], decoded, "")
            self._differences.append(
                Difference(
                    0, one.offset + self._position, 0, 0,
                    one.source_hex, one.decoded_hex, one.source_text, one.decoded_text,
                )
            )  # fmt: skip
        self._position += len(decoded)
        self._rest = self._rest[len(decoded) :]

    def finish(self) -> Truth:
        """Read what is left of the source and judge."""
        before = self._documents
        while self._next() is not None:
            pass
        left = self._documents - before
        problem = ""
        if self._whole:
            if not self._bad and (self._rest or left):
                problem = "the source goes on after the end of the tokens"
        elif self._missing:
            problem = f"the tokens hold {self._position} documents, the source only {self._documents}"
        elif left:
            problem = f"the tokens hold {self._position} documents, the source {self._documents}"
        exact = not self._bad and not problem
        return Truth(self.name, self._bytes, self._documents, self._bad + self._missing, exact, tuple(self._differences), problem)


def difference(document: int, source: bytes, decoded: bytes, reason: str) -> Difference:
    """Where two texts part. Hex and text run from a little before the first differing byte."""
    limit = min(len(source), len(decoded))
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        if source[:middle] == decoded[:middle]:
            low = middle
        else:
            high = middle - 1
    begin, end = max(0, low - CONTEXT), low + CONTEXT
    left, right = source[begin:end], decoded[begin:end]
    return Difference(
        document, low, len(source), len(decoded), left.hex(), right.hex(),
        left.decode("utf-8", "backslashreplace"), right.decode("utf-8", "backslashreplace"), reason,
    )  # fmt: skip
