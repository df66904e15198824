"""BYT rules that need the tokenizer's own bytes."""

from __future__ import annotations

from audits.bytes.rule_metadata import METADATA_DRIFT
from audits.bytes.rule_normalization import LOSSY
from audits.bytes.rule_strict import STRICT_DRIFT
from audits.bytes.rule_table import TABLE_WRONG

RULES = (TABLE_WRONG, METADATA_DRIFT, LOSSY, STRICT_DRIFT)
