"""Which print statement printed a log line."""

from __future__ import annotations

import pytest

from tests.program.judge import analyse_script
from verifier.program.queries import has_source, is_matched, reports_printing, scores_of

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


@pytest.mark.parametrize("line", ["== another val_bpb: 1.0810", "== other eval_bpb: 1.0810"])
def test_a_word_is_no_part_of_a_longer_one(line: str) -> None:
    assert 10 not in {report.site.line for report in reports_printing(analyse_script(SCRIPT).run, line)}


def test_the_beginning_of_a_label_is_found() -> None:
    trace = analyse_script(SCRIPT.replace("== other val_bpb: {loss:.4f}", "quantized val_bpb: {loss:.4f}")).run
    assert {report.site.line for report in reports_printing(trace, "quantized_sliding val_bpb: 1.0810")} == {10}


LOG = """step:7000/7000 train_time:599000ms
Total submission size int8+zlib: 15900000 bytes
ngram_x val_bpb: 1.08100000
"""


@pytest.mark.parametrize(("printed", "matched"), [('f"p:{len(val)}"', False), ('f"ngram_x val_bpb: {loss:.8f}"', True)])
def test_the_headline_is_printed_by_what_reports_a_loss(printed: str, matched: bool) -> None:
    script = SCRIPT.replace('"=" * 20, "============", "RESULTS", f"val_bpb: {loss:.4f}"', printed).replace(
        "== other", "in between"
    )
    analysis = analyse_script(script, train_log=LOG)
    assert analysis.submission.runs[0].headline is not None
    assert is_matched(analysis.run, analysis.submission) is matched
