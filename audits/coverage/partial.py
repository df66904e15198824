"""EVA001: headline metrics over a part of the validation set, from the counts that logs print and the cuts that scripts make."""

from __future__ import annotations

import re
from collections.abc import Sequence

from audits.coverage.cut_stream import Cut, cut_of_stream, gathered_part, whole_stream
from audits.coverage.dependence import WHOLE
from audits.coverage.early_end import EarlyEnd, early_end_of
from audits.coverage.one_share import share_of_one_process
from audits.coverage.progress import stopped_counter
from audits.coverage.scored_loops import headline_losses
from audits.coverage.windows import NOT_COVERED, coverage_of
from audits.denominator.headlines import alike, describe_pair, evidence, headline_bytes
from verifier.engine.context import Context
from verifier.evidence import Number
from verifier.ledger.claims import claimed_runs, headline_runs
from verifier.ledger.denominator import Denominator, Stream, read_tokens
from verifier.program.analysis import analysis_of
from verifier.program.queries import headline_reports
from verifier.rule import Confidence, Decision, Finding, Level, Measured, Outcome, Rule
from verifier.submission.logs.model import Metric, Run, Value

_PULL = "https://github.com/openai/parameter-golf/pull/"
SAME = 2e-5
"""Relative distance at which bytes per token are those of the whole set."""
PRINTED = 1e-4
"""Relative precision of a printed pair that is good enough to tell."""
ON_LINE = re.compile(r"\b(subset|(?:n_|num_|total_|scored_)?(?:bytes|tokens|docs))\s*[=:]\s*([\d,_]{1,16})\b", re.IGNORECASE)
SUBSET_SETTING = re.compile(r"subset|max_val_tokens|val_max_tokens|eval_max_tokens|val_docs_limit|max_val_docs", re.IGNORECASE)


def check(context: Context) -> Decision:
    decision = _by_logs(context)
    if decision.outcome not in (Outcome.PASS, Outcome.NOT_AVAILABLE, Outcome.INFO):
        return decision
    exact = decision.outcome is Outcome.PASS and _is_exact(context)
    cut = cut_of_stream(context, whole_stream(context))
    finding = _from_program(context, cut, decision) if cut is not None else None
    if finding is not None:
        return Decision.of([*decision.findings, finding])
    counted = _from_counter(context) if not exact else None
    if counted is not None:
        return Decision.of([*decision.findings, counted])
    shared = _from_one_process(context) if not exact else None
    if shared is not None:
        return Decision.of([*decision.findings, shared])
    return _by_loops(context, decision, exact)


def _from_counter(context: Context) -> Finding | None:
    """A setting that no log prints may end the loop: then the counter that it logs tells."""
    counter = stopped_counter(context)
    if counter is None:
        return None
    return Finding(
        Outcome.REVIEW,
        f"the evaluation's own counter, printed every {counter.every:,} rounds, can have come to {counter.reached:,} of"
        f" {counter.total:,} at most before the score is printed: a part of the set may have been scored. The number of scored targets"
        " would tell",
        counter.places,
        Confidence.MEDIUM,
        Measured(counter.reached, "rounds"),
        Measured(counter.total, "rounds"),
        remediation="Score all documents of the validation split.",
    )


def _from_one_process(context: Context) -> Finding | None:
    """Windows are shared out to processes, and the losses on one share reach the headline without a sum over the processes."""
    sizes = {run.world_size.text for run in claimed_runs(context.submission) if run.world_size is not None}
    analysis = analysis_of(context)
    if not sizes or "1" in sizes or not analysis.available:
        return None
    reports = headline_reports(analysis.run, context.submission)
    share = share_of_one_process(analysis, reports, headline_losses(analysis))
    if share is None:
        return None
    return Finding(
        Outcome.REVIEW,
        f"each of {min(sizes)} processes scores its share of the windows, and nothing was seen to put together the losses that the headline"
        " is formed from: it may cover one process's share. The number of scored targets would tell",
        tuple(dict.fromkeys(analysis.location(site) for site in (share.cut, share.loss, share.printed))),
        Confidence.MEDIUM,
        remediation="Sum the losses, targets and bytes over all processes before the score is formed.",
    )


def _by_loops(context: Context, by_logs: Decision, exact: bool) -> Decision:
    """Figures that are near those of the whole set are also near those of a good sample: then the loops must be seen to go through
    all of it."""
    end = early_end_of(context)
    if isinstance(end, EarlyEnd) and (end.certain or (by_logs.outcome is Outcome.PASS and not exact)):
        return Decision.of(
            [
                *by_logs.findings,
                Finding(
                    Outcome.REVIEW,
                    f"the evaluation's loop takes {end.what}: the number of scored targets would tell how much of the set that is",
                    end.places,
                    Confidence.MEDIUM if end.certain else Confidence.LOW,
                    remediation="Score all documents of the validation split.",
                ),
            ]
        )
    if by_logs.outcome is not Outcome.PASS:
        return by_logs
    if exact:
        if isinstance(end, EarlyEnd) and not end.timed:
            return Decision.not_available(f"{by_logs.reason}; but the script's loop takes {end.what} ({end.places[-1]})")
        return by_logs
    doubt = end if isinstance(end, str) else analysis_of(context).gap(native=False) or gathered_part(context) or _gaps(context)
    if doubt:
        return Decision.not_available(f"{by_logs.reason}; that does not show how many targets were scored, and {doubt}")
    return Decision.passed(f"{by_logs.reason}; the script's loops go through the whole stream")


def _gaps(context: Context) -> str:
    covered = coverage_of(context)
    return covered if isinstance(covered, str) and covered.endswith(NOT_COVERED) else ""


def _is_exact(context: Context) -> bool:
    """Whether every headline's bytes per token, or the count on its line, are the whole set's to the printed digits. Half of the
    documents, picked well, come within some 5e-4 of them, runs over all of them within 5e-6."""
    headlines = [(each.run, each.metric) for each in headline_runs(context.submission) if each.metric is not None]
    # A headline without a loss is measured on the line of its log that prints both.
    agreeing = {line.metric.source.path for line in headline_bytes(context) if not line.stands_in and _agrees(context, line)}
    return all(metric.source.path in agreeing or _counts_all(context, run, metric) for run, metric in headlines)


def _counts_all(context: Context, run: Run, headline: Metric) -> bool:
    tokens = read_tokens(run)
    for name, text in ON_LINE.findall(headline.source.excerpt):
        whole, number = _whole(context, name.lower(), tokens.count if tokens else None), Number.parse(text)
        if whole is not None and number is not None and WHOLE * whole <= number.value <= whole:
            return True
    return False


def _agrees(context: Context, line: Denominator) -> bool:
    if line.tolerance > PRINTED or line.stream not in (Stream.FULL, Stream.SHORT):
        return False
    rows = [row for row in context.challenge.streams if row.status in ("canonical", "short-export")]
    gaps = [line.ratio / row.bytes_per_token - 1 for row in rows if row.family == line.family]
    if line.total is not None:
        gaps += [line.total / size - 1 for size in (context.challenge.val_bytes, *(row.total_bytes for row in rows))]
    return any(abs(gap) <= SAME + line.tolerance for gap in gaps)


def _from_program(context: Context, cut: Cut, by_logs: Decision) -> Finding | None:
    """The script's cut, in doubt where the logs show the whole set's figures."""
    whole = whole_stream(context)
    counted = any(read_tokens(each.run) is not None for each in headline_runs(context.submission))
    if cut.tokens is not None and _set_elsewhere(context, cut.tokens):
        return None
    proven = cut.certain and not (by_logs.outcome is Outcome.PASS and "covers the full set" in by_logs.reason)
    of = f" of {whole:,}" if counted else ""
    what = f"a part of the stream, {cut.tokens:,} tokens{of}" if cut.tokens is not None else "windows drawn at random"
    return Finding(
        Outcome.FAIL if proven else Outcome.REVIEW,
        f"the headline's losses are formed on {what}",
        cut.places,
        measured=Measured(cut.tokens, "tokens") if cut.tokens is not None else None,
        limit=Measured(whole, "tokens"),
        remediation="Score all documents of the validation split.",
    )


def _set_elsewhere(context: Context, tokens: int) -> bool:
    """Whether the cut is a default that a run script of the folder may replace: those are not read."""
    defaults = {read.default for read in context.submission.program.env_reads if read.default is not None}
    numbers = {number.value for text in defaults if (number := Number.parse(text)) is not None}
    scripted = any(entry.path.endswith((".sh", ".bash", ".slurm", "Makefile")) for entry in context.submission.files)
    return scripted and bool({tokens, tokens - 1} & numbers)


def _by_logs(context: Context) -> Decision:
    headlines = [(each.run, each.metric) for each in headline_runs(context.submission) if each.metric is not None]
    if not headlines:
        return Decision.not_available("no log has a final metric, so what was scored is unknown")
    lines = headline_bytes(context)
    findings = [finding for run, metric in headlines for finding in _from_run(context, run, metric, lines)]
    findings += [finding for group in alike(lines) if (finding := _from_bytes(context, group)) is not None]
    if findings:
        return Decision.of(findings)
    whole = [line for line in lines if line.stream in (Stream.FULL, Stream.SHORT) and not line.stands_in]
    if len(whole) == len(headlines):
        return Decision.passed(f"the headline covers the full set: {describe_pair(whole[0])}")
    counted = [tokens for run, _ in headlines if (tokens := read_tokens(run)) is not None]
    if len(counted) == len(headlines):
        return Decision.passed(
            f"the runs score {counted[0].count:,} validation tokens, and nothing says that the headline covers fewer"
        )
    return Decision.not_available("the logs print neither a token count nor a pair that shows how much of the set was scored")


def _from_run(context: Context, run: Run, headline: Metric, lines: Sequence[Denominator]) -> list[Finding]:
    """Document counts, and counts or subset sizes on the headline's own line and in the settings."""
    findings = []
    documents = Number.parse(run.val_docs.text) if run.val_docs is not None else None
    if run.val_docs is not None and documents is not None and 0 < documents.value < WHOLE * context.challenge.val_docs:
        # Each part of the text has bytes per token of its own: a headline with those of the whole set speaks against the count.
        own = (line for line in lines if line.metric.source.path == headline.source.path and not line.stands_in)
        whole = next((line for line in own if _agrees(context, line)), None)
        told = f"{int(documents.value):,} of {context.challenge.val_docs:,} validation documents are scored"
        if whole is not None:
            told += f", says the log; but its headline has the whole set's bytes per token: {describe_pair(whole)}"
        findings.append(
            Finding(
                Outcome.FAIL if whole is None and _tokens_allow(context, run) else Outcome.REVIEW,
                told,
                (run.val_docs.source, *((whole.metric.source,) if whole is not None else ())),
                measured=Measured(int(documents.value), "documents"),
                limit=Measured(context.challenge.val_docs, "documents"),
                remediation="Score all documents of the validation split.",
            )
        )
    settings = _subset_settings(run)
    findings += _from_line(context, run, headline, bool(settings))
    tokens = read_tokens(run)
    findings += [
        Finding(
            Outcome.REVIEW,
            f"{name} = {value.text} while the set has {tokens.count:,} tokens: if the headline comes from that evaluation, it covers"
            " a part of the set",
            (value.source, tokens.source),
            Confidence.MEDIUM,
            measured=None,
            limit=Measured(tokens.count, "tokens"),
        )
        for name, value in settings
        if tokens is not None
    ]
    return findings


def _subset_settings(run: Run) -> list[tuple[str, Value]]:
    """Settings that limit an evaluation to fewer tokens than the run's validation stream has."""
    tokens = read_tokens(run)
    return [
        (name, value)
        for name, value in sorted(run.config.items())
        if SUBSET_SETTING.search(name)
        and tokens is not None
        and (number := Number.parse(value.text)) is not None
        and 0 < number.value < WHOLE * tokens.count
    ]


def _from_line(context: Context, run: Run, headline: Metric, limited: bool) -> list[Finding]:
    """Counts on the headline's own line. Proven when the line calls itself a subset, or a setting limits the evaluation too."""
    tokens = read_tokens(run)
    findings = []
    for name, text in ON_LINE.findall(headline.source.excerpt):
        what = name.lower()
        whole = _whole(context, what, tokens.count if tokens else None)
        number = Number.parse(text)
        if whole is None or number is None or not 0 < number.value < WHOLE * whole:
            continue
        if what.endswith("bytes") and tokens is not None and number.value == tokens.count:
            # Tokens under the name of bytes: all of them.
            continue
        findings.append(
            Finding(
                Outcome.FAIL if limited or what == "subset" else Outcome.REVIEW,
                f"the headline's line counts {name} {int(number.value):,}, the whole set has {whole:,}",
                (headline.source, *((tokens.source,) if tokens else ())),
                Confidence.MEDIUM,
                Measured(int(number.value), what),
                Measured(whole, what),
                "Score the whole validation split with the quoted scorer.",
            )
        )
    return findings


def _whole(context: Context, name: str, tokens: int | None) -> int | None:
    if name.endswith("bytes"):
        return context.challenge.val_bytes
    return context.challenge.val_docs if name.endswith("docs") else tokens


def _tokens_allow(context: Context, run: Run) -> bool:
    """False when the run prints the token count of a full stream: then the document count may be of something else."""
    tokens = read_tokens(run)
    return tokens is None or not any(
        row.val_tokens == tokens.count and row.status in ("canonical", "short-export") for row in context.challenge.streams
    )


def _from_bytes(context: Context, lines: tuple[Denominator, ...]) -> Finding | None:
    line = lines[0]
    if line.stands_in:
        return None
    if line.stream in (Stream.SUBSET, Stream.PREFIX):
        return Finding(
            # Without a token count the ratio of a prefix could be that of another tokenizer's text.
            Outcome.FAIL if line.tokens is not None else Outcome.REVIEW,
            f"{describe_pair(line)}: these are the figures of {line.cause}, not of the validation set",
            evidence(lines),
            measured=Measured(line.tokens.count, "tokens") if line.tokens and line.stream is Stream.SUBSET else None,
            remediation="Score all documents of the validation split.",
        )
    if line.stream is not Stream.OFF or line.tokens is None or line.total is None:
        return None
    full = [row for row in context.challenge.streams if row.family == line.family and row.status == "canonical"]
    count = line.tokens.count
    # A part is near no whole set's count: which of the family's vocabularies it is, the bytes per token tell. A known part has its own.
    ratio = next((row.bytes_per_token for row in context.challenge.streams if row.val_tokens == count), line.ratio)
    nearest = min(full, key=lambda row: abs(row.bytes_per_token - ratio), default=None)
    if nearest is None:
        return _short(context, lines) if line.total < context.challenge.val_bytes else None
    few = count < WHOLE * min(row.val_tokens for row in full)
    text_like = abs(line.ratio / nearest.bytes_per_token - 1) < 0.12
    if not few or not text_like:
        return _short(context, lines) if line.deviation is not None and line.deviation < 0 else None
    return Finding(
        Outcome.FAIL,
        f"{count:,} tokens are scored; with this tokenizer ({line.family}) the whole set has about {nearest.val_tokens / 1e6:.1f} million",
        evidence(lines),
        measured=Measured(count, "tokens"),
        limit=Measured(nearest.val_tokens, "tokens"),
        remediation="Score all documents of the validation split.",
    )


def _short(context: Context, lines: tuple[Denominator, ...]) -> Finding:
    """Fewer bytes than the whole set, and no known reason: a part was scored, or the byte table counts too few."""
    return Finding(
        Outcome.REVIEW,
        f"{describe_pair(lines[0])}: less than the {context.challenge.val_bytes / 1e6:.2f} MB of the validation set. A part of it may"
        " have been scored; the sum of the scored targets would tell",
        evidence(lines),
        Confidence.LOW,
        Measured(round(lines[0].total), "bytes") if lines[0].total is not None else None,
        Measured(context.challenge.val_bytes, "bytes"),
    )


PARTIAL_VALIDATION = Rule(
    code="EVA001",
    name="partial-validation",
    level=Level.ERROR,
    summary="the reported metric covers a subset of the validation set",
    why="The score is defined over all 50,000 documents. Over the first 10,000, or the first million tokens, the same model prints "
    "another number, off by more than the record's margin.",
    example="violation: total_docs:10000, 9,662,464 tokens, val_bpb 1.0612 claimed\n"
    "legal: a quick check on a prefix printed as a diagnostic while the claim quotes the full set",
    settles="the number of scored targets and bytes of the pass that produced the claimed score",
    sources=(_PULL + "1835", _PULL + "2009", _PULL + "2039"),
    check=check,
)
