"""Unwrapping packed scripts: every codec and runner, several layers, and what is rightly left alone."""

from __future__ import annotations

import base64
import json
import lzma
import textwrap
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.submission.packing import COMPRESSORS, ENCODERS, IMPORTS, PROGRAM, packed_expression, packed_script
from verifier.limits import DEFAULT_LIMITS
from verifier.submission.layers import Unwrapped, unwrap

XZ = "".join(base64.b85encode(lzma.compress(PROGRAM.encode())).decode())


def unpack(text: str, siblings: dict[str, bytes] | None = None) -> Unwrapped:
    files = {"train_gpt.py": text.encode(), **(siblings or {})}
    return unwrap("train_gpt.py", textwrap.dedent(text), files, DEFAULT_LIMITS)


def only_program(result: Unwrapped) -> None:
    assert [layer.text for layer in result.layers] == [PROGRAM]
    assert result.layers[0].main
    assert result.problems == ()


@pytest.mark.parametrize("compressor", sorted(COMPRESSORS))
def test_each_compressor(compressor: str) -> None:
    result = unpack(packed_script(PROGRAM, compressor))
    only_program(result)
    layer = result.layers[0]
    assert layer.codec == f"base85+{COMPRESSORS[compressor][2]}"
    assert (layer.index, layer.runner, layer.source.line, layer.source.layer) == (1, "exec", 3, 0)
    assert layer.bytes == len(PROGRAM)


@pytest.mark.parametrize("encoder", sorted(ENCODERS))
def test_each_text_encoding(encoder: str) -> None:
    result = unpack(packed_script(PROGRAM, "zlib", encoder))
    only_program(result)
    assert result.layers[0].codec == f"{encoder}+zlib"


def test_raw_bytes_literal() -> None:
    packed = zlib.compress(PROGRAM.encode())
    only_program(unpack(f"import zlib\nexec(zlib.decompress({packed!r}))\n"))


@pytest.mark.parametrize(
    ("name", "script", "runner"),
    [
        ("aliases", "import lzma as L, base64 as B\nexec(L.decompress(B.b85decode({payload!r})))", "exec"),
        ("from-import", "from lzma import decompress as d\nfrom base64 import b85decode as b\nexec(d(b({payload!r})))", "exec"),
        ("decode", "import lzma, base64\nexec(lzma.decompress(base64.b85decode({payload!r})).decode('utf-8'))", "exec"),
        ("bytes", "import lzma, base64\nexec(lzma.decompress(base64.b85decode({payload!r}.encode())))", "exec"),
        ("compile", "import lzma, base64\ns = lzma.decompress(base64.b85decode({payload!r}))\nexec(compile(s, __file__, 'exec'))", "compile"),
        ("code-name", "import lzma, base64\nc = compile(lzma.decompress(base64.b85decode({payload!r})), 'x', 'exec')\nexec(c)", "compile"),
        ("globals", "import lzma, base64\nexec(lzma.decompress(base64.b85decode({payload!r})), globals())", "exec"),
        ("main-namespace", "import lzma, base64\nexec(lzma.decompress(base64.b85decode({payload!r})), {{'__name__': '__main__'}})", "exec"),
        ("renamed-exec", "import lzma, base64\nrun = exec\nrun(lzma.decompress(base64.b85decode({payload!r})))", "exec"),
        ("builtins", "import builtins, lzma, base64\nbuiltins.exec(lzma.decompress(base64.b85decode({payload!r})))", "exec"),
        ("getattr", "import builtins, lzma, base64\ngetattr(builtins, 'ex' + 'ec')(lzma.decompress(base64.b85decode({payload!r})))", "exec"),
        ("__import__", "exec(__import__('lzma').decompress(__import__('base64').b85decode({payload!r})))", "exec"),
        ("helper", "import lzma, base64\ndef u(x):\n    return lzma.decompress(base64.b85decode(x)).decode()\nexec(u({payload!r}))", "exec"),
        ("lambda", "import lzma, base64\nu = lambda x: lzma.decompress(base64.b85decode(x))\nexec(u({payload!r}))", "exec"),
        (
            "in-main",
            "import lzma, base64\nP = {payload!r}\ndef main():\n    exec(lzma.decompress(base64.b85decode(P)))\nif __name__ == '__main__':\n    main()",
            "exec",
        ),
        (
            "linecache",
            "import lzma as L, base64 as B, linecache as C\nS = L.decompress(B.b85decode({payload!r})).decode()\nF = __file__ + '.py'\n"
            "C.cache[F] = (len(S), None, S.splitlines(True), F)\nexec(compile(S, F, 'exec'))",
            "compile",
        ),
        (
            "runpy",
            "import lzma, base64, os, sys, runpy, tempfile\nc = lzma.decompress(base64.b85decode({payload!r}))\nd = tempfile.mkdtemp()\n"
            "f = os.path.join(d, 'train.py')\nopen(f, 'wb').write(c)\nrunpy.run_path(f, run_name='__main__')",
            "runpy",
        ),
        (
            "beside-the-script",
            "import lzma, base64, os, runpy\nc = lzma.decompress(base64.b85decode({payload!r}))\n"
            "d = os.path.join(os.path.dirname(os.path.abspath(__file__)), '_train.py')\nwith open(d, 'wb') as f: f.write(c)\n"
            "runpy.run_path(d, run_name='__main__')",
            "runpy",
        ),
        (
            "pathlib",
            "import lzma, base64, runpy\nfrom pathlib import Path\np = Path('/tmp') / 'x.py'\n"
            "p.write_bytes(lzma.decompress(base64.b85decode({payload!r})))\nrunpy.run_path(str(p), run_name='__main__')",
            "runpy",
        ),
        (
            "importlib",
            "import lzma, base64, sys, importlib.util as U\np = '/tmp/inner.py'\nwith open(p, 'wb') as f:\n"
            "    f.write(lzma.decompress(base64.b85decode({payload!r})))\ns = U.spec_from_file_location('__main__', p)\n"
            "m = U.module_from_spec(s)\nsys.modules['__main__'] = m\ns.loader.exec_module(m)",
            "importlib",
        ),
        (
            "subprocess",
            "import lzma, base64, sys, subprocess\nopen('/tmp/t.py', 'wb').write(lzma.decompress(base64.b85decode({payload!r})))\n"
            "subprocess.run([sys.executable, '/tmp/t.py'], check=True)",
            "file",
        ),
        (
            "exec-of-written",
            "import lzma, base64\nopen('/tmp/t.py', 'wb').write(lzma.decompress(base64.b85decode({payload!r})))\nexec(open('/tmp/t.py').read())",
            "exec",
        ),
    ],
)  # fmt: skip
def test_each_runner(name: str, script: str, runner: str) -> None:
    result = unpack(script.format(payload=XZ))
    only_program(result)
    assert result.layers[0].runner == runner


@pytest.mark.parametrize(
    "form",
    [
        "P = ({halves})\nX = P",
        "A = {first!r}\nB = {second!r}\nX = A + B",
        "X = ''.join([{first!r}, {second!r}])",
        "PARTS = ({first!r}, {second!r})\nX = ''.join(PARTS)",
        "X = '!!' + {whole!r} + '??'\nX = X[2:-2]",
        "X = {reversed!r}[::-1]",
        "X = {spaced!r}.replace('~~~', '')",
        "X = '''\n{lines}\n'''.replace('\\n', '')",
        "X = ''\nfor part in [{first!r}, {second!r}]:\n    X += part",
        "X = ''.join(p for p in ({first!r}, {second!r}))",
        "PARTS = []\nPARTS.append({first!r})\nPARTS.append({second!r})\nX = ''.join(PARTS)",
        "D = {{'a': {first!r}, 'b': {second!r}}}\nX = D['a'] + D['b']",
        "X, Y = {whole!r}, 3",
        "X = f'{{{first!r}}}{{{second!r}}}'",
        "X = {whole!r} if True else ''",
        "def part(n):\n    if n == 0:\n        return {first!r}\n    return {second!r}\nX = part(0) + part(1)",
    ],
)
def test_how_the_literal_is_put_together(form: str) -> None:
    half = len(XZ) // 2
    body = form.format(
        halves=f"{XZ[:half]!r} {XZ[half:]!r}",
        first=XZ[:half],
        second=XZ[half:],
        whole=XZ,
        reversed=XZ[::-1],
        spaced="~~~".join((XZ[:40], XZ[40:])),
        lines="\n".join(XZ[start : start + 80].replace("\\", "\\\\") for start in range(0, len(XZ), 80)),
    )
    only_program(unpack(f"import lzma, base64\n{body}\nexec(lzma.decompress(base64.b85decode(X)))\n"))


def test_layers_inside_layers() -> None:
    inner = packed_script(PROGRAM, "zlib", "base64")
    result = unpack(packed_script(inner, "lzma-raw"))
    assert [(layer.index, layer.codec, layer.source.layer) for layer in result.layers] == [
        (1, "base85+lzma-raw", 0),
        (2, "base64+zlib", 1),
    ]
    assert result.layers[1].text == PROGRAM
    assert result.problems == ()


def test_an_inner_layer_sees_what_the_outer_one_unpacked() -> None:
    inner = "exec(SOURCE)\nimport runpy\nrunpy.run_path('/tmp/part.py')\n"
    part = base64.b64encode(zlib.compress(b"PART = 1\n")).decode()
    script = (
        f"{IMPORTS}SOURCE = {packed_expression(PROGRAM, 'zlib')}\n"
        f"open('/tmp/part.py', 'wb').write(zlib.decompress(base64.b64decode({part!r})))\n"
        f"exec({packed_expression(inner)})\n"
    )
    result = unpack(script)
    assert result.problems == ()
    assert [(layer.text, layer.source.layer) for layer in result.layers] == [(inner, 0), (PROGRAM, 1), ("PART = 1\n", 1)]


def test_codec_chain_is_named_outermost_first() -> None:
    double = base64.b64encode(zlib.compress(base64.b85encode(lzma.compress(PROGRAM.encode())))).decode()
    script = (
        f"import lzma, base64, zlib\nexec(lzma.decompress(base64.b85decode(zlib.decompress(base64.b64decode({double!r})))))\n"
    )
    assert unpack(script).layers[0].codec == "base64+zlib+base85+xz"


def test_payload_in_a_sibling_file() -> None:
    script = "import lzma, pathlib\nexec(lzma.decompress(pathlib.Path(__file__).with_suffix('.py.lzma').read_bytes()))\n"
    result = unpack(script, {"train_gpt.py.lzma": lzma.compress(PROGRAM.encode())})
    only_program(result)
    assert result.layers[0].codec == "file+xz"


def test_bundle_of_files_in_a_sibling() -> None:
    bundle = lzma.compress(json.dumps({"train.py": PROGRAM, "kernel.cu": "__global__ void k() {}\n" * 30}).encode())
    script = """
        import lzma, json, os
        with open(os.path.join(os.path.dirname(__file__), "code.lzma"), "rb") as f:
            bundle = json.loads(lzma.decompress(f.read()))
        for name, code in bundle.items():
            with open(os.path.join(os.path.dirname(__file__), name), "w") as f:
                f.write(code)
        exec(compile(bundle["train.py"], "train.py", "exec"))
    """
    result = unpack(script, {"code.lzma": bundle})
    assert [layer.text for layer in result.layers if layer.runner == "compile"] == [PROGRAM]
    assert set(result.written) == {"train.py", "kernel.cu"}


@pytest.mark.parametrize(
    ("script", "runner"),
    [
        ("exec(open(__file__.replace('train_gpt.py', 'inner.py')).read())\n", "exec"),
        ("import runpy, os\nrunpy.run_path(os.path.join(os.path.dirname(__file__), 'inner.py'), run_name='__main__')\n", "runpy"),
        (
            "from pathlib import Path\nexec(compile((Path(__file__).parent / 'inner.py').read_text(), 'inner.py', 'exec'))\n",
            "compile",
        ),
        ("import subprocess, sys\nsubprocess.check_call([sys.executable, 'inner.py'])\n", "subprocess"),
        (
            "import runpy\nfrom pathlib import Path\ndef go(name):\n    here = Path(__file__).resolve().parent\n"
            "    runpy.run_path(str(here / name), run_name='__main__')\ndef main():\n    go('inner.py')\nmain()\n",
            "runpy",
        ),
    ],
)
def test_redirects_to_another_file(script: str, runner: str) -> None:
    result = unpack(script, {"inner.py": PROGRAM.encode()})
    assert [(found.path, found.runner, found.found) for found in result.references] == [("inner.py", runner, True)]
    assert result.layers == ()
    assert result.problems == ()


def test_a_file_outside_of_the_folder_is_opaque() -> None:
    script = "import runpy\nfrom pathlib import Path\nrunpy.run_path(str(Path(__file__).resolve().parents[3] / 'records' / 'a' / 'b' / 'train_gpt.py'))\n"
    (problem,) = unpack(script).problems
    assert problem.kind == "layer-opaque"
    assert "records/a/b/train_gpt.py" in problem.message


@pytest.mark.parametrize(
    "script",
    [
        "import os\nexec(os.environ['CODE'])",
        "import urllib.request\nexec(urllib.request.urlopen('https://example.org/x.py').read())",
        "import sys\nexec(sys.stdin.read())",
        "import zlib, base64\nkey = input()\nexec(zlib.decompress(bytes(b ^ ord(key) for b in base64.b64decode('AAAA'))))",
        "import marshal, base64\nexec(marshal.loads(base64.b64decode('4wAAAAA=')))",
        "getattr(__builtins__, name)(payload)",
        "list(map(exec, ['print(1)']))",
        "def later(code):\n    exec(code)\n",
        "class Runner:\n    def go(self, code):\n        exec(code)\n",
        "handlers = {'run': exec}\n",
        "import random\nsource = 'a = 1' if random.random() < 0.5 else 'a = 2'\nexec(source)",
        "source = 'a = 1'\nimport random\nif random.random() < 0.5:\n    source = 'a = 2'\nexec(source)",
        "source = 'a = 1'\ntry:\n    1 / 0\nexcept ZeroDivisionError:\n    source = 'a = 2'\nexec(source)",
        "source = 'a = 1'\nfor n in range(int(input())):\n    source = source + 'b'\nexec(source)",
        "import importlib.util, sys\ns = importlib.util.spec_from_file_location('x', sys.argv[1])\nm = importlib.util.module_from_spec(s)\ns.loader.exec_module(m)",
        "import lzma, base64\nexec(lzma.decompress(base64.b85decode('not a payload at all')))",
        "().__class__.__base__.__subclasses__()[104].load_module('os').system('id')",
        "run = lambda code: exec(code)\nrun(open('/etc/passwd').read())",
        "import runpy\nif x:\n    open('a.py', 'w').write('a = 1')\nelse:\n    open('a.py', 'w').write('b = 1')\nrunpy.run_path('a.py')",
    ],
)
def test_what_does_not_follow_from_the_text_is_opaque(script: str) -> None:
    kinds = {problem.kind for problem in unpack(script).problems}
    assert kinds == {"layer-opaque"}


@pytest.mark.parametrize(
    "script",
    [
        "import torch\nmodel = torch.compile(model, dynamic=False, fullgraph=True)\nmodel.eval()\n",
        "import re\npattern = re.compile(r'val_bpb:(.*)')\n",
        "def eval(model):\n    return model\n\neval(3)\n",
        "class Model:\n    def eval(self):\n        return self\n    def exec(self):\n        return self.eval()\n\nModel().exec()\n",
        "import zlib, torch\nblob = open('final_model.int8.ptz', 'rb').read()\nstate = torch.load(zlib.decompress(blob))\n",
        "import triton\n@triton.autotune(configs=[], key=['n'])\n@triton.jit\ndef kernel(x):\n    pass\n",
        "wrapper = b'import lzma as L,base64 as B\\nexec(L.decompress(B.b85decode(\"' + encoded + b'\")))\\n'\n",
        "import subprocess, sys\nprint(subprocess.run(['nvidia-smi'], check=False).stdout)\nsubprocess.run([sys.executable, __file__])\n",
        "if False:\n    exec(unknown)\n",
        "import importlib\ntry:\n    fa = importlib.import_module('flash_attn_interface')\nexcept ImportError:\n    fa = None\n",
        "PIECE = 'x' * 300\nfrom base64 import b64encode\nprint(b64encode(PIECE.encode()))\n",
    ],
)
def test_ordinary_code_is_no_layer(script: str) -> None:
    result = unpack(script)
    assert result.layers == ()
    assert result.problems == ()
    assert result.references == ()


def test_a_snippet_does_not_replace_the_script() -> None:
    script = PROGRAM + "\nexec('import json')\n"
    result = unpack(script)
    assert [(layer.codec, layer.main) for layer in result.layers] == [("literal", False)]


def test_embedded_modules_do_not_replace_the_script() -> None:
    module = "def helper():\n    return 1\n"
    script = f"""
import sys, types

def install(name, source):
    module = types.ModuleType(name)
    sys.modules[name] = module
    exec(compile(source, name, 'exec'), module.__dict__)

install('helpers.one', {module!r})
install('helpers.two', {module + "VALUE = 2"!r})
{PROGRAM}
"""
    result = unpack(script)
    assert [layer.text for layer in result.layers] == [module, module + "VALUE = 2"]
    assert not any(layer.main for layer in result.layers)
    assert result.problems == ()


def test_packed_data_is_listed_and_not_opaque() -> None:
    table = base64.b64encode(zlib.compress(bytes(range(256)) * 40)).decode()
    noise = base64.b64encode(bytes((n * 7919 + n // 3) % 256 for n in range(900))).decode()
    script = f"{IMPORTS}TABLE = zlib.decompress(base64.b64decode({table!r}))\nNOISE = base64.b64decode({noise!r})\n{PROGRAM}"
    result = unpack(script)
    assert [(layer.codec, layer.runner, layer.text, layer.main) for layer in result.layers][-1:] == [
        ("base64", "data", None, False)
    ]
    assert result.problems == ()


def test_a_syntax_error_in_the_payload_is_located_in_its_layer() -> None:
    result = unpack(packed_script("import os\nprint('a'\n"))
    assert result.syntax_error is not None
    assert result.syntax_error.location.layer == 1
    assert result.syntax_error.kind == "syntax-error"


def test_nested_quotes_of_python_312_are_no_error() -> None:
    assert unpack(packed_script('names = [\'a\']\nprint(f"{", ".join(names)}")\n')).syntax_error is None


@settings(max_examples=60)
@given(
    st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\x00"), max_size=400),
    st.lists(st.tuples(st.sampled_from(sorted(COMPRESSORS)), st.sampled_from(sorted(ENCODERS))), min_size=1, max_size=3),
)
def test_whatever_is_packed_comes_out(comment: str, chain: list[tuple[str, str]]) -> None:
    """Packing and unwrapping are inverse, through any chain of layers."""
    text = PROGRAM + f"\nCOMMENT = {comment!r}\n"
    packed = text
    for compressor, encoder in chain:
        packed = packed_script(packed, compressor, encoder)
    result = unpack(packed)
    assert result.problems == ()
    assert len(result.layers) == len(chain)
    assert result.layers[-1].text == text


@settings(max_examples=80)
@given(st.text(max_size=300), st.integers(0, 4))
def test_no_text_crashes_it(noise: str, shape: int) -> None:
    expression = packed_expression(PROGRAM, "zlib")
    script = (
        noise,
        f"import zlib, base64\nexec({noise})\n",
        f"import zlib, base64\nx = {noise!r}\nexec(x)\n",
        f"import zlib, base64\nx = {expression}\n{noise}\nexec(x)\n",
        f"exec({noise!r}.encode().decode('latin-1')[::2] + str({len(noise)}))",
    )[shape]
    first, second = unpack(script), unpack(script)
    assert first.layers == second.layers
    assert first.problems == second.problems
