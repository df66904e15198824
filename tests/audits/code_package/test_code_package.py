"""PKG004 and PKG007: the script compiles, its local files are there, what is packed is listed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from audits.code_package.broken import SCRIPT_BROKEN
from audits.code_package.packed import PACKED_SCRIPT
from tests.builders import context, empty_submission
from tests.submission.packing import PROGRAM, packed_script
from verifier.engine.context import Context
from verifier.limits import DEFAULT_LIMITS
from verifier.rule import Outcome
from verifier.submission.script_reader import read_program


def folder(**files: str | bytes) -> Context:
    pairs = [(name.replace("__", "."), text.encode() if isinstance(text, str) else text) for name, text in files.items()]
    return replace(context(), submission=replace(empty_submission(), program=read_program(pairs, (), DEFAULT_LIMITS)))


@pytest.mark.parametrize(
    ("files", "outcome", "place"),
    [
        ({"train_gpt__py": PROGRAM}, Outcome.PASS, None),
        ({"train_gpt__py": "ParGolf v2 — Competition Submission\n" + PROGRAM}, Outcome.FAIL, "train_gpt.py:1"),
        ({"train_gpt__py": 'names = ["a"]\nprint(f"{", ".join(names)}")\n'}, Outcome.PASS, None),
        ({"train_gpt__py": packed_script("import os\nprint('a'\n")}, Outcome.FAIL, "train_gpt.py[layer 1]:2"),
        ({"train_gpt__py": packed_script(PROGRAM)}, Outcome.PASS, None),
        ({"train_gpt__py": "import helper\n", "helper__py": "def f(:\n"}, Outcome.FAIL, "helper.py:1"),
        ({"train_gpt__py": PROGRAM, "train_gpt_human__py": "def f(:\n"}, Outcome.PASS, None),
        ({"train_gpt__py": "import helper\nFILES = ['helper.py']\n"}, Outcome.REVIEW, "train_gpt.py:1"),
        ({"train_gpt__py": "import some_package\n"}, Outcome.PASS, None),
        ({"train_gpt__py": PROGRAM + "\nreturn 0\n"}, Outcome.FAIL, "train_gpt.py"),
        ({"train_gpt__py": packed_script(PROGRAM + "\nreturn 0\n")}, Outcome.FAIL, "train_gpt.py[layer 1]"),
        ({"train_gpt__py": "def f():\n    return 0\n"}, Outcome.PASS, None),
        ({"train_gpt__py": "import runpy\nrunpy.run_path('../other/train_gpt.py')\n"}, Outcome.REVIEW, "train_gpt.py:2"),
        ({"train_gpt__py": b"name = '\xff'\n"}, Outcome.FAIL, "train_gpt.py:1"),
        ({"train_gpt__py": "import os\nexec(os.environ['X'])\n"}, Outcome.NOT_AVAILABLE, None),
        ({"prepare__py": "x = 1\n"}, Outcome.NOT_AVAILABLE, None),
    ],
)
def test_script_broken(files: dict[str, str | bytes], outcome: Outcome, place: str | None) -> None:
    decision = SCRIPT_BROKEN.decide(folder(**files))
    assert decision.outcome is outcome
    if place is not None:
        location = decision.findings[0].locations[0]
        assert str(location) == place or str(location).startswith(place.rsplit(":", 1)[0])


def test_packed_layers_are_listed() -> None:
    decision = PACKED_SCRIPT.decide(folder(train_gpt__py=packed_script(packed_script(PROGRAM, "zlib"), "lzma-raw")))
    assert decision.outcome is Outcome.INFO
    assert [finding.measured.value for finding in decision.findings if finding.measured] == [
        len(packed_script(PROGRAM, "zlib")),
        len(PROGRAM),
    ]
    assert "base85+lzma-raw" in decision.findings[0].message
    assert str(decision.findings[1].locations[0]) == "train_gpt.py[layer 1]:3"


def test_a_plain_script_passes() -> None:
    decision = PACKED_SCRIPT.decide(folder(train_gpt__py=PROGRAM + "model.eval()\n"))
    assert decision.outcome is Outcome.PASS


def test_an_opaque_script_is_not_available() -> None:
    decision = PACKED_SCRIPT.decide(folder(train_gpt__py="import os\nexec(os.environ['CODE'])\n"))
    assert decision.outcome is Outcome.NOT_AVAILABLE
    assert "train_gpt.py:2" in [str(place) for finding in decision.findings for place in finding.locations]


def test_a_bundle_of_many_modules_stays_readable() -> None:
    modules = "".join(f"install('m{n}', 'VALUE = {n}')\n" for n in range(20))
    script = (
        "import sys, types\ndef install(name, source):\n    m = types.ModuleType(name)\n    sys.modules[name] = m\n    exec(source, m.__dict__)\n"
        + modules
        + PROGRAM
    )
    decision = PACKED_SCRIPT.decide(folder(train_gpt__py=script))
    assert decision.outcome is Outcome.INFO
    assert len(decision.findings) == 9
    assert "12 more payloads" in decision.findings[-1].message
