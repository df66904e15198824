"""PKG004: the script compiles and finds the local files it needs."""

from __future__ import annotations

import sys
import warnings

from verifier.engine.context import Context
from verifier.evidence import Location, excerpt
from verifier.rule import Decision, Finding, Level, Outcome, Rule
from verifier.submission.script import ScriptFile


def _check(context: Context) -> Decision:
    program = context.submission.program
    if program.main is None:
        return Decision.not_available("the folder has no training script that could be compiled")
    findings = [finding for member in program.members for finding in _broken(member)]
    findings += [
        Finding(
            Outcome.REVIEW,
            f"the program needs `{name}`, which is nowhere in the folder",
            (source,),
            remediation=f"ship `{name}` in the folder, or say where it comes from",
        )
        for name, source in program.missing_imports
    ]
    if findings:
        return Decision.of(findings)
    unread = [problem for member in program.members for problem in member.problems if problem.kind.startswith("layer-")]
    if unread:
        return Decision.not_available(
            f"{program.main.path} compiles, but not all that it executes could be read: {unread[0].message}"
        )
    layers = sum(1 for member in program.members for layer in member.layers if layer.text is not None)
    unpacked = f" (and what they unpack: {layers} texts)" if layers else ""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return Decision.passed(f"{len(program.members)} files of the program{unpacked} compile under Python {version}")


def _broken(member: ScriptFile) -> list[Finding]:
    found = []
    if member.syntax_error is not None:
        where = member.syntax_error.location
        what = "the unpacked text" if where.layer else "the file"
        message = f"{member.path} does not compile: {what} has a syntax error in line {where.line}: {member.syntax_error.message}"
        found.append(Finding(Outcome.FAIL, message, (where,), remediation="commit the script that produced the logs, unedited"))
    for problem in member.problems:
        if problem.kind == "undecodable" and member.syntax_error is None:
            message = f"{member.path} is not valid UTF-8 and declares no other encoding: Python refuses it ({problem.message})"
            found.append(Finding(Outcome.FAIL, message, (problem.location,), remediation="save the file as UTF-8"))
    if not found and not member.opaque:
        found += [
            refused for layer, text in sorted({(0, member.text), member.effective}) if (refused := _refused(member, layer, text))
        ]
    return found


def _refused(member: ScriptFile, layer: int, text: str) -> Finding | None:
    """What the parser lets through and the compiler refuses: a stray `return`, an assignment before `global`.

    The bytecode is thrown away: nothing of it runs.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(text, member.path, "exec", dont_inherit=True)
    except SyntaxError as failure:
        where = Location(member.path, failure.lineno, layer=layer, excerpt=excerpt(failure.text or ""))
        message = f"{where} does not compile: {failure.msg}"
        return Finding(Outcome.FAIL, message, (where,), remediation="commit the script that produced the logs, unedited")
    except (RecursionError, MemoryError, ValueError) as failure:
        message = f"{member.path} could not be compiled here: {type(failure).__name__}"
        return Finding(Outcome.REVIEW, message, (Location(member.path, layer=layer),))
    return None


SCRIPT_BROKEN = Rule(
    code="PKG004",
    name="script-broken",
    level=Level.ERROR,
    summary="the script does not compile, or needs local files that are not in the folder",
    why="A record has to be reproducible from its folder. A script that Python refuses cannot have produced the logs beside it: "
    "pasted prose, a merge leftover or another version was committed.",
    example="violation: train_gpt.py starts with the line `ParGolf v2 — Competition Submission`\n"
    'legal: f"{", ".join(names)}" — nested quotes are fine since Python 3.12\n'
    "review: `from online_state import Mixer` while the script counts the bytes of `online_state.py` and the folder has none\n"
    "legal: `try: import fla` with a fallback, or a package from requirements.txt",
    settles="`python3.13 -m py_compile train_gpt.py`, and the missing file or the package it comes from",
    sources=("https://github.com/openai/parameter-golf#readme",),
    check=_check,
)
