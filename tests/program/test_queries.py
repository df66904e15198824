"""Which print statement printed a log line."""

from __future__ import annotations

import pytest

from tests.program.judge import analyse_script
from verifier.program.queries import has_source, reports_printing, scores_of

SCRIPT = """
import glob
import numpy as np
import torch
import torch.nn.functional as F
val = torch.from_numpy(np.fromfile(glob.glob("fineweb_val_*.bin")[0], dtype=np.uint16))
model = torch.nn.Embedding(1024, 1024)
loss = F.cross_entropy(model(val[:-1]), val[1:]).item()
print("=" * 20, "============", "RESULTS", f"val_bpb: {loss:.4f}")
print(f"== other val_bpb: {loss:.4f}")
"""


@pytest.mark.parametrize(
    ("line", "number"),
    [
        ("==================== ============ RESULTS val_bpb: 1.0810", 9),
        ("== other val_bpb: 1.0810", 10),
    ],
)
def test_signs_do_not_stand_for_words(line: str, number: int) -> None:
    trace = analyse_script(SCRIPT).run
    found = reports_printing(trace, line)
    assert number in {report.site.line for report in found}
    assert all(has_source(score.tokens, "val") for report in found for score in scores_of(report, trace))
