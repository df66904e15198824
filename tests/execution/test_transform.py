"""Shrinking literals in a copy of a script: what sizes a table or a chunk, and nothing else."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.probes import write_folder
from verifier.execution.transform import Transformed, is_size, shrink_literals, shrunk
from verifier.submission.discover import discover
from verifier.submission.load import load_submission


def transform(
    tmp_path: Path, script: str, environment: dict[str, str] | None = None, kind: str = "plain", vocabulary: int = 256
) -> Transformed:
    folder = write_folder(tmp_path, kind)
    if script:
        (folder / "train_gpt.py").write_text(script, encoding="utf-8")
    return shrink_literals(load_submission(discover(folder)[0]).program, environment or {}, 2049, vocabulary)


@pytest.mark.parametrize(
    "line",
    [
        "table = np.zeros(4_194_304)",
        "key = h % (1 << 22)",
        "key = h & (2**22 - 1)",
        "BUCKETS = 4 * 1024 * 1024\ntable = np.zeros(BUCKETS)",
        "def evaluate(chunk=131072):\n    return range(0, 9, chunk)",
        "key = h % (\n    1 <<\n    22\n)\nprint(key)",
    ],
)
def test_sizes_are_shrunk(tmp_path: Path, line: str) -> None:
    made = transform(
        tmp_path, f"import numpy as np\nh = 7\nä = 'é'; {line}\n" if "\n" not in line else f"import numpy as np\nh = 7\n{line}\n"
    )
    assert len(made.replacements) == 1
    text = made.texts["train_gpt.py"]
    assert "512" in text
    assert len(ast.parse(text).body) == len(ast.parse(f"import numpy as np\nh = 7\n{line}").body) + ("\n" not in line)
    assert made.replacements[0].new == 512
    assert str(made.replacements[0]).startswith("train_gpt.py:")


@pytest.mark.parametrize(
    "line",
    [
        "keep = tensor.numel() <= 65_536",
        "LIMIT = 65_536\nkeep = tensor.numel() <= LIMIT",
        "UNREAD = 1 << 20",
        "mib = size / (1024 * 1024)",
        "mib = size // (1 << 20)",
        "key = a * (1 << 20) + b",
        "modulus = h % (1 << 31)\nseed = h % (1 << 61)",
        "prime = h % 4_194_301",
        "dim = 8192\nprint(dim)",
        "sp = vocab(32000)",
    ],
)
def test_other_numbers_stay(tmp_path: Path, line: str) -> None:
    assert transform(tmp_path, f"{line}\n").replacements == ()


def test_settings_are_shrunk_in_the_environment(tmp_path: Path) -> None:
    script = (
        "import os\nbuckets = int(os.environ.get('BUCKETS', 4194304))\nchunk = int(os.environ.get('CHUNK', 1048576))\n"
        "top = int(os.environ.get('TOP', 65536))\nbatch = int(os.environ.get('BATCH', 524288))\n"
        "if buckets > top:\n    table = [0] * buckets, [0] * chunk, [0] * batch\n"
    )
    made = transform(tmp_path, script, {"CHUNK": "131072", "BATCH": "4096"})
    assert made.settings == {"BUCKETS": "512", "CHUNK": "512"}
    assert made.texts == {}
    assert {str(one) for one in made.replacements} == {"setting BUCKETS 4194304 -> 512", "setting CHUNK 131072 -> 512"}


def test_a_packed_script_is_shrunk_in_its_unpacked_text(tmp_path: Path) -> None:
    made = transform(tmp_path, "", {"TRAIN_BATCH_TOKENS": "1024"}, kind="packed-hashed")
    # All tables that the text holds, whichever is in use.
    assert {one.old for one in made.replacements} == {4_194_304, 1 << 20, 1 << 15}
    assert "buckets=512" in made.texts["train_gpt.py"]
    assert "def main():" in made.texts["train_gpt.py"]


def test_a_script_that_does_not_parse_is_left_alone(tmp_path: Path) -> None:
    assert transform(tmp_path, "table = [0] * (1 << 22\n").replacements == ()


def test_no_size_becomes_smaller_than_keys_with_a_token_in_them(tmp_path: Path) -> None:
    made = transform(tmp_path, "import numpy as np\ntable = np.zeros(1 << 22)\n", vocabulary=1024)
    assert [one.new for one in made.replacements] == [2048]


@given(st.integers(15, 29), st.integers(100, 100_000), st.sampled_from([512, 2048, 16_384]))
def test_a_shrunk_size_is_no_fuller_than_the_real_one(exponent: int, tokens: int, floor: int) -> None:
    value = 1 << exponent
    small = shrunk(value, tokens, floor)
    assert is_size(value)
    assert small & (small - 1) == 0
    assert small <= value
    assert small >= floor
    assert tokens / small <= 62_021_846 / value * 1.01
