"""What an abstract execution remembers, and how much it may do."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from verifier.evidence import Problem
from verifier.program.events import Event, Guard, LoopInfo
from verifier.program.scope import Scope
from verifier.program.values import Data, Instance, Label, Labels, Site, Value


class OutOfBudget(Exception):
    """The execution took more steps, events or time than it may."""


@dataclass(frozen=True, slots=True)
class Budget:
    steps: int = 700_000
    seconds: float = 6.0
    labels: int = 1_500_000
    """Labels of all events together. Weights that thousands of updates change one after the other have one for each of them, and so
    has all that is computed from them: memory grows with the square of their number. Real scripts stay below 200,000."""


@dataclass(slots=True)
class Summary:
    """What a model's method does, in terms of its parameters: its result and the events it causes."""

    result: Value
    events: tuple[Event, ...]
    parameters: tuple[Label, ...]
    captured: tuple[tuple[Data, Labels], ...]
    """What it reads besides its arguments and the model's state, with the labels that it had."""


@dataclass(slots=True)
class State:
    """Everything that changes during an execution."""

    config: Mapping[str, str]
    budget: Budget
    steps: int = 0
    serial: int = 0
    labelled: int = 0
    """Labels of the events so far."""
    events: list[Event] = field(default_factory=list)
    guards: list[Guard] = field(default_factory=list)
    skips: dict[tuple[tuple[int, int], ...], Labels] = field(default_factory=dict)
    """What the conditions depend on that may have left an iteration before its end, by iteration."""
    loops: list[tuple[int, int]] = field(default_factory=list)
    stack: list[Site] = field(default_factory=list)
    functions: list[str] = field(default_factory=list)
    grad: bool = True
    conditions: list[Site] = field(default_factory=list)
    """Conditions that are known to hold around the current statement."""
    overruled: set[Site] = field(default_factory=set)
    """Conditions that the settings decide otherwise than a log line."""
    passes: int = 1
    """Iterations of the loops around the current statement, multiplied."""
    fork_serial: int = 0
    """Objects younger than this were made on the current, possibly not taken, path: their fields can be replaced."""
    symbolic: list[int] = field(default_factory=list)
    """Summaries being made, by their serial: reads of model state are then symbolic."""
    captured: dict[int, tuple[Data, Labels]] = field(default_factory=dict)
    """Names read by the summary being made, by identity."""
    escapes: int = 0
    """In-place changes that outlive the method being summarised."""
    pending: list[Event] = field(default_factory=list)
    """Backward passes since the gradients were cleared."""
    stepped: bool = False
    disk: dict[str, Value] = field(default_factory=dict)
    cut: set[int] = field(default_factory=set)
    """Loops of which one iteration stands for all."""
    consumer: tuple[ast.AST, Callable[[Value], None]] | None = None
    """Who takes what the next call of this generator function yields."""
    hooks: list[tuple[Instance, Value]] = field(default_factory=list)
    reached: dict[Site, bool] = field(default_factory=dict)
    called: dict[str, Site] = field(default_factory=dict)
    branches: dict[Site, tuple[str, list[bool | None]]] = field(default_factory=dict)
    loop_keys: dict[tuple[Site, ...], int] = field(default_factory=dict)
    loop_infos: dict[int, LoopInfo] = field(default_factory=dict)
    problems: dict[tuple[str, str], Problem] = field(default_factory=dict)
    summaries: dict[object, Summary | None] = field(default_factory=dict)
    kept: list[Value] = field(default_factory=list)
    modules: dict[str, Scope] = field(default_factory=dict)
    replaced: dict[str, Value] = field(default_factory=dict)
    """Attributes of libraries that the program assigns to."""
    deadline: float = 0.0
