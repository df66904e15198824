"""Scripts made to exhaust whoever reads them: each is small or cheap to write and valid Python unless its name says otherwise."""

from __future__ import annotations

from collections.abc import Callable


def _main(body: str, before: str = "") -> str:
    """A script that does `body` (already indented by four) when it is run."""
    return f"import os\nimport torch\n{before}\n\ndef main():\n{body}\n\nif __name__ == '__main__':\n    main()\n"


def _nested_blocks(opening: str, depth: int) -> str:
    """One block in another; Python stops at 100 levels."""
    lines = [f"{'    ' * (level + 1)}{opening.format(i=level)}" for level in range(depth)]
    return _main("    x = 1\n" + "\n".join(lines) + f"\n{'    ' * (depth + 1)}x = x + 1")


def _chain_of_calls(count: int, calls: int) -> str:
    """f0 calls f1 `calls` times, and so on: `calls` ** `count` calls when nothing is remembered."""
    functions = [f"def f{i}(x):\n    return {' + '.join([f'f{i + 1}(x)'] * calls)}\n" for i in range(count)]
    return _main("    print(f0(1))", "\n".join([*functions, f"def f{count}(x):\n    return x"]))


ADVERSARIAL: dict[str, Callable[[], str]] = {
    "nothing": lambda: _main("    pass"),
    "parentheses 10,000 deep": lambda: f"x = {'(' * 10_000}1{')' * 10_000}\n",
    "parentheses 180 deep": lambda: f"x = {'(' * 180}1{')' * 180}\n",
    "unary minus 50,000 times": lambda: f"x = {'-' * 50_000}1\n",
    "sum of 100,000 terms": lambda: f"x = {'+'.join(['1'] * 100_000)}\n",
    "sum of 5,000 terms": lambda: f"x = {'+'.join(['a'] * 5_000)}\n",
    "attribute chain of 50,000": lambda: f"import torch\nx = torch{'.nn' * 50_000}\n",
    "attribute chain of 2,000": lambda: f"import torch\nx = torch{'.nn' * 2_000}\n",
    "calls of calls, 2,000": lambda: f"def f(*a):\n    return f\nx = f{'()' * 2_000}\n",
    "subscripts of subscripts, 2,000": lambda: f"x = [[]]\ny = x{'[0]' * 2_000}\n",
    "elif chain of 3,000": lambda: (
        "import os\nv = os.environ.get('V')\nif v == '0':\n    x = 0\n"
        + "".join(f"elif v == '{i}':\n    x = {i}\n" for i in range(1, 3_000))
    ),
    "if 90 deep, unknown": lambda: _nested_blocks("if os.environ['V{i}']:", 90),
    "for 90 deep": lambda: _nested_blocks("for i{i} in range(3):", 90),
    "while 19 deep": lambda: _nested_blocks("while torch.rand(1) > 0.{i}:", 19),
    "with 19 deep": lambda: _nested_blocks("with torch.no_grad():", 19),
    "functions 90 deep": lambda: _nested_blocks("def f{i}(x=1):", 90),
    "assignments, 100,000": lambda: "".join(f"v{i} = {i}\n" for i in range(100_000)),
    "assignments of the one before, 100,000": lambda: "v0 = []\n" + "".join(f"v{i + 1} = v{i}\n" for i in range(100_000)),
    "one name assigned 100,000 times": lambda: "import torch\nx = torch.ones(1)\n" + "x = x + x\n" * 100_000,
    "aliases in a circle": lambda: (
        "a = b = []\na.append(b)\nb.append(a)\nd = {'a': a}\nd['d'] = d\na.append(d)\n" + "a, b = b, [a, b, d]\n" * 500
    ),
    "lists of themselves twice, 2,000 deep": lambda: "x = [1]\n" + "x = [x, x]\n" * 2_000 + "print(x)\n",
    "dicts of themselves twice, 2,000 deep": lambda: "x = {}\n" + "x = {'a': x, 'b': x}\n" * 2_000 + "print(x)\n",
    "lists doubled 200 times": lambda: "x = [1, 2]\n" + "x = x + x\n" * 200 + "y = [*x, *x]\nprint(len(y))\n",
    "unknown branches, 2,000 in a row": lambda: _main(
        "    x = torch.ones(1)\n"
        + "".join(f"    if os.environ['V{i}']:\n        x = x + {i}\n    else:\n        x = x * {i}\n" for i in range(2_000))
    ),
    "one line of 2 MB": lambda: "x = '" + "a" * 2_000_000 + "'\n",
    "one line of 2 MB of code": lambda: "x = 1; " * 290_000 + "\n",
    "comment of 2 MB": lambda: "# " + "a " * 1_000_000 + "\nx = 1\n",
    "dict of 200,000 entries": lambda: "d = {" + ",".join(f"{i}:{i}" for i in range(200_000)) + "}\n",
    "list of 300,000 entries": lambda: "d = [" + ",".join(map(str, range(300_000))) + "]\ns = sum(d)\n",
    "dict nested 150 deep": lambda: "d = " + "{'a': " * 150 + "1" + "}" * 150 + "\n",
    "f-string of 20,000 fields": lambda: "x = 1\nprint(f'" + "{x}" * 20_000 + "')\n",
    "recursion": lambda: _main("    f(3)", "def f(x):\n    return f(x + 1) + f(x - 1) + f(f(x))\n"),
    "mutual recursion of 300": lambda: _main(
        "    f0(3)", "\n".join(f"def f{i}(x):\n    return f{(i + 1) % 300}(x + 1) + f{(i * 7) % 300}(x)\n" for i in range(300))
    ),
    "mutual recursion through methods": lambda: _main(
        "    A().go(B())",
        "class A:\n    def go(self, o):\n        self.o = o\n        return o.go(self)\nclass B(A):\n    def go(self, o):\n        return o.go(self) + super().go(o)\n",
    ),
    "functions that return each other": lambda: _main(
        "    a()()()(a)(b)", "def a(*x):\n    return b\ndef b(*x):\n    return (lambda f: f(f))(lambda f: f(f) or a)\n"
    ),
    "closures, 1,000 deep": lambda: _main(
        "    g = lambda: 1\n    for i in range(1000):\n        g = (lambda h: lambda: h() + h())(g)\n    g()"
    ),
    "partials of partials": lambda: _main(
        "    f = print\n" + "    f = functools.partial(f, f)\n" * 500 + "    f()", "import functools"
    ),
    "calls doubled 60 times": lambda: _chain_of_calls(60, 2),
    "call chain of 3,000": lambda: _chain_of_calls(3_000, 1),
    "functions, 10,000, all called": lambda: (
        "\n".join(f"def f{i}(x):\n    return x + {i}\nf{i}({i})" for i in range(10_000)) + "\n"
    ),
    "functions, 10,000, none called": lambda: "\n".join(f"def f{i}(x):\n    return f{i - 1}(x)\n" for i in range(10_000)),
    "classes, 3,000, each of the one before": lambda: (
        "class C0:\n    def go(self):\n        return 1\n"
        + "".join(f"class C{i}(C{i - 1}):\n    def go(self):\n        return super().go()\n" for i in range(1, 3_000))
        + "C2999().go()\n"
    ),
    "class that inherits from itself": lambda: (
        "class A:\n    pass\nclass B(A):\n    pass\nclass A(B):\n    x = A\nclass B(A):\n    pass\nB().x.y\n"
    ),
    "method that replaces itself": lambda: _main(
        "    a = A()\n    a.f(a)\n    a.f(a)",
        "class A:\n    def f(self, o):\n        self.f = o.f\n        A.f = lambda s, o: o.f(o)\n        return self.f(self)\n",
    ),
    "power towers": lambda: "x = 9 ** 9 ** 9 ** 9\ny = 2 ** 10 ** 10\nz = 1 << 10 ** 12\nw = 10.0 ** 400\n",
    "huge repetitions": lambda: (
        "s = 'a' * 10 ** 11\nt = [0] * 10 ** 11\nu = b'ab' * 2 ** 62\nv = (1,) * 10 ** 10 * 10 ** 10\nw = 'x'.ljust(10 ** 11)\n"
    ),
    "huge formats": lambda: (
        "a = f'{1:>9999999999}'\nb = '%9999999999d' % 1\nc = '{:9999999999}'.format(1)\nd = str(7 ** 10 ** 8)\ne = 'ab'.replace('', 'c' * 10 ** 8) * 100\n"
    ),
    "huge ranges": lambda: _main(
        "    x = list(range(10 ** 15))\n    y = [i * j for i in range(10 ** 9) for j in range(10 ** 9)]\n    s = sum(range(10 ** 12))\n    z = sorted(range(10 ** 12))"
    ),
    "endless loops": lambda: _main(
        "    while True:\n        while True:\n            for x in iter(int, 1):\n                pass"
    ),
    "endless generator": lambda: _main(
        "    print(list(g()), next(g()), sum(g()))", "def g():\n    while True:\n        yield from g()\n        yield 1\n"
    ),
    "comprehensions 12 deep": lambda: "x = [" + " ".join(["i0", *(f"for i{i} in range(100)" for i in range(12))]) + "]\n",
    "star arguments": lambda: _main(
        "    a = [1] * 50\n    f(*a, *a, *[a, *a], **{'k': a}, **dict(j=a))", "def f(*a, **k):\n    return f(*a, *a, **k)\n"
    ),
    "names of one letter, 3,000 deep data flow": lambda: (
        "import torch\nx = torch.ones(1)\n" + "x = torch.where(x > 0, x, x * x)\n" * 3_000 + "print(x.item())\n"
    ),
    "writes in a loop, 2,000": lambda: _main(
        "    t = torch.zeros(9)\n    for i in range(5):\n" + "        t[i] += t.sum()\n" * 2_000 + "    print(t.sum().item())"
    ),
    "losses and updates, 500": lambda: _main(
        "    m = torch.nn.Linear(2, 2)\n    o = torch.optim.SGD(m.parameters(), lr=0.1)\n    for i in range(5):\n"
        + "        l = torch.nn.functional.cross_entropy(m(x), y)\n        l.backward()\n        o.step()\n" * 500
        + "    print(f'final val_bpb:{l.item()}')",
        "x = torch.ones(2, 2)\ny = torch.zeros(2)",
    ),
    "exec of itself": lambda: (
        "import sys\nexec(open(__file__).read())\nexec('exec(open(__file__).read())')\nimport train_gpt\nfrom train_gpt import *\n"
    ),
    "not Python: no closing bracket": lambda: "x = (" * 1_000 + "\n",
    "not Python: null bytes": lambda: "x = 1\0\n" * 100,
    "names of odd characters": lambda: "ℌ = 1\nH = 2\nﬁ = ℌ\nprint(ﬁ, '\\ud800', '\\x00')\n",
}
"""What the script tries -> its text."""
