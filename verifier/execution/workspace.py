"""The working folder of one run: copies of the submission's files, toy data where the script looks for it, the plan."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from verifier.execution.launch import OWN, PLAN, RECORD
from verifier.execution.toy_data import ToyData, write_data
from verifier.limits import DEFAULT_LIMITS, MIB

COPIED = 64 * MIB
"""All files of the submission that are copied, together."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """`inputs` are (name in the working folder, path here); `environment` is what the script gets for its data."""

    inputs: tuple[tuple[str, Path], ...]
    environment: dict[str, str]


class CannotPrepare(Exception):
    """The submission's files can't be laid out for a run."""


def prepare(
    folder: Path,
    script: str,
    arguments: Sequence[str],
    data: ToyData,
    texts: Sequence[str],
    scratch: Path,
    settings: Mapping[str, str],
) -> Workspace:
    """Lay out a run of `script` (relative to `folder`) below the empty folder `scratch`. `texts` are those of the program:
    they tell which forms of the data it expects. Raises `CannotPrepare`."""
    root = scratch / "data"
    names = dataset_names(data.tokenizer.size, texts)
    write_data(data, root, names, sidecar=any("val_bytes" in text for text in texts))
    plan = scratch / PLAN
    plan.write_text(
        json.dumps({"script": script, "arguments": list(arguments), "record": RECORD, "compiler": needs_compiler(texts)}),
        encoding="utf-8",
    )
    record = scratch / RECORD
    record.mkdir()
    (record / ".keep").touch()
    inputs = [("data", root), (PLAN, plan), (RECORD, record)]
    total = 0
    files = 0
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        relative = path.relative_to(folder).as_posix()
        total += path.stat().st_size
        files += 1
        if total > COPIED or files > DEFAULT_LIMITS.folder_files:
            raise CannotPrepare(f"the folder holds more than {COPIED} bytes or {DEFAULT_LIMITS.folder_files} files")
        if relative.split("/")[0] not in {"data", *OWN}:
            inputs.append((relative, path))
    name = names[0]
    environment = {
        "DATA_PATH": f"./data/datasets/{name}",
        "DATA_DIR": "./data",
        "TOKENIZER_PATH": f"./data/tokenizers/fineweb_{data.tokenizer.size}_bpe.model",
        "RUN_ID": "probe",
        "SEED": "1337",
        "HF_HUB_OFFLINE": "1",
    }
    return Workspace(tuple(inputs), {**settings, **environment})


def needs_compiler(texts: Sequence[str]) -> bool:
    """Whether a text names parts of torch that load its compiler for more than its configuration."""
    words = (
        "flex_attention",
        "_inductor",
        "checkpoint(",
        "torch.func",
        "vmap",
        "torch.export",
        "functional_call",
        "_dynamo.utils",
    )
    return any(word in text for text in texts for word in words)


def dataset_names(size: int, texts: Sequence[str]) -> tuple[str, ...]:
    """Folder names under which a script may look for its shards when it builds the path itself."""
    names = [f"fineweb10B_sp{size}", "fineweb10B_sp1024", "fineweb10B_sp8192"]
    for text in texts:
        at = 0
        while (at := text.find("datasets/", at)) >= 0 and len(names) < 12:
            at += len("datasets/")
            tail = text[at : at + 120]
            end = next((index for index, char in enumerate(tail) if not (char.isalnum() or char in "_-.{}")), len(tail))
            name = tail[:end].strip(".")
            for placeholder in ("{vocab_size}", "{self.vocab_size}", "{VOCAB_SIZE}"):
                name = name.replace(placeholder, str(size))
            if name and "{" not in name:
                names.append(name)
    return tuple(dict.fromkeys(names))


def leftover_bytes(results: Path) -> dict[str, int]:
    """Regular files that a run left, without the data it was given."""
    if not results.is_dir():
        return {}
    found = {}
    for path in sorted(results.rglob("*")):
        relative = path.relative_to(results).as_posix()
        if path.is_file() and not path.is_symlink() and relative.split("/")[0] not in {"data", *OWN}:
            found[relative] = path.stat().st_size
    return found
