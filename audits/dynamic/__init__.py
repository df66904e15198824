"""Probes: what an execution at toy size shows, and what that proves about the rules."""
