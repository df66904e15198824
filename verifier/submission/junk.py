"""Files that ride along in record folders and belong to no submission: editors' and notebooks' copies, tool state, caches."""

from __future__ import annotations

DIRECTORIES = frozenset(
    {
        ".cache",
        ".git",
        ".idea",
        ".ipynb_checkpoints",
        ".mypy_cache",
        ".pytest_cache",
        ".ruff_cache",
        ".venv",
        ".vscode",
        "__macosx",
        "__pycache__",
        "node_modules",
        "venv",
        "wandb",
    }
)
NAMES = frozenset({".ds_store", ".gitattributes", ".gitignore", ".gitkeep", ".gitmodules", "desktop.ini", "thumbs.db"})
SUFFIXES = ("~", ".bak", ".orig", ".pid", ".pyc", ".pyo", ".rej", ".swo", ".swp", ".tmp")
CHECKPOINT = "-checkpoint"
"""Jupyter's autosaved twins: `submission-checkpoint.json`, `README-checkpoint.md`."""
NOTEBOOK_TWINS = (".json", ".md", ".py", ".txt", ".ipynb")


def is_junk_directory(name: str) -> bool:
    """Whether a directory of this name holds no part of a submission."""
    return name.lower() in DIRECTORIES


def is_junk(path: str) -> bool:
    """Whether a file is listed but not audited. `path` is POSIX, relative to the record folder."""
    *parents, name = path.split("/")
    if any(is_junk_directory(parent) for parent in parents):
        return True
    lowered = name.lower()
    if lowered in NAMES or lowered.endswith(SUFFIXES) or lowered.startswith("._"):
        return True
    stem, dot, extension = lowered.rpartition(".")
    return stem.endswith(CHECKPOINT) and dot + extension in NOTEBOOK_TWINS
