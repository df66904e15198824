"""Runs the texts of a program abstractly and returns the trace."""

from __future__ import annotations

import ast
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from verifier.evidence import Location, Problem
from verifier.program.events import Trace
from verifier.program.library import NATIVE
from verifier.program.methods import Methods
from verifier.program.scope import ModuleText, Scope
from verifier.program.state import Budget, OutOfBudget
from verifier.program.values import Instance, Lib, Site, Value, constant, united
from verifier.program.witness import Witness

_RECURSION = 12_000
"""Python's own recursion limit while a program is walked; the depth of syntax and of calls is bounded before."""


@dataclass(frozen=True, slots=True)
class Text:
    """One parsed text of the program. `module` is the name it is imported under; `parent` the line that runs it, if it is
    executed by another text (`exec`)."""

    module: str
    path: str
    layer: int
    tree: ast.Module
    runs_at: Site | None = None


class Interpreter(Methods):
    """The whole interpreter over the texts of one program."""

    def __init__(self, texts: tuple[Text, ...], config: Mapping[str, str], budget: Budget, witness: Witness) -> None:
        super().__init__(config, budget, witness.ran)
        self._texts = texts
        self._logged = witness

    def import_module(self, name: str, scope: Scope, node: ast.AST) -> Value:
        wanted = name.lstrip(".")
        for text in self._texts:
            if (
                text.module
                and wanted
                and (text.module == wanted or text.module == wanted.rsplit(".", 1)[-1])
                and text.runs_at is None
            ):
                return self._module(text)
        return Lib(name)

    def _module(self, text: Text) -> Value:
        held = self.state.modules.get(text.path)
        if held is None:
            held = self._new_scope(text, text.module)
            self.state.modules[text.path] = held
            self.execute(text.tree.body, held)
        instance = Instance(Lib("module"), self.new_serial())
        instance.fields = held.names
        return instance

    def _new_scope(self, text: Text, name: str) -> Scope:
        scope = Scope(ModuleText(text.module or "main", text.path, text.layer))
        scope.names["__name__"] = constant(name)
        scope.names["__file__"] = constant(text.path)
        return scope

    def run_text(self, site: Site, scope: Scope) -> bool:
        """`exec` of a text that was unwrapped: it runs in the scope of its caller."""
        for text in self._texts:
            if text.runs_at == site:
                inner = Scope(ModuleText(text.module or "main", text.path, text.layer), None)
                inner.names = scope.root.names
                self.execute(text.tree.body, inner)
                return True
        return False

    def run(self, main: Text) -> Trace:
        """Execute the program from the top of its main text."""
        incomplete: list[Problem] = []
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(max(limit, _RECURSION))
        try:
            scope = self._new_scope(main, "__main__")
            self.state.modules[main.path] = scope
            self.execute(main.tree.body, scope)
        except OutOfBudget as failure:
            incomplete.append(Problem(self._where(main), "program-budget", f"the script was not walked to its end: {failure}"))
        except RecursionError:
            incomplete.append(Problem(self._where(main), "program-budget", "the script nests deeper than is walked"))
        finally:
            sys.setrecursionlimit(limit)
            united.cache_clear()  # sets of another execution are others
        state = self.state
        for event in state.events:
            if event.kind == "opaque" and not event.text.startswith(NATIVE):
                self.problem("computed-code", event.site, f"code that the program makes itself is run ({event.text})")
        if not any(event.kind == "loss" for event in state.events):
            incomplete.append(Problem(Location(main.path, layer=main.layer), "no-loss", "no line that forms a loss was reached"))
        return Trace(
            events=tuple(state.events),
            reached=state.reached,
            called=state.called,
            branches=self.finished_branches(),
            loops=state.loop_infos,
            config=state.config,
            silent=self._logged.silent,
            decided=self._logged.decided
            | {site: self._logged.shown[site] for site in state.overruled if site in self._logged.shown},
            incomplete=(*incomplete, *sorted(state.problems.values())),
        )

    def _where(self, main: Text) -> Location:
        site = self.state.stack[-1] if self.state.stack else None
        return Location(site.path, site.line, layer=site.layer) if site is not None else Location(main.path, layer=main.layer)
