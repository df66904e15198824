"""Decoded documents against a source, one chunk at a time."""

from __future__ import annotations

from collections.abc import Iterator

from audits.bytes.result import Difference, Truth

CONTEXT = 24
"""Bytes shown on either side of a difference."""


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

    def documents(self, decoded: list[bytes], reasons: dict[int, str]) -> None:
        """The next documents of the stream; `reasons` names those (by index in `decoded`) that cannot be decoded at
        all.
        """
        first = self._position
        self._position += len(decoded)
        for index, document in enumerate(decoded):
            source = self._next()
            if source is None:
                self._missing += 1
            elif source != document or index in reasons:
                self._bad += 1
                if len(self._differences) < self._shown:
                    self._differences.append(difference(first + index, source, document, reasons.get(index, "")))

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
