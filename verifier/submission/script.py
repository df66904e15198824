"""The training script as files and layers: what is packed in what, which files belong to the program."""

from __future__ import annotations

from dataclasses import dataclass

from verifier.evidence import Location, Problem


@dataclass(frozen=True, slots=True)
class Layer:
    """Text unpacked from a file. `index` is 1 for the payload of the file itself, 2 for a payload inside that, ...

    `codec` names the chain, outermost first: `base85+lzma-raw`. `runner` is how it is started: `exec`, `compile`, `runpy`,
    `importlib`, `file` or `data` (not code). `text` is `None` when the bytes are no Python text.
    """

    index: int
    codec: str
    runner: str
    text: str | None
    packed_bytes: int
    bytes: int
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

    @property
    def effective(self) -> tuple[int, str]:
        """The layer number and text that hold the program: the deepest unpacked code layer, else the file."""
        code = [layer for layer in self.layers if layer.text is not None and layer.runner != "data"]
        if not code:
            return 0, self.text
        deepest = max(code, key=lambda layer: (layer.index, layer.bytes))
        return deepest.index, deepest.text or ""

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

    @property
    def env_reads(self) -> tuple[EnvRead, ...]:
        return tuple(read for member in self.members for read in member.env_reads)
