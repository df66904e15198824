"""BYT006 and BYT008: the tokenizer files of a folder, by hash, by content and by presence."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from audits.bytes.shipped import compare_shipped
from verifier.engine.context import Context
from verifier.evidence import Location, excerpt
from verifier.ledger.claims import claimed_runs
from verifier.ledger.denominator import read_tokens, run_family
from verifier.rule import Confidence, Decision, Finding, Level, Outcome, Rule
from verifier.submission.binaries import TOKENIZER_KINDS, BinaryFile
from verifier.submission.logs.model import Run

_PULL = "https://github.com/openai/parameter-golf/pull/"
_README = "https://github.com/openai/parameter-golf#readme"
TOKENIZER_NAME = re.compile(
    r"\.(?:model|vocab|meta\.npz)$|(?:tokenizer|vocab|bpe)[^/]*\.(?:json|jsonl|ya?ml|txt)$|scylla[^/]*\.ya?ml$"
)
NOT_A_TOKENIZER = re.compile(r"spec|config|manifest|stat|report|audit|valid")
"""Words in the names of files that describe a tokenizer and do not hold it."""
POINTER = 400
"""Bytes up to which a named file is a pointer to a large file stored elsewhere, or empty."""
PREPARATION_NAME = re.compile(r"(?:prepare|retokeni[sz]e|tokeni[sz]|train_sp|build_vocab|build_tok)[^/]*\.py$", re.IGNORECASE)
DOWNLOAD = re.compile(r"hf_hub_download\(|snapshot_download\(|huggingface\.co/|hf download ")
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
    # Whatever its size, metadata that counts every token as the tokenizer beside it writes it has no known fault.
    exact = {one.table for one in compare_shipped(context) if one.exact}
    findings = [
        Finding(
            Outcome.REVIEW,
            f"{file.path} has the arrays and the {file_size} entries of a withdrawn bundle's metadata, with other content: compare the"
            " entries before trusting its byte counts",
            (Location(file.path),),
            Confidence.MEDIUM,
        )
        for file in context.submission.binaries
        if (file_size := _metadata_size(file)) in sizes and file.path not in exact
    ]
    findings += [
        Finding(
            Outcome.REVIEW,
            "the run uses a TokenMonster vocabulary and the folder does not hold it: only its hash would tell whether it is the"
            f" withdrawn bundle{named}",
            (source,),
            Confidence.MEDIUM,
        )
        for named, source in _unshipped_tokenmonster(context)
    ]
    if findings:
        return Decision.of(findings)
    files = [*_held(context), *_listed(context)]
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


def _unshipped_tokenmonster(context: Context) -> list[tuple[str, Location]]:
    """(remark, line) for the first run with a TokenMonster vocabulary that neither the folder nor the token count identifies."""
    if any(file.kind.startswith("tokenmonster") for file in context.submission.binaries):
        return []
    sound = {
        row.val_tokens for row in context.challenge.streams if row.family.startswith("tokenmonster") and row.status == "canonical"
    }
    for run in sorted(claimed_runs(context.submission), key=lambda run: run.path):
        found = run_family(context.submission, run)
        tokens = read_tokens(run)
        if found is not None and found[0] == "tokenmonster" and (tokens is None or tokens.count not in sound):
            return [(_same_name(context, run, found[1]), found[1])]
    return []


def _same_name(context: Context, run: Run, source: Location) -> str:
    """A remark when the run's tokenizer has the name of a withdrawn file."""
    known = {text.split()[0] for text in context.challenge.withdrawn_bundles.values()}
    text = run.tokenizer_path.text if run.tokenizer_path is not None else source.excerpt
    name = next((name for name in sorted(known) if name in text), None)
    return f", whose {name} has the same name" if name is not None else ""


def check_missing(context: Context) -> Decision:
    runs = claimed_runs(context.submission)
    named = [(run, found) for run in runs if (found := run_family(context.submission, run)) is not None]
    if not named:
        return Decision.not_available("neither logs nor commands nor the script name the tokenizer")
    custom = [pair for pair in named if pair[1][0] not in context.challenge.published_tokenizers]
    if not custom:
        return Decision.passed(f"the published tokenizer {named[0][1][0]} is used")
    run, (family, source) = custom[0]
    held = _held(context)
    sizes = {entry.path: entry.size for entry in context.submission.files}
    listed = [path for path in _listed(context) if not path.endswith(".npz") and sizes[path] > POINTER]
    if held:
        other = _other_size(context, run, family)
        if other is not None:
            return Decision.of([Finding(Outcome.REVIEW, other, (source, *(Location(path) for path in held)), Confidence.MEDIUM)])
        return Decision.passed(f"{family} is not a published tokenizer; the folder holds {', '.join(held)}")
    if listed:
        return Decision.passed(f"{family} is not a published tokenizer; the folder holds {', '.join(listed)}")
    places = [source]
    preparation = [entry.path for entry in context.submission.files if PREPARATION_NAME.search(entry.path) and not entry.junk]
    download = _download(context)
    built = ""
    if preparation:
        built = f"; {', '.join(preparation[:3])} may rebuild them, which only a run would show"
        places += [Location(path) for path in preparation[:3]]
    elif download is not None:
        built = f"; {download.path} downloads data, which may bring them"
        places.append(download)
    return Decision.of(
        [
            Finding(
                Outcome.REVIEW if built else Outcome.FAIL,
                f"the run uses {family}, which is not a published tokenizer, and its files are not in the folder{built}",
                tuple(places),
                remediation="Add the tokenizer's model or vocabulary file to the folder.",
            )
        ]
    )


def _held(context: Context) -> list[str]:
    """Tokenizers by their content."""
    return sorted(file.path for file in context.submission.binaries if file.kind in TOKENIZER_KINDS)


def _listed(context: Context) -> list[str]:
    """Files that by their name hold a vocabulary in text form, or byte metadata; not those that only describe one."""
    held = set(_held(context))
    return sorted(
        entry.path
        for entry in context.submission.files
        if TOKENIZER_NAME.search(entry.path.lower())
        and not entry.junk
        and entry.path not in held
        and not NOT_A_TOKENIZER.search(PurePosixPath(entry.path).stem.lower())
    )


def _other_size(context: Context, run: Run, family: str) -> str | None:
    """A statement when the run names a file and a size that none of the shipped tokenizers has."""
    files = [file for file in context.submission.binaries if file.kind in TOKENIZER_KINDS]
    wanted = PurePosixPath(run.tokenizer_path.text.replace("\\", "/")).name if run.tokenizer_path is not None else ""
    size = re.search(r"sp(\d{3,6})", family)
    if size is None or any(PurePosixPath(file.path).name == wanted for file in files):
        return None
    sizes = [file.vocab_size for file in files]
    if None in sizes or int(size[1]) in sizes:
        return None
    shown = ", ".join(f"{file.path} with {file.vocab_size} entries" for file in files)
    return f"the run uses {family} ({wanted or 'no file named'}); the folder holds only {shown}"


def _download(context: Context) -> Location | None:
    """The first line of a script that fetches files from a public address."""
    program = context.submission.program
    for script in (*program.members, *program.others):
        for layer, text in script.code_texts:
            found = DOWNLOAD.search(text)
            if found is not None:
                line = text.count("\n", 0, found.start()) + 1
                return Location(script.path, line, None, layer, excerpt(text.splitlines()[line - 1]))
    return None


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
