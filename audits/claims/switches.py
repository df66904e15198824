"""The switches of rule-relevant features: which environment variable turns a feature on, and what it is set to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from verifier.evidence import Location
from verifier.ledger.configuration import documented_commands, first_reads, is_on, logged_setting
from verifier.submission.logs.model import Run
from verifier.submission.readme import Setting
from verifier.submission.script import EnvRead
from verifier.submission.submission import Submission

_ON = r"(?:_ENABLED?|_ON|_EVAL)?"
_NAMES = {
    "prequant-ttt": re.compile(r"(?:ENABLE_|USE_)?PRE_?QUANT_TTT" + _ON),
    "ttt": re.compile(r"(?:ENABLE_|USE_|RUN_|DO_)?(?:(?:LEGAL|SCORE_FIRST|CAUSAL|LORA|PHASED|SLIDING)_)?TTT" + _ON),
    "slot": re.compile(r"(?:ENABLE_|USE_|RUN_)?(?:CAUSAL_)?SLOT" + _ON),
    "ngram": re.compile(r"(?:ENABLE_|USE_)?NGRAM_(?:CACHE|MIX(?:ER)?|TILT|BACKOFF|EVAL|RESCORE|TWO_PASS)" + _ON),
    "etlb": re.compile(r"(?:ENABLE_|USE_)?ETLB" + _ON),
}
_AMOUNT = ("_EPOCHS", "_STEPS", "_PASSES")
"""A feature that is on with zero of these does nothing."""


@dataclass(frozen=True, slots=True)
class Switch:
    """A switch as the documented command leaves it. `source` is where that value stands; `set_by_command` tells which."""

    name: str
    value: str
    on: bool
    set_by_command: bool
    source: Location
    read: EnvRead


def switches(submission: Submission, topic: str) -> tuple[Switch, ...]:
    """The switches of a feature under the documented command, or with no settings at all when none is documented. Of several
    commands, off wins: the reader may have meant that."""
    reads = first_reads(submission)
    commands = documented_commands(submission)
    found = []
    for name, read in sorted(reads.items()):
        if not _NAMES[topic].fullmatch(name):
            continue
        settings = [{setting.name: setting for setting in command.settings} for command in commands] or [{}]
        states = [_state(name, read, one, reads) for one in settings]
        known = [state for state in states if state is not None]
        if known and len(known) == len(states):
            found.append(min(known, key=lambda state: state.on))
    return tuple(found)


def _state(name: str, read: EnvRead, settings: Mapping[str, Setting], reads: Mapping[str, EnvRead]) -> Switch | None:
    setting = settings.get(name)
    if setting is not None and not setting.literal:
        return None
    value, source = (setting.value, setting.source) if setting is not None else (read.default, read.source)
    if value is None:
        return None
    on = bool(value) if read.kind == "bool-trap" else is_on(value)
    if on is None:
        return None
    if on and any(_amount(name, suffix, settings, reads) == 0 for suffix in _AMOUNT):
        on = False
    return Switch(name, value, on, setting is not None, source, read)


def _amount(name: str, suffix: str, settings: Mapping[str, Setting], reads: Mapping[str, EnvRead]) -> float | None:
    """The value of `TTT_EPOCHS` beside `TTT_ENABLED`; `None` when there is none."""
    stem = re.sub(_ON + "$", "", name)
    related = stem + suffix
    text = settings[related].value if related in settings else reads[related].default if related in reads else None
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None


def logged_switch(submission: Submission, run: Run, switch: Switch) -> tuple[bool, Location] | None:
    """What the dump of a run says about a switch."""
    value = logged_setting(run, switch.name, switch.read)
    on = is_on(value.text) if value is not None else None
    return (on, value.source) if value is not None and on is not None else None
