"""Payloads made to exhaust memory, time or the parser: each ends in a problem, within bounds."""

from __future__ import annotations

import base64
import bz2
import lzma
import time
import zlib
from dataclasses import replace

import brotli
import pytest
import zstandard

from tests.submission.packing import PROGRAM, packed_script
from verifier.evidence import Problem
from verifier.limits import DEFAULT_LIMITS, MIB, Limits
from verifier.submission.layers import Unwrapped, unwrap
from verifier.submission.python_tree import decode_source, measure_shape, parse_python, source_lines

ZEROS = bytes(64 * MIB)
SMALL = replace(DEFAULT_LIMITS, layer_bytes=MIB)


def unpack(text: str, limits: Limits = DEFAULT_LIMITS) -> Unwrapped:
    return unwrap("train_gpt.py", text, {"train_gpt.py": text.encode("utf-8", "replace")}, limits)


def kinds(result: Unwrapped) -> set[str]:
    return {problem.kind for problem in result.problems}


@pytest.mark.parametrize(
    ("data", "expression"),
    [
        (zlib.compress(ZEROS, 9), "zlib.decompress({})"),
        (lzma.compress(ZEROS, preset=0), "lzma.decompress({})"),
        (bz2.compress(ZEROS), "bz2.decompress({})"),
        (brotli.compress(ZEROS, quality=4), "brotli.decompress({})"),
        (zstandard.ZstdCompressor().compress(ZEROS), "zstandard.decompress({})"),
        (zstandard.ZstdCompressor(write_content_size=False).compress(ZEROS), "zstandard.ZstdDecompressor().decompress({})"),
    ],
    ids=["zlib", "xz", "bz2", "brotli", "zstd", "zstd-unsized"],
)
def test_a_bomb_stops_at_the_bound(data: bytes, expression: str) -> None:
    literal = repr(base64.b85encode(data).decode())
    started = time.process_time()
    result = unpack(
        f"import base64, bz2, brotli, lzma, zlib, zstandard\nexec({expression.format(f'base64.b85decode({literal})')})\n"
    )
    assert kinds(result) == {"layer-limit"}
    assert result.layers == ()
    assert time.process_time() - started < 3


def test_a_bomb_that_is_not_executed_does_not_make_the_script_opaque() -> None:
    literal = repr(base64.b85encode(zlib.compress(ZEROS, 9)[:200_000]).decode())
    result = unpack(f"import base64, zlib\nTABLE = zlib.decompress(base64.b85decode({literal}))\n{PROGRAM}")
    assert kinds(result) == {"payload-unreadable"}


def test_a_payload_below_both_bounds_passes() -> None:
    text = PROGRAM + "# " + "x" * 60_000 + "\n"  # ratio far above 200, but small
    result = unpack(packed_script(text), SMALL)
    assert result.problems == ()
    assert result.layers[0].text == text


def test_too_many_layers() -> None:
    text = PROGRAM
    for _ in range(DEFAULT_LIMITS.layer_count + 2):
        text = packed_script(text, "zlib", "base64")
    result = unpack(text)
    assert "layer-limit" in kinds(result)
    assert len(result.layers) == DEFAULT_LIMITS.layer_count


def test_a_script_that_executes_itself_ends() -> None:
    result = unpack("exec(open(__file__).read())\n" + PROGRAM)
    assert len(result.layers) <= DEFAULT_LIMITS.layer_count


@pytest.mark.parametrize(
    "script",
    [
        "x = 'a' * 10 ** 12\nexec(x)",
        "x = 'a' * 4000\nfor i in range(40):\n    x = x + x\nexec(x)",
        "x = 'a' * 100000\nexec(x.replace('a', 'b' * 100000))",
        "x = 'a' * 100000\nexec(x.join([x] * 1000))",
        "x = ',' * 20000000\nexec(''.join(x.split(',')))",
        "x = [0] * 10 ** 9\nexec(str(x))",
        "x = bytes(10 ** 11)\nexec(x)",
        "exec('{:>99999999999}'.format('a'))",
        "exec(chr(1) * (1 << 60))",
        "x = 1\nfor i in range(4000):\n    for j in range(4000):\n        x = x + 1\nexec('a')",
        "def f(n):\n    return f(n) + f(n)\nexec(f(1))",
        "f = lambda g: g(g)\nexec(f(f))",
        "exec(" + "+".join(["'a'"] * 20_000) + ")",
        "exec(" + "(" * 150 + "'a'" + ")" * 150 + ")",
        "exec('a'" + ".strip()" * 5_000 + ")",
    ],
)
def test_computed_values_are_bounded(script: str) -> None:
    started = time.process_time()
    result = unpack(script)
    assert time.process_time() - started < 8
    assert all(layer.bytes < MIB for layer in result.layers)


def test_steps_are_shared_between_the_files_of_a_folder() -> None:
    from verifier.submission.script_reader import read_program

    busy = b"x = 1\nfor i in range(4000):\n    for j in range(4000):\n        x = x + 1\nexec(open('a').read())\n"
    started = time.process_time()
    program = read_program([(f"tool_{number}.py", busy) for number in range(200)], (), DEFAULT_LIMITS)
    assert time.process_time() - started < 10
    assert len(program.others) == 200
    assert all(script.opaque for script in program.others)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("(" * 1_000 + ")" * 1_000, "too-deep"),
        ("[" * 100_000, "too-deep"),
        ("\n".join(" " * depth + "if x:" for depth in range(400)), "too-deep"),
        ("x = 1\x00", "syntax-error"),
        ("def f(:\n", "syntax-error"),
        ("print 'hello'\n", "syntax-error"),
        ("x = " + "-" * 200_000 + "1", "too-deep"),
        ("x = " + "not " * 100_000 + "1", "too-deep"),
        ("x = " + "lambda: " * 50_000 + "1", "too-deep"),
        ("x = a" + ".b" * 200_000, "too-deep"),
        ("x = a" + "()" * 100_000, "too-deep"),
        ("if a:\n  pass\n" + "elif a:\n  pass\n" * 30_000, "too-deep"),
        ("x = [" + "1," * 2_000_000 + "]", "too-large"),
        ("\ud800", "syntax-error"),
    ],
    ids=lambda value: value if len(value) < 20 else "text",
)
def test_parser_traps(text: str, kind: str) -> None:
    started = time.process_time()
    tree, problem = parse_python("x.py", text, DEFAULT_LIMITS)
    assert tree is None
    assert isinstance(problem, Problem)
    assert problem.kind == kind
    assert time.process_time() - started < 5


@pytest.mark.parametrize("quote", ['"', "'", '"""', "'''"])
def test_measuring_is_linear_on_broken_strings(quote: str) -> None:
    text = (quote + "\\" + quote + " ") * 100_000 + "\n" + quote
    started = time.process_time()
    measure_shape(text)
    assert time.process_time() - started < 2


def test_brackets_in_strings_and_comments_are_no_nesting() -> None:
    text = "x = '" + "(" * 500 + "'  # " + "[" * 500 + '\ny = """\n' + "{" * 500 + '\n"""\n'
    assert measure_shape(text).depth == 0
    tree, problem = parse_python("x.py", text, DEFAULT_LIMITS)
    assert tree is not None
    assert problem is None


def test_lines_are_counted_as_python_counts_them() -> None:
    assert source_lines("a\x0cb\u2028c\nd\r\ne\rf") == ["a\x0cb\u2028c", "d", "e", "f"]


@pytest.mark.parametrize(
    ("data", "text", "kind"),
    [
        (b"x = 1\n", "x = 1\n", None),
        (b"\xef\xbb\xbfx = 1\n", "x = 1\n", None),
        ("# -*- coding: latin-1 -*-\nx = 'é'\n".encode("latin-1"), "# -*- coding: latin-1 -*-\nx = 'é'\n", None),
        (b"x = '\xff'\n", "x = '\ufffd'\n", "undecodable"),
        (b"# coding: utf-7\nx = 1\n", "# coding: utf-7\nx = 1\n", "layer-opaque"),
        (b"# coding: rot13\nk = 1\n", "# coding: rot13\nk = 1\n", "layer-opaque"),
    ],
)
def test_source_encodings(data: bytes, text: str, kind: str | None) -> None:
    decoded, problem = decode_source("x.py", data)
    assert decoded == text
    assert (problem.kind if problem else None) == kind
