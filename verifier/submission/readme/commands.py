"""Run commands: which documented command starts which script under which environment."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from verifier.evidence import Location, excerpt
from verifier.submission.readme.blocks import Block, Line, Page
from verifier.submission.readme.model import RunCommand, Setting
from verifier.submission.readme.shell import SimpleCommand, Word, read_commands

COMMAND_TEXT = 4_000
"""Characters kept of one command."""
OTHER_LANGUAGES = frozenset(
    {
        "python",
        "py",
        "python3",
        "json",
        "yaml",
        "yml",
        "toml",
        "c",
        "cpp",
        "cuda",
        "rust",
        "diff",
        "latex",
        "math",
        "mermaid",
        "html",
    }
)
_PREFIXES = frozenset(
    {"sudo", "nohup", "time", "env", "numactl", "srun", "nice", "stdbuf", "exec", "uv", "run", "poetry", "pipenv", "conda"}
)
_PREFIX_WITH_VALUE = frozenset({"timeout"})
_RUNNERS = re.compile(r"(?:.*/)?(?:torchrun|python(?:3(?:\.\d+)?)?|accelerate|deepspeed|bash|sh|mpirun|mpiexec|modal)$")
_PROCESSES = re.compile(r"--nproc[-_]per[-_]node(?:=(\S+))?$|--num[-_]processes(?:=(\S+))?$|-np$")
_SCRIPT = re.compile(r"[^\s=]{1,300}\.(?:py|sh)$")
_SPAN = re.compile(r"(?<!`)`([^`\n]{1,4000})`(?!`)")
_RUNS = re.compile(r"\b(?:torchrun|python3?|bash|accelerate)\s")
_BARE = re.compile(r"\s{0,8}(?:\$ )?(?:[A-Z][A-Z0-9_]{0,60}=\S{1,200} ){0,40}(?:torchrun|python3?) \S[^`]{0,2000}\.py\b")
_REDIRECT = re.compile(r"\d{0,2}(?:>>?|<)(?:&\d|&-)?$|\d{0,2}>>?\S|&>>?|2>&1")


def read_run_commands(page: Page) -> tuple[RunCommand, ...]:
    """All commands that start a script, in document order: of code blocks, then of code spans in text."""
    found: list[RunCommand] = []
    exported: dict[str, Setting] = {}
    for block in page.blocks:
        if block.kind in ("fenced", "indented") and block.info not in OTHER_LANGUAGES:
            found += _of_block(page, block, exported)
        elif block.kind in ("prose", "bullet"):
            for line in block.lines:
                if _BARE.match(line.text):
                    found += _of_block(page, Block("inline", (line,)), {})
                    continue
                for span in _SPAN.finditer(line.text):
                    if _RUNS.search(span[1]):
                        inline = Block("inline", (Line(line.number, span[1]),))
                        found += _of_block(page, inline, {})
    return tuple(found)


def _of_block(page: Page, block: Block, exported: dict[str, Setting]) -> Iterable[RunCommand]:
    """Commands of one block. `exported` are the exports of earlier blocks; a session keeps them."""
    bare: dict[str, Setting] = {}
    for command in read_commands(block.lines):
        words = list(command.words)
        inline: dict[str, Setting] = {}
        while words and (words[0].is_assignment or words[0].text in _PREFIXES or words[0].text in _PREFIX_WITH_VALUE):
            if words[0].is_assignment:
                setting = _setting(page.path, words[0], page)
                inline[setting.name] = setting
            elif words[0].text in _PREFIX_WITH_VALUE:
                words = words[1:]
            words = words[1:]
            while words and words[0].text.startswith("-") and not words[0].is_assignment:
                words = words[1:]
        if not words:
            bare |= inline
            continue
        if words[0].text in ("export", "declare", "set"):
            exported |= {
                setting.name: setting
                for word in words[1:]
                if word.is_assignment
                for setting in (_setting(page.path, word, page),)
            }
            continue
        if _RUNNERS.match(words[0].text) or _SCRIPT.match(words[0].text):
            run = _run_command(page, block, command, words, {**exported, **bare, **inline})
            if run is not None:
                yield run


def _run_command(
    page: Page, block: Block, command: SimpleCommand, words: Sequence[Word], settings: dict[str, Setting]
) -> RunCommand | None:
    script: str | None = None
    processes: int | None = None
    rest: list[str] = []
    for index, word in enumerate(words):
        if script is not None:
            rest.append(word.text)
            continue
        flag = _PROCESSES.match(word.text)
        if flag:
            value = flag[1] or flag[2] or (words[index + 1].text if index + 1 < len(words) else "")
            processes = int(value) if re.fullmatch(r"\d{1,4}", value) else None
        elif word.text == "-c" or (
            word.text == "-m" and words[index + 1 : index + 2] and words[index + 1].text in ("pip", "venv")
        ):
            return None
        elif _SCRIPT.match(word.text) and not word.text.startswith("-"):
            script = word.text
    if script is None:
        return None
    arguments = tuple(_without_redirects(rest))
    text = "\n".join(page.line(number) for number in range(command.first_line, command.last_line + 1))
    if block.kind == "inline":
        text = block.text
    source = Location(page.path, command.first_line, command.last_line, excerpt=excerpt(text))
    return RunCommand(
        text=text[:COMMAND_TEXT],
        script=script,
        arguments=arguments,
        settings=tuple(settings.values()),
        seeds=_seeds(settings, arguments, dict(command.loops)),
        processes=processes,
        form=block.kind,
        source=source,
    )


def _setting(path: str, word: Word, page: Page) -> Setting:
    name, _, value = word.text.partition("=")
    return Setting(name, value, word.literal, page.place(word.line))


def _without_redirects(words: list[str]) -> Iterable[str]:
    skip = False
    for word in words:
        if skip:
            skip = False
        elif _REDIRECT.match(word):
            skip = word.endswith((">", "<"))
        else:
            yield word


def _seeds(settings: dict[str, Setting], arguments: tuple[str, ...], loops: dict[str, tuple[str, ...]]) -> tuple[int, ...]:
    """The seeds that a command runs: a literal `SEED=42` or `--seed 42`, or the values of the loop it stands in."""
    stated: list[str] = []
    setting = settings.get("SEED")
    texts = [setting.value] if setting is not None else []
    for index, argument in enumerate(arguments):
        if argument.startswith("--seed="):
            texts.append(argument.removeprefix("--seed="))
        elif argument == "--seed" and index + 1 < len(arguments):
            texts.append(arguments[index + 1])
    for text in texts:
        name = text.strip("${}")
        stated += loops.get(name, (text,))
    if not texts:
        stated += [value for name, values in loops.items() if "seed" in name.lower() for value in values]
    return tuple(dict.fromkeys(int(text) for text in stated if re.fullmatch(r"\d{1,10}", text)))
