"""Learning from the part of a window that does not count is learning from context."""

from __future__ import annotations

import pytest

from audits.adaptation.order import EARLIER, adaptations_of
from tests.program.judge import CHALLENGE, analyse_script
from verifier.engine.context import Context

SCRIPT = """\
import glob
import numpy as np
import torch
import torch.nn.functional as F

model = torch.nn.Linear(64, 64)
opt = torch.optim.SGD(model.parameters(), lr=0.1)
val = torch.from_numpy(np.fromfile(sorted(glob.glob("fineweb_val_*.bin"))[0], dtype="<u2"))
total = 0.0
for begin in range(0, 1 << 20, 64):
    x, y = val[begin : begin + 1024], val[begin + 1 : begin + 1025]
    start = 0 if begin == 0 else 960
    if begin > 5:
        start = len(y) - begin
    loss = F.cross_entropy(model(x[:LEARNED]), y[:LEARNED])
    opt.zero_grad()
    loss.backward()
    opt.step()
    with torch.no_grad():
        losses = F.cross_entropy(model(x), y, reduction="none")
    total += losses[start:].sum()
print("final val_loss:", total.item())
"""


@pytest.mark.parametrize(("learned", "legal"), [("start", True), ("start + 64", False), ("1024", False)])
def test_only_what_ends_before_the_counted_part_is_context(learned: str, legal: bool) -> None:
    analysis = analyse_script(SCRIPT.replace("LEARNED", learned))
    (adaptation, *_) = adaptations_of(Context(analysis.submission, CHALLENGE))
    own = [use for use in adaptation.uses if use.update.loops[-1:] == use.score.loops[-1:]]
    assert own
    assert all(use.relation == EARLIER for use in own) is legal
