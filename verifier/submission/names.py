"""What the names of a record folder's files promise: README, submission JSON, training script, and in which order they count."""

from __future__ import annotations

from verifier.submission.logs.reader import is_log_name

README_EXTENSIONS = frozenset({"", ".md", ".markdown", ".mdown", ".mdx", ".rst", ".txt"})


def split_name(path: str) -> tuple[str, str]:
    """Lower-case stem and extension (with dot) of the last component: `logs/Train.LOG` -> (`train`, `.log`)."""
    name = path.rsplit("/", 1)[-1].lower()
    stem, dot, extension = name.rpartition(".")
    return (stem, dot + extension) if stem else (name, "")


def is_readme(path: str) -> bool:
    """`README.md` in any case or extension, `README_long.md`, but no program of that name."""
    stem, extension = split_name(path)
    return stem.startswith("readme") and extension in README_EXTENSIONS


def is_submission_json(path: str) -> bool:
    """`submission.json`, `submission_ternary.json`, `Submission-v2.json`."""
    stem, extension = split_name(path)
    return extension == ".json" and stem.startswith("submission")


def is_training_script(path: str) -> bool:
    """`train_gpt.py`, `train.py`, `train_mdlm.py`."""
    stem, extension = split_name(path)
    return extension == ".py" and stem.startswith("train")


def is_evidence(path: str) -> bool:
    """Whether a file of this name makes its directory a record folder."""
    return is_submission_json(path) or is_readme(path) or is_training_script(path) or is_log_name(path)


def own_first(path: str, exact: str) -> tuple[int, int, str]:
    """Sort key: the folder's own file before aliases, the folder itself before its sub-folders.

    `exact` is the prescribed name (`submission.json`, `README.md`).
    """
    name = path.rsplit("/", 1)[-1]
    if name == exact:
        rank = 0
    elif name.lower() == exact.lower():
        rank = 1
    elif split_name(path)[0] == split_name(exact)[0]:
        rank = 2
    else:
        rank = 3
    return path.count("/"), rank, path
