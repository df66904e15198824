"""C is read as far as data can be followed through it; anything else is a problem, never a crash."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifier.program.c_reader import CExpr, read_functions
from verifier.program.c_reader_flow import MIXED, SPREAD, FunctionFlow, Output
from verifier.program.c_reader_tokens import tokenize

TOKEN = frozenset({"token"})
SCORE = frozenset({"score"})


def _outputs(text: str, name: str, **elements: frozenset[str]) -> list[Output]:
    functions, problems = read_functions(text)
    assert problems == ()
    flow = FunctionFlow({function.name: function for function in functions})
    flow.run(name, elements)
    assert not flow.exhausted
    return flow.outputs


def _guards(output: Output) -> frozenset[str]:
    return frozenset(mark for _, marks in output.conditions for mark in marks)


def test_functions_have_names_lines_and_parameters() -> None:
    text = "#include <math.h>\n#define TWO(x) \\\n  (x + x)\nstatic inline uint64_t fold(const uint64_t *keys, size_t n) {\n  return keys[0] % n;\n}\n"
    functions, problems = read_functions(text)
    assert problems == ()
    (fold,) = functions
    assert (fold.name, fold.line) == ("fold", 4)
    assert [(one.name, one.pointer) for one in fold.parameters] == [("keys", True), ("n", False)]
    assert fold.body[0].value is not None
    assert fold.body[0].value.text == "%"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a + b * c", "(+ a (* b c))"),
        ("a << 2 & m", "(& (<< a 2) m)"),
        ("(uint64_t)tok * base", "(* tok base)"),
        ("*left - -right", "(- (unary* left) (unary- right))"),
        ("hit ? p->top[i] : q.low", "(? hit ([] (top p) i) (low q))"),
        ("x += f(a, &b)", "(+= x (f a (unary& b)))"),
    ],
)
def test_expressions_bind_as_in_c(text: str, expected: str) -> None:
    functions, problems = read_functions(f"void f(int x) {{ {text}; }}")
    assert problems == ()
    value = functions[0].body[0].value
    assert value is not None
    assert _shown(value) == expected


def _shown(value: CExpr) -> str:
    return f"({value.text} {' '.join(_shown(one) for one in value.args)})" if value.args else value.text


LOOP = """
typedef struct { uint32_t count; uint16_t top; } Row;
static Row rows[1024];
static void learn(Row *row, uint16_t token) { row->count += 1; row->top = token; }
int run(const uint16_t *tokens, int64_t n, const uint8_t *kind, uint16_t *best, uint8_t *valid) {
    uint64_t context = 0;
    for (int64_t i = 0; i < n; ++i) {
        const uint16_t token = tokens[i];
        Row *row = &rows[context & 1023];
        BODY
        learn(row, token);
        context = context * 31 + token;
    }
    return 0;
}
"""


def test_what_is_learned_after_the_output_is_no_peek() -> None:
    outputs = _outputs(LOOP.replace("BODY", "best[i] = row->top; valid[i] = row->count > 1;"), "run", tokens=TOKEN)
    assert [(one.parameter, one.value, _guards(one), one.by_position) for one in outputs] == [
        ("best", frozenset(), frozenset(), True),
        ("valid", frozenset(), frozenset(), True),
    ]


@pytest.mark.parametrize(
    "body",
    [
        "if (kind[token]) { best[i] = row->top; }",
        "if (kind[token]) continue; best[i] = row->top;",
        "uint8_t inside = !kind[token]; while (inside) { best[i] = row->top; break; }",
        "learn(row, token); if (row->top > 3) best[i] = 1;",
    ],
)
def test_a_condition_on_the_position_s_own_token_is_seen(body: str) -> None:
    outputs = _outputs(LOOP.replace("BODY", body), "run", tokens=TOKEN)
    assert any(one.parameter == "best" and "token" in _guards(one) for one in outputs)


def test_earlier_positions_are_the_past() -> None:
    outputs = _outputs(LOOP.replace("BODY", "if (i > 0 && kind[tokens[i - 1]]) best[i] = row->top;"), "run", tokens=TOKEN)
    assert all("token" not in _guards(one) | one.value for one in outputs)


SPREADING = """
static double both(double a, double b) { double m = a > b ? a : b; return m + log(exp(a - m) + exp(b - m)); }
static void add(double each, double *total) { *total -= EACH; }
void score(const int64_t *target, const double *nll, int n, const int *lens, double *out) {
    double total = 0;
    for (int i = 0; i < n; i++) { int len = lens[target[i]]; if (len > 0) add(-nll[i] / (double)len, &total); }
    out[0] = total;
}
"""


def test_a_loss_spread_over_its_token_and_mixed_is_followed_through_calls() -> None:
    outputs = _outputs(SPREADING.replace("EACH", "both(each, -5.5)"), "score", target=TOKEN, nll=SCORE)
    assert {SPREAD, MIXED} <= outputs[-1].value


def test_a_loss_per_byte_without_a_mixture_is_not_mixed() -> None:
    outputs = _outputs(SPREADING.replace("EACH", "each"), "score", target=TOKEN, nll=SCORE)
    assert SPREAD in outputs[-1].value
    assert MIXED not in outputs[-1].value


def test_calls_in_circles_and_deep_nesting_end() -> None:
    assert _outputs("void f(int *a) { g(a); } void g(int *a) { f(a); a[0] = 1; }", "f")
    functions, problems = read_functions("void f() { x = " + "(" * 5000 + "1" + ")" * 5000 + "; }")
    assert functions == ()
    assert problems


@settings(max_examples=150)
@given(st.text(alphabet="abif(){}[];=+-*/&|<>!?:,.0123456789\"' \n#tu", max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    functions, problems = read_functions(f"void f(int *out) {{ {text} }}\nint g(int x) {{ return x; }}")
    assert all(isinstance(problem, str) for problem in problems)
    flow = FunctionFlow({function.name: function for function in functions})
    for function in functions:
        flow.run(function.name, {"out": TOKEN})


@given(st.text(max_size=300))
def test_tokens_keep_their_lines(text: str) -> None:
    lines = text.split("\n")
    for token in tokenize(text):
        assert 1 <= token.line <= len(lines)
