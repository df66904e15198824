"""CLM010: techniques that README or JSON claim and that have no live code path in the run."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from audits.claims.stated import statements
from audits.code.sources import place
from verifier.engine.context import Context
from verifier.ledger.configuration import documented_commands
from verifier.program.analysis import Analysis, ProgramText, analysis_of
from verifier.program.values import Site
from verifier.rule import Decision, Finding, Level, Outcome, Rule
from verifier.submission.readme import Polarity, Statement

_PULL = "https://github.com/openai/parameter-golf/pull/"
_ELSEWHERE = re.compile(
    r"\bnext\b|\bfuture\b|\btodo\b|\bplan|\bideas?\b|\bnegative\b|\bfail|\btried\b|\bablat|\bprior\b|\bprevious|\blessons?\b|\bcredits?\b|"
    r"\backnowledg|\bhistory\b|\bbaseline\b|\bdid(?: not|n't)\b|\bnot\b|\bno\b|\bwithout\b|\bremov|\bdisabl|\binstead\b|\breplac|\bvs\b|#\d{2,5}|"
    r"\boff\b|\bdropped\b|\bavailable\b|\boptional\b|\bsupport",
    re.IGNORECASE,
)
"""Sections and sentences that speak of other runs, other people's work, or of what was left out."""
_FORMS = ("bullet", "heading", "json")


@dataclass(frozen=True, slots=True)
class Claimed:
    """A technique as a statement of the folder names it, and the word under which code would have it."""

    slug: str
    claim: Statement


WORDS: Mapping[str, re.Pattern[str]] = {
    "swa": re.compile(r"swa(?![a-z])|(?:weight|stochastic)_?av(?:g|erag)", re.IGNORECASE),
    "cyclic-shared-blocks": re.compile(r"shared?_?(?:block|layer)|cyclic|num_unique", re.IGNORECASE),
    "inference-mode": re.compile(r"inference_mode", re.IGNORECASE),
    "late-qat": re.compile(r"qat|fake_?quant|ste(?![a-z])", re.IGNORECASE),
    "gptq": re.compile(r"gptq|hessian", re.IGNORECASE),
    "smeargate": re.compile(r"smear", re.IGNORECASE),
    "xsa": re.compile(r"xsa", re.IGNORECASE),
    "selective-pruning": re.compile(r"prun", re.IGNORECASE),
    "trigram-hash": re.compile(r"tri_?gram", re.IGNORECASE),
}
"""Words of identifiers without which a technique is not in a script. Techniques that go by many names are not listed."""


def check(context: Context) -> Decision:
    submission = context.submission
    analysis = analysis_of(context)
    claimed = _claimed(statements(submission))
    if not claimed:
        return Decision.not_applicable("README and JSON name no technique that the script could be searched for")
    if not analysis.available or analysis.doubts:
        return Decision.not_available(analysis.why_not or f"the program is not read as a whole: {analysis.doubts[0].message}")
    if submission.program.missing_imports:
        return Decision.not_available(
            f"the script imports {submission.program.missing_imports[0][0]}, which is not in the folder"
        )
    findings = [
        finding
        for one in claimed
        if (finding := _never_applied(analysis, one) or _switched_but_unread(context, analysis, one) or _absent(analysis, one))
    ]
    if findings:
        return Decision.of(findings)
    return Decision.passed(f"each of {', '.join(sorted(one.slug for one in claimed))} has code in the script")


def _claimed(every: Sequence[Statement]) -> tuple[Claimed, ...]:
    """One claim of each technique: bullets and headings before prose."""
    named = [one for one in every if one.topic == "technique" and one.polarity is Polarity.ASSERTED and one.value in WORDS]
    found: dict[str, Claimed] = {}
    for statement in sorted((one for one in named if one.form in _FORMS), key=lambda one: _FORMS.index(one.form)):
        if not _ELSEWHERE.search(statement.sentence):
            found.setdefault(statement.value, Claimed(statement.value, statement))
    return tuple(found.values())


def _never_applied(analysis: Analysis, one: Claimed) -> Finding | None:
    """Averages that are collected and that nothing reads: every use of the name is its own collection or a test for None."""
    if one.slug != "swa":
        return None
    for text in analysis.trees:
        for name, collected in _collected(text).items():
            live = any(Site(text.path, text.layer, statement.lineno) in analysis.run.reached for statement in collected)
            if live and all(_is_bookkeeping(text, node, name) for node in text.parsed.of(ast.Name) if _loads(node, name)):
                return Finding(
                    Outcome.FAIL,
                    f"{one.slug} is claimed; the script collects `{name}` and never applies it",
                    (one.claim.source, *(place(text, statement) for statement in collected[:3])),
                    remediation="load the averages before the export, or drop the claim",
                )
    return None


def _collected(text: ProgramText) -> dict[str, list[ast.stmt]]:
    """Dictionaries that are made of a model's state and that sum up further states (`total[name] += tensor`), by name, with the
    statements that do."""
    states = {
        node.targets[0].id
        for node in text.parsed.of(ast.Assign)
        if isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.DictComp)
        and any(isinstance(inner, ast.Attribute) and inner.attr == "state_dict" for inner in text.parsed.inside(node.value))
    }
    found: dict[str, list[ast.stmt]] = {}
    for node in text.parsed.of(ast.AugAssign):
        if isinstance(node.target, ast.Subscript) and isinstance(node.target.value, ast.Name):
            name = node.target.value.id
            if name in states:
                found.setdefault(name, []).append(node)
    return found


def _loads(node: ast.Name, name: str) -> bool:
    return node.id == name and isinstance(node.ctx, ast.Load)


def _is_bookkeeping(text: ProgramText, node: ast.AST, name: str) -> bool:
    """Whether a use only keeps the sum going: the target of `x[k] += v`, or `x is None`."""
    parent = text.parsed.parents.get(id(node))
    if (
        isinstance(parent, ast.Compare)
        and isinstance(parent.comparators[0], ast.Constant)
        and parent.comparators[0].value is None
    ):
        return True
    if isinstance(parent, ast.Subscript):
        holder = text.parsed.parents.get(id(parent))
        return isinstance(holder, ast.AugAssign) and holder.target is parent
    return False


def _switched_but_unread(context: Context, analysis: Analysis, one: Claimed) -> Finding | None:
    """The documented command sets a variable of the technique, and no text of the program knows the variable or the technique."""
    word = WORDS[one.slug]
    if _mentions(analysis, word):
        return None
    for command in documented_commands(context.submission):
        setting = next((setting for setting in command.settings if word.search(setting.name)), None)
        if setting is not None:
            return Finding(
                Outcome.FAIL,
                f"{one.slug} is claimed and the command sets {setting.name}; the script has neither the variable nor "
                "any code of that name",
                (one.claim.source, setting.source),
                remediation="drop the claim and the variable, or ship the script that has the technique",
            )
    return None


def _absent(analysis: Analysis, one: Claimed) -> Finding | None:
    """A claim of `torch.inference_mode` is about a name, so a script without the name refutes it. Other techniques may be written
    without theirs."""
    if one.slug != "inference-mode" or _mentions(analysis, WORDS[one.slug]):
        return None
    disabled = [
        (text, node)
        for text in analysis.trees
        for node in text.parsed.of(ast.Attribute)
        if node.attr in ("no_grad", "set_grad_enabled")
    ]
    return Finding(
        Outcome.FAIL,
        "torch.inference_mode is claimed; the script never names it" + (" and scores under no_grad" if disabled else ""),
        (one.claim.source, *(place(text, node) for text, node in disabled[:2])),
        remediation="name the guard that the script uses",
    )


def _mentions(analysis: Analysis, word: re.Pattern[str]) -> bool:
    """Whether any name, attribute, argument, definition or text of the program has the word."""
    return any(word.search(found) for text in analysis.trees for node in text.parsed.nodes for found in _names(node))


def _names(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
            yield name
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.AsyncFunctionDef(name=name):
            yield name
        case ast.keyword(arg=str(name)) | ast.alias(name=name):
            yield name
        case ast.Constant(value=str(text)):
            yield text[:4000]


TECHNIQUE_NOT_LIVE = Rule(
    code="CLM010",
    name="technique-not-live",
    level=Level.WARNING,
    summary="README or JSON claim a technique that has no live code path in the run",
    why="Others build on what they read. A technique that never ran must not be credited with the score.",
    example="violation: 'EMA + SWA' is listed; weights are summed into swa_state, and nothing reads it\n"
    "legal: the same list, and model.load_state_dict({k: v / n for k, v in swa_state.items()}) before the export",
    settles="the lines that apply the technique under the configuration of the run",
    sources=(_PULL + "1242", _PULL + "1405"),
    check=check,
)

RULES = (TECHNIQUE_NOT_LIVE,)
