"""Nothing that runs is lost in silence: a training step on validation tokens is in the trace however it is reached, or the trace
says that it is not complete."""

from __future__ import annotations

import pytest

from tests.program.judge import analyse_script

SETUP = """\
import atexit, contextlib, functools, glob, os, threading
import numpy as np
import torch
import torch.nn.functional as F
from concurrent.futures import ThreadPoolExecutor
m = torch.nn.Linear(4, 4)
opt = torch.optim.SGD(m.parameters(), lr=0.1)
val = torch.from_numpy(np.fromfile(sorted(glob.glob('fineweb_val_*.bin'))[0], dtype=np.uint16))
"""
STEP = "loss = F.cross_entropy(m(val), val); loss.backward(); opt.step()"
FUNCTION = f"def f(*a):\n    {STEP}\n    return 1\n"


def chain(length: int) -> str:
    calls = "".join(f"def f{i}():\n    f{i + 1}()\n" for i in range(length))
    return f"{calls}def f{length}():\n    {STEP}\nf0()\n"


def method(name: str, parameters: str, use: str) -> str:
    return f"class C:\n    def {name}(self{parameters}):\n        {STEP}\n        return 1\n{use}\n"


def recursion(depth: int) -> str:
    return f"def f(n):\n    if n == 0:\n        {STEP}\n        return\n    f(n - 1)\nf({depth})\n"


HIDDEN = {
    "call chain of 20": chain(20),
    "call chain of 60": chain(60),
    "call chain of 300": chain(300),
    "recursion of 3": recursion(3),
    "recursion of 100": recursion(100),
    "mutual recursion": f"def f(n):\n    if n == 0:\n        {STEP}\n        return\n    g(n - 1)\ndef g(n):\n    f(n - 1)\nf(50)\n",
    "fourth iteration only": f"for i in range(5):\n    if i == 3:\n        {STEP}\n",
    "fourth turn of a while": f"i = 0\nwhile i < 5:\n    i += 1\n    if i == 4:\n        {STEP}\n",
    "fifth call of a method": f"class C:\n    n = 0\n    def go(self):\n        self.n += 1\n        if self.n == 5:\n            {STEP}\nc = C()\nfor i in range(9):\n    c.go()\n",
    "table of functions": FUNCTION + "{'a': f}[os.environ.get('M', 'a')]()\n",
    "getattr": method("f", "", "getattr(C(), 'f')()"),
    "getattr of a computed name": method("f", "", "getattr(C(), 'F'.lower())()"),
    "globals": FUNCTION + "globals()['f']()\n",
    "exec of text": f"exec('''{STEP}''')\n",
    "eval of text": FUNCTION + "eval('f()')\n",
    "decorator": f"def d(g):\n    {STEP}\n    return g\n@d\ndef f():\n    pass\n",
    "class body": f"class C:\n    {STEP}\n",
    "default argument": FUNCTION + "def g(x=f()):\n    pass\n",
    "map": FUNCTION + "list(map(f, [1, 2]))\n",
    "sort key": FUNCTION + "sorted([1, 2], key=f)\n",
    "thread": FUNCTION + "t = threading.Thread(target=f)\nt.start()\nt.join()\n",
    "executor": FUNCTION + "with ThreadPoolExecutor() as p:\n    p.submit(f)\n",
    "at exit": FUNCTION + "atexit.register(f)\n",
    "missing attribute": method("__getattr__", ", n", "C().foo"),
    "context entered": method("__enter__", "", "with C():\n    pass"),
    "context left": method("__exit__", ", *a", "with C():\n    pass"),
    "iteration": f"class C:\n    def __iter__(self):\n        {STEP}\n        yield 1\nfor x in C():\n    pass\n",
    "context manager": f"@contextlib.contextmanager\ndef f():\n    {STEP}\n    yield\nwith f():\n    pass\n",
    "property": f"class C:\n    @property\n    def p(self):\n        {STEP}\n        return 1\nC().p\n",
    "addition": method("__add__", ", o", "C() + 1"),
    "item": method("__getitem__", ", o", "C()[1]"),
    "truth": method("__bool__", "", "if C():\n    pass"),
    "length": method("__len__", "", "len(C())"),
    "call": method("__call__", "", "C()()"),
    "setting an attribute": method("__setattr__", ", n, v", "C().x = 1"),
    "generator": f"def g():\n    for i in range(3):\n        {STEP}\n        yield i\nfor x in g():\n    pass\n",
    "next of a generator": f"def g():\n    {STEP}\n    yield 1\nnext(g())\n",
    "handler": f"try:\n    raise ValueError\nexcept ValueError:\n    {STEP}\n",
    "finally": f"try:\n    pass\nfinally:\n    {STEP}\n",
    "lambda in a comprehension": FUNCTION + "fs = {k: (lambda: f()) for k in 'ab'}\nfs['a']()\n",
    "partial": FUNCTION + "functools.partial(f, 1)()\n",
    "reduce": FUNCTION + "functools.reduce(f, [1, 2, 3])\n",
    "gradient hook": FUNCTION + "m.weight.register_hook(f)\nm(val).sum().backward()\n",
    "forward hook": FUNCTION + "m.register_forward_hook(f)\nm(val)\n",
    "subclass hook": f"class A:\n    def __init_subclass__(cls):\n        {STEP}\nclass B(A):\n    pass\n",
    "metaclass": f"class M(type):\n    def __new__(c, *a):\n        {STEP}\n        return type.__new__(c, *a)\nclass B(metaclass=M):\n    pass\n",
    "method replaced on a class": FUNCTION + "class A:\n    def go(self):\n        pass\nA.go = f\nA().go()\n",
    "library function replaced": FUNCTION + "torch.manual_seed = f\ntorch.manual_seed(1)\n",
    "match": f"match os.environ.get('Q', 'a'):\n    case 'a':\n        {STEP}\n",
    "conditional expression": FUNCTION + "f() if os.environ.get('Q', 'a') == 'a' else None\n",
    "assertion": FUNCTION + "assert f()\n",
    "f-string": FUNCTION + "print(f'{f()}')\n",
    "loops 6 deep": "for a in 'ab':\n for b in 'ab':\n  for c in 'ab':\n   for d in 'ab':\n    for e in 'ab':\n     for g in 'ab':\n"
    + f"      {STEP}\n",
}


@pytest.mark.parametrize("way", HIDDEN)
def test_a_hidden_training_step_is_seen_or_missed_aloud(way: str) -> None:
    compile(HIDDEN[way], way, "exec")
    analysis = analyse_script(SETUP + HIDDEN[way])
    assert analysis.available
    seen = any(event.kind == "update" for event in analysis.run.events)
    assert seen or analysis.run.incomplete or analysis.doubts


def test_a_function_that_is_never_called_does_nothing() -> None:
    trace = analyse_script(SETUP + FUNCTION + "if False:\n    f()\n").run
    assert not any(event.kind in ("update", "backward") for event in trace.events)
