"""Use of validation data, and what the reported number is an average of."""

from audits.validation import causality, code_length, leakage

RULES = (*leakage.RULES, *code_length.RULES, *causality.RULES)
