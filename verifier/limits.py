"""Budgets for everything that is read from a submission, in one frozen place.

A submission is hostile input. Running out of a budget is an outcome that is reported (`Problem`), never a crash and never
silence. Real folders stay far below: the largest log of about 3,400 has 2.2 MB, the largest folder 153 files.
"""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """All budgets. Bytes unless the name says otherwise."""

    folder_files: int = 5_000
    """Files listed in one record folder."""
    folder_depth: int = 12
    """Directory levels below the record folder."""
    text_file: int = 32 * MIB
    """Largest log, README or script read as text."""
    json_file: int = 8 * MIB
    json_depth: int = 64
    json_items: int = 200_000
    """Objects, arrays and scalars in one JSON document."""
    line_length: int = 65_536
    """Characters of one log line that are looked at; the rest of the line is skipped and reported."""
    log_lines: int = 2_000_000
    script_file: int = 16 * MIB
    """Largest Python file read (packed scripts carry their payload as one literal)."""
    ast_depth: int = 200
    """Nesting of parentheses and blocks accepted before parsing."""
    layer_bytes: int = 32 * MIB
    """Largest text unpacked from one layer."""
    layer_count: int = 8
    """Layers unpacked below one file."""
    layer_ratio: int = 200
    """Unpacked bytes per packed byte (real scripts: 2.3 to 5)."""
    archive_members: int = 20_000
    archive_bytes: int = 512 * MIB
    """Sum of the unpacked members that are read from an archive."""
    archive_ratio: int = 1_000
    hash_bytes: int = 64 * MIB
    """Files above are listed with their size but not hashed."""
    vocabulary_file: int = 64 * MIB
    seconds_per_folder: float = 30.0
    """Processor time. Rules and readers stop here; what was left out is `not-available`."""


DEFAULT_LIMITS = Limits()
