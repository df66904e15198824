"""BYT007: the strict audit over validation shards, where the user has them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from audits.bytes.accounting import ByteTable
from audits.bytes.datasets import (
    CANONICAL_DATASET,
    CANONICAL_TOKENIZER,
    Shards,
    dataset_names,
    find_dataset,
    find_source,
    load_named_tokenizer,
)
from audits.bytes.drift import fits, is_lossless
from audits.bytes.losses import describe_normalization
from audits.bytes.model import ByteAuditError, TokenModel
from audits.bytes.result import StrictResult
from audits.bytes.shards import open_shards
from audits.bytes.shipped import open_tables, open_tokenizers
from audits.bytes.strict import TokenSet, audit
from verifier.engine.context import Context
from verifier.evidence import Location
from verifier.ledger.claims import claimed_runs
from verifier.ledger.denominator import CLOSE
from verifier.rule import Confidence, Decision, Finding, Level, Measured, Outcome, Rule, Tier
from verifier.submission.logs.model import Run

_PULL = "https://github.com/openai/parameter-golf/pull/"
LONGEST_WINDOW = 1 << 16
"""Tokens that a run may leave out at the end of the stream: less than one window."""


@dataclass(frozen=True, slots=True)
class _Inputs:
    """What is audited. `places`: the files of the folder that it was taken from, or the line that names them."""

    model: TokenModel
    table: ByteTable | None
    shards: Shards
    places: tuple[Location, ...]


def check(context: Context) -> Decision:
    data = context.options.data_dir
    if data is None:
        return Decision.not_available(
            "needs the validation shards: `--data DIR`, and `--tokenizer-dir DIR` for a published tokenizer"
        )
    runs = claimed_runs(context.submission)
    if not runs:
        return Decision.not_available("no logged run names the shards that it was scored on")
    try:
        inputs = _find_inputs(context, data, runs[0])
        if isinstance(inputs, str):
            return Decision.not_available(inputs)
        return _decide(context, inputs, _audit(context, data, inputs))
    except (ByteAuditError, OSError) as failure:
        return Decision.not_available(f"nothing was audited: {failure}")


def _find_inputs(context: Context, data: Path, run: Run) -> _Inputs | str:
    """Tokenizer, byte table and shards of a run, or what is missing."""
    paths = [value.text for value in (run.data_path, *run.config.values()) if value is not None and "fineweb" in value.text]
    shards = find_dataset(data, [name for text in paths for name in dataset_names(text)])
    if shards is None:
        return f"{data} holds no validation shards of the run's dataset"
    held = sum(shard.count for shard in open_shards(shards.tokens))
    scored = int(run.val_tokens.text.replace(",", "")) if run.val_tokens is not None and _is_count(run.val_tokens.text) else None
    if scored is not None and not 0 <= held - scored <= LONGEST_WINDOW:
        return f"the run scored {scored:,} tokens, the shards in {data} hold {held:,}: not the run's shards"
    model, places = _find_tokenizer(context, run)
    if model is None:
        name = run.tokenizer_path.text if run.tokenizer_path is not None else "the run's tokenizer"
        return f"{name} is neither in the folder nor in --tokenizer-dir"
    table = ByteTable.from_model(model) if model.kind != "caseops" else None
    for shipped in open_tables(context):
        if shipped.item is not None and fits(shipped.item, model):
            table = shipped.item
            places = (Location(shipped.path), *places)
    return _Inputs(model, table, shards, places)


def _is_count(text: str) -> bool:
    return text.replace(",", "").isdecimal()


def _find_tokenizer(context: Context, run: Run) -> tuple[TokenModel | None, tuple[Location, ...]]:
    """The run's tokenizer: by name from the folder or the user's, else the only one that the folder ships."""
    shipped = [one for one in open_tokenizers(context) if one.item is not None]
    named = run.tokenizer_path
    if named is not None:
        name = PurePosixPath(named.text.replace("\\", "/")).name
        for one in shipped:
            if PurePosixPath(one.path).name == name:
                return one.item, (Location(one.path),)
        if context.options.tokenizer_dir is not None:
            model = load_named_tokenizer(context.options.tokenizer_dir, name)
            if model is not None:
                return model, (named.source,)
    return (shipped[0].item, (Location(shipped[0].path),)) if len(shipped) == 1 else (None, ())


def _audit(context: Context, data: Path, inputs: _Inputs) -> StrictResult:
    bos = inputs.model.bos_id
    if bos is None and inputs.table is not None and inputs.table.size == inputs.model.size + 1:
        bos = inputs.model.size
    source = find_source(data, context.challenge.val_docs)
    canonical = None
    if context.options.tokenizer_dir is not None:
        shards = find_dataset(data / CANONICAL_DATASET, ()) or find_dataset(data / "datasets" / CANONICAL_DATASET, ())
        model = load_named_tokenizer(context.options.tokenizer_dir, CANONICAL_TOKENIZER) if shards is not None else None
        if shards is not None and model is not None and shards.tokens != inputs.shards.tokens and bos is not None:
            canonical = TokenSet.open(model, shards.tokens, None)
    return audit(
        TokenSet.open(inputs.model, inputs.shards.tokens, bos),
        table=inputs.table,
        sidecar=open_shards(inputs.shards.sidecars) if inputs.shards.sidecars else None,
        docs=source[0] if source is not None else None,
        docs_limit=source[1] if source is not None else None,
        canonical=canonical,
    )


def _decide(context: Context, inputs: _Inputs, result: StrictResult) -> Decision:
    outcome, reason = judge(inputs.model, result, context.challenge.val_bytes)
    if outcome is Outcome.PASS:
        return Decision.passed(reason)
    if outcome is Outcome.NOT_AVAILABLE:
        return Decision.not_available(reason)
    counted = result.counted_bytes
    return Decision.of(
        [
            Finding(
                outcome,
                reason,
                inputs.places,
                Confidence.HIGH if outcome is not Outcome.REVIEW else Confidence.MEDIUM,
                Measured(counted, "bytes") if counted is not None else None,
                Measured(result.reference_bytes, "bytes"),
                "Count the bytes that the tokens decode to, in context." if outcome is Outcome.FAIL else "",
            )
        ]
    )


def judge(model: TokenModel, result: StrictResult, val_bytes: int) -> tuple[Outcome, str]:
    """What a finished audit proves, as (outcome, reason).

    The published tokenizers normalize (`nmt_nfkc`): their documents do not decode to the source to the last byte, and that is the
    baseline's. So a difference of documents counts only where the tokenizer changes more than they do.
    """
    if result.exact:
        return Outcome.PASS, result.statement()
    if result.problems:
        return Outcome.NOT_AVAILABLE, f"not audited to the end: {result.problems[0]}"
    unmatched = next((truth for truth in result.truths if truth.problem), None)
    if unmatched is not None:
        return Outcome.NOT_AVAILABLE, f"{unmatched.name} is not the source of these shards: {unmatched.problem}"
    counted, decoded = result.counted_bytes, result.decoded_bytes
    if counted is None:
        return (
            Outcome.NOT_AVAILABLE,
            f"no byte count (metadata, sidecar or formula) is known; the tokens decode to {decoded:,} bytes",
        )
    right = {truth.bytes for truth in result.truths} | {decoded}
    ordinary = not describe_normalization(model).beyond_baseline
    if counted not in right:
        total = f"{counted:,} bytes are counted, the tokens decode to {decoded:,}"
        if result.truths:
            return Outcome.FAIL, f"{result.statement()}; {total}. {_classes(result)}"
        if counted == val_bytes:
            return (
                Outcome.PASS,
                f"the counted bytes are those of the whole text ({counted:,}); no source to compare documents with",
            )
        if is_lossless(model) or ordinary:
            return Outcome.FAIL, f"{total}. {_classes(result)}"
        return Outcome.REVIEW, f"{total}; the tokenizer loses text, so only the source documents tell the right number"
    if not result.truths:
        said = f"the counted bytes equal the decoded bytes ({counted:,}); no source to compare documents with"
        if abs(decoded / val_bytes - 1) > CLOSE:
            said += f", and the contest's whole text has {val_bytes:,} bytes"
        if ordinary or counted == val_bytes:
            return Outcome.PASS, said
        return Outcome.REVIEW, f"{said}, and the tokenizer changes text that the published ones leave"
    if any(truth.exact for truth in result.truths) and counted == decoded:
        return Outcome.PASS, f"{counted:,} bytes are counted and decoded, and every document decodes to the contest's own text"
    if ordinary:
        return Outcome.INFO, (
            f"{counted:,} bytes are counted, as in the source or the decoded text; {_bad(result)} documents do not decode to their"
            " source, by the normalization that the published tokenizers share"
        )
    return Outcome.FAIL, f"{result.statement()}; the tokenizer changes more than the published ones do"


def _bad(result: StrictResult) -> str:
    truth = result.truth
    return f"{truth.bad_documents:,} of {truth.documents:,}" if truth is not None else "some"


def _classes(result: StrictResult) -> str:
    """The classes of tokens that carry the drift, largest first."""
    drifts = sorted(
        ((totals.drift, name) for name, totals in result.classes.items() if totals.drift), key=lambda one: -abs(one[0])
    )
    return "Drift by class of token: " + ", ".join(f"{name} {drift:+,}" for drift, name in drifts) if drifts else ""


STRICT_DRIFT = Rule(
    code="BYT007",
    name="strict-audit-drift",
    level=Level.ERROR,
    tier=Tier.DATA,
    summary="the strict full-validation audit finds source, metadata and decoded bytes not all equal",
    why="Exactness over the full validation set is the only statement about bytes that cannot be argued with.",
    example="violation: source 1,489,515, metadata 1,566,096, decoded 1,485,699\nlegal: all three equal, no document differs",
    settles="`verifier bytes --strict` over the full validation shards",
    sources=(_PULL + "1314",),
    check=check,
)
