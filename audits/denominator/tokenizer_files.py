"""BYT006 and BYT008: the tokenizer files of a folder, by hash and by presence."""

from __future__ import annotations

import re

from verifier.engine.context import Context
from verifier.evidence import Location
from verifier.ledger.claims import claimed_runs
from verifier.ledger.denominator import run_family
from verifier.rule import Confidence, Decision, Finding, Level, Outcome, Rule
from verifier.submission.binaries import BinaryFile

_PULL = "https://github.com/openai/parameter-golf/pull/"
_README = "https://github.com/openai/parameter-golf#readme"
TOKENIZER_KINDS = frozenset({"sentencepiece", "tokenmonster", "tokenmonster-yaml"})
TOKENIZER_NAME = re.compile(
    r"\.(?:model|vocab|meta\.npz)$|(?:tokenizer|vocab|bpe)[^/]*\.(?:json|jsonl|ya?ml|txt)$|scylla[^/]*\.ya?ml$"
)
PREPARATION_NAME = re.compile(r"(?:prepare|retokeni[sz]e|tokeni[sz]|train_sp|build_vocab|build_tok)[^/]*\.py$", re.IGNORECASE)
DERIVED_ARRAYS = frozenset({"base_bytes", "has_leading_space", "is_boundary_token"})


def check_superseded(context: Context) -> Decision:
    withdrawn = context.challenge.withdrawn_bundles
    findings = [
        Finding(
            Outcome.FAIL,
            f"{entry.path} is {withdrawn[entry.sha256]}",
            (Location(entry.path),),
            remediation="Use the byte-exact successor of the bundle and evaluate again.",
        )
        for entry in context.submission.files
        if entry.sha256 in withdrawn and not entry.junk
    ]
    if findings:
        return Decision.of(findings)
    sizes = _withdrawn_sizes(context)
    findings = [
        Finding(
            Outcome.REVIEW,
            f"{file.path} has the arrays and the {file_size} entries of a withdrawn bundle's metadata, with other content: compare the"
            " entries before trusting its byte counts",
            (Location(file.path),),
            Confidence.MEDIUM,
        )
        for file in context.submission.binaries
        if (file_size := _metadata_size(file)) in sizes
    ]
    findings += [
        Finding(
            Outcome.REVIEW,
            "the run uses a TokenMonster vocabulary and the folder does not hold it: only its hash would tell whether it is the"
            " withdrawn bundle",
            (source,),
            Confidence.MEDIUM,
        )
        for source in _unshipped_tokenmonster(context)
    ]
    if findings:
        return Decision.of(findings)
    files = _tokenizer_files(context)
    if not files:
        return Decision.not_applicable("the folder holds no tokenizer files")
    return Decision.passed(f"none of {', '.join(files)} belongs to a withdrawn bundle")


def _withdrawn_sizes(context: Context) -> frozenset[int]:
    """Vocabulary sizes of withdrawn bundles, as their descriptions name them."""
    texts = context.challenge.withdrawn_bundles.values()
    return frozenset(int(size) for text in texts for size in re.findall(r"(\d{3,6})-token", text))


def _metadata_size(file: BinaryFile) -> int | None:
    arrays = {name.removesuffix(".npy"): shape for name, _, shape in file.arrays}
    if not arrays.keys() >= DERIVED_ARRAYS or len(arrays["base_bytes"]) != 1:
        return None
    return arrays["base_bytes"][0]


def _unshipped_tokenmonster(context: Context) -> list[Location]:
    shipped = any(file.kind.startswith("tokenmonster") for file in context.submission.binaries)
    if shipped:
        return []
    named = [run_family(context.submission, run) for run in claimed_runs(context.submission)]
    return sorted({found[1] for found in named if found is not None and found[0] == "tokenmonster"})[:1]


def check_missing(context: Context) -> Decision:
    named = [found for run in claimed_runs(context.submission) if (found := run_family(context.submission, run)) is not None]
    if not named:
        return Decision.not_available("neither logs nor commands nor the script name the tokenizer")
    custom = [found for found in named if found[0] not in context.challenge.published_tokenizers]
    if not custom:
        return Decision.passed(f"the published tokenizer {named[0][0]} is used")
    files = _tokenizer_files(context)
    family, source = custom[0]
    if files:
        return Decision.passed(f"{family} is not a published tokenizer; the folder holds {', '.join(files)}")
    preparation = [entry.path for entry in context.submission.files if PREPARATION_NAME.search(entry.path) and not entry.junk]
    built = f"; {', '.join(preparation[:3])} may rebuild them, which only a run would show" if preparation else ""
    return Decision.of(
        [
            Finding(
                Outcome.REVIEW if preparation else Outcome.FAIL,
                f"the run uses {family}, which is not a published tokenizer, and its files are not in the folder{built}",
                (source, *(Location(path) for path in preparation[:3])),
                remediation="Add the tokenizer's model or vocabulary file to the folder.",
            )
        ]
    )


def _tokenizer_files(context: Context) -> list[str]:
    recognised = {file.path for file in context.submission.binaries if file.kind in TOKENIZER_KINDS}
    named = {entry.path for entry in context.submission.files if TOKENIZER_NAME.search(entry.path.lower()) and not entry.junk}
    return sorted(recognised | named)


SUPERSEDED_TOKENIZER = Rule(
    code="BYT006",
    name="superseded-tokenizer",
    level=Level.WARNING,
    summary="tokenizer files are those of a bundle that was withdrawn, or derived from one",
    why="A bundle whose metadata miscounts bytes was withdrawn by its author. Scores built on it carry the same error.",
    example="violation: candidate.vocab and candidate.meta.npz of the withdrawn 998-token bundle\n"
    "legal: the byte-exact 1254-token bundle that replaced it",
    settles="the hashes of the vocabulary and metadata that the run loaded",
    sources=(_PULL + "1143", _PULL + "1314"),
    check=check_superseded,
)
TOKENIZER_MISSING = Rule(
    code="BYT008",
    name="tokenizer-missing",
    level=Level.WARNING,
    summary="a non-standard tokenizer is used and its files are not in the folder",
    why="Without the tokenizer nobody can rebuild the shards, recount the bytes or run the model on text.",
    example="violation: TOKENIZER_PATH=tokenizers/my_6000_bpe.model, and no such file in the folder\n"
    "legal: the published fineweb_1024_bpe.model by path; a custom model shipped beside the script",
    settles="the tokenizer file, or its public address with a hash",
    sources=(_README,),
    check=check_missing,
)
