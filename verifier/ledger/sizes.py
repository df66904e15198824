"""Bytes of each run against the cap, under every counting that occurs.

Logs count code in different ways: the script as it is, a compressed form of it (accepted practice), or another script than the
one that was committed. An account keeps what the log says beside what the folder ships, and rules compare them.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from enum import StrEnum

from verifier.evidence import Fact, Location
from verifier.ledger.claims import claimed_headline, claimed_runs, claimed_seeds, headline_runs
from verifier.submission.logs.model import Run, SizeKind, SizeLine
from verifier.submission.metadata import SeedClaim
from verifier.submission.script import ScriptFile
from verifier.submission.submission import Submission

_COUNTED = (SizeKind.TOTAL, SizeKind.MODEL, SizeKind.CODE)
_LARGEST_CODE = 4_000_000
"""A difference of total and model above this is no code."""
_LARGEST_ARTIFACT = 64_000_000
"""A nameless total above this is not taken for an artifact."""
_COMPRESSED_SHARE = 0.6
"""Code bytes below this share of the script may be a compressed form of it."""


@dataclass(frozen=True, slots=True)
class SizeBar:
    """Bytes of one seed against the cap: `code` + `model`, or `total` alone. `counting` names the convention."""

    seed: int | None
    counting: str
    code: int | None
    model: int | None
    total: int
    claimed: bool
    """Whether the run is one of those that the submission claims."""
    source: Location


class CodeCounting(StrEnum):
    """How the code bytes of a log relate to the committed script."""

    SAME = "same"
    """The log counts exactly the committed script."""
    COMPRESSED = "compressed"
    """The log counts a compressed form of the script, and says so or shows it by its size."""
    REPACKED = "repacked"
    """The log counts the text that the committed, packed script unpacks to."""
    OTHER_FILE = "other-file"
    """The log counts another script of the folder, or several together."""
    DIFFERENT = "different"
    UNKNOWN = "unknown"
    """The log prints no code bytes, or there is no script."""


@dataclass(frozen=True, slots=True)
class SizeAccount:
    """One run's bytes. Lines are as logged; `None` where the log does not say it."""

    run: Run
    claimed: bool
    """Whether the submission counts this run."""
    claim: SeedClaim | None
    scored: bool
    """False when the folder claims a score and this run does not show it: the log may be of another run."""
    total: SizeLine | None
    """The total that counts as the artifact."""
    totals: tuple[SizeLine, ...]
    """Every total that the run prints, raw ones left out."""
    model: SizeLine | None
    """The compressed model that belongs to `total`."""
    code: SizeLine | None
    """The code bytes that `total` counts, else the last ones printed."""
    codes: tuple[SizeLine, ...]
    """Every code line of the run."""
    script: ScriptFile | None
    started: int
    """Bytes of the file that the script only starts, 0 for a script that is the program itself."""
    counting: CodeCounting
    matched: str
    """For `REPACKED` and `OTHER_FILE`: what has the logged size."""

    @property
    def shipped(self) -> int | None:
        """Model as logged plus the committed script."""
        if self.model is None or self.script is None or not self.model.exact:
            return None
        return self.model.bytes + self.script.size

    @property
    def counts_compressed(self) -> bool:
        """Whether the total counts a compressed form of the script."""
        return self.counting is CodeCounting.COMPRESSED or (self.code is not None and is_compressed(self.code))

    @property
    def plain_code(self) -> SizeLine | None:
        """The last code line that does not count a compressed form."""
        return next((line for line in reversed(self.codes) if not is_compressed(line)), None)

    @property
    def compressed_code(self) -> SizeLine | None:
        return next((line for line in self.codes if is_compressed(line)), None)


def size_accounts(submission: Submission) -> tuple[SizeAccount, ...]:
    """One account for each run that prints a size: claimed runs first, in the order of the claims.

    A claimed seed may have its score and its sizes in two logs (evaluation apart from training): the sizes of the seed count. When
    no run can be told to be claimed, all are.
    """
    claims = {claim.seed: claim for claim in claimed_seeds(submission)}
    sized = [run for run in submission.runs if any(size.kind in _COUNTED for size in run.sizes)]
    shown = {id(headline.run): headline.explained for headline in headline_runs(submission)}
    score = claimed_headline(submission).bpb
    claimed: list[Run] = []
    for run in claimed_runs(submission):
        same = [other for other in sized if other is run] or [other for other in sized if other.seed == run.seed]
        claimed += [other for other in same if not any(other is known for known in claimed)]
    others = [run for run in sized if not any(run is known for known in claimed)]
    if not claimed:
        claimed, others = others, []
    accounts = [_account(submission, run, claims.get(run.seed), score is None or shown.get(id(run), True)) for run in claimed]
    accounts += [replace(_account(submission, run, None, False), claimed=False) for run in others]
    return tuple(accounts)


def _account(submission: Submission, run: Run, claim: SeedClaim | None, scored: bool) -> SizeAccount:
    script, body = submission.program.main, submission.program.body
    codes = tuple(size for size in run.sizes if size.kind is SizeKind.CODE)
    totals = [size for size in run.sizes if size.kind is SizeKind.TOTAL and _may_be_artifact(size)]
    total = _counted_total(totals, claim.artifact_bytes if claim is not None else None)
    model, code = _parts(run, total, codes)
    plain = next((line for line in reversed(codes) if not is_compressed(line)), None)
    counting, matched = _code_counting(submission, script, plain, code)
    return SizeAccount(
        run=run,
        claimed=True,
        claim=claim,
        scored=scored,
        total=total,
        totals=tuple(totals),
        model=model,
        code=code,
        codes=codes,
        script=script,
        started=body.size if script is not None and body is not None and body is not script else 0,
        counting=counting,
        matched=matched,
    )


def names_artifact(line: SizeLine) -> bool:
    """Whether a line says in words that it is the submission's size."""
    words = line.source.excerpt.lower()
    return "submission" in words or "artifact" in words


def _may_be_artifact(line: SizeLine) -> bool:
    """A total may also be that of the raw model, or bytes of text: words decide, else the size."""
    if line.source.excerpt.lower().lstrip().startswith("raw"):
        return False
    return names_artifact(line) or line.bytes <= _LARGEST_ARTIFACT


def _counted_total(totals: list[SizeLine], claim: Fact | None) -> SizeLine | None:
    """The total that is the artifact: the claimed one, else the last exact one, else the last."""
    same = [size for size in totals if claim is not None and size.bytes == claim.value]
    exact = [size for size in totals if size.exact]
    chosen = same or exact or totals
    return chosen[-1] if chosen else None


def _parts(run: Run, total: SizeLine | None, codes: tuple[SizeLine, ...]) -> tuple[SizeLine | None, SizeLine | None]:
    """Model and code lines that add up to the total; failing that, the last model and the last code line."""
    models = [size for size in run.sizes if size.kind is SizeKind.MODEL]
    plain = [line for line in codes if not is_compressed(line)] or list(codes)
    if total is not None:
        for model in reversed(models):
            for code in reversed(codes):
                if model.bytes + code.bytes == total.bytes:
                    return model, code
        same_tag = [model for model in models if model.tag == total.tag] or models
        fitting = [model for model in same_tag if 0 <= total.bytes - model.bytes < _LARGEST_CODE]
        if fitting:
            return fitting[-1], plain[-1] if plain else None
        return None, plain[-1] if plain else None
    return (models[-1] if models else None), (plain[-1] if plain else None)


def is_compressed(line: SizeLine) -> bool:
    """Whether a code line says that it counts compressed code."""
    tag = line.tag.lower()
    words = ("compressed", "zlib", "lzma", "brotli", "zstd", "gzip", "packed", "minified", "wrapped", "wrapper")
    return any(word in tag for word in words) and "uncompressed" not in tag


def _code_counting(
    submission: Submission, script: ScriptFile | None, plain: SizeLine | None, counted: SizeLine | None
) -> tuple[CodeCounting, str]:
    """How the plain code bytes that a log prints (or, without them, the counted ones) relate to the committed files."""
    code = plain or counted
    if script is None or code is None:
        return CodeCounting.UNKNOWN, ""
    if code.bytes in _sizes_of(script):
        return CodeCounting.SAME, ""
    if is_compressed(code):
        return CodeCounting.COMPRESSED, ""
    for layer in script.layers:
        if layer.text is not None and code.bytes in (layer.bytes, len(layer.text.encode("utf-8", "surrogateescape"))):
            return CodeCounting.REPACKED, f"layer {layer.index} of {script.path}"
    program = submission.program
    for other in (*program.members, *program.others):
        if code.bytes in _sizes_of(other):
            return CodeCounting.OTHER_FILE, other.path
        if any(layer.text is not None and layer.bytes == code.bytes for layer in other.layers):
            return CodeCounting.OTHER_FILE, f"the text unpacked from {other.path}"
    if sum(member.size for member in program.members) == code.bytes:
        return CodeCounting.OTHER_FILE, f"the {len(program.members)} files of the program together"
    if _may_be_compressed(script, code.bytes):
        return CodeCounting.COMPRESSED, ""
    return CodeCounting.DIFFERENT, ""


def _sizes_of(script: ScriptFile) -> set[int]:
    """Bytes of a script as a log may print them: on disk, as text, with the other line endings, counted in characters, with or
    without the newline at its end."""
    unix = script.text.replace("\r\n", "\n").rstrip("\n")
    encoded = len(unix.encode("utf-8", "surrogateescape"))
    characters = len(unix)
    return {
        script.size,
        encoded,
        encoded + 1,
        encoded + unix.count("\n"),
        encoded + unix.count("\n") + 2,
        characters,
        characters + 1,
    }


def _may_be_compressed(script: ScriptFile, code_bytes: int) -> bool:
    """Whether unlabelled code bytes have the size of a compressed (minified, re-encoded) form of the script."""
    if code_bytes >= _COMPRESSED_SHARE * script.size or script.layers:
        return False
    deflated = len(zlib.compress(script.text.encode("utf-8", "surrogateescape"), 6))
    return 0.5 * deflated <= code_bytes <= 1.5 * deflated


def size_bars(submission: Submission) -> tuple[SizeBar, ...]:
    """Bars for the report: as logged, and with the committed script where that differs."""
    bars: list[SizeBar] = []
    for account in size_accounts(submission):
        seed = account.run.seed
        total, model = account.total, account.model
        if total is not None:
            code = total.bytes - model.bytes if model is not None else None
            counting = "log, compressed code" if account.counts_compressed else "log"
            model_bytes = model.bytes if model is not None else None
            bars.append(SizeBar(seed, counting, code, model_bytes, total.bytes, account.claimed, total.source))
        elif model is not None and account.code is not None:
            together = model.bytes + account.code.bytes
            bars.append(SizeBar(seed, "log", account.code.bytes, model.bytes, together, account.claimed, model.source))
        if model is not None and account.script is not None and account.shipped is not None:
            shipped = account.shipped
            if total is None or shipped != total.bytes:
                bar = SizeBar(
                    seed, "model + committed script", account.script.size, model.bytes, shipped, account.claimed, model.source
                )
                bars.append(bar)
    return tuple(bars)
