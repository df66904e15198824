"""The analysis of a submission's program: parsed texts, one abstract execution for each configuration that matters."""

from __future__ import annotations

import ast
import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from verifier.engine.context import Context
from verifier.evidence import Location, Problem, excerpt
from verifier.ledger.claims import claimed_runs, headline_runs
from verifier.ledger.configuration import COMMAND, LOG, ConfigRow, documented_command, first_reads, is_on, resolve_configuration
from verifier.program.events import Event, Trace
from verifier.program.interpreter import Interpreter, Text
from verifier.program.library import NATIVE
from verifier.program.state import Budget
from verifier.program.values import Site
from verifier.program.witness import LogLine, Switch, Witness, tested_switches, witness_branches
from verifier.submission.python_tree import ParsedTree
from verifier.submission.script import EnvRead, ScriptFile
from verifier.submission.submission import Submission

_LAUNCHED = {
    "RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "8", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500",
    "CUDA_VISIBLE_DEVICES": "0,1,2,3,4,5,6,7",
}  # fmt: skip
"""What `torchrun` sets on the first of eight processes."""


@dataclass(frozen=True, slots=True, eq=False)
class ProgramText:
    """One text of the program with its tree."""

    path: str
    layer: int
    parsed: ParsedTree
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unentered:
    """A function that a log shows to have run although the followed program does not get there. `mentioned` when a text of the
    program names it somewhere: it may be called in a way that is not followed."""

    name: str
    site: Site
    line: LogLine
    mentioned: bool


@dataclass(frozen=True, eq=False)
class Analysis:
    """What is known about the program. `run` is the execution under the configuration of the run (its log's dump, else the
    documented command, else defaults); `documented` the one under the documented command alone."""

    submission: Submission
    trees: tuple[ProgramText, ...]
    why_not: str
    """Why there is no execution, empty when there is one."""
    config: dict[str, str]
    documented_config: dict[str, str]
    doubts: tuple[Problem, ...]

    @property
    def available(self) -> bool:
        return not self.why_not

    def gap(self, *, native: bool = True) -> str:
        """Why what was seen is not the whole program, empty when it is: a rule that found nothing can't pass then. `native` is
        False for rules that read machine code by themselves."""
        problems = (*self.doubts, *self.run.incomplete)
        if problems:
            return f"the script is not followed as a whole: {problems[0].message}"
        if self.unentered:
            unread = self.unentered[0]
            return (
                f"the log shows that {unread.name} ran, which learns and which the script does not reach ({unread.line.location})"
            )
        missing = self.submission.program.missing_imports
        if missing:
            return f"the script needs {missing[0][0]}, which is not in the folder"
        compiled = next((event for event in self.run.of("opaque") if event.text.startswith(NATIVE)), None)
        if compiled is not None and native:
            return f"the script calls machine code, which is not followed ({compiled.text})"
        return ""

    @cached_property
    def witness(self) -> Witness:
        """What the logs of the claimed runs prove to have run. (A log of another run, an ablation's, says nothing about them, and
        neither does a line of a dump of settings.)"""
        claimed = {run.path for run in claimed_runs(self.submission)}
        logs = [log for log in self.submission.logs if log.duplicate_of is None and (not claimed or log.path in claimed)]
        lines = [
            LogLine(log.path, *kind) for log in logs for dumped in (log.dumped,) for kind in log.kinds if kind[0] not in dumped
        ]
        return witness_branches([(text.path, text.layer, text.parsed) for text in self.trees], lines)

    @cached_property
    def run(self) -> Trace:
        """Branches that the logs prove to have run are taken whatever the settings say, and so are switches that they test."""
        proven = _proven_settings(self.submission, self.witness.switches)
        decided = {site: switch.line.location for _, switch in proven.values() for site in switch.tests}
        return self._execute(
            self.config | {name: value for name, (value, _) in proven.items()}, replace(self.witness, decided=decided)
        )

    @cached_property
    def unentered(self) -> tuple[Unentered, ...]:
        """Functions that form gradients, that a claimed log shows to have run before the claimed score, and that the execution never
        entered: the weights that were scored came about in another way than the one that is followed."""
        entered = {(site.path, site.layer, site.line) for site in self.run.reached}
        scored = {one.run.path: one.metric.source.line or 0 for one in headline_runs(self.submission) if one.metric is not None}
        found = []
        for text in self.trees:
            for node in text.parsed.of(ast.FunctionDef, ast.AsyncFunctionDef):
                site = Site(text.path, text.layer, node.lineno)
                said = self.witness.functions.get(site)
                lines = range(node.body[0].lineno, (node.end_lineno or node.lineno) + 1)
                if said is None or any((text.path, text.layer, line) in entered for line in lines):
                    continue
                if said.path in scored and said.number > scored[said.path]:
                    continue
                if any(isinstance(one, ast.Attribute) and one.attr == "backward" for one in text.parsed.inside(node)):
                    found.append(Unentered(node.name, site, said, self._mentions(node.name)))
        return tuple(found)

    def _mentions(self, name: str) -> bool:
        """Whether a text of the program uses a name, in whatever way."""
        nodes = (node for text in self.trees for node in text.parsed.of(ast.Name, ast.Attribute, ast.Constant))
        return any(name in (getattr(node, "id", ""), getattr(node, "attr", ""), getattr(node, "value", "")) for node in nodes)

    @cached_property
    def documented(self) -> Trace:
        return self._execute(self.documented_config, Witness())

    def assuming(self, taken: Iterable[Site]) -> Trace:
        """The execution in which these conditions and the switches that they test are on, whatever the settings say."""
        held = frozenset(taken)
        switches = set(tested_switches([(text.path, text.layer, text.parsed) for text in self.trees], held))
        settings = {
            name: _as_text("True", read)
            for name, read in first_reads(self.submission).items()
            if read.target.rsplit(".", 1)[-1] in switches and is_on(read.default or "") is False
        }
        return self._execute(self.config | settings, Witness(dict.fromkeys(sorted(held), True)))

    def under(self, settings: dict[str, str]) -> Trace:
        """The execution with these settings instead of the run's."""
        return self._execute(self.config | settings, self.witness)

    def _execute(self, config: dict[str, str], witness: Witness) -> Trace:
        main, texts = _texts(self.submission, self.trees)
        assert main is not None
        return Interpreter(texts, config, Budget(), witness).run(main)

    def proofs(self, *events: Event) -> tuple[Location, ...]:
        """The log lines that show the way to these events to have been taken, where settings and defaults say otherwise."""
        decided = self.run.decided
        return tuple(dict.fromkeys(decided[site] for event in events for site in event.conditions if site in decided))

    def text_at(self, site: Site) -> ProgramText | None:
        """The text that a line is of."""
        return next((text for text in self.trees if (text.path, text.layer) == (site.path, site.layer)), None)

    def functions_at(self, site: Site) -> list[tuple[ProgramText, ast.FunctionDef | ast.AsyncFunctionDef]]:
        """The functions around a line with their text, innermost first."""
        text = self.text_at(site)
        functions = text.parsed.of(ast.FunctionDef, ast.AsyncFunctionDef) if text is not None else []
        around = [node for node in functions if node.lineno <= site.line <= (node.end_lineno or 0)]
        return [(text, node) for node in sorted(around, key=lambda one: one.lineno, reverse=True) if text is not None]

    def location(self, site: Site, end: int | None = None) -> Location:
        """The place in the submission, with the line as excerpt."""
        text = self.text_at(site)
        shown = text.lines[site.line - 1] if text is not None and 0 < site.line <= len(text.lines) else ""
        return Location(site.path, site.line or None, end, site.layer, excerpt(shown[:2000]))


def analysis_of(context: Context) -> Analysis:
    """The analysis of this submission, made once for all rules that ask."""
    held = context.memo.get("program")
    if not isinstance(held, Analysis):
        held = context.memo["program"] = _analyse(context.submission)
    return held


def _analyse(submission: Submission) -> Analysis:
    program = submission.program
    trees: list[ProgramText] = []
    doubts: list[Problem] = []
    for member in program.members:
        for layer, text in member.code_texts:
            parsed, problem = member.parsed(layer, text)
            if parsed is not None:
                trees.append(ProgramText(member.path, layer, parsed, parsed.lines))
            elif problem is not None:
                doubts.append(problem)
        doubts += [problem for problem in member.problems if problem.kind.startswith("layer-")]
    why = ""
    if program.main is None or program.body is None:
        why = "the folder has no training script"
    elif _main_text(submission, tuple(trees)) is None:
        reason = doubts[0].message if doubts else "its text can't be read"
        why = f"the training script can't be analysed: {reason}"
    rows = resolve_configuration(submission)
    return Analysis(
        submission,
        tuple(trees),
        why,
        _environment(submission, rows, documented=False),
        _environment(submission, rows, documented=True),
        tuple(doubts),
    )


def _main_text(submission: Submission, trees: tuple[ProgramText, ...]) -> ProgramText | None:
    body = submission.program.body
    if body is None:
        return None
    layer = body.effective[0]
    return next((text for text in trees if text.path == body.path and text.layer == layer), None)


def _texts(submission: Submission, trees: tuple[ProgramText, ...]) -> tuple[Text | None, tuple[Text, ...]]:
    members: dict[str, ScriptFile] = {member.path: member for member in submission.program.members}
    main_text = _main_text(submission, trees)
    main: Text | None = None
    texts: list[Text] = []
    for text in trees:
        layer = next((layer for layer in members[text.path].layers if layer.index == text.layer), None)
        runs_at = Site(text.path, layer.source.layer, layer.source.line or 0) if layer is not None else None
        name = posixpath.basename(text.path).removesuffix(".py") if text.layer == 0 else ""
        made = Text(name, text.path, text.layer, text.parsed.module, runs_at)
        if text is main_text:
            main = made
        texts.append(made)
    return main, tuple(texts)


def _environment(submission: Submission, rows: tuple[ConfigRow, ...], documented: bool) -> dict[str, str]:
    """The environment variables of the run as the script sees them."""
    reads: dict[str, EnvRead] = {}
    for read in submission.program.env_reads:
        reads.setdefault(read.name, read)
    environment = dict(_LAUNCHED)
    worlds = {run.world_size.text for run in submission.runs if run.world_size is not None}
    if len(worlds) == 1 and not documented:
        environment["WORLD_SIZE"] = environment["LOCAL_WORLD_SIZE"] = worlds.pop()
    for row in rows:
        stated = [(row.origin, row.value), *((origin, value) for origin, value, _ in row.others)]
        wanted = (COMMAND,) if documented else (LOG, COMMAND)
        value = next((value for origin in wanted for known, value in stated if known == origin), None)
        if value is not None:
            environment[row.name] = _as_text(value, reads.get(row.name))
    command = documented_command(submission)
    if command is not None:
        environment |= _flags(command.arguments)
    return environment


def _proven_settings(submission: Submission, switches: Mapping[str, Switch]) -> dict[str, tuple[str, Switch]]:
    """The variables of switches that the logs prove to have been on or off, where no dump states them and the command or the
    default says otherwise."""
    rows = {row.name: row for row in resolve_configuration(submission)}
    found: dict[str, tuple[str, Switch]] = {}
    for name, read in first_reads(submission).items():
        switch = switches.get(read.target.rsplit(".", 1)[-1])
        row = rows.get(name)
        if switch is None or row is None or row.origin == LOG or is_on(read.default or "") is None:
            continue
        if is_on(row.value) is (not switch.on):
            found[name] = _as_text(str(switch.on), read), switch
    return found


def _as_text(value: str, read: EnvRead | None) -> str:
    """A dumped value as the text that the variable must have had: `True` is `1` for a script that reads `int(...)`."""
    text = value.strip().strip("\"'")
    if text in ("True", "False") and read is not None:
        default = (read.default or "").strip().lower()
        if default in ("true", "false"):
            return text.lower()
        if default in ("yes", "no", "on", "off"):
            return {"True": "yes", "False": "no"}[text] if default in ("yes", "no") else {"True": "on", "False": "off"}[text]
        return "1" if text == "True" else "0"
    return text


def _flags(arguments: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, argument in enumerate(arguments):
        if argument.startswith("--"):
            name, _, value = argument.partition("=")
            following = arguments[number + 1] if number + 1 < len(arguments) else ""
            found[name] = value or (following if following and not following.startswith("--") else "1")
    return found
