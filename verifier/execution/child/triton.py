# mypy: disable-error-code="import-not-found, misc"
"""A stand-in for Triton: a kernel's own Python text, run program after program with torch operations for its blocks.

No table of known kernels: kernels of one name differ between scripts, so what runs is what the script wrote. Masked loads and stores
go to the tensors themselves; products of blocks add up in single precision, as on the hardware. What the kernel asks of the language
and is not here ends the run as `not-supported: triton.language.NAME`.
"""

from __future__ import annotations

import builtins
import inspect
import math
import sys
import threading
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import torch

from verifier.execution.child.recorder import Recorder
from verifier.execution.child.triton_values import Block, Descriptor, Pointer, as_tensor, cast

TYPES = {
    "float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32, "float64": torch.float64, "int1": torch.bool,
    "int8": torch.int8, "uint8": torch.uint8, "int16": torch.int16, "int32": torch.int32, "int64": torch.int64,
    "float8e4nv": torch.float8_e4m3fn, "float8e5": torch.float8_e5m2,
}  # fmt: skip
ELEMENTWISE: dict[str, Callable[[Any], Any]] = {
    "exp": torch.exp, "exp2": torch.exp2, "log": torch.log, "log2": torch.log2, "sqrt": torch.sqrt, "sqrt_rn": torch.sqrt,
    "rsqrt": torch.rsqrt, "sigmoid": torch.sigmoid, "abs": torch.abs, "sin": torch.sin, "cos": torch.cos, "tanh": torch.tanh,
    "erf": torch.erf, "floor": torch.floor, "ceil": torch.ceil,
}  # fmt: skip
PROGRAMS = 1_000_000
"""Programs of one launch at most."""


class Place(threading.local):
    """Which program of which grid the thread is running."""

    index: tuple[int, ...] = (0, 0, 0)
    grid: tuple[int, ...] = (1, 1, 1)


PLACE = Place()


class Language(ModuleType):
    """`triton.language`. What is missing is reported when it is asked for."""

    def __init__(self, name: str, recorder: Recorder) -> None:
        super().__init__(name)
        self.__spec__ = ModuleSpec(name, None, is_package=True)
        self.__path__: list[str] = []
        self._recorder = recorder

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        # Noted, and an attribute that is not there for a script that asks with `hasattr`.
        raise AttributeError(str(self._recorder.not_supported(f"{self.__name__}.{name}")))


class Kernel:
    """A function under `@triton.jit`: launched over a grid, or called by another kernel."""

    def __init__(self, function: Callable[..., Any], recorder: Recorder) -> None:
        self.fn = function
        self.__name__ = function.__name__
        self.__doc__ = function.__doc__
        self.arg_names = list(inspect.signature(function).parameters)
        self._signature = inspect.signature(function)
        self._recorder = recorder

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.fn(*args, **kwargs)

    def __getitem__(self, grid: Any) -> Callable[..., None]:
        return lambda *args, **kwargs: self.run(*args, grid=grid, **kwargs)

    def run(self, *args: Any, grid: Any, **kwargs: Any) -> None:
        """Options of the compiler (`num_warps`) are no parameters and mean nothing here."""
        self._recorder.mapped(f"triton kernel {self.__name__[:80]}", "its own text on torch operations, program after program")
        bound = self._signature.bind(*args, **{name: value for name, value in kwargs.items() if name in self.arg_names})
        bound.apply_defaults()
        sizes = grid(bound.arguments) if callable(grid) else grid
        sizes = (sizes,) if isinstance(sizes, int) else tuple(int(size) for size in sizes)
        sizes = (*sizes, 1, 1)[:3]
        if math.prod(sizes) > PROGRAMS:
            raise self._recorder.not_supported(f"triton kernel {self.__name__[:80]} over {math.prod(sizes)} programs")
        # Neither gradients nor the recording of losses: a kernel sees memory.
        with torch.no_grad(), torch._C.DisableTorchFunction():
            values = {
                name: Pointer.to(value) if isinstance(value, torch.Tensor) else value for name, value in bound.arguments.items()
            }
            for x in range(sizes[0]):
                for y in range(sizes[1]):
                    for z in range(sizes[2]):
                        PLACE.index, PLACE.grid = (x, y, z), sizes
                        self.fn(**values)


class Tuned:
    """A kernel under `@triton.autotune` or `@triton.heuristics`: the first configuration stands for all."""

    def __init__(self, kernel: Any, options: dict[str, Any]) -> None:
        self._kernel = kernel
        self._options = options
        self.fn = getattr(kernel, "fn", kernel)
        self.arg_names = kernel.arg_names

    def __getitem__(self, grid: Any) -> Callable[..., None]:
        return lambda *args, **kwargs: self.run(*args, grid=grid, **kwargs)

    def run(self, *args: Any, grid: Any, **kwargs: Any) -> None:
        given = {**dict(zip(self.arg_names, args, strict=False)), **kwargs}
        for name, value in self._options.items():
            kwargs[name] = value(given) if callable(value) else value
        self._kernel.run(*args, grid=grid, **kwargs)


class Config:
    def __init__(self, kwargs: dict[str, Any] | None = None, **options: Any) -> None:
        self.kwargs = dict(kwargs or {})


def cdiv(value: Any, by: Any) -> Any:
    return (value + by - 1) // by


def next_power_of_2(value: int) -> int:
    return 1 << max(0, int(value) - 1).bit_length()


def install(recorder: Recorder) -> None:
    """Make `import triton` give the stand-in."""
    package: Any = Language("triton", recorder)
    language = make_language(recorder)

    def jit(function: Any = None, **options: Any) -> Any:
        return Kernel(function, recorder) if function is not None else lambda inner: Kernel(inner, recorder)

    def autotune(configs: Sequence[Any] = (), *args: Any, **options: Any) -> Any:
        return lambda kernel: Tuned(kernel, dict(configs[0].kwargs) if configs else {})

    def heuristics(values: dict[str, Any]) -> Any:
        return lambda kernel: Tuned(kernel, dict(values))

    package.__version__ = "3.4.0"
    package.jit, package.autotune, package.heuristics, package.Config = jit, autotune, heuristics, Config
    package.cdiv, package.next_power_of_2, package.language = cdiv, next_power_of_2, language
    package.set_allocator = lambda allocator: None
    tools: Any = Language("triton.tools", recorder)
    descriptors: Any = Language("triton.tools.tensor_descriptor", recorder)
    descriptors.TensorDescriptor = Descriptor
    tools.tensor_descriptor = descriptors
    package.tools = tools
    for module in (package, language, language.math, language.extra, language.extra.libdevice, tools, descriptors):
        sys.modules[module.__name__] = module
    _hide_from_torch()
    sys.modules["triton.language.extra.cuda"] = language.extra
    sys.modules["triton.language.extra.cuda.libdevice"] = language.extra.libdevice


def _hide_from_torch() -> None:
    """torch's own compiler, where a script imports parts of it, must find no Triton: it would look for all of it."""
    real = builtins.__import__

    def import_(name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0) -> Any:
        if level == 0 and name.partition(".")[0] == "triton" and str((globals or {}).get("__name__", "")).startswith("torch."):
            raise ImportError("No module named 'triton'", name="triton")
        return real(name, globals, locals, fromlist, level)

    builtins.__import__ = import_


def make_language(recorder: Recorder) -> Any:
    """The part of `triton.language` that kernels of the field use."""
    language: Any = Language("triton.language", recorder)

    class Constexpr:
        """`tl.constexpr`: an annotation, or a value as it is."""

        def __new__(cls, value: Any) -> Any:
            return value

    language.constexpr = Constexpr
    language.tensor = Block
    for name, kind in TYPES.items():
        setattr(language, name, kind)
    language.math = Language("triton.language.math", recorder)
    extra: Any = Language("triton.language.extra", recorder)
    extra.libdevice = Language("triton.language.extra.libdevice", recorder)
    extra.cuda, language.extra = extra, extra
    for name, function in ELEMENTWISE.items():
        for module in (language, language.math, extra.libdevice):
            setattr(module, name, _elementwise(function))
    for values in (_programs(), _blocks(), _memory()):
        for name, value in values.items():
            setattr(language, name, value)
    for module in (language.math, extra.libdevice):
        module.max, module.min, module.fma = language.maximum, language.minimum, lambda a, b, c: a * b + c
    language.fma = language.math.fma
    return language


def _elementwise(function: Callable[[Any], Any]) -> Callable[[Any], Block]:
    return lambda value: Block(function(as_tensor(value)))


def _programs() -> dict[str, Any]:
    def whole_range(*bounds: Any, **options: Any) -> range:
        return range(*(int(bound) for bound in bounds))

    return {
        "program_id": lambda axis=0: Block(torch.tensor(PLACE.index[int(axis)], dtype=torch.int32)),
        "num_programs": lambda axis=0: Block(torch.tensor(PLACE.grid[int(axis)], dtype=torch.int32)),
        "cdiv": cdiv, "range": whole_range, "static_range": whole_range,
        "static_assert": lambda *args: None, "assume": lambda *args: None, "debug_barrier": lambda: None,
        "multiple_of": lambda value, by: value, "max_contiguous": lambda value, by: value, "max_constancy": lambda value, by: value,
    }  # fmt: skip


def _blocks() -> dict[str, Any]:
    def where(condition: Any, yes: Any, no: Any) -> Block:
        one, two = (value.value if isinstance(value, Block) else value for value in (yes, no))
        return Block(torch.where(as_tensor(condition), one, two))

    def largest(a: Any, b: Any, **options: Any) -> Block:
        return Block(torch.maximum(*_alike(a, b)))

    def smallest(a: Any, b: Any, **options: Any) -> Block:
        return Block(torch.minimum(*_alike(a, b)))

    def total(value: Any, axis: int | None = None, keep_dims: bool = False, dtype: Any = None) -> Block:
        values = as_tensor(value)
        # Half precision adds up in single precision; small integers in 32 bits.
        kind = dtype or (torch.float32 if values.dtype in (torch.bfloat16, torch.float16) else values.dtype)
        kind = torch.int32 if kind in (torch.bool, torch.int8, torch.int16) else kind
        return Block(values.sum(dtype=kind) if axis is None else values.sum(axis, keepdim=keep_dims, dtype=kind))

    def reduced(function: Callable[..., Any]) -> Callable[..., Block]:
        def reduce(value: Any, axis: int | None = None, keep_dims: bool = False, **options: Any) -> Block:
            values = as_tensor(value)
            values = values.float() if values.dtype in (torch.bfloat16, torch.float16) else values
            return Block(function(values) if axis is None else function(values, dim=axis, keepdim=keep_dims))

        return reduce

    def dot(a: Any, b: Any, acc: Any = None, out_dtype: Any = torch.float32, **options: Any) -> Block:
        product = as_tensor(a).float() @ as_tensor(b).float()
        return Block((product if acc is None else product + as_tensor(acc)).to(out_dtype))

    def split(value: Any) -> tuple[Block, Block]:
        first, second = as_tensor(value).unbind(-1)
        return Block(first), Block(second)

    def shaped(value: Any, *shape: Any) -> Block:
        wanted = shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape
        return Block(as_tensor(value).reshape([int(size) for size in wanted]))

    def permuted(value: Any, *dims: Any) -> Block:
        order = dims[0] if len(dims) == 1 and not isinstance(dims[0], int) else dims
        return Block(as_tensor(value).permute([int(dim) for dim in order] if order else [1, 0]))

    def spread(value: Any, *shape: Any) -> Block:
        wanted = shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape
        return Block(as_tensor(value).expand([int(size) for size in wanted]))

    return {
        "where": where, "maximum": largest, "minimum": smallest, "sum": total, "max": reduced(torch.amax), "min": reduced(torch.amin),
        "argmax": lambda value, axis, **options: Block(as_tensor(value).argmax(axis)),
        "argmin": lambda value, axis, **options: Block(as_tensor(value).argmin(axis)),
        "cumsum": lambda value, axis=0, **options: Block(as_tensor(value).cumsum(axis)),
        "softmax": lambda value, **options: Block(as_tensor(value).softmax(0)),
        "clamp": lambda value, low, high, **options: smallest(largest(value, low), high),
        "dot": dot, "split": split, "join": lambda a, b: Block(torch.stack([as_tensor(a), as_tensor(b)], -1)),
        "reshape": shaped, "view": shaped, "permute": permuted, "trans": permuted, "broadcast_to": spread, "ravel": lambda value: shaped(value, -1),
        "expand_dims": lambda value, axis: Block(as_tensor(value).unsqueeze(axis)),
        "arange": lambda start, end: Block(torch.arange(int(start), int(end), dtype=torch.int32)),
        "zeros": lambda shape, dtype: Block(torch.zeros([int(size) for size in shape], dtype=dtype)),
        "zeros_like": lambda value: Block(torch.zeros_like(as_tensor(value))),
        "full": lambda shape, value, dtype: Block(torch.full([int(size) for size in shape], value, dtype=dtype)),
        "cast": cast,
    }  # fmt: skip


def _memory() -> dict[str, Any]:
    def load(pointer: Pointer, mask: Any = None, other: Any = None, **options: Any) -> Block:
        return pointer.load(mask, other)

    def store(pointer: Pointer, value: Any, mask: Any = None, **options: Any) -> None:
        pointer.store(value, mask)

    def atomic_add(pointer: Pointer, value: Any, mask: Any = None, **options: Any) -> None:
        pointer.add(value, mask)

    def make_tensor_descriptor(base: Pointer, shape: Any, strides: Any, block_shape: Any, **options: Any) -> Descriptor:
        start = int(base.offset)
        view = base.memory[start:].as_strided([int(size) for size in shape], [int(step) for step in strides])
        return Descriptor(view, shape, strides, block_shape)

    return {"load": load, "store": store, "atomic_add": atomic_add, "make_tensor_descriptor": make_tensor_descriptor}


def _alike(a: Any, b: Any) -> tuple[Any, Any]:
    """Two tensors of the type that their operation has."""
    one, two = as_tensor(a), as_tensor(b)
    if isinstance(a, Block) != isinstance(b, Block):
        kind = (one if isinstance(a, Block) else two).dtype
        kind = kind if kind.is_floating_point or not (one.is_floating_point() or two.is_floating_point()) else torch.float32
    else:
        kind = torch.promote_types(one.dtype, two.dtype)
    return one.to(kind), two.to(kind)
