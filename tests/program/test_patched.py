"""A model whose methods are replaced, or that read tensors from around them, is followed as it is when it is called."""

from __future__ import annotations

import pytest

from tests.program.judge import analyse_script

SETUP = """\
import glob, types
import numpy as np
import torch
from torch import nn
import torch.nn.functional as F
val = torch.from_numpy(np.fromfile(sorted(glob.glob('fineweb_val_*.bin'))[0], dtype=np.uint16))
mask = torch.zeros(4, requires_grad=True)

class Part(nn.Module):
    def __init__(self):
        super().__init__()
        self.low = nn.Linear(4, 4)
    def forward(self, x):
        return self.low(x){inside}

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(4, 4)
        self.parts = nn.ModuleList([Part() for _ in range(3)])
    def forward(self, x, y):
        h = self.table(x)
        for part in self.parts:
            h = part(h)
        return F.cross_entropy(h, y)

model = Model()
before = model(val[:-1], val[1:])
{patch}
opt = torch.optim.SGD([mask], lr=0.1)
for epoch in range(3):
    loss = model(val[:-1], val[1:])
    loss.backward()
    opt.step()
print(f'val_bpb:{{loss.item()}}')
"""
PATCHES = {
    "a closure": "def made(old):\n    def forward(x):\n        return old(x) * mask\n    return forward\nfor p in model.parts:\n    p.forward = made(p.forward)",
    "a lambda": "for p in model.parts:\n    p.forward = lambda x, low=p.low: low(x) * mask",
    "a method": "def forward(self, x):\n    return self.low(x) * mask\nfor p in model.parts:\n    p.forward = types.MethodType(forward, p)",
    "setattr": "for p in model.parts:\n    setattr(p, 'forward', lambda x, low=p.low: low(x) * mask)",
    "the class": "def forward(self, x):\n    return self.low(x) * mask\nPart.forward = forward",
    "the whole": "old = model.forward\nmodel.forward = lambda x, y: old(x, y) * mask.sum()",
}  # fmt: skip


def learned(script: str) -> bool:
    compile(script, "script", "exec")
    trace = analyse_script(script).run
    first = trace.of("update")[0].index
    return any(("upd", first) in event.labels for event in trace.of("loss", "report") if event.index > first)


@pytest.mark.parametrize("way", PATCHES)
def test_a_replaced_method_is_what_runs(way: str) -> None:
    assert learned(SETUP.format(inside="", patch=PATCHES[way]))


def test_a_tensor_that_a_method_reads_by_name_is_read_anew() -> None:
    assert learned(SETUP.format(inside=" * mask", patch=""))


def test_a_tensor_in_a_list_is_read_anew() -> None:
    assert learned(SETUP.format(inside=" * masks[0]", patch="").replace("class Part", "masks = [mask]\nclass Part"))


def test_an_optimizer_written_by_hand_steps() -> None:
    written = (
        "class Own(torch.optim.Optimizer):\n    def __init__(self, params, lr):\n        super().__init__(params, dict(lr=lr))\n"
        "    def step(self):\n        for group in self.param_groups:\n            for p in group['params']:\n"
        "                if p.grad is not None:\n                    p.add_(p.grad.sign(), alpha=-group['lr'])\n"
    )
    script = SETUP.format(inside=" * mask", patch=written).replace("torch.optim.SGD([mask], lr=0.1)", "Own([mask], 0.1)")
    assert learned(script)


def test_a_tensor_that_nothing_reads_teaches_nothing() -> None:
    assert not learned(SETUP.format(inside="", patch=""))
