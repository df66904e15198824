"""A step on a model's parameters reaches every part of it, however the part was put there and however it is reached."""

from __future__ import annotations

import pytest

from tests.program.judge import analyse_script

SETUP = """\
import collections, dataclasses, functools, glob, os
import numpy as np
import torch
from torch import nn
import torch.nn.functional as F
val = torch.from_numpy(np.fromfile(sorted(glob.glob('fineweb_val_*.bin'))[0], dtype=np.uint16))
n = int(os.environ['COUNT'])

class Low(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4, 4))
    def forward(self, x):
        return x @ self.weight

"""
USE = """
model = Whole()
base = nn.Embedding(4, 4)
opt = torch.optim.Adam(model.parameters(), lr=0.1)
def score():
    h = base(val[:-1])
    {use}
    return F.cross_entropy(h, val[1:])
for epoch in range(5):
    loss = score()
    loss.backward()
    opt.step()
print(f'val_bpb:{{loss.item()}}')
"""
PUT = {
    "attribute": ("self.part = Low()", "h = model.part(h)"),
    "setattr": ("setattr(self, f'part{1}', Low())", "h = getattr(model, 'part1')(h)"),
    "add_module": ("self.add_module('part', Low())", "h = model.part(h)"),
    "list": ("self.parts = nn.ModuleList([Low() for _ in range(n)])", "h = model.parts[0](h)"),
    "append": ("self.parts = nn.ModuleList()\n        for _ in range(n):\n            self.parts.append(Low())", "h = model.parts[0](h)"),
    "append to a local list": ("parts = nn.ModuleList()\n        self.parts = parts\n        parts.append(Low())", "h = model.parts[-1](h)"),
    "extend": ("self.parts = nn.ModuleList()\n        self.parts.extend([Low(), Low()])", "h = model.parts[0](h)"),
    "insert": ("self.parts = nn.ModuleList()\n        self.parts.insert(0, Low())", "h = model.parts[0](h)"),
    "add to itself": ("self.parts = nn.ModuleList()\n        self.parts += [Low()]", "h = model.parts[0](h)"),
    "item": ("self.parts = nn.ModuleList([nn.Identity()])\n        self.parts[0] = Low()", "h = model.parts[0](h)"),
    "list of lists": ("self.parts = nn.ModuleList()\n        self.parts.append(nn.ModuleList([Low()]))", "h = model.parts[0][0](h)"),
    "dictionary": ("self.parts = nn.ModuleDict({'a': Low()})", "h = model.parts['a'](h)"),
    "dictionary item": ("self.parts = nn.ModuleDict()\n        self.parts['a'] = Low()", "h = model.parts['a'](h)"),
    "dictionary update": ("self.parts = nn.ModuleDict()\n        self.parts.update({'a': Low()})", "h = model.parts['a'](h)"),
    "computed key": ("self.parts = nn.ModuleDict()\n        for i in range(n):\n            self.parts[str(i)] = Low()", "h = model.parts['0'](h)"),
    "sequence": ("self.part = nn.Sequential(Low(), nn.ReLU())", "h = model.part(h)"),
    "unpacked sequence": ("self.part = nn.Sequential(*[Low() for _ in range(n)])", "h = model.part(h)"),
    "sequence append": ("self.part = nn.Sequential()\n        self.part.append(Low())", "h = model.part(h)"),
    "parameter": ("self.weight = nn.Parameter(torch.zeros(4, 4))", "h = h @ model.weight"),
    "register_parameter": ("self.register_parameter('weight', nn.Parameter(torch.zeros(4, 4)))", "h = h @ model.weight"),
    "parameter list": ("self.weights = nn.ParameterList([nn.Parameter(torch.zeros(4, 4)) for _ in range(n)])", "h = h @ model.weights[0]"),
    "parameter list append": (
        "self.weights = nn.ParameterList()\n        for _ in range(n):\n            self.weights.append(nn.Parameter(torch.zeros(4, 4)))",
        "h = h @ model.weights[0]",
    ),
    "parameter dictionary": ("self.weights = nn.ParameterDict()\n        self.weights['a'] = nn.Parameter(torch.zeros(4, 4))", "h = h @ model.weights['a']"),
}  # fmt: skip
LISTED = "self.parts = nn.ModuleList()\n        for _ in range(n):\n            self.parts.append(Low())"
REACH = {
    "loop": "for part in model.parts:\n        h = part(h)",
    "index of a loop": "for i in range(len(model.parts)):\n        h = model.parts[i](h)",
    "enumeration": "for i, part in enumerate(model.parts):\n        h = part(h)",
    "pairs": "for a, b in zip(model.parts, model.parts):\n        h = a(b(h))",
    "list of pairs": "pairs = [(model.parts[i], model.parts[i]) for i in range(len(model.parts))]\n    for i in range(n):\n        h = pairs[i][0](h)",
    "list of pairs unpacked": "pairs = [(p, p) for p in model.parts]\n    for i in range(n):\n        a, b = pairs[i]\n        h = b(h)",
    "list of lists": "rows = [[p, None] for p in model.parts]\n    h = rows[n - 1][0](h)",
    "list of dictionaries": "rows = [{'a': p} for p in model.parts]\n    h = rows[n - 1]['a'](h)",
    "dictionary": "table = {i: p for i, p in enumerate(model.parts)}\n    h = table[n - 1](h)",
    "dictionary of pairs": "table = {i: (p, 1) for i, p in enumerate(model.parts)}\n    h = table[n - 1][0](h)",
    "comprehension": "h = sum(p(h) for p in model.parts)",
    "map": "h = sum(map(lambda p: p(h), model.parts))",
    "reduce": "h = functools.reduce(lambda x, p: p(x), model.parts, h)",
    "partial": "h = functools.partial(model.parts[0], h)()",
    "bound method": "f = model.parts[0].forward\n    h = f(h)",
    "slice": "for part in model.parts[1:]:\n        h = part(h)",
    "reversed": "for part in reversed(model.parts):\n        h = part(h)",
    "iterator": "h = next(iter(model.parts))(h)",
    "children": "for part in model.parts.children():\n        h = part(h)",
    "state": "h = h @ model.state_dict()['parts.0.weight']",
    "parameters": "for p in model.parameters():\n        h = h @ p",
    "conditional": "h = (model.parts[0] if n > 1 else model.parts[1])(h)",
    "closure": "def inner(x, part=model.parts[0]):\n        return part(x)\n    h = inner(h)",
    "functional call": "h = torch.func.functional_call(model.parts[0], dict(model.parts[0].named_parameters()), (h,))",
}


def second_loss_is_of_learned_weights(put: str, use: str) -> bool:
    whole = f"class Whole(nn.Module):\n    def __init__(self):\n        super().__init__()\n        {put}\n"
    script = SETUP + whole + USE.format(use=use)
    compile(script, "script", "exec")
    trace = analyse_script(script).run
    first = trace.of("update")[0].index
    return any(("upd", first) in loss.labels for loss in trace.of("loss"))


@pytest.mark.parametrize("way", PUT)
def test_a_part_is_a_part_however_it_was_put_there(way: str) -> None:
    assert second_loss_is_of_learned_weights(*PUT[way])


@pytest.mark.parametrize("way", REACH)
def test_a_part_is_a_part_however_it_is_reached(way: str) -> None:
    assert second_loss_is_of_learned_weights(LISTED, REACH[way])


def test_another_model_is_no_part() -> None:
    assert not second_loss_is_of_learned_weights(
        "self.part = Low()", "h = other(h)\n\nother = Low()\ndef score_other():\n    h = base(val[:-1])"
    )
