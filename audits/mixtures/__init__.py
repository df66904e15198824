"""Mixtures at eval time: n-gram tables, gates, byte mixers (conditions C1 and C2)."""

from audits.mixtures import mixing, ngram

RULES = (*ngram.RULES, *mixing.RULES)
