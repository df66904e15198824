# mypy: disable-error-code="import-not-found, misc"
"""What a Triton kernel computes with: blocks of numbers, pointers into tensors, descriptors of tensors."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch


class Block:
    """A block of numbers, or one. Operations make new blocks: `x += 1` never changes what another name holds."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    @property
    def dtype(self) -> Any:
        return self.value.dtype

    @property
    def shape(self) -> Any:
        return self.value.shape

    @property
    def T(self) -> Block:
        return Block(self.value.transpose(-1, -2))

    def to(self, dtype: Any, bitcast: bool = False, **options: Any) -> Block:
        return cast(self, dtype, bitcast)

    def __getitem__(self, index: Any) -> Block:
        return Block(self.value[index])

    def __bool__(self) -> bool:
        return bool(self.value)

    def __int__(self) -> int:
        return int(self.value)

    def __float__(self) -> float:
        return float(self.value)

    def __index__(self) -> int:
        return int(self.value)

    def __neg__(self) -> Block:
        return Block(-self.value)

    def __invert__(self) -> Block:
        return Block(~self.value)

    __hash__ = None  # type: ignore[assignment]


def _binary(function: Callable[[Any, Any], Any], *, swapped: bool = False) -> Callable[[Block, Any], Any]:
    def apply(self: Block, other: Any) -> Any:
        if isinstance(other, Pointer):
            return NotImplemented
        if other is None:
            raise TypeError("None in an operation of a kernel")
        right = other.value if isinstance(other, Block) else other
        left = self.value
        return Block(function(right, left) if swapped else function(left, right))

    return apply


def _truncated(left: Any, right: Any) -> Any:
    return torch.div(torch.as_tensor(left), right, rounding_mode="trunc")


for _name, _function in {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "truediv": operator.truediv, "mod": lambda left, right: torch.fmod(torch.as_tensor(left), right),
    "and": operator.and_, "or": operator.or_, "xor": operator.xor, "lshift": operator.lshift, "rshift": operator.rshift,
}.items():  # fmt: skip
    setattr(Block, f"__{_name}__", _binary(_function))
    setattr(Block, f"__r{_name}__", _binary(_function, swapped=True))
setattr(Block, "__floordiv__", _binary(_truncated))  # noqa: B010
setattr(Block, "__rfloordiv__", _binary(_truncated, swapped=True))  # noqa: B010
for _name, _function in {
    "lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge, "eq": operator.eq, "ne": operator.ne,
}.items():  # fmt: skip
    setattr(Block, f"__{_name}__", _binary(_function))


class Pointer:
    """Places in the memory of a tensor: `offset` counts elements from the tensor's first."""

    __slots__ = ("memory", "offset")

    def __init__(self, memory: Any, offset: Any) -> None:
        self.memory = memory
        self.offset = offset

    @classmethod
    def to(cls, tensor: Any) -> Pointer:
        """A pointer to a tensor's first element, reaching to the end of its storage as on the hardware."""
        flat = tensor.detach()
        reach = flat.untyped_storage().nbytes() // flat.element_size() - flat.storage_offset()
        return cls(flat.as_strided((reach,), (1,), flat.storage_offset()), torch.tensor(0, dtype=torch.int64))

    @property
    def dtype(self) -> Any:
        return _PointerType(self.memory.dtype)

    def __add__(self, other: Any) -> Pointer:
        return Pointer(self.memory, self.offset + (other.value if isinstance(other, Block) else other))

    __radd__ = __add__

    def __sub__(self, other: Any) -> Pointer:
        return Pointer(self.memory, self.offset - (other.value if isinstance(other, Block) else other))

    def __getitem__(self, index: Any) -> Pointer:
        return Pointer(self.memory, self.offset[index])

    def load(self, mask: Any, other: Any) -> Block:
        if mask is None:
            return Block(self.memory[self._checked(self.offset)])
        chosen, places = self._masked(mask)
        found = self.memory[places]
        filling = torch.zeros((), dtype=found.dtype) if other is None else as_tensor(other).to(found.dtype)
        return Block(torch.where(chosen, found, filling))

    def store(self, value: Any, mask: Any) -> None:
        values = as_tensor(value).to(self.memory.dtype)
        if mask is None:
            self.memory[self._checked(self.offset)] = values
            return
        chosen, places = self._masked(mask)
        self.memory[places[chosen]] = values.expand(places.shape)[chosen]

    def add(self, value: Any, mask: Any) -> None:
        chosen, places = self._masked(True if mask is None else mask)
        values = as_tensor(value).to(self.memory.dtype).expand(places.shape)
        self.memory.index_put_((places[chosen],), values[chosen], accumulate=True)

    def _masked(self, mask: Any) -> tuple[Any, Any]:
        given, offset = as_tensor(mask).bool(), torch.as_tensor(self.offset)
        # Both in the shape of both.
        chosen = given & torch.ones_like(offset, dtype=torch.bool)
        places = offset + torch.zeros_like(given, dtype=offset.dtype)
        return chosen, self._checked(torch.where(chosen, places, torch.zeros_like(places)))

    def _checked(self, places: Any) -> Any:
        # An index below zero would count from the end.
        if places.numel() and int(places.min()) < 0:
            raise IndexError("a kernel reaches before its tensor")
        return places.to(torch.int64)


class _PointerType:
    def __init__(self, element: Any) -> None:
        self.element_ty = element


class Descriptor:
    """`TensorDescriptor`: blocks of a tensor by the place of their first element. Beyond the tensor there are zeros, and nothing is
    stored."""

    def __init__(self, base: Any, shape: Any, strides: Any, block_shape: Sequence[int], *rest: Any, **options: Any) -> None:
        self.base = base
        self.shape = [int(size) for size in shape]
        self.strides = [int(step) for step in strides]
        self.block_shape = [int(size) for size in block_shape]
        self.dtype = base.dtype
        self._view = base.detach().as_strided(self.shape, self.strides, base.storage_offset())

    @classmethod
    def from_tensor(cls, tensor: Any, block_shape: Sequence[int], *rest: Any, **options: Any) -> Descriptor:
        return cls(tensor, tensor.shape, tensor.stride(), block_shape)

    def load(self, offsets: Sequence[Any]) -> Block:
        inside = self._inside(offsets)
        part = self._view[inside]
        if list(part.shape) == self.block_shape:
            return Block(part.clone())
        filled = torch.zeros(self.block_shape, dtype=part.dtype)
        filled[tuple(slice(0, size) for size in part.shape)] = part
        return Block(filled)

    def store(self, offsets: Sequence[Any], value: Any) -> None:
        part = self._view[self._inside(offsets)]
        part.copy_(as_tensor(value)[tuple(slice(0, size) for size in part.shape)])

    def _inside(self, offsets: Sequence[Any]) -> tuple[slice, ...]:
        starts = [int(offset) for offset in offsets]
        if min(starts) < 0:
            raise IndexError("a descriptor reaches before its tensor")
        return tuple(
            slice(min(start, size), min(start + length, size))
            for start, length, size in zip(starts, self.block_shape, self.shape, strict=True)
        )


def as_tensor(value: Any) -> Any:
    return value.value if isinstance(value, Block) else torch.as_tensor(value)


def cast(value: Any, dtype: Any, bitcast: bool = False, **options: Any) -> Block:
    held = as_tensor(value)
    return Block(held.view(dtype) if bitcast else held.to(dtype))
