"""Exit codes and messages that say what was not done, why, and what to do next."""

from __future__ import annotations

EXIT_OK = 0
EXIT_FINDINGS = 1
EXIT_USAGE = 2
EXIT_NOTHING = 3
EXIT_INTERNAL = 4


class UsageFailure(Exception):
    """Nothing was audited. The text says so; `hint` says what to do."""

    def __init__(self, message: str, hint: str = "", code: int = EXIT_USAGE) -> None:
        super().__init__(message)
        self.hint = hint
        self.code = code
