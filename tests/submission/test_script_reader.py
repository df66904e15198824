"""Which file is the script, what belongs to the program, what is missing."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.submission.packing import PROGRAM, packed_script
from verifier.evidence import Location
from verifier.limits import DEFAULT_LIMITS
from verifier.submission.readme.model import RunCommand
from verifier.submission.script import Program
from verifier.submission.script_reader import read_program


def command(script: str) -> RunCommand:
    return RunCommand(f"python3 {script}", script, (), (), (), None, "fenced", Location("README.md", 3))


def program(files: dict[str, str | bytes], *commands: str) -> Program:
    pairs = [(path, text.encode() if isinstance(text, str) else text) for path, text in files.items()]
    return read_program(pairs, [command(script) for script in commands], DEFAULT_LIMITS)


def paths(found: Program) -> tuple[list[str], list[str]]:
    return [member.path for member in found.members], [other.path for other in found.others]


def main_of(found: Program) -> str:
    assert found.main is not None
    return found.main.path


@pytest.mark.parametrize(
    ("files", "commands", "chosen", "reason"),
    [
        (["train_gpt.py", "train_gpt_human.py"], ["train_gpt_human.py"], "train_gpt.py", "train_gpt.py"),
        (["train_gdn_7k.py", "eval.py"], ["./eval.py"], "eval.py", "documented command"),
        (["a.py", "run.py"], ["records/track_10min_16mb/2026-04-01_X/run.py"], "run.py", "documented command"),
        (["code/run.py", "train_big.py"], ["run.py"], "code/run.py", "documented command"),
        (["convert_to_bytes.py", "run_big.py"], ["convert_to_bytes.py", "run_big.py"], "run_big.py", "documented command"),
        (["train_a.py", "train_big.py"], ["missing.py"], "train_big.py", "largest train*.py"),
        (["train_a.py", "deep/train_big.py"], [], "train_a.py", "largest train*.py"),
        (["deep/train_big.py"], [], "deep/train_big.py", "largest train*.py"),
        (["deep/train_gpt.py", "train_a.py"], [], "train_a.py", "largest train*.py"),
    ],
)
def test_main_script(files: list[str], commands: list[str], chosen: str, reason: str) -> None:
    contents: dict[str, str | bytes] = {name: PROGRAM * (2 if "big" in name else 1) for name in files}
    found = program(contents, *commands)
    assert (main_of(found), found.main_reason) == (chosen, reason)


def test_no_script_at_all() -> None:
    found = program({"prepare_data.py": "x = 1\n", "README.txt": "hello"})
    assert found.main is None
    assert found.main_reason == ""
    assert paths(found) == ([], ["prepare_data.py"])


def test_local_imports_belong_to_the_program_and_twins_do_not() -> None:
    found = program(
        {
            "train_gpt.py": "import torch\nfrom online_state import Mixer\nimport pkg.inner\nfrom pkg import other\n",
            "online_state.py": "import lossless\n",
            "lossless.py": "",
            "pkg/__init__.py": "",
            "pkg/inner.py": "from . import sibling\nfrom .other import x\n",
            "pkg/sibling.py": "",
            "pkg/other.py": "x = 1\n",
            "train_gpt_human.py": PROGRAM,
            "prepare_data.py": "import lossless\n",
        }
    )
    members, others = paths(found)
    assert members[0] == "train_gpt.py"
    assert set(members) == {
        "train_gpt.py", "online_state.py", "lossless.py", "pkg/__init__.py", "pkg/inner.py", "pkg/sibling.py", "pkg/other.py",
    }  # fmt: skip
    assert others == ["prepare_data.py", "train_gpt_human.py"]
    assert found.missing_imports == ()


def test_executed_files_belong_to_the_program() -> None:
    found = program(
        {
            "train_gpt.py": "exec(open(__file__.replace('train_gpt.py', 'train_gpt_decode.py')).read())\n",
            "train_gpt_decode.py": PROGRAM,
        }
    )
    assert paths(found) == (["train_gpt.py", "train_gpt_decode.py"], [])
    assert main_of(found) == "train_gpt.py"
    assert found.body is not None
    assert found.body.path == "train_gpt_decode.py"
    assert [read.name for read in found.env_reads] == ["ITERATIONS", "TTT_ENABLED"]
    assert not found.opaque


def test_a_packed_script_is_read_through() -> None:
    found = program({"train_gpt.py": packed_script("import helper\n" + PROGRAM), "helper.py": ""})
    main = found.main
    assert main is not None
    assert main.effective == (1, "import helper\n" + PROGRAM)
    assert [(read.name, read.source.layer, read.source.line) for read in main.env_reads] == [
        ("ITERATIONS", 1, 6),
        ("TTT_ENABLED", 1, 7),
    ]
    assert paths(found)[0] == ["train_gpt.py", "helper.py"]
    assert ("helper", Location("train_gpt.py", 1, layer=1, excerpt="import helper")) in main.imports
    assert found.body is main


def test_an_unreadable_program_is_opaque() -> None:
    found = program({"train_gpt.py": "import os\nexec(os.environ['CODE'])\n"})
    assert found.opaque
    assert [problem.kind for problem in found.problems] == ["layer-opaque"]


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("from . import core\n", [".core"]),
        ("from .core import x\n", [".core"]),
        ("import online_state\nBYTES = ['train_gpt.py', 'online_state.py']\n", ["online_state"]),
        ("import runpy\nrunpy.run_path('gone.py', run_name='__main__')\n", ["gone.py"]),
        ("import some_package\n", []),
        ("import torch, numpy as np, os\n", []),
        ("try:\n    import online_state\nexcept ImportError:\n    online_state = None\nN = 'online_state.py'\n", []),
        ("def later():\n    import online_state\nN = 'online_state.py'\n", []),
        ("open('online_state.py', 'w').write('x = 1')\nimport online_state\n", []),
        ("import sys, types\nsys.modules['bundled'] = types.ModuleType('bundled')\nimport bundled\nN = 'bundled.py'\n", []),
        ("import elsewhere\nN = 'elsewhere.py'\n", []),
    ],
)
def test_missing_modules_are_named_only_when_the_folder_shows_them(text: str, missing: list[str]) -> None:
    found = program({"train_gpt.py": text, "lib/elsewhere.py": ""})
    assert [name for name, _ in found.missing_imports] == missing


def test_syntax_errors_keep_their_line() -> None:
    found = program({"train_gpt.py": "ParGolf v2 — Competition Submission\nimport torch\n"})
    assert found.main is not None
    assert found.main.syntax_error is not None
    assert found.main.syntax_error.location.line == 1
    assert found.main.text.startswith("ParGolf")


def test_a_script_that_is_too_large_is_a_problem() -> None:
    found = program({"train_gpt.py": b"#" * (DEFAULT_LIMITS.script_file + 1)})
    assert found.main is None
    assert [problem.kind for problem in found.problems] == ["too-large"]


def test_import_cycles_end() -> None:
    found = program({"train_gpt.py": "import a\n", "a.py": "import b\n", "b.py": "import a, train_gpt\n"})
    assert set(paths(found)[0]) == {"train_gpt.py", "a.py", "b.py"}


@settings(max_examples=60)
@given(
    st.dictionaries(
        st.sampled_from(["train_gpt.py", "a.py", "train_b.py", "c.txt", "d/e.py"]), st.binary(max_size=200), max_size=5
    )
)
def test_any_bytes_are_read_deterministically(files: dict[str, bytes]) -> None:
    pairs = list(files.items())
    first = read_program(pairs, (), DEFAULT_LIMITS)
    assert first == read_program(pairs[::-1], (), DEFAULT_LIMITS)
    assert {script.path for script in (*first.members, *first.others)} == {path for path in files if path.endswith(".py")}
