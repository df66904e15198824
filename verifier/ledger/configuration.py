"""The configuration of a run: what the log dumped, else what the documented command sets, else the default in the script.

All sources are kept. Where they differ, the highest-ranked one is the run's value, and the others say what would have happened
under the command as documented, or with no settings at all.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass

from verifier.evidence import Location, Number
from verifier.ledger.claims import claimed_runs
from verifier.submission.logs.model import Run, Value
from verifier.submission.readme import RunCommand, Setting
from verifier.submission.script import EnvRead
from verifier.submission.submission import Submission, worked_out_once

LOG = "log"
COMMAND = "command"
DEFAULT = "default"

_PER_RUN = frozenset({"SEED", "RUN_ID"})
"""Settings that differ from run to run by design: the documented command shows one of them."""
_TRUE = frozenset({"true", "yes", "on"})
_FALSE = frozenset({"false", "no", "off", "none", ""})


@dataclass(frozen=True, slots=True)
class ConfigRow:
    """One setting of the run: effective value, where it came from, and other sources that say otherwise."""

    name: str
    value: str
    origin: str
    """`log`, `command` or `default`."""
    source: Location
    others: tuple[tuple[str, str, Location], ...] = ()
    """(origin, value, source) of lower-ranked sources that differ."""


@worked_out_once
def resolve_configuration(submission: Submission) -> tuple[ConfigRow, ...]:
    """One row for each setting that the program reads or the documented command sets, by name."""
    reads = first_reads(submission)
    settings = documented_settings(submission)
    runs = claimed_runs(submission) or submission.runs
    rows = []
    for name in sorted({*reads, *settings}):
        stated = _stated(name, reads.get(name), settings.get(name), runs)
        if stated:
            (origin, value, source), *lower = stated
            others = () if name in _PER_RUN else tuple(entry for entry in lower if not same_setting(entry[1], value))
            rows.append(ConfigRow(name, value, origin, source, others))
    return tuple(rows)


def _stated(name: str, read: EnvRead | None, setting: Setting | None, runs: tuple[Run, ...]) -> list[tuple[str, str, Location]]:
    stated: list[tuple[str, str, Location]] = []
    logged = next((value for run in runs if (value := logged_setting(run, name, read)) is not None), None)
    if logged is not None:
        stated.append((LOG, logged.text, logged.source))
    if setting is not None and setting.literal:
        stated.append((COMMAND, setting.value, setting.source))
    if read is not None and read.default is not None:
        stated.append((DEFAULT, read.default, read.source))
    return stated


def first_reads(submission: Submission) -> Mapping[str, EnvRead]:
    """The first read of each environment variable with a literal default (else the first read), main script first."""
    reads: dict[str, EnvRead] = {}
    for read in submission.program.env_reads:
        known = reads.get(read.name)
        if known is None or (known.default is None and read.default is not None):
            reads[read.name] = read
    return reads


def documented_commands(submission: Submission) -> tuple[RunCommand, ...]:
    """The README's commands that run the main script, in document order."""
    main = submission.program.main
    if main is None:
        return ()
    wanted = posixpath.basename(main.path)
    commands = [command for readme in submission.readmes[:1] for command in readme.commands]
    return tuple(command for command in commands if command.script and posixpath.basename(command.script) == wanted)


def _commands_of_absent_script(submission: Submission, reads: Mapping[str, EnvRead]) -> tuple[RunCommand, ...]:
    """Commands that set what the main script reads and name a script that the folder does not have: the main script before it was
    renamed."""
    names = {posixpath.basename(entry.path) for entry in submission.files}
    return tuple(
        command
        for readme in submission.readmes[:1]
        for command in readme.commands
        if command.script
        and posixpath.basename(command.script) not in names
        and any(setting.name in reads for setting in command.settings)
    )


def documented_command(submission: Submission) -> RunCommand | None:
    """The command of the record: of several, one on eight processes, then the one that the claimed runs contradict least, then the
    first."""
    reads = first_reads(submission)
    commands = documented_commands(submission) or _commands_of_absent_script(submission, reads)
    if len(commands) < 2:
        return commands[0] if commands else None
    runs = claimed_runs(submission)

    def contradictions(command: RunCommand) -> int:
        shown = [
            (setting.value, value.text)
            for setting in command.settings
            if setting.literal and setting.name not in _PER_RUN
            for run in runs[:1]
            if (value := logged_setting(run, setting.name, reads.get(setting.name))) is not None
        ]
        return sum(not same_setting(stated, logged) for stated, logged in shown)

    return min(commands, key=lambda command: (command.processes != 8, contradictions(command)))


def documented_settings(submission: Submission) -> Mapping[str, Setting]:
    command = documented_command(submission)
    return {setting.name: setting for setting in command.settings} if command is not None else {}


def logged_setting(run: Run, name: str, read: EnvRead | None) -> Value | None:
    """The value of a setting in the dump of a run: dumps print the attribute (`ttt_enabled`) or the variable itself."""
    keys = (read.target.rsplit(".", 1)[-1] if read is not None and read.target else "", name, name.lower())
    return next((run.config[key] for key in keys if key and key in run.config), None)


def same_setting(first: str, second: str) -> bool:
    """Whether two texts set one value: `1` and `True`, `0.5` and `.50`."""
    one, two = first.strip().strip("\"'").lower(), second.strip().strip("\"'").lower()
    if one == two:
        return True
    left, right = Number.parse(_as_number(one)), Number.parse(_as_number(two))
    return left is not None and right is not None and left.value == right.value


def is_on(value: str) -> bool | None:
    """Whether a switch is on; `None` when the text is no switch value."""
    text = value.strip().strip("\"'").lower()
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    number = Number.parse(text)
    return number.value != 0 if number is not None else None


def _as_number(text: str) -> str:
    return "1" if text in _TRUE else "0" if text in _FALSE else text
