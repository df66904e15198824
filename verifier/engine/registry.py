"""Finding the rules: every package that registers in the entry-point group `verifier.audits`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from importlib.metadata import entry_points

from verifier.rule import Rule

GROUP = "verifier.audits"
CODE = re.compile(r"[A-Z]{3}\d{3}")


class RegistryError(Exception):
    """The installed rules contradict each other, or a selection names a rule that does not exist."""


def load_rules() -> tuple[Rule, ...]:
    """All registered rules in code order. Raises `RegistryError` on duplicate or malformed codes."""
    return order_rules(rule for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name) for rule in entry.load())


def order_rules(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    by_code: dict[str, Rule] = {}
    for rule in rules:
        if not CODE.fullmatch(rule.code):
            raise RegistryError(f"rule code {rule.code!r} is not three capitals and three digits")
        if rule.code in by_code:
            raise RegistryError(f"rule {rule.code} is registered twice")
        by_code[rule.code] = rule
    return tuple(by_code[code] for code in sorted(by_code))


def select_rules(rules: Sequence[Rule], select: Sequence[str], ignore: Sequence[str]) -> tuple[Rule, ...]:
    """The rules named by code, code prefix (`TIM`) or name. Empty `select` means all. Raises `RegistryError` on unknown words."""

    def matching(words: Sequence[str]) -> set[str]:
        codes: set[str] = set()
        for word in words:
            hits = {rule.code for rule in rules if rule.code.startswith(word.upper()) or rule.name == word}
            if not hits:
                raise RegistryError(f"no rule is called {word!r}; `verifier rules` lists them")
            codes |= hits
        return codes

    chosen = matching(select) if select else {rule.code for rule in rules}
    chosen -= matching(ignore)
    return tuple(rule for rule in rules if rule.code in chosen)
