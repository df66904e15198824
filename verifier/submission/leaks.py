"""Personal paths and credentials in a folder's text: found while reading, kept masked.

A user's name in a path tells more than the author meant to publish; a token in a log is usable by anyone until it is revoked.
What is kept never holds more than the first characters of a secret.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass

from verifier.evidence import Location, excerpt


@dataclass(frozen=True, slots=True)
class Leak:
    """`kind` is `path` or `credential`; `what` is `/home/alice` or `Hugging Face token hf_ab…`."""

    kind: str
    what: str
    source: Location


PER_FILE = 20
"""Leaks kept of one file: a log repeats its paths on every line."""
_CONTEXT = 100

_PATH = re.compile(
    rb"(?<![\w.~/-])(?:/(?:home|Users)/|[A-Za-z]:(?:\\{1,4}|/)Users(?:\\{1,4}|/))([A-Za-z0-9][\w.@+-]{0,63})(?=[/\\\s\"'`:;,)\]}]|$)",
    re.MULTILINE,
)
_ACCOUNTS = """
admin administrator app azureuser centos coder colab default dev developer docker ec2-user foo gitpod group guest jovyan linuxbrew me
model-server name nobody node nonroot null path public research researcher root runner runneradmin sagemaker-user shared student team
tmp ubuntu uname user username users vast vscode work worker workspace you your your-name your_name your-username your_username
yourname yourusername zeus
"""
_SHARED_ACCOUNTS = frozenset(_ACCOUNTS.split())
"""Accounts of images and cloud providers, and placeholders: they name nobody."""

_CREDENTIALS = (
    ("Hugging Face token", b"hf_", re.compile(rb"(?<![\w-])hf_[A-Za-z0-9]{30,64}(?![\w-])")),
    ("OpenAI or Anthropic key", b"sk-", re.compile(rb"(?<![\w-])sk-(?:proj-|ant-|svcacct-)?[A-Za-z0-9][\w-]{31,199}(?![\w-])")),
    ("AWS access key", b"AKIA", re.compile(rb"(?<![\w/+])AKIA[0-9A-Z]{16}(?![\w/+=])")),
    ("GitHub token", b"gh", re.compile(rb"(?<![\w-])gh[pousr]_[A-Za-z0-9]{36,255}(?![\w-])")),
    ("GitHub token", b"github_pat_", re.compile(rb"(?<![\w-])github_pat_[A-Za-z0-9_]{60,255}(?![\w-])")),
    ("Slack token", b"xox", re.compile(rb"(?<![\w-])xox[abprs]-[A-Za-z0-9-]{20,255}(?![\w-])")),
    ("Weights & Biases key", b"WANDB_API_KEY", re.compile(rb"WANDB_API_KEY[ =:\"']{1,4}[0-9a-f]{40}(?![\w-])")),
    ("private key", b"PRIVATE KEY", re.compile(rb"-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----")),
)
"""Title, a text that every match holds (searched first, it is far faster), pattern."""
_SHOWN = 6


def find_leaks(path: str, data: bytes, layer: int = 0) -> tuple[Leak, ...]:
    """Personal paths and credentials in one text, in file order, each distinct one once, at most `PER_FILE`."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        data = data.decode("utf-16", "replace").encode("utf-8")
    hits: dict[tuple[str, str], tuple[int, int]] = {}
    for match in _PATH.finditer(data) if b"/home/" in data or b"Users" in data else ():
        name = match[1].decode("ascii", "replace").rstrip(".")
        if name.lower() not in _SHARED_ACCOUNTS and not _placeholder(name):
            hits.setdefault(("path", match[0].decode("utf-8", "replace").rstrip(".")), match.span())
            if len(hits) >= PER_FILE:
                break
    for title, needle, pattern in _CREDENTIALS:
        for match in pattern.finditer(data) if needle in data else ():
            secret = match[0].decode("ascii", "replace")
            if title == "private key" or _random_looking(secret):
                hits.setdefault(("credential", f"{title} {secret[:_SHOWN]}…"), match.span())
                if len(hits) >= 2 * PER_FILE:
                    break
    if not hits:
        return ()
    starts = [at.start() + 1 for at in re.finditer(rb"\n", data)]
    found = []
    for (kind, what), span in sorted(hits.items(), key=lambda hit: (hit[1], hit[0])):
        line = bisect_right(starts, span[0]) + 1
        found.append(Leak(kind, what, Location(path, line, layer=layer, excerpt=_shown(data, span, kind, what))))
    return tuple(found)


def _placeholder(name: str) -> bool:
    return name.lower().startswith(("your", "my-", "my_", "xxx", "<", "$", "{"))


def _random_looking(secret: str) -> bool:
    """Digits and letters mixed, as in a real token: no `hf_xxxxxxxx` or `sk-your-key-here-...`."""
    body = secret[-24:]
    return any(character.isdigit() for character in body) and len(set(body)) >= 8


def _shown(data: bytes, span: tuple[int, int], kind: str, what: str) -> str:
    """The surroundings on the line, with a secret cut down to what `what` shows of it."""
    start = max(data.rfind(b"\n", 0, span[0]) + 1, span[0] - _CONTEXT)
    end = data.find(b"\n", span[1], span[1] + _CONTEXT)
    end = span[1] + _CONTEXT if end < 0 else end
    middle = data[span[0] : span[1]].decode("utf-8", "replace")
    if kind == "credential":
        # What follows a secret on its line may be the rest of it or another one.
        return excerpt(f"{_text(data[start : span[0]])}{middle[:_SHOWN]}…")
    return excerpt(f"{_text(data[start : span[0]])}{middle}{_text(data[span[1] : end])}")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
