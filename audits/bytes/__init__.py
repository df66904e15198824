"""Byte accounting: the denominator of bits per byte."""

from audits.bytes import rules

RULES = rules.RULES
