"""Tests of the trainer use one thread: its matrices are tiny, and waiting threads cost more than they give."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
