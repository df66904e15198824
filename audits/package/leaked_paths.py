"""PKG006: personal paths and credentials."""

from __future__ import annotations

from itertools import groupby

from verifier.engine.context import Context
from verifier.rule import Decision, Finding, Level, Outcome, Rule
from verifier.submission.leaks import Leak

SHOWN = 5


def check(context: Context) -> Decision:
    """One finding per path or credential, with the places where it stands."""
    submission = context.submission
    leaks = sorted(
        submission.leaks, key=lambda leak: (leak.kind, leak.what, leak.source.path, leak.source.layer, leak.source.line or 0)
    )
    findings = [_finding(list(group)) for _, group in groupby(leaks, key=lambda leak: (leak.kind, leak.what))]
    if findings:
        return Decision.of(findings)
    unread = sum(entry.sha256 is None and not entry.junk for entry in submission.files)
    if unread:
        return Decision.not_available(
            f"{unread} of {len(submission.files)} files could not be read; nothing was found in the others"
        )
    return Decision.passed("no personal path and no credential in the folder's text")


def _finding(leaks: list[Leak]) -> Finding:
    leak = leaks[0]
    files = len({leak.source.path for leak in leaks})
    where = leak.source.path if files == 1 else f"{files} files"
    if leak.kind == "credential":
        message = f"a {leak.what} in {where}"
        remediation = "revoke it now: a push to a public repository can't be taken back; then remove it from the file"
    else:
        message = f"the personal path {leak.what} in {where}"
        remediation = "replace it by a relative path or a placeholder; name the author in submission.json instead"
    return Finding(Outcome.FAIL, message, tuple(leak.source for leak in leaks[:SHOWN]), remediation=remediation)


LEAKED_PATH = Rule(
    code="PKG006",
    name="leaked-path",
    level=Level.NOTE,
    summary="a personal absolute path or a credential stands in the folder",
    why=(
        "A home directory in a log tells a user's name to everyone and makes a command fail on any other machine. A token can be "
        "used by anyone who reads the repository. The verifier never prints more than a secret's first characters."
    ),
    example=(
        "violation: tokenizer_path: /home/jdoe42/golf/data/fineweb_1024_bpe.model\n"
        "legal:     tokenizer_path: ./data/fineweb_1024_bpe.model, /workspace/..., /root/..., /content/..., /tmp/..., /home/ubuntu/..."
    ),
    settles="nothing more is needed: the line is cited",
    sources=("https://github.com/openai/parameter-golf/pull/1405",),
    check=check,
)

RULES = (LEAKED_PATH,)
