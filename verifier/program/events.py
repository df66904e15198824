"""What an abstract execution leaves behind: events in program order, the lines that were reached, the branches taken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from verifier.evidence import Location, Problem
from verifier.program.values import Labels, Site, Value

type LoopKey = int


@dataclass(frozen=True, slots=True)
class Guard:
    """A condition that was not known when the event happened under it. `labels` say what it depends on."""

    site: Site
    text: str
    taken: bool
    labels: Labels
    untold: bool = False
    """Whether it depends on what nobody states: files that may be there, arguments, attributes that were set unseen."""

    @property
    def of_setting(self) -> bool:
        """True when the condition depends on a setting whose value is not known."""
        return any(label[0] == "env" for label in self.labels)

    @property
    def on_configuration(self) -> bool:
        """True when what decides is not known and is not merely data at run time."""
        return self.untold or self.of_setting


@dataclass(frozen=True, slots=True, eq=False)
class Event:
    """Something that matters for the rules, in program order.

    `kind` is one of `loss`, `backward`, `update`, `write`, `lookup`, `report`, `read`, `save`, `load-state`, `network`, `opaque`,
    `select`, `process`, `drop`, `exchange` (of what processes hold). `tokens` are the labels of the tokens it is about: the targets of a loss, for an update the targets of
    the losses behind its gradients, for a write the data written. `grad` is False under no_grad/inference_mode.
    """

    kind: str
    index: int
    site: Site
    labels: Labels
    tokens: Labels
    values: tuple[Value, ...]
    text: str
    guards: tuple[Guard, ...]
    loops: tuple[tuple[LoopKey, int], ...]
    stack: tuple[Site, ...]
    grad: bool
    function: str
    conditions: tuple[Site, ...] = ()
    """Conditions around it that are known to hold under the configuration."""

    @property
    def certain(self) -> bool:
        """True when no setting with an unknown value decides whether this happens."""
        if self.kind == "report":  # a print that goes to a file as well, or not
            return not any(guard.of_setting for guard in self.guards)
        return not any(guard.on_configuration for guard in self.guards)


@dataclass(frozen=True, slots=True)
class LoopInfo:
    """A loop as executed at one call path. `count` is the number of iterations when known."""

    site: Site
    text: str
    count: int | None


@dataclass(frozen=True, slots=True)
class Branch:
    """A condition: the values it had each time it was reached (`None`: not known)."""

    site: Site
    text: str
    outcomes: tuple[bool | None, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """One abstract execution under one configuration."""

    events: tuple[Event, ...]
    reached: Mapping[Site, bool]
    """Statements that were executed; False when only under a setting with an unknown value."""
    called: Mapping[str, Site]
    """Functions of the program that were called, with the first call."""
    branches: Mapping[Site, Branch]
    loops: Mapping[LoopKey, LoopInfo]
    config: Mapping[str, str]
    silent: frozenset[Site] = frozenset()
    """Conditions whose branch prints and of which no log has a trace."""
    decided: Mapping[Site, Location] = field(default_factory=dict)
    """The log lines by which conditions were decided against the settings."""
    incomplete: tuple[Problem, ...] = field(default=())
    """Why the execution is not whole: a budget, a construct that is not modelled."""

    def of(self, *kinds: str) -> tuple[Event, ...]:
        return tuple(event for event in self.events if event.kind in kinds)
