"""A container for tensors and plain data. Loading it never unpickles: a pickle is a program.

Layout: 8 bytes of magic, the length of the header as little-endian uint32, a JSON header {tree, tensors}, then the raw
little-endian tensor data in header order. In the tree a tensor is {"$tensor": index}.
"""

from __future__ import annotations

import json
import math
from typing import Any

import torch
from torch import Tensor

from reference_train.errors import TrainerError

CONTAINER_MAGIC = b"RTENSOR1"
CONTAINER_DTYPES = {
    "int8": torch.int8,
    "uint8": torch.uint8,
    "int64": torch.int64,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
}


def dump_tree(tree: Any) -> bytes:
    """Serialize nested dicts (string keys), lists, numbers, strings, booleans, None and tensors."""
    tensors: list[Tensor] = []
    encoded = _encode_node(tree, tensors)
    entries = [{"dtype": str(t.dtype).removeprefix("torch."), "shape": list(t.shape)} for t in tensors]
    header = json.dumps({"tree": encoded, "tensors": entries}, separators=(",", ":"), allow_nan=False).encode()
    data = [t.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes() for t in tensors]
    return b"".join([CONTAINER_MAGIC, len(header).to_bytes(4, "little"), header, *data])


def _encode_node(node: Any, tensors: list[Tensor]) -> Any:
    if isinstance(node, Tensor):
        if str(node.dtype).removeprefix("torch.") not in CONTAINER_DTYPES:
            raise TypeError(f"the container has no type {node.dtype}")
        # Zero-dimensional tensors cannot be viewed as bytes, so they travel as one element with an empty shape.
        tensors.append(node)
        return {"$tensor": len(tensors) - 1}
    if isinstance(node, dict):
        if any(not isinstance(key, str) or key.startswith("$") for key in node):
            raise TypeError("keys of the container are strings that do not start with $")
        return {key: _encode_node(value, tensors) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return [_encode_node(value, tensors) for value in node]
    if node is None or isinstance(node, (bool, int, float, str)):
        return node
    raise TypeError(f"the container holds tensors and plain data, not {type(node).__name__}")


def load_tree(data: bytes) -> Any:
    """Inverse of `dump_tree`, checking every size before it is used."""
    if data[:8] != CONTAINER_MAGIC:
        raise TrainerError("this is not a model container (wrong magic); give the artifact that the trainer wrote")
    end = 12 + int.from_bytes(data[8:12], "little")
    try:
        header = json.loads(data[12:end])
        entries = [(CONTAINER_DTYPES[e["dtype"]], [int(n) for n in e["shape"]]) for e in header["tensors"]]
        tree = header["tree"]
    except (ValueError, KeyError, TypeError) as problem:
        raise TrainerError("the container's header is damaged; write the artifact again") from problem
    tensors: list[Tensor] = []
    for dtype, shape in entries:
        size = math.prod(shape) * dtype.itemsize
        if any(n < 0 for n in shape) or end + size > len(data):
            raise TrainerError("the container is shorter than its header says; write the artifact again")
        raw = torch.frombuffer(bytearray(data[end : end + size]), dtype=dtype) if size else torch.empty(0, dtype=dtype)
        tensors.append(raw.reshape(shape))
        end += size
    if end != len(data):
        raise TrainerError(f"{len(data) - end} bytes follow the last tensor; write the artifact again")
    return _decode_node(tree, tensors)


def _decode_node(node: Any, tensors: list[Tensor]) -> Any:
    if isinstance(node, dict):
        if "$tensor" in node:
            return tensors[node["$tensor"]]
        return {key: _decode_node(value, tensors) for key, value in node.items()}
    if isinstance(node, list):
        return [_decode_node(value, tensors) for value in node]
    return node
