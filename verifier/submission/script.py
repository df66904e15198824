"""The training script as files and layers: what is packed in what, which files belong to the program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from verifier.evidence import Location, Problem
from verifier.limits import DEFAULT_LIMITS
from verifier.submission.python_tree import ParsedTree, parse_python


@dataclass(frozen=True, slots=True)
class Layer:
    """Text unpacked from a file. `index` is 1-based in order of discovery: 1 for the payload of the file itself, 2 for a payload
    inside that, ...; `source.layer` says in which layer (0: the file) it was found.

    `codec` names the chain, outermost first: `base85+lzma-raw`, `file` (another file of the folder), `literal` (plain text).
    `runner` is how it is started: `exec`, `compile`, `eval`, `runpy`, `importlib`, `file` (written to disk, then run or
    imported) or `data` (not code). `text` is `None` when the bytes are no Python text. `main` is true when the layer replaces
    the text it was found in as the program (a packed script), false for an embedded module or a snippet.
    """

    index: int
    codec: str
    runner: str
    text: str | None
    packed_bytes: int
    bytes: int
    source: Location
    main: bool = True


@dataclass(frozen=True, slots=True)
class FileReference:
    """Another Python file that the text runs by path (`exec(open(...).read())`, `runpy`, `importlib`, a subprocess).

    `path` is relative to the folder when the file is there (`found`), else as the script spells it. `main` is true when that
    file is the program and this one only starts it.
    """

    path: str
    found: bool
    runner: str
    main: bool
    source: Location


@dataclass(frozen=True, slots=True)
class EnvRead:
    """One read of an environment variable. `default` is the literal default as text, `None` if required or computed.

    `kind` is `int`, `float`, `bool`, `bool-trap` (any non-empty text is true), `str`, `list` or `other`. `target` is the name or
    attribute it is assigned to (`ttt_enabled`), ``""`` if none.
    """

    name: str
    default: str | None
    kind: str
    target: str
    source: Location


@dataclass(frozen=True, slots=True)
class ScriptFile:
    """One Python file. `layers` is empty for plain scripts."""

    path: str
    size: int
    sha256: str
    text: str
    layers: tuple[Layer, ...]
    syntax_error: Problem | None
    """Of the file or of a layer that is code (`location.layer` says which)."""
    env_reads: tuple[EnvRead, ...]
    imports: tuple[tuple[str, Location], ...]
    """Top-level module names imported anywhere in the effective text."""
    problems: tuple[Problem, ...] = ()
    references: tuple[FileReference, ...] = ()
    written: tuple[str, ...] = ()
    """Files that the script writes from its own text before it imports or runs them (paths as spelled)."""
    trees: Mapping[int, ParsedTree] = field(default_factory=dict, compare=False, repr=False)
    """Syntax trees by layer, of the texts that were parsed to unwrap the file; kept for files of the program."""

    def parsed(self, layer: int, text: str) -> tuple[ParsedTree | None, Problem | None]:
        """The tree of one of the texts, or the reason why there is none."""
        held = self.trees.get(layer)
        return (held, None) if held is not None and held.text == text else parse_python(self.path, text, DEFAULT_LIMITS, layer)

    @property
    def effective(self) -> tuple[int, str]:
        """The layer number and text that hold the program: follows the layers that take over, else the file itself."""
        index, text = 0, self.text
        while True:
            inner = [layer for layer in self.layers if layer.main and layer.source.layer == index and layer.index > index]
            code = [layer for layer in inner if layer.text is not None and layer.runner != "data"]
            if not code:
                return index, text
            chosen = max(code, key=lambda layer: (layer.bytes, -layer.index))
            index, text = chosen.index, chosen.text or ""

    @property
    def code_texts(self) -> tuple[tuple[int, str], ...]:
        """Every text of this file that is executed, with its layer number: the file, then each code layer. A rule that looks
        for something has to look at all of them."""
        layers = [(layer.index, layer.text) for layer in self.layers if layer.text is not None and layer.runner != "data"]
        return ((0, self.text), *layers)

    @property
    def opaque(self) -> bool:
        """True when a payload that is executed could not be unwrapped: program rules can't pass."""
        return any(problem.kind.startswith("layer-") for problem in self.problems)


@dataclass(frozen=True, slots=True)
class Program:
    """The scripts of a folder. `members` are the files that belong to the program (main first, then local imports and exec'ed
    files); `others` are readable twins, data preparation, alternatives."""

    main: ScriptFile | None
    main_reason: str
    """Why this one: `train_gpt.py`, `documented command` or `largest train*.py`."""
    members: tuple[ScriptFile, ...]
    others: tuple[ScriptFile, ...]
    missing_imports: tuple[tuple[str, Location], ...]
    """Local modules or files that the program needs and the folder does not have."""
    problems: tuple[Problem, ...] = ()
    native: tuple[tuple[str, str], ...] = ()
    """C, C++ and CUDA sources of the folder (path, text), which a script may compile."""

    @property
    def body(self) -> ScriptFile | None:
        """The file that holds the training program: `main`, or the file of the folder that `main` only starts."""
        script, seen = self.main, set[str]()
        while script is not None and script.path not in seen:
            seen.add(script.path)
            targets = {reference.path for reference in script.references if reference.main and reference.found}
            following = next((member for member in self.members if member.path in targets), None)
            if following is None:
                break
            script = following
        return script

    @property
    def opaque(self) -> bool:
        """True when some code of the program could not be read."""
        return any(member.opaque for member in self.members)

    @property
    def env_reads(self) -> tuple[EnvRead, ...]:
        return tuple(read for member in self.members for read in member.env_reads)
