"""Adaptation on validation tokens: test-time training and per-sample optimization."""

from audits.adaptation import slot, ttt

RULES = (*ttt.RULES, slot.RULE)
