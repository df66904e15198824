"""Adaptation on validation tokens: test-time training and per-sample optimization."""

from audits.adaptation import passes, slot, ttt

RULES = (*ttt.RULES, *passes.RULES, slot.RULE)
