"""What counts as a defect of the script, and what only looks like one."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audits.code.annotations import ANNOTATION_MISMATCH
from audits.code.dtypes import DTYPE_HAZARD
from audits.code.flags import DEAD_FLAG
from audits.code.messages import MESSAGE_CONTRADICTS_CODE
from audits.code.none_checks import NONE_DEREFERENCE
from tests.audits.code.build import decide, lines
from verifier.rule import Outcome

COD = (ANNOTATION_MISMATCH, DEAD_FLAG, NONE_DEREFERENCE, MESSAGE_CONTRADICTS_CODE, DTYPE_HAZARD)


class TestAnnotations:
    @pytest.mark.parametrize(
        ("signature", "returned"),
        [
            ("-> None", "1"),
            ("-> int", "1.5"),
            ("-> str", "None"),
            ("-> 'tuple[int, int]'", "(1, 2, 3)"),
            ("-> Optional[int]", "(1, 2)"),
            ("-> torch.Tensor", "{}"),
            ("-> list[int] | None", "{1: 2}"),
        ],
    )
    def test_a_return_that_the_annotation_excludes(self, signature: str, returned: str) -> None:
        decision = decide(ANNOTATION_MISMATCH, f"def f(x) {signature}:\n    y = x\n    return {returned}\n")
        assert decision.outcome is Outcome.FAIL
        assert lines(decision) == [1, 3]

    @pytest.mark.parametrize(
        ("signature", "returned"),
        [
            ("-> None", ""),
            ("-> float", "1"),
            ("-> int | None", "None"),
            ("-> Batch", "(1, 2)"),
            ("-> tuple[int, ...]", "(1, 2, 3)"),
            ("-> tuple", "(1, 2)"),
            ("-> tuple[int, int]", "(*x, 1)"),
            ("-> torch.Tensor", "x + 1"),
            ("-> Any", "None"),
            ("-> 'not a type ('", "None"),
            ("-> dict[str, int]", "helper(x)"),
        ],
    )
    def test_a_return_that_may_fit(self, signature: str, returned: str) -> None:
        assert decide(ANNOTATION_MISMATCH, f"def f(x) {signature}:\n    return {returned}\n").outcome is Outcome.PASS

    def test_generators_and_decorated_functions_mean_something_else(self) -> None:
        text = "def f() -> int:\n    yield 1\n    return None\n\n@wraps\ndef g() -> int:\n    return 'a'\n"
        assert decide(ANNOTATION_MISMATCH, text).outcome is Outcome.PASS


GUARD = "try:\n    import brotli\n    HAS = True\nexcept ImportError:\n    HAS = False\n"


class TestFlags:
    def test_an_import_guard_that_nothing_reads(self) -> None:
        decision = decide(DEAD_FLAG, GUARD)
        assert decision.outcome is Outcome.FAIL
        assert lines(decision) == [3, 5]

    @pytest.mark.parametrize(
        "reader", ["print(HAS)", "from other import HAS", "x = globals()['HAS']", "def f(HAS): pass", "module.HAS", "f(HAS=1)"]
    )
    def test_any_reader_counts(self, reader: str) -> None:
        assert decide(DEAD_FLAG, GUARD + reader + "\n", other_py=b"HAS = 1\n").outcome is not Outcome.FAIL

    def test_a_reader_in_a_helper_module_counts(self) -> None:
        text = GUARD + "import helper\n"
        assert decide(DEAD_FLAG, text, helper_py=b"import train_gpt\nprint(train_gpt.HAS)\n").outcome is Outcome.PASS
        assert decide(DEAD_FLAG, text, helper_py=b"x = 1\n").outcome is Outcome.FAIL

    def test_a_setting_under_two_names(self) -> None:
        text = "import os\nold = os.environ.get('DEPTH', '1')\ndepth = int(os.environ.get('DEPTH', '1'))\nprint(depth)\n"
        assert decide(DEAD_FLAG, text).outcome is Outcome.PASS

    def test_settings_that_are_copied_elsewhere_may_be_read(self) -> None:
        text = "import os\nclass H:\n    depth = int(os.environ.get('DEPTH', '1'))\nconfig = dict(vars(H))\nrun(config)\n"
        assert decide(DEAD_FLAG, text).outcome is Outcome.NOT_AVAILABLE


class TestNone:
    @pytest.mark.parametrize(
        "body",
        [
            "if x is None:\n        print('no')\n    return x.size",
            "if x is None:\n        pass\n    y = x[0]",
            "if x is not None:\n        print(1)\n    x(2)",
            "if self.a is None:\n        print('no')\n    if self.a.ready:\n        pass",
        ],
    )
    def test_a_use_right_after_the_test(self, body: str) -> None:
        assert decide(NONE_DEREFERENCE, f"def f(self, x):\n    {body}\n").outcome is Outcome.FAIL

    @pytest.mark.parametrize(
        "body",
        [
            "if x is None:\n        return\n    x.size()",
            "if x is None:\n        raise ValueError\n    x.size()",
            "if x is None:\n        sys.exit(1)\n    x.size()",
            "if x is None:\n        x = make()\n    x.size()",
            "if self.a is None:\n        self.build()\n    self.a.size()",
            "if x is None:\n        print(1)\n    return x.size if x else 0",
            "if x is None:\n        print(1)\n    return x and x.size",
            "if x is None:\n        print(1)\n    if x is not None:\n        x.size()",
            "if x is None:\n        print(1)\n    try:\n        x.size()\n    except AttributeError:\n        pass",
            "if x is None:\n        print(1)\n    x = make()\n    x.size()",
            "if x is None:\n        print(1)\n    def later():\n        return x.size()",
            "if x is None:\n        print(1)\n    assert x\n    x.size()",
            "if x is None:\n        print(1)\n    f = lambda: x.size()",
            "if x is None and y:\n        print(1)\n    x.size()",
        ],
    )
    def test_a_use_that_is_guarded_or_set(self, body: str) -> None:
        assert decide(NONE_DEREFERENCE, f"def f(self, x):\n    {body}\n").outcome is Outcome.PASS


class TestMessages:
    def test_a_compressor_that_is_never_called(self) -> None:
        decision = decide(MESSAGE_CONTRADICTS_CODE, "import lzma\nprint(f'int8+zlib: {1} bytes')\nlzma.compress(b'')\n")
        assert decision.outcome is Outcome.FAIL
        assert lines(decision) == [2, 3]

    @pytest.mark.parametrize(
        "text",
        [
            "import lzma, zlib\nprint('int8+zlib')\nlzma.compress(b'')\nzlib.compress(b'')\n",
            "import lzma\nprint('lzma instead of zlib')\nlzma.compress(b'')\n",
            "import lzma\nname = 'zlib'\nlzma.compress(b'')\n",
            "import importlib, lzma\nprint('int8+zlib')\nlzma.compress(b'')\nimportlib.import_module(name).compress(b'')\n",
            "print('int8+zlib')\n",
        ],
    )
    def test_messages_that_agree_or_can_not_be_judged(self, text: str) -> None:
        assert decide(MESSAGE_CONTRADICTS_CODE, text).outcome is Outcome.PASS


class TestDtypes:
    @pytest.mark.parametrize(
        ("argument", "outcome"),
        [
            ("q.float()", Outcome.FAIL),
            ("q.to(torch.float32).transpose(1, 2)", Outcome.FAIL),
            ("q.float().to(v.dtype)", Outcome.PASS),
            ("q.float().bfloat16()", Outcome.PASS),
            ("q.to(device)", Outcome.PASS),
            ("q", Outcome.PASS),
        ],
    )
    def test_casts_on_the_way(self, argument: str, outcome: Outcome) -> None:
        text = f"import torch\nfrom flash_attn import flash_attn_func\ndef f(x, q, k, v):\n    x = x.bfloat16()\n    return flash_attn_func({argument}, k, v)\n"
        assert decide(DTYPE_HAZARD, text).outcome is outcome

    def test_a_cast_under_a_condition_is_not_proof(self) -> None:
        text = "from flash_attn import flash_attn_func\ndef f(q, k, v, fast):\n    if fast:\n        q = q.float()\n    else:\n        q = q.half()\n    return flash_attn_func(q, k, v)\n"
        assert decide(DTYPE_HAZARD, text).outcome is Outcome.PASS

    def test_nothing_in_the_program_lowers_the_dtype(self) -> None:
        text = "from flash_attn import flash_attn_func\ndef f(q, k, v):\n    return flash_attn_func(q, k, v)\n"
        assert decide(DTYPE_HAZARD, text).outcome is Outcome.FAIL


@pytest.mark.parametrize("rule", COD, ids=lambda rule: rule.code)
class TestEvidence:
    def test_a_script_that_does_not_parse_is_not_judged(self, rule) -> None:  # type: ignore[no-untyped-def]
        assert decide(rule, "def broken(:\n").outcome is Outcome.NOT_AVAILABLE

    def test_a_payload_that_can_not_be_unwrapped_is_not_passed(self, rule) -> None:  # type: ignore[no-untyped-def]
        assert decide(rule, "import urllib\nexec(decode(open('a.bin').read()))\n").outcome is not Outcome.FAIL


_NODES = st.sampled_from(
    [
        "x is None",
        "x.y",
        "None",
        "f(x)",
        "x[0]",
        "lambda: x",
        "(1, 2)",
        "[i for i in x]",
        "x.float()",
        "'zlib'",
        "f'{x}'",
        "-x",
        "x if x else y",
    ]
)
_STATEMENTS = st.one_of(
    _NODES,
    st.builds("x = {}".format, _NODES),
    st.builds("if {}:\n        {}\n    else:\n        x = 1".format, _NODES, _NODES),
    st.builds("return {}".format, _NODES),
    st.builds("for i in {}:\n        {}".format, _NODES, _NODES),
    st.builds("with {} as z:\n        {}".format, _NODES, _NODES),
    st.builds("print({})".format, _NODES),
)


@given(st.lists(_STATEMENTS, max_size=6), st.sampled_from(["", " -> int", " -> tuple[int, int]", " -> None"]))
def test_the_rules_answer_on_any_program(body: list[str], annotation: str) -> None:
    text = f"from flash_attn import f\ndef g(x, y){annotation}:\n    " + "\n    ".join([*body, "pass"]) + "\n"
    ast.parse(text)
    for rule in COD:
        first, second = decide(rule, text), decide(rule, text)
        assert first == second
        assert first.outcome is not Outcome.ERROR
