"""Which variables a script reads, in every idiom of real scripts."""

from __future__ import annotations

import textwrap

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifier.limits import DEFAULT_LIMITS
from verifier.program.env_reads import env_reads
from verifier.submission.python_tree import parse_python, source_lines
from verifier.submission.script import EnvRead


def read(text: str) -> tuple[EnvRead, ...]:
    text = textwrap.dedent(text)
    tree, problem = parse_python("train_gpt.py", text, DEFAULT_LIMITS)
    assert problem is None
    assert tree is not None
    return env_reads("train_gpt.py", 0, tree, source_lines(text))


def described(text: str) -> list[tuple[str, str | None, str, str]]:
    return [(found.name, found.default, found.kind, found.target) for found in read("import os\n" + textwrap.dedent(text))]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("x = int(os.environ.get('A', 1337))", ("A", "1337", "int", "x")),
        ("x = int(os.environ.get('A', '1337'))", ("A", "1337", "int", "x")),
        ("x = float(os.environ.get('A', '1e-3'))", ("A", "1e-3", "float", "x")),
        ("x = float(os.environ.get('A', -0.5))", ("A", "-0.5", "float", "x")),
        ("x = int(os.environ.get('A', 2 * 1024))", ("A", "2048", "int", "x")),
        ("x = bool(int(os.environ.get('A', '0')))", ("A", "0", "bool", "x")),
        ("x = int(os.environ.get('A', '0')) == 1", ("A", "0", "bool", "x")),
        ("x = not int(os.environ.get('A', '0'))", ("A", "0", "bool", "x")),
        ("x = os.environ.get('A', '0') == '1'", ("A", "0", "bool", "x")),
        ("x = os.environ.get('A', '1') != '0'", ("A", "1", "bool", "x")),
        ("x = os.environ.get('A', 'True').strip().lower() in ('1', 'true', 'yes')", ("A", "True", "bool", "x")),
        ("x = bool(os.environ.get('A'))", ("A", None, "bool-trap", "x")),
        ("x = bool(os.environ.get('A', ''))", ("A", "", "bool-trap", "x")),
        ("x = os.environ.get('A', 'brotli')", ("A", "brotli", "str", "x")),
        ("x = os.environ.get('A', 'muon') == 'muon'", ("A", "muon", "str", "x")),
        ("x = os.environ['A']", ("A", None, "str", "x")),
        ("x = int(os.environ['A'])", ("A", None, "int", "x")),
        ("x = os.getenv('A', 'y')", ("A", "y", "str", "x")),
        ("x = os.getenv(key='A', default='y')", ("A", "y", "str", "x")),
        ("x = int(os.environ.get('A') or 12)", ("A", "12", "int", "x")),
        ("x = tuple(p for p in os.environ.get('A', 'a,b').split(',') if p)", ("A", "a,b", "list", "x")),
        ("x = [int(p) for p in os.environ.get('A', '1,2').split(',')]", ("A", "1,2", "list", "x")),
        ("x: int = int(os.environ.get('A', 3))", ("A", "3", "int", "x")),
        ("h.x = int(os.environ.get('A', 3))", ("A", "3", "int", "x")),
        ("h['x'] = int(os.environ.get('A', 3))", ("A", "3", "int", "x")),
        ("h = dict(x=float(os.environ.get('A', 3)))", ("A", "3", "float", "x")),
        ("h = {'x': float(os.environ.get('A', 3))}", ("A", "3", "float", "x")),
        ("x = os.path.join(os.environ.get('A', './data'), 'val')", ("A", "./data", "str", "x")),
        ("x = str2bool(os.environ.get('A', 'no'))", ("A", "no", "bool", "x")),
        ("x = _parse_int_list(os.environ.get('A', '1'))", ("A", "1", "int", "x")),
        ("x = field(default_factory=lambda: int(os.environ.get('A', 3)))", ("A", "3", "int", "x")),
        ("x = int(os.environ.get('A', f'{n}'))", ("A", None, "int", "x")),
        ("x = __import__('os').environ.get('A', 'y')", ("A", "y", "str", "x")),
        ("if os.environ.get('A'): pass", ("A", None, "bool-trap", "")),
        ("if 'A' in os.environ: pass", ("A", None, "other", "")),
        ("os.environ.setdefault('A', '1')", ("A", "1", "str", "")),
    ],
)  # fmt: skip
def test_one_read(line: str, expected: tuple[str, str | None, str, str]) -> None:
    assert described(line) == [expected]


@pytest.mark.parametrize(
    "text",
    [
        "distributed = 'RANK' in os.environ and 'WORLD_SIZE' in os.environ",
        "os.environ['A'] = '1'",
        "os.environ.update(A='1')",
        "parser.add_argument('--lr', type=float, default=0.1)",
        "x = config.get('A', 1)",
        "x = environ_like['A']",
        "name = make()\nx = os.environ.get(name)",
    ],
)
def test_no_read(text: str) -> None:
    assert described(text) == []


@pytest.mark.parametrize(
    ("helper", "call", "expected"),
    [
        ("def env_int(name, default):\n    return int(os.environ.get(name, default))", "env_int('A', 5)", ("A", "5", "int")),
        ("def env_int(name, default):\n    raw = os.environ.get(name)\n    return default if raw is None or raw == '' else int(raw)", "env_int('A', 5)", ("A", "5", "int")),
        ("def _env_bool(name: str, default: bool = False) -> bool:\n    return os.environ.get(name, '1' if default else '0') == '1'", "_env_bool('A', True)", ("A", "True", "bool")),
        ("def _env_bool(name, default=False):\n    raw = os.environ.get(name)\n    if raw is None:\n        return default\n    return raw.lower() in ('1', 'true')", "_env_bool('A')", ("A", "False", "bool")),
        ("def B(k, d):\n    return bool(int(os.environ.get(k, d)))", "B('A', '1')", ("A", "1", "bool")),
        ("def E(k, d):\n    return type(d)(os.environ.get(k, d))", "E('A', 0.5)", ("A", "0.5", "float")),
        ("def E(k, d, cast=str):\n    return cast(os.environ.get(k, d))", "E('A', '3', int)", ("A", "3", "int")),
        ("def E(k, d, cast=str):\n    return cast(os.environ.get(k, d))", "E('A', 'z')", ("A", "z", "str")),
        ("E = lambda k, d: float(os.environ.get(k, str(d)))", "E('A', 2)", ("A", "2", "float")),
        ("_e = os.environ.get", "int(_e('A', 7))", ("A", "7", "int")),
        ("from os import environ as env", "int(env.get('A', 7))", ("A", "7", "int")),
        ("from os import getenv as g", "g('A', '7')", ("A", "7", "str")),
        ("import os as _o", "_o.environ.get('A', '7')", ("A", "7", "str")),
        ("env = os.environ", "float(env['A'])", ("A", None, "float")),
        ("def floats(name, default):\n    return [float(x) for x in os.environ.get(name, default).split(',') if x]", "floats('A', '1,2')", ("A", "1,2", "list")),
        ("def base(n, d):\n    return int(os.environ.get(n, d))\ndef ttt(n, d):\n    return base(f'TTT_{n}', d)", "ttt('LR', 1)", ("TTT_LR", "1", "int")),
        ("class C:\n    @staticmethod\n    def env_int(name, default):\n        return int(os.environ.get(name, default))", "C.env_int('A', 5)", ("A", "5", "int")),
    ],
)  # fmt: skip
def test_helpers_and_aliases(helper: str, call: str, expected: tuple[str, str | None, str]) -> None:
    (found,) = described(f"{helper}\nx = {call}\n")
    assert found == (*expected, "x")


def test_both_names_of_a_fallback_are_read() -> None:
    assert described("x = int(os.environ.get('NEW', os.environ.get('OLD', 7)))") == [
        ("NEW", "7", "int", "x"),
        ("OLD", "7", "int", "x"),
    ]
    helper = """
        def either(primary, fallback, default):
            value = os.environ.get(primary)
            if value is not None:
                return int(value)
            return int(os.environ.get(fallback, default))
        x = either('NEW', 'OLD', 7)
    """
    assert described(helper) == [("NEW", "7", "int", "x"), ("OLD", "7", "int", "x")]


def test_names_and_defaults_of_a_minified_script() -> None:
    script = """
        _F='1';C='ITERATIONS'
        class H:a=bool(int(os.environ.get('A',_F)));b=int(os.environ.get(C,20000))
        def main():
            D='LOCAL_SIZE'
            return int(os.environ.get(D,_F))
    """
    assert described(script) == [("A", "1", "bool", "a"), ("ITERATIONS", "20000", "int", "b"), ("LOCAL_SIZE", "1", "int", "")]


def test_a_name_that_changes_is_no_constant() -> None:
    assert described("d = '1'\nd = '2'\nx = os.environ.get('A', d)") == [("A", None, "str", "x")]


def test_loops_over_literal_lists() -> None:
    assert described("for k in ('A', 'B'):\n    print(os.environ.get(k))") == [("A", None, "other", ""), ("B", None, "other", "")]
    assert described("for k, v in {'A': 1, 'B': 'x'}.items():\n    os.environ.setdefault(k, str(v))") == [
        ("A", "1", "str", ""),
        ("B", "x", "str", ""),
    ]


def test_several_targets_keep_their_own() -> None:
    assert described("a, b = int(os.environ.get('A', 1)), os.environ.get('B')") == [
        ("A", "1", "int", "a"),
        ("B", None, "str", "b"),
    ]


def test_places_are_cited() -> None:
    (found,) = read("import os\n\nclass H:\n    lr = float(os.environ.get('LR', 0.02))\n")
    assert str(found.source) == "train_gpt.py:4"
    assert found.source.excerpt == "lr = float(os.environ.get('LR', 0.02))"


@settings(max_examples=100)
@given(
    st.text("ABCDEFGHIJ_", min_size=1, max_size=20),
    st.one_of(
        st.integers(-(10**9), 10**9), st.floats(allow_nan=False, allow_infinity=False, width=32), st.text("abc,/. ", max_size=12)
    ),
    st.sampled_from(["{}", "int({})", "float({})", "bool(int({}))", "str({}).strip()"]),
)
def test_names_and_defaults_survive(name: str, default: int | float | str, shape: str) -> None:
    (found,) = described(f"x = {shape.format(f'os.environ.get({name!r}, {default!r})')}")
    assert (found[0], found[1]) == (name, default if isinstance(default, str) else str(default))


@settings(max_examples=100)
@given(
    st.lists(
        st.sampled_from(["os.environ", ".get", "('A')", "['B']", " or ", "int(", ")", "\n", "x = ", "lambda k: ", "in ", "k"]),
        max_size=14,
    )
)
def test_any_shape_is_read_without_a_crash(parts: list[str]) -> None:
    text = "import os\n" + "".join(parts)
    tree, _ = parse_python("t.py", text, DEFAULT_LIMITS)
    if tree is not None:
        env_reads("t.py", 0, tree, source_lines(text))
