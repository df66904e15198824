"""Lines that state bytes: compressed model, raw model, code, total; with the tag that says which counting it is."""

from __future__ import annotations

import re
from dataclasses import dataclass

from verifier.submission.logs.model import SizeKind
from verifier.submission.logs.patterns import read_float, read_int

_BYTES = re.compile(r"\s{0,64}~?(?P<number>\d[\d,]{0,20}(?:\.\d{1,6})?)\s{0,4}(?P<unit>bytes|B|MB|MiB|KB|KiB)?(?![\w])")
_MAX_TAG = 120
_KEYS = {
    "total_artifact_bytes": SizeKind.TOTAL,
    "artifact_bytes": SizeKind.TOTAL,
    "total_bytes": SizeKind.TOTAL,
    "submission_bytes": SizeKind.TOTAL,
    "compressed_model_bytes": SizeKind.MODEL,
    "compressed_blob_bytes": SizeKind.MODEL,
    "quant_file_bytes": SizeKind.MODEL,
    "packed_bytes": SizeKind.MODEL,
    "model_bytes": SizeKind.MODEL,
    "code_bytes": SizeKind.CODE,
}
_KEY = re.compile(
    rf"(?<![\w.])(?P<key>{'|'.join(_KEYS)}|serialized_model_\w{{1,40}})\"?\s?[:=]\s?(?P<number>\d[\d,]{{3,20}})(?![\w.])"
)
_SCALES = {"bytes": 1.0, "b": 1.0, "mb": 1e6, "mib": 1048576.0, "kb": 1e3, "kib": 1024.0}
_RAW_TAGS = ("raw", "fp32", "uncompressed", "full precision", "state_dict")
_SMALLEST_TOTAL = 1_000


@dataclass(frozen=True, slots=True)
class Size:
    kind: SizeKind
    tag: str
    bytes: int
    exact: bool


def read_sizes(line: str, low: str) -> tuple[Size, ...]:
    """Every size of a line; empty for anything else. `low` is the line in lower case."""
    if low.startswith("serialized model"):
        return _worded(line, 16, SizeKind.MODEL)
    if low.startswith("code size"):
        return _worded(line, 9, SizeKind.CODE)
    for words in ("total submission size", "submission size"):
        if low.startswith(words):
            return _worded(line, len(words), SizeKind.TOTAL)
    keyed = [
        Size(_KEYS.get(match["key"], SizeKind.MODEL), "", number, True)
        for match in _KEY.finditer(line)
        if (number := read_int(match["number"])) is not None
    ]
    if keyed:
        return tuple(keyed)
    return _other_total(line, low)


def _worded(line: str, length: int, kind: SizeKind) -> tuple[Size, ...]:
    """`Words[ TAG]: N bytes`. An untagged `Serialized model` is the raw torch file."""
    colon = min((at for at in (line.find(":", length), line.find("=", length)) if at >= 0), default=-1)
    if colon < 0 or colon - length > _MAX_TAG:
        return ()
    tag = line[length:colon].strip()
    size = _read_bytes(line, colon + 1)
    if size is None:
        return ()
    if kind is SizeKind.MODEL and (not tag or any(word in tag.lower() for word in _RAW_TAGS)):
        kind = SizeKind.RAW_MODEL
    if kind is SizeKind.TOTAL and any(word in tag.lower() for word in _RAW_TAGS):
        kind = SizeKind.RAW_TOTAL
    return (Size(kind, tag, size[0], size[1]),)


def _other_total(line: str, low: str) -> tuple[Size, ...]:
    """Lines such as `Artifact size: 15,602,610 bytes`, `Size check: ...`, `model:11474336 code:73514 total:11547850`.

    Seven digits at least, so that counts of tensors and steps are no sizes.
    """
    for separator in (":", "="):
        at = line.find(separator)
        if 0 <= at <= _MAX_TAG:
            break
    else:
        return ()
    words = low[:at]
    if low.startswith(("warning", "model:", "logs/")) and "total:" not in low:
        return ()
    if "total:" in low and "code:" in low:
        total, code = _after(line, low, "total:"), _after(line, low, "code:")
        found = [Size(SizeKind.TOTAL, "", *total)] if total and total[0] >= _SMALLEST_TOTAL else []
        return (*found, Size(SizeKind.CODE, "", *code)) if code and found else tuple(found)
    if not any(word in words for word in ("artifact", "submission", "size check", "total")):
        return ()
    if any(word in words for word in ("param", "token", "time", "doc", "target", "raw", "step", "limit")):
        return ()
    size = _read_bytes(line, at + 1)
    if size is None or size[0] < 100_000 or (size[1] and size[0] >= 1_000_000_000):
        return ()
    return (Size(SizeKind.TOTAL, line[:at].strip(), size[0], size[1]),)


def _after(line: str, low: str, word: str) -> tuple[int, bool] | None:
    return _read_bytes(line, low.index(word) + len(word))


def _read_bytes(line: str, start: int) -> tuple[int, bool] | None:
    """Bytes and whether they are exact (False for rounded units)."""
    match = _BYTES.match(line, start)
    if match is None:
        return None
    unit = (match["unit"] or "bytes").lower()
    if unit in ("bytes", "b"):
        number = read_int(match["number"])
        return None if number is None else (number, True)
    value = read_float(match["number"])
    return None if value is None else (round(value * _SCALES[unit]), False)
