"""The source against which a tokenization is held: documents as UTF-8 bytes, in the order of the token stream."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from audits.bytes.model import ByteAuditError

MAX_LINE = 64 * 1024 * 1024


def read_jsonl(path: Path, limit: int | None = None) -> Iterator[bytes]:
    """The `text` of each line, as UTF-8, at most `limit` documents. Blank lines are skipped.

    Raises `ByteAuditError` with the line number for a line that is too long, no JSON object, without text, or whose
    text holds lone surrogates (it has no UTF-8 form).
    """
    given = 0
    with path.open("rb") as handle:
        number = 0
        while given != limit and (line := handle.readline(MAX_LINE + 1)):
            number += 1
            if len(line) > MAX_LINE:
                raise ByteAuditError(f"{path.name}:{number}: a line of more than {MAX_LINE} bytes")
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise ByteAuditError(f"{path.name}:{number}: not JSON: {error}") from None
            text = record.get("text") if isinstance(record, dict) else None
            if not isinstance(text, str):
                raise ByteAuditError(f"{path.name}:{number}: no text field")
            try:
                raw = text.encode("utf-8")
            except UnicodeEncodeError:
                raise ByteAuditError(f"{path.name}:{number}: the text holds a lone surrogate") from None
            given += 1
            yield raw
