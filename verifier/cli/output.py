"""Options and writing that all commands share: formats, files, colour, progress."""

from __future__ import annotations

import argparse
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from verifier.cli.errors import UsageFailure


def add_output_options(parser: argparse.ArgumentParser, formats: Sequence[str]) -> None:
    group = parser.add_argument_group("output")
    group.add_argument("--format", choices=formats, default=formats[0], help="what standard output gets (default: %(default)s)")
    group.add_argument(
        "--output",
        metavar="[FORMAT=]FILE",
        action="append",
        default=[],
        help="write the report to FILE instead of standard output; FORMAT=FILE adds a file in that format; repeatable",
    )
    group.add_argument("--quiet", "-q", action="store_true", help="no report on standard output; the exit code still tells")
    group.add_argument("--no-progress", action="store_true", help="no progress bar (there is none when stderr is no terminal)")
    group.add_argument("--color", choices=("auto", "always", "never"), default="auto", help="NO_COLOR is honoured")


def use_color(choice: str) -> bool:
    if choice != "auto":
        return choice == "always"
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def terminal_width() -> int:
    return max(60, min(160, shutil.get_terminal_size((100, 24)).columns))


def parse_targets(args: argparse.Namespace, formats: Sequence[str]) -> list[tuple[str, Path | None]]:
    """What to write where: (format, file), file None for standard output."""
    targets: list[tuple[str, Path | None]] = []
    to_stdout = not args.quiet
    for text in args.output:
        name, separator, file = text.partition("=")
        if separator and name in formats:
            targets.append((name, Path(file)))
        elif separator and name.isalpha() and not Path(text).parent.name and name.islower():
            raise UsageFailure(f"--output {text}: there is no format {name!r}", f"formats: {', '.join(formats)}")
        else:
            targets.append((args.format, Path(text)))
            to_stdout = False
    if to_stdout:
        targets.insert(0, (args.format, None))
    return targets


def check_targets(targets: Sequence[tuple[str, Path | None]]) -> None:
    """Fail before the work rather than after it."""
    for _, file in targets:
        if file is not None and (file.is_dir() or not (file.parent if file.parent.name else Path()).is_dir()):
            raise UsageFailure(f"{file} can't be written: no such folder, or it is one", "name a file in a folder that exists")


def write_targets(targets: Sequence[tuple[Path | None, Callable[[], str]]]) -> None:
    """Render each target and write it whole or not at all."""
    for file, render in targets:
        text = render()
        if file is None:
            # A terminal of another encoding must not turn a report into a crash.
            if isinstance(sys.stdout, io.TextIOWrapper):
                sys.stdout.reconfigure(errors="backslashreplace")
            sys.stdout.write(text)
            sys.stdout.flush()
        else:
            write_atomically(file, text)


def write_atomically(file: Path, text: str) -> None:
    handle, temporary = tempfile.mkstemp(dir=file.parent or Path(), prefix=f".{file.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as out:
            out.write(text)
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)
        Path(temporary).replace(file)
    except OSError as failure:
        Path(temporary).unlink(missing_ok=True)
        raise UsageFailure(
            f"{file} could not be written: {failure.strerror}", "the report was not saved; choose another place"
        ) from failure


def progress_bar(args: argparse.Namespace, total: int) -> Progress:
    """A bar on standard error, silent when that is no terminal or there is only one thing to do."""
    wanted = sys.stderr.isatty() and not args.no_progress and not args.quiet and total > 1
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not wanted,
        transient=True,
    )
