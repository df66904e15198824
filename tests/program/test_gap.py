"""What a trace does not show keeps every rule that found nothing from passing."""

from __future__ import annotations

import pytest

from fixtures.program.editing import after, record
from fixtures.script import TRAIN_GPT
from tests.program.judge import analyse_script, judge, result_of
from verifier.program.state import Budget

COMPUTED = {
    "exec of text from a file": "exec(open('hidden.txt').read())",
    "exec of decoded text": "import base64; exec(base64.b64decode(os.environ['HIDDEN']))",
    "eval of the environment": "eval(os.environ['HIDDEN'])",
    "import of a computed name": "import importlib; importlib.import_module(os.environ['HIDDEN'])",
    "a module made of text": "import types; types.FunctionType(compile(os.environ['HIDDEN'], '', 'exec'), {})()",
}
KNOWN = {
    "eval of a number": "x = eval('1e-3')",
    "a look whether a module is there": "import importlib.util; importlib.util.find_spec('flash_attn')",
    "import of a known name": "import importlib; importlib.import_module('math')",
}
ANCHOR = "    torch.manual_seed(args.seed)"
CODES = ("TTT001", "TTT002", "SLT001", "NGR001", "MIX001", "PPM001", "VAL001", "VAL004", "EVA005", "CAU001", "NET001", "TIM003")


def test_the_plain_script_has_no_gap() -> None:
    assert analyse_script(TRAIN_GPT).gap() == ""


def test_more_dependencies_than_are_kept_are_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("verifier.program.analysis.Budget", lambda: Budget(labels=20))
    assert analyse_script(TRAIN_GPT).gap().endswith("more than 20 dependencies of values")


@pytest.mark.parametrize("way", COMPUTED)
def test_code_that_the_program_makes_is_a_gap(way: str) -> None:
    found = record("Computed", after(ANCHOR, COMPUTED[way]))
    assert analyse_script(found.script).gap()
    passed = [code for code in CODES if result_of(judge(found, code), code).outcome.value == "pass"]
    assert passed == []


@pytest.mark.parametrize("way", KNOWN)
def test_code_that_can_be_read_is_none(way: str) -> None:
    assert analyse_script(record("Known", after(ANCHOR, KNOWN[way])).script).gap() == ""


def test_a_helper_that_is_not_in_the_folder_is_a_gap() -> None:
    found = record("Missing", after("import torch", "from .my_kernels import fuse"))
    assert "my_kernels" in analyse_script(found.script).gap()
    passed = [code for code in CODES if result_of(judge(found, code), code).outcome.value == "pass"]
    assert passed == []


def test_data_handed_to_an_unknown_package_is_a_gap() -> None:
    found = record(
        "Foreign", after("import torch", "import my_trainer"), after("    model = Model(args)", "my_trainer.fit(model)")
    )
    assert "my_trainer.fit" in analyse_script(found.script).gap()
    only = record("Imported", after("import torch", "import my_trainer"), after(ANCHOR, "my_trainer.hello(3)"))
    assert analyse_script(only.script).gap() == ""


def test_machine_code_is_a_gap_for_rules_that_do_not_read_it() -> None:
    analysis = analyse_script(record("Native", after(ANCHOR, "import ctypes", "ctypes.CDLL('./helper.so').fill(0)")).script)
    assert "machine code" in analysis.gap()
    assert analysis.gap(native=False) == ""


def test_a_headline_that_no_print_makes_is_not_cleared() -> None:
    found = record(
        "Unmatched",
        ('log(f"final_int8_zlib_roundtrip val', 'log(f"another val'),
        ('log(f"final_int8_zlib_roundtrip_exact', 'log(f"yet_another'),
    )
    for code in ("TTT001", "TTT003", "SLT001", "NGR001"):
        assert result_of(judge(found, code), code).outcome.value != "pass"
