"""Texts that try to act, and reports that carry them in every field that a submission controls."""

from __future__ import annotations

import dataclasses
import unicodedata
from enum import Enum
from typing import Any, cast

from verifier.report.model import Curve, Report

from . import sample

TEXTS = (
    "::error file=README.md,line=1::forged",
    "first\n::warning::second line\r\n##[error]third",
    "::stop-commands::x\n::x::",
    "%0A::error::percent, comma: colon",
    "\x1b[31mred\x1b]8;;http://evil.example\x07link\x1b\\ \x9b31m \x08\x08",
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "--> ]]></style></svg></title></code></details><svg onload=alert(1)><a href='javascript:alert(1)'>x</a>",
    "' onmouseover='alert(1)' x=\" onfocus=alert(1) autofocus \"",
    "```\n# owned\n```",
    "`` ` ``` `",
    "` trailing backslash \\",
    "[link](https://evil.example) ![image](http://evil.example/x.png) [ref]: http://evil.example",
    "@octocat and @org/team, fixes #1, GH-2, https://evil.example and www.evil.example",
    "| a | b \\| c \\\\| d |",
    "# heading",
    "1. list",
    "--- ",
    "    indented code",
    "> quote *strong* _em_ ~~gone~~ $math$ :smile:",
    "user\u202egpj.exe\u2066\u200b\ufeff\U000e0041",
    "undecodable \udcff\udc80 name",
    "lone \ud800 surrogate",
    "separators \u2028 and \u2029 and \x85 and \0",
    "noncharacters \ufffe \uffff",
    "[bold red]markup[/bold red] [link=http://evil.example]x[/link]",
    "{0} {unique_id} %s {{x}}",
    "&lt;b&gt; &#60;script&#62; &amp;",
    "x" * 5_000,
    "",
    " ",
)

TRUSTED = {
    "RuleResult": ("code", "name"),
    "Finding": ("rule", "name", "sources"),
    "SubmissionReport": ("not_examined",),
}
"""Fields that come from the verifier and its rules, not from a submission."""


def poisoned(text: str) -> Report:
    """A batch with `text` in every string that a submission controls."""
    return sample.report(*(_poison(submission, text) for submission in sample.batch().submissions[:2]))


def poisoned_single(text: str) -> Report:
    return sample.report(_poison(sample.failing_submission(), text))


def _poison[Kind](value: Kind, text: str) -> Kind:
    poison: Any = value
    if isinstance(value, Curve):
        poison = dataclasses.replace(value, log=text, points=value.points[::20])
    elif isinstance(value, Enum):
        pass
    elif isinstance(value, str):
        poison = text
    elif isinstance(value, tuple):
        poison = tuple(_poison(entry, text) for entry in value)
    elif isinstance(value, dict):
        poison = {f"{key} {text}": _poison(entry, text) for key, entry in value.items()}
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        trusted = TRUSTED.get(type(value).__name__, ())
        changes = {
            field.name: _poison(getattr(value, field.name), text)
            for field in dataclasses.fields(value)
            if field.name not in trusted
        }
        poison = dataclasses.replace(value, **changes)
    return cast("Kind", poison)


def acting_characters(text: str, allowed: str = "\n") -> set[str]:
    """Characters that a terminal, a browser or a log viewer would act on or hide."""
    acting = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    return {char for char in text if unicodedata.category(char) in acting and char not in allowed}
