"""Byte accounting, the denominator of bits per byte: exact decoders, the strict audit over a whole validation set, its rules."""

from audits.bytes import rules

RULES = rules.RULES
