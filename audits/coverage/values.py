"""What the replay of an evaluation loop knows: integers, lists of them, the token stream, and values that it does not compute."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field


class Unknown(Exception):
    """The replay can't say what happens."""


@dataclass(frozen=True, slots=True)
class Opaque:
    """A value that is not computed; `loss` when per-target losses flow into it."""

    loss: bool = False


@dataclass(frozen=True, slots=True)
class Tokens:
    """The validation stream, `count` tokens, or a part of it."""

    count: int
    part: bool = False


OPAQUE = Opaque()
LOSS = Opaque(True)

type Known = int | bool | list["Known"] | Opaque | Tokens | None


@dataclass(slots=True)
class Scored:
    """What the windows covered: `slices` of the losses as (first, end) target numbers, `chunks` of the stream as such."""

    slices: dict[tuple[int, int, int], ast.AST] = field(default_factory=dict)
    chunks: dict[tuple[int, int], ast.AST] = field(default_factory=dict)
    trimmed: bool = False
    """A part of a chunk was taken out of it, beyond the shift by one between inputs and targets: not all of it may count."""
    passed_over: bool = False
    """A `continue` or `break` under a condition that is not known was taken to stay unused."""


def opaque(loss: bool) -> Opaque:
    """A value that is not computed; most of a model's code is such values, so they are not made anew each time."""
    return LOSS if loss else OPAQUE


def is_loss(value: Known) -> bool:
    return (isinstance(value, Opaque) and value.loss) or (isinstance(value, list) and any(is_loss(one) for one in value[:8]))


def window_start(item: Known) -> int | None:
    """The start of a window that a loop is at: its number, or the first field of a record that begins with one."""
    if isinstance(item, int):
        return item
    if isinstance(item, list) and len(item) == 2 and isinstance(item[0], int):
        # enumerate(windows): number and start; a window may itself be a record that begins with its start.
        return window_start(item[1]) if not isinstance(item[1], Opaque | Tokens | None) else None
    return item[0] if isinstance(item, list) and item and isinstance(item[0], int) else None
