"""One error type: what did not happen, why, and the next step."""

from __future__ import annotations


class TrainerError(Exception):
    """A problem the user can fix. The message names the next step."""
