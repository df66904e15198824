"""BYT rules that need the tokenizer's own bytes."""

from __future__ import annotations

from audits.unexamined import needs_byte_audit
from verifier.rule import Level, Outcome, Rule, Tier

_PULL = "https://github.com/openai/parameter-golf/pull/"

TABLE_WRONG = Rule(
    code="BYT001",
    name="byte-table-wrong",
    level=Level.ERROR,
    summary="the script's per-token byte table deviates from the tokenizer's truth and the deviation changes the total",
    why="BPB divides by bytes. A table that counts a leading space twice reports a score 15 % too low without any better model.",
    example="violation: base = len(piece.encode())        # the marker U+2581 is three bytes\n"
    "           if piece.startswith('\\u2581'): base += 1   # and now counted again\n"
    "legal: base = len(piece.replace('\\u2581', '').encode()), plus one byte for the space, byte tokens 1, control tokens 0",
    settles="the table's total over the scored stream against the stream's UTF-8 bytes",
    sources=("https://github.com/openai/parameter-golf/issues/897", _PULL + "1698", _PULL + "1734", _PULL + "1804"),
    check=needs_byte_audit,
)
METADATA_DRIFT = Rule(
    code="BYT002",
    name="metadata-byte-drift",
    level=Level.ERROR,
    summary="the shipped byte metadata does not reproduce the source bytes",
    why="Capcode modifiers and byte-fallback tokens are easy to miscount: a fallback token decodes to one byte but its piece has three.",
    example="violation: base_bytes['\\xc3'] = 3\nlegal: base_bytes sums to the UTF-8 bytes of every document",
    settles="a strict byte audit of the bundle over the validation documents",
    sources=(_PULL + "1143", _PULL + "1184", _PULL + "1271", _PULL + "1405"),
    check=needs_byte_audit,
)
LOSSY = Rule(
    code="BYT005",
    name="lossy-normalization",
    level=Level.WARNING,
    at_most=Outcome.REVIEW,
    summary="the tokenizer pipeline is not invertible to the source bytes",
    why="A model that need not tell upper from lower case predicts an easier text than the one it is scored on.",
    example="violation: text.lower() before encoding\nlegal: a case transform with control symbols that can be inverted",
    settles="decode(encode(text)) == text on the validation documents, beyond the baseline's own normalization",
    sources=("https://github.com/openai/parameter-golf/issues/1604",),
    check=needs_byte_audit,
)
STRICT_DRIFT = Rule(
    code="BYT007",
    name="strict-audit-drift",
    level=Level.ERROR,
    tier=Tier.DATA,
    summary="the strict full-validation audit finds source, metadata and decoded bytes not all equal",
    why="Exactness over the full validation set is the only statement about bytes that cannot be argued with.",
    example="violation: source 1,489,515, metadata 1,566,096, decoded 1,485,699\nlegal: all three equal, no document differs",
    settles="`verifier bytes --strict` over the full validation shards",
    sources=(_PULL + "1314",),
    check=needs_byte_audit,
)

RULES = (TABLE_WRONG, METADATA_DRIFT, LOSSY, STRICT_DRIFT)
