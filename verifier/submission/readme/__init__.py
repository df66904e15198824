"""README.md: run commands, result tables and claims, each with its line."""

from verifier.submission.readme.model import Cell, Column, Polarity, Readme, Row, RunCommand, Setting, Statement, Table
from verifier.submission.readme.reader import read_readme
from verifier.submission.readme.statements import statements_of_metadata

__all__ = [
    "Cell",
    "Column",
    "Polarity",
    "Readme",
    "Row",
    "RunCommand",
    "Setting",
    "Statement",
    "Table",
    "read_readme",
    "statements_of_metadata",
]
