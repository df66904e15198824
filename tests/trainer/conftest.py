"""Tests of the trainer use one thread: its matrices are tiny, and waiting threads cost more than they give."""

from __future__ import annotations

import os

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def few_docs(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Thirty documents: enough for the loop, little to evaluate."""
    from reference_train.data import SHIPPED_TEXT

    path = tmp_path_factory.mktemp("docs") / "docs.jsonl"
    lines = SHIPPED_TEXT.read_text(encoding="utf-8").splitlines()[:30]
    path.write_text("\n".join(lines), encoding="utf-8")
    return str(path)
