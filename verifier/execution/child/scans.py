# mypy: disable-error-code="import-not-found, misc"
"""State-space kernels: `mamba_ssm`'s selective scan and `causal_conv1d`, written out in torch.

Shapes as there: inputs (batch, channels, time), A (channels, states), B and C constant (channels, states), per step (batch, states, time) or
per step and group (batch, groups, states, time). Computed in single precision, returned in the type of the input.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from verifier.execution.child.modules import make_module
from verifier.execution.child.recorder import Recorder


def selective_scan(u: Any, delta: Any, A: Any, B: Any, C: Any, D: Any = None, z: Any = None, delta_bias: Any = None,
                   delta_softplus: bool = False, return_last_state: bool = False) -> Any:  # fmt: skip
    """x[t] = exp(delta[t] A) x[t-1] + delta[t] B[t] u[t]; y[t] = C[t] x[t] + D u[t], times silu(z[t])."""
    channels = u.shape[1]
    steps, inputs = delta.float(), u.float()
    if delta_bias is not None:
        steps = steps + delta_bias.float()[:, None]
    if delta_softplus:
        steps = F.softplus(steps)
    entering, leaving = (_per_step(value.float(), channels) for value in (B, C))
    state = torch.zeros(u.shape[0], channels, A.shape[1])
    outputs = []
    for time in range(u.shape[2]):
        step = steps[:, :, time, None]
        state = torch.exp(step * A.float()) * state + step * entering(time) * inputs[:, :, time, None]
        outputs.append((state * leaving(time)).sum(-1))
    out = torch.stack(outputs, 2)
    if D is not None:
        out = out + inputs * D.float()[:, None]
    if z is not None:
        out = out * F.silu(z.float())
    out = out.to(u.dtype)
    return (out, state) if return_last_state else out


def _per_step(value: Any, channels: int) -> Any:
    """The (batch, channels, states) of a time."""
    if value.dim() == 2:
        return lambda time: value
    if value.dim() == 3:
        return lambda time: value[:, None, :, time]
    spread = value.repeat_interleave(channels // value.shape[1], dim=1)
    return lambda time: spread[:, :, :, time]


def causal_conv1d(x: Any, weight: Any, bias: Any = None, activation: str | None = None) -> Any:
    """Each channel with its own filter over the past: `weight` is (channels, width)."""
    width = weight.shape[1]
    out = F.conv1d(
        F.pad(x.float(), (width - 1, 0)), weight.float()[:, None], None if bias is None else bias.float(), groups=x.shape[1]
    )
    return (F.silu(out) if activation in ("silu", "swish") else out).to(x.dtype)


def install(recorder: Recorder) -> None:
    def selective_scan_fn(*args: Any, **kwargs: Any) -> Any:
        recorder.mapped("mamba_ssm.selective_scan_fn", "the recurrence, step after step")
        return selective_scan(*args, **kwargs)

    def causal_conv1d_fn(x: Any, weight: Any, bias: Any = None, seq_idx: Any = None, initial_states: Any = None,
                         return_final_states: bool = False, final_states_out: Any = None, activation: str | None = None) -> Any:  # fmt: skip
        recorder.mapped("causal_conv1d.causal_conv1d_fn", "a convolution by channel")
        if seq_idx is not None or initial_states is not None or return_final_states:
            raise recorder.not_supported("causal_conv1d_fn(states or sequences)")
        return causal_conv1d(x, weight, bias, activation)

    for name in ("mamba_ssm", "mamba_ssm.ops"):
        make_module(name)
    make_module("mamba_ssm.ops.selective_scan_interface", selective_scan_fn=selective_scan_fn)
    make_module("causal_conv1d", causal_conv1d_fn=causal_conv1d_fn)
