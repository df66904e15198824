# mypy: disable-error-code="import-not-found, misc"
"""CUDA devices as a CPU: devices in calls, `torch.cuda`, streams, events.

A device that the script builds is the CPU's already (`torch.device` is seen like any call of torch), so that it works where the
recorder does not look: in the backward pass of the script's own functions. `torch.cuda` and `is_cuda` answer the submission as a GPU would.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import torch

from verifier.execution.child.callers import called_by_submission
from verifier.execution.child.clock import Clock
from verifier.execution.child.recorder import Recorder

CPU = torch.device("cpu")


def on_cpu(value: Any) -> Any:
    """The same argument with a CUDA device replaced."""
    if isinstance(value, torch.device):
        return CPU if value.type == "cuda" else value
    if isinstance(value, str) and value.startswith("cuda"):
        return "cpu"
    return value


def map_call(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments of any torch function with CUDA devices replaced."""
    if any(isinstance(value, torch.device | str) for value in args):
        args = tuple(on_cpu(value) for value in args)
    if kwargs:
        if "device" in kwargs:
            device = kwargs["device"]
            kwargs = {**kwargs, "device": CPU if isinstance(device, int) and not isinstance(device, bool) else on_cpu(device)}
        if kwargs.get("pin_memory"):
            kwargs = {**kwargs, "pin_memory": False}
    return args, kwargs


class Stream:
    """A stream on which everything is done at once."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.device = CPU
        self.cuda_stream = 0

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *exc: object) -> None:
        return None

    def synchronize(self) -> None: ...

    def wait_stream(self, stream: object) -> None: ...

    def wait_event(self, event: object) -> None: ...

    def record_event(self, event: Any = None) -> Any:
        return event

    def query(self) -> bool:
        return True


def event_class(clock: Clock) -> type:
    """`torch.cuda.Event` on the run's own clock."""

    class Event:
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self.at = 0.0

        def record(self, stream: object = None) -> None:
            self.at = clock.read()

        def elapsed_time(self, other: Any) -> float:
            return float(1000 * (other.at - self.at))

        def synchronize(self) -> None: ...

        def wait(self, stream: object = None) -> None: ...

        def query(self) -> bool:
            return True

    return Event


def install(recorder: Recorder, clock: Clock) -> None:
    """Replace what `torch.cuda` offers. Answers that only the submission may believe depend on the caller."""
    cuda: Any = torch.cuda
    tensor: Any = torch.Tensor
    available = cuda.is_available
    cuda.is_available = lambda: True if called_by_submission() else available()
    cuda.device_count = lambda: 1 if called_by_submission() else 0
    cuda.current_device = lambda: 0
    cuda.get_device_name = lambda device=None: "CPU standing in for a GPU"
    cuda.get_device_capability = lambda device=None: (9, 0)
    cuda.get_device_properties = lambda device=None: SimpleNamespace(
        name="CPU standing in for a GPU", major=9, minor=0, total_memory=80 * 1024**3, multi_processor_count=132,
        shared_memory_per_block_optin=232448, shared_memory_per_multiprocessor=233472, L2_cache_size=50 * 1024**2, warp_size=32,
    )  # fmt: skip
    for name in ("set_device", "synchronize", "empty_cache", "init", "ipc_collect", "manual_seed", "manual_seed_all", "seed",
                 "seed_all", "reset_peak_memory_stats", "reset_max_memory_allocated", "set_per_process_memory_fraction",
                 "reset_accumulated_memory_stats", "set_stream", "set_sync_debug_mode"):  # fmt: skip
        setattr(cuda, name, lambda *args, **kwargs: None)
    for name in ("memory_allocated", "max_memory_allocated", "memory_reserved", "max_memory_reserved"):
        setattr(cuda, name, lambda *args, **kwargs: 0)
    cuda.memory_stats = lambda *args, **kwargs: {}
    cuda.mem_get_info = lambda *args, **kwargs: (80 * 1024**3, 80 * 1024**3)
    cuda.is_initialized = lambda: called_by_submission()
    cuda.is_bf16_supported = lambda *args, **kwargs: True
    cuda.Stream = Stream
    cuda.Event = event_class(clock)
    cuda.current_stream = lambda device=None: Stream()
    cuda.default_stream = lambda device=None: Stream()
    cuda.stream = _stream_context
    cuda.device = _stream_context
    cuda.get_rng_state = lambda device=None: torch.get_rng_state()
    cuda.set_rng_state = lambda state, device=None: None
    cuda.get_rng_state_all = lambda: [torch.get_rng_state()]
    cuda.set_rng_state_all = lambda states: None
    cuda.get_arch_list = lambda: ["sm_90"]
    cuda.nvtx = SimpleNamespace(range_push=lambda *a: None, range_pop=lambda: None, mark=lambda *a: None, range=_stream_context)
    cuda.OutOfMemoryError = torch.OutOfMemoryError

    def graph(*args: Any, **kwargs: Any) -> Any:
        raise recorder.not_supported("torch.cuda.CUDAGraph")

    cuda.CUDAGraph = graph
    cuda.graph = graph
    cuda.make_graphed_callables = graph
    on_gpu = tensor.is_cuda
    tensor.is_cuda = property(lambda self: called_by_submission() or on_gpu.__get__(self))
    tensor.cuda = lambda self, *args, **kwargs: self
    tensor.pin_memory = lambda self, *args, **kwargs: self
    tensor.is_pinned = lambda self, *args, **kwargs: True
    tensor.record_stream = lambda self, stream: None
    module: Any = torch.nn.Module
    module.cuda = lambda self, device=None: self
    real_load = torch.load

    def load(*args: Any, **kwargs: Any) -> Any:
        kwargs["map_location"] = "cpu"
        if (args and isinstance(args[0], str)) or hasattr(args[0] if args else None, "__fspath__"):
            recorder.event("file", path=str(args[0])[:400], mode="r", by="torch.load")
        return real_load(args[0] if args else kwargs.pop("f"), **kwargs)

    real_save = torch.save

    def save(obj: Any, f: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(f, str) or hasattr(f, "__fspath__"):
            recorder.event("file", path=str(f)[:400], mode="w", by="torch.save")
        return real_save(obj, f, *args, **kwargs)

    torch_module: Any = torch
    torch_module.load = load
    torch_module.save = save
    real_generator: Any = torch.Generator

    class Generator(real_generator):
        def __new__(cls, device: Any = "cpu") -> Any:
            return real_generator(device=on_cpu(device))

    torch_module.Generator = Generator


@contextlib.contextmanager
def _stream_context(*args: Any, **kwargs: Any) -> Iterator[None]:
    yield
