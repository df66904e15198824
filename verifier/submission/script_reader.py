"""Reading the Python files of a folder: which one is the script, what belongs to the program, what is missing."""

from __future__ import annotations

import ast
import hashlib
import posixpath
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from verifier.evidence import Location, Problem, excerpt
from verifier.limits import MIB, Limits
from verifier.program.env_reads import env_reads
from verifier.submission.layers import FOLDER_BYTES, unwrap
from verifier.submission.python_tree import ParsedTree, decode_source
from verifier.submission.readme import RunCommand
from verifier.submission.script import EnvRead, Program, ScriptFile
from verifier.submission.static_values import Budget

MAIN_NAME = "train_gpt.py"
_OTHER_BYTES = 3 * MIB // 2
"""Python text read besides the program itself (twins, data preparation, plots)."""
_INSTALLED = frozenset(
    [
        "torch",
        "numpy",
        "sentencepiece",
        "triton",
        "flash_attn",
        "flash_attn_interface",
        "zstandard",
        "brotli",
        "huggingface_hub",
        "datasets",
        "tqdm",
        "mlx",
        "scipy",
        "transformers",
        "tiktoken",
        "tokenizers",
        "tokenmonster",
        "fla",
        "cutlass",
        "numba",
        "einops",
        "psutil",
        "matplotlib",
        "pandas",
        "requests",
    ]
)
"""Packages that real scripts import; a file of the same name in the folder still wins."""
_NATIVE = (".c", ".cc", ".cpp", ".cu", ".h", ".cuh")
_PREPARES = re.compile(r"prepare|convert|download|token|dataset|cache|plot|test|verify|check|setup|build|install")
_TRAIN_NAME = re.compile(r"train[^/]*\.py$")


@dataclass(frozen=True, slots=True)
class _Import:
    """One import. `module` is dotted, relative ones start with dots; `guarded` ones may fail without ending the script."""

    module: str
    names: tuple[str, ...]
    guarded: bool
    source: Location


@dataclass(frozen=True, slots=True)
class _Read:
    script: ScriptFile
    imports: tuple[_Import, ...]


def read_program(files: Sequence[tuple[str, bytes]], commands: Sequence[RunCommand], limits: Limits) -> Program:
    """Read the scripts of a folder. `files` are its regular files (paths relative to it), Python or not: payloads and modules
    are looked up among them. `commands` are the documented run commands."""
    contents = dict(sorted(files))
    scripts = [path for path in contents if path.endswith(".py")]
    chosen, reason = choose_main(scripts, {path: len(contents[path]) for path in scripts}, commands)
    budget = Budget(limits.layer_bytes, FOLDER_BYTES)
    reads: dict[str, _Read] = {}
    problems: list[Problem] = []

    def read(path: str) -> _Read | None:
        if path not in reads:
            if len(contents[path]) > limits.script_file:
                problems.append(
                    Problem(Location(path), "too-large", f"{len(contents[path]):,} bytes, more than are read of a script")
                )
                return None
            reads[path] = _read_script(path, contents[path], contents, limits, budget)
        return reads[path]

    members: list[str] = []
    missing: dict[tuple[str, Location], None] = {}
    pending = [chosen] if chosen is not None else []
    while pending:
        path = pending.pop(0)
        current = read(path)
        if current is None or path in members:
            continue
        members.append(path)
        for needed, source in _needs(current, contents):
            if needed in contents:
                pending.append(needed)
            else:
                missing[needed, source] = None
    read_bytes = 0
    others: list[ScriptFile] = []
    for path in scripts:
        if path in members or len(contents[path]) > limits.script_file:
            continue
        read_bytes += len(contents[path])
        if read_bytes > _OTHER_BYTES:
            problems.append(
                Problem(Location(path), "not-read", "this file is not part of the program and the budget for others is used up")
            )
        else:
            other = _read_script(path, contents[path], contents, limits, budget).script
            others.append(replace(other, trees={}))  # a large folder of them would fill the memory, and no rule needs them
    native = [path for path in contents if path.endswith(_NATIVE) and len(contents[path]) <= limits.script_file]
    main = reads[chosen].script if chosen in reads else None
    for script in [reads[path].script for path in members] + others:
        problems.extend(script.problems)
    return Program(
        main,
        reason if main is not None else "",
        tuple(reads[path].script for path in members),
        tuple(others),
        tuple(missing),
        tuple(problems),
        tuple((path, decode_source(path, contents[path])[0]) for path in native),
    )


def choose_main(scripts: Sequence[str], sizes: Mapping[str, int], commands: Sequence[RunCommand]) -> tuple[str | None, str]:
    """`train_gpt.py`, else the script the documented command runs, else the largest `train*.py` (nearest to the top first)."""
    if MAIN_NAME in scripts:
        return MAIN_NAME, MAIN_NAME
    documented = [found for command in commands if (found := _documented_script(command, scripts)) is not None]
    # A README also documents data preparation: training is what runs on several processes, or says so by its name.
    for wanted in (_runs_training, lambda command, path: not _PREPARES.search(posixpath.basename(path))):
        for command, path in documented:
            if wanted(command, path):
                return path, "documented command"
    training = [path for path in scripts if _TRAIN_NAME.match(posixpath.basename(path))]
    if not training:
        return None, ""
    top = min(path.count("/") for path in training)
    largest = max((path for path in training if path.count("/") == top), key=lambda path: (sizes[path], path))
    return largest, "largest train*.py"


def _documented_script(command: RunCommand, scripts: Sequence[str]) -> tuple[RunCommand, str] | None:
    """The file of the folder that a command runs; commands are often written for the repository's root."""
    if command.script is None or not command.script.endswith(".py"):
        return None
    script = posixpath.normpath(command.script)
    parts = script.split("/")
    inner = "/".join(parts[parts.index("records") + 3 :]) if "records" in parts else ""
    named = [path for path in scripts if posixpath.basename(path) == parts[-1]]
    for candidate in (script, inner):
        if candidate in scripts:
            return command, candidate
    return (command, named[0]) if len(named) == 1 else None


def _runs_training(command: RunCommand, path: str) -> bool:
    return command.processes is not None or _TRAIN_NAME.match(posixpath.basename(path)) is not None


def _read_script(path: str, data: bytes, contents: Mapping[str, bytes], limits: Limits, budget: Budget) -> _Read:
    text, undecodable = decode_source(path, data)
    unwrapped = unwrap(path, text, contents, limits, budget)
    problems = list(unwrapped.problems)
    if undecodable is not None:
        problems.append(undecodable)
    imports: list[_Import] = []
    reads: list[EnvRead] = []
    for layer, tree in unwrapped.trees.items():
        imports += _imports(path, layer, tree)
        if "environ" in tree.text or "getenv" in tree.text:
            reads += _bounded_env_reads(path, layer, tree, tree.lines, problems)
    named = {(_top_name(entry.module), entry.source): None for entry in imports}
    script = ScriptFile(
        path=path,
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        text=text,
        layers=unwrapped.layers,
        syntax_error=unwrapped.syntax_error,
        env_reads=tuple(reads),
        imports=tuple(named),
        problems=tuple(problems),
        references=unwrapped.references,
        written=unwrapped.written,
        trees=unwrapped.trees,
    )
    return _Read(script, tuple(imports))


def _bounded_env_reads(
    path: str, layer: int, tree: ParsedTree, lines: Sequence[str], problems: list[Problem]
) -> Iterable[EnvRead]:
    try:
        return env_reads(path, layer, tree, lines)
    except RecursionError:
        problems.append(Problem(Location(path, None, layer=layer), "too-deep", "nested too deeply; its settings were not read"))
        return ()


def _top_name(module: str) -> str:
    return module if module.startswith(".") else module.split(".")[0]


def _imports(path: str, layer: int, tree: ParsedTree) -> list[_Import]:
    """Every import statement; those under `try` or `if`, or in a function that may not run, count as guarded."""
    found: list[_Import] = []
    lines = tree.lines
    for node in tree.of(ast.Import, ast.ImportFrom):
        line = node.lineno
        where = Location(path, line, layer=layer, excerpt=excerpt(lines[line - 1][:1_000] if line <= len(lines) else ""))
        guarded = not isinstance(tree.parents[id(node)], ast.Module)
        if isinstance(node, ast.Import):
            found += [_Import(alias.name, (), guarded, where) for alias in node.names]
        else:
            module = "." * node.level + (node.module or "")
            found.append(_Import(module, tuple(alias.name for alias in node.names), guarded, where))
    return sorted(found, key=lambda entry: (entry.source.layer, entry.source.line or 0, entry.module))


def _needs(read: _Read, contents: Mapping[str, bytes]) -> list[tuple[str, Location]]:
    """Files that a script needs, as paths of the folder, or as module names and paths that are not in it."""
    needs: list[tuple[str, Location]] = [(reference.path, reference.source) for reference in read.script.references]
    written = {posixpath.basename(name) for name in read.script.written}
    for entry in read.imports:
        local = _local_modules(entry, read.script.path, contents)
        needs += [(path, entry.source) for path in local]
        if not local and not entry.guarded and _is_missing(entry, read.script, contents, written):
            bare = not entry.module.strip(".")  # from . import core
            needs.append((entry.module + entry.names[0] if bare and entry.names else entry.module, entry.source))
    return needs


def _local_modules(entry: _Import, importer: str, contents: Mapping[str, bytes]) -> list[str]:
    """Files of the folder that an import loads: the module, its packages, and submodules named after `import`."""
    stripped = entry.module.lstrip(".")
    level = len(entry.module) - len(stripped)
    directory = posixpath.dirname(importer)
    for _ in range(level - 1):
        directory = posixpath.dirname(directory)
    bases = [directory] if level else list(dict.fromkeys((directory, "")))
    found: list[str] = []
    for base in bases:
        dotted = [part for part in stripped.split(".") if part]
        stems = ["/".join(dotted[:length]) for length in range(1, len(dotted) + 1)]
        stems += ["/".join((*dotted, name)) for name in entry.names]
        for stem in stems:
            for candidate in (f"{stem}.py", f"{stem}/__init__.py"):
                path = posixpath.normpath(posixpath.join(base, candidate))
                if path in contents and path != importer:
                    found.append(path)
        if found:
            break
    return list(dict.fromkeys(found))


def _is_missing(entry: _Import, script: ScriptFile, contents: Mapping[str, bytes], written: set[str]) -> bool:
    """Whether an import that nothing in the folder answers was a local module: relative imports, and modules that a file of
    the folder names as a file (`count(["helper.py"])`). Unknown names are otherwise taken for installed packages."""
    top = _top_name(entry.module)
    if entry.module.startswith("."):
        return True
    if top in sys.stdlib_module_names or top in _INSTALLED or f"{top}.py" in written:
        return False
    if any(posixpath.basename(path) in (f"{top}.py", f"{top}.so") or f"/{top}/" in f"/{path}" for path in contents):
        return False  # elsewhere in the folder, found through sys.path
    if _makes_module(script, top):
        return False
    named = re.compile(rb"(?<![\w./-])(?:\./)?" + re.escape(f"{top}.py".encode()) + rb"(?!\w)")
    return any(
        named.search(data) for path, data in contents.items() if len(data) <= MIB and not path.endswith((".ptz", ".pt", ".bin"))
    )


def _makes_module(script: ScriptFile, name: str) -> bool:
    """The script makes the module itself: `sys.modules[...] = ModuleType("name")`, or it writes `name.py`."""
    quoted = re.compile(rf"""["']{re.escape(name)}["'.]""")
    for _, text in script.code_texts:
        for line in text.splitlines():
            if name not in line:
                continue
            if "modules" in text and quoted.search(line):
                return True
            if f"{name}.py" in line and ("write" in line or '"w' in line or "'w" in line):
                return True
    return False
