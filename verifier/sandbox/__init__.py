"""Running code that nobody vouches for: one contract (`policy`), several tiers (`tiers`), one way to run (`run`).

Nothing is imported here: the launcher loads single modules of this package in a bare interpreter.
"""
