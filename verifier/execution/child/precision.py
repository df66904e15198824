# mypy: disable-error-code="import-not-found, misc"
"""Mixed precision: autocast on the CPU in the precision that the script asks for (half becomes bfloat16), no loss scaling."""

from __future__ import annotations

from typing import Any

import torch

from verifier.execution.child.recorder import Recorder


def install(recorder: Recorder) -> None:
    torch_module: Any = torch
    real: Any = torch.autocast

    class Autocast(real):
        def __init__(self, device_type: str = "cuda", dtype: Any = None, enabled: bool = True, cache_enabled: Any = None) -> None:
            if device_type == "cuda":
                recorder.mapped("torch.autocast(cuda)", "autocast on the CPU in bfloat16")
                device_type = "cpu"
                dtype = torch.bfloat16 if dtype in (None, torch.float16) else dtype
            super().__init__(device_type, dtype=dtype, enabled=enabled, cache_enabled=cache_enabled)

    class CudaAutocast(Autocast):
        def __init__(self, enabled: bool = True, dtype: Any = torch.bfloat16, cache_enabled: Any = None) -> None:
            super().__init__("cuda", dtype=dtype, enabled=enabled, cache_enabled=cache_enabled)

    torch_module.autocast = Autocast
    torch_module.amp.autocast = Autocast
    torch_module.cuda.amp.autocast = CudaAutocast
    torch_module.get_autocast_gpu_dtype = lambda: torch.bfloat16

    class InferenceMode(torch.no_grad):
        """Scores are recorded through tensors that inference mode would lock; `no_grad` gives the same numbers."""

        def __new__(cls, mode: Any = True) -> Any:
            if callable(mode):
                return torch.no_grad()(mode)
            return super().__new__(cls)

        def __init__(self, mode: bool = True) -> None:
            super().__init__()
            self.mode = mode

        def __enter__(self) -> None:
            if self.mode:
                super().__enter__()

        def __exit__(self, *exc: Any) -> None:
            if self.mode:
                super().__exit__(*exc)

        def clone(self) -> Any:
            return InferenceMode(self.mode)

    torch_module.inference_mode = InferenceMode
