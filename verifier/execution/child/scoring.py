# mypy: disable-error-code="import-not-found, misc"
"""Losses per target wherever a cross entropy is formed, and which of them the script adds up.

A loss tensor carries, as an attribute, the indices under which its entries were recorded. Indexing, reshaping and copying are
repeated on the indices; a sum, a mean or a number taken from the tensor notes them as counted.

What is computed from losses entry by entry (probabilities, mixtures, logarithms of mixtures) carries the indices of the losses
that it comes from. When the script adds it up, its entries are recorded as losses of the same targets: `mixed`, no cross entropies.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

from verifier.execution.child.callers import site
from verifier.execution.child.devices import map_call
from verifier.execution.child.recorder import Recorder
from verifier.execution.child.updates import Updates

T: Any = torch.Tensor
MARK = "_recorded_at"
LOGP = "_log_probabilities"
ORIGIN = "_computed_from"

SHAPES: frozenset[Any] = frozenset({
    T.reshape, T.view, T.flatten, T.squeeze, T.unsqueeze, T.contiguous, T.transpose, T.permute, T.select, T.narrow, T.clone,
    T.detach, T.masked_select, T.index_select, T.__getitem__, T.chunk, T.split, T.unbind, T.t, T.view_as, T.reshape_as,
    T.unflatten, torch.reshape, torch.flatten, torch.squeeze, torch.unsqueeze, torch.transpose, torch.permute, torch.narrow, torch.clone,
    torch.masked_select, torch.index_select, torch.chunk, torch.split, torch.unbind, torch.select, torch.detach,
})  # fmt: skip
SAME: frozenset[Any] = frozenset({T.to, T.float, T.double, T.cpu, T.type, T.half, T.bfloat16, T.requires_grad_})
SUMS: frozenset[Any] = frozenset({T.sum, T.mean, torch.sum, torch.mean, T.nansum, torch.nansum})
NUMBERS: frozenset[Any] = frozenset({T.item, T.tolist, T.__float__})
ARRAYS: frozenset[Any] = frozenset({T.numpy, T.__array__})
PRODUCTS: frozenset[Any] = frozenset({T.mul, torch.mul, T.__mul__, T.__rmul__, T.mul_})
JOINS: frozenset[Any] = frozenset({torch.cat, torch.stack, torch.concat})
LOG_SOFTMAX: frozenset[Any] = frozenset({F.log_softmax, torch.log_softmax, T.log_softmax})
SOFTMAX: frozenset[Any] = frozenset({F.softmax, torch.softmax, T.softmax})
GATHERS: frozenset[Any] = frozenset({torch.gather, T.gather})
NEGATIONS: frozenset[Any] = frozenset({T.neg, torch.neg, T.__neg__, torch.negative, T.negative})
ENTRYWISE: frozenset[Any] = frozenset({
    getattr(home, name) for home in (T, torch)
    for name in ("exp", "exp2", "expm1", "log", "log2", "log1p", "add", "sub", "mul", "div", "true_divide", "clamp", "clamp_min", "clamp_max", "clip",
                 "where", "maximum", "minimum", "logaddexp", "lerp", "nan_to_num", "masked_fill", "neg", "negative", "reciprocal", "rsub", "pow",
                 "add_", "sub_", "mul_", "div_", "clamp_", "clamp_min_", "clamp_max_", "exp_", "log_", "neg_", "masked_fill_", "nan_to_num_", "lerp_")
    if hasattr(home, name)
} | {T.__add__, T.__radd__, T.__sub__, T.__rsub__, T.__mul__, T.__rmul__, T.__truediv__, T.__rtruediv__, T.__rdiv__, T.__neg__, T.__iadd__,
     T.__isub__, T.__imul__, T.__itruediv__, T.__pow__})  # fmt: skip
BACKWARDS: dict[Any, str] = {T.backward: "backward", torch.autograd.backward: "backward"}


class Observer(TorchFunctionMode):
    """Sees every torch call of the thread it is entered in."""

    def __init__(self, recorder: Recorder, updates: Updates) -> None:
        super().__init__()
        self._recorder = recorder
        self._updates = updates

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args, kwargs = map_call(func, args, kwargs or {})
        if func is F.cross_entropy:
            return self._cross_entropy(args, kwargs)
        if func in BACKWARDS:
            self._updates.backward(BACKWARDS[func])
        result = func(*args, **kwargs)
        if func in LOG_SOFTMAX or func in SOFTMAX:
            _mark(result, LOGP, func in LOG_SOFTMAX)
            return result
        source = args[0] if args else None
        if isinstance(source, T) and hasattr(source, LOGP):
            if func in GATHERS:
                self._gathered(source, result, args, kwargs)
                return result
            if func is T.__getitem__ and _picks(source, args[1]):
                self._picked(source, args[1], result)
                return result
        _keep_rows(func, args, result)
        if func in JOINS and isinstance(source, tuple | list):
            self._join(func, source, args, kwargs, result)
            return result
        if func is T.__setitem__:
            _fill(source, args)
            return result
        indices = getattr(source, MARK, None) if isinstance(source, T) else None
        if indices is not None:
            self._follow(func, source, indices, args, kwargs, result)
        elif func in PRODUCTS and len(args) > 1 and isinstance(args[1], T) and getattr(args[1], MARK, None) is not None:
            self._product(args[1], source, result)
        if func in ENTRYWISE:
            _compute(args, result)
        elif indices is None and isinstance(source, T) and hasattr(source, ORIGIN):
            self._follow_computed(func, source, args, kwargs, result)
        return result

    def _cross_entropy(self, args: Any, kwargs: Any) -> Any:
        result = F.cross_entropy(*args, **kwargs)
        logits, targets = (*args, *(kwargs.get(name) for name in ("input", "target")[len(args) :]))[:2]
        if (
            not isinstance(logits, T)
            or not isinstance(targets, T)
            or targets.is_floating_point()
            or logits.shape == targets.shape
        ):
            self._recorder.event("unreadable-loss", site=site(), shape=str(getattr(logits, "shape", ""))[:80])
            return result
        whole = kwargs.get("reduction", "mean")
        smoothing = kwargs.get("label_smoothing", 0.0) or 0.0
        weighted = kwargs.get("weight") is not None or (len(args) > 2 and args[2] is not None)
        with torch.no_grad():
            rows = logits.detach()
            if rows.dim() > 2:  # (batch, classes, time, ...)
                rows = rows.movedim(1, -1)
            rows = rows.reshape(-1, rows.shape[-1])
            flat = targets.detach().reshape(-1)
            ignore = kwargs.get("ignore_index", -100)
            losses = (
                result.detach().reshape(-1)
                if whole == "none"
                else F.cross_entropy(rows.float(), flat, reduction="none", ignore_index=ignore)
            )
            plain = not smoothing and not weighted
        start = self._record(rows, flat, losses, result, plain)
        if start is not None:
            indices = torch.arange(start, start + flat.numel(), dtype=torch.int64)
            indices = torch.where(flat == ignore, torch.full_like(indices, -1), indices)
            if whole == "none":
                _mark(result, MARK, indices.reshape(result.shape))
            elif not result.requires_grad:
                self._count(indices, f"cross_entropy-{whole}")
        return result

    def _record(self, rows: Any, targets: Any, losses: Any, result: Any, plain: bool) -> int | None:
        count = targets.numel()
        start = self._recorder.scores(
            targets.to(torch.int32).numpy(), losses.detach().float().numpy(), digest_rows(rows),
            grad=bool(result.requires_grad), width=int(rows.shape[-1]), plain=plain, site=site(),
            **({"half": True} if result.dtype in (torch.float16, torch.bfloat16) else {}),
        )  # fmt: skip
        if start is not None and result.requires_grad:
            self._updates.formed(start, count)
        return start

    def _gathered(self, rows: Any, result: Any, args: Any, kwargs: Any) -> None:
        """`log_softmax(...).gather(-1, targets)`: minus this is the loss."""
        words = (*args[1:], *(kwargs[name] for name in ("dim", "index") if name in kwargs))
        if len(words) < 2 or not isinstance(words[1], T):
            return
        dim, index = words[0], words[1]
        if dim not in (-1, rows.dim() - 1) or index.shape[-1] != 1:
            self._recorder.event("unreadable-loss", site=site(), shape=str(tuple(index.shape)))
            return
        with torch.no_grad():
            self._chosen(rows, rows.detach().reshape(-1, rows.shape[-1]), index.detach().reshape(-1), result)

    def _picked(self, rows: Any, place: Any, result: Any) -> None:
        """`log_softmax(...)[torch.arange(n), targets]`, the same."""
        with torch.no_grad():
            chosen = rows.detach()[place[:-1]].expand(*result.shape, rows.shape[-1])
            targets = torch.as_tensor(place[-1]).detach().expand(result.shape)
            self._chosen(rows, chosen.reshape(-1, rows.shape[-1]), targets.reshape(-1), result)

    def _chosen(self, source: Any, rows: Any, targets: Any, result: Any) -> None:
        """One entry of each row was taken: of log-probabilities as they came from the model, or of what was computed from them."""
        plain = getattr(source, LOGP)
        values = result.detach().reshape(-1).float()
        logs = plain or bool((values <= 0).all())
        start = self._record(rows, targets, -values if logs else -values.clamp_min(1e-38).log(), result, plain)
        if start is not None:
            indices = torch.arange(start, start + targets.numel(), dtype=torch.int64).reshape(result.shape)
            _mark(result, MARK if logs else ORIGIN, indices)

    def _join(self, func: Any, parts: Any, args: Any, kwargs: Any, result: Any) -> None:
        marks = [getattr(part, MARK, None) if isinstance(part, T) else None for part in parts]
        if any(mark is not None for mark in marks):
            filled = [
                mark if mark is not None else torch.full(part.shape, -1, dtype=torch.int64)
                for mark, part in zip(marks, parts, strict=True)
            ]
            _mark(result, MARK, func(filled, *args[1:], **{word: value for word, value in kwargs.items() if word == "dim"}))

    def _follow(self, func: Any, source: Any, indices: Any, args: Any, kwargs: Any, result: Any) -> None:
        if func in SAME or func in NEGATIONS:
            if isinstance(result, T) and result.shape == indices.shape:
                _mark(result, MARK, indices)
        elif func in SHAPES:
            followed = func(indices, *args[1:], **kwargs)
            pairs = zip(result, followed, strict=True) if isinstance(result, tuple | list) else [(result, followed)]
            for part, mark in pairs:
                _mark(part, MARK, mark)
        elif func in SUMS:
            if isinstance(result, T) and not result.requires_grad:
                self._count(indices, func.__name__)
        elif func in NUMBERS:
            self._count(indices, "number")
        elif func in ARRAYS:
            self._leave(indices)
        elif func in PRODUCTS and len(args) > 1:
            self._product(source, args[1], result)

    def _follow_computed(self, func: Any, source: Any, args: Any, kwargs: Any, result: Any) -> None:
        origin = getattr(source, ORIGIN)
        if func in SAME:
            if isinstance(result, T) and result.shape == origin.shape:
                _mark(result, ORIGIN, origin)
        elif func in SHAPES:
            followed = func(origin, *args[1:], **kwargs)
            pairs = zip(result, followed, strict=True) if isinstance(result, tuple | list) else [(result, followed)]
            for part, mark in pairs:
                _mark(part, ORIGIN, mark)
        elif func in ARRAYS or func in NUMBERS:
            self._leave(origin)
        elif func in SUMS and isinstance(result, T) and not result.requires_grad and source.is_floating_point():
            self._count_computed(source, origin, func.__name__)

    def _leave(self, indices: Any) -> None:
        """Losses, or what was computed from them, leave torch: which ones, as ranges of indices."""
        flat = indices.reshape(-1).numpy()
        borders = np.flatnonzero(np.diff(flat) != 1) + 1
        ranges = [[int(part[0]), len(part)] for part in np.split(flat, borders) if len(part)]
        # An event holds about 60 ranges.
        for at in range(0, len(ranges), 60):
            self._recorder.event("to-numpy", ranges=ranges[at : at + 60], site=site())

    def _count_computed(self, values: Any, origin: Any, how: str) -> None:
        """Entries of a sum that was computed from losses: recorded as losses themselves, of the targets they come from."""
        known = origin.reshape(-1)
        losses = values.detach().reshape(-1).float()[known >= 0]
        known = known[known >= 0].numpy().astype(np.int64)
        if not len(known):
            return
        if float(losses.sum()) < 0:  # logarithms of probabilities
            losses = -losses
        start = self._recorder.scores(
            self._recorder.targets_of(known), losses.numpy(), self._recorder.rows_of(known),
            grad=False, width=0, plain=False, mixed=True, site=site(),
        )  # fmt: skip
        if start is not None:
            self._recorder.counted(np.arange(start, start + len(known), dtype=np.int64), how, site())

    def _product(self, losses: Any, factor: Any, result: Any) -> None:
        """A mask of zeros and ones drops entries; a number keeps them; other weights end the trail."""
        indices = getattr(losses, MARK)
        if not isinstance(result, T) or result.shape != indices.shape:
            return
        if isinstance(factor, T) and factor.numel() > 1:
            mask = factor.detach().expand(indices.shape)
            if not bool(((mask == 0) | (mask == 1)).all()):
                return
            indices = torch.where(mask != 0, indices, torch.full_like(indices, -1))
        _mark(result, MARK, indices)

    def _count(self, indices: Any, how: str) -> None:
        self._recorder.counted(indices.reshape(-1).numpy().astype(np.int64), how, site())


def digest_rows(rows: Any) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """A 64-bit digest of each row's bits: equal rows have equal digests, one changed bit changes it."""
    bits = rows.detach().float().contiguous().numpy().view(np.uint32).astype(np.uint64)
    weights = _weights(bits.shape[1])
    with np.errstate(over="ignore"):
        mixed = (bits + np.uint64(0x9E3779B97F4A7C15)) * weights
        mixed ^= mixed >> np.uint64(29)
        digests: np.ndarray[Any, np.dtype[np.uint64]] = (mixed * np.uint64(0xBF58476D1CE4E5B9)).sum(axis=1, dtype=np.uint64)
        return digests


_held: dict[int, np.ndarray[Any, np.dtype[np.uint64]]] = {}


def _weights(width: int) -> np.ndarray[Any, np.dtype[np.uint64]]:
    if width not in _held:
        _held[width] = np.random.default_rng(20240520).integers(1, 2**63, size=width, dtype=np.uint64) * np.uint64(2) + np.uint64(
            1
        )
    return _held[width]


def _picks(rows: Any, place: Any) -> bool:
    """Whether an index takes one entry of each of some rows."""
    return (
        isinstance(place, tuple) and len(place) == rows.dim() and isinstance(place[-1], T)
        and not place[-1].is_floating_point() and place[-1].dtype != torch.bool
    )  # fmt: skip


def _keep_rows(func: Any, args: Any, result: Any) -> None:
    """Rows over the alphabet stay such rows in another shape, and become computed ones where something is done to their entries."""
    if not isinstance(result, T) or not result.dim() or not result.is_floating_point():
        return
    for one in args[:3]:
        if isinstance(one, T) and hasattr(one, LOGP) and one.shape[-1] == result.shape[-1]:
            if func in SHAPES or func in SAME:
                _mark(result, LOGP, getattr(one, LOGP))
            elif func in ENTRYWISE and one.shape == result.shape:
                _mark(result, LOGP, False)
            return


def _compute(args: Any, result: Any) -> None:
    """The result of an operation entry by entry comes from where its first marked argument of the same shape comes from."""
    if not isinstance(result, T) or not result.is_floating_point():
        return
    for one in args:
        if isinstance(one, T) and one.shape == result.shape:
            origin = getattr(one, MARK, None)
            origin = getattr(one, ORIGIN, None) if origin is None else origin
            if origin is not None and origin.shape == result.shape:
                _mark(result, ORIGIN, origin)
                return


def _fill(target: Any, args: Any) -> None:
    """`target[place] = losses`: the target carries them from now on."""
    value = args[2] if len(args) > 2 else None
    for name in (MARK, ORIGIN):
        mark = getattr(value, name, None) if isinstance(value, T) else None
        if mark is None:
            continue
        held = getattr(target, name, None)
        if held is None or held.shape != target.shape:
            held = torch.full(target.shape, -1, dtype=torch.int64)
        held = held.clone()
        held[args[1]] = mark
        _mark(target, name, held)


def _mark(tensor: Any, name: str, value: Any) -> None:
    if isinstance(tensor, T):
        setattr(tensor, name, value)


def install(observer: Observer) -> None:
    """Enter the observer in threads too, and see gradients that are taken without `backward`."""
    real_run: Callable[..., None] = threading.Thread.run

    def run(self: threading.Thread) -> None:
        with type(observer)(observer._recorder, observer._updates):
            real_run(self)

    threading.Thread.run = run  # type: ignore[method-assign]
    module: Any = torch.autograd
    real_grad = module.grad

    def grad(*args: Any, **kwargs: Any) -> Any:
        observer._updates.backward("autograd.grad")
        return real_grad(*args, **kwargs)

    module.grad = grad
