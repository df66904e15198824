# mypy: disable-error-code="import-not-found, misc"
"""`torch.distributed` for a single process, and DistributedDataParallel as a plain wrapper."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from verifier.execution.child.recorder import Recorder


class Done:
    """A finished collective."""

    def wait(self, *args: Any) -> bool:
        return True

    def is_completed(self) -> bool:
        return True

    def get_future(self) -> Any:
        future: Any = torch.futures.Future()
        future.set_result(None)
        return future


class SingleProcess(nn.Module):
    """What DDP is with one rank: the module, called through."""

    def __init__(self, module: nn.Module, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        self.module = module
        self.require_backward_grad_sync = True

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)

    @contextlib.contextmanager
    def no_sync(self) -> Iterator[None]:
        yield


def install(recorder: Recorder) -> None:
    module: Any = dist
    started = {"yes": False}

    def init_process_group(*args: Any, **kwargs: Any) -> None:
        recorder.mapped("torch.distributed", "one process, collectives are copies")
        started["yes"] = True

    def destroy_process_group(*args: Any, **kwargs: Any) -> None:
        started["yes"] = False

    def same(tensor: Any, *args: Any, async_op: bool = False, **kwargs: Any) -> Any:
        return Done() if async_op else None

    def into(output: Any, tensor: Any, *args: Any, async_op: bool = False, **kwargs: Any) -> Any:
        with torch.no_grad():
            output.copy_(tensor.reshape(output.shape))
        return Done() if async_op else None

    def listed(outputs: Any, tensor: Any, *args: Any, async_op: bool = False, **kwargs: Any) -> Any:
        with torch.no_grad():
            outputs[0].copy_(tensor)
        return Done() if async_op else None

    def from_list(output: Any, tensors: Any, *args: Any, async_op: bool = False, **kwargs: Any) -> Any:
        with torch.no_grad():
            output.copy_(tensors[0])
        return Done() if async_op else None

    def from_each(outputs: Any, tensors: Any, *args: Any, async_op: bool = False, **kwargs: Any) -> Any:
        return listed(outputs, tensors[0], async_op=async_op)

    def objects(outputs: list[Any], value: Any, *args: Any, **kwargs: Any) -> None:
        outputs[0] = value

    def gathered(tensor: Any, gather_list: Any = None, *args: Any, async_op: bool = False, **kwargs: Any) -> Any:
        if gather_list:
            with torch.no_grad():
                gather_list[0].copy_(tensor)
        return Done() if async_op else None

    def gathered_objects(value: Any, outputs: Any = None, *args: Any, **kwargs: Any) -> None:
        if outputs:
            outputs[0] = value

    def scattered(tensor: Any, scatter_list: Any = None, *args: Any, async_op: bool = False, **kwargs: Any) -> Any:
        if scatter_list:
            with torch.no_grad():
                tensor.copy_(scatter_list[0])
        return Done() if async_op else None

    def not_here(name: str) -> Any:
        def refuse(*args: Any, **kwargs: Any) -> Any:
            raise recorder.not_supported(f"torch.distributed.{name}")

        return refuse

    replacements: dict[str, Any] = {
        "is_available": lambda: True, "is_initialized": lambda: started["yes"], "init_process_group": init_process_group,
        "destroy_process_group": destroy_process_group, "get_rank": lambda group=None: 0, "get_world_size": lambda group=None: 1,
        "get_backend": lambda group=None: "nccl", "barrier": lambda *args, **kwargs: None, "new_group": lambda *args, **kwargs: None,
        "all_reduce": same, "broadcast": same, "reduce": same, "all_gather_into_tensor": into, "reduce_scatter_tensor": into,
        "_all_gather_base": into, "all_to_all_single": into, "all_gather": listed, "reduce_scatter": from_list,
        "gather": gathered, "gather_object": gathered_objects, "scatter": scattered, "all_to_all": from_each, "get_node_local_rank": lambda *args: 0,
        "is_torchelastic_launched": lambda: True, "is_nccl_available": lambda: True, "is_gloo_available": lambda: True,
        "all_gather_object": objects, "broadcast_object_list": lambda *args, **kwargs: None, "monitored_barrier": lambda *args, **kwargs: None,
        "all_reduce_coalesced": same, "send": not_here("send"), "recv": not_here("recv"), "isend": not_here("isend"), "irecv": not_here("irecv"),
    }  # fmt: skip
    for name, value in replacements.items():
        setattr(module, name, value)
    parallel: Any = torch.nn.parallel
    parallel.DistributedDataParallel = SingleProcess
    parallel.distributed.DistributedDataParallel = SingleProcess
