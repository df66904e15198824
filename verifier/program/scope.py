"""Names of the interpreted program: one scope for each call, module and class body."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from verifier.program.values import Site, Value, join


class Left(NamedTuple):
    """A path that leaves an iteration: how (`break`, `continue`), the names that it has bound, and the condition that it depends on."""

    outcome: str
    names: dict[str, Value]
    condition: Value


class Scope:
    """Names to values. `parent` is the enclosing scope for look-ups; class bodies are skipped by functions inside them."""

    __slots__ = ("consumer", "left", "module", "names", "outer", "parent", "returns", "yielded", "yields")

    def __init__(self, module: ModuleText, parent: Scope | None = None) -> None:
        self.module = module
        self.parent = parent
        self.names: dict[str, Value] = {}
        self.outer: dict[str, Scope] = {}
        """Names declared `global` or `nonlocal`, with the scope they live in."""
        self.left: list[Left] = []
        """Where an iteration of the loops around the current statement may have been left."""
        self.returns: list[Value] = []
        self.yields: list[Value] = []
        self.yielded: int | None = None
        """Number of the first event after a generator had yielded for the first time."""
        self.consumer: Callable[[Value], None] | None = None

    def find(self, name: str) -> Value | None:
        scope: Scope | None = self
        while scope is not None:
            value = scope.names.get(name)
            if value is not None:
                return value
            scope = scope.parent
        return None

    def bind(self, name: str, value: Value) -> None:
        target = self.outer.get(name)
        (target or self).names[name] = value

    @property
    def root(self) -> Scope:
        scope = self
        while scope.parent is not None:
            scope = scope.parent
        return scope


class ModuleText:
    """One text of the program that is executed: a file or a layer of it."""

    __slots__ = ("layer", "name", "path", "sites")

    def __init__(self, name: str, path: str, layer: int) -> None:
        self.name = name
        self.path = path
        self.layer = layer
        self.sites: dict[int, Site] = {}

    def site(self, line: int) -> Site:
        found = self.sites.get(line)
        if found is None:
            found = self.sites[line] = Site(self.path, self.layer, line)
        return found


def join_names(first: dict[str, Value], second: dict[str, Value], chosen: Value | None = None) -> dict[str, Value]:
    """The names after two paths meet; a name that only one path binds keeps that value. `chosen`: the condition of the first."""
    joined = dict(first)
    for name, value in second.items():
        known = joined.get(name)
        joined[name] = value if known is None or known is value else join(known, value, chosen=chosen)
    return joined


def rejoin(scope: Scope, outcome: str, start: int) -> None:
    """Names that paths have bound which left an iteration in this way, at the place where they meet the others again."""
    meeting = [one for one in scope.left[start:] if one.outcome == outcome]
    scope.left[start:] = [one for one in scope.left[start:] if one.outcome != outcome]
    for left in meeting:
        for name, value in left.names.items():
            known = scope.names.get(name)
            scope.names[name] = value if known is None or known is value else join(value, known, chosen=left.condition)


def scope_of(site: Site) -> Scope:
    """An empty scope for a call that no text of the program spells out."""
    return Scope(ModuleText("", site.path, site.layer))
