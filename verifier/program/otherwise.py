"""What a script does under settings that the README's text or another command documents, asked where no log tells which were used."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from verifier.engine.context import Context
from verifier.evidence import Location
from verifier.ledger.claims import claimed_runs
from verifier.ledger.configuration import documented_command, documented_commands, first_reads, logged_setting, same_setting
from verifier.program.analysis import analysis_of
from verifier.program.events import Trace
from verifier.submission.readme import Setting

_MOST = 6
"""Executions: a README rarely names more ways to run a script."""


@dataclass(frozen=True, slots=True)
class Otherwise:
    """The execution under documented settings that differ from those that are taken for the run's. `text` names them."""

    text: str
    source: Location
    trace: Trace


def documented_otherwise(context: Context) -> Iterator[Otherwise]:
    """One execution for each setting of the text and for each further command. None where a log shows a whole run: then the settings
    are its own."""
    submission = context.submission
    runs = claimed_runs(submission) or submission.runs
    if any(run.full for run in runs):
        return
    analysis = analysis_of(context)
    reads = first_reads(submission)
    chosen = documented_command(submission)
    named: list[tuple[Setting, ...]] = [(setting,) for readme in submission.readmes[:1] for setting in readme.settings]
    named += [command.settings for command in documented_commands(submission) if command is not chosen]
    tried: list[dict[str, str]] = []
    for settings in named:
        changed: dict[str, Setting] = {}
        for setting in settings:
            read = reads.get(setting.name)
            now = analysis.config.get(setting.name, (read.default or "") if read is not None else "")
            told = any(logged_setting(run, setting.name, read) is not None for run in runs)
            if read is not None and setting.literal and not told and not same_setting(setting.value, now):
                changed[setting.name] = setting
        values = {name: setting.value for name, setting in changed.items()}
        if not values or values in tried or len(tried) >= _MOST:
            continue
        tried.append(values)
        text = " ".join(f"{name}={value}" for name, value in values.items())
        yield Otherwise(text, next(iter(changed.values())).source, analysis.under(values))
