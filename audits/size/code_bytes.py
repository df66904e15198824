"""SIZ002: the code that the log counted, or printed, is the code that was committed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from verifier.engine.context import Context
from verifier.evidence import Location
from verifier.ledger.sizes import CodeCounting, SizeAccount, size_accounts
from verifier.rule import Decision, Finding, Level, Measured, Outcome, Rule
from verifier.submission.logs.model import LogFile
from verifier.submission.script import Program, ScriptFile
from verifier.submission.submission import Submission

_SAME_TEXT_SHARE = 0.02
"""Embedded source whose lines differ by less than this is the same script with another banner."""


def _check(context: Context) -> Decision:
    submission = context.submission
    if submission.program.main is None:
        return Decision.not_available("the folder has no training script to compare with")
    accounts = [account for account in size_accounts(submission) if account.claimed and account.code is not None]
    findings = [*_by_size(accounts, submission.program), *_by_text(submission)]
    if findings:
        return Decision.of(findings)
    embedded = [log for log in submission.logs if log.embedded is not None and log.duplicate_of is None]
    if not accounts and not embedded:
        return Decision.not_available("no log prints code bytes or the source it ran")
    return Decision.passed(
        f"code bytes of {len(accounts)} runs and the source printed by {len(embedded)} logs are the committed script"
    )


def _by_size(accounts: list[SizeAccount], program: Program) -> Iterator[Finding]:
    """One finding for each code size that is not the committed script's."""
    seen: set[tuple[int, CodeCounting]] = set()
    for account in accounts:
        code, script = account.plain_code or account.code, account.script
        if code is None or script is None or account.counting in (CodeCounting.SAME, CodeCounting.UNKNOWN):
            continue
        if (code.bytes, account.counting) in seen:
            continue
        seen.add((code.bytes, account.counting))
        places = (code.source, Location(script.path))
        measured, limit = Measured(code.bytes, "bytes"), Measured(script.size, "bytes")
        head = f"the log counts {code.bytes:,} bytes of code, {script.path} has {script.size:,}"
        if account.counting is CodeCounting.COMPRESSED:
            yield Finding(Outcome.INFO, f"{head}: a compressed form is counted", places, measured=measured, limit=limit)
        elif account.counting is CodeCounting.REPACKED:
            yield Finding(
                Outcome.INFO,
                f"{head} and unpacks to the counted text ({account.matched})",
                places,
                measured=measured,
                limit=limit,
            )
        elif account.counting is CodeCounting.OTHER_FILE:
            yield Finding(Outcome.INFO, f"{head}; {account.matched} has the counted size", places, measured=measured, limit=limit)
        else:
            explained = _nearest(code.bytes, program)
            if account.total is not None and account.shipped is not None and not account.counts_compressed:
                explained += f"; total in the log {account.total.bytes:,}, with the committed script {account.shipped:,}"
            yield Finding(
                Outcome.FAIL,
                f"{head}: the run used other code ({code.bytes - script.size:+,} bytes){explained}",
                places,
                measured=measured,
                limit=limit,
                remediation="commit the script of the run, or run again with the committed one",
            )


def _nearest(code: int, program: Program) -> str:
    """The committed text whose size comes nearest, where that is not the script itself."""
    sizes = {script.path: script.size for script in (*program.members, *program.others)}
    for script in (*program.members, *program.others):
        sizes.update((f"layer {layer.index} of {script.path}", layer.bytes) for layer in script.layers if layer.text is not None)
    name = min(sizes, key=lambda name: (abs(sizes[name] - code), name))
    return "" if program.main is not None and name == program.main.path else f" ({name} comes nearest with {sizes[name]:,})"


def _by_text(submission: Submission) -> Iterator[Finding]:
    """Source that a log printed against the committed scripts. Differences are common and mostly harmless: a fact, with a count."""
    texts = _committed_texts(submission.program)
    seen: set[str] = set()
    for log in submission.logs:
        if log.embedded is None or log.duplicate_of is not None or log.embedded.text in seen:
            continue
        seen.add(log.embedded.text)
        yield from _compare(log, texts)


def _committed_texts(program: Program) -> list[tuple[str, Counter[str]]]:
    scripts: list[ScriptFile] = [*program.members, *program.others]
    return [
        (script.path if layer == 0 else f"layer {layer} of {script.path}", _lines(text))
        for script in scripts
        for layer, text in script.code_texts
    ]


def _lines(text: str) -> Counter[str]:
    return Counter(stripped for line in text.splitlines() if (stripped := "".join(line.split())))


def _compare(log: LogFile, texts: list[tuple[str, Counter[str]]]) -> Iterator[Finding]:
    assert log.embedded is not None
    printed = _lines(log.embedded.text)
    total = sum(printed.values())
    if not texts or total == 0:
        return
    differences = [((printed - lines).total(), (lines - printed).total(), name) for name, lines in texts]
    only_log, only_file, name = min(differences, key=lambda entry: entry[0] + entry[1])
    if only_log <= _SAME_TEXT_SHARE * total and only_file <= _SAME_TEXT_SHARE * total and only_log + only_file <= 2:
        return
    if only_log == 0 and only_file > 0.5 * total:
        return  # the log was cut, or prints a part
    where = Location(log.path, log.embedded.first_line, log.embedded.last_line)
    message = f"the source that {log.path} prints differs from {name}: {only_log:,} lines only in the log, {only_file:,} only in the file"
    yield Finding(Outcome.INFO, message, (where,), measured=Measured(only_log + only_file, "lines"))


CODE_MISMATCH = Rule(
    code="SIZ002",
    name="code-bytes-mismatch",
    level=Level.WARNING,
    summary="the code bytes in the log are not those of the committed script: the run used other code",
    why="The log proves a result only for the script that printed it. When the counted bytes differ, the committed file is another "
    "version, and nothing shows that it gives the same score.",
    example="violation: `Code size: 85955 bytes` in the log, a packed train_gpt.py of 24,732 bytes that unpacks to 86,046\n"
    "legal: the committed script unpacks to exactly the counted bytes\n"
    "legal: `Code size (compressed): 31874 bytes` beside a plain script of 152,000 bytes",
    settles="the script of the run, or a log of the committed one",
    sources=("https://github.com/openai/parameter-golf/pull/1738",),
    check=_check,
)
