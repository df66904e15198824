"""Reading a README: blocks first, then commands, tables, statements and numbers."""

from __future__ import annotations

from verifier.limits import DEFAULT_LIMITS, Limits
from verifier.submission.readme.blocks import read_page
from verifier.submission.readme.commands import read_run_commands
from verifier.submission.readme.model import Readme
from verifier.submission.readme.numbers import read_numbers
from verifier.submission.readme.settings import read_named_settings
from verifier.submission.readme.statements import statements_of_page
from verifier.submission.readme.tables import read_tables


def read_readme(path: str, data: bytes, limits: Limits = DEFAULT_LIMITS) -> Readme:
    """Read a README. Never raises on content; what was cut off is in `problems`."""
    page = read_page(path, data, limits)
    return Readme(
        path=path,
        commands=read_run_commands(page),
        tables=read_tables(page),
        statements=statements_of_page(page),
        facts=read_numbers(page),
        problems=page.problems,
        settings=read_named_settings(page),
    )
