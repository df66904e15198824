"""Audit submissions to model-training contests."""
