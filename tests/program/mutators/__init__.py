"""Rewrites of Python programs that keep what they compute: one kind a module, each in place on a syntax tree.

Every rewrite takes (tree, rng, keep) and returns how many edits it made; `keep` are identifiers that something outside the text
knows by name. They are careful rather than complete: what can't be seen to be safe is left alone.
"""
