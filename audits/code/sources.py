"""The program's own Python texts as syntax trees: what the rules about defects and tables read."""

from __future__ import annotations

import ast

from verifier.engine.context import Context
from verifier.evidence import Location, excerpt
from verifier.program.analysis import ProgramText, analysis_of
from verifier.submission.python_tree import ParsedTree
from verifier.submission.submission import Submission

type Function = ast.FunctionDef | ast.AsyncFunctionDef
type Block = list[ast.stmt]

_WITH_BLOCKS: tuple[type[ast.AST], ...] = (
    ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.For, ast.AsyncFor, ast.While, ast.If, ast.With, ast.AsyncWith,
    ast.Try, ast.TryStar, ast.ExceptHandler, ast.match_case,
)  # fmt: skip


def program_sources(context: Context) -> tuple[ProgramText, ...]:
    """Every text of every member that parses, main script first."""
    return analysis_of(context).trees


def place(source: ProgramText, node: ast.AST) -> Location:
    """The place of a node, with its first line as the excerpt."""
    line: int | None = getattr(node, "lineno", None)
    shown = source.lines[line - 1] if line is not None and line <= len(source.lines) else ""
    return Location(source.path, line, layer=source.layer, excerpt=excerpt(shown))


def functions_in(source: ProgramText) -> tuple[Function, ...]:
    return tuple(source.parsed.of(ast.FunctionDef, ast.AsyncFunctionDef))


def why_not(submission: Submission) -> str:
    """Why the program can't be read as a whole; empty when it can. What is missing may use any name and do anything."""
    program = submission.program
    if program.main is None:
        return "the folder has no training script"
    if program.opaque:
        return "a packed part of the script could not be unwrapped"
    if any(member.syntax_error is not None for member in program.members):
        return "the script does not parse"
    return ""


def blocks_of(tree: ParsedTree) -> list[Block]:
    """Every list of statements: bodies, else branches, handlers, finally blocks."""
    blocks: list[Block] = []
    for node in tree.of(*_WITH_BLOCKS):
        for name in ("body", "orelse", "finalbody"):
            block = getattr(node, name, None)
            if isinstance(block, list) and block and isinstance(block[0], ast.stmt):
                blocks.append(block)
    return blocks


def name_of(node: ast.AST) -> str:
    """The last name of an expression: `table` for `self.cache.table`; empty for anything else."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def dotted(node: ast.AST) -> str:
    """`self.cache.table` for a chain of attributes on a name; empty for anything else."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""
