"""All mappings installed at once, in a process of their own, as a script of the field meets them. Needs torch."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import verifier

pytestmark = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs torch")

HARNESS = """
import sys
from pathlib import Path
import torch
from verifier.execution.child import dynamo
dynamo.install()
import torch.distributed
from verifier.execution.child import attention, compiler, devices, optimizers, precision, processes, scoring, triton
from verifier.execution.child.clock import Clock
from verifier.execution.child.recorder import Recorder
from verifier.execution.child.updates import Updates
recorder = Recorder(Path("."))
updates = Updates(recorder)
devices.install(recorder, Clock())
precision.install(recorder)
compiler.install(recorder)
optimizers.install(recorder, updates)
attention.install(recorder)
triton.install(recorder)
scope = {"recorder": recorder, "__name__": "submission"}
with scoring.Observer(recorder, updates):
    exec(compile(Path("submission.py").read_text(), str(Path("submission.py").absolute()), "exec"), scope)
recorder.close()
print("all is well")
"""

SUBMISSION = """
import importlib.util
import math

import torch
import torch._dynamo
import torch.nn.functional as F
from flash_attn_interface import flash_attn_func, flash_attn_varlen_func
from kernels import get_kernel
from torch import nn

# Devices: a tensor that is asked to be on a GPU says it is, and is on the CPU.
assert torch.cuda.is_available() and torch.cuda.device_count() == 1
device = torch.device("cuda", 0)
assert device.type == "cpu"
x = torch.arange(6.0, device=device).view(2, 3).to("cuda:0", non_blocking=True).cuda()
assert x.is_cuda and x.tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
assert nn.Linear(2, 2).to(device).cuda().weight.is_cuda
draw = torch.Generator(device="cuda").manual_seed(3)
assert torch.equal(torch.rand(4, generator=draw, device="cuda"), torch.rand(4, generator=torch.Generator().manual_seed(3)))
with torch.cuda.stream(torch.cuda.Stream()):
    torch.cuda.current_stream().wait_stream(torch.cuda.default_stream())
torch.cuda.synchronize()

# Precision: matrix products of autocast are those of bfloat16, whatever half the script names.
a, b = torch.randn(5, 7), torch.randn(7, 3)
for kind in (torch.bfloat16, torch.float16):
    with torch.autocast(device_type="cuda", dtype=kind):
        assert torch.equal(a @ b, a.bfloat16() @ b.bfloat16())
with torch.autocast("cuda", enabled=False):
    assert (a @ b).dtype == torch.float32
weight = nn.Parameter(torch.ones(3))
with torch.inference_mode():
    assert not (weight * 2).requires_grad
assert not torch.inference_mode()(lambda: weight * 2)().requires_grad
assert (weight * 2).requires_grad

# Compilation: the function itself.
@torch.compile(mode="max-autotune", fullgraph=True)
def double(value):
    return 2 * value
assert double(a).equal(2 * a) and torch.compile(double, dynamic=False) is double
torch.compiler.cudagraph_mark_step_begin()
torch._dynamo.config.cache_size_limit = 32

# Optimizers: fused kernels take the steps of the plain ones.
def train(**options):
    model = nn.Linear(4, 2)
    nn.init.constant_(model.weight, 0.5)
    nn.init.zeros_(model.bias)
    steps = torch.optim.AdamW(model.parameters(), lr=0.1, betas=(0.8, 0.95), weight_decay=0.1, **options)
    for _ in range(3):
        steps.zero_grad(set_to_none=True)
        F.mse_loss(model(torch.ones(3, 4)), torch.zeros(3, 2)).backward()
        steps.step()
    return model.weight.detach()
assert torch.equal(train(fused=True), train())

# Attention: packed sequences do not see one another; the packages of the kernels hub are the same functions.
q, k, v = torch.randn(9, 4, 8), torch.randn(9, 2, 8), torch.randn(9, 2, 8)
ends = torch.tensor([0, 4, 9], dtype=torch.int32)
got = flash_attn_varlen_func(q, k, v, cu_seqlens_q=ends, cu_seqlens_k=ends, max_seqlen_q=5, max_seqlen_k=5, causal=True)
for first, last in ((0, 4), (4, 9)):
    for head in range(4):
        scores = q[first:last, head] @ k[first:last, head // 2].T / math.sqrt(8)
        seen = torch.ones_like(scores).tril().bool()
        expected = scores.masked_fill(~seen, -math.inf).softmax(-1) @ v[first:last, head // 2]
        assert torch.allclose(got[first:last, head], expected, atol=1e-5)
hub = get_kernel("kernels-community/flash-attn3")
assert torch.equal(hub.flash_attn_func(q[None], k[None], v[None], causal=True), flash_attn_func(q[None], k[None], v[None], causal=True))
assert importlib.util.find_spec("flash_attn") is not None
try:
    get_kernel("someone/activation")
except RuntimeError as failure:
    assert "not-supported: kernels.get_kernel(someone/activation)" in str(failure)
else:
    raise AssertionError("an unknown kernel was given")
with torch.nn.attention.sdpa_kernel([torch.nn.attention.SDPBackend.FLASH_ATTENTION]):
    F.scaled_dot_product_attention(a[None], a[None], a[None], attn_mask=torch.ones(5, 5).tril().bool())

# Triton: imported by the script, not by torch.
import triton
import triton.language as tl

@triton.jit
def add_one(pointer, count, SIZE: tl.constexpr):
    places = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    tl.store(pointer + places, tl.load(pointer + places, mask=places < count) + 1.0, mask=places < count)
values = torch.zeros(10, device="cuda")
add_one[(triton.cdiv(10, 4),)](values, 10, SIZE=4, num_warps=2)
assert values.tolist() == [1.0] * 10
"""


def test_a_script_of_the_field_meets_what_it_expects(tmp_path: Path) -> None:
    (tmp_path / "submission.py").write_text(SUBMISSION, encoding="utf-8")
    (tmp_path / "harness.py").write_text(HARNESS, encoding="utf-8")
    root = str(Path(verifier.__file__).resolve().parents[1])
    environment = {"PYTHONPATH": root, "PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "harness.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.endswith("all is well\n"), done.stderr[-2000:]
