"""Kernels in the stand-in for Triton against what they mean, and against Triton's own interpreter where that is installed. Needs torch."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

torch: Any = pytest.importorskip("torch")
F: Any = torch.nn.functional

from verifier.execution.child.recorder import Recorder  # noqa: E402
from verifier.execution.child.triton import Kernel, Language, Tuned, cdiv, make_language, next_power_of_2  # noqa: E402
from verifier.execution.child.triton_values import Block, Descriptor  # noqa: E402

KERNELS = """
import triton
import triton.language as tl


@triton.jit
def cross_entropy(logits_ptr, losses_ptr, targets_ptr, stride, n_cols, cap, block: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    start = logits_ptr + row * stride
    best = -float("inf")
    total = 0.0
    for at in range(0, n_cols, block):
        cols = at + tl.arange(0, block)
        mask = cols < n_cols
        z = 2.0 * cap * tl.sigmoid(tl.load(start + cols, mask=mask, other=-float("inf")).to(tl.float32) * (2.0 / cap))
        z = tl.where(mask, z, -float("inf"))
        new = tl.maximum(best, tl.max(z, axis=0))
        total = total * tl.exp(best - new) + tl.sum(tl.exp(z - new), axis=0)
        best = new
    target = tl.load(targets_ptr + row).to(tl.int32)
    chosen = 2.0 * cap * tl.sigmoid(tl.load(start + target).to(tl.float32) * (2.0 / cap))
    tl.store(losses_ptr + row, best + tl.log(total) - chosen)


@triton.jit
def slope(x):
    return tl.where(x > 0, x, 0.5 * x)


@triton.jit
def matmul_square(a_ptr, b_ptr, c_ptr, M, N, K, SIZE_M: tl.constexpr, SIZE_N: tl.constexpr, SIZE_K: tl.constexpr):
    rows = tl.program_id(0) * SIZE_M + tl.arange(0, SIZE_M)
    cols = tl.program_id(1) * SIZE_N + tl.arange(0, SIZE_N)
    total = tl.zeros((SIZE_M, SIZE_N), dtype=tl.float32)
    for start in range(0, tl.cdiv(K, SIZE_K)):
        inner = start * SIZE_K + tl.arange(0, SIZE_K)
        a = tl.load(a_ptr + rows[:, None] * K + inner[None, :], mask=(rows[:, None] < M) & (inner[None, :] < K), other=0.0)
        b = tl.load(b_ptr + inner[:, None] * N + cols[None, :], mask=(inner[:, None] < K) & (cols[None, :] < N), other=0.0)
        total += tl.dot(a, b)
    half = tl.permute(tl.reshape(total, (SIZE_M, 2, SIZE_N // 2)), (0, 2, 1))
    left, right = tl.split(half)
    joined = tl.reshape(tl.permute(tl.join(slope(left), slope(right)), (0, 2, 1)), (SIZE_M, SIZE_N))
    out = (joined * joined).to(c_ptr.dtype.element_ty)
    tl.store(c_ptr + rows[:, None] * N + cols[None, :], out, mask=(rows[:, None] < M) & (cols[None, :] < N))
"""


def inputs(kind: Any) -> dict[str, Any]:
    draw = torch.Generator().manual_seed(5)
    return {
        "logits": 4 * torch.randn(5, 37, generator=draw),
        "targets": torch.tensor([3, 36, 0, 7, 20]),
        "a": torch.randn(10, 19, generator=draw).to(kind),
        "b": torch.randn(19, 21, generator=draw).to(kind),
    }


def run_all(kernels: Any, kind: Any) -> tuple[Any, Any]:
    held = inputs(kind)
    losses, out = torch.zeros(5), torch.zeros(10, 21, dtype=kind)
    kernels["cross_entropy"][(5,)](held["logits"], losses, held["targets"], 37, 37, 15.0, block=16, num_warps=4)
    kernels["matmul_square"][lambda meta: (1, cdiv(21, meta["SIZE_N"]))](
        held["a"], held["b"], out, 10, 21, 19, SIZE_M=16, SIZE_N=16, SIZE_K=16
    )
    return losses, out


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    made = Recorder(tmp_path)
    yield made
    made.close()


@pytest.fixture
def kernels(recorder: Recorder) -> dict[str, Any]:
    """The kernels under the stand-in, without putting it in the place of an installed Triton."""
    language = make_language(recorder)
    names: dict[str, Any] = {"tl": language}
    text = KERNELS.replace("import triton.language as tl", "").replace("import triton", "").replace("@triton.jit", "@jit")
    names["jit"] = lambda function: Kernel(function, recorder)
    exec(compile(text, "kernels.py", "exec"), names)  # noqa: S102  (our own text, as the scripts' is run)
    return names


def test_kernels_compute_what_they_say(kernels: dict[str, Any]) -> None:
    held = inputs(torch.bfloat16)
    losses, out = run_all(kernels, torch.bfloat16)
    capped = 30.0 * torch.sigmoid(held["logits"] / 7.5)
    assert torch.allclose(losses, F.cross_entropy(capped, held["targets"], reduction="none"), atol=1e-4)
    product = F.leaky_relu(held["a"].float() @ held["b"].float(), 0.5) ** 2
    assert torch.allclose(out.float(), product, rtol=0.01, atol=0.02)


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
def test_kernels_compute_what_triton_computes(kernels: dict[str, Any], tmp_path: Path) -> None:
    """In a process of its own: the interpreter is chosen when a kernel is defined. Half precision, whose products the interpreter
    forms on any machine (those of bfloat16 it takes for integers)."""
    (tmp_path / "real_kernels.py").write_text(KERNELS, encoding="utf-8")
    held = inputs(torch.float16)
    torch.save(held, tmp_path / "in.pt")
    script = """
        import torch, triton
        import real_kernels as k
        h = torch.load("in.pt")
        losses, out = torch.zeros(5), torch.zeros(10, 21, dtype=torch.float16)
        k.cross_entropy[(5,)](h["logits"], losses, h["targets"], 37, 37, 15.0, block=16)
        k.matmul_square[(1, 2)](h["a"], h["b"], out, 10, 21, 19, SIZE_M=16, SIZE_N=16, SIZE_K=16)
        torch.save((losses, out), "out.pt")
    """
    environment = {"TRITON_INTERPRET": "1", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], cwd=tmp_path, env=environment, check=True, timeout=120)
    real_losses, real_out = torch.load(tmp_path / "out.pt")
    losses, out = run_all(kernels, torch.float16)
    assert torch.allclose(losses, real_losses, atol=1e-5)
    assert torch.allclose(out.float(), real_out.float(), rtol=0.002)


def test_a_kernel_of_a_known_name_that_does_something_else_does_that(recorder: Recorder) -> None:
    """No equivalent is chosen by name."""
    language = make_language(recorder)

    def _softcapped_ce_fwd_kernel(x_ptr: Any, n: int) -> None:
        at = language.program_id(0)
        language.store(x_ptr + at, language.load(x_ptr + at) + 1.0)

    values = torch.zeros(4)
    Kernel(_softcapped_ce_fwd_kernel, recorder)[(3,)](values, 4)
    assert values.tolist() == [1.0, 1.0, 1.0, 0.0]


def test_descriptors_read_zeros_and_write_nothing_beyond_the_tensor() -> None:
    base = torch.arange(12.0).reshape(3, 4)
    descriptor = Descriptor.from_tensor(base, [2, 3])
    assert descriptor.load([2, 2]).value.tolist() == [[10.0, 11.0, 0.0], [0.0, 0.0, 0.0]]
    descriptor.store([2, 2], Block(torch.full((2, 3), -1.0)))
    assert base[2].tolist() == [8.0, 9.0, -1.0, -1.0]
    assert base[:2].tolist() == [[0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0]]
    with pytest.raises(IndexError):
        descriptor.load([-1, 0])


def test_a_block_that_is_changed_leaves_others_as_they_are() -> None:
    one: Any = Block(torch.tensor([1, 2]))
    two = one
    two += 1
    assert one.value.tolist() == [1, 2]
    assert two.value.tolist() == [2, 3]
    assert (7 // cast(Any, Block(torch.tensor(2)))).value == 3
    assert (cast(Any, Block(torch.tensor(-7))) % 3).value == -1


def test_what_the_language_lacks_here_is_named(recorder: Recorder) -> None:
    language = make_language(recorder)
    assert isinstance(language, Language)
    with pytest.raises(AttributeError, match=r"not-supported: triton\.language\.inline_asm_elementwise"):
        language.inline_asm_elementwise("mov", [])
    assert "triton.language.inline_asm_elementwise" in recorder.missing
    assert not hasattr(language, "dot_scaled")


def test_the_first_configuration_stands_for_all(recorder: Recorder) -> None:
    seen: list[int] = []

    def kernel(size: int, BLOCK: int) -> None:
        seen.append(BLOCK)

    Tuned(Kernel(kernel, recorder), {"BLOCK": 32})[(2,)](5)
    Tuned(Kernel(kernel, recorder), {"BLOCK": lambda given: next_power_of_2(given["size"])})[(1,)](5)
    assert seen == [32, 32, 8]
