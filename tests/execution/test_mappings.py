"""What stands in for modules, programs and collectives: against the meaning of the real ones. Needs torch."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

torch: Any = pytest.importorskip("torch")
F: Any = torch.nn.functional

from verifier.execution.child import hosts, modules, processes, products  # noqa: E402
from verifier.execution.child.clock import TICK, Clock  # noqa: E402
from verifier.execution.child.devices import Stream, event_class, map_call  # noqa: E402
from verifier.execution.child.hosts import Answered  # noqa: E402
from verifier.execution.child.recorder import Recorder  # noqa: E402
from verifier.execution.child.scans import causal_conv1d, selective_scan  # noqa: E402


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    made = Recorder(tmp_path)
    yield made
    made.close()


@pytest.fixture
def restored() -> Iterator[None]:
    """What an installation replaces comes back."""
    held = {name: getattr(torch.distributed, name) for name in dir(torch.distributed)}
    parallel = torch.nn.parallel.DistributedDataParallel
    popen, loaded = subprocess.Popen, dict(sys.modules)
    yield
    for name, value in held.items():
        setattr(torch.distributed, name, value)
    torch.nn.parallel.DistributedDataParallel = torch.nn.parallel.distributed.DistributedDataParallel = parallel
    subprocess.Popen = popen  # type: ignore[misc]
    for name in set(sys.modules) - set(loaded):
        del sys.modules[name]


@pytest.mark.parametrize("grouped", [False, True])
def test_the_selective_scan_is_the_recurrence(grouped: bool) -> None:
    draw = torch.Generator().manual_seed(1)
    u, delta, z = (torch.randn(2, 4, 6, generator=draw) for _ in range(3))
    a, skip = -torch.rand(4, 3, generator=draw), torch.randn(4, generator=draw)
    b, c = (torch.randn(2, 2, 3, 6, generator=draw) if grouped else torch.randn(2, 3, 6, generator=draw) for _ in range(2))
    got, last = selective_scan(u, delta, a, b, c, skip, z, delta_softplus=True, return_last_state=True)
    for batch in range(2):
        for channel in range(4):
            state = torch.zeros(3)
            for time in range(6):
                step = F.softplus(delta[batch, channel, time])
                one = b[batch, channel // 2, :, time] if grouped else b[batch, :, time]
                two = c[batch, channel // 2, :, time] if grouped else c[batch, :, time]
                state = torch.exp(step * a[channel]) * state + step * one * u[batch, channel, time]
                y = (state * two).sum() + skip[channel] * u[batch, channel, time]
                assert torch.allclose(got[batch, channel, time], y * F.silu(z[batch, channel, time]), atol=1e-5)
            assert torch.allclose(last[batch, channel], state, atol=1e-5)


def test_the_convolution_sees_only_the_past() -> None:
    x, weight, bias = torch.randn(1, 2, 5), torch.randn(2, 3), torch.randn(2)
    got = causal_conv1d(x, weight, bias)
    for channel in range(2):
        for time in range(5):
            past = [x[0, channel, time - back] if time >= back else 0.0 for back in range(3)]
            expected = sum(float(weight[channel, 2 - back]) * float(past[back]) for back in range(3)) + float(bias[channel])
            assert float(got[0, channel, time]) == pytest.approx(expected, abs=1e-5)
    assert torch.allclose(causal_conv1d(x, weight, bias, "silu"), F.silu(got))


@pytest.mark.usefixtures("restored")
def test_collectives_of_one_process_are_copies(recorder: Recorder) -> None:
    dist: Any = torch.distributed
    processes.install(recorder)
    assert not dist.is_initialized()
    dist.init_process_group("nccl")
    assert (dist.is_initialized(), dist.get_rank(), dist.get_world_size()) == (True, 0, 1)
    values, out = torch.arange(4.0), torch.zeros(4)
    assert dist.all_reduce(values, op=dist.ReduceOp.AVG) is None
    assert values.tolist() == [0, 1, 2, 3]
    dist.all_gather_into_tensor(out, values, async_op=True).wait()
    assert out.tolist() == values.tolist()
    scattered, gathered, listed = torch.zeros(4), [torch.zeros(4)], [torch.zeros(4)]
    dist.reduce_scatter_tensor(scattered, values)
    dist.gather(values, gathered)
    dist.all_gather(listed, values)
    assert scattered.tolist() == gathered[0].tolist() == listed[0].tolist() == values.tolist()
    objects: list[Any] = [None]
    dist.all_gather_object(objects, {"a": 1})
    assert objects == [{"a": 1}]
    with pytest.raises(RuntimeError, match=r"not-supported: torch\.distributed\.send"):
        dist.send(values, 1)
    wrapped = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(2, 2, bias=False), device_ids=[0])
    assert torch.equal(wrapped(torch.eye(2)), wrapped.module(torch.eye(2)))


@pytest.mark.usefixtures("restored")
def test_programs_that_are_answered_are_not_started(recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.chdir(tmp_path)
    hosts.install(recorder)
    assert "CPU" in subprocess.run(["nvidia-smi"], stdout=subprocess.PIPE, text=True, check=True).stdout
    assert subprocess.check_call([sys.executable, "-m", "pip", "install", "anything"]) == 0
    assert subprocess.run(["pyminify", "-"], input=b"x = 1", capture_output=True, check=True).stdout == b"x = 1"
    Path("model.bin").write_bytes(b"a" * 5000)
    subprocess.run(["lrzip", "-z", "-L", "9", "-o", "model.lrz", "model.bin"], check=True)
    assert Path("model.lrz").stat().st_size < 500
    subprocess.run(["lrzip", "-d", "-f", "-o", "again.bin", "model.lrz"], check=True)
    assert Path("again.bin").read_bytes() == b"a" * 5000
    assert isinstance(subprocess.Popen("nvidia-smi"), Answered)
    with pytest.raises(FileNotFoundError):
        subprocess.run(["no-such-program"], check=True)


@pytest.mark.usefixtures("restored")
def test_a_missing_module_has_a_stand_in_or_a_name(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    absent = {"brotli", "zstandard", "numba", "tqdm", "huggingface_hub"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name.split(".")[0] in absent else real(name))
    for name in [name for name in sys.modules if name.split(".")[0] in absent]:
        monkeypatch.delitem(sys.modules, name)
    modules.install(recorder)
    import brotli  # type: ignore[import-not-found, import-untyped, unused-ignore]
    import zstandard  # type: ignore[import-not-found, unused-ignore]
    from numba import njit, prange  # type: ignore[import-not-found, import-untyped, unused-ignore]
    from tqdm.auto import tqdm  # type: ignore[import-not-found, import-untyped, unused-ignore]

    assert brotli.decompress(brotli.compress(b"text" * 9, quality=11, lgwin=24)) == b"text" * 9
    packed = zstandard.ZstdCompressor(level=22).compress(b"text" * 9)
    assert zstandard.ZstdDecompressor().decompress(packed, max_output_size=100) == b"text" * 9
    assert [njit(lambda x: x + 1)(value) for value in prange(2)] == [1, 2]
    assert njit(cache=True, fastmath=True)(len)([1]) == 1
    assert list(tqdm([1, 2], desc="x")) == [1, 2]
    import huggingface_hub  # type: ignore[import-not-found, unused-ignore]

    with pytest.raises(ConnectionError):
        huggingface_hub.hf_hub_download("someone/data", "train.bin")
    with pytest.raises(ModuleNotFoundError) as failure:
        importlib.import_module("fla_of_nobody.layers")
    assert modules.missing_for(failure.value) == "module fla_of_nobody"
    assert modules.missing_for(ValueError("x")) == ""


def test_only_devices_of_a_gpu_are_replaced() -> None:
    args, kwargs = map_call(
        torch.zeros, (3, "cuda:1"), {"device": torch.device("cuda"), "pin_memory": True, "dtype": torch.float16}
    )
    assert args == (3, "cpu")
    assert kwargs == {"device": torch.device("cpu"), "pin_memory": False, "dtype": torch.float16}
    args, kwargs = map_call(torch.zeros, (torch.device("meta"), "sum"), {"device": 0})
    assert args == (torch.device("meta"), "sum")
    assert kwargs == {"device": torch.device("cpu")}


def test_events_measure_on_the_clock_of_the_run() -> None:
    clock = Clock()
    first, second = event_class(clock)(enable_timing=True), event_class(clock)()
    first.record()
    for _ in range(8):
        clock.read()
    second.record()
    assert first.elapsed_time(second) == pytest.approx(9 * 1000 * TICK)
    with Stream() as stream:
        stream.wait_stream(stream)
    assert stream.query()


def test_a_product_of_a_compiled_extension_is_that_product(recorder: Recorder, restored: None) -> None:
    products.install(recorder)
    assert importlib.util.find_spec("cutlass_evt_fusion") is not None
    draw = torch.Generator().manual_seed(3)
    left, right, other = (torch.randn(*size, generator=draw) for size in ((5, 4), (4, 3), (5, 3)))
    torch.library.register_fake("cutlass_evt::gemm_mul")(lambda go, w, a: go.new_empty(go.size(0), w.size(1)))
    got = torch.ops.cutlass_evt.gemm_mul(left.bfloat16(), right.bfloat16(), other.bfloat16())
    expected = (left.bfloat16().float() @ right.bfloat16().float()) * other.bfloat16().float()
    assert got.dtype is torch.bfloat16
    assert torch.equal(got, expected.bfloat16())
    assert "mapped:cutlass_evt::gemm_mul" in recorder.missing
